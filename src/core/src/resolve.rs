//! Carrying out what a person chose: one leg is kept, every other is dropped and copied anew in full. Which leg that is
//! stands in the ledger, so a death at any step goes on where it was and never turns round.
//!
//! raid1 is converted only while it is active, so everything begins with: active on the kept leg alone. Never by `--rebuild`:
//! on ambiguous superblocks it was seen to copy the wrong way (`facts/lab.md` B). A leg that was dropped has no superblock
//! to be trusted by.

use crate::boot;
use crate::ids::PvUuid;
use crate::ledger::{Cause, Kind, LegRecord, Loss, MirrorRecord, Stage, Trust};
use crate::observation::LegHealth;
use crate::op::{LogKind, Op};
use crate::plan::{Plan, Situation};
use crate::time::Wall;
use crate::topology::{Leg, Live, Mirror};
use crate::witness::{self, Objection};
use crate::words::Hold;

/// Notes the choice: the kept leg is the truth, all others are to be copied anew.
pub fn choose(record: &mut MirrorRecord, keep: &PvUuid, at: Wall) {
    record.kept = Some(keep.clone());
    record.unseen = false;
    for (pv, known) in &mut record.legs {
        // What was noted belongs to a history that is over.
        (known.registered, known.healthy) = (None, None);
        known.trust = if pv == keep {
            Trust::Trusted
        } else {
            let (cause, stage) = (Cause::Condemned, Stage::Unverified);
            Trust::Suspect { cause, since: at, stage, loss: Loss::default() }
        };
    }
}

/// Whether a leg is to be dropped before anything else is done with it.
pub fn condemned(known: &LegRecord) -> bool {
    matches!(known.trust, Trust::Suspect { cause: Cause::Condemned, stage: Stage::Unverified, .. })
}

/// Proposes the next step for mirrors with a chosen leg.
pub fn plan(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    for mirror in mirrors.iter().filter(|m| m.reported && s.reported && !m.suspended) {
        let Some((record, keep)) = s.record(mirror).and_then(|r| Some((r, r.kept.as_ref()?))) else { continue };
        if let Some(device) = s.blocked_device() {
            plan.hold(mirror, Objection::new(Hold::DeviceBlocked, "device", device));
            continue;
        }
        let step = match (&mirror.live, mirror.leg(keep)) {
            (Live::Unreadable(why), _) => Err(Objection::new(Hold::Unreadable, "status", why.as_str())),
            (Live::Inactive, Some(kept)) => activate(s, mirror, kept),
            (_, Some(kept)) if kept.health == Some(LegHealth::InSync) => copy_anew(s, mirror, record),
            // Nobody but legs that were given up is in use.
            (_, _) if others_condemned(record, keep) => give_way(mirror, keep),
            (_, _) => Ok(None),
        };
        match step {
            Ok(step) => plan.propose(step),
            Err(objection) => plan.hold(mirror, objection),
        }
    }
}

type Step = Result<Option<(Op, String)>, Objection>;

fn others_condemned(record: &MirrorRecord, keep: &PvUuid) -> bool {
    record.legs.iter().filter(|(pv, _)| *pv != keep).all(|(_, known)| condemned(known))
}

/// The wrong leg is in use: it has to be deactivated, which a mount forbids.
fn give_way(mirror: &Mirror, keep: &PvUuid) -> Step {
    if mirror.open {
        let why = "the leg that is not to be kept is active and in use: unmount the volume";
        return Err(Objection::new(Hold::NeedsOperator, "reason", why).with("unmount", mirror.name.as_str()));
    }
    let op = Op::Deactivate { vg: mirror.vg.clone(), lv: mirror.lv.clone() };
    Ok(Some((op, format!("{} is active without {keep}, the leg to be kept", mirror.name))))
}

