//! Keeps the ledger true to what is seen: which mirrors there are, and which of their legs may be believed.
//!
//! A leg loses its trust when it fails, vanishes, or when its connection broke (the server may have restarted and lost what
//! it had not written, `facts/lab.md` A). It gets it back when it was verified and released, or copied anew in full.

mod layout;
mod sight;
mod sources;

pub use layout::reduced;
use layout::{follow_layout, forget_removed};
pub use sight::{reboot, record};
pub use sources::{good_legs, sources};

use crate::ids::{LvUuid, PvUuid, TargetKey, VgUuid};
use crate::ledger::{
    Cause, Continuity, Healthy, INCIDENTS, Incident, Kind, Ledger, LegRecord, Loss, MirrorRecord, Stage, TargetRecord,
    Trust,
};
use crate::name::Name;
use crate::observation::{LegHealth, SyncAction, VgObs};
use crate::op::{LogKind, stamp_of};
use crate::resolve;
use crate::settings::{Settings, Verify};
use crate::time::Wall;
use crate::topology::{Leg, Live, Mirror};
use std::collections::{BTreeMap, BTreeSet};

/// In place of a dm event number that was noted in another boot.
const EARLIER_BOOT: u32 = u32::MAX;

/// What a judgement of one turn rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Mirrors as joined.
    pub mirrors: &'a BTreeMap<LvUuid, Mirror>,
    /// Targets whose connection broke without excuse.
    pub broken: &'a BTreeSet<TargetKey>,
    /// These, and those whose connection broke since LVM's report was last up to date.
    pub broke: &'a BTreeSet<TargetKey>,
    /// Mirrors that were seen live and whole before in this run: what changes on them now is seen as it happens.
    pub watched: &'a BTreeSet<LvUuid>,
    /// Mirrors that have been steady for two samples.
    pub steady: &'a BTreeSet<LvUuid>,
    /// The LVM report is newer than the last structural change.
    pub reported: bool,
    /// VGs by the last report.
    pub vgs: &'a BTreeMap<VgUuid, VgObs>,
    /// dm event numbers of the mirrors when they were last looked at before.
    pub events: &'a BTreeMap<LvUuid, u32>,
    /// Policies.
    pub settings: &'a Settings,
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
                    follow_layout(record, mirror, evidence.watched.contains(uuid), evidence.at);
                }
                let before: Vec<Option<Cause>> = record.legs.values().map(|leg| cause(&leg.trust)).collect();
                let in_this_boot = record.active_in_boot == ledger.boot_id;
                doubt(record, mirror, evidence);
                failed_meanwhile(record, mirror, evidence, in_this_boot);
                void_notes(record, mirror);
                rehabilitate(record, mirror, evidence);
                note_health(record, mirror, evidence);
                note_incidents(record, &before, evidence.at);
                if mirror.live != Live::Inactive && record.active_in_boot != ledger.boot_id {
                    record.active_in_boot.clone_from(&ledger.boot_id);
                    copied_at_activation(record);
                    unseen_to_the_end(record, mirror, evidence.at);
                }
            }
            None => {
                if let Some(record) = sight::adopt(mirror, evidence) {
                    ledger.mirrors.insert(uuid.clone(), record);
                }
            }
        }
    }
    note_targets(ledger, evidence);
}

/// A `mirror` with a core log is copied in full, from its first leg, whenever it is activated: whose server restarted
/// before that is told apart by nothing any more.
fn copied_at_activation(record: &mut MirrorRecord) {
    if record.kind == Kind::Mirror && record.log == LogKind::Core {
        record.legs.values_mut().for_each(|known| known.registered = None);
    }
}

/// Nobody saw what happened to a raid1 at the end, and all its legs were taken into use at once: should they differ, none is
/// more right than another, unless the keys prove that its server lived on.
fn unseen_to_the_end(record: &mut MirrorRecord, mirror: &Mirror, at: Wall) {
    let in_use = |pv: &PvUuid| mirror.leg(pv).is_some_and(|leg| leg.health == Some(LegHealth::InSync));
    if record.unseen && record.kind != Kind::Mirror {
        let trusted = record.legs.iter_mut().filter(|(pv, known)| known.trust == Trust::Trusted && in_use(pv));
        trusted.for_each(|(_, known)| accuse(known, Cause::SessionDown, None, None, at));
    }
}

