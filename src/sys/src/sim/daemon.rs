//! The shell around the engine under test: effects become things that happen, what happens becomes inputs. The ledger on
//! disk outlives the daemon, its children may too (`KillMode=process`), everything else dies with it.

use super::clock::{Happening, SECOND};
use super::exec::{Job, Trouble};
use super::world::World;
use mirrorkeeper_core::engine::{Engine, Host, LedgerFound};
use mirrorkeeper_core::input::{Command, Effect, Input, Refusal, Reply};
use mirrorkeeper_core::ledger::Ledger;
use mirrorkeeper_core::op::Op;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::snapshot::{Event, Object, Snapshot, Value};
use mirrorkeeper_core::time::{Mono, Now};
use mirrorkeeper_core::words::EventCode;
use std::collections::VecDeque;
use std::sync::Arc;

/// Wall clock at the first boot.
pub(super) const EPOCH: u64 = 1_700_000_000 * SECOND;

/// What is left of the ledger file.
#[derive(Debug, Clone)]
pub enum File {
    /// None.
    Absent,
    /// As saved.
    Good(Arc<Ledger>),
    /// Half-written or scribbled over.
    Torn,
}

/// An operation that was started, for tests to look at.
#[derive(Debug, Clone)]
pub struct Ran {
    /// When, in microseconds.
    pub at: u64,
    /// What.
    pub op: Op,
}

/// The daemon and its surroundings.
#[derive(Debug)]
pub struct Daemon {
    pub(super) settings: Settings,
    pub(super) engine: Option<Engine>,
    /// Counts its runs.
    pub run: u32,
    /// The ledger file.
    pub file: File,
    pub(super) writing: VecDeque<Arc<Ledger>>,
    /// Generation that this run last asked to save.
    pub(super) asked_to_save: Option<u64>,
    pub(super) inputs: VecDeque<Input>,
    pub(super) look: bool,
    pub(super) looked_at: u64,
    pub(super) wake_at: u64,
    /// When a run of wake-ups began, and how many there were in it.
    pub(super) woken_at: u64,
    pub(super) wakes: u32,
    /// Operations under way.
    pub(super) jobs: Vec<Job>,
    /// When the operation was begun whose effect is being worked out.
    pub(super) acting: u64,
    /// When it was started last.
    pub(super) started: u64,
    /// PVs that the command at work gets to see, one bit each, if not all.
    pub(super) shows: Option<u32>,
    pub(super) next_job: u32,
    /// Effects so far that leave a trace.
    pub effects: u64,
    /// The daemon dies just before this effect.
    pub crash_at: Option<u64>,
    /// How long systemd takes to start it again, in microseconds; `None` = it does not.
    pub restart_after: Option<u64>,
    /// The ledger can be written.
    pub ledger_ok: bool,
    /// The LVM report works.
    pub report_ok: bool,
    /// How often in a hundred an operation goes wrong.
    pub trouble: u64,
    /// What goes wrong next, by step code.
    pub faults: VecDeque<(&'static str, Trouble)>,
    pub(super) troubled_at: Option<u64>,
    /// Operations started, when recorded.
    pub ran: Vec<Ran>,
    /// Events published, when recorded.
    pub events: Vec<Event>,
    /// Operations and events are recorded.
    pub record: bool,
    /// Replies to commands.
    pub replies: Vec<Result<Reply, Refusal>>,
    /// Its stop is done.
    pub stopped: bool,
    /// Engine steps so far.
    pub steps: u64,
    /// Ledger writes so far.
    pub saves: u64,
}

impl Daemon {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            engine: None,
            run: 0,
            file: File::Absent,
            writing: VecDeque::new(),
            asked_to_save: None,
            inputs: VecDeque::new(),
            look: false,
            looked_at: 0,
            wake_at: u64::MAX,
            woken_at: 0,
            wakes: 0,
            jobs: Vec::new(),
            acting: 0,
            started: 0,
            shows: None,
            next_job: 0,
            effects: 0,
            crash_at: None,
            restart_after: Some(2 * SECOND),
            ledger_ok: true,
            report_ok: true,
            trouble: 0,
            faults: VecDeque::new(),
            troubled_at: None,
            ran: Vec::new(),
            events: Vec::new(),
            record: false,
            replies: Vec::new(),
            stopped: false,
            steps: 0,
            saves: 0,
        }
    }

    /// When its timer is due.
    pub(super) fn wake(&self) -> Option<u64> {
        self.engine.as_ref().map(|_| self.wake_at).filter(|at| *at != u64::MAX)
    }

    /// What it shows; nothing while it is not running.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.engine.as_ref().map(|engine| &**engine.snapshot())
    }

    /// The ledger on disk.
    pub fn ledger(&self) -> Option<&Ledger> {
        match &self.file {
            File::Good(ledger) => Some(ledger),
            File::Absent | File::Torn => None,
        }
    }

    /// It runs.
    pub fn alive(&self) -> bool {
        self.engine.is_some()
    }
}

