//! What a look at the disks teaches. Every answer of a probe passes here once and is noted in the ledger: the superblocks of
//! healthy legs, who is flagged missing since when, whose server lived on, who is older than it must be.
//!
//! Notes are the memory that later verdicts rest on, so nothing is noted that was read while a volume changed.

use crate::continuity;
use crate::ids::{LvUuid, PvUuid, VgUuid};
use crate::ledger::{Cause, Connection, Continuity, Healthy, Kind, Ledger, Loss, MirrorRecord, Stage, Trust, VgRecord};
use crate::observation::{LegHealth, ProbedSuperblock, Registration, VgText};
use crate::plan::ProbeRun;
use crate::session::Targets;
use crate::time::Wall;
use crate::topology::{Leg, Live, Mirror};
use crate::trust;
use crate::witness;
use crate::words::Hold;
use std::collections::{BTreeMap, BTreeSet};

/// What was learnt about the devices in this run of the daemon.
#[derive(Debug, Default)]
pub struct Looks {
    /// By PV, the connection under which its own metadata was last read and found to be of our VG.
    judged: BTreeMap<PvUuid, Option<Connection>>,
    /// By PV, the registrations last read.
    pub registrations: BTreeMap<PvUuid, Registration>,
}

impl Looks {
    /// Whether a leg's device was read since it came to stand where it is.
    pub fn judged(&self, leg: &Leg, targets: &Targets) -> bool {
        self.judged.get(&leg.pv).is_some_and(|seen| *seen == targets.connection(leg))
    }
}

/// What notes are taken from.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// VG that was read.
    pub vg: &'a VgUuid,
    /// The answers.
    pub run: &'a ProbeRun,
    /// Mirrors as joined.
    pub mirrors: &'a BTreeMap<LvUuid, Mirror>,
    /// Mirrors steady for two samples.
    pub steady: &'a BTreeSet<LvUuid>,
    /// Targets.
    pub targets: &'a Targets,
    /// Our keys are made from it.
    pub machine_id: &'a str,
    /// dm event numbers of the mirrors at the last look.
    pub events: &'a BTreeMap<LvUuid, u32>,
    /// Sequence number of the VG by the last report.
    pub seqno: Option<u64>,
    /// Now.
    pub at: Wall,
}

/// Takes notes. Returns the legs found in use with older metadata than the others: mirror and PV.
pub fn take(ledger: &mut Ledger, looks: &mut Looks, reading: Reading<'_>) -> Vec<(LvUuid, PvUuid)> {
    let mut rolled_back = Vec::new();
    let vg = ledger.vgs.get(reading.vg).cloned();
    let foreign = reading.run.newest().filter(|text| ledger.foreign(&text.host));
    for (uuid, mirror) in reading.mirrors.iter().filter(|(_, m)| m.vg.uuid == *reading.vg && m.unmanaged.is_none()) {
        let Some(record) = ledger.mirrors.get_mut(uuid) else { continue };
        note_strangers(record, mirror, reading);
        note_elsewhere(record, mirror, reading);
        note_apart(record, mirror, reading);
        if let Some(text) = foreign {
            note_other_hand(record, mirror, text, reading);
        }
        for (pv, cause) in find_outdated(record, mirror, reading) {
            let Some(known) = record.legs.get_mut(&pv) else { continue };
            trust::accuse(known, cause, None, None, reading.at);
            if let Trust::Suspect { loss, .. } = &mut known.trust {
                // Compared whatever the policy.
                loss.older = cause == Cause::RolledBack;
            }
            if mirror.live != Live::Inactive {
                rolled_back.push((uuid.clone(), pv));
            }
        }
        note_registrations(record, looks, mirror, reading);
        note_superblocks(record, mirror, reading);
        note_metadata(record, mirror, reading, vg.as_ref());
        for leg in &mirror.legs {
            let size = record.legs.get(&leg.pv).map_or(0, |known| known.size);
            if leg.up() && reading.run.identity(mirror, leg, size).is_ok() {
                looks.judged.insert(leg.pv.clone(), reading.targets.connection(leg));
            }
        }
    }
    // Not before each mirror on a PV was judged by what was read there last.
    let read = reading.run.legs.iter().map(|(pv, probe)| (pv.clone(), probe.registration.clone()));
    looks.registrations.extend(read);
    rolled_back
}

