//! Activation: which inactive mirror may be brought up, on which legs. LVM activates a VG only when it is complete, and then
//! without asking which leg is right; a VG that stays incomplete, or that is gated, is left to us.
//!
//! A leg that stands alone is taken only if the ledger says that it was in sync at the end. Activation with two legs is a
//! table load, so a suspect is kept out of it: its disk fails its I/O until the volume is up without it.

use crate::ids::{LvUuid, PvUuid, VgUuid};
use crate::ledger::{Cause, Continuity, Kind, LegRecord, Loss, MirrorRecord, Trust};
use crate::observation::ProbedSuperblock;
use crate::op::Op;
use crate::plan::{Plan, ProbeRun, Situation};
use crate::topology::{Leg, Live, Mirror, Place};
use crate::trust;
use crate::witness::{self, Objection};
use crate::words::Hold;
use std::collections::{BTreeMap, BTreeSet};

/// Proposes the next step towards activation of the inactive mirrors of a VG.
pub fn plan(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let Some(vg) = mirrors.first().map(|m| &m.vg.uuid) else { return };
    for mirror in mirrors.iter().filter(|m| m.live == Live::Inactive && m.reported) {
        // One whose disk is offline for the sake of another waits until it is back.
        let ours = kept_out(s, vg).any(|(m, _)| m.lv == mirror.lv);
        let others = mirror.legs.iter().filter_map(|leg| leg.place.as_ref()).any(|place| place.offline);
        if others && !ours && kept_out(s, vg).next().is_some() {
            continue;
        }
        match s.record(mirror) {
            Some(record) if record.kept.is_some() => {}
            Some(record) if wanted(s, mirror, record) => {
                let step = plan_one(s, mirror, record, plan);
                plan.propose(step);
            }
            None if due(s, mirror) && (mirror.autoactivation || s.settings.gate) => {
                let why = "inactive, and nothing is remembered of it; activate it by hand if you know its legs";
                plan.hold(mirror, Objection::new(Hold::NoHistory, "reason", why));
            }
            _ => {}
        }
    }
    // Whoever needs a disk kept out goes first, and the next one when it is back: two may be needed by each other's mirrors.
    let out =
        plan.steps.iter().find_map(|(op, _)| if let Op::SetOffline { disk } = op { Some(disk.clone()) } else { None });
    if let Some(first) = out {
        plan.steps.retain(|(op, _)| match op {
            Op::SetOffline { disk } => *disk == first,
            op => !matches!(op, Op::Activate { .. } | Op::DropDeadLeg { .. }),
        });
    }
}

/// Whether it is ours to activate it, now. Once it was active in this boot, whoever deactivated it meant it.
fn wanted(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord) -> bool {
    let at_boot = record.active_in_boot != s.ledger.boot_id && (mirror.autoactivation || record.gated);
    s.asked.contains(&mirror.lv.uuid) || (at_boot && due(s, mirror))
}

/// Whether waiting for its legs is over: they are all there and LVM has nothing to do with it, or the grace has passed.
fn due(s: &Situation<'_>, mirror: &Mirror) -> bool {
    let record = s.record(mirror);
    let gated = record.is_some_and(|record| record.gated);
    // A disk that we made fail for now is there, though LVM does not find it.
    let here = |leg: &Leg| record.is_some_and(|record| there(record, leg)) && (leg.up() != leg.missing);
    let complete = mirror.legs.iter().all(here);
    let grace = u64::try_from(s.settings.activation_grace.as_micros()).unwrap_or(u64::MAX);
    s.now.mono.0 >= grace || (gated && complete)
}

