//! A server taken out of service and put back (design section 4). Its disks are made to fail their I/O, which costs writers
//! a tenth of a second and keeps the session (`facts/lab.md` D); nothing is healed there until it serves again.
//!
//! Survivors are raised first, and seen to be raised. A session that comes back sets its disks running by itself, so they
//! are set offline again after every login: the wish stands in the ledger, and everything else follows from what is seen.

use crate::engine::Engine;
use crate::ids::PvUuid;
use crate::input::{Refusal, Reply};
use crate::name::Name;
use crate::op::Op;
use crate::plan::{Plan, Situation};
use crate::snapshot::{Details, Object, Snapshot, Value};
use crate::takedown;
use crate::time::Now;
use crate::topology::{Leg, Live, Mirror, Place};
use crate::wishes::{Maintenance, Stage};
use crate::witness::Objection;
use crate::words::{EventCode, Hold, JobState, MirrorState, Obstacle, Operation, Severity, TargetState};
use std::collections::BTreeSet;

/// Takes out of a plan what would heal a leg on a server that is out of service, and says so.
pub fn restrain(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    if s.ledger.wishes.maintenance.is_empty() {
        return;
    }
    let legs = || mirrors.iter().flat_map(|m| m.legs.iter().map(move |leg| (*m, leg)));
    let resting: BTreeSet<&PvUuid> = legs().filter(|(m, leg)| s.resting(m, leg)).map(|(_, leg)| &leg.pv).collect();
    plan.steps.retain(|(op, _)| !op.pv().is_some_and(|pv| resting.contains(pv)) || matches!(op, Op::Resume { .. }));
    let comparing = |op: &Op| matches!(op, Op::Check { .. } | Op::Repair { .. });
    let concerned = |m: &&&Mirror| m.legs.iter().any(|leg| resting.contains(&leg.pv));
    plan.steps.retain(|(op, _)| {
        !comparing(op) || !mirrors.iter().filter(concerned).any(|m| op.lvs().contains(&m.lv))
    });
    for mirror in mirrors.iter().filter(concerned) {
        let leg = mirror.legs.iter().find(|leg| resting.contains(&leg.pv));
        let server = leg.and_then(|leg| s.server_of(mirror, leg)).cloned().unwrap_or_default();
        plan.hold(mirror, Objection::new(Hold::Maintenance, "server", server.as_str()));
    }
}

/// Whether the disk of a leg may be made to fail: it is on a server out of service, and another leg on another server may
/// go on alone.
pub fn expendable(s: &Situation<'_>, mirror: &Mirror, leg: &Leg) -> bool {
    survivors(s, mirror, leg).next().is_some() && s.resting(mirror, leg)
}

/// Whether the disk of a PV was set offline by us for a maintenance that is over.
pub fn leaving(s: &Situation<'_>, pv: &PvUuid) -> bool {
    let left = |record: &Maintenance| record.stage == Stage::Leaving && record.offline.contains(pv);
    s.ledger.wishes.maintenance.values().any(left)
}

/// Legs that may go on alone without one leg and its server.
fn survivors<'a>(s: &'a Situation<'_>, mirror: &'a Mirror, leg: &'a Leg) -> impl Iterator<Item = &'a Leg> {
    let server = s.server_of(mirror, leg);
    let record = s.record(mirror);
    mirror.legs.iter().filter(move |other| {
        let elsewhere = other.pv != leg.pv && s.server_of(mirror, other) != server;
        elsewhere && record.is_some_and(|record| takedown::good(s, mirror, record, other))
    })
}

/// Whether a survivor waits as long as a last good copy has to, seen on its live session.
fn raised(s: &Situation<'_>, survivor: &Leg) -> bool {
    let Some(place) = survivor.place.as_ref().filter(|place| !place.multipath) else { return true };
    let Some((key, target)) = place.target.as_ref().and_then(|key| s.targets.all.get_key_value(key)) else { return true };
    let fixed = s.ledger.targets.get(&key.name).is_some_and(|record| record.override_seconds.is_some());
    match target.recovery_tmo {
        Some(Some(seconds)) => fixed || seconds >= s.settings.wait_timeout,
        Some(None) => true,
        None => false,
    }
}

