//! The loop: one task that owns the engine, turns what happens into inputs, and carries out the effects.
//!
//! It must never wait for anything but the next thing to happen. Reading the kernel is done right here, because sysfs and
//! device-mapper answer from memory even while every disk hangs; all else ([`Work`]) is handed over and comes back as
//! an input. Wake-ups carry no meaning of their own: many of them make one observation (design, principle 2).

mod reload;

use crate::audience::Audience;
use crate::config::{self, Config};
use crate::link::{LoopEnd, Reload, Request};
use crate::systemd::{self, BUS_GRACE, Notifier};
use mirrorkeeper_core::engine::Engine;
use mirrorkeeper_core::ids::OpId;
use mirrorkeeper_core::input::{Command, Effect, Input, IscsiHint, Refusal, Reply};
use mirrorkeeper_core::ledger::Ledger;
use mirrorkeeper_core::observation::KernelView;
use mirrorkeeper_core::op::Op;
use mirrorkeeper_core::snapshot::{Event, Snapshot};
use mirrorkeeper_core::time::{Mono, Now};
use reload::Reloads;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The loop turns at least this often, for the watchdog: half of the unit's WatchdogSec=60.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Least time between two readings of the kernel. The first wake-up is answered at once, also right after a reading that
/// only the time called for: of those there is one a second while anything is going on, and an event that had to wait for
/// the rest of such a gap would miss the budget of 10 ms to its signal. A burst (a login brings some fifty uevents) costs
/// one reading more.
const LOOK_GAP: Duration = Duration::from_millis(20);

/// How long a stop waits for the engine to put on record what it must: 5 s for the closing stamp, and as much each for its
/// flush and for the ledger. Who needs longer is stuck, and systemd waits for us: TimeoutStopSec= is longer than this.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// Why the loop was woken from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeUp {
    /// The kernel said something about a session whose order matters.
    Iscsi(IscsiHint),
    /// Something may have changed.
    Look,
    /// It is time.
    Time,
}

/// What the loop hands over. Each ends with an input on the results channel.
#[derive(Debug, PartialEq)]
pub enum Work {
    /// Carry out an operation: [`Input::OpEnded`].
    Op(OpId, Op),
    /// Run the LVM report: [`Input::Lvm`].
    Lvm,
    /// Read the node records: [`Input::Nodes`].
    Nodes,
    /// Save the ledger: [`Input::LedgerSaved`].
    Save(Arc<Ledger>),
    /// Ask whether the whole system is stopping: [`Input::SystemStopping`].
    AskSystem,
    /// Read the configuration: [`Ends::configs`].
    Config,
}

/// The machine as the loop sees it.
pub trait Machine {
    /// What time it is.
    fn now(&self) -> Now;
    /// Waits for the next wake-up, or until it is time. Dropping the future loses none.
    fn wake_up(&mut self, by: Mono) -> impl Future<Output = WakeUp>;
    /// Reads the kernel, without waiting.
    fn observe(&mut self) -> KernelView;
    /// Begins some work and returns at once.
    fn begin(&mut self, work: Work);
}

/// The decisions, behind a trait so that the loop can be tested with a script.
pub trait Brain {
    /// See [`Engine::step`].
    fn step(&mut self, now: Now, input: Input) -> Vec<Effect>;
    /// See [`Engine::snapshot`].
    fn snapshot(&self) -> &Arc<Snapshot>;
}

impl Brain for Engine {
    fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        Engine::step(self, now, input)
    }

    fn snapshot(&self) -> &Arc<Snapshot> {
        Engine::snapshot(self)
    }
}

/// What the process was told by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// The other ends of the loop's channels.
pub struct Ends {
    /// To and from the bus.
    pub bus: LoopEnd,
    /// Signals. A closed channel is a stop.
    pub signals: mpsc::Receiver<Signal>,
    /// Results of [`Work`].
    pub results: mpsc::Receiver<Input>,
    /// Results of [`Work::Config`].
    pub configs: mpsc::Receiver<Config>,
    /// The service manager.
    pub notifier: Notifier,
    /// Whoever else is told what happens.
    pub audience: Audience,
}

