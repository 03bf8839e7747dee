//! Healing `mirror` volumes (`facts/lvm.md` M1–M5, `facts/lab.md` 6). dmeventd drops a dead leg, which un-blocks the
//! writers; the ledger remembers that the volume is a mirror, and when the PV is back it gets a full copy.
//!
//! A dm mirror cannot keep a leg from serving reads and has no check, so a leg whose server may have lost writes is
//! dropped and copied anew too, provided another leg is beyond doubt.

use crate::ids::PvUuid;
use crate::ledger::{Cause, Kind, MirrorRecord, Stage, Trust};
use crate::link;
use crate::observation::LegHealth;
use crate::op::Op;
use crate::plan::{Haste, Plan, ProbeRun, Situation};
use crate::raid1;
use crate::topology::{Leg, Live, Mirror};
use crate::trust::{self, good_legs};
use crate::witness::{self, Objection};
use crate::words::Hold;

/// Plans the next step for mirrors.
pub fn plan(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    for mirror in mirrors.iter().filter(|m| m.kind == Kind::Mirror && m.live != Live::Inactive && m.reported) {
        if let Some(objection) = rewritten(s, mirror) {
            plan.hold(mirror, objection);
            continue;
        }
        let Some(record) = s.record(mirror) else { continue };
        if let Live::Unreadable(why) = &mirror.live {
            plan.hold(mirror, Objection::new(Hold::Unreadable, "status", why.as_str()));
            continue;
        }
        if let Some(objection) = mirror.legs.iter().find_map(|leg| raid1::serving_alone(s, mirror, record, leg)) {
            plan.hold(mirror, objection);
            continue;
        }
        let step = takeover(s, mirror, plan).or_else(|| plan_one(s, mirror, record, plan));
        plan.propose(step);
    }
}

/// Fewer legs are in use than the newest metadata names: somebody else wrote it, and the next table made from it would copy
/// its first leg over those in use.
pub fn rewritten(s: &Situation<'_>, mirror: &Mirror) -> Option<Objection> {
    let serves = |leg: &Leg| leg.health == Some(LegHealth::InSync);
    let other = mirror.legs.iter().any(|leg| leg.index.is_some() && !serves(leg));
    let single = s.reported && mirror.live == Live::Single;
    let Some(in_use) = mirror.legs.iter().find(|leg| serves(leg)) else {
        let why = "its last device is gone under it; unmount, deactivate and activate it";
        let stranded = single && mirror.legs.iter().any(Leg::up);
        return stranded.then(|| Objection::new(Hold::NeedsOperator, "reason", why));
    };
    let chosen = s.record(mirror).is_some_and(|record| record.kept.is_some());
    let unknown = |leg: &Leg| leg.index.is_some() && leg.health.is_none();
    let fewer = s.reported && matches!(mirror.live, Live::Mirror { .. }) && mirror.legs.iter().any(unknown);
    ((single && other || fewer) && !chosen).then(|| {
        let why = "fewer legs are in use than the newest metadata names";
        Objection::new(Hold::SplitBrain, "reason", why).with("leg", in_use.pv.as_str())
    })
}

/// What dmeventd should do and does not: watch the volume, and drop a dead leg.
fn takeover(s: &Situation<'_>, mirror: &Mirror, plan: &mut Plan) -> Option<(Op, String)> {
    let Live::Mirror { handle_errors, .. } = mirror.live else { return None };
    let (vg, lv) = (mirror.vg.clone(), mirror.lv.clone());
    if !mirror.legs.iter().any(|leg| leg.health == Some(LegHealth::InSync)) {
        let why = "every leg has failed; deactivate it, and activate it with the newer leg alone";
        plan.hold(mirror, Objection::new(Hold::NeedsOperator, "reason", why));
        return None;
    }
    let dead = mirror.legs.iter().any(|leg| leg.index.is_some() && leg.health == Some(LegHealth::Dead));
    let unwatched = mirror.monitored == Some(false) || !handle_errors;
    if s.reported && s.blocked_device().is_none() && !dead && unwatched && !mirror.suspended {
        return Some((Op::Monitor { vg, lv }, format!("nobody would drop a dead leg of {}", mirror.name)));
    }
    let since = s.stuck_since.get(&mirror.lv.uuid).filter(|_| dead)?;
    if s.now.mono.since(*since) < s.settings.dmeventd_grace {
        return None;
    }
    if let Some(device) = s.blocked_device() {
        plan.hold(mirror, Objection::new(Hold::DeviceBlocked, "device", device));
        return None;
    }
    if !s.reported {
        return None;
    }
    Some((Op::DropDeadLeg { vg, lv }, format!("a leg of {} is dead and dmeventd has not dropped it", mirror.name)))
}

/// Lets go what the kernel may keep although no leg is dead, once all of them are where the table has them. Whoever waits for
/// a write waits as well where a person has to choose a leg.
pub fn let_go(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    for mirror in mirrors.iter().filter(|m| m.kind == Kind::Mirror && m.reported) {
        let step = requeue(s, mirror, plan);
        plan.propose(step);
    }
}