fn plan_one(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord, plan: &mut Plan) -> Option<(Op, String)> {
    if !s.reported {
        return None;
    }
    if let Some(device) = s.blocked_device() {
        plan.hold(mirror, Objection::new(Hold::DeviceBlocked, "device", device));
        return None;
    }
    let look = |why: &str| Some((s.probe_op(&mirror.vg), format!("{}: {why}", mirror.name)));
    let Some(probe) = s.verdict(&mirror.vg.uuid) else {
        return look("inactive; who is there, and who was right?");
    };
    let verdict = choose(s, mirror, record, probe);
    let (chosen, suspects) = match verdict {
        Ok(choice) => choice,
        Err(objection) => {
            plan.hold(mirror, objection);
            // The facts on the disks may have changed since.
            return s.probe(&mirror.vg.uuid).is_none().then(|| look("held; look again")).flatten();
        }
    };
    if let Some(objection) = disowned(&chosen, probe) {
        plan.hold(mirror, objection);
        return None;
    }
    let (vg, lv) = (mirror.vg.clone(), mirror.lv.clone());
    let in_lv = |leg: &&Leg| leg.index.is_some();
    let absent = mirror.legs.iter().filter(in_lv).find(|leg| !leg.up() || leg.missing);
    let names = chosen.iter().map(|pv| pv.as_str()).collect::<Vec<_>>().join(" ");
    // A table load trusts whoever has more `events`, a `mirror` copies from its first leg: suspects must not be readable.
    let readable = suspects.iter().find_map(|pv| mirror.leg(pv)?.place.as_ref().filter(|p| p.up));
    if let Some(place) = readable {
        return keep_out(s, mirror, place).map_err(|objection| plan.hold(mirror, objection)).ok();
    }
    let why = format!("{names} was in sync at the end");
    match (mirror.kind, absent) {
        (Kind::Mirror, Some(leg)) => Some((Op::DropDeadLeg { vg, lv }, format!("{} is not there, and {why}", leg.pv))),
        (_, None) => Some((Op::Activate { vg, lv, on: Vec::new() }, why)),
        (_, Some(_)) => {
            let places = chosen.iter().filter_map(|pv| mirror.leg(pv)?.place.as_ref());
            let unknown = places.into_iter().find_map(|place| s.announce(&mirror.vg.uuid, place));
            let on = chosen.into_iter().cloned().collect();
            unknown.or(Some((Op::Activate { vg, lv, on }, why)))
        }
    }
}

/// All legs to activate on are called missing by the newest metadata: somebody else wrote it, and went on without them.
fn disowned(chosen: &[&PvUuid], probe: &ProbeRun) -> Option<Objection> {
    let newest = probe.newest()?;
    let first = chosen.first().filter(|_| chosen.iter().all(|pv| newest.missing.contains(*pv)))?;
    let why = "the newest metadata calls missing what was in sync at the end";
    Some(Objection::new(Hold::SplitBrain, "reason", why).with("leg", first.as_str()).with("vg-seqno", newest.seqno))
}

/// Makes a disk fail its I/O while a mirror is activated without it, unless anything else in use lies on it.
pub fn keep_out(s: &Situation<'_>, mirror: &Mirror, place: &Place) -> Result<(Op, String), Objection> {
    if place.disk.is_empty() || place.disk != place.name {
        let why = "a leg that must be kept out is on a partition or on no iSCSI disk: take it away by hand";
        return Err(Objection::new(Hold::NeedsOperator, "reason", why).with("device", place.name.as_str()));
    }
    if let Some(user) = s.kernel.user_of(place.dev) {
        let objection = Objection::new(Hold::UnmanagedUser, "in-use", user);
        return Err(objection.with("disk", place.disk.as_str()));
    }
    let why = format!("{} is to be activated without {}", mirror.name, place.name);
    Ok((Op::SetOffline { disk: place.disk.clone() }, why))
}

/// Disks of a VG that we set offline and that still are.
pub fn kept_out<'a>(s: &Situation<'a>, vg: &VgUuid) -> impl Iterator<Item = (&'a Mirror, &'a Place)> {
    let records = s.ledger;
    s.mirrors.values().filter(move |m| m.vg.uuid == *vg).flat_map(move |m| {
        let record = records.mirrors.get(&m.lv.uuid);
        let ours = move |leg: &&Leg| record.and_then(|r| r.legs.get(&leg.pv)).is_some_and(|known| known.kept_out);
        // Where a person wants it offline it stays so.
        let ours = move |leg: &&Leg| ours(leg) && !s.resting(m, leg);
        m.legs.iter().filter(ours).filter_map(move |leg| Some((m, leg.place.as_ref().filter(|p| p.offline)?)))
    })
}

/// The legs to activate on, and those that are there and must be kept out.
type Choice<'a> = (Vec<&'a PvUuid>, Vec<&'a PvUuid>);