/// A disk to be set offline now; `None` while a survivor is not raised, or if it carries nothing that is in use.
fn may_fail(s: &Situation<'_>, place: &Place) -> bool {
    let on_disk = |leg: &&Leg| leg.index.is_some() && leg.place.as_ref().is_some_and(|p| p.disk == place.disk);
    let active = s.mirrors.values().filter(|m| m.live != Live::Inactive && m.unmanaged.is_none());
    let mut legs = active.flat_map(|m| m.legs.iter().filter(on_disk).map(move |leg| (m, leg))).peekable();
    let doubted = |m: &Mirror, leg: &Leg| {
        let known = s.record(m).and_then(|record| record.legs.get(&leg.pv));
        known.is_some_and(|known| known.trust != crate::ledger::Trust::Trusted)
    };
    let ready = |(m, leg): (&Mirror, &Leg)| {
        let mut others = survivors(s, m, leg).peekable();
        doubted(m, leg) || (others.peek().is_some() && others.all(|other| raised(s, other)))
    };
    legs.peek().is_some() && legs.all(ready)
}

/// Places of the legs on the targets of one maintenance.
fn places<'a>(s: &Situation<'a>, record: &'a Maintenance) -> impl Iterator<Item = (&'a Leg, &'a Place)> {
    let legs = s.mirrors.values().flat_map(|m| &m.legs).filter_map(|leg| Some((leg, leg.place.as_ref()?)));
    legs.filter(|(_, place)| place.target.as_ref().is_some_and(|key| record.targets.contains(&key.name)))
}

impl Engine {
    pub(crate) fn enter_maintenance(&mut self, now: Now, server: &Name, uid: u32) -> Result<Reply, Refusal> {
        let unknown = || Refusal::NoSuchObject(format!("no server {server}"));
        let targets = self.servers.get(server).ok_or_else(unknown)?.targets.iter().map(|key| key.name.clone()).collect();
        // A wish that is not written down would be forgotten by the next start, with the disks still offline.
        if let Some(why) = self.saved.error() {
            return Err(Refusal::Busy(format!("the ledger cannot be written: {why}")));
        }
        let stage = self.ledger.wishes.maintenance.get(server).map(|record| record.stage);
        if stage == Some(Stage::Leaving) {
            return Err(Refusal::Busy(format!("{server} is being put back into service")));
        }
        if stage.is_none() {
            self.refuse_takedown(now, server)?;
            let record = Maintenance { since: now.wall, uid, stage: Stage::Entering, told: false, targets, offline: BTreeSet::new() };
            self.ledger.wishes.maintenance.insert(server.clone(), record);
            // What was lost until now is no measure of what is lost from now on.
            self.calm(now, server);
        }
        Ok(Reply::Job(self.jobs.begin(Operation::EnterMaintenance, Object::Server(server.clone()), uid, now)))
    }

    fn refuse_takedown(&self, now: Now, server: &Name) -> Result<(), Refusal> {
        let found = self.obstacles(now, server);
        let list = found.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join(", ");
        if found.is_empty() { Ok(()) } else { Err(Refusal::WouldLoseRedundancy(format!("{server} is needed: {list}"))) }
    }

    pub(crate) fn obstacles(&self, now: Now, server: &str) -> Vec<(Name, Obstacle)> {
        self.situation(now, |s| takedown::obstacles(s, server, &self.snapshot.mirrors))
    }

    pub(crate) fn leave_maintenance(&mut self, now: Now, server: &Name, uid: u32) -> Result<Reply, Refusal> {
        // A record may go by a name that the configuration has no more.
        if self.servers.get(server).is_none() && !self.ledger.wishes.maintenance.contains_key(server) {
            return Err(Refusal::NoSuchObject(format!("no server {server}")));
        }
        let here = self.servers.get(server).into_iter().flat_map(|found| &found.targets);
        let here: BTreeSet<&Name> = here.map(|key| &key.name).collect();
        for (name, record) in &mut self.ledger.wishes.maintenance {
            if name == server || record.targets.iter().any(|target| here.contains(target)) {
                (record.stage, record.uid) = (Stage::Leaving, uid);
            }
        }
        self.jobs.give_up(Operation::EnterMaintenance, &Object::Server(server.clone()), "it was put back into service", now);
        self.calm(now, server);
        self.arbiter.fresh_start();
        Ok(Reply::Job(self.jobs.begin(Operation::LeaveMaintenance, Object::Server(server.clone()), uid, now)))
    }

