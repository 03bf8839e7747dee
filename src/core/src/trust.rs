//! Keeps the ledger true to what is seen: which mirrors there are, and which of their legs may be believed.
//!
//! A leg loses its trust when it fails, vanishes, or when its connection broke (the server may have restarted and lost what
//! it had not written, `facts/lab.md` A). It gets it back when it was verified and released, or copied anew in full.

use crate::ids::{LvUuid, PvUuid, TargetKey};
use crate::ledger::{Cause, Kind, Ledger, LegRecord, MirrorRecord, Stage, Trust};
use crate::observation::LegHealth;
use crate::op::LogKind;
use crate::time::Wall;
use crate::topology::{Leg, Live, Mirror};
use std::collections::{BTreeMap, BTreeSet};

/// What a judgement of one turn rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Mirrors as joined.
    pub mirrors: &'a BTreeMap<LvUuid, Mirror>,
    /// Targets whose connection broke without excuse.
    pub broken: &'a BTreeSet<TargetKey>,
    /// Mirrors that were seen live and whole before in this run: what changes on them now is seen as it happens.
    pub watched: &'a BTreeSet<LvUuid>,
    /// Mirrors that have been steady for two samples.
    pub steady: &'a BTreeSet<LvUuid>,
    /// The LVM report is newer than the last structural change.
    pub reported: bool,
    /// Now.
    pub at: Wall,
}

/// Brings the ledger up to date.
pub fn judge(ledger: &mut Ledger, evidence: Evidence<'_>) {
    if evidence.reported {
        forget_removed(ledger, evidence);
    }
    for (uuid, mirror) in evidence.mirrors {
        if mirror.unmanaged.is_some() {
            continue;
        }
        match ledger.mirrors.get_mut(uuid) {
            Some(record) => {
                if mirror.reported && evidence.reported {
                    follow_layout(record, mirror, evidence.watched.contains(uuid));
                }
                doubt(record, mirror, evidence);
                rehabilitate(record, mirror, evidence.steady.contains(uuid));
                note_health(record, mirror, evidence);
            }
            None => {
                if let Some(record) = adopt(mirror, evidence) {
                    ledger.mirrors.insert(uuid.clone(), record);
                }
            }
        }
    }
    note_targets(ledger, evidence);
}

/// A mirror that is gone while its VG is still seen was removed on purpose. A VG that is not seen proves nothing.
fn forget_removed(ledger: &mut Ledger, evidence: Evidence<'_>) {
    ledger.mirrors.retain(|uuid, record| {
        let Some(mirror) = evidence.mirrors.get(uuid) else { return false };
        // A raid LV never becomes linear by itself: somebody converted it.
        let converted = record.kind != Kind::Mirror && mirror.reported && mirror.live == Live::Single;
        !converted
    });
}

/// First sight of a live mirror. What it was before, nobody knows: alive legs are believed, failed ones never.
fn adopt(mirror: &Mirror, evidence: Evidence<'_>) -> Option<MirrorRecord> {
    let live = matches!(mirror.live, Live::Raid(_) | Live::Mirror { .. });
    if !live || !mirror.reported || !evidence.reported || mirror.legs.len() < 2 {
        return None;
    }
    let legs = mirror.legs.iter().map(|leg| {
        let mut record = trusted(leg);
        if failed(leg) {
            record.trust = suspect(Cause::FoundFailed, evidence.at);
        }
        (leg.pv.clone(), record)
    });
    Some(MirrorRecord {
        name: mirror.name.clone(),
        vg: mirror.vg.uuid.clone(),
        kind: mirror.kind,
        log: mirror.log,
        log_pv: mirror.log_pv.clone(),
        legs: legs.collect(),
        degraded_since: None,
        last_check: None,
    })
}