/// Which of the legs that are there may be activated.
fn choose<'a>(
    s: &Situation<'_>,
    mirror: &'a Mirror,
    record: &MirrorRecord,
    probe: &ProbeRun,
) -> Result<Choice<'a>, Objection> {
    let in_lv = || mirror.legs.iter().filter(|leg| leg.index.is_some());
    let here: Vec<&Leg> = in_lv().filter(|leg| leg.up()).collect();
    let complete = in_lv().all(|leg| there(record, leg));
    let all_here = record.legs.keys().all(|pv| mirror.leg(pv).is_some_and(|leg| there(record, leg)));
    let nobody = || Objection::new(Hold::NoHistory, "reason", "none of its legs is there");
    let first = here.first().ok_or_else(nobody)?;
    if record.unseen && !complete {
        let why = "the service had ended while it was open; a leg may have been lost after that";
        return Err(Objection::new(Hold::NoHistory, "reason", why));
    }
    // That a leg in doubt went on without one that is believed is told by its superblock only.
    let superblocks = probe.superblocks(mirror);
    let silent = |leg: &&&Leg| leg.index.is_none_or(|index| witness::found(&superblocks, index).is_err());
    if let Some(leg) = here.iter().filter(|leg| record.unseen && !trusted(record, leg)).find(silent) {
        let why = "nobody saw the end, and a leg that may have gone on alone does not tell";
        return Err(Objection::new(Hold::NoHistory, "reason", why).with("leg", leg.pv.as_str()));
    }
    if let Some((pv, _)) = record.legs.iter().find(|(_, known)| diverged(known)) {
        let why = "it was used elsewhere, or its metadata told another history when it was read";
        return Err(Objection::new(Hold::SplitBrain, "reason", why).with("leg", pv.as_str()));
    }
    let mut good = Vec::new();
    let mut objection = None;
    for leg in &here {
        let credible = credible(s, mirror, record, leg, probe);
        match credible.and_then(|()| if all_here { Ok(()) } else { in_its_place(record, leg) }) {
            Ok(()) => good.push(&leg.pv),
            // Nobody is known to be newer; without having read them all one would be chosen blindly.
            Err(found) if found.hold == Hold::Unreadable && !trusted(record, leg) && believed(mirror, record, leg) => {
                return Err(found);
            }
            Err(found) => objection = objection.or(Some(found)),
        }
    }
    drop_outlived(mirror, &mut good, probe);
    if good.is_empty() {
        return Err(objection.unwrap_or_else(|| Objection::new(Hold::StaleLeg, "leg", first.pv.as_str())));
    }
    one_history(s, mirror, &good, probe)?;
    if let Some(objection) = accused(mirror, &here, &good, probe) {
        return Err(objection);
    }
    let suspects: Vec<&PvUuid> = here.iter().map(|leg| &leg.pv).filter(|pv| !good.contains(pv)).collect();
    let texts = probe.texts();
    let seqno = |pv: &PvUuid| texts.get(pv).map(|text| text.seqno);
    let newest = good.iter().filter_map(|pv| seqno(pv)).max();
    if let Some(ahead) = suspects.iter().copied().find(|pv| seqno(pv) > newest && newest.is_some()) {
        let why = "a leg that is not believed has newer metadata than those that are";
        let objection = Objection::new(Hold::SplitBrain, "reason", why).with("leg", ahead.as_str());
        return Err(objection
            .with("vg-seqno", seqno(ahead).unwrap_or(0))
            .with("survivor-vg-seqno", newest.unwrap_or(0)));
    }
    Ok((good, suspects))
}

/// Whether a leg is behind the target that it was behind before. A copy of its LUN elsewhere looks the same in all else, and
/// the leg itself may still come.
fn in_its_place(record: &MirrorRecord, leg: &Leg) -> Result<(), Objection> {
    let before = record.legs.get(&leg.pv).and_then(|known| known.target.as_ref());
    let here = leg.place.as_ref().and_then(|place| place.target.as_ref());
    let Some((before, here)) = before.zip(here) else { return Ok(()) };
    // Addresses change, and names have no comma.
    if before.split(',').next() == Some(here.iqn.as_str()) {
        return Ok(());
    }
    let why = "it stands behind another target than before: a copy of its LUN would look the same";
    let objection = Objection::new(Hold::NoHistory, "reason", why).with("leg", leg.pv.as_str());
    Err(objection.with("target", here.name.as_str()).with("target-expected", before.as_str()))
}

/// Of legs that are believed alike, one that another went on without is not.
fn drop_outlived(mirror: &Mirror, good: &mut Vec<&PvUuid>, probe: &ProbeRun) {
    let superblocks = probe.superblocks(mirror);
    let index = |pv: &PvUuid| mirror.leg(pv).and_then(|leg| leg.index);
    let all: Vec<usize> = good.iter().filter_map(|pv| index(pv)).collect();
    let outlived = |own: usize| all.iter().any(|by| *by != own && witness::outlived(&superblocks, own, *by));
    good.retain(|pv| !index(pv).is_some_and(outlived));
}