impl World {
    /// Of this boot.
    pub(super) fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// Starts the daemon.
    pub fn start_daemon(&mut self) {
        if self.daemon.engine.is_some() || !self.powered {
            return;
        }
        let found = match &self.daemon.file {
            File::Absent => LedgerFound::Absent,
            File::Good(ledger) => LedgerFound::Good(Box::new((**ledger).clone())),
            File::Torn => LedgerFound::Damaged("unexpected end of file".to_owned()),
        };
        self.note(|_| "# the daemon starts".to_owned());
        let host = Host { boot_id: self.boot_id(), machine_id: "0".repeat(32) };
        let d = &mut self.daemon;
        (d.run, d.started) = (d.run + 1, self.now);
        d.asked_to_save = None;
        d.engine = Some(Engine::new(d.settings.clone(), found, host));
        (d.stopped, d.wake_at, d.look) = (false, self.now, false);
        d.inputs.clear();
        d.inputs.push_back(Input::Tick);
        self.attend();
    }

    /// The daemon dies. Its children go on, what it had not saved is lost.
    pub fn kill_daemon(&mut self) {
        if self.daemon.engine.take().is_none() {
            return;
        }
        self.note(|_| "# the daemon dies".to_owned());
        self.excuse_last_moments();
        self.doubt_bounced();
        let d = &mut self.daemon;
        d.crash_at = None;
        d.writing.clear();
        d.inputs.clear();
        d.wake_at = u64::MAX;
        let run = d.run;
        // Commands that only read die with it; a writer goes on.
        d.jobs.retain(super::roles::outlives);
        if let Some(after) = d.restart_after {
            self.queue.at(self.now + after, Happening::DaemonStarts { run });
        }
    }

    pub(super) fn daemon_starts(&mut self, run: u32) {
        if self.daemon.run == run {
            self.start_daemon();
        }
    }

    /// Asks the daemon for something; it answers in the same step, unless it is dead.
    pub fn command(&mut self, command: Command) -> Option<Result<Reply, Refusal>> {
        self.daemon.engine.as_ref()?;
        self.daemon.replies.clear();
        self.note(|_| format!("? {command:?}"));
        self.daemon.inputs.push_back(Input::Command(1, command));
        self.attend();
        let reply = self.daemon.replies.pop();
        if let Some(Err(refusal)) = &reply {
            let refusal = refusal.to_string();
            self.note(|_| format!("  refused: {refusal}"));
        }
        reply
    }

    /// The daemon is told to stop.
    pub fn stop_daemon(&mut self) {
        self.note(|_| "# the daemon is told to stop".to_owned());
        self.daemon.inputs.push_back(Input::SystemStopping(true));
        self.daemon.inputs.push_back(Input::Stopping);
        self.attend();
    }

    pub(super) fn wake_daemon(&mut self) {
        let d = &mut self.daemon;
        d.wake_at = u64::MAX;
        d.wakes = if self.now < d.woken_at + SECOND / 100 { d.wakes + 1 } else { 0 };
        if d.wakes == 0 {
            d.woken_at = self.now;
        }
        if d.wakes > 200 {
            self.violate("the daemon wakes itself without a pause".to_owned());
        }
        self.daemon.inputs.push_back(Input::Tick);
    }

    /// Whether the daemon could flag a leg now: it runs, its tools work.
    pub(super) fn daemon_able(&self) -> bool {
        let d = &self.daemon;
        let hangs = |job: &Job| self.now > job.begun + 5 * SECOND;
        d.engine.is_some()
            && d.ledger_ok
            && d.report_ok
            && d.faults.is_empty()
            // Back-off after a fault: the third try comes after 5 s, the fifth after 20.
            && d.troubled_at.is_none_or(|at| self.now > at + 90 * SECOND)
            && !d.jobs.iter().any(hangs)
    }

    /// Feeds the daemon what has come up, until it has nothing more to say.
    pub(super) fn attend(&mut self) {
        if std::mem::take(&mut self.poked) && self.daemon.engine.is_some() {
            let hints = std::mem::take(&mut self.hints);
            let silent = hints.is_empty();
            self.daemon.inputs.extend(hints);
            if silent {
                self.daemon.inputs.push_back(Input::Tick);
            }
        }
        self.hints.clear();
        // A daemon that asks for look after look at the same moment would hang the simulation.
        for _ in 0..1000 {
            let input = match self.daemon.inputs.pop_front() {
                Some(input) => input,
                None if std::mem::take(&mut self.daemon.look) => {
                    self.daemon.looked_at = self.now;
                    Input::Kernel(Box::new(self.kernel_view()))
                }
                None => return,
            };
            self.feed(input);
        }
        self.violate("the daemon does not come to rest".to_owned());
    }