fn trusted(leg: &Leg) -> Box<LegRecord> {
    Box::new(LegRecord {
        size: leg.place.as_ref().map_or(0, |p| p.size),
        target: leg.place.as_ref().and_then(|p| p.target.as_ref()).map(|key| key.name.clone()),
        wwid: leg.place.as_ref().map_or_else(Name::default, |p| p.wwid.clone()),
        healthy: None,
        registered: None,
        vouched: None,
        last: false,
        kept_out: false,
        unverified: false,
        trust: Trust::Trusted,
        admin_write_mostly: leg.write_mostly,
    })
}

fn suspect(cause: Cause, since: Wall) -> Trust {
    Trust::Suspect { cause, since, stage: Stage::Unverified, loss: Loss::default() }
}

/// Takes trust away from a leg, noting what is known of it now. `event_nr` is the volume's when it was last looked at.
pub fn accuse(known: &mut LegRecord, cause: Cause, event_nr: Option<u32>, seqno: Option<u64>, at: Wall) {
    let loss = Loss { events: events_noted(known, event_nr), seqno, ..Loss::default() };
    known.vouched = None;
    known.trust = Trust::Suspect { cause, since: at, stage: Stage::Unverified, loss };
}

/// How long a server may keep a write in its cache. Assumed, not measured: Linux' default is to write back what is older than
/// 30 s; ten times that.
const CACHED: u64 = 300_000_000;

/// Whether a leg in use may lack acknowledged writes that a returned one has: its server provably restarted, before the other
/// was lost or not long after; or may have, while it was away and the other one went on alone until it failed. What was
/// written long before that restart is on the disk. A leg that was compared since then is in no doubt.
pub fn may_lack(record: &MirrorRecord, in_use: &PvUuid, returned: &PvUuid) -> bool {
    let trust = |pv: &PvUuid| record.legs.get(pv).map(|known| &known.trust);
    match (trust(in_use), trust(returned)) {
        (Some(Trust::Suspect { since: a, loss, .. }), Some(Trust::Suspect { since: b, .. })) => {
            let restarted = loss.continuity == Continuity::Broken && a.0 < b.0.saturating_add(CACHED);
            let last = record.legs.get(returned).is_some_and(|known| known.last);
            restarted || loss.continuity == Continuity::Unknown && last && a <= b
        }
        _ => false,
    }
}

/// The `events` of a leg's superblock, if nothing has raised them since they were noted. A note of an earlier boot counts
/// until the leg has been healthy in this one.
fn events_noted(known: &LegRecord, event_nr: Option<u32>) -> Option<u64> {
    let valid = |note: &Healthy| note.event_nr == EARLIER_BOOT || Some(note.event_nr) == event_nr;
    known.healthy.filter(valid).map(|note| note.events)
}

/// The dm event number to go by at the first sight of a mirror in this run: that of the notes, if nothing but the failure
/// itself can have raised it since. (A sync action that ended meanwhile has left nobody failed.)
fn first_sight(record: &MirrorRecord, mirror: &Mirror) -> Option<u32> {
    let noted = record.legs.values().filter_map(|known| known.healthy).map(|note| note.event_nr).max()?;
    (mirror.event_nr.wrapping_sub(noted) <= 1).then_some(noted)
}

fn cause(trust: &Trust) -> Option<Cause> {
    match trust {
        Trust::Trusted => None,
        Trust::Suspect { cause, .. } => Some(*cause),
    }
}

/// Whether a leg in use may be what the others are measured by: it is not known to have missed writes.
pub fn may_serve(trust: &Trust) -> bool {
    match trust {
        Trust::Trusted | Trust::Suspect { cause: Cause::SessionDown, .. } => true,
        // Copied anew from the leg that was chosen.
        Trust::Suspect { cause: Cause::Condemned, stage, .. } => *stage != Stage::Unverified,
        Trust::Suspect { .. } => false,
    }
}

fn failed(leg: &Leg) -> bool {
    matches!(leg.health, Some(LegHealth::Dead | LegHealth::Absent | LegHealth::Other(_)))
}