/// Activates it on the kept leg alone. The others must not be readable in that moment: a table load trusts whoever has
/// more `events`.
fn activate(s: &Situation<'_>, mirror: &Mirror, kept: &Leg) -> Step {
    if !kept.up() {
        return Err(Objection::new(Hold::NeedsOperator, "reason", "the leg to be kept is not there"));
    }
    // The flag may well sit on the leg that was chosen: the other history was written without it. One text on both comes
    // first, or LVM would go back to the other one.
    if kept.missing {
        return s.restore_missing(mirror, &kept.pv).map(Some);
    }
    let (vg, lv) = (mirror.vg.clone(), mirror.lv.clone());
    // Event activation would load one table over both legs, and trust the one with more `events`.
    if mirror.autoactivation {
        let op = Op::SetAutoactivation { vg, lvs: vec![lv], on: false };
        return Ok(Some((op, "a reboot before the copy must not merge the legs".to_owned())));
    }
    let others = || mirror.legs.iter().filter(|leg| leg.pv != kept.pv && leg.index.is_some());
    let readable = others().filter_map(|leg| leg.place.as_ref()).find(|place| place.up);
    if let Some(place) = readable {
        return boot::keep_out(s, mirror, place).map(Some);
    }
    let degraded = others().count() > 0;
    if mirror.kind == Kind::Mirror && degraded {
        return Ok(Some((Op::DropDeadLeg { vg, lv }, format!("{} is kept", kept.pv))));
    }
    // The only one that LVM gets to see is named by udev's link.
    let unknown = kept.place.as_ref().filter(|_| degraded).and_then(|place| s.announce(&mirror.vg.uuid, place));
    if unknown.is_some() {
        return Ok(unknown);
    }
    let on = if degraded { vec![kept.pv.clone()] } else { Vec::new() };
    Ok(Some((Op::Activate { vg, lv, on }, format!("on {}, the leg to be kept", kept.pv))))
}

/// Active on the kept leg: drop a condemned leg once its device is back, and add it anew.
fn copy_anew(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord) -> Step {
    let flagged = |leg: &&Leg| record.kept.as_ref() == Some(&leg.pv) && leg.missing;
    if let Some(kept) = mirror.legs.iter().find(flagged) {
        return s.restore_missing(mirror, &kept.pv).map(Some);
    }
    let (vg, lvs) = (mirror.vg.clone(), vec![mirror.lv.clone()]);
    if mirror.autoactivation && record.legs.values().any(|known| condemned(known)) {
        let op = Op::SetAutoactivation { vg, lvs, on: false };
        return Ok(Some((op, "a reboot before the copy must not merge the legs".to_owned())));
    }
    let legs = mirror.legs.iter().filter(|leg| record.kept.as_ref() != Some(&leg.pv));
    let mut returned: Vec<&Leg> = legs.filter(|leg| leg.up()).collect();
    // Each command loads a table over all that are left, which revives a failed one and may copy from it: those go first.
    returned.sort_by_key(|leg| leg.health == Some(LegHealth::InSync));
    let in_lv = u32::try_from(mirror.legs.iter().filter(|leg| leg.index.is_some()).count()).unwrap_or(u32::MAX);
    for leg in returned.iter().copied() {
        let Some(known) = record.legs.get(&leg.pv) else { continue };
        let (vg, lv, pv) = (mirror.vg.clone(), mirror.lv.clone(), leg.pv.clone());
        match leg.index {
            Some(_) if condemned(known) && leg.missing => return s.restore_missing(mirror, &pv).map(Some),
            Some(_) if condemned(known) => {
                s.vg_complete(&vg.uuid)?;
                led_by_another(s, mirror, record, &pv, &returned)?;
                let why = format!("{} is copied anew from the leg that was chosen", leg.pv);
                return Ok(Some((Op::DropLeg { vg, lv, pv, legs: in_lv - 1 }, why)));
            }
            // A `mirror` takes its dropped legs back by its own rules.
            None if record.kind == Kind::Raid1 && leg.missing => return s.restore_missing(mirror, &pv).map(Some),
            None if record.kind == Kind::Raid1 => {
                s.vg_complete(&vg.uuid)?;
                let op = Op::ReaddLeg { vg, lv, pv, log: LogKind::Bitmap, log_pv: None, legs: in_lv + 1 };
                return Ok(Some((op, format!("copy {} in full from the leg that was chosen", mirror.name))));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The table over the legs that are left must not follow one that was given up: whoever has more `events` is copied from.
fn led_by_another(
    s: &Situation<'_>,
    mirror: &Mirror,
    record: &MirrorRecord,
    dropped: &PvUuid,
    others: &[&Leg],
) -> Result<(), Objection> {
    // The look that goes before the command comes first.
    let kept = record.kept.as_ref().and_then(|pv| mirror.leg(pv)?.index);
    let Some((probe, kept)) = s.probe(&mirror.vg.uuid).zip(kept) else { return Ok(()) };
    let superblocks = probe.superblocks(mirror);
    let left = others.iter().filter(|leg| leg.pv != *dropped && leg.superblock.is_some());
    let ahead = |leg: &&&Leg| leg.index.is_some_and(|i| witness::not_ahead(&superblocks, i, &[kept]).is_err());
    match left.into_iter().find(ahead) {
        None => Ok(()),
        Some(leg) => {
            let why =
                "a table over what is left would copy from another leg that was given up; set its disk offline first";
            Err(Objection::new(Hold::NeedsOperator, "reason", why).with("leg", leg.pv.as_str()))
        }
    }
}