fn requeue(s: &Situation<'_>, mirror: &Mirror, plan: &mut Plan) -> Option<(Op, String)> {
    let since = s.stuck_since.get(&mirror.lv.uuid).filter(|_| s.keeping.contains(&mirror.lv.uuid))?;
    let early = s.now.mono.since(*since) < s.settings.suspended_grace;
    let parts = || mirror.legs.iter().filter(|leg| leg.index.is_some());
    let here = |leg: &Leg| leg.up() && leg.attached && leg.health == Some(LegHealth::InSync);
    if early || !parts().all(here) || mirror.suspended || !s.reported || s.blocked_device().is_some() {
        return None;
    }
    if matches!(mirror.live, Live::Mirror { nosync: true, .. }) {
        let why = "a leg failed and is alive again, and writes may be waiting for that; its table was loaded with nosync, \
                   so suspend it with dmsetup suspend --noflush --nolockfs, resume it, and restart mirrorkeeper";
        plan.hold(mirror, Objection::new(Hold::NeedsOperator, "reason", why));
        return None;
    }
    if let Err(objection) = parts().try_for_each(|leg| s.stands(&mirror.vg.uuid, &leg.pv)) {
        plan.hold(mirror, objection);
        return None;
    }
    // LVM refreshes none that lacks a PV.
    if let Some(leg) = parts().find(|leg| leg.missing) {
        return s.restore_missing(mirror, &leg.pv).map_err(|objection| plan.hold(mirror, objection)).ok();
    }
    let why = format!("a leg of {} failed, or its copy stands still; what waits for that is issued anew", mirror.name);
    Some((Op::Requeue { vg: mirror.vg.clone(), lv: mirror.lv.clone() }, why))
}

fn plan_one(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord, plan: &mut Plan) -> Option<(Op, String)> {
    // One copy at a time, and nothing while one is under way: LVM refuses, and the ratio would be misread.
    if !mirror.idle() {
        return None;
    }
    mirror.legs.iter().find_map(|leg| {
        let known = record.legs.get(&leg.pv)?;
        let Trust::Suspect { stage, cause, .. } = known.trust else { return None };
        // One that is in use serves reads meanwhile.
        let in_use = leg.index.is_some() && leg.health == Some(LegHealth::InSync);
        let haste = if in_use { Haste::Flag } else { Haste::None };
        let place = s.ready(&[mirror], leg, known.size, haste, plan)?;
        // What the last look at the device found stands until a newer one.
        let probe = s.verdict(&mirror.vg.uuid);
        if let Some(Err(objection)) = probe.map(|probe| verdict(s, mirror, record, leg, probe)) {
            let stranger = matches!(objection.hold, Hold::IdentityMismatch | Hold::BlankDevice) && in_use;
            plan.hold(mirror, objection);
            let stale = s.probe(&mirror.vg.uuid).is_none();
            let spare = good_legs(record, mirror).any(|pv| *pv != leg.pv);
            if stranger && !stale && !place.disk.is_empty() && spare {
                let why = format!("what stands behind {} of {} is not its leg", place.name, mirror.name);
                return Some((Op::SetOffline { disk: place.disk.clone() }, why));
            }
            return stale.then(|| (s.probe_op(&mirror.vg), format!("{} is held; look again", place.name)));
        }
        if let Some(step) = s.announce(&mirror.vg.uuid, place) {
            return Some(step);
        }
        match (leg.index, stage) {
            // Given up by a person, and named all the same by metadata that somebody else wrote; the table is what it was before.
            (Some(_), Stage::Mismatched) if mirror.live == Live::Single && cause == Cause::Condemned => {
                drop_leg(s, mirror, record, leg, plan)
            }
            // The copy onto it has just ended; trust follows when it was seen so twice.
            (Some(_), Stage::Mismatched) => None,
            // Still part of the volume and alive, but its server may have lost writes.
            (Some(_), _) if leg.health == Some(LegHealth::InSync) => drop_leg(s, mirror, record, leg, plan),
            // Dead and not dropped yet: dmeventd's turn.
            (Some(_), _) => None,
            (None, _) => {
                if let Some(objection) = plan.held.get(&leg.pv).cloned() {
                    plan.hold_with(mirror, objection);
                    return None;
                }
                match readd(s, mirror, leg) {
                    Ok(op) => Some((op, format!("{} is back; copy {} onto it in full", place.name, mirror.name))),
                    Err(objection) => {
                        plan.hold(mirror, objection);
                        None
                    }
                }
            }
        }
    })
}