/// Takes trust away.
fn doubt(record: &mut MirrorRecord, mirror: &Mirror, evidence: Evidence<'_>) {
    let event_nr = evidence.events.get(&mirror.lv.uuid).copied().or_else(|| first_sight(record, mirror));
    let vg = evidence.vgs.get(&mirror.vg.uuid);
    let seqno = vg.map(|vg| vg.seqno);
    let stamp = vg.map(|vg| vg.tags.iter().filter_map(|tag| stamp_of(tag)).max().unwrap_or(0));
    let alive = || mirror.legs.iter().filter(|leg| leg.health == Some(LegHealth::InSync));
    // Legs that writes go to now. One whose device is away makes them wait, and they go past nobody meanwhile.
    let serving: Vec<&PvUuid> = alive()
        .filter(|leg| leg.up() && record.legs.get(&leg.pv).is_some_and(|known| may_serve(&known.trust)))
        .map(|leg| &leg.pv)
        .collect();
    let remains = |leg: &&Leg| {
        let believed = record.legs.get(&leg.pv).is_some_and(|known| may_serve(&known.trust));
        mirror.live == Live::Inactive && leg.index.is_some() && believed
    };
    let remaining: Vec<&PvUuid> = mirror.legs.iter().filter(remains).map(|leg| &leg.pv).collect();
    let recovering = matches!(&mirror.live, Live::Raid(status) if status.action == SyncAction::Recover);
    let unseen_copy = recovering && !evidence.watched.contains(&mirror.lv.uuid) && alive().next().is_some();
    let log = record.log;
    // Read from, though in doubt: what is brought up to date meanwhile may be copied from it.
    let doubted = |leg: &Leg| record.legs.get(&leg.pv).is_some_and(|known| known.trust != Trust::Trusted);
    let doubtful_source = alive().any(|leg| !leg.write_mostly && doubted(leg));
    let mut outlived = false;
    for (pv, known) in &mut record.legs {
        let Some(leg) = mirror.leg(pv) else { continue };
        // It was taken into use in this boot, which has raised them.
        known.healthy = known.healthy.filter(|note| note.event_nr != EARLIER_BOOT || !leg.placed);
        let dropped = leg.index.is_none() && mirror.reported && evidence.reported;
        let lost = failed(leg) || dropped;
        // A copy onto it that nobody saw begin: another leg went on without it.
        let passed_unseen = unseen_copy && leg.health == Some(LegHealth::Syncing);
        let broke = connection_broke(known, leg, evidence.broken);
        // Where only a leg that missed writes itself is in use, the one that is not in use is the newer.
        let noted = events_noted(known, event_nr);
        // What a volume that is not active was reduced to is what it goes on with.
        let passed_by =
            serving.iter().any(|other| *other != pv) || dropped && remaining.iter().any(|other| *other != pv);
        let nobody = !alive().any(|leg| leg.pv != *pv && leg.up());
        // It lacks what is written from now on, and must not be activated alone without a word.
        outlived |= lost && !passed_by && !nobody && known.trust == Trust::Trusted;
        known.last |= lost && nobody && known.trust == Trust::Trusted;
        known.last &= leg.health != Some(LegHealth::InSync);
        match &mut known.trust {
            Trust::Trusted if passed_unseen || lost && passed_by => {
                accuse(known, Cause::Lost, event_nr, seqno, evidence.at)
            }
            // Not in use while only worse legs are: it missed writes of theirs, but nothing that matters more.
            // Whatever the chosen one lacks now, nobody has: the others were given up for it.
            Trust::Trusted if record.kept.as_ref() == Some(pv) => {}
            Trust::Trusted if broke && (passed_by || nobody || !lost) => {
                accuse(known, Cause::SessionDown, event_nr, seqno, evidence.at)
            }
            Trust::Trusted => {}
            Trust::Suspect { cause, stage, loss, .. } => {
                // Copied anew, and nobody remembers from whom: it is a lost leg like any other.
                let done_with = *cause == Cause::Condemned && record.kept.is_none();
                if (lost && passed_by || passed_unseen) && (*cause == Cause::SessionDown || done_with) {
                    *cause = Cause::Lost;
                } else if done_with && (lost || broke) {
                    *cause = Cause::SessionDown;
                }
                // Whatever was verified or proven before it went away again has to be so anew.
                if lost || broke {
                    *stage = Stage::Unverified;
                }
                // Once it lost its cache it has lost it, whatever is registered afterwards.
                if broke && loss.continuity == Continuity::Proven {
                    loss.continuity = Continuity::Unknown;
                }
                // Revived, it is written to again; what it was like before is no measure any more.
                if lost {
                    (loss.events, loss.seqno) = (loss.events.or(noted), loss.seqno.or(seqno));
                } else if leg.health.is_some() {
                    (loss.events, loss.seqno, loss.flagged) = (None, None, None);
                    (loss.stamp, loss.witnessed) = (None, false);
                }
                let written_past = loss.failed && leg.health == Some(LegHealth::InSync) && record.kind == Kind::Mirror;
                if written_past && *cause == Cause::SessionDown {
                    *cause = Cause::Lost;
                }
                loss.failed |= leg.health == Some(LegHealth::Dead);
                // Taken off since: the next time it begins with another number.
                if mirror.reported && evidence.reported && !leg.missing {
                    loss.flagged = None;
                }
                let place = leg.place.as_ref().filter(|place| place.up);
                // Until LVM has reported a new layout the table has others in its place.
                loss.rough |= evidence.reported && leg.health.is_some() && place.is_some() && !leg.attached;
                loss.rough |= leg.health != Some(LegHealth::InSync) && doubtful_source;
                // We take it back with the flag: whoever else did may have had it lead.
                loss.rough |= *cause == Cause::Lost && leg.health == Some(LegHealth::InSync) && !leg.write_mostly;
                // What was dropped comes back by a full copy only; and a `mirror` with a core log is copied in full, from its
                // first leg, whenever it is activated.
                let anew = mirror.live == Live::Inactive && log == LogKind::Core && *cause != Cause::Condemned;
                if dropped || anew && mirror.kind == Kind::Mirror {
                    *stage = Stage::Mismatched;
                }
            }
        }
    }
    record.unseen |= outlived;
    for known in record.legs.values_mut() {
        if let Trust::Suspect { cause: Cause::Lost, loss, .. } = &mut known.trust {
            loss.stamp = loss.stamp.or(stamp);
        }
    }
    // A chosen leg that fails after its copies were made is a lost leg like any other.
    let lost = |pv: &PvUuid| record.legs.get(pv).is_some_and(|known| cause(&known.trust) == Some(Cause::Lost));
    if record.kept.as_ref().is_some_and(lost) {
        record.kept = None;
        // What was not dropped yet is not given up for anybody any more.
        for known in record.legs.values_mut().filter(|known| resolve::condemned(known)) {
            if let Trust::Suspect { cause, .. } = &mut known.trust {
                *cause = Cause::Lost;
            }
        }
    }
}

