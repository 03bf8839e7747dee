//! Stamps: a numbered tag in the VG's metadata, rewritten now and then and whenever a leg is lost. A LUN put back from an
//! older image carries an older number, and a lost PV is flagged MISSING in the history that goes on (`facts/lab.md` C).
//!
//! Writing metadata wipes the evidence that other metadata was. So nothing is stamped before every device that is there has
//! been read and judged, and nothing while any verdict is open.

use crate::ids::{PvUuid, VgUuid};
use crate::ledger::{Cause, Noted, Trust};
use crate::name::Name;
use crate::observation::{LegHealth, VgObs};
use crate::op::{Op, VgRef, stamp_of};
use crate::plan::{Plan, Situation};
use crate::time::Mono;
use crate::topology::{Leg, Live, Mirror};
use crate::words::Hold;
use std::collections::{BTreeMap, BTreeSet};

/// Stamps of this run.
#[derive(Debug, Default)]
pub struct Stamps {
    /// When each VG was last stamped by this run of the daemon, flushed and noted.
    pub done: BTreeMap<VgUuid, Mono>,
    /// VGs that became redundant since.
    pub due: BTreeSet<VgUuid>,
    /// Stamps that are on their disks for good: flushed.
    pub flushed: BTreeMap<VgUuid, u64>,
}

/// Proposes a stamp, or the flush that makes one last.
pub fn plan(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let Some(vg) = mirrors.first().map(|m| &m.vg) else { return };
    let Some(obs) = s.vgs.get(&vg.uuid).filter(|_| s.reported && s.blocked_device().is_none()) else { return };
    let known = s.ledger.vgs.get(&vg.uuid);
    if s.settings.stamp_interval.is_zero() || !plan.steps.is_empty() || contested(plan, mirrors) {
        return;
    }
    let begun = known.map_or(0, |vg| vg.stamp);
    let current = noted(obs).map_or(0, |noted| noted.stamp);
    let unflushed = current != 0 && current == begun && s.stamps.flushed.get(&vg.uuid) != Some(&current);
    if unflushed && known.is_none_or(|vg| vg.noted.is_none_or(|noted| noted.stamp != current)) {
        let devices = devices(mirrors);
        let why = format!("stamp {current} of {} is to outlive a power cut", vg.name);
        plan.propose(Some((Op::Flush { vg: vg.uuid.clone(), devices }, why)));
        return;
    }
    let judged =
        || mirrors.iter().flat_map(|m| &m.legs).filter(|leg| leg.up()).all(|leg| s.looks.judged(leg, s.targets));
    if let Some(why) = reason(s, vg, obs, mirrors).filter(|_| judged()) {
        plan.propose(Some((stamp(s, vg, obs), why)));
    }
}

/// A hold that a look at the disks led to: its evidence must not be overwritten.
fn contested(plan: &Plan, mirrors: &[&Mirror]) -> bool {
    let holds = mirrors.iter().filter_map(|m| plan.holds.get(&m.lv.uuid)).flatten();
    !plan.held.is_empty() || holds.into_iter().any(|objection| objection.hold >= Hold::Unreadable)
}

fn reason(s: &Situation<'_>, vg: &VgRef, obs: &VgObs, mirrors: &[&Mirror]) -> Option<String> {
    if let Some(lost) = lost_unflagged(s, obs, mirrors) {
        return Some(format!("{lost} is lost; what goes on without it says so from now on"));
    }
    let whole = |m: &&Mirror| s.trusts_all(m) && m.legs.iter().all(Leg::up);
    if !mirrors.iter().all(whole) || obs.pvs.iter().any(|pv| pv.missing) {
        return None;
    }
    match s.stamps.done.get(&vg.uuid) {
        None => Some(format!("first sight of {}", vg.name)),
        Some(_) if s.stamps.due.contains(&vg.uuid) => Some(format!("{} is redundant again", vg.name)),
        Some(at) if s.now.mono.since(*at) >= s.settings.stamp_interval => {
            Some(format!("{} had none for long", vg.name))
        }
        Some(_) => None,
    }
}

