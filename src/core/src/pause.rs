//! Healing switched off, until a person switches it on again. Looking, telling, raising timeouts, logging in and resuming
//! what hangs go on; whatever changes a volume or its disks does not.

use crate::engine::Engine;
use crate::input::{Refusal, Reply};
use crate::ledger::Ledger;
use crate::observation::LegHealth;
use crate::op::Op;
use crate::plan::{Plan, Situation};
use crate::snapshot::{Details, Object, Value};
use crate::time::Now;
use crate::topology::{Live, Mirror};
use crate::wishes::Paused;
use crate::witness::Objection;
use crate::words::{EventCode, Hold, Severity};

/// Takes out of a plan what is not done while healing is switched off.
pub fn restrain(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let Some(paused) = &s.ledger.wishes.paused else { return };
    let dropped: Vec<Op> = plan.steps.extract_if(.., |(op, _)| !goes_on(s, op)).map(|(op, _)| op).collect();
    for mirror in mirrors {
        let whole =
            s.trusts_all(mirror) && mirror.legs.iter().all(|leg| leg.up() && leg.health != Some(LegHealth::Dead));
        // Who activates it is nothing that is wrong with it.
        let mends = |op: &&Op| op.lvs().contains(&mirror.lv) && !matches!(op, Op::SetAutoactivation { .. });
        if !whole || dropped.iter().any(|op| mends(&op)) {
            let objection = Objection::new(Hold::Paused, "reason", paused.reason.as_str());
            plan.hold(mirror, objection.with("since", paused.since.0));
        }
    }
}

/// What is done all the same: looks, what un-blocks writers, what keeps wrong blocks from being read, and the activation
/// that LVM would do by itself if it had not been left to us.
fn goes_on(s: &Situation<'_>, op: &Op) -> bool {
    match op {
        Op::Probe { .. } | Op::Resume { .. } | Op::Requeue { .. } => true,
        Op::Activate { on, .. } => on.is_empty(),
        Op::SetOffline { disk } => {
            let on_disk = |m: &Mirror| m.legs.iter().filter_map(|leg| leg.place.as_ref()).any(|p| p.disk == *disk);
            s.mirrors.values().any(|m| m.live != Live::Inactive && on_disk(m))
        }
        _ => false,
    }
}

/// Ends what `Forget` began. Nobody looked after those VGs meanwhile, so what happened to them nobody knows. Returns whether
/// there was anything to end.
pub fn unforget(ledger: &mut Ledger) -> bool {
    let mut any = false;
    for (uuid, vg) in ledger.vgs.iter_mut().filter(|(_, vg)| vg.forgotten) {
        (vg.forgotten, any) = (false, true);
        for record in ledger.mirrors.values_mut().filter(|record| record.vg == *uuid) {
            record.unseen = true;
            record.legs.values_mut().for_each(|known| (known.healthy, known.registered) = (None, None));
        }
    }
    any
}

impl Engine {
    pub(crate) fn pause(&mut self, now: Now, reason: String, uid: u32) -> Reply {
        let details = Details::from([("reason", reason.as_str().into()), ("uid", Value::U32(uid))]);
        self.tell(now, EventCode::Paused, Severity::Warning, Object::Manager, details);
        self.ledger.wishes.paused = Some(Paused { reason, since: now.wall, uid });
        Reply::Done
    }

    pub(crate) fn resume(&mut self, now: Now, uid: u32) -> Reply {
        let paused = self.ledger.wishes.paused.take();
        if unforget(&mut self.ledger) | paused.is_some() {
            let details = Details::from([("uid", Value::U32(uid))]);
            self.tell(now, EventCode::Resumed, Severity::Info, Object::Manager, details);
            self.rejoin();
            self.world.distrust_report();
            self.wants.kernel = true;
            self.arbiter.fresh_start();
        }
        Reply::Done
    }

    /// Refuses what would have to wait until healing is switched on again.
    pub(crate) fn not_paused(&self) -> Result<(), Refusal> {
        let paused = self.ledger.wishes.paused.as_ref();
        paused.map_or(Ok(()), |paused| Err(Refusal::Paused(format!("healing is switched off: {}", paused.reason))))
    }
}
