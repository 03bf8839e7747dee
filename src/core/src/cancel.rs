//! Ending a job between two of its steps. A command that runs is never killed: the job ends with it. What was begun stays as
//! it is until somebody asks for it again; what is in force because of the ledger is not undone by this.

use crate::engine::Engine;
use crate::ids::{JobId, LvUuid};
use crate::input::{Refusal, Reply};
use crate::observation::LegHealth;
use crate::op::Op;
use crate::plan::{Plan, Situation};
use crate::snapshot::Object;
use crate::time::Now;
use crate::topology::{Leg, Mirror};
use crate::witness::Objection;
use crate::words::{Hold, Operation};

/// Takes out of a plan the steps for mirrors whose healing was cancelled. A leg in doubt that serves reads is still flagged.
pub fn restrain(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let cancelled: Vec<&&Mirror> = mirrors.iter().filter(|m| s.cancelled.contains(&m.lv.uuid)).collect();
    if cancelled.is_empty() {
        return;
    }
    plan.steps.retain(|(op, _)| {
        let wanted = match op {
            Op::Check { .. } | Op::Repair { .. } | Op::Rebuild { .. } | Op::Release { .. } => false,
            Op::ReaddLeg { .. } | Op::DropLeg { .. } | Op::RestoreMissing { .. } => false,
            Op::Quarantine { pv, .. } => {
                let serves = |leg: &Leg| leg.health == Some(LegHealth::InSync) && !leg.write_mostly;
                cancelled.iter().all(|m| m.leg(pv).is_none_or(serves))
            }
            _ => true,
        };
        let on_pv = |m: &&&Mirror| op.lvs().is_empty() && op.pv().is_some_and(|pv| m.leg(pv).is_some());
        wanted || !cancelled.iter().any(|m| op.lvs().contains(&m.lv) || on_pv(m))
    });
    for mirror in cancelled.into_iter().filter(|m| !s.trusts_all(m)) {
        plan.hold(mirror, Objection::new(Hold::NeedsOperator, "reason", "healing was cancelled; ask for it again"));
    }
}

impl Engine {
    pub(crate) fn cancel(&mut self, now: Now, id: JobId) -> Result<Reply, Refusal> {
        let found = self.jobs.find(id).ok_or_else(|| Refusal::NoSuchObject(format!("no job {}", id.0)))?;
        let Some((operation, object)) = found else {
            return Err(Refusal::Busy(format!("job {} has ended", id.0)));
        };
        let mirror = match &object {
            Object::Mirror(name) => self.mirrors.values().find(|m| m.name == *name).map(|m| m.lv.uuid.clone()),
            _ => None,
        };
        match (operation, mirror) {
            (Operation::Heal, Some(mirror)) => {
                self.hurry.remove(&mirror);
                self.cancelled.insert(mirror);
            }
            (Operation::Check, Some(mirror)) => {
                if self.scrubs.contains_key(&mirror) {
                    return Err(Refusal::Busy("the kernel is comparing already, which is the last step".into()));
                }
                self.checks.wanted.remove(&mirror);
            }
            (Operation::Activate, Some(mirror)) => {
                self.asked.remove(&mirror);
            }
            (Operation::EnterMaintenance, _) => {
                if let Object::Server(server) = &object {
                    self.abandon_maintenance(server);
                }
            }
            (Operation::Reconnect, _) => {}
            // The choice stands in the ledger, and nothing else could end the hold.
            (Operation::Resolve, _) => return Err(Refusal::Busy("the choice of a leg cannot be taken back".into())),
            (Operation::Forget, _) => return Err(Refusal::Busy("marks are being removed; Resume() ends it".into())),
            (Operation::LeaveMaintenance, _) => {
                return Err(Refusal::Busy("the server serves again already".into()));
            }
            (_, None) => return Err(Refusal::Busy("its mirror is gone".into())),
        }
        self.jobs.cancel(id);
        self.jobs.settle_cancelled(now);
        Ok(Reply::Done)
    }

    /// Somebody asks for healing again, or the facts have changed: a mirror that is whole needs no healing.
    pub(crate) fn end_cancellations(&mut self) {
        let whole = |uuid: &LvUuid| {
            let record = self.ledger.mirrors.get(uuid);
            record.is_none_or(|record| record.degraded_since.is_none())
        };
        self.cancelled.retain(|uuid| !whole(uuid));
    }
}