/// What the witnesses say about a leg. It will be copied over in full, so only what it alone may have matters: another
/// history.
fn verdict(
    s: &Situation<'_>,
    mirror: &Mirror,
    record: &MirrorRecord,
    leg: &Leg,
    probe: &ProbeRun,
) -> Result<(), Objection> {
    let Some(known) = record.legs.get(&leg.pv) else { return Ok(()) };
    probe.identity(mirror, leg, known.size)?;
    leg.place.as_ref().map_or(Ok(()), |place| witness::same_disk(known, place))?;
    let Trust::Suspect { cause, loss, .. } = &known.trust else { return Ok(()) };
    if *cause == Cause::Condemned {
        return Ok(());
    }
    if loss.diverged {
        return Err(s.other_history(probe).with("leg", leg.pv.as_str()));
    }
    let alive = mirror.legs.iter().filter(|l| l.pv != leg.pv && l.health == Some(LegHealth::InSync));
    let others: Vec<&PvUuid> = alive.map(|leg| &leg.pv).collect();
    let vg = s.ledger.vgs.get(&mirror.vg.uuid);
    witness::history(&leg.pv, &probe.texts(), &others, loss, vg).map(|_| ())
}

fn drop_leg(
    s: &Situation<'_>,
    mirror: &Mirror,
    record: &MirrorRecord,
    leg: &Leg,
    plan: &mut Plan,
) -> Option<(Op, String)> {
    if let Some(objection) = plan.held.get(&leg.pv).cloned() {
        plan.hold_with(mirror, objection);
        return None;
    }
    let in_lv = mirror.legs.iter().filter(|l| l.index.is_some()).count();
    if in_lv < 2 {
        // It is all there is; whoever comes next is copied from it.
        return None;
    }
    if !good_legs(record, mirror).any(|pv| *pv != leg.pv) {
        let why = "every leg was out of reach and none can be proven complete";
        plan.hold(mirror, Objection::new(Hold::NoHistory, "reason", why));
        return None;
    }
    let why = format!("the server of {} was away and may have lost writes of {}", leg.pv, mirror.name);
    // Flagged because of another volume on it. The flag forbids to drop it, and while the leg is in use it hides nothing.
    if leg.missing {
        return match s.restore_missing(mirror, &leg.pv) {
            Ok(step) => Some(step),
            Err(objection) => {
                plan.hold(mirror, objection);
                None
            }
        };
    }
    if let Err(objection) = s.vg_complete(&mirror.vg.uuid) {
        plan.hold(mirror, objection);
        return None;
    }
    let legs = u32::try_from(in_lv - 1).unwrap_or(u32::MAX);
    Some((Op::DropLeg { vg: mirror.vg.clone(), lv: mirror.lv.clone(), pv: leg.pv.clone(), legs }, why))
}

/// The next command towards taking a dropped leg back.
fn readd(s: &Situation<'_>, mirror: &Mirror, leg: &Leg) -> Result<Op, Objection> {
    // A new leg starts the log anew: all that are there are copied from the first one.
    let doubted = |leg: &&Leg| {
        let known = s.record(mirror).and_then(|record| record.legs.get(&leg.pv));
        let copied = |trust: &Trust| matches!(trust, Trust::Trusted | Trust::Suspect { stage: Stage::Mismatched, .. });
        leg.index.is_some() && known.is_some_and(|known| !copied(&known.trust))
    };
    let in_lv = mirror.legs.iter().filter(|leg| leg.index.is_some()).count();
    // What is held for not being what it was is nothing to copy from.
    for source in mirror.legs.iter().filter(|leg| leg.index.is_some()) {
        let size = s.record(mirror).and_then(|record| record.legs.get(&source.pv)).map_or(0, |known| known.size);
        s.verdict(&mirror.vg.uuid).map_or(Ok(()), |probe| probe.identity(mirror, source, size))?;
    }
    if let Some(source) = s.record(mirror).and_then(|record| restarted_source(record, mirror, &leg.pv)) {
        let why = "the leg in use was away, and its server may have lost what only the returned leg has";
        return Err(Objection::new(Hold::NoHistory, "reason", why).with("leg", source.as_str()));
    }
    if leg.missing {
        return s.restore_missing(mirror, &leg.pv).map(|(op, _)| op);
    }
    // Not before the flag is off: a leg in doubt is dropped first, and LVM drops none from a VG that lacks a PV.
    if let Some(other) = mirror.legs.iter().find(doubted).filter(|_| in_lv > 1) {
        return Err(Objection::new(Hold::Queued, "behind", other.pv.as_str()));
    }
    s.vg_complete(&mirror.vg.uuid)?;
    link::room(s, mirror)?;
    let legs = u32::try_from(in_lv + 1).unwrap_or(u32::MAX);
    let (vg, lv, pv) = (mirror.vg.clone(), mirror.lv.clone(), leg.pv.clone());
    Ok(Op::ReaddLeg { vg, lv, pv, log: mirror.log, log_pv: mirror.log_pv.clone(), legs })
}

/// The leg in use that may lack what the other one has, if no better one is there to copy from.
fn restarted_source<'a>(record: &MirrorRecord, mirror: &'a Mirror, returned: &PvUuid) -> Option<&'a PvUuid> {
    let in_use = || mirror.legs.iter().filter(|leg| leg.index.is_some()).map(|leg| &leg.pv);
    let trusted = |pv: &PvUuid| record.legs.get(pv).is_some_and(|known| known.trust == Trust::Trusted);
    if in_use().any(trusted) { None } else { in_use().find(|pv| trust::may_lack(record, pv, returned)) }
}
