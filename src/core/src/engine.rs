//! The engine: one owner of everything that is believed, one function that turns an input into effects.
//!
//! A step takes in one input and then always restores the same invariants in the same order: judge what is seen, note it
//! in the ledger, wish for observations, plan, check, start, show. Multi-step work is state, never a waiting function.

use crate::arbiter::{Arbiter, Refused, Slot};
use crate::ids::{LvUuid, OpId, TargetKey, VgUuid};
use crate::input::{Effect, Input};
use crate::ledger::{Ledger, VERSION};
use crate::op::{Op, OpResult};
use crate::plan::{self, ProbeRun, Scrub, Situation};
use crate::session::Targets;
use crate::settings::Settings;
use crate::snapshot::{Details, Event, Object, Snapshot};
use crate::time::{Mono, Now};
use crate::topology::{self, Live, Mirror};
use crate::trust::{self, Evidence};
use crate::view;
use crate::watch::Watch;
use crate::witness::Objection;
use crate::words::{EventCode, Hold, Severity, TargetState, TimeoutReason};
use crate::world::World;
use crate::{incident, jobs::Jobs, safety, timeouts};
use std::collections::{BTreeMap, BTreeSet};

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

/// Everything believed, and what is being done about it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) ledger: Ledger,
    pub(crate) targets: Targets,
    pub(crate) mirrors: BTreeMap<LvUuid, Mirror>,
    pub(crate) hurry: BTreeSet<LvUuid>,
    pub(crate) jobs: Jobs,
    pub(crate) arbiter: Arbiter,
    pub(crate) snapshot: Snapshot,
    pub(crate) wants: Wants,
    pub(crate) world: World,
    saved: Saved,
    watch: Watch,
    pub(crate) scrubs: BTreeMap<LvUuid, Scrub>,
    probes: BTreeMap<VgUuid, ProbeRun>,
    /// Scrub state noted when its command was started: dm event number and sectors written.
    pub(crate) before: BTreeMap<OpId, Vec<(LvUuid, Scrub)>>,
    pub(crate) news: Vec<Event>,
    refused: BTreeSet<String>,
    /// An operation has ended since the kernel was last looked at: nothing is begun before the next look.
    outdated: bool,
    stopping: bool,
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
}

/// How far the ledger is on disk.
#[derive(Debug, Default)]
struct Saved {
    generation: u64,
    writing: bool,
    error: Option<String>,
    retry: Option<Mono>,
}

impl Engine {
    /// Begins with what was remembered. `boot_id` is the kernel's, to tell this boot's notes from the last one's.
    pub fn new(settings: Settings, found: LedgerFound, boot_id: &str) -> Self {
        let mut news = Vec::new();
        let mut ledger = match found {
            LedgerFound::Good(ledger) if ledger.version == VERSION => *ledger,
            LedgerFound::Good(_) | LedgerFound::Absent => Ledger::empty(boot_id),
            LedgerFound::Damaged(why) => {
                let details = Details::from([("reason", why.into())]);
                let (code, severity) = (EventCode::LedgerDamaged, Severity::Error);
                news.push(Event { at: Default::default(), code, severity, object: Object::Manager, details });
                Ledger::empty(boot_id)
            }
        };
        let saved = Saved { generation: ledger.generation, ..Saved::default() };
        if ledger.boot_id != boot_id {
            trust::reboot(&mut ledger, boot_id);
            ledger.generation += 1;
        }
        Self {
            settings,
            ledger,
            targets: Targets::default(),
            mirrors: BTreeMap::new(),
            hurry: BTreeSet::new(),
            jobs: Jobs::default(),
            arbiter: Arbiter::default(),
            snapshot: Snapshot::default(),
            wants: Wants { kernel: true, nodes: true, ..Wants::default() },
            world: World::default(),
            saved,
            watch: Watch::default(),
            scrubs: BTreeMap::new(),
            probes: BTreeMap::new(),
            before: BTreeMap::new(),
            news,
            refused: BTreeSet::new(),
            outdated: false,
            stopping: false,
        }
    }

