//! A machine without hardware: the engine runs against a model in virtual time, effects become inputs, and every promise is
//! looked at on every step. No I/O, no clock, no randomness: the same story always goes the same way.
//!
//! [`machine`] is the machine, [`raid`] and [`dm_mirror`] the volumes, [`exec`] what commands do, [`view`] what sensors see.

pub mod dm_mirror;
pub mod exec;
pub mod machine;
pub mod raid;
pub mod view;

use machine::{Machine, SECOND};
use mirrorkeeper_core::engine::{Engine, Host, LedgerFound};
use mirrorkeeper_core::ids::{LvUuid, OpId, TargetKey};
use mirrorkeeper_core::input::{Command, Effect, Input, Refusal, Reply};
use mirrorkeeper_core::ledger::Ledger;
use mirrorkeeper_core::observation::ScsiState;
use mirrorkeeper_core::op::{Op, OpResult};
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::snapshot::{Event, MirrorView, TargetView};
use mirrorkeeper_core::time::{Mono, Now, Wall};
use mirrorkeeper_core::words::{EventCode, Hold, MirrorState};
use std::collections::VecDeque;
use std::sync::Arc;

/// Virtual time moves in such steps: small against every duration that matters.
const QUANTUM: u64 = SECOND / 10;

/// Wall clock at boot.
const BOOT: u64 = 1_700_000_000 * SECOND;

/// How an operation goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Exits with this code and does nothing.
    Exit(i32),
    /// Cannot be run.
    Fail,
    /// Takes that many seconds; its deadline is announced when it passes.
    Slow(u64),
    /// Killed after the first suspend: the volume hangs.
    KilledSuspended,
}

/// What is going to reach the engine.
enum Pending {
    Kernel,
    Lvm,
    Nodes,
    Saved(Arc<Ledger>),
    Deadline(OpId),
    End(OpId, Box<Op>, Option<Fault>),
}

/// A command that ran, for stories to look at.
pub struct Ran {
    /// When it was started, in seconds.
    pub at: u64,
    /// What.
    pub op: Op,
}

/// Engine and machine.
pub struct Bench {
    /// The machine.
    pub machine: Machine,
    /// Every operation started.
    pub ran: Vec<Ran>,
    /// Every event published.
    pub events: Vec<Event>,
    /// Replies to commands.
    pub replies: Vec<Result<Reply, Refusal>>,
    /// Anomalies the safety check reported: a plan that should not have been made.
    pub anomalies: Vec<String>,
    /// Faults waiting for an operation of that step code.
    pub faults: VecDeque<(&'static str, Fault)>,
    /// The ledger can be written.
    pub ledger_ok: bool,
    /// The LVM report works.
    pub report_ok: bool,
    /// Seconds that local time is ahead of UTC.
    pub east: i32,
    /// Ledger writes.
    pub saves: usize,
    /// Wake-ups by the engine's own timer.
    pub wakes: usize,
    /// Effects so far that leave a trace.
    pub effects: usize,
    /// The engine said that stopping is done.
    pub stopped: bool,
    /// The daemon dies just before this effect.
    pub crash_at: Option<usize>,
    engine: Engine,
    ledger: Option<Ledger>,
    unsaved: bool,
    run: u32,
    queue: Vec<(u64, u32, Pending)>,
    writers: Vec<(u32, OpId)>,
    wake: u64,
    log: VecDeque<String>,
}

/// Without stamps and registrations, which this model does not know.
pub fn settings() -> Settings {
    Settings { stamp_interval: std::time::Duration::ZERO, quick_timeout: 0, ..Settings::default() }
}

fn host(boot: &str) -> Host {
    Host { boot_id: boot.to_owned(), machine_id: "machine".to_owned() }
}

impl Bench {
    /// A daemon that has just been started for the first time on a healthy machine.
    pub fn new(raids: &[&str], mirrors: &[&str]) -> Self {
        Self::on(Machine::new(raids, mirrors))
    }

    /// A daemon that has just been started for the first time on that machine.
    pub fn on(machine: Machine) -> Self {
        let mut bench = Self {
            wake: machine.now,
            machine,
            ran: Vec::new(),
            events: Vec::new(),
            replies: Vec::new(),
            anomalies: Vec::new(),
            faults: VecDeque::new(),
            ledger_ok: true,
            report_ok: true,
            east: 0,
            saves: 0,
            wakes: 0,
            effects: 0,
            stopped: false,
            crash_at: None,
            engine: Engine::new(settings(), LedgerFound::Absent, host("boot-1")),
            ledger: None,
            unsaved: false,
            run: 0,
            queue: Vec::new(),
            writers: Vec::new(),
            log: VecDeque::new(),
        };
        bench.feed(Input::Tick);
        bench
    }

