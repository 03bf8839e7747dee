//! The engine: one owner of everything that is believed, one function that turns an input into effects.
//!
//! A step takes in one input and then always restores the same invariants in the same order: judge what is seen, note it
//! in the ledger, wish for observations, plan, check, start, show. Multi-step work is state, never a waiting function.

mod start;
mod turn;

use crate::arbiter::{Arbiter, Slot};
use crate::at_a_loss::AtALoss;
use crate::fence::Answers;
use crate::ids::{LvUuid, OpId, TargetKey, VgUuid};
use crate::input::{Effect, Input};
use crate::lasting::Lasting;
use crate::ledger::{Connection, Ledger, Mark, VERSION};
use crate::limit::Throttles;
use crate::op::Op;
use crate::plan::{self, Plan, ProbeRun, Scrub, Situation};
use crate::roles::{Ground, Roles};
use crate::scrub::Checks;
use crate::servers::{self, Servers};
use crate::session::Targets;
use crate::settings::Settings;
use crate::snapshot::{Details, Event, Object, Snapshot};
use crate::stall::Stalls;
use crate::time::{Mono, Now};
use crate::topology::{self, Live, Mirror};
use crate::trust::{self, Evidence};
use crate::upkeep::{Stopping, Upkeep};
use crate::watch::Watch;
use crate::witness::Objection;
use crate::words::{EventCode, Hold, Operation, Severity, UnmanagedReason};
use crate::world::World;
use crate::{boot, detect, fence, jobs::Jobs, pause, roles, silence, timeouts, trapped};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the ledger file was found at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerFound {
    /// Read.
    Good(Box<Ledger>),
    /// There is none: first start.
    Absent,
    /// There is one that cannot be used; why, and where it was put aside.
    Damaged(String),
}

/// The machine that the daemon runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Of this boot of the kernel, to tell its notes from those of another.
    pub boot_id: String,
    /// `/etc/machine-id`: our keys on the targets are made from it.
    pub machine_id: String,
}

/// Everything believed, and what is being done about it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) host: Host,
    pub(crate) settings: Settings,
    pub(crate) ledger: Ledger,
    /// The ledger as the last turn left it.
    ledger_before: Arc<Ledger>,
    pub(crate) targets: Targets,
    pub(crate) servers: Servers,
    pub(crate) mirrors: BTreeMap<LvUuid, Mirror>,
    pub(crate) hurry: BTreeSet<LvUuid>,
    pub(crate) asked: BTreeSet<LvUuid>,
    pub(crate) checks: Checks,
    /// Mirrors whose healing a person cancelled.
    pub(crate) cancelled: BTreeSet<LvUuid>,
    pub(crate) throttles: Throttles,
    /// Who asked for another timeout, and when: for the event that tells of it.
    pub(crate) asked_by: BTreeMap<TargetKey, (u32, Mono)>,
    pub(crate) stalls: Stalls,
    pub(crate) upkeep: Upkeep,
    pub(crate) lasting: Lasting,
    pub(crate) at_a_loss: AtALoss,
    pub(crate) jobs: Jobs,
    pub(crate) arbiter: Arbiter,
    /// Shared with whoever shows it.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) wants: Wants,
    pub(crate) world: World,
    pub(crate) saved: Saved,
    pub(crate) watch: Watch,
    pub(crate) scrubs: BTreeMap<LvUuid, Scrub>,
    pub(crate) probes: BTreeMap<VgUuid, ProbeRun>,
    /// Disks that answered a direct read.
    pub(crate) answers: Answers,
    /// Scrub state noted when its command was started: dm event number and sectors written.
    pub(crate) before: BTreeMap<OpId, Vec<(LvUuid, Scrub)>>,
    pub(crate) news: Vec<Event>,
    refused: BTreeSet<String>,
    /// Mirrors with a step that was refused in the last turn.
    refused_steps: BTreeSet<LvUuid>,
    /// The last turn has begun a step, or one waits until the ledger that justifies it is on disk.
    moving: bool,
    /// The operation that an intention was last noted for and that has not begun yet.
    intended: Option<Op>,
    /// When time alone may change a decision, at the earliest.
    due: Mono,
    /// When the last full turn was taken.
    turned: Now,
    /// Looks in a row that showed the same.
    same_looks: u32,
    /// Targets whose connection broke since LVM's report was last up to date: what it reports next may have been in use then.
    broke: BTreeSet<TargetKey>,
    /// Mirrors were joined anew since the last look.
    rejoined: bool,
    /// An operation has ended since the kernel was last looked at: nothing is begun before the next look.
    pub(crate) outdated: bool,
    pub(crate) stopping: Option<Stopping>,
    /// Whether the whole system is going down, once it is known.
    pub(crate) system_stopping: Option<bool>,
}