    fn feed(&mut self, input: Input) {
        let now = Now { mono: Mono(self.now), wall: self.wall(), east: 0 };
        let Some(engine) = self.daemon.engine.as_mut() else { return };
        self.daemon.steps += 1;
        for effect in engine.step(now, input) {
            // A death before a timer or a look is the same as one before what follows.
            if !matches!(effect, Effect::WakeAt(_) | Effect::ObserveKernel) {
                self.daemon.effects += 1;
                if self.daemon.crash_at.is_some_and(|at| self.daemon.effects >= at) {
                    self.note(|_| format!("  dies before {effect:?}").chars().take(300).collect());
                    self.kill_daemon();
                    return;
                }
            }
            self.take(effect);
        }
    }

    fn take(&mut self, effect: Effect) {
        let run = self.daemon.run;
        match effect {
            Effect::ObserveKernel => self.daemon.look = true,
            Effect::ObserveLvm => self.queue.at(self.now + 7 * SECOND / 10, Happening::Report { run }),
            Effect::ObserveNodes => self.queue.at(self.now + SECOND / 5, Happening::Nodes { run }),
            Effect::Save(ledger) => {
                self.daemon.saves += 1;
                self.daemon.asked_to_save = Some(ledger.generation);
                self.daemon.writing.push_back(ledger);
                let takes = self.rng.between(5, 50) * SECOND / 1000;
                self.queue.at(self.now + takes, Happening::Saved { run });
            }
            Effect::WakeAt(at) => self.daemon.wake_at = at.0.max(self.now + 1),
            Effect::Start(id, op) => self.start(id, op),
            Effect::Publish(event) => {
                self.note(|_| told(&event));
                if let (EventCode::MirrorRedundant, Object::Mirror(name)) = (event.code, &event.object)
                    && let Some(volume) = self.volume_named(name)
                {
                    self.whole_again(volume);
                }
                if self.daemon.record {
                    self.daemon.events.push(event);
                }
            }
            Effect::Reply(_, reply) => self.daemon.replies.push(reply),
            Effect::Stopped => self.daemon.stopped = true,
            Effect::Anomaly(text) => {
                self.note(|_| format!("ANOMALY {text}"));
                self.anomalies.push(text);
            }
        }
    }

    pub(super) fn saved(&mut self, run: u32) {
        if run != self.daemon.run {
            return;
        }
        let Some(ledger) = self.daemon.writing.pop_front() else { return };
        let generation = ledger.generation;
        let result = if self.daemon.ledger_ok {
            self.daemon.file = File::Good(ledger);
            Ok(())
        } else {
            Err("Read-only file system".to_owned())
        };
        self.daemon.inputs.push_back(Input::LedgerSaved(generation, result));
    }

    pub(super) fn report_ready(&mut self, run: u32) {
        if run != self.daemon.run || self.daemon.engine.is_none() {
            return;
        }
        let report =
            if !self.daemon.report_ok || self.any_waits() { Err("timed out".to_owned()) } else { Ok(self.lvm_view()) };
        self.daemon.inputs.push_back(Input::Lvm(report));
    }

    pub(super) fn nodes_ready(&mut self, run: u32) {
        if run == self.daemon.run && self.daemon.engine.is_some() {
            let nodes = self.node_records();
            self.daemon.inputs.push_back(Input::Nodes(Ok(nodes)));
        }
    }

    /// What goes wrong with an operation by chance. A knock is no tool that could.
    pub(super) fn some_trouble(&mut self, op: &Op) -> Option<Trouble> {
        if self.daemon.trouble == 0 || matches!(op, Op::Knock { .. }) || !self.rng.chance(self.daemon.trouble) {
            return None;
        }
        let writer = op.writes_vg().is_some();
        Some(match self.rng.below(8) {
            0 if writer => Trouble::KilledSuspended,
            1 if writer => Trouble::Lies(5),
            2 if op.lvs().len() > 1 => Trouble::Partial,
            3 => Trouble::Slow(self.rng.between(3, 60)),
            4 => Trouble::Slow(200),
            5 => Trouble::Fail,
            _ => Trouble::Exit(5),
        })
    }
}

/// An event in one line.
fn told(event: &Event) -> String {
    let object = match &event.object {
        Object::Server(name) => name.to_string(),
        Object::Manager => String::new(),
        Object::Target(key) => key.to_string(),
        Object::Mirror(name) => name.to_string(),
        Object::Job(id) => format!("{id:?}"),
    };
    let value = |value: &Value| match value {
        Value::Str(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let details = event.details.iter().map(|(key, v)| format!("{key}={}", value(v)));
    format!("! {} {object} {}", event.code, details.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
#[path = "daemon_tests.rs"]
mod tests;