/// Did the server of a leg that was away live on? And of one that is well: what is there to compare with next time?
fn note_registrations(record: &mut MirrorRecord, looks: &Looks, mirror: &Mirror, reading: Reading<'_>) {
    let without_key = without_key(record, looks, mirror, reading);
    for leg in mirror.legs.iter().filter(|leg| leg.up() && record.kept.as_ref() != Some(&leg.pv)) {
        // One that missed writes proves nothing about this one, though LVM may have taken both into use at boot.
        let serves = |pv: &PvUuid| record.legs.get(pv).is_some_and(|other| trust::may_serve(&other.trust));
        let in_use = |leg: &Leg| mirror.live != Live::Inactive && leg.health == Some(LegHealth::InSync);
        let alive = |other: &Leg| in_use(other) && serves(&other.pv);
        let others = || mirror.legs.iter().filter(|other| other.pv != leg.pv);
        let comparable = others().any(alive);
        let (Some(known), Some(probe)) = (record.legs.get_mut(&leg.pv), reading.run.legs.get(&leg.pv)) else {
            continue;
        };
        let key = continuity::key(reading.machine_id, &leg.pv);
        let before = looks.registrations.get(&leg.pv);
        let had_ours = before.is_some_and(|before| continuity::ours(before, key).is_some());
        let set_back = before.is_some_and(|before| continuity::set_back(before, &probe.registration));
        let ours = continuity::ours(&probe.registration, key);
        let lived_on = match continuity::judge(&probe.registration, ours, known.registered) {
            Continuity::Unknown if set_back || without_key.contains(&leg.pv) => Continuity::Broken,
            judged => judged,
        };
        match &mut known.trust {
            // Its server restarted, and no session told of it. At boot that is no wonder, and with nobody to compare it with it
            // says nothing; the note stays until it has told on the leg. But one that had our key, or a higher generation,
            // when it was read last restarted under our eyes: it may lack what a leg has that is not in use now.
            Trust::Trusted
                if lived_on == Continuity::Broken && !comparable && !(in_use(leg) && (had_ours || set_back)) => {}
            Trust::Trusted if lived_on == Continuity::Broken => {
                known.registered = None;
                let event_nr = reading.events.get(&mirror.lv.uuid).copied();
                trust::accuse(known, Cause::SessionDown, event_nr, reading.seqno, reading.at);
                if let Trust::Suspect { loss, .. } = &mut known.trust {
                    loss.continuity = Continuity::Broken;
                }
            }
            Trust::Trusted if matches!(probe.registration, Registration::Keys { .. }) => known.registered = ours,
            Trust::Trusted => {}
            Trust::Suspect { cause, loss, stage, .. } => {
                if loss.continuity == Continuity::Unknown {
                    loss.continuity = lived_on;
                    known.registered = known.registered.filter(|_| lived_on != Continuity::Broken);
                }
                // It never failed and its server never stopped: nothing can be missing.
                let away = *cause == Cause::SessionDown && loss.continuity == Continuity::Proven && !loss.older;
                // Over a new device name the table still points at the old one.
                if away && leg.health == Some(LegHealth::InSync) && leg.attached {
                    if leg.write_mostly && !known.admin_write_mostly {
                        *stage = Stage::Verified;
                    } else {
                        known.trust = Trust::Trusted;
                    }
                }
            }
        }
    }
}

/// PVs that have no key while another one of the mirror has ours, at the first reading of all of them, with nothing noted of any:
/// the notes were lost, and so was that key.
fn without_key(record: &MirrorRecord, looks: &Looks, mirror: &Mirror, reading: Reading<'_>) -> BTreeSet<PvUuid> {
    let pvs = || mirror.legs.iter().map(|leg| &leg.pv);
    let noted = record.legs.values().any(|known| known.registered.is_some());
    let found = |pv: &PvUuid| reading.run.legs.get(pv).map(|probe| &probe.registration);
    let ours =
        |pv: &PvUuid| found(pv).and_then(|found| continuity::ours(found, continuity::key(reading.machine_id, pv)));
    if noted || pvs().any(|pv| looks.registrations.contains_key(pv)) || !pvs().any(|pv| ours(pv).is_some()) {
        return BTreeSet::new();
    }
    pvs().filter(|pv| found(pv).is_some_and(continuity::vacant)).cloned().collect()
}

/// The superblocks of legs that are well, while nothing goes on.
fn note_superblocks(record: &mut MirrorRecord, mirror: &Mirror, reading: Reading<'_>) {
    let unchanged = reading.run.event_nrs.get(&mirror.lv.uuid) == Some(&mirror.event());
    if mirror.kind == Kind::Mirror || !unchanged || !reading.steady.contains(&mirror.lv.uuid) {
        return;
    }
    let superblocks = reading.run.superblocks(mirror);
    for leg in &mirror.legs {
        let superblock = leg.index.and_then(|index| superblocks.get(&index));
        if let (Some(known), Some(ProbedSuperblock::Found(found))) = (record.legs.get_mut(&leg.pv), superblock) {
            known.healthy = Some(Healthy { events: found.events, event_nr: mirror.event_nr });
        }
    }
}

