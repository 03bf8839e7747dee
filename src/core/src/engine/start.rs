//! What is begun, and what ends: the last check before an operation, the look that goes before it, and what its end voids.
//! Nothing is believed of a result but that the operation is over; the next observation tells what it did.

use super::Engine;
use crate::arbiter::Refused;
use crate::ids::{LvUuid, OpId};
use crate::input::Effect;
use crate::name::Name;
use crate::op::{LvRef, Op, OpResult};
use crate::plan::ProbeRun;
use crate::time::Now;
use crate::topology::Live;
use crate::witness::Objection;
use crate::words::Hold;
use crate::{safety, timeouts};
use std::collections::{BTreeMap, BTreeSet};

impl Engine {
    /// Starts what may be started now; what may not says why in the holds. Returns whether an intention was noted that has
    /// to be on disk first.
    pub(super) fn start(
        &mut self,
        now: Now,
        wishes: Vec<(Op, String)>,
        holds: &mut BTreeMap<LvUuid, Vec<Objection>>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        self.moving = false;
        let mut noted = false;
        let mut refused = BTreeSet::new();
        for (op, why) in wishes {
            let lvs = self.concerns(&op);
            let held = match self.arbiter.may_start(&op, now.mono, &self.settings) {
                Err(Refused::Occupied) => None,
                // Looking again is nobody's business; the verdict of the last look stands.
                Err(Refused::Until(_)) if op.writes_vg().is_none() => None,
                Err(Refused::Until(due)) => Some(Objection::new(Hold::BackOff, "until", now.wall_of(due).0)),
                Ok(()) if needs_ledger(&op) && self.saved.generation != self.ledger.generation => {
                    self.moving = true;
                    self.saved.error.as_ref().map(|why| Objection::new(Hold::LedgerUnwritable, "reason", why.as_str()))
                }
                Ok(()) if self.outdated => None,
                // What it may still do nobody knows.
                Ok(()) if op.writes_vg().is_some() && !self.world.kernel.left_over.is_empty() => None,
                Ok(()) => {
                    let (op, why) = self.look_first(now, &op, &why);
                    match self.situation(now, |s| safety::check(&op, s)) {
                        Ok(()) if self.upkeep.crosses(&op) => None,
                        Ok(()) if self.intend(&op) => {
                            noted = true;
                            // Whoever takes an intention back before its command ran must not make us write for ever.
                            let again = self.intended.replace(op.clone()).is_some_and(|before| before == op);
                            again.then(|| {
                                self.report_refusal(&op, "its intention does not stay in the ledger", effects);
                                Objection::new(Hold::NeedsOperator, "refused", "its intention does not stay")
                            })
                        }
                        Ok(()) => {
                            self.intended = None;
                            self.moving = true;
                            effects.push(self.begin(now, op, &why));
                            None
                        }
                        Err(rule) => {
                            self.report_refusal(&op, &rule, effects);
                            refused.extend(lvs.iter().map(|lv| lv.uuid.clone()));
                            Some(Objection::new(Hold::NeedsOperator, "refused", rule))
                        }
                    }
                }
            };
            for lv in &lvs {
                if let Some(objection) = &held {
                    holds.entry(lv.uuid.clone()).or_default().push(objection.clone());
                }
            }
        }
        self.refused_steps = refused;
        self.moving |= noted;
        noted
    }

    /// The volumes that wait for an operation.
    fn concerns(&self, op: &Op) -> Vec<LvRef> {
        let with_leg = |pv| self.mirrors.values().filter(move |m| m.leg(pv).is_some()).map(|m| m.lv.clone());
        match op {
            Op::RestoreMissing { pv, .. } => with_leg(pv).collect(),
            _ => op.lvs().to_vec(),
        }
    }

    /// An operation that needs a fresh look at the disks gives way to that look.
    fn look_first(&self, now: Now, op: &Op, why: &str) -> (Op, String) {
        let inactive = |lv: &LvRef| self.mirrors.get(&lv.uuid).is_some_and(|m| m.live == Live::Inactive);
        // At boot a device that is gone is dropped because of what another one says.
        let at_boot = matches!(op, Op::DropDeadLeg { lv, .. } if inactive(lv));
        let vg = op.writes_vg().filter(|_| op.needs_look() || at_boot);
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
        let names: Vec<Name> = match &op {
            Op::Probe { vg, .. } => {
                self.mirrors.values().filter(|m| m.vg.uuid == *vg).map(|m| m.name.clone()).collect()
            }
            _ => op.lvs().iter().filter_map(|lv| self.mirrors.get(&lv.uuid)).map(|m| m.name.clone()).collect(),
        };
        self.jobs.step(id, &op, why, &names, now);
        if let Some(server) = self.server_of_op(&op) {
            self.jobs.server_step(id, &op, why, server);
        }
        self.note_start(now, id, &op);
        self.upkeep_begins(now, id, &op);
        Effect::Start(id, op)
    }

    pub(super) fn op_ended(&mut self, now: Now, id: OpId, result: &OpResult) {
        self.jobs.step_ended(id, result);
        let Some(op) = self.arbiter.ended(id, result, now.mono) else { return };
        (self.wants.kernel, self.outdated) = (true, true);
        if let Op::Probe { vg, .. } = &op {
            let Some(asked) = self.upkeep.probing.remove(&id) else { return };
            let run = match result {
                OpResult::Probed(legs) => ProbeRun { legs: legs.clone(), ..asked },
                other => ProbeRun::failed(asked, &format!("the probe gave no answer: {other:?}")),
            };
            self.upkeep.answered.push((vg.clone(), run));
        }
        if let Some(vg) = op.writes_vg() {
            self.world.distrust_report();
            // Whatever was read before it is history.
            self.probes.remove(vg);
            self.upkeep.answered.retain(|(other, _)| other != vg);
        }
        self.note_end(now, id, &op, result);
        self.upkeep_ends(now, id, &op, result);
    }
}

/// Whether an operation changes what is on the disks, or takes the time away that a last good copy may need: it waits until
/// the ledger that justifies it is safe.
fn needs_ledger(op: &Op) -> bool {
    let quick = matches!(op, Op::SetRecoveryTmo { seconds: Some(seconds), .. } if *seconds < timeouts::STOCK);
    op.writes_vg().is_some() || quick || matches!(op, Op::SetOffline { .. } | Op::SetThrottle { .. })
}