/// A PV whose legs were lost, whose device is away, and that the survivors' metadata does not call missing yet. None while
/// an unmirrored LV lies on it, since the flag would keep that from coming back.
fn lost_unflagged<'a>(s: &Situation<'a>, obs: &VgObs, mirrors: &[&'a Mirror]) -> Option<&'a PvUuid> {
    let legs = mirrors.iter().flat_map(|m| m.legs.iter().map(move |leg| (*m, leg)));
    let mut gone = BTreeSet::new();
    for (mirror, leg) in legs.filter(|(_, leg)| !leg.up()) {
        let known = s.record(mirror).and_then(|record| record.legs.get(&leg.pv)).map(|known| &known.trust);
        let unflagged =
            matches!(known, Some(Trust::Suspect { cause: Cause::Lost, loss, .. }) if loss.flagged.is_none());
        if unflagged && !flagged(s, mirror, &leg.pv) {
            gone.insert(&leg.pv);
        }
    }
    // Whoever is still there has to be beyond doubt: the stamp makes its history the right one.
    let good = |m: &&Mirror| {
        let record = s.record(m);
        m.legs.iter().filter(|leg| leg.up()).all(|leg| {
            let known = record.and_then(|record| record.legs.get(&leg.pv));
            let serves = m.live == Live::Inactive || leg.health == Some(LegHealth::InSync);
            known.is_some_and(|known| known.trust == Trust::Trusted) && serves
        }) && m.legs.iter().any(Leg::up)
    };
    let lonely = |pv: &PvUuid| {
        obs.lvs.iter().any(|lv| lv.role.iter().any(|r| r == "public") && lv.extents.iter().any(|run| run.pv == *pv))
    };
    gone.into_iter().find(|pv| mirrors.iter().all(good) && !lonely(pv))
}

/// Whether the last look found the PV flagged by a survivor.
fn flagged(s: &Situation<'_>, mirror: &Mirror, pv: &PvUuid) -> bool {
    let texts = s.probes.get(&mirror.vg.uuid).map(crate::plan::ProbeRun::texts).unwrap_or_default();
    texts.values().any(|text| text.missing.contains(pv))
}

/// Every device with a PV of these mirrors that answers.
pub fn devices(mirrors: &[&Mirror]) -> Vec<Name> {
    let legs = mirrors.iter().flat_map(|m| &m.legs).filter(|leg| leg.up());
    let names: BTreeSet<Name> = legs.filter_map(|leg| leg.place.as_ref()).map(|place| place.name.clone()).collect();
    names.into_iter().collect()
}

/// What a flushed stamp is noted as: its number and the metadata's.
pub fn noted(obs: &VgObs) -> Option<Noted> {
    let stamp = obs.tags.iter().filter_map(|tag| stamp_of(tag)).max()?;
    Some(Noted { stamp, seqno: obs.seqno })
}

/// The stamp of a VG when the service stops: nothing blocked, everybody there, judged and beyond doubt.
pub fn closing(s: &Situation<'_>, vg: &VgUuid, mirrors: &[&Mirror]) -> Option<Op> {
    let obs = s.vgs.get(vg).filter(|_| s.reported && s.blocked_device().is_none())?;
    let judged = |leg: &Leg| leg.up() && s.looks.judged(leg, s.targets);
    let ready = mirrors.iter().all(|m| s.trusts_all(m) && !m.suspended && m.legs.iter().all(judged));
    if !ready || s.settings.stamp_interval.is_zero() || obs.pvs.iter().any(|pv| pv.missing) {
        return None;
    }
    Some(stamp(s, &mirrors.first()?.vg, obs))
}

/// The next stamp, above every number used before.
fn stamp(s: &Situation<'_>, vg: &VgRef, obs: &VgObs) -> Op {
    let drop: Vec<u64> = obs.tags.iter().filter_map(|tag| stamp_of(tag)).collect();
    let used = drop.iter().copied().chain(s.ledger.vgs.get(&vg.uuid).map(|vg| vg.stamp)).max().unwrap_or(0);
    let add = s.stamping.get(&vg.uuid).copied().unwrap_or(used + 1);
    Op::Stamp { vg: vg.clone(), add, drop }
}
