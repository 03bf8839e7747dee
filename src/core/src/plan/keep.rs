//! What is kept up where nothing is to be healed: looks for their own sake, flags and keys that are out of place, legs that
//! nobody will bring back, and a VG that is to be left alone.

use super::{Plan, Situation};
use crate::ids::{PvUuid, TargetKey, VgUuid};
use crate::ledger::{Cause, Kind, LegRecord, Trust};
use crate::observation::LegHealth;
use crate::op::{Op, stamp_of};
use crate::topology::{Leg, Live, Mirror};
use crate::witness::Objection;
use crate::words::Hold;
use crate::{boot, continuity, maintenance};
use std::collections::BTreeSet;

/// Legs whose device stays away although every session is up: nothing will come by itself.
pub(super) fn orphans(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let settled = |(key, target): (&TargetKey, &crate::session::Target)| {
        target.sid.is_none() || s.settled_at(key).is_some_and(|at| at <= s.now.mono)
    };
    let looks = plan.steps.iter().all(|(op, _)| matches!(op, Op::Probe { .. }));
    if !s.reported || !looks || !s.targets.all.iter().all(settled) {
        return;
    }
    for mirror in mirrors.iter().filter(|m| m.live != Live::Inactive) {
        let Some(record) = s.record(mirror) else { continue };
        let waited_for = |leg: &&Leg| {
            let known = record.legs.get(&leg.pv);
            let target = known.and_then(|known| known.target.as_ref());
            let up =
                target.is_none_or(|name| s.targets.all.iter().any(|(key, t)| key.name == *name && t.sid.is_some()));
            leg.place.is_none() && up
        };
        if plan.holds.contains_key(&mirror.lv.uuid) {
            continue;
        }
        let offline = mirror.legs.iter().filter(|leg| !maintenance::leaving(s, &leg.pv));
        if let Some(place) = offline.filter_map(|leg| leg.place.as_ref()).find(|place| place.offline) {
            plan.hold(mirror, super::fails_its_io(place));
        } else if let Some(leg) = mirror.legs.iter().find(waited_for) {
            let why = "no disk of any session holds this leg: is its LUN there, and does udev know its PV?";
            plan.hold(mirror, Objection::new(Hold::NeedsOperator, "reason", why).with("leg", leg.pv.as_str()));
        }
    }
}

/// Takes our marks off a VG that is to be left alone. `None` once there are none.
pub fn forget(s: &Situation<'_>, vg: &VgUuid) -> Option<(Op, String)> {
    let mut let_in = Plan::default();
    boot::let_in(s, vg, &mut let_in);
    if let Some(step) = let_in.steps.pop() {
        return Some(step);
    }
    if s.blocked_device().is_some() {
        return None;
    }
    let mirrors = || s.mirrors.values().filter(|m| m.vg.uuid == *vg && m.reported);
    let why = || "the VG is to be left alone".to_owned();
    let obs = s.vgs.get(vg).filter(|_| s.reported)?;
    let drop: Vec<u64> = obs.tags.iter().filter_map(|tag| stamp_of(tag)).collect();
    if !drop.is_empty() {
        return Some((Op::Unstamp { vg: mirrors().next()?.vg.clone(), drop }, why()));
    }
    let legs = mirrors().flat_map(|m| m.legs.iter().map(move |leg| (m, leg)));
    let registered = |m: &Mirror, leg: &Leg| {
        s.record(m).and_then(|record| record.legs.get(&leg.pv)).is_some_and(|known| known.registered.is_some())
    };
    let (_, leg) = legs.into_iter().find(|(m, leg)| registered(m, leg) && leg.place.as_ref().is_some_and(|p| p.up))?;
    let disk = leg.place.as_ref()?.disk.clone();
    Some((Op::Unregister { pv: leg.pv.clone(), disk, key: continuity::key(s.machine_id, &leg.pv) }, why()))
}