    /// Gives up entering: disks that are offline by then run again.
    pub(crate) fn abandon_maintenance(&mut self, server: &Name) {
        self.ledger.wishes.maintenance.get_mut(server).into_iter().for_each(|record| record.stage = Stage::Leaving);
    }

    fn calm(&mut self, now: Now, server: &Name) {
        for key in self.servers.get(server).into_iter().flat_map(|found| &found.targets) {
            self.targets.all.get_mut(key).into_iter().for_each(|target| target.calm(now));
        }
    }

    /// Sets disks offline and running as the wishes ask for, and notes how far each is.
    pub(crate) fn maintain(&mut self, now: Now, wishes: &mut Vec<(Op, String)>) {
        let mut maintenance = std::mem::take(&mut self.ledger.wishes.maintenance);
        for (name, record) in &mut maintenance {
            let targets = self.servers.get(name).into_iter().flat_map(|server| &server.targets);
            record.targets.extend(targets.map(|key| key.name.clone()));
        }
        self.ledger.wishes.maintenance = maintenance;
        let names: Vec<Name> = self.ledger.wishes.maintenance.keys().cloned().collect();
        if self.outdated {
            return;
        }
        for name in &names {
            match self.ledger.wishes.maintenance.get(name).map(|record| record.stage) {
                Some(Stage::Leaving) => self.leave(now, name, wishes),
                Some(_) => self.rest(now, name, wishes),
                None => {}
            }
        }
    }

    fn rest(&mut self, now: Now, name: &Name, wishes: &mut Vec<(Op, String)>) {
        let Some(record) = self.ledger.wishes.maintenance.get(name).cloned() else { return };
        let entering = record.stage == Stage::Entering;
        if entering && record.offline.is_empty() {
            // Things may have changed while the ledger was written and the survivors were raised.
            if let Err(refusal) = self.refuse_takedown(now, name) {
                self.ledger.wishes.maintenance.remove(name);
                let object = Object::Server(name.clone());
                self.jobs.give_up(Operation::EnterMaintenance, &object, &refusal.to_string(), now);
                return;
            }
        }
        let writing: BTreeSet<_> = self.arbiter.running().filter_map(|r| r.op.writes_vg().cloned()).collect();
        let (disks, open) = self.situation(now, |s| {
            let busy = |disk: &Name| {
                let on_disk = |m: &&Mirror| m.legs.iter().filter_map(|leg| leg.place.as_ref()).any(|p| p.disk == *disk);
                s.mirrors.values().filter(on_disk).any(|m| writing.contains(&m.vg.uuid))
            };
            let up = |place: &Place| place.up && !place.multipath && !place.disk.is_empty();
            let here: Vec<&Place> = places(s, &record).map(|(_, place)| place).filter(|place| up(place)).collect();
            let ready = here.iter().filter(|place| may_fail(s, place) && !busy(&place.disk));
            let disks: BTreeSet<Name> = ready.map(|place| place.disk.clone()).collect();
            let in_use = |place: &&&Place| {
                let live = s.mirrors.values().filter(|m| m.live != Live::Inactive && m.unmanaged.is_none());
                let mut legs = live.flat_map(|m| &m.legs).filter(|leg| leg.index.is_some());
                legs.any(|leg| leg.place.as_ref().is_some_and(|p| p.disk == place.disk))
            };
            (disks, here.iter().any(|place| in_use(&place)))
        });
        wishes.extend(disks.into_iter().map(|disk| (Op::SetOffline { disk }, format!("{name} is out of service"))));
        if entering && !open && !self.jobs_running(name) {
            if let Some(record) = self.ledger.wishes.maintenance.get_mut(name) {
                (record.stage, record.told) = (Stage::Entered, true);
            }
            self.tell_service(now, EventCode::MaintenanceEntered, Severity::Warning, name, record.uid);
            self.jobs.done_for(Operation::EnterMaintenance, &Object::Server(name.clone()), now);
        }
    }

    fn jobs_running(&self, name: &Name) -> bool {
        let object = Object::Server(name.clone());
        self.snapshot.jobs.values().any(|job| {
            job.object == object && job.state == JobState::Running && job.steps.iter().any(|step| step.result == "running")
        })
    }