/// Observations that are wanted or being made.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) kernel: bool,
    pub(crate) nodes: bool,
    nodes_running: bool,
    lvm_running: bool,
    lvm_retry: Option<(Mono, u32)>,
    sessions: Vec<(u32, bool)>,
    connections: Vec<Connection>,
}

/// How far the ledger is on disk.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) generation: u64,
    writing: bool,
    error: Option<String>,
    retry: Option<Mono>,
}

impl Saved {
    /// Whether all of a ledger is on disk.
    fn is(&self, ledger: &Ledger) -> bool {
        self.generation == ledger.generation
    }

    /// A write has ended well.
    pub(crate) fn done(&mut self, generation: u64) {
        *self = Self { generation, ..Self::default() };
    }

    /// Why it could not be saved last.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

impl Engine {
    /// Begins with what was remembered.
    pub fn new(settings: Settings, found: LedgerFound, host: Host) -> Self {
        let mut news = Vec::new();
        let boot_id = host.boot_id.as_str();
        let mut ledger = match found {
            LedgerFound::Good(ledger) if ledger.version == VERSION => *ledger,
            LedgerFound::Absent => Ledger::empty(boot_id),
            LedgerFound::Good(_) | LedgerFound::Damaged(_) => {
                let why = match found {
                    LedgerFound::Damaged(why) => why,
                    _ => "it has another version".to_owned(),
                };
                let details = Details::from([("reason", why.into())]);
                let (code, severity) = (EventCode::LedgerDamaged, Severity::Error);
                news.push(Event { at: Default::default(), code, severity, object: Object::Manager, details });
                Ledger::empty(boot_id)
            }
        };
        let saved = Saved { generation: ledger.generation, ..Saved::default() };
        if ledger.boot_id != boot_id {
            trust::reboot(&mut ledger, boot_id);
            // The kernel began with its own.
            ledger.wishes.throttles.clear();
            ledger.generation += 1;
        }
        if ledger.mark != Mark::Running {
            ledger.mark = Mark::Running;
            ledger.generation += 1;
        }
        // A VG is left alone until the next start.
        ledger.generation += u64::from(pause::unforget(&mut ledger));
        Self {
            host,
            settings,
            ledger_before: Arc::new(ledger.clone()),
            ledger,
            targets: Targets::default(),
            servers: Servers::default(),
            mirrors: BTreeMap::new(),
            hurry: BTreeSet::new(),
            asked: BTreeSet::new(),
            checks: Checks::default(),
            cancelled: BTreeSet::new(),
            throttles: Throttles::new(),
            asked_by: BTreeMap::new(),
            stalls: Stalls::default(),
            upkeep: Upkeep::default(),
            lasting: Lasting::default(),
            at_a_loss: AtALoss::default(),
            jobs: Jobs::default(),
            arbiter: Arbiter::default(),
            snapshot: Arc::default(),
            wants: Wants { kernel: true, nodes: true, ..Wants::default() },
            world: World::default(),
            saved,
            watch: Watch::default(),
            scrubs: BTreeMap::new(),
            probes: BTreeMap::new(),
            answers: Answers::new(),
            before: BTreeMap::new(),
            news,
            refused: BTreeSet::new(),
            refused_steps: BTreeSet::new(),
            moving: false,
            intended: None,
            due: Mono(0),
            turned: Now::default(),
            same_looks: 0,
            broke: BTreeSet::new(),
            rejoined: false,
            outdated: false,
            stopping: None,
            system_stopping: None,
        }
    }