/// A look at the disks for its own sake: one has come that was not read since, or was not what it should be; the notes about
/// healthy superblocks are older than the last sync action, or it is not known yet whether a lost PV is flagged.
pub(super) fn look(s: &Situation<'_>, mirrors: &[&Mirror]) -> Option<(Op, String)> {
    let vg = &mirrors.first()?.vg;
    if !s.reported || s.blocked_device().is_some() || mirrors.iter().any(|m| m.suspended) {
        return None;
    }
    let known = |m: &Mirror, leg: &Leg| s.record(m).and_then(|record| record.legs.get(&leg.pv));
    let up = Leg::up;
    let legs = || mirrors.iter().flat_map(|m| m.legs.iter().map(move |leg| (*m, leg)));
    if let Some((m, leg)) =
        legs().find(|(m, leg)| known(m, leg).is_some() && up(leg) && !s.looks.judged(leg, s.targets))
    {
        return Some((s.probe_op(vg), format!("{} of {} was not read yet", leg.pv, m.name)));
    }
    if let Some(probe) = s.verdict(&vg.uuid).filter(|_| s.probe(&vg.uuid).is_none()) {
        // Each once: there may be hundreds of legs on it.
        let here = legs().filter(|(m, leg)| known(m, leg).is_some() && up(leg));
        let pvs: BTreeSet<&PvUuid> = here.map(|(_, leg)| &leg.pv).collect();
        if let Some(pv) = pvs.into_iter().find(|pv| probe.stands(s, &vg.uuid, pv).is_err()) {
            return Some((s.probe_op(vg), format!("{pv} was not what it should be; look again")));
        }
    }
    let unnoted = |m: &Mirror, leg: &Leg| {
        let noted = known(m, leg).is_some_and(|known| known.healthy.is_some_and(|note| note.event_nr == m.event_nr));
        m.kind == Kind::Raid1 && s.steady.contains(&m.lv.uuid) && leg.superblock.is_some() && !noted
    };
    if let Some((m, _)) = legs().find(|(m, leg)| known(m, leg).is_some() && up(leg) && unnoted(m, leg)) {
        return Some((s.probe_op(vg), format!("{} had a sync action; note its superblocks", m.name)));
    }
    // Noted anew since the copy at its activation: until then nothing proves that its server lived on.
    let unnoted_key = |m: &Mirror, leg: &Leg| {
        let key = || continuity::key(s.machine_id, &leg.pv);
        let ours = || s.looks.registrations.get(&leg.pv).and_then(|found| continuity::ours(found, key()));
        let trusted = |known: &LegRecord| known.trust == Trust::Trusted && known.registered.is_none();
        m.kind == Kind::Mirror && known(m, leg).is_some_and(|known| trusted(known)) && ours().is_some()
    };
    if let Some((m, _)) = legs().find(|(m, leg)| m.live != Live::Inactive && up(leg) && unnoted_key(m, leg)) {
        return Some((s.probe_op(vg), format!("{} was activated; note its keys", m.name)));
    }
    let seqno = s.vgs.get(&vg.uuid).map(|vg| vg.seqno);
    let read = s.probes.get(&vg.uuid).and_then(|probe| probe.texts().values().map(|text| text.seqno).max());
    let unflagged = |m: &Mirror, leg: &Leg| match known(m, leg).map(|known| &known.trust) {
        Some(Trust::Suspect { cause: Cause::Lost, loss, .. }) => !up(leg) && loss.flagged.is_none(),
        _ => false,
    };
    let lost = legs().find(|(m, leg)| unflagged(m, leg) && read < seqno && m.legs.iter().any(up));
    lost.map(|(m, _)| (s.probe_op(vg), format!("{} lost a leg; since when do the others say so?", m.name)))
}

/// Takes a PV back that was flagged while all its legs stayed alive and proved to be good.
pub(super) fn rejoin(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let good = |m: &Mirror, leg: &Leg| {
        let known = s.record(m).and_then(|record| record.legs.get(&leg.pv));
        let up = leg.place.as_ref().is_some_and(|place| place.up && place.linked);
        let trusted = known.is_some_and(|known| known.trust == Trust::Trusted);
        up && trusted && leg.health == Some(LegHealth::InSync) && s.looks.judged(leg, s.targets)
    };
    let legs = || mirrors.iter().flat_map(|m| m.legs.iter().map(move |leg| (*m, leg)));
    // Metadata written now would be the same on both sides of a fork.
    let diverged = |known: &LegRecord| matches!(&known.trust, Trust::Suspect { loss, .. } if loss.diverged);
    if mirrors.iter().filter_map(|m| s.record(m)).flat_map(|record| record.legs.values()).any(|known| diverged(known)) {
        return;
    }
    let flagged = legs().filter(|(_, leg)| leg.missing && leg.index.is_some());
    for (mirror, leg) in flagged.filter(|(m, leg)| good(m, leg)) {
        let all = legs().filter(|(_, other)| other.pv == leg.pv).all(|(m, other)| good(m, other));
        if all && s.reported && s.blocked_device().is_none() {
            match s.restore_missing(mirror, &leg.pv) {
                Ok(step) => plan.propose(Some(step)),
                Err(objection) => plan.hold(mirror, objection),
            }
            return;
        }
    }
}

/// Registers our key where there is none, so that the next return can be told from a restart.
pub(super) fn register(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    // Without an id our key would be everybody's.
    if s.machine_id.is_empty() {
        return;
    }
    for mirror in mirrors.iter().filter(|m| s.steady.contains(&m.lv.uuid)) {
        for leg in &mirror.legs {
            let Some(place) = leg.place.as_ref().filter(|p| p.up && p.disk == p.name) else { continue };
            let Some(known) = s.record(mirror).and_then(|record| record.legs.get(&leg.pv)) else { continue };
            let vacant = s.looks.registrations.get(&leg.pv).is_some_and(continuity::vacant);
            // Whoever is still in doubt for the last restart, or will be, must not get a proof from after it.
            let mut records = s.ledger.mirrors.values().filter_map(|record| record.legs.get(&leg.pv));
            let settled = |known: &LegRecord| known.trust == Trust::Trusted && known.registered.is_none();
            let wanted = vacant && settled(known) && records.all(|known| settled(known));
            if wanted && s.looks.judged(leg, s.targets) {
                let key = continuity::key(s.machine_id, &leg.pv);
                let op = Op::Register { pv: leg.pv.clone(), disk: place.disk.clone(), key };
                plan.propose(Some((op, format!("to know later whether the server of {} lived on", place.name))));
            }
        }
    }
}
