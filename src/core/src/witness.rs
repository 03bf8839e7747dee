//! Which leg is right? Weighs what stands on the disks and in the ledger, and says whether a returned leg may be brought up
//! to date from the survivors. When in doubt the answer is a hold with its evidence.
//!
//! Every table load trusts the leg with more `events`, even over the live one, so before one the superblocks must agree on
//! who failed (`facts/lab.md` B). `events` does not count writes: it can accuse, never acquit.

use crate::ids::{PvUuid, VgUuid};
use crate::ledger::{LegRecord, Loss, VgRecord};
use crate::observation::{LegProbe, ProbedIdentity, ProbedSuperblock, Superblock, VgText};
use crate::snapshot::{Details, Value};
use crate::topology::Place;
use crate::words::Hold;
use std::collections::BTreeMap;

/// What was found against a leg.
#[derive(Debug, Clone, PartialEq)]
pub struct Objection {
    /// The hold it means.
    pub hold: Hold,
    /// What was seen.
    pub evidence: Details,
}

impl Objection {
    /// An objection with its first piece of evidence.
    pub fn new(hold: Hold, key: &'static str, value: impl Into<Value>) -> Self {
        Self { hold, evidence: Details::from([(key, value.into())]) }
    }

    /// The same with another piece of evidence.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.evidence.insert(key, value.into());
        self
    }
}

/// Who a device should be.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// PV.
    pub pv: &'a PvUuid,
    /// Its VG.
    pub vg: &'a VgUuid,
    /// Bytes it had when it was last healthy; 0 when not known.
    pub size: u64,
}

/// Whether a device is the PV it should be.
///
/// # Errors
/// The objection, when it is not or cannot be read.
pub fn identity(probe: &LegProbe, expected: Expected<'_>) -> Result<(), Objection> {
    match &probe.identity {
        ProbedIdentity::Unreadable(why) => return Err(Objection::new(Hold::Unreadable, "label", why.as_str())),
        ProbedIdentity::Blank => return Err(Objection::new(Hold::BlankDevice, "label", "all zero")),
        ProbedIdentity::Foreign => {
            return Err(Objection::new(Hold::IdentityMismatch, "label", "no LVM label"));
        }
        ProbedIdentity::Pv { pv, metadata } => {
            if pv != expected.pv {
                return Err(Objection::new(Hold::IdentityMismatch, "pv-uuid", pv.as_str()));
            }
            // No metadata on it (pvmetadatacopies 0) says nothing against it.
            if let Some(text) = metadata.as_ref().filter(|text| text.vg != *expected.vg) {
                return Err(Objection::new(Hold::IdentityMismatch, "vg-uuid", text.vg.as_str()));
            }
        }
    }
    same_size(expected.size, probe.size)
}

/// Whether a device has the size it should have, in bytes; 0 is known of nobody.
///
/// # Errors
/// The objection.
pub fn same_size(expected: u64, size: u64) -> Result<(), Objection> {
    if expected == 0 || size == expected {
        return Ok(());
    }
    Err(Objection::new(Hold::IdentityMismatch, "size", size).with("size-expected", expected))
}

/// Whether the disk still has the name it had when its leg was healthy.
///
/// # Errors
/// The objection, when it has another one.
pub fn same_disk(known: &LegRecord, place: &Place) -> Result<(), Objection> {
    if known.wwid.is_empty() || place.wwid.is_empty() || known.wwid == place.wwid {
        return Ok(());
    }
    let objection = Objection::new(Hold::IdentityMismatch, "wwid", place.wwid.as_str());
    Err(objection.with("wwid-expected", known.wwid.as_str()))
}

/// The superblocks of one raid LV by leg position.
pub type Superblocks = BTreeMap<usize, ProbedSuperblock>;

/// The VG metadata on the devices of one VG that could be read, by PV.
pub type Texts<'a> = BTreeMap<&'a PvUuid, &'a VgText>;