/// Who is flagged missing since when, and who came back older than it was.
fn note_metadata(record: &mut MirrorRecord, mirror: &Mirror, reading: Reading<'_>, vg: Option<&VgRecord>) {
    let texts = reading.run.texts();
    let pvs: Vec<PvUuid> = record.legs.keys().cloned().collect();
    for (pv, known) in &mut record.legs {
        let Trust::Suspect { cause, loss, .. } = &mut known.trust else { continue };
        let others: Vec<&PvUuid> = pvs.iter().filter(|other| *other != pv).collect();
        let up = mirror.leg(pv).is_some_and(Leg::up);
        let newest = others.iter().filter_map(|other| texts.get(other)).max_by_key(|text| text.seqno);
        // Written by the hand that wrote the others': what was known of it before is over.
        if up && newest.is_some() && texts.get(pv) == newest {
            (loss.seqno, loss.flagged) = (newest.map(|text| text.seqno), None);
        }
        // A stamp made after its loss that reached it, because it came back in that moment, has wiped what it could tell.
        if let Some((own, stamp)) = texts.get(pv).zip(loss.stamp).filter(|_| up) {
            let wiped = own.stamps.last().is_some_and(|own| *own > stamp);
            loss.witnessed |= !wiped;
            loss.older |= wiped && !loss.witnessed;
        }
        let flagging = others.iter().filter_map(|other| texts.get(other)).filter(|text| text.missing.contains(pv));
        if !texts.get(pv).is_some_and(|own| up && own.missing.contains(pv)) {
            loss.flagged = loss.flagged.or(flagging.map(|text| text.seqno).max());
        }
        if up {
            // What is in use is not measured by what is not.
            let in_use = |pv: &&PvUuid| mirror.leg(pv).is_some_and(|leg| leg.health == Some(LegHealth::InSync));
            let alive: Vec<&PvUuid> = others.into_iter().filter(in_use).collect();
            match witness::history(pv, &texts, &alive, loss, vg) {
                Ok(older) => loss.older |= older,
                // Whatever history it has was given up for another one.
                Err(_) => loss.diverged |= *cause != Cause::Condemned,
            }
        }
    }
}

/// Legs in use that something else stands behind, and that nobody doubted so far: no connection broke, or nobody remembers.
fn note_strangers(record: &mut MirrorRecord, mirror: &Mirror, reading: Reading<'_>) {
    let in_use = |leg: &&Leg| leg.health == Some(LegHealth::InSync) && leg.up() && leg.attached;
    // The others were given up for the one that was chosen.
    let chosen = record.kept.clone();
    for leg in mirror.legs.iter().filter(in_use).filter(|leg| chosen.as_ref() != Some(&leg.pv)) {
        let Some(known) = record.legs.get_mut(&leg.pv).filter(|known| known.trust == Trust::Trusted) else { continue };
        let found = reading.run.identity(mirror, leg, 0).err();
        if found.is_some_and(|o| matches!(o.hold, Hold::IdentityMismatch | Hold::BlankDevice)) {
            trust::accuse(known, Cause::Lost, None, None, reading.at);
        }
    }
}

/// Legs of a mirror that is not in use here whose superblock changed since they were seen healthy last: they were used
/// elsewhere. Not where nobody watched to the end.
fn note_elsewhere(record: &mut MirrorRecord, mirror: &Mirror, reading: Reading<'_>) {
    if mirror.live != Live::Inactive || mirror.kind == Kind::Mirror || record.unseen {
        return;
    }
    let superblocks = reading.run.superblocks(mirror);
    for leg in mirror.legs.iter().filter(|leg| leg.up()) {
        let Some((known, index)) = record.legs.get_mut(&leg.pv).zip(leg.index) else { continue };
        let loss = Loss { events: known.healthy.map(|note| note.events), ..Loss::default() };
        if known.trust == Trust::Trusted
            && let Err(objection) = witness::untouched(&superblocks, index, &loss)
            && objection.hold == Hold::SplitBrain
        {
            trust::accuse(known, Cause::Lost, None, None, reading.at);
            if let Trust::Suspect { loss, .. } = &mut known.trust {
                loss.diverged = true;
            }
        }
    }
}