fn trusted(leg: &Leg) -> LegRecord {
    LegRecord {
        size: leg.place.as_ref().map_or(0, |p| p.size),
        target: leg.place.as_ref().and_then(|p| p.target.as_ref()).map(ToString::to_string),
        trust: Trust::Trusted,
        admin_write_mostly: leg.write_mostly,
    }
}

fn suspect(cause: Cause, since: Wall) -> Trust {
    Trust::Suspect { cause, since, stage: Stage::Unverified }
}

fn failed(leg: &Leg) -> bool {
    matches!(leg.health, Some(LegHealth::Dead | LegHealth::Absent | LegHealth::Other(_)))
}

/// Follows what the administrator did to the layout. A leg that a `mirror` dropped because it failed stays wanted.
fn follow_layout(record: &mut MirrorRecord, mirror: &Mirror, watched: bool) {
    record.name.clone_from(&mirror.name);
    let whole = mirror.legs.iter().all(|leg| leg.index.is_some());
    if whole && mirror.legs.len() > 1 {
        (record.kind, record.log, record.log_pv) = (mirror.kind, mirror.log, mirror.log_pv.clone());
    }
    for leg in &mirror.legs {
        let wanted = record.legs.get(&leg.pv);
        match (leg.index, wanted) {
            (Some(_), None) => {
                record.legs.insert(leg.pv.clone(), trusted(leg));
            }
            (None, Some(known)) => {
                let healthy = known.trust == Trust::Trusted && leg.place.as_ref().is_some_and(|p| p.up);
                // dmeventd drops only legs that failed; a healthy one was taken out by hand, if anybody was watching.
                if record.kind != Kind::Mirror || (watched && healthy) {
                    record.legs.remove(&leg.pv);
                }
            }
            _ => {}
        }
    }
}

/// Takes trust away.
fn doubt(record: &mut MirrorRecord, mirror: &Mirror, evidence: Evidence<'_>) {
    for (pv, known) in &mut record.legs {
        let Some(leg) = mirror.leg(pv) else { continue };
        let dropped = leg.index.is_none() && mirror.reported && evidence.reported;
        let lost = failed(leg) || dropped;
        let broke = connection_broke(known, leg, evidence.broken);
        match &mut known.trust {
            trust @ Trust::Trusted if lost => *trust = suspect(Cause::Lost, evidence.at),
            trust @ Trust::Trusted if broke => *trust = suspect(Cause::SessionDown, evidence.at),
            Trust::Trusted => {}
            Trust::Suspect { cause, stage, .. } => {
                if lost && *cause == Cause::SessionDown {
                    *cause = Cause::Lost;
                }
                // Whatever was verified before it went away again has to be verified anew.
                if lost || broke {
                    *stage = Stage::Unverified;
                }
                // What a `mirror` dropped comes back by a full copy only; and one with a core log is copied in full, from its
                // first leg, whenever it is activated.
                let anew = mirror.live == Live::Inactive && record.log == LogKind::Core;
                if (dropped || anew) && record.kind == Kind::Mirror {
                    *stage = Stage::Mismatched;
                }
            }
        }
    }
}

fn connection_broke(known: &LegRecord, leg: &Leg, broken: &BTreeSet<TargetKey>) -> bool {
    let here = leg.place.as_ref().and_then(|p| p.target.as_ref());
    broken.iter().any(|key| here == Some(key) || known.target.as_deref() == Some(key.to_string().as_str()))
}

/// A new boot: what is noted about connections and sessions is void, and core-log mirrors will have been copied anew.
pub fn reboot(ledger: &mut Ledger, boot_id: &str) {
    boot_id.clone_into(&mut ledger.boot_id);
    for record in ledger.targets.values_mut() {
        (record.connection, record.raised_from, record.logged_out_in_boot) = (None, None, None);
    }
    let copied = ledger.mirrors.values_mut().filter(|m| m.kind == Kind::Mirror && m.log == LogKind::Core);
    for known in copied.flat_map(|m| m.legs.values_mut()) {
        if let Trust::Suspect { stage, .. } = &mut known.trust {
            *stage = Stage::Mismatched;
        }
    }
}