    /// The same, watched until it has nothing to do.
    pub fn settled(raids: &[&str], mirrors: &[&str]) -> Self {
        let mut bench = Self::new(raids, mirrors);
        bench.run_for(60);
        bench.forget();
        bench
    }

    /// Forgets what was recorded so far.
    pub fn forget(&mut self) {
        (self.saves, self.wakes) = (0, 0);
        self.ran.clear();
        self.events.clear();
    }

    /// Lets virtual seconds pass.
    pub fn run_for(&mut self, seconds: u64) {
        let end = self.machine.now + seconds * SECOND;
        while self.machine.now < end {
            self.tick();
        }
    }

    /// Lets time pass until something is so; fails after that many seconds.
    #[track_caller]
    pub fn run_until(&mut self, seconds: u64, what: &str, so: impl Fn(&Self) -> bool) {
        let end = self.machine.now + seconds * SECOND;
        while !so(self) {
            assert!(self.machine.now < end, "not within {seconds} s: {what}\n{}", self.story());
            self.tick();
        }
    }

    /// Lets time pass until every mirror is redundant.
    #[track_caller]
    pub fn run_until_redundant(&mut self, seconds: u64) {
        // What was just done to the machine has to be seen first.
        self.run_for(1);
        self.run_until(seconds, "redundant", Self::redundant);
        self.run_for(3);
        assert!(self.redundant(), "redundant only for a moment\n{}", self.story());
        let stale = self.machine.raids.iter().flat_map(|r| &r.legs).any(|leg| leg.stale);
        let stale = stale || self.machine.mirrors.iter().any(|m| m.stale != [false; 2]);
        assert!(!stale, "said to be redundant with a stale leg\n{}", self.story());
    }

    /// Every mirror is shown as redundant and is so.
    pub fn redundant(&self) -> bool {
        let shown = &self.engine.snapshot().mirrors;
        !shown.is_empty() && shown.values().all(|m| m.state == MirrorState::Redundant)
    }

    /// Every mirror is redundant, or says why nothing is done about it.
    pub fn at_rest(&self) -> bool {
        let shown = &self.engine.snapshot().mirrors;
        let waits = |hold| !matches!(hold, Hold::Settling | Hold::Queued | Hold::VgBusy | Hold::BackOff);
        shown.values().all(|m| m.state == MirrorState::Redundant || m.hold.is_some_and(waits))
    }

    fn tick(&mut self) {
        self.machine.advance(QUANTUM);
        let now = self.machine.now;
        for input in std::mem::take(&mut self.machine.news) {
            self.feed(input);
        }
        let (due, later) = std::mem::take(&mut self.queue).into_iter().partition(|(at, ..)| *at <= now);
        self.queue = later;
        for (_, run, pending) in due {
            self.deliver(run, pending);
        }
        if self.wake <= now {
            self.wakes += 1;
            self.feed(Input::Tick);
        }
        self.promises();
    }

    fn deliver(&mut self, run: u32, pending: Pending) {
        let input = match pending {
            Pending::Kernel => Input::Kernel(Box::new(self.machine.kernel_view(!self.writers.is_empty()))),
            Pending::Lvm if !self.report_ok || self.blocked().is_some() => Input::Lvm(Err("timed out".into())),
            Pending::Lvm => Input::Lvm(Ok(self.machine.lvm_view())),
            Pending::Nodes => Input::Nodes(Ok(self.machine.nodes())),
            Pending::Saved(ledger) => {
                let generation = ledger.generation;
                let result = if self.ledger_ok { Ok(()) } else { Err("read-only file system".to_owned()) };
                if self.ledger_ok {
                    self.ledger = Some((*ledger).clone());
                    self.unsaved &= run != self.run;
                }
                Input::LedgerSaved(generation, result)
            }
            Pending::Deadline(id) if self.writers.contains(&(run, id)) => Input::OpEnded(id, OpResult::TimedOut),
            Pending::Deadline(_) => return,
            // A scan waits with the device; the command goes on when it is back.
            Pending::End(id, op, fault) if op.writes_vg().is_some() && self.blocked().is_some() => {
                self.queue.push((self.machine.now + SECOND, run, Pending::End(id, op, fault)));
                return;
            }
            Pending::End(id, op, fault) => {
                self.writers.retain(|writer| *writer != (run, id));
                let result = self.end(&op, fault);
                self.note(format!("  {} → {result:?}", op.code()));
                Input::OpEnded(id, result)
            }
        };
        // Answers to a daemon that is dead reach nobody.
        if run == self.run {
            self.feed(input);
        }
    }