    /// The read model after the last step.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes in one input and says what to do.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let ledger_before = self.ledger.clone();
        let mut effects = Vec::new();
        let broken = self.absorb(now, input, &mut effects);
        self.judge(now, &broken);
        let reasons = timeouts::reasons(self.mirrors.values(), &self.targets, &self.ledger);
        let mut wishes: Vec<(Op, String)> = Vec::new();
        let mut holds = BTreeMap::new();
        if !self.stopping && self.world.kernel_seen {
            let writes = timeouts::adjust(&reasons, &self.targets, &mut self.ledger, &self.settings);
            // Records that are being read again may say so already.
            let known = !self.wants.nodes && !self.wants.nodes_running;
            let due = writes.into_iter().filter(|op| known || !matches!(op, Op::UpdateNode { .. }));
            wishes.extend(due.map(|op| (op, "as redundancy asks for".to_owned())));
            self.wish_iscsi(now, &mut wishes);
        }
        if self.ledger != ledger_before {
            self.ledger.generation = ledger_before.generation + 1;
        }
        self.save(now, &mut effects);
        if !self.stopping && self.world.kernel_seen {
            holds = self.plan(now, &mut wishes);
            self.start(now, wishes, &mut holds, &mut effects);
        }
        self.observe(now, &mut effects);
        self.show(now, &reasons, &holds, &mut effects);
        effects.push(Effect::WakeAt(self.next_wake(now)));
        effects
    }

    fn absorb(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) -> BTreeSet<TargetKey> {
        let mut broken = BTreeSet::new();
        match input {
            // Half a picture would look like absence.
            Input::Kernel(kernel) if kernel.partial => {}
            Input::Kernel(kernel) => {
                self.world.see_kernel(*kernel);
                self.outdated = false;
                broken = self.targets.observe(&self.world.kernel, &mut self.ledger, &self.settings, now);
                self.join();
                let writers = self.arbiter.running().filter_map(|running| running.op.writes_vg().cloned()).collect();
                self.watch.look(&self.mirrors, &self.world.kernel, &writers, now.mono);
                let sessions =
                    self.targets.all.values().filter_map(|t| Some((t.sid?, t.state == TargetState::LoggedIn)));
                let sessions: Vec<_> = sessions.collect();
                self.wants.nodes |= self.wants.sessions.len() != sessions.len();
                // Servers came or went: whatever did not work before is worth another try.
                if self.wants.sessions != sessions {
                    self.arbiter.fresh_start();
                }
                self.wants.sessions = sessions;
            }
            Input::Lvm(report) => {
                self.wants.lvm_running = false;
                match report {
                    Ok(report) => {
                        self.wants.lvm_retry = None;
                        self.world.see_report(report, &mut self.ledger);
                        self.join();
                        self.renumber_scrubs();
                    }
                    Err(_) => {
                        let times = self.wants.lvm_retry.map_or(1, |(_, times)| times + 1);
                        let (first, longest) = self.settings.heal_backoff;
                        let due = now.mono.after(crate::session::pause(first, longest, times, "report"));
                        self.wants.lvm_retry = Some((due, times));
                    }
                }
            }
            Input::Nodes(nodes) => {
                self.wants.nodes_running = false;
                // Unreadable records leave the old ones in force.
                if let Ok(nodes) = nodes {
                    self.targets.records(nodes, now);
                }
            }
            Input::Iscsi(hint) => {
                self.targets.hint(hint, now);
                self.wants.kernel = true;
            }
            Input::OpEnded(id, result) => self.op_ended(now, id, &result),
            Input::LedgerSaved(generation, result) => {
                self.saved.writing = false;
                match result {
                    Ok(()) => {
                        (self.saved.generation, self.saved.error, self.saved.retry) = (generation, None, None);
                    }
                    Err(why) => {
                        if self.saved.error.is_none() {
                            let details = Details::from([("reason", why.as_str().into())]);
                            self.tell(now, EventCode::LedgerDamaged, Severity::Error, Object::Manager, details);
                        }
                        self.saved.error = Some(why);
                        self.saved.retry = Some(now.mono.after(self.settings.heal_backoff.0));
                    }
                }
            }
            Input::Command(token, command) => {
                let reply = self.command(now, command);
                effects.push(Effect::Reply(token, reply));
            }
            Input::Tick => self.wants.kernel = true,
            Input::Stopping => self.stopping = true,
        }
        broken
    }

    fn join(&mut self) {
        self.mirrors = topology::join(&self.world.kernel, &self.world.vgs, &self.ledger);
    }

    fn judge(&mut self, now: Now, broken: &BTreeSet<TargetKey>) {
        self.finish_scrubs(now);
        let evidence = Evidence {
            mirrors: &self.mirrors,
            broken,
            watched: &self.watch.whole,
            steady: &self.watch.steady,
            reported: self.world.reported,
            at: now.wall,
        };
        trust::judge(&mut self.ledger, evidence);
        self.watch.remember();
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
            mirrors: &self.mirrors,
            steady: &self.watch.steady,
            stuck_since: &self.watch.stuck_since,
            scrubs: &self.scrubs,
            probes: &self.probes,
            hurry: &self.hurry,
        })
    }

    /// Logins that are due, and an iscsid that is missing although it has sessions to look after.
    fn wish_iscsi(&mut self, now: Now, wishes: &mut Vec<(Op, String)>) {
        for target in self.targets.logins_due(&self.ledger, now.mono) {
            wishes.push((Op::Login { target }, "managed and without a session".to_owned()));
        }
        let missing = self.targets.iscsid_missing_since;
        // A restart leaves it away for a moment.
        if missing.is_some_and(|since| now.mono.since(since) >= self.settings.suspended_grace) {
            wishes.push((Op::StartIscsid, "sessions exist and nobody would reconnect them".to_owned()));
        }
    }

    fn plan(&mut self, now: Now, wishes: &mut Vec<(Op, String)>) -> BTreeMap<LvUuid, Vec<Objection>> {
        let mut holds = BTreeMap::new();
        let vgs: BTreeSet<VgUuid> = self.mirrors.values().map(|m| m.vg.uuid.clone()).collect();
        for vg in vgs {
            let plan = self.situation(now, |s| plan::plan(s, &vg));
            wishes.extend(plan.steps);
            holds.extend(plan.holds);
            // A command that does not end keeps its VG: killing it might leave devices suspended.
            let Some(stuck) = self.arbiter.occupied(&Slot::Vg(vg.clone())).filter(|r| r.overdue) else { continue };
            let objection = Objection::new(Hold::VgBusy, "command", stuck.op.command_line());
            for mirror in self.mirrors.values().filter(|m| m.vg.uuid == vg && m.unmanaged.is_none()) {
                holds.entry(mirror.lv.uuid.clone()).or_insert_with(Vec::new).push(objection.clone());
            }
        }
        holds
    }

    /// Starts what may be started now; what may not says why in the holds.
    fn start(
        &mut self,
        now: Now,
        wishes: Vec<(Op, String)>,
        holds: &mut BTreeMap<LvUuid, Vec<Objection>>,
        effects: &mut Vec<Effect>,
    ) {
        for (op, why) in wishes {
            let backoff = match op {
                Op::Login { .. } => self.settings.login_backoff,
                _ => self.settings.heal_backoff,
            };
            let held = match self.arbiter.may_start(&op, now.mono, backoff) {
                Err(Refused::Occupied) => None,
                // Looking again is nobody's business; the verdict of the last look stands.
                Err(Refused::Until(_)) if op.writes_vg().is_none() => None,
                Err(Refused::Until(due)) => {
                    let at = now.wall.0 + due.0.saturating_sub(now.mono.0);
                    Some(Objection::new(Hold::BackOff, "until", at))
                }
                Ok(()) if needs_ledger(&op) && self.saved.generation != self.ledger.generation => {
                    self.saved.error.as_ref().map(|why| Objection::new(Hold::LedgerUnwritable, "reason", why.as_str()))
                }
                Ok(()) if self.outdated => None,
                Ok(()) => {
                    let (op, why) = self.look_first(now, &op, &why);
                    match self.situation(now, |s| safety::check(&op, s)) {
                        Ok(()) => effects.push(self.begin(now, op, &why)),
                        Err(rule) => self.report_refusal(&op, &rule, effects),
                    }
                    None
                }
            };
            for lv in op.lvs() {
                if let Some(objection) = &held {
                    holds.entry(lv.uuid.clone()).or_default().push(objection.clone());
                }
            }
        }
    }

    /// An operation that needs a fresh look at the disks gives way to that look.
    fn look_first(&self, now: Now, op: &Op, why: &str) -> (Op, String) {
        let vg = op.writes_vg().filter(|_| op.needs_look());
        let mirror = vg.and_then(|vg| self.mirrors.values().find(|m| m.vg.uuid == *vg));
        self.situation(now, |s| match mirror {
            Some(m) if s.probe(&m.vg.uuid).is_none() => {
                (s.probe_op(&m.vg), format!("before {}: who are they, and who accuses whom?", op.code()))
            }
            _ => (op.clone(), why.to_owned()),
        })
    }

    fn report_refusal(&mut self, op: &Op, rule: &str, effects: &mut Vec<Effect>) {
        let text = format!("refused `{}`: {rule}", op.command_line());
        // Level-triggered plans repeat themselves; one line is enough.
        if self.refused.len() < 100 && self.refused.insert(text.clone()) {
            effects.push(Effect::Anomaly(text));
        }
    }

    fn begin(&mut self, now: Now, op: Op, why: &str) -> Effect {
        let id = self.arbiter.start(&op, now.mono);
        let names: Vec<String> = match &op {
            Op::Probe { vg, .. } => {
                self.mirrors.values().filter(|m| m.vg.uuid == *vg).map(|m| m.name.clone()).collect()
            }
            _ => op.lvs().iter().filter_map(|lv| self.mirrors.get(&lv.uuid)).map(|m| m.name.clone()).collect(),
        };
        self.jobs.step(id, &op, why, &names, now);
        self.note_start(now, id, &op);
        Effect::Start(id, op)
    }

    fn op_ended(&mut self, now: Now, id: OpId, result: &OpResult) {
        self.jobs.step_ended(id, result);
        let Some(op) = self.arbiter.ended(id, result, now.mono) else { return };
        (self.wants.kernel, self.outdated) = (true, true);
        if let Op::Probe { vg, .. } = &op {
            let order = plan::probe_order(&self.mirrors, vg);
            let run = match result {
                OpResult::Probed(legs) => ProbeRun { at: now.mono, order, legs: legs.clone() },
                other => ProbeRun::failed(order, &format!("the probe gave no answer: {other:?}"), now.mono),
            };
            self.probes.insert(vg.clone(), run);
        }
        if let Some(vg) = op.writes_vg() {
            self.world.distrust_report();
            // Whatever was read before it is history.
            self.probes.remove(vg);
        }
        self.note_end(now, id, &op, result);
    }

    pub(crate) fn tell(&mut self, now: Now, code: EventCode, severity: Severity, object: Object, details: Details) {
        self.news.push(Event { at: now.wall, code, severity, object, details });
    }

    fn save(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = self.saved.retry.is_none_or(|at| at <= now.mono);
        if self.ledger.generation != self.saved.generation && !self.saved.writing && due {
            self.saved.writing = true;
            effects.push(Effect::Save(Box::new(self.ledger.clone())));
        }
    }

    fn observe(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.wants.kernel) {
            effects.push(Effect::ObserveKernel);
        }
        if self.stopping {
            return;
        }
        if self.wants.nodes && !self.wants.nodes_running {
            (self.wants.nodes, self.wants.nodes_running) = (false, true);
            effects.push(Effect::ObserveNodes);
        }
        let due = self.wants.lvm_retry.is_none_or(|(at, _)| at <= now.mono);
        let writer = self.arbiter.running().any(|r| r.op.writes_vg().is_some());
        let blocked = self.world.kernel.blocked_device().is_some();
        let useful = self.world.kernel_seen && self.world.has_storage() && !self.world.reported;
        if useful && due && !self.wants.lvm_running && !writer && !blocked {
            self.wants.lvm_running = true;
            self.world.ask_report();
            effects.push(Effect::ObserveLvm);
        }
    }

    fn show(
        &mut self,
        now: Now,
        reasons: &BTreeMap<TargetKey, TimeoutReason>,
        holds: &BTreeMap<LvUuid, Vec<Objection>>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.world.kernel_seen {
            return;
        }
        let mut next = self.situation(now, |s| Snapshot {
            paused: None,
            targets: self
                .targets
                .all
                .iter()
                .filter(|(_, t)| t.sid.is_some() || t.node.is_some())
                .map(|(key, target)| {
                    let reason = reasons.get(key).copied().unwrap_or(TimeoutReason::Unmanaged);
                    (key.clone(), view::target_view(s, key, target, reason))
                })
                .collect(),
            mirrors: self
                .mirrors
                .iter()
                .map(|(uuid, m)| (m.name.clone(), view::mirror_view(s, m, holds, self.watch.paces.get(uuid), now.wall)))
                .collect(),
            jobs: BTreeMap::new(),
        });
        if !self.outdated {
            self.jobs.settle(&next.mirrors, &next.targets, self.settings.job_kept, now);
        }
        let snapshot = &next;
        self.hurry.retain(|uuid| {
            let mirror = self.mirrors.get(uuid).and_then(|m| snapshot.mirrors.get(&m.name));
            mirror.is_some_and(|m| m.state != crate::words::MirrorState::Redundant)
        });
        next.jobs = self.jobs.views();
        self.news.extend(incident::transitions(&self.snapshot, &next, now.wall));
        for mut event in self.news.drain(..) {
            event.at = now.wall;
            effects.push(Effect::Publish(event));
        }
        self.snapshot = next;
    }

    /// When to look again. Healthy and idle: only for the watchdog.
    fn next_wake(&self, now: Now) -> Mono {
        let healthy = self.targets.all.values().all(|t| t.sid.is_none() || t.state == TargetState::LoggedIn)
            && self.mirrors.values().all(|m| matches!(m.live, Live::Inactive) || m.steady())
            && self.watch.stuck_since.is_empty()
            && self.scrubs.is_empty()
            && self.targets.iscsid_missing_since.is_none()
            && self.arbiter.running().next().is_none()
            && self.ledger.mirrors.values().all(|m| m.degraded_since.is_none());
        let pause = if healthy { self.settings.poll_idle } else { self.settings.poll_busy };
        let idle = now.mono.after(pause);
        let retries = [self.saved.retry, self.wants.lvm_retry.map(|(at, _)| at)].into_iter().flatten();
        let logins = self.targets.all.values().filter(|t| t.sid.is_none()).filter_map(|t| t.next_attempt);
        retries.chain(logins).filter(|at| *at > now.mono).fold(idle, Mono::min)
    }
}

/// Whether an operation changes what is on the disks: it waits until the ledger that justifies it is safe.
fn needs_ledger(op: &Op) -> bool {
    op.writes_vg().is_some() || matches!(op, Op::SetOffline { .. })
}