/// A leg of a `mirror` may have failed while its session was away, if the kernel told of something since the last look, or
/// nobody looked. dm-mirror calls it alive again when all regions are in sync, and a flush that failed makes none out of sync;
/// but every region written from then on goes to the other leg alone, until another table is loaded, and the status says
/// `AA` and in sync (seen on 6.1; `dm-region-hash.c`, `flush_failure`). So no key proves that it has everything.
fn failed_meanwhile(record: &mut MirrorRecord, mirror: &Mirror, evidence: Evidence<'_>, in_this_boot: bool) {
    // What nobody looked at is not worth a decision by a person.
    let spare =
        || record.legs.iter().any(|(pv, known)| known.trust == Trust::Trusted && mirror.leg(pv).is_some_and(Leg::up));
    let told =
        evidence.events.get(&mirror.lv.uuid).map_or_else(|| in_this_boot && spare(), |nr| *nr != mirror.event_nr);
    // One that was seen to fail is what the kernel told of.
    let lost = |pv: &PvUuid| record.legs.get(pv).is_some_and(|known| cause(&known.trust) == Some(Cause::Lost));
    let explained = mirror.legs.iter().filter(|leg| leg.index.is_some()).any(|leg| failed(leg) || lost(&leg.pv));
    // So is one that was dropped since.
    let gone = |pv: &PvUuid| mirror.reported && mirror.leg(pv).is_some_and(|leg| leg.index.is_none());
    let mut dropped = false;
    for (_, known) in record.legs.iter_mut().filter(|(pv, _)| gone(pv)) {
        if let Trust::Suspect { loss, .. } = &mut known.trust {
            dropped |= std::mem::take(&mut loss.failed);
        }
    }
    if !told || explained || dropped || !matches!(mirror.live, Live::Mirror { handle_errors: true, .. }) {
        return;
    }
    for known in record.legs.values_mut() {
        if let Trust::Suspect { cause: cause @ Cause::SessionDown, .. } = &mut known.trust {
            *cause = Cause::Lost;
        }
    }
}