    fn end(&mut self, op: &Op, fault: Option<Fault>) -> OpResult {
        match fault {
            Some(Fault::Exit(code)) => OpResult::Exit { code, last_line: "injected".into() },
            Some(Fault::Fail) => OpResult::Failed("injected".into()),
            Some(Fault::KilledSuspended) => {
                for raid in self.machine.raids.iter_mut().filter(|r| op.lvs().iter().any(|lv| lv.uuid == r.uuid)) {
                    raid.suspended = true;
                    // The table with the flag is loaded by then, and a refresh resumes with it (`facts/lab.md` A).
                    let flags = op.code() == "quarantine";
                    let on_pv = raid.legs.iter_mut().filter(|leg| op.pv() == Some(&Machine::pv(leg.server)));
                    on_pv.for_each(|leg| leg.table_flag |= flags);
                }
                for lv in op.lvs() {
                    self.machine.mirrors.iter_mut().filter(|m| m.uuid == lv.uuid).for_each(|m| m.suspended = true);
                }
                OpResult::Exit { code: 137, last_line: "killed".into() }
            }
            Some(Fault::Slow(_)) | None => self.machine.execute(op),
        }
    }

    /// Gives an input to the engine and takes care of the effects.
    pub fn feed(&mut self, input: Input) {
        let now = self.machine.now;
        let wall = Wall(BOOT + now);
        for effect in self.engine.step(Now { mono: Mono(now), wall, east: self.east }, input) {
            // A death before a timer or a look at sysfs is the same as one before what follows.
            let idle = matches!(effect, Effect::WakeAt(_) | Effect::ObserveKernel);
            self.effects += usize::from(!idle);
            if !idle && self.crash_at == Some(self.effects) {
                self.restart_daemon();
                return;
            }
            self.take(effect);
        }
    }

    fn take(&mut self, effect: Effect) {
        let now = self.machine.now;
        let mut later = |delay: u64, pending: Pending| self.queue.push((now + delay, self.run, pending));
        match effect {
            Effect::ObserveKernel => later(0, Pending::Kernel),
            Effect::ObserveLvm => later(7 * QUANTUM, Pending::Lvm),
            Effect::ObserveNodes => later(2 * QUANTUM, Pending::Nodes),
            Effect::Save(ledger) => {
                later(QUANTUM, Pending::Saved(ledger));
                self.saves += 1;
                self.unsaved = true;
            }
            Effect::WakeAt(at) => self.wake = at.0,
            Effect::Start(id, op) => self.start(id, op),
            Effect::Publish(event) => {
                self.note(format!("! {} {:?} {:?}", event.code, event.object, event.details));
                self.events.push(event);
            }
            Effect::Reply(_, reply) => self.replies.push(reply),
            Effect::Stopped => self.stopped = true,
            Effect::Anomaly(text) => {
                self.note(format!("ANOMALY {text}"));
                self.anomalies.push(text);
            }
        }
    }

    fn start(&mut self, id: OpId, op: Op) {
        self.note(format!("> {}", op.command_line()));
        let mut wrong: Vec<String> = Vec::new();
        if op.writes_vg().is_some() {
            wrong.extend(self.blocked().map(|disk| format!("LVM command while {disk} is blocked")));
            wrong.extend(self.writers.iter().any(|(run, _)| *run == self.run).then(|| "second writer".to_owned()));
            wrong.extend(self.unsaved.then(|| "storage written before the ledger".to_owned()));
            self.writers.push((self.run, id));
        }
        let line = op.command_line();
        let never =
            ["--force", "removemissing", "pvcreate", "vgcfgrestore", "--resync", "partial", "--logout", "--devices"];
        let never = never.iter().filter(|word| !(**word == "--logout" && matches!(op, Op::Fence { .. })));
        wrong.extend(never.filter(|word| line.contains(**word)).map(|word| format!("{word} in {line}")));
        let wrong = wrong.into_iter().map(|w| format!("{w} ({})", op.code()));
        self.machine.broken.extend(wrong);
        let fault = self.faults.iter().position(|(code, _)| *code == op.code()).and_then(|i| self.faults.remove(i));
        let fault = fault.map(|(_, fault)| fault);
        let takes = match (&op, &fault) {
            (_, Some(Fault::Slow(seconds))) => seconds * SECOND,
            (Op::Login { .. }, _) => SECOND,
            (Op::SetRecoveryTmo { .. } | Op::SetOffline { .. } | Op::Rescan { .. }, _) => 0,
            (op, _) if op.writes_vg().is_some() => 15 * QUANTUM,
            _ => 3 * QUANTUM,
        };
        let deadline = u64::try_from(op.deadline().as_micros()).unwrap();
        let now = self.machine.now;
        if takes > deadline {
            self.queue.push((now + deadline, self.run, Pending::Deadline(id)));
        }
        self.ran.push(Ran { at: now / SECOND, op: op.clone() });
        self.queue.push((now + takes, self.run, Pending::End(id, Box::new(op), fault)));
    }

