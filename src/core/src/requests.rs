//! Requests of people that need more than a word: what would be done, which leg to keep, bring it up, leave it alone.
//! Checks come before anything is noted; what is asked for is then a wish in the ledger, and the planner does the rest.

use crate::engine::Engine;
use crate::ids::{LvUuid, PvUuid};
use crate::input::{Refusal, Reply};
use crate::snapshot::Object;
use crate::time::Now;
use crate::topology::{Live, Mirror};
use crate::witness::Objection;
use crate::words::Hold;
use crate::words::Operation;
use crate::{forecast, plan, resolve};

impl Engine {
    pub(crate) fn managed(&self, mirror: &LvUuid) -> Result<&Mirror, Refusal> {
        let found = self.mirrors.get(mirror).ok_or_else(|| Refusal::NoSuchObject("no such mirror".into()))?;
        match found.unmanaged {
            Some(reason) => Err(Refusal::NotManaged(format!("{} is not managed: {reason}", found.name))),
            None => Ok(found),
        }
    }

    pub(crate) fn plan_heal(&self, now: Now, mirror: &LvUuid) -> Result<Reply, Refusal> {
        let found = self.managed(mirror)?;
        let mut plan = self.plan_of(now, &found.vg.uuid);
        // Found out when a step is begun; whoever asks beforehand is told.
        if let Some(why) = self.saved.error().filter(|_| !self.situation(now, |s| s.trusts_all(found))) {
            plan.hold_with(found, Objection::new(Hold::LedgerUnwritable, "reason", why));
        }
        let steps = self.situation(now, |s| forecast::steps(s, found, &plan));
        Ok(Reply::Plan(steps))
    }

    /// The leg on `keep` becomes the truth for every volume of the VG that has a leg there and is held for a reason of its
    /// own that a choice ends. A volume that is only held because of its neighbour keeps its good legs.
    pub(crate) fn resolve(&mut self, now: Now, mirror: &LvUuid, keep: &PvUuid, uid: u32) -> Result<Reply, Refusal> {
        let found = self.managed(mirror)?;
        let (name, vg) = (found.name.clone(), found.vg.uuid.clone());
        self.not_paused()?;
        let leg = found.leg(keep).ok_or_else(|| Refusal::InvalidArgument(format!("{name} has no leg on {keep}")))?;
        // A choice that is not written down could turn round after a restart.
        if let Some(why) = self.saved.error() {
            return Err(Refusal::Held(format!("the ledger cannot be written: {why}")));
        }
        let held = self.plan_of(now, &vg).resolvable;
        if !held.contains(mirror) {
            return Err(Refusal::NotHeld(format!("{name} has no hold that a choice between its legs would end")));
        }
        if leg.index.is_none() || !leg.up() {
            return Err(Refusal::LegMissing(format!("the leg of {name} on {keep} is not there")));
        }
        let wrong = |m: &Mirror| {
            let active = !matches!(m.live, Live::Inactive);
            active && m.open && m.leg(keep).is_some_and(|l| l.health != Some(crate::observation::LegHealth::InSync))
        };
        let here = self.mirrors.values().filter(|m| m.vg.uuid == vg && held.contains(&m.lv.uuid));
        let chosen: Vec<&Mirror> = here.filter(|m| m.leg(keep).is_some_and(|leg| leg.index.is_some())).collect();
        if let Some(busy) = chosen.iter().find(|m| wrong(m)) {
            let name = &busy.name;
            return Err(Refusal::Busy(format!("{name} is in use on the leg that is not to be kept: unmount it first")));
        }
        let uuids: Vec<LvUuid> = chosen.iter().map(|m| m.lv.uuid.clone()).collect();
        for mirror in chosen {
            // One that nothing was remembered of is remembered from now on.
            self.ledger.mirrors.entry(mirror.lv.uuid.clone()).or_insert_with(|| crate::trust::record(mirror, now.wall));
        }
        for uuid in uuids {
            self.lasting.end(&uuid);
            self.ledger.mirrors.get_mut(&uuid).into_iter().for_each(|record| resolve::choose(record, keep, now.wall));
        }
        self.arbiter.fresh_start();
        Ok(Reply::Job(self.jobs.begin(Operation::Resolve, Object::Mirror(name), uid, now)))
    }

    pub(crate) fn activate(&mut self, now: Now, mirror: &LvUuid, uid: u32) -> Result<Reply, Refusal> {
        let found = self.managed(mirror)?;
        let name = found.name.clone();
        if found.live != Live::Inactive {
            return Err(Refusal::NotInactive(format!("{name} is active")));
        }
        let hold = self.snapshot.mirrors.get(&name).and_then(|m| m.hold).filter(|hold| plan::RESOLVABLE.contains(hold));
        if let Some(hold) = hold {
            return Err(Refusal::Held(format!("{name} is held: {hold}")));
        }
        self.not_paused()?;
        self.asked.insert(mirror.clone());
        self.arbiter.fresh_start();
        Ok(Reply::Job(self.jobs.begin(Operation::Activate, Object::Mirror(name), uid, now)))
    }

    /// Our marks come off the disks, and the VG is left alone until the next start.
    pub(crate) fn forget(&mut self, now: Now, vg: &str, uid: u32) -> Result<Reply, Refusal> {
        let unknown = || Refusal::NoSuchObject(format!("no mirrors in a VG named {vg}"));
        let found = self.mirrors.values().find(|m| m.vg.name == vg).ok_or_else(unknown)?;
        let uuid = found.vg.uuid.clone();
        if !self.plan_of(now, &uuid).resolvable.is_empty() {
            return Err(Refusal::Held(format!("a mirror in {vg} is held, and forgetting would wipe the evidence")));
        }
        self.ledger.vgs.entry(uuid).or_default().forgotten = true;
        self.rejoin();
        self.arbiter.fresh_start();
        Ok(Reply::Job(self.jobs.begin(Operation::Forget, Object::Manager, uid, now)))
    }
}