/// What the VG metadata on a leg's own device says against it, beside that of the others. `Ok(true)`: it is older than it
/// must be, which a power cut soon after a metadata write does as well as an old image. `vg` says what we wrote last.
///
/// # Errors
/// The objection, when it tells another history.
pub fn history(
    pv: &PvUuid,
    texts: &Texts<'_>,
    others: &[&PvUuid],
    loss: &Loss,
    vg: Option<&VgRecord>,
) -> Result<bool, Objection> {
    // No metadata on it (pvmetadatacopies 0) says nothing.
    let Some(own) = texts.get(pv) else { return Ok(false) };
    let others = || others.iter().filter_map(|pv| Some((*pv, *texts.get(*pv)?)));
    let Some((_, newest)) = others().max_by_key(|(_, text)| text.seqno) else { return Ok(false) };
    let evidence = |what: &'static str| {
        let objection = Objection::new(Hold::SplitBrain, "reason", what).with("vg-seqno", own.seqno);
        let objection = objection.with("survivor-vg-seqno", newest.seqno);
        let objection = own.stamps.last().map_or(objection.clone(), |stamp| objection.with("stamp", *stamp));
        loss.seqno.map_or(objection.clone(), |seqno| objection.with("vg-seqno-at-loss", seqno))
    };
    // Written by one hand.
    if *own == newest {
        return Ok(false);
    }
    let noted = vg.and_then(|vg| vg.noted);
    let ours = noted.is_some_and(|noted| own.seqno == noted.seqno && own.stamps.last() == Some(&noted.stamp));
    let last_stamp = vg.map_or(0, |vg| vg.stamp);
    let flagged = newest.missing.contains(pv);
    let lowest = if flagged { loss.seqno } else { Some(newest.seqno) };
    let older = lowest.is_some_and(|lowest| own.seqno < lowest);
    // Older than what it had, it may call missing what was, before that was taken back.
    if !older && others().any(|(other, _)| own.missing.contains(other)) {
        return Err(evidence("its metadata calls another leg missing"));
    }
    if own.stamps.last() > newest.stamps.last() && own.stamps.last().is_some_and(|stamp| *stamp > last_stamp) {
        return Err(evidence("it carries a stamp that is not ours"));
    }
    if flagged && own.seqno >= loss.flagged.unwrap_or(newest.seqno) || own.seqno > newest.seqno && !ours {
        return Err(evidence("its metadata went on without the others"));
    }
    if own.seqno == newest.seqno && own.stamps != newest.stamps {
        return Err(evidence("its metadata has the same number and another stamp"));
    }
    Ok(older)
}

/// Whether a leg's superblock says that it was activated where we could not see it.
///
/// # Errors
/// The objection, when it has more `events` than it can have by our doing.
pub fn untouched(superblocks: &Superblocks, index: usize, loss: &Loss) -> Result<(), Objection> {
    let own = found(superblocks, index)?;
    match loss.events {
        // A leg that is written to at the moment of the loss has one more, for dirty (`facts/lab.md` 0.1).
        Some(noted) if own.events > noted + 1 => {
            let why = "its superblock changed after it was lost: it was activated elsewhere";
            let objection = Objection::new(Hold::SplitBrain, "reason", why).with("events", own.events);
            Err(objection.with("events-at-loss", noted).with("failed-devices", own.failed_devices))
        }
        _ => Ok(()),
    }
}

/// Whether a failed leg may be revived from the survivors.
///
/// # Errors
/// The objection, when one of the witnesses objects or none speaks.
pub fn revivable(superblocks: &Superblocks, returned: usize, survivors: &[usize]) -> Result<(), Objection> {
    let back = found(superblocks, returned)?;
    // Of three, one that failed while another was away calls that one failed for ever; who went on alone calls all so.
    let went_on = survivors.iter().all(|index| accuses(back, *index));
    for &index in survivors {
        let survivor = found(superblocks, index)?;
        let evidence = |hold| {
            Objection::new(hold, "survivor-events", survivor.events)
                .with("survivor-failed-devices", survivor.failed_devices)
                .with("events", back.events)
                .with("failed-devices", back.failed_devices)
        };
        if back.num_devices != survivor.num_devices {
            return Err(evidence(Hold::IdentityMismatch));
        }
        match (accuses(survivor, returned), went_on) {
            (true, true) => return Err(evidence(Hold::SplitBrain)),
            (false, true) => return Err(evidence(Hold::StaleLeg)),
            (false, false) => return Err(evidence(Hold::NoHistory)),
            // It was lost with fewer; as many or more now means that it was activated elsewhere.
            (true, false) if survivor.events <= back.events => return Err(evidence(Hold::SplitBrain)),
            (true, false) => {}
        }
    }
    if survivors.is_empty() { Err(Objection::new(Hold::NoHistory, "survivors", "none")) } else { Ok(()) }
}