    fn leave(&mut self, now: Now, name: &Name, wishes: &mut Vec<(Op, String)>) {
        let Some(record) = self.ledger.wishes.maintenance.get(name).cloned() else { return };
        let mut left = BTreeSet::new();
        for mirror in self.mirrors.values() {
            for leg in mirror.legs.iter().filter(|leg| record.offline.contains(&leg.pv)) {
                let Some(place) = leg.place.as_ref().filter(|place| place.offline) else { continue };
                left.insert(leg.pv.clone());
                let target = place.target.as_ref().and_then(|key| self.targets.all.get(key));
                let op = Op::SetRunning { disk: place.disk.clone() };
                // A session that is still to come back sets its disks running by itself.
                if target.is_some_and(|t| t.state == TargetState::LoggedIn) && !wishes.iter().any(|(w, _)| *w == op) {
                    wishes.push((op, format!("{name} serves again")));
                }
            }
        }
        if left.is_empty() {
            self.ledger.wishes.maintenance.remove(name);
            if record.told {
                self.tell_service(now, EventCode::MaintenanceLeft, Severity::Info, name, record.uid);
            }
        }
    }

    fn tell_service(&mut self, now: Now, code: EventCode, severity: Severity, server: &Name, uid: u32) {
        let details = Details::from([("server", server.as_str().into()), ("uid", Value::U32(uid))]);
        self.tell(now, code, severity, Object::Server(server.clone()), details);
    }

    /// Notes whose disks are about to be set offline by us. Returns whether that was news.
    pub(crate) fn intend_rest(&mut self, disk: &Name) -> bool {
        let on_disk = |leg: &&Leg| leg.place.as_ref().is_some_and(|place| place.disk == *disk);
        let legs: Vec<&Leg> = self.mirrors.values().flat_map(|m| &m.legs).filter(on_disk).collect();
        let mut news = false;
        for record in self.ledger.wishes.maintenance.values_mut().filter(|record| record.stage != Stage::Leaving) {
            let here = |leg: &&&Leg| {
                let target = leg.place.as_ref().and_then(|place| place.target.as_ref());
                target.is_some_and(|key| record.targets.contains(&key.name))
            };
            let pvs: Vec<PvUuid> = legs.iter().filter(here).map(|leg| leg.pv.clone()).collect();
            for pv in pvs {
                news |= record.offline.insert(pv);
            }
        }
        news
    }

    /// The server that an operation is done for.
    pub(crate) fn server_of_op(&self, op: &Op) -> Option<Name> {
        let (Op::SetOffline { disk } | Op::SetRunning { disk }) = op else { return None };
        let target = self.targets.all.iter().find(|(_, target)| target.disks.contains(disk))?.0;
        let here = |record: &Maintenance| record.targets.contains(&target.name);
        self.ledger.wishes.maintenance.iter().find(|(_, record)| here(record)).map(|(name, _)| name.clone())
    }

    /// Ends jobs that wait for a server to serve again: everything on it is redundant, or needs a person.
    pub(crate) fn settle_service(&mut self, now: Now, next: &Snapshot) {
        for object in self.jobs.waiting(Operation::LeaveMaintenance) {
            let Object::Server(name) = &object else { continue };
            let Some(server) = next.servers.get(name) else {
                self.jobs.give_up(Operation::LeaveMaintenance, &object, "the server is gone", now);
                continue;
            };
            let leaving = self.ledger.wishes.maintenance.contains_key(name);
            let mirrors = || server.mirrors.iter().filter_map(|name| next.mirrors.get(name));
            let over = |state| matches!(state, MirrorState::Redundant | MirrorState::Inactive);
            let held = mirrors().filter(|m| m.unmanaged.is_none()).find(|m| m.hold >= Some(Hold::NeedsOperator));
            if let Some((mirror, hold)) = held.and_then(|m| Some((m, m.hold?))) {
                self.jobs.give_up(Operation::LeaveMaintenance, &object, &format!("{} held: {hold}", mirror.name), now);
            } else if !leaving && mirrors().all(|m| m.unmanaged.is_some() || over(m.state)) {
                self.jobs.done_for(Operation::LeaveMaintenance, &object, now);
            }
        }
    }
}