/// The loop and its state.
pub struct Reactor<B, M> {
    brain: B,
    machine: M,
    ends: Ends,
    /// Commands not answered yet, by the token the engine knows them by.
    asked: BTreeMap<u64, oneshot::Sender<Result<Reply, Refusal>>>,
    next_token: u64,
    reloads: Reloads,
    /// When the engine wants to be called again.
    wake_at: Option<Mono>,
    look_wanted: bool,
    /// The look that is wanted was called for by a wake-up.
    woken: bool,
    looked_at: Option<Mono>,
    /// The last look that a wake-up had called for.
    heeded_at: Option<Mono>,
    started_at: Mono,
    /// Newest generation handed over, and newest heard of again.
    saves: (u64, u64),
    gaps: Vec<String>,
    stop_by: Option<Mono>,
    /// The engine is done with what it does before the end. It may be before our own turn to stop has come, when an
    /// operation found the system stopping; then it goes on looking until then.
    stopped: bool,
}

impl<B: Brain, M: Machine> Reactor<B, M> {
    /// A loop that has not turned yet. Its first turn reads the kernel.
    pub fn new(brain: B, machine: M, ends: Ends) -> Self {
        Self {
            started_at: machine.now().mono,
            brain,
            machine,
            ends,
            asked: BTreeMap::new(),
            next_token: 0,
            reloads: Reloads::default(),
            wake_at: None,
            look_wanted: true,
            woken: true,
            looked_at: None,
            heeded_at: None,
            saves: (0, 0),
            gaps: Vec::new(),
            stop_by: None,
            stopped: false,
        }
    }

    /// Turns until a signal stops it and the engine has put everything on record, or the time for that is over.
    pub async fn run(mut self) {
        loop {
            let now = self.machine.now().mono;
            if self.look_wanted && self.look_due() <= now {
                self.look();
            }
            let bus = *self.ends.bus.owned.borrow_and_update();
            self.ends.notifier.turned(self.brain.snapshot(), bus, now.since(self.started_at));
            if self.is_over(now) {
                return;
            }
            let by = self.due(now);
            tokio::select! {
                signal = self.ends.signals.recv(), if self.stop_by.is_none() => self.signalled(signal),
                Some(input) = self.ends.results.recv() => self.feed(input),
                Some(config) = self.ends.configs.recv() => self.configured(config),
                wake_up = self.machine.wake_up(by) => self.woken(wake_up),
                Some(request) = self.ends.bus.requests.recv() => self.request(request),
                Some(asker) = self.ends.bus.reloads.recv() => self.reload(Some(asker)),
                Ok(()) = self.ends.bus.owned.changed() => {}
            }
        }
    }

    fn look_due(&self) -> Mono {
        let last = if self.woken { self.heeded_at } else { self.looked_at };
        last.map_or(self.started_at, |at| at.after(LOOK_GAP))
    }

    /// When the next turn is due if nothing happens.
    fn due(&self, now: Mono) -> Mono {
        let ready = (!self.ends.notifier.is_ready()).then(|| self.started_at.after(BUS_GRACE));
        let owed = self.ends.notifier.owes().then(|| now.after(systemd::RETRY));
        let look = self.look_wanted.then(|| self.look_due());
        let heartbeat = now.after(HEARTBEAT);
        [self.wake_at, ready, owed, look, self.stop_by].into_iter().flatten().fold(heartbeat, Mono::min)
    }

    fn look(&mut self) {
        let now = self.machine.now().mono;
        (self.look_wanted, self.looked_at) = (false, Some(now));
        if std::mem::take(&mut self.woken) {
            self.heeded_at = Some(now);
        }
        let view = self.machine.observe();
        if view.gaps != self.gaps {
            view.gaps.iter().filter(|gap| !self.gaps.contains(gap)).for_each(|gap| tracing::warn!("unreadable: {gap}"));
            self.gaps.clone_from(&view.gaps);
        }
        self.feed(Input::Kernel(Box::new(view)));
        self.ends.notifier.observed();
    }

    fn woken(&mut self, wake_up: WakeUp) {
        match wake_up {
            WakeUp::Look => (self.look_wanted, self.woken) = (true, true),
            WakeUp::Iscsi(hint) => {
                (self.look_wanted, self.woken) = (true, true);
                self.feed(Input::Iscsi(hint));
            }
            // Also when a look or a grace is due; a tick too many does no harm.
            WakeUp::Time => {
                let now = self.machine.now().mono;
                self.wake_at = self.wake_at.filter(|at| *at > now);
                self.feed(Input::Tick);
            }
        }
    }