/// Whether one leg was written without the other knowing, and the other without it.
///
/// # Errors
/// The objection, when each calls the other failed.
pub fn apart(superblocks: &Superblocks, one: usize, other: usize) -> Result<(), Objection> {
    let (Ok(a), Ok(b)) = (found(superblocks, one), found(superblocks, other)) else { return Ok(()) };
    if !accuses(a, other) || !accuses(b, one) {
        return Ok(());
    }
    let objection = Objection::new(Hold::SplitBrain, "events", a.events).with("failed-devices", a.failed_devices);
    Err(objection.with("other-events", b.events).with("other-failed-devices", b.failed_devices))
}

/// Whether a leg has fewer `events` than another that is in use with it. They differ by one at most, while it is dirty
/// (`facts/lab.md` 0.1), and only for a moment.
pub fn behind(superblocks: &Superblocks, whom: usize, by: usize) -> bool {
    let (Ok(own), Ok(other)) = (found(superblocks, whom), found(superblocks, by)) else { return false };
    own.events + 1 < other.events
}

/// Whether one leg went on without another that knows nothing of it.
pub fn outlived(superblocks: &Superblocks, whom: usize, by: usize) -> bool {
    let (Ok(own), Ok(other)) = (found(superblocks, whom), found(superblocks, by)) else { return false };
    accuses(other, whom) && !accuses(own, by)
}

/// Whether a table may be loaded over these legs: none of them may accuse another of them.
///
/// # Errors
/// The objection, when somebody does or a superblock is not what it should be.
pub fn peaceful(superblocks: &Superblocks, legs: &[usize]) -> Result<(), Objection> {
    for &index in legs {
        let superblock = found(superblocks, index)?;
        if legs.iter().any(|other| accuses(superblock, *other)) {
            let objection = Objection::new(Hold::SplitBrain, "failed-devices", superblock.failed_devices);
            return Err(objection.with("events", superblock.events));
        }
    }
    Ok(())
}

/// Whether a table load would prefer a leg in doubt to one that is not: who has more `events` is copied from, live or not.
///
/// # Errors
/// The objection, when it would.
pub fn not_ahead(superblocks: &Superblocks, doubtful: usize, trusted: &[usize]) -> Result<(), Objection> {
    let own = found(superblocks, doubtful)?;
    for &index in trusted {
        let other = found(superblocks, index)?;
        // They differ by one while one is dirty (`facts/lab.md` 0.1).
        if own.events > other.events + 1 {
            let why = "a table load would copy from it";
            let objection = Objection::new(Hold::SplitBrain, "reason", why).with("events", own.events);
            return Err(objection.with("other-events", other.events));
        }
    }
    Ok(())
}

/// The superblock of the leg at a position.
///
/// # Errors
/// The objection, when there is none, or that of another leg.
pub fn found(superblocks: &Superblocks, index: usize) -> Result<&Superblock, Objection> {
    let position = u64::try_from(index).unwrap_or(u64::MAX);
    match superblocks.get(&index) {
        None => Err(Objection::new(Hold::Unreadable, "superblock", "not read").with("position", position)),
        Some(ProbedSuperblock::Unreadable(why)) => Err(Objection::new(Hold::Unreadable, "superblock", why.as_str())),
        Some(ProbedSuperblock::Blank) => Err(Objection::new(Hold::BlankDevice, "superblock", "all zero")),
        Some(ProbedSuperblock::Foreign) => Err(Objection::new(Hold::IdentityMismatch, "superblock", "other magic")),
        Some(ProbedSuperblock::Found(superblock)) if u64::from(superblock.position) != position => {
            let objection = Objection::new(Hold::IdentityMismatch, "position", u64::from(superblock.position));
            Err(objection.with("position-expected", position))
        }
        Some(ProbedSuperblock::Found(superblock)) => Ok(superblock),
    }
}