/// Notes about superblocks bind while nothing can have raised `events`: nobody writes to a leg whose device has just gone. Of
/// an earlier boot they do not: it may have been in use in this one before anybody looked. And a deactivation raises them.
fn void_notes(record: &mut MirrorRecord, mirror: &Mirror) {
    if mirror.live == Live::Inactive {
        let earlier = |note: &Healthy| note.event_nr == EARLIER_BOOT;
        record.legs.values_mut().for_each(|known| known.healthy = known.healthy.filter(earlier));
        return;
    }
    let calm = mirror.idle() && mirror.legs.iter().all(|leg| leg.health == Some(LegHealth::InSync));
    for (pv, known) in &mut record.legs {
        let unknown = mirror.leg(pv).is_some_and(|leg| mirror.unclear(leg));
        let seen = |note: &Healthy| unknown && note.event_nr != EARLIER_BOOT;
        known.healthy = known.healthy.filter(|note| seen(note) || calm && note.event_nr == mirror.event_nr);
    }
}

fn connection_broke(known: &LegRecord, leg: &Leg, broken: &BTreeSet<TargetKey>) -> bool {
    let here = leg.place.as_ref().and_then(|p| p.target.as_ref());
    broken.iter().any(|key| here == Some(key) || known.target.as_ref() == Some(&key.name))
}

/// Gives trust back.
fn rehabilitate(record: &mut MirrorRecord, mirror: &Mirror, evidence: Evidence<'_>) {
    let seqno = evidence.vgs.get(&mirror.vg.uuid).map(|vg| vg.seqno);
    let steady = evidence.steady.contains(&mirror.lv.uuid);
    let copied = |leg: &LegRecord| matches!(leg.trust, Trust::Suspect { stage: Stage::Mismatched, .. });
    match record.kind {
        Kind::Raid1 | Kind::Raid10 => {
            let policy = evidence.settings.verify(&record.name);
            // A bitmap kept beside a leg that is in doubt itself tells nothing.
            let source = |leg: &&Leg| leg.health == Some(LegHealth::InSync) && !leg.write_mostly;
            let trusted = |leg: &Leg| record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
            let sources = mirror.legs.iter().filter(source).all(trusted);
            for (pv, known) in &mut record.legs {
                let Some(leg) = mirror.leg(pv).filter(|leg| leg.health == Some(LegHealth::InSync)) else { continue };
                if steady {
                    spare_the_check(known, leg, policy, sources);
                }
                let verified = matches!(known.trust, Trust::Suspect { stage: Stage::Verified, .. });
                let released = known.admin_write_mostly || !leg.write_mostly;
                if verified && released {
                    let older = matches!(&known.trust, Trust::Suspect { loss, .. } if loss.older);
                    known.vouched = seqno.filter(|_| older);
                    known.trust = Trust::Trusted;
                }
            }
        }
        Kind::Mirror if steady && mirror.legs.iter().all(|leg| leg.index.is_some()) => {
            // A full copy onto the last other leg makes the two one: what its source was doubted for is no longer told
            // apart by anything.
            let all = record.legs.len() == 2 && record.legs.values().any(|leg| copied(leg));
            for known in record.legs.values_mut().filter(|leg| all || copied(leg)) {
                known.trust = Trust::Trusted;
            }
        }
        Kind::Mirror => {}
    }
    let whole = mirror.legs.iter().all(|leg| leg.index.is_some()) && steady;
    if whole && !record.legs.values().any(|known| resolve::condemned(known)) {
        record.kept = None;
    }
}