    fn signalled(&mut self, signal: Option<Signal>) {
        match signal {
            Some(Signal::Reload) => {
                self.reload(None);
                self.look_wanted = true;
            }
            Some(Signal::Stop) | None => {
                tracing::info!("stopping");
                self.ends.notifier.stopping();
                self.stop_by = Some(self.machine.now().mono.after(STOP_GRACE));
                self.machine.begin(Work::AskSystem);
                self.feed(Input::Stopping);
                // A leg lost while the machine goes down is noted, or it would be trusted at the next boot.
                self.look();
            }
        }
    }

    fn reload(&mut self, asker: Option<Reload>) {
        if self.reloads.want(asker) {
            self.ends.notifier.reloading();
            self.machine.begin(Work::Config);
        }
    }

    /// One that was refused changes nothing; not even what is right in it.
    fn configured(&mut self, config: Config) {
        let answer = match config.refusal(self.machine.now().wall) {
            None => {
                tracing::info!("the configuration was read again");
                self.ends.notifier.set_note("");
                self.feed(Input::Settings(Box::new(config.settings)));
                Ok(())
            }
            Some(event) => {
                self.ends.notifier.set_note(config::STALE);
                self.tell(event);
                Err(config.complaint())
            }
        };
        self.ends.notifier.reloaded();
        if self.reloads.answer(&answer) {
            self.ends.notifier.reloading();
            self.machine.begin(Work::Config);
        }
    }

    /// A leg lost after the engine was done is saved all the same.
    fn is_over(&self, now: Mono) -> bool {
        let Some(by) = self.stop_by else { return false };
        let done = self.stopped && self.saves.1 >= self.saves.0;
        if !done && now >= by {
            tracing::warn!("not everything could be put on record within {} s", STOP_GRACE.as_secs());
        }
        done || now >= by
    }

    fn request(&mut self, Request { command, reply }: Request) {
        self.next_token += 1;
        self.asked.insert(self.next_token, reply);
        // Whether a volume is in use is asked of the present: `umount` raises no event.
        if matches!(command, Command::Resolve { .. } | Command::Activate { .. }) {
            self.look();
        }
        self.feed(Input::Command(self.next_token, command));
    }

    /// One step of the engine. The snapshot goes out before the events and replies that speak of it.
    fn feed(&mut self, input: Input) {
        if let Input::LedgerSaved(generation, _) = &input {
            self.saves.1 = self.saves.1.max(*generation);
        }
        let effects = self.brain.step(self.machine.now(), input);
        let snapshot = self.brain.snapshot();
        self.ends.bus.snapshots.send_if_modified(|shown| {
            let changed = !Arc::ptr_eq(shown, snapshot) && shown != snapshot;
            if changed {
                shown.clone_from(snapshot);
            }
            changed
        });
        effects.into_iter().for_each(|effect| self.apply(effect));
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::ObserveKernel => self.look_wanted = true,
            Effect::ObserveLvm => self.machine.begin(Work::Lvm),
            Effect::ObserveNodes => self.machine.begin(Work::Nodes),
            Effect::Start(id, op) => self.machine.begin(Work::Op(id, op)),
            Effect::Save(ledger) => {
                self.saves.0 = self.saves.0.max(ledger.generation);
                self.machine.begin(Work::Save(ledger));
            }
            Effect::WakeAt(at) => self.wake_at = Some(at),
            Effect::Publish(event) => self.tell(event),
            Effect::Reply(token, answer) => {
                if let Some(asker) = self.asked.remove(&token) {
                    let _ = asker.send(answer);
                }
            }
            Effect::Stopped => self.stopped = true,
            Effect::Anomaly(what) => tracing::error!("refused by the safety check: {what}"),
        }
    }

    fn tell(&mut self, event: Event) {
        self.ends.audience.tell(&event);
        // Fails only while nobody listens: no bus.
        let _ = self.ends.bus.events.send(event);
    }
}

#[cfg(test)]
mod tests;