/// Gives trust back.
fn rehabilitate(record: &mut MirrorRecord, mirror: &Mirror, steady: bool) {
    let copied = |leg: &LegRecord| matches!(leg.trust, Trust::Suspect { stage: Stage::Mismatched, .. });
    match record.kind {
        Kind::Raid1 | Kind::Raid10 => {
            for (pv, known) in &mut record.legs {
                let Some(leg) = mirror.leg(pv) else { continue };
                let verified = matches!(known.trust, Trust::Suspect { stage: Stage::Verified, .. });
                let released = known.admin_write_mostly || !leg.write_mostly;
                if verified && released && leg.health == Some(LegHealth::InSync) {
                    known.trust = Trust::Trusted;
                }
            }
        }
        Kind::Mirror if steady && mirror.legs.iter().all(|leg| leg.index.is_some()) => {
            // A full copy onto the last other leg makes the two one: what its source was doubted for is no longer told
            // apart by anything.
            let all = record.legs.len() == 2 && record.legs.values().any(copied);
            for known in record.legs.values_mut().filter(|leg| all || copied(leg)) {
                known.trust = Trust::Trusted;
            }
        }
        Kind::Mirror => {}
    }
}

/// Notes what a healthy mirror is like, and since when it is not redundant.
fn note_health(record: &mut MirrorRecord, mirror: &Mirror, evidence: Evidence<'_>) {
    let all_trusted = record.legs.values().all(|leg| leg.trust == Trust::Trusted);
    let steady = mirror.legs.iter().all(|leg| leg.health == Some(LegHealth::InSync)) && mirror.idle();
    for (pv, known) in &mut record.legs {
        let Some(leg) = mirror.leg(pv) else { continue };
        let Some(place) = leg.place.as_ref().filter(|p| p.up) else { continue };
        if known.trust == Trust::Trusted && leg.health == Some(LegHealth::InSync) {
            known.size = place.size;
            known.target = place.target.as_ref().map(ToString::to_string);
        }
        // While a leg is suspect the flags are ours; the command that releases it puts the administrator's back.
        if all_trusted && steady && mirror.reported {
            known.admin_write_mostly = leg.write_mostly;
        }
    }
    let redundant = all_trusted && !mirror.legs.iter().any(failed);
    if matches!(mirror.live, Live::Inactive) {
        return;
    }
    record.degraded_since = if redundant { None } else { record.degraded_since.or(Some(evidence.at)) };
}

/// Remembers which targets carry legs.
fn note_targets(ledger: &mut Ledger, evidence: Evidence<'_>) {
    let legs = evidence.mirrors.values().filter(|m| m.unmanaged.is_none()).flat_map(|m| &m.legs);
    let seen: BTreeSet<String> =
        legs.filter_map(|leg| leg.place.as_ref()?.target.as_ref()).map(ToString::to_string).collect();
    let known = ledger.mirrors.values().flat_map(|m| m.legs.values()).filter_map(|leg| leg.target.clone());
    let carrying: BTreeSet<String> = seen.into_iter().chain(known).collect();
    for (name, record) in &mut ledger.targets {
        record.carries_leg = carrying.contains(name);
    }
    for name in carrying {
        ledger.targets.entry(name).or_default().carries_leg = true;
    }
}

/// PVs of a mirror whose legs may serve as a source: trusted, alive, and their device answers.
pub fn good_legs<'a>(record: &'a MirrorRecord, mirror: &'a Mirror) -> impl Iterator<Item = &'a PvUuid> {
    mirror.legs.iter().filter_map(|leg| {
        let known = record.legs.get(&leg.pv)?;
        let up = leg.place.as_ref().is_some_and(|p| p.up);
        (known.trust == Trust::Trusted && leg.health == Some(LegHealth::InSync) && up).then_some(&leg.pv)
    })
}