/// A check reads the whole volume. It is spared where nothing can be missing, or where the administrator wants none.
fn spare_the_check(known: &mut LegRecord, leg: &Leg, policy: Verify, sources: bool) {
    let Trust::Suspect { cause, stage: stage @ Stage::Unverified, loss, .. } = &mut known.trust else { return };
    // A server that lived on has every write it acknowledged, and the bitmap has the others.
    let lived_on = *cause == Cause::Lost && loss.continuity == Continuity::Proven && !loss.rough;
    let proven = lived_on && leg.write_mostly && sources;
    let spared = match policy {
        Verify::Always => false,
        Verify::Auto => proven,
        Verify::Never => matches!(cause, Cause::Lost | Cause::SessionDown),
    };
    if spared && !loss.older {
        *stage = Stage::Verified;
        known.unverified = !proven;
    }
}

/// Notes what a healthy mirror is like, and since when it is not redundant.
fn note_health(record: &mut MirrorRecord, mirror: &Mirror, evidence: Evidence<'_>) {
    let all_trusted = record.legs.values().all(|leg| leg.trust == Trust::Trusted);
    let steady = mirror.legs.iter().all(|leg| leg.health == Some(LegHealth::InSync)) && mirror.idle();
    let ours = evidence.settings.gate || record.kept.is_some();
    if mirror.reported && evidence.reported && mirror.autoactivation && !ours {
        record.gated = false;
    }
    for (pv, known) in &mut record.legs {
        let Some(leg) = mirror.leg(pv) else { continue };
        let Some(place) = leg.place.as_ref().filter(|p| p.up) else { continue };
        known.kept_out &= mirror.live == Live::Inactive;
        if known.trust == Trust::Trusted && leg.health == Some(LegHealth::InSync) {
            known.size = place.size;
            known.wwid.clone_from(&place.wwid);
            known.target = place.target.as_ref().map(|key| key.name.clone());
        }
        // While a leg is suspect the flags are ours; the command that releases it puts the administrator's back.
        let theirs = known.trust == Trust::Trusted && record.kept.is_none() && leg.write_mostly;
        if mirror.reported && (all_trusted && steady || theirs) {
            known.admin_write_mostly = leg.write_mostly;
        }
    }
    let redundant = all_trusted && !mirror.legs.iter().any(failed);
    if matches!(mirror.live, Live::Inactive) {
        return;
    }
    record.unseen &= !redundant || !mirror.legs.iter().all(|leg| leg.health == Some(LegHealth::InSync));
    record.degraded_since = if redundant { None } else { record.degraded_since.or(Some(evidence.at)) };
}

/// Keeps the last few losses and returns.
fn note_incidents(record: &mut MirrorRecord, before: &[Option<Cause>], at: Wall) {
    // A layout that changed in this turn is compared from the next on.
    let legs = record.legs.iter().zip(before).filter(|_| record.legs.len() == before.len());
    let changed = legs.map(|((pv, leg), before)| (pv, cause(&leg.trust), *before)).filter(|(_, now, was)| now != was);
    let word = |cause: Option<Cause>| cause.map_or("trusted", Cause::word).to_owned();
    let new: Vec<_> = changed.map(|(pv, now, _)| Incident { at, leg: pv.clone(), what: word(now) }).collect();
    record.incidents.extend(new);
    let surplus = record.incidents.len().saturating_sub(INCIDENTS);
    record.incidents.drain(..surplus);
}

/// Remembers which targets carry legs.
fn note_targets(ledger: &mut Ledger, evidence: Evidence<'_>) {
    let legs = evidence.mirrors.values().filter(|m| m.unmanaged.is_none()).flat_map(|m| &m.legs);
    let seen = legs.filter_map(|leg| leg.place.as_ref()?.target.as_ref()).map(|key| &key.name);
    let known = ledger.mirrors.values().flat_map(|m| m.legs.values()).filter_map(|leg| leg.target.as_ref());
    ledger.targets.values_mut().for_each(|record| record.carries_leg = false);
    for name in seen.chain(known) {
        match ledger.targets.get_mut(name) {
            Some(record) => record.carries_leg = true,
            None => {
                ledger.targets.insert(name.clone(), TargetRecord { carries_leg: true, ..TargetRecord::default() });
            }
        }
    }
}