/// Legs that are not in use, and that call all those failed which are and call them so: each went on without the other. (Of
/// three, one that failed while another was away calls that one alone failed.) LVM merges such without a word when it
/// activates both, and nothing on the disks tells of it afterwards.
fn note_apart(record: &mut MirrorRecord, mirror: &Mirror, reading: Reading<'_>) {
    let superblocks = reading.run.superblocks(mirror);
    let in_use = |leg: &Leg| leg.health == Some(LegHealth::InSync);
    for leg in mirror.legs.iter().filter(|leg| !in_use(leg) && record.kept.is_none()) {
        let mut others = mirror.legs.iter().filter(|other| other.pv != leg.pv && in_use(other)).peekable();
        let apart = |other: &Leg| {
            let indexes = leg.index.zip(other.index);
            indexes.is_some_and(|(one, other)| witness::apart(&superblocks, one, other).is_err())
        };
        if let Some(known) = record.legs.get_mut(&leg.pv).filter(|_| others.peek().is_some() && others.all(apart)) {
            if known.trust == Trust::Trusted {
                trust::accuse(known, Cause::Lost, None, None, reading.at);
            }
            if let Trust::Suspect { loss, .. } = &mut known.trust {
                loss.diverged = true;
            }
        }
    }
}

/// Legs that are not in use, and not as new as what another machine wrote on one that serves, or would if the mirror were
/// activated: it went on without them, and may not have had all that is on them.
fn note_other_hand(record: &mut MirrorRecord, mirror: &Mirror, newest: &VgText, reading: Reading<'_>) {
    let texts = reading.run.texts();
    let in_use = |leg: &Leg| leg.health == Some(LegHealth::InSync);
    let trusted = |leg: &Leg| record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
    let serves = |leg: &&Leg| in_use(leg) || mirror.live == Live::Inactive && trusted(leg);
    let written = |leg: &Leg| texts.get(&leg.pv).is_some_and(|own| own.seqno == newest.seqno);
    if !mirror.legs.iter().filter(serves).any(written) {
        return;
    }
    let idle = |leg: &&Leg| leg.up() && !in_use(leg);
    for leg in mirror.legs.iter().filter(idle).filter(|_| record.kept.is_none()) {
        let older = texts.get(&leg.pv).is_some_and(|own| own.seqno < newest.seqno);
        let Some(known) = record.legs.get_mut(&leg.pv).filter(|_| older) else { continue };
        if known.trust == Trust::Trusted {
            trust::accuse(known, Cause::Lost, None, None, reading.at);
        }
        if let Trust::Suspect { loss, .. } = &mut known.trust {
            loss.diverged = true;
        }
    }
}

/// Legs believed so far that are in use, or would be if the mirror were activated, with older metadata than another such leg
/// (`facts/lab.md` C: LVM activates them all the same, and the next command that writes metadata wipes the evidence), with an
/// older superblock although the kernel writes them alike, or that another one calls failed.
fn find_outdated(record: &MirrorRecord, mirror: &Mirror, reading: Reading<'_>) -> Vec<(PvUuid, Cause)> {
    let inactive = mirror.live == Live::Inactive;
    let taking_part =
        |leg: &&Leg| leg.index.is_some() && if inactive { leg.up() } else { leg.health == Some(LegHealth::InSync) };
    // One whose session was down is no worse than it was, as far as is known.
    let believed = |leg: &&Leg| match record.legs.get(&leg.pv).map(|known| &known.trust) {
        Some(Trust::Trusted) => true,
        Some(Trust::Suspect { cause, .. }) => !inactive && *cause == Cause::SessionDown,
        None => false,
    };
    let legs: Vec<&Leg> = mirror.legs.iter().filter(taking_part).filter(believed).collect();
    let (texts, superblocks) = (reading.run.texts(), reading.run.superblocks(mirror));
    let unchanged = reading.run.event_nrs.get(&mirror.lv.uuid) == Some(&mirror.event());
    let at_rest = unchanged && reading.steady.contains(&mirror.lv.uuid);
    let cause = |leg: &&Leg| {
        let others: Vec<&PvUuid> = legs.iter().map(|l| &l.pv).filter(|pv| **pv != leg.pv).collect();
        let seqno = |pv: &PvUuid| texts.get(pv).map(|text| text.seqno);
        // Flagged or not: what takes part is written to, so its metadata is the newest or it is not what took part before.
        let vouched = record.legs.get(&leg.pv).and_then(|known| known.vouched);
        let current = seqno(&leg.pv).max(vouched);
        // Whether it tells another history than theirs is for the verdict.
        let older = seqno(&leg.pv).is_some() && others.iter().any(|other| seqno(other) > current);
        let outlived = |by: &&Leg| {
            let indexes = leg.index.zip(by.index).filter(|(own, by)| own != by);
            indexes.is_some_and(|(own, by)| witness::outlived(&superblocks, own, by))
        };
        let accused = inactive && legs.iter().any(outlived);
        let behind =
            |by: &&Leg| leg.index.zip(by.index).is_some_and(|(own, by)| witness::behind(&superblocks, own, by));
        let older = older || at_rest && legs.iter().any(behind);
        if older { Some(Cause::RolledBack) } else { accused.then_some(Cause::Lost) }
    };
    legs.iter().filter_map(|leg| Some((leg.pv.clone(), cause(leg)?))).collect()
}
