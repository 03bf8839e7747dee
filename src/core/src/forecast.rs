//! What would be done about a mirror, step by step, and what is in the way: `PlanHeal`. A forecast: each step is planned anew
//! from what is seen when its turn comes.

use crate::input::PlannedStep;
use crate::ledger::{Kind, Stage, Trust};
use crate::observation::LegHealth;
use crate::op::{LogKind, LvRef, Op, VgRef};
use crate::plan::{Plan, Situation};
use crate::resolve;
use crate::settings::Verify;
use crate::topology::{Leg, Live, Mirror};
use crate::words::Hold;

/// The steps; empty for a mirror that wants nothing.
pub fn steps(s: &Situation<'_>, mirror: &Mirror, plan: &Plan) -> Vec<PlannedStep> {
    let held = plan.holds.get(&mirror.lv.uuid).into_iter().flatten().map(|objection| {
        let facts = objection.evidence.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>();
        let why = format!("{}: {}", objection.hold, facts.join(", "));
        PlannedStep { code: "hold", why, argv: Vec::new() }
    });
    let mut steps: Vec<PlannedStep> = held.collect();
    let grave =
        plan.holds.get(&mirror.lv.uuid).into_iter().flatten().any(|objection| objection.hold >= Hold::Unreadable);
    if grave {
        return steps;
    }
    // What is done before a mirror is active follows from looks that are still to come.
    let next = plan.steps.iter().filter(|(op, _)| op.lvs().contains(&mirror.lv)).map(|(op, why)| step(op, why));
    if mirror.live == Live::Inactive {
        steps.extend(next);
        return steps;
    }
    let Some(record) = s.record(mirror) else { return steps };
    for leg in &mirror.legs {
        let Some(known) = record.legs.get(&leg.pv) else { continue };
        let Trust::Suspect { stage, .. } = known.trust else { continue };
        let ops = match (mirror.kind, leg.index) {
            (Kind::Raid10, _) => Vec::new(),
            _ if resolve::condemned(known) || (leg.index.is_none() && mirror.kind == Kind::Raid1) => anew(mirror, leg),
            (Kind::Raid1, _) => probation(s, mirror, leg, stage),
            (Kind::Mirror, _) => anew(mirror, leg),
        };
        steps.extend(ops.into_iter().map(|(op, why)| step(&op, why)));
    }
    steps
}

fn step(op: &Op, why: &str) -> PlannedStep {
    let argv = op.argv().unwrap_or_else(|| vec![op.command_line()]);
    PlannedStep { code: op.code(), why: why.to_owned(), argv }
}

fn restore(mirror: &Mirror, leg: &Leg) -> Option<(Op, &'static str)> {
    let op = || Op::RestoreMissing { vg: mirror.vg.clone(), pv: leg.pv.clone() };
    leg.missing.then(|| (op(), "its PV is flagged missing"))
}

/// raid1: flag, compare, release.
fn probation(s: &Situation<'_>, mirror: &Mirror, leg: &Leg, stage: Stage) -> Vec<(Op, &'static str)> {
    let (vg, lv, pv): (VgRef, LvRef, _) = (mirror.vg.clone(), mirror.lv.clone(), leg.pv.clone());
    let lvs = vec![lv.clone()];
    let mut ops: Vec<_> = restore(mirror, leg).into_iter().collect();
    if leg.health != Some(LegHealth::InSync) || !leg.write_mostly {
        let op =
            Op::Quarantine { vg: vg.clone(), pv: pv.clone(), lvs: lvs.clone(), also: Vec::new(), unflag: Vec::new() };
        ops.push((op, "it takes writes and serves no reads until it is verified"));
    }
    if stage == Stage::Unverified && s.settings.verify(&mirror.name) != Verify::Never {
        ops.push((Op::Check { vg: vg.clone(), lvs: lvs.clone() }, "every block is compared before it is read"));
    }
    if stage == Stage::Mismatched {
        ops.push((Op::Rebuild { vg: vg.clone(), lv, pv: pv.clone() }, "it differs from a leg that is right"));
    }
    ops.push((Op::Release { vg, pv, lvs, reflag: Vec::new() }, "it is verified"));
    ops
}

/// Drop what is still there, and copy in full.
fn anew(mirror: &Mirror, leg: &Leg) -> Vec<(Op, &'static str)> {
    let (vg, lv, pv) = (mirror.vg.clone(), mirror.lv.clone(), leg.pv.clone());
    let in_lv = u32::try_from(mirror.legs.iter().filter(|l| l.index.is_some()).count()).unwrap_or(u32::MAX);
    let mut ops: Vec<_> = restore(mirror, leg).into_iter().collect();
    let mut left = in_lv;
    if leg.index.is_some() {
        left = in_lv.saturating_sub(1);
        let op = Op::DropLeg { vg: vg.clone(), lv: lv.clone(), pv: pv.clone(), legs: left };
        ops.push((op, "nothing on it can be believed"));
    }
    let log = if mirror.kind == Kind::Mirror { mirror.log } else { LogKind::Bitmap };
    let op = Op::ReaddLeg { vg, lv, pv, log, log_pv: mirror.log_pv.clone(), legs: left.saturating_add(1) };
    ops.push((op, "copied in full from a leg that is right"));
    ops
}
