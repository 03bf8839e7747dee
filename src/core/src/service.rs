//! Taking servers out of service and putting them back: what is asked for, what is done about it turn by turn, and what is
//! told. What may be done is said in [`maintenance`](crate::maintenance).

use crate::engine::Engine;
use crate::ids::PvUuid;
use crate::input::{Refusal, Reply};
use crate::name::Name;
use crate::op::Op;
use crate::snapshot::{Details, Object, Snapshot, Value};
use crate::time::Now;
use crate::topology::Leg;
use crate::wishes::{Maintenance, Stage};
use crate::words::{EventCode, Hold, MirrorState, Obstacle, Operation, Severity, TargetState};
use crate::{maintenance, takedown};
use std::collections::BTreeSet;

impl Engine {
    pub(crate) fn enter_maintenance(&mut self, now: Now, server: &Name, uid: u32) -> Result<Reply, Refusal> {
        let unknown = || Refusal::NoSuchObject(format!("no server {server}"));
        let targets =
            self.servers.get(server).ok_or_else(unknown)?.targets.iter().map(|key| key.name.clone()).collect();
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
            let record = Maintenance {
                since: now.wall,
                uid,
                stage: Stage::Entering,
                told: false,
                targets,
                offline: BTreeSet::new(),
            };
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
        self.jobs.give_up(
            Operation::EnterMaintenance,
            &Object::Server(server.clone()),
            "it was put back into service",
            now,
        );
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
        if entering && record.offline.is_empty() && self.world.reported {
            // Things may have changed while the ledger was written and the survivors were raised.
            if let Err(refusal) = self.refuse_takedown(now, name) {
                self.ledger.wishes.maintenance.remove(name);
                let object = Object::Server(name.clone());
                self.jobs.give_up(Operation::EnterMaintenance, &object, &refusal.to_string(), now);
                return;
            }
        }
        let writing: BTreeSet<_> = self.arbiter.running().filter_map(|r| r.op.writes_vg().cloned()).collect();
        let (disks, open) = self.situation(now, |s| maintenance::to_fail(s, &record, &writing));
        wishes.extend(disks.into_iter().map(|disk| (Op::SetOffline { disk }, format!("{name} is out of service"))));
        if entering && !open {
            if let Some(record) = self.ledger.wishes.maintenance.get_mut(name) {
                (record.stage, record.told) = (Stage::Entered, true);
            }
            self.tell_service(now, EventCode::MaintenanceEntered, Severity::Warning, name, record.uid);
            self.jobs.done_for(Operation::EnterMaintenance, &Object::Server(name.clone()), now);
        }
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