/// Whether the ledger says of a leg that it was in sync at the end, and the disk does not say otherwise.
fn credible(
    s: &Situation<'_>,
    mirror: &Mirror,
    record: &MirrorRecord,
    leg: &Leg,
    probe: &ProbeRun,
) -> Result<(), Objection> {
    let unknown = || Objection::new(Hold::NoHistory, "leg", leg.pv.as_str());
    let known = record.legs.get(&leg.pv).ok_or_else(unknown)?;
    probe.identity(mirror, leg, known.size)?;
    if let Trust::Suspect { cause, since, .. } = &known.trust
        && !believed(mirror, record, leg)
    {
        let objection = Objection::new(Hold::StaleLeg, "leg", leg.pv.as_str());
        return Err(objection.with("cause", cause.word()).with("stale-since", since.0));
    }
    let noted = s.ledger.vgs.get(&mirror.vg.uuid).and_then(|vg| vg.noted);
    match probe.texts().get(&leg.pv).zip(noted) {
        Some((text, noted)) if text.seqno < noted.seqno => {
            let objection = Objection::new(Hold::RolledBackLeg, "vg-seqno", text.seqno).with("stamp", noted.stamp);
            Err(objection.with("vg-seqno-noted", noted.seqno).with("leg", leg.pv.as_str()))
        }
        _ => Ok(()),
    }
}

/// Its device is there, if only because we made it fail its I/O for now.
pub fn there(record: &MirrorRecord, leg: &Leg) -> bool {
    let kept_out = record.legs.get(&leg.pv).is_some_and(|known| known.kept_out);
    leg.up() || (kept_out && leg.place.as_ref().is_some_and(|place| place.offline))
}

/// Whether the ledger allows to activate on a leg: trusted, or in doubt like all that are not known to have missed writes,
/// so that none of them lacks what another has. A raid1 is compared afterwards; a `mirror` is copied from its first leg at
/// once, so there nothing less than a proof will do, unless nobody else is left. One whose server restarted may lack what one
/// that was lost has.
pub fn believed(mirror: &Mirror, record: &MirrorRecord, leg: &Leg) -> bool {
    let away = |known: &LegRecord| matches!(known.trust, Trust::Suspect { cause: Cause::SessionDown, .. });
    let alike: Vec<(&PvUuid, &Box<LegRecord>)> =
        record.legs.iter().filter(|(_, l)| trust::may_serve(&l.trust)).collect();
    let here = |pv: &PvUuid| mirror.leg(pv).is_some_and(|leg| there(record, leg));
    match record.legs.get(&leg.pv) {
        Some(known) if known.trust == Trust::Trusted => true,
        Some(known) if away(known) => {
            let proven = mirror.kind != Kind::Mirror || alike.len() == 1 || lived_on(known);
            let lacks = record.legs.keys().any(|other| *other != leg.pv && trust::may_lack(record, &leg.pv, other));
            proven && !(alike.len() == 1 && lacks) && alike.iter().all(|(pv, l)| away(l) && here(pv))
        }
        _ => false,
    }
}

fn trusted(record: &MirrorRecord, leg: &Leg) -> bool {
    record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted)
}

fn lived_on(known: &LegRecord) -> bool {
    matches!(&known.trust, Trust::Suspect { loss, .. } if loss.continuity == Continuity::Proven)
}

fn diverged(known: &LegRecord) -> bool {
    matches!(&known.trust, Trust::Suspect { cause, loss, .. } if loss.diverged && *cause != Cause::Condemned)
}

/// A leg that is not believed calls one failed that is: it went on without it.
fn accused(mirror: &Mirror, here: &[&Leg], good: &[&PvUuid], probe: &ProbeRun) -> Option<Objection> {
    let superblocks = probe.superblocks(mirror);
    let found = |leg: &Leg| match leg.index.and_then(|index| superblocks.get(&index)) {
        Some(ProbedSuperblock::Found(superblock)) => Some(*superblock),
        _ => None,
    };
    let believed = |leg: &&&Leg| good.contains(&&leg.pv);
    here.iter().filter(|leg| !believed(leg)).find_map(|suspect| {
        let by = found(suspect)?;
        let whom = here.iter().filter(believed).find(|leg| {
            let bit = leg.index.filter(|index| *index < 64).map_or(0, |index| 1 << index);
            by.failed_devices & bit != 0 || found(leg).is_some_and(|own| by.events > own.events + 1)
        })?;
        let why = "a leg that is not believed went on without one that is";
        let objection = Objection::new(Hold::SplitBrain, "reason", why).with("leg", suspect.pv.as_str());
        let objection = objection.with("events", by.events).with("failed-devices", by.failed_devices);
        Some(objection.with("other", whom.pv.as_str()))
    })
}