fn accuses(superblock: &Superblock, leg: usize) -> bool {
    leg < 64 && superblock.failed_devices & (1 << leg) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Noted;
    use crate::observation::Registration;

    fn id(c: char) -> crate::ids::LvmUuid {
        crate::ids::LvmUuid::parse(&c.to_string().repeat(32)).unwrap()
    }

    fn text(vg: &VgUuid, seqno: u64, missing: &[PvUuid], stamps: &[u64]) -> VgText {
        let (missing, stamps) = (missing.iter().cloned().collect(), stamps.iter().copied().collect());
        VgText { vg: vg.clone(), seqno, missing, stamps, host: "client".into() }
    }

    fn superblock(position: u32, events: u64, failed_devices: u64) -> ProbedSuperblock {
        let disk_recovery_offset = u64::MAX;
        ProbedSuperblock::Found(Superblock { num_devices: 2, position, events, failed_devices, disk_recovery_offset })
    }

    fn verdict(survivor: ProbedSuperblock, returned: ProbedSuperblock) -> Option<Hold> {
        revivable(&BTreeMap::from([(0, survivor), (1, returned)]), 1, &[0]).err().map(|o| o.hold)
    }

    #[test]
    fn only_an_accused_leg_with_fewer_events_is_revived() {
        let table = [
            // survivor, returned, hold (`facts/lab.md` B and the list)
            (superblock(0, 26, 2), superblock(1, 22, 0), None),
            (superblock(0, 29, 2), superblock(1, 32, 1), Some(Hold::SplitBrain)),
            (superblock(0, 37, 2), superblock(1, 22, 1), Some(Hold::SplitBrain)),
            (superblock(0, 22, 0), superblock(1, 26, 1), Some(Hold::StaleLeg)),
            (superblock(0, 22, 0), superblock(1, 22, 0), Some(Hold::NoHistory)),
            (superblock(0, 22, 2), superblock(1, 22, 0), Some(Hold::SplitBrain)),
            (superblock(0, 26, 2), superblock(0, 22, 0), Some(Hold::IdentityMismatch)),
            (superblock(0, 26, 2), ProbedSuperblock::Blank, Some(Hold::BlankDevice)),
            (superblock(0, 26, 2), ProbedSuperblock::Foreign, Some(Hold::IdentityMismatch)),
            (ProbedSuperblock::Unreadable("EIO".into()), superblock(1, 22, 0), Some(Hold::Unreadable)),
        ];
        for (survivor, returned, hold) in table {
            assert_eq!(verdict(survivor.clone(), returned.clone()), hold, "{survivor:?} {returned:?}");
        }
        assert!(revivable(&BTreeMap::from([(1, superblock(1, 22, 0))]), 1, &[]).is_err(), "nobody to copy from");
        // Leg 0 failed while leg 1, revived since, was away.
        let of_three = |failed| {
            let legs = [(0, superblock(0, 26, failed)), (1, superblock(1, 33, 1)), (2, superblock(2, 33, 1))];
            revivable(&BTreeMap::from(legs), 0, &[1, 2]).err().map(|o| o.hold)
        };
        assert_eq!((of_three(2), of_three(6)), (None, Some(Hold::SplitBrain)));
    }

    #[test]
    fn a_peaceful_array_has_no_accusers() {
        let legs = |a, b| BTreeMap::from([(0, a), (1, b)]);
        assert_eq!(peaceful(&legs(superblock(0, 22, 0), superblock(1, 23, 0)), &[0, 1]), Ok(()));
        let found = peaceful(&legs(superblock(0, 22, 2), superblock(1, 23, 0)), &[0, 1]);
        assert_eq!(found.err().map(|o| o.hold), Some(Hold::SplitBrain));
        assert!(peaceful(&legs(superblock(0, 22, 0), ProbedSuperblock::Blank), &[0, 1]).is_err());
    }

    #[test]
    fn metadata_tells_an_honest_loss_from_another_history() {
        let (a, b, vg) = (id('a'), id('b'), id('v'));
        let (flags_a, flags_b) = ([a.clone()], [b.clone()]);
        let stamped = VgRecord { stamp: 3, noted: Some(Noted { stamp: 3, seqno: 9 }), forgotten: false };
        let judge = |survivor: VgText, returned: VgText, loss: Loss| {
            let texts = Texts::from([(&a, &survivor), (&b, &returned)]);
            history(&b, &texts, &[&a], &loss, Some(&stamped)).map_err(|o| o.hold)
        };
        let lost_at = |seqno, flagged| Loss { seqno: Some(seqno), flagged, ..Loss::default() };
        let table = [
            // Lost with 7, flagged by 8 (`facts/lab.md` C).
            (text(&vg, 8, &flags_b, &[3]), text(&vg, 7, &[], &[2]), lost_at(7, Some(8)), Ok(false)),
            // Nothing was written meanwhile.
            (text(&vg, 7, &[], &[2]), text(&vg, 7, &[], &[2]), lost_at(7, None), Ok(false)),
            // Less than it had: an old image, or a write that was still in its cache.
            (text(&vg, 8, &flags_b, &[3]), text(&vg, 6, &[], &[1]), lost_at(7, Some(8)), Ok(true)),
            // The other one was rolled back: this one is as we left it.
            (text(&vg, 8, &[], &[2]), text(&vg, 9, &[], &[3]), Loss::default(), Ok(false)),
            // Rolled back while everything was off (`facts/lab.md` C).
            (text(&vg, 8, &[], &[3]), text(&vg, 7, &[], &[2]), Loss::default(), Ok(true)),
            // As new as the metadata that calls it missing, or newer: it went on elsewhere.
            (text(&vg, 9, &flags_b, &[3]), text(&vg, 8, &[], &[2]), lost_at(7, Some(8)), Err(Hold::SplitBrain)),
            (text(&vg, 8, &flags_b, &[3]), text(&vg, 9, &[], &[2]), lost_at(7, Some(8)), Err(Hold::SplitBrain)),
            (text(&vg, 7, &[], &[2]), text(&vg, 8, &[], &[2]), lost_at(7, None), Err(Hold::SplitBrain)),
            // What its server had in its cache is gone: the survivor was missing once, and was taken back.
            (text(&vg, 10, &[], &[2]), text(&vg, 8, &flags_a, &[2]), Loss::default(), Ok(true)),
            (text(&vg, 11, &flags_b, &[3]), text(&vg, 8, &flags_a, &[2]), lost_at(10, Some(11)), Ok(true)),
            // It calls the survivor missing.
            (text(&vg, 9, &flags_b, &[3]), text(&vg, 8, &flags_a, &[2]), lost_at(7, None), Err(Hold::SplitBrain)),
            (text(&vg, 9, &flags_b, &[3]), text(&vg, 8, &flags_a, &[2]), lost_at(8, Some(9)), Err(Hold::SplitBrain)),
            // A stamp nobody here has made.
            (text(&vg, 8, &flags_b, &[3]), text(&vg, 7, &[], &[4]), lost_at(7, Some(8)), Err(Hold::SplitBrain)),
            (text(&vg, 7, &[], &[2]), text(&vg, 7, &[], &[3]), lost_at(7, None), Err(Hold::SplitBrain)),
        ];
        for (survivor, returned, loss, verdict) in table {
            assert_eq!(judge(survivor.clone(), returned.clone(), loss), verdict, "{survivor:?} {returned:?} {loss:?}");
        }
        let alone = text(&vg, 3, &[], &[]);
        assert_eq!(
            history(&b, &Texts::from([(&b, &alone)]), &[&a], &Loss::default(), None),
            Ok(false),
            "nobody to compare"
        );
    }

    #[test]
    fn a_leg_with_more_events_than_noted_was_activated_elsewhere() {
        let loss = Loss { events: Some(22), ..Loss::default() };
        let judge = |events, loss| untouched(&BTreeMap::from([(1, superblock(1, events, 0))]), 1, &loss);
        assert_eq!(judge(22, loss), Ok(()));
        assert_eq!(judge(23, loss), Ok(()), "dirty when it was lost");
        assert_eq!(judge(24, loss).err().map(|o| o.hold), Some(Hold::SplitBrain));
        assert_eq!(judge(35, Loss::default()), Ok(()), "nothing noted");
    }

    #[test]
    fn a_device_is_known_by_its_label_and_size() {
        let (pv, vg, other) = (id('a'), id('b'), id('c'));
        let expected = Expected { pv: &pv, vg: &vg, size: 100 };
        let registration = || Registration::Unknown(String::new());
        let probe = |pv: &PvUuid, vg: Option<&VgUuid>, size| LegProbe {
            identity: ProbedIdentity::Pv { pv: pv.clone(), metadata: vg.map(|vg| text(vg, 7, &[], &[])) },
            size,
            superblocks: Vec::new(),
            registration: registration(),
        };
        let hold = |probe: LegProbe| identity(&probe, expected).err().map(|o| o.hold);
        assert_eq!(hold(probe(&pv, Some(&vg), 100)), None);
        assert_eq!(hold(probe(&pv, None, 100)), None);
        assert_eq!(hold(probe(&other, Some(&vg), 100)), Some(Hold::IdentityMismatch));
        assert_eq!(hold(probe(&pv, Some(&other), 100)), Some(Hold::IdentityMismatch));
        assert_eq!(hold(probe(&pv, Some(&vg), 99)), Some(Hold::IdentityMismatch));
        let odd = |identity| LegProbe { identity, size: 100, superblocks: Vec::new(), registration: registration() };
        assert_eq!(hold(odd(ProbedIdentity::Blank)), Some(Hold::BlankDevice));
        assert_eq!(hold(odd(ProbedIdentity::Foreign)), Some(Hold::IdentityMismatch));
        assert_eq!(hold(odd(ProbedIdentity::Unreadable("EIO".into()))), Some(Hold::Unreadable));
    }
}