    /// The read model after the last step.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Takes in one input and says what to do.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        if let Some(effects) = self.nothing_new(now, &input) {
            return effects;
        }
        let mut effects = Vec::new();
        let looks = matches!(input, Input::OpEnded(..) | Input::Iscsi(_));
        let saved = matches!(input, Input::LedgerSaved(_, Ok(()))) && self.saved.error.is_none();
        let broken = self.absorb(now, input, &mut effects);
        if looks && self.awaits_look(now, &mut effects) {
            return effects;
        }
        self.judge(now, &broken);
        if saved && self.only_saved(now) {
            return vec![Effect::WakeAt(self.next_wake(now))];
        }
        let roles = roles::roles(self.ground());
        let mut wishes: Vec<(Op, String)> = Vec::new();
        let mut holds = BTreeMap::new();
        if self.stopping.is_some() {
            wishes = self.closing(now);
            self.throttle(now, &mut wishes);
            // A system that goes down waits for its file systems, and they for a dead anchor.
            let dying = self.system_stopping == Some(true) && self.situation(now, fence::due);
            if dying {
                wishes.extend(self.situation(now, fence::plan));
            }
            self.mark_end(now, &wishes);
            if !dying {
                let farewell = timeouts::farewell(&self.targets, &self.ledger);
                wishes.extend(farewell.into_iter().map(|op| (op, "the service stops".to_owned())));
            }
        } else if self.world.kernel_seen {
            self.wish_waits(now, &roles, &mut wishes);
            self.wish_iscsi(now, &mut wishes);
            self.maintain(now, &mut wishes);
            self.throttle(now, &mut wishes);
            holds = self.plan(now, &mut wishes);
        }
        let noted = self.ledger != *self.ledger_before;
        if noted {
            self.ledger.generation = self.ledger_before.generation + 1;
        }
        if self.start(now, wishes, &mut holds, &mut effects) {
            self.ledger.generation += 1;
        }
        // Nothing but what is begun notes anything there.
        if noted || self.moving && self.ledger != *self.ledger_before {
            self.ledger_before = Arc::new(self.ledger.clone());
        }
        self.save(now, &mut effects);
        self.finish_stopping(&mut effects);
        self.observe(now, &mut effects);
        self.show(now, &roles, &holds, &mut effects);
        (self.due, self.turned) = (self.next_due(now), now);
        effects.push(Effect::WakeAt(self.next_wake(now)));
        effects
    }

    fn join(&mut self) {
        if !self.servers.cover(&self.targets) {
            self.servers = servers::domains(self.targets.all.keys(), &self.settings.servers);
        }
        self.servers.count(&self.targets);
        self.mirrors = topology::join(&self.world.kernel, &self.world.vgs, &self.ledger);
        let excluded = |m: &Mirror| self.settings.mirrors.get(m.name.as_str()).is_some_and(|policy| policy.exclude);
        for mirror in self.mirrors.values_mut().filter(|m| excluded(m)) {
            mirror.unmanaged.get_or_insert(UnmanagedReason::Excluded);
        }
        boot::answered(&mut self.asked, &self.mirrors);
    }

    fn judge(&mut self, now: Now, broken: &BTreeSet<TargetKey>) {
        self.finish_scrubs(now);
        self.broke.extend(broken.iter().cloned());
        let evidence = Evidence {
            mirrors: &self.mirrors,
            broken,
            broke: &self.broke,
            watched: &self.watch.whole,
            steady: &self.watch.steady,
            // What a command of an earlier run takes out was not taken out by a person.
            reported: self.world.reported && self.world.kernel.left_over.is_empty(),
            vgs: &self.world.vgs,
            events: &self.watch.events,
            settings: &self.settings,
            at: now.wall,
        };
        let reported = evidence.reported;
        trust::judge(&mut self.ledger, evidence);
        if reported {
            self.broke.clear();
        }
        self.watch.remember(&self.mirrors);
        self.keep_up(now);
        self.end_cancellations();
        self.keep_calendar(now);
        self.tell_stalls(now);
    }

    /// Runs a closure over everything a plan rests on.
    pub(crate) fn situation<T>(&self, now: Now, look: impl FnOnce(&Situation<'_>) -> T) -> T {
        look(&Situation {
            now,
            settings: &self.settings,
            kernel: &self.world.kernel,
            vgs: &self.world.vgs,
            reported: self.world.reported,
            ledger: &self.ledger,
            targets: &self.targets,
            servers: &self.servers,
            mirrors: &self.mirrors,
            steady: &self.watch.steady,
            stuck_since: &self.watch.stuck_since,
            keeping: &self.watch.keeping,
            scrubs: &self.scrubs,
            probes: &self.probes,
            hurry: &self.hurry,
            asked: &self.asked,
            checks: &self.checks.wanted,
            cancelled: &self.cancelled,
            refused: &self.refused_steps,
            looks: &self.upkeep.looks,
            stamps: &self.upkeep.stamps,
            stamping: &self.upkeep.stamping,
            answers: &self.answers,
            machine_id: &self.host.machine_id,
        })
    }

    /// What roles rest on.
    fn ground(&self) -> Ground<'_> {
        Ground {
            mirrors: &self.mirrors,
            kernel: &self.world.kernel,
            targets: &self.targets,
            ledger: &self.ledger,
            settings: &self.settings,
            reported: self.world.reported,
        }
    }

    /// How long sessions wait, how soon they notice, and which dead one is given up.
    fn wish_waits(&mut self, now: Now, roles: &Roles, wishes: &mut Vec<(Op, String)>) {
        let (writes, notes) = timeouts::adjust(roles, self.ground());
        self.ledger.targets.extend(notes);
        // Records that are being read again may say so already.
        let known = !self.wants.nodes && !self.wants.nodes_running;
        let due = writes.into_iter().filter(|op| known || !matches!(op, Op::UpdateNode { .. }));
        let sockets = detect::adjust(roles, &self.targets, &self.settings);
        wishes.extend(due.chain(sockets).map(|op| (op, "as redundancy asks for".to_owned())));
        silence::let_go(&mut self.targets, roles, &self.settings);
        wishes.extend(self.situation(now, |s| silence::plan(s, roles)));
        if !self.ledger.paused() {
            wishes.extend(self.situation(now, fence::plan));
        }
    }

    /// Logins that are due, sessions that iscsid cannot have back, and an iscsid that is missing although it has some.
    fn wish_iscsi(&mut self, now: Now, wishes: &mut Vec<(Op, String)>) {
        for target in self.targets.logins_due(&self.ledger, now.mono) {
            wishes.push((Op::Login { target }, "managed and without a session".to_owned()));
        }
        wishes.extend(self.situation(now, trapped::plan));
        let missing = self.targets.iscsid_missing_since;
        // A restart leaves it away for a moment.
        if missing.is_some_and(|since| now.mono.since(since) >= self.settings.suspended_grace) {
            wishes.push((Op::StartIscsid, "sessions exist and nobody would reconnect them".to_owned()));
        }
    }

    fn plan(&mut self, now: Now, wishes: &mut Vec<(Op, String)>) -> BTreeMap<LvUuid, Vec<Objection>> {
        let mut holds = BTreeMap::new();
        let mut moving = BTreeSet::new();
        // One link may serve several VGs: who matters more comes first.
        let mut vgs: BTreeMap<VgUuid, i32> = BTreeMap::new();
        for mirror in self.mirrors.values() {
            let (priority, most) = (self.settings.priority(&mirror.name), vgs.entry(mirror.vg.uuid.clone()));
            most.and_modify(|most| *most = priority.max(*most)).or_insert(priority);
        }
        let mut vgs: Vec<(VgUuid, i32)> = vgs.into_iter().collect();
        vgs.sort_by_key(|(_, priority)| Reverse(*priority));
        for (vg, _) in vgs {
            if self.ledger.vgs.get(&vg).is_some_and(|vg| vg.forgotten) {
                let step = self.situation(now, |s| plan::forget(s, &vg));
                if step.is_none() && self.world.reported && !self.outdated {
                    self.jobs.done(Operation::Forget, now);
                }
                wishes.extend(step);
                continue;
            }
            let plan = self.plan_of(now, &vg);
            let here: Vec<&Mirror> = self.mirrors.values().filter(|m| m.vg.uuid == vg).collect();
            self.lasting.remember(&plan, &here);
            if !plan.steps.is_empty() || self.arbiter.occupied(&Slot::Vg(vg.clone())).is_some() {
                moving.insert(vg.clone());
            }
            wishes.extend(plan.steps);
            holds.extend(plan.holds);
            for mirror in self.mirrors.values().filter(|m| m.vg.uuid == vg && m.unmanaged.is_none()) {
                let vanished = self.targets.vanished_together(mirror, self.ledger.mirrors.get(&mirror.lv.uuid));
                if vanished && mirror.live != Live::Inactive {
                    let why = "every server vanished within seconds: look at our own network first";
                    let objection = Objection::new(Hold::LastServer, "reason", why);
                    holds.entry(mirror.lv.uuid.clone()).or_insert_with(Vec::new).push(objection);
                }
            }
            // A command that does not end keeps its VG: killing it might leave devices suspended.
            let overdue = self.arbiter.occupied(&Slot::Vg(vg.clone())).filter(|r| r.overdue);
            let stuck = overdue.map(|r| r.op.command_line()).or_else(|| self.world.kernel.left_over.first().cloned());
            let Some(stuck) = stuck else { continue };
            let objection = Objection::new(Hold::VgBusy, "command", stuck);
            for mirror in self.mirrors.values().filter(|m| m.vg.uuid == vg && m.unmanaged.is_none()) {
                holds.entry(mirror.lv.uuid.clone()).or_insert_with(Vec::new).push(objection.clone());
            }
        }
        self.admit(now, &moving, &mut holds);
        holds
    }

    /// What to do next in a VG, and what is held: also what was held before, unless enough is known now to end it.
    pub(crate) fn plan_of(&self, now: Now, vg: &VgUuid) -> Plan {
        let mut plan = self.situation(now, |s| plan::plan(s, vg));
        // A command that has to look first gives way to that look.
        let blind = self.situation(now, |s| s.probe(vg).is_none());
        let looks = plan.steps.iter().any(|(op, _)| matches!(op, Op::Probe { .. }) || (blind && op.needs_look()));
        let busy = self.arbiter.occupied(&Slot::Vg(vg.clone())).is_some();
        if looks || busy || self.outdated || !self.world.reported {
            // What was held before is over where nothing is wrong.
            let well = |m: &Mirror| m.steady() && self.situation(now, |s| s.trusts_all(m));
            let here: Vec<&Mirror> = self.mirrors.values().filter(|m| m.vg.uuid == *vg && !well(m)).collect();
            self.lasting.complete(&mut plan, &here);
        }
        plan
    }

    pub(crate) fn tell(&mut self, now: Now, code: EventCode, severity: Severity, object: Object, details: Details) {
        self.news.push(Event { at: now.wall, code, severity, object, details });
    }

    fn save(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = self.saved.retry.is_none_or(|at| at <= now.mono);
        if self.ledger.generation != self.saved.generation && !self.saved.writing && due {
            self.saved.writing = true;
            effects.push(Effect::Save(self.ledger_before.clone()));
        }
    }

    /// Whether LVM should be asked what it knows, and can be.
    pub(crate) fn report_is_wanted(&self) -> bool {
        let blocked = self.world.kernel.blocked_device().is_some();
        self.world.kernel_seen && self.world.has_storage() && !self.world.reported && !blocked
    }
}