/// Whether the credible legs tell one history.
///
/// # Errors
/// The objection, when they tell two.
fn one_history(s: &Situation<'_>, mirror: &Mirror, good: &[&PvUuid], probe: &ProbeRun) -> Result<(), Objection> {
    let (texts, superblocks) = (probe.texts(), probe.superblocks(mirror));
    let vg = s.ledger.vgs.get(&mirror.vg.uuid);
    let newest = good.iter().copied().max_by_key(|pv| texts.get(pv).map(|text| text.seqno));
    for pv in good.iter().copied().filter(|pv| Some(*pv) != newest) {
        let others: Vec<&PvUuid> = newest.into_iter().collect();
        witness::history(pv, &texts, &others, &Loss::default(), vg)?;
    }
    let legs: Vec<usize> = good.iter().filter_map(|pv| mirror.leg(pv)?.index).collect();
    if mirror.kind == Kind::Mirror || legs.len() < 2 { Ok(()) } else { witness::peaceful(&superblocks, &legs) }
}

/// Mirrors whose automatic activation is to be ours from now on, or LVM's again.
pub fn gate(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let whole = |m: &&&Mirror| s.steady.contains(&m.lv.uuid) && m.reported && s.reported;
    let Some(vg) = mirrors.first().map(|m| m.vg.clone()) else { return };
    let handed_back = |m: &&&Mirror| !m.autoactivation && s.record(m).is_some_and(|r| trust::reduced(r, m) && r.gated);
    let lvs: Vec<_> = mirrors.iter().filter(handed_back).map(|m| m.lv.clone()).collect();
    if !lvs.is_empty() && s.reported && s.blocked_device().is_none() {
        let why = "they are no mirrors any more, and nobody else would activate them";
        plan.propose(Some((Op::SetAutoactivation { vg, lvs, on: true }, why.to_owned())));
        return;
    }
    let well = |m: &&Mirror| s.trusts_all(m) && m.legs.iter().all(Leg::up);
    let quiet = plan.steps.is_empty() && plan.holds.is_empty() && s.blocked_device().is_none();
    if !quiet || !mirrors.iter().all(well) || s.vg_complete(&vg.uuid).is_err() {
        return;
    }
    let on = !s.settings.gate;
    let differs = |m: &&&Mirror| {
        let gated = s.record(m).is_some_and(|record| record.gated);
        // A mirror that the administrator keeps from being activated stays so.
        if on { gated && !m.autoactivation } else { m.autoactivation }
    };
    let lvs: Vec<_> = mirrors.iter().filter(whole).filter(differs).map(|m| m.lv.clone()).collect();
    if !lvs.is_empty() {
        let why = if on { "LVM activates them again" } else { "activated by us, after the witnesses have spoken" };
        plan.propose(Some((Op::SetAutoactivation { vg, lvs, on }, why.to_owned())));
    }
}

/// Lets disks answer again that were kept out of activations, once no activation without them is to come.
pub fn let_in(s: &Situation<'_>, vg: &VgUuid, plan: &mut Plan) {
    if !s.reported {
        return;
    }
    let held = |m: &Mirror| plan.holds.contains_key(&m.lv.uuid) || s.refused.contains(&m.lv.uuid);
    let coming = |m: &Mirror| m.live == Live::Inactive && waits(s, m) && !held(m);
    let disks: BTreeSet<&str> = kept_out(s, vg).map(|(_, place)| place.disk.as_str()).collect();
    let waits = |disk: &str| kept_out(s, vg).any(|(m, place)| place.disk == disk && coming(m));
    let free: Vec<&str> = disks.into_iter().filter(|disk| !waits(disk)).collect();
    for disk in free {
        plan.propose(Some((Op::SetRunning { disk: disk.into() }, "nothing is to be activated without it".into())));
    }
}

fn waits(s: &Situation<'_>, mirror: &Mirror) -> bool {
    s.record(mirror).is_some_and(|record| record.kept.is_some() || wanted(s, mirror, record))
}

/// Mirrors that are seen active: nothing more is asked of them.
pub fn answered(asked: &mut BTreeSet<LvUuid>, mirrors: &BTreeMap<LvUuid, Mirror>) {
    asked.retain(|uuid| mirrors.get(uuid).is_some_and(|m| m.live == Live::Inactive));
}