    /// The daemon dies and is started again. Commands it started go on (`KillMode=process`); what it had not saved is lost.
    pub fn restart_daemon(&mut self) {
        self.restart_in("boot-1");
    }

    /// The daemon starts in another boot.
    pub fn restart_in(&mut self, boot: &str) {
        self.note("# daemon restarted".into());
        self.run += 1;
        self.crash_at = None;
        self.unsaved = false;
        let found = self.ledger.clone().map_or(LedgerFound::Absent, |ledger| LedgerFound::Good(Box::new(ledger)));
        self.engine = Engine::new(settings(), found, host(boot));
        self.feed(Input::Tick);
    }

    fn blocked(&self) -> Option<String> {
        let mut sessions = self.machine.sessions.iter().flatten();
        sessions.find(|s| s.disk_state == ScsiState::Blocked).map(|s| s.disk.clone())
    }

    #[track_caller]
    fn promises(&mut self) {
        assert!(self.machine.broken.is_empty(), "{:#?}\n{}", self.machine.broken, self.story());
    }

    fn note(&mut self, text: String) {
        if self.log.len() == 200 {
            self.log.pop_front();
        }
        self.log.push_back(format!("{:8.1} {text}", (self.machine.now / QUANTUM) as f64 / 10.0));
    }

    /// The last things that happened, for a failing test.
    pub fn story(&self) -> String {
        let mirrors = self.engine.snapshot().mirrors.values().map(|m| {
            let legs: Vec<_> = m.legs.iter().map(|l| (l.state.word(), &l.details)).collect();
            format!("{} {} hold {:?} {:?} {legs:?}", m.name, m.state, m.hold, m.hold_details)
        });
        let raids = self.machine.raids.iter().map(|r| format!("{r:?}"));
        let dm = self.machine.mirrors.iter().map(|m| format!("{m:?}"));
        self.log.iter().cloned().chain(mirrors).chain(raids).chain(dm).collect::<Vec<_>>().join("\n")
    }

    /// Asks for something.
    pub fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.feed(Input::Command(1, command));
        self.replies.pop().expect("every command is answered in its own step")
    }

    /// A mirror as shown, by LV name.
    #[track_caller]
    pub fn mirror(&self, lv: &str) -> &MirrorView {
        let name = format!("vg0/{lv}");
        self.engine.snapshot().mirrors.get(name.as_str()).unwrap_or_else(|| panic!("no {name}\n{}", self.story()))
    }

    /// The UUID of an LV.
    pub fn uuid(lv: &str) -> LvUuid {
        machine::uuid(lv)
    }

    /// A target as shown.
    pub fn target(&self, server: usize) -> &TargetView {
        self.shown(&Machine::target(server)).expect("a target")
    }

    /// recovery_tmo of a session, which must be there.
    pub fn tmo(&self, server: usize) -> Option<u32> {
        self.machine.sessions[server].as_ref().expect("a session").tmo
    }

    fn shown(&self, key: &TargetKey) -> Option<&TargetView> {
        self.engine.snapshot().targets.get(key)
    }

    /// The engine itself.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The ledger on disk.
    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("a saved ledger")
    }

    /// Step codes of the LVM commands started, in order.
    pub fn writes(&self) -> Vec<&'static str> {
        self.ran.iter().filter(|ran| ran.op.writes_vg().is_some()).map(|ran| ran.op.code()).collect()
    }

    /// When operations of a step code were started, in seconds.
    pub fn times(&self, code: &str) -> Vec<u64> {
        self.ran.iter().filter(|ran| ran.op.code() == code).map(|ran| ran.at).collect()
    }

    /// Codes of the events about mirrors and targets, in order.
    pub fn codes(&self) -> Vec<EventCode> {
        self.events.iter().map(|event| event.code).collect()
    }

    /// Waits for a hold on an LV and makes sure that nothing is written while it lasts.
    #[track_caller]
    pub fn run_until_held(&mut self, seconds: u64, lv: &str, hold: Hold) {
        self.run_until(seconds, &format!("{lv} held: {hold}"), |b| b.mirror(lv).hold == Some(hold));
        let writes = self.writes().len();
        self.run_for(120);
        assert_eq!(self.mirror(lv).hold, Some(hold), "the hold does not last\n{}", self.story());
        assert_eq!(self.writes().len(), writes, "written in spite of the hold\n{}", self.story());
    }
}
