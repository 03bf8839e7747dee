//! Which leg is right? Reads what stands on the disks and says whether a returned leg may be brought up to date from the
//! survivors. When in doubt the answer is a hold with its evidence.
//!
//! Every table load trusts the leg with more `events`, even over the live one, so before one the superblocks must agree on
//! who failed (`facts/lab.md` B). `events` does not count writes: it can accuse, never acquit.

use crate::ids::{PvUuid, VgUuid};
use crate::observation::{LegProbe, ProbedIdentity, ProbedSuperblock, Superblock};
use crate::snapshot::{Details, Value};
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

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
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
        ProbedIdentity::Pv { pv, vg, .. } => {
            if pv != expected.pv {
                return Err(Objection::new(Hold::IdentityMismatch, "pv-uuid", pv.as_str()));
            }
            // No metadata on it (pvmetadatacopies 0) says nothing against it.
            if let Some(vg) = vg.as_ref().filter(|vg| *vg != expected.vg) {
                return Err(Objection::new(Hold::IdentityMismatch, "vg-uuid", vg.as_str()));
            }
        }
    }
    if expected.size != 0 && probe.size != expected.size {
        let objection = Objection::new(Hold::IdentityMismatch, "size", probe.size);
        return Err(objection.with("size-expected", expected.size));
    }
    Ok(())
}

/// The superblocks of one raid LV by leg position.
pub type Superblocks = BTreeMap<usize, ProbedSuperblock>;

/// Whether a failed leg may be revived from the survivors.
///
/// # Errors
/// The objection, when one of the witnesses objects or none speaks.
pub fn revivable(superblocks: &Superblocks, returned: usize, survivors: &[usize]) -> Result<(), Objection> {
    let back = found(superblocks, returned)?;
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
        match (accuses(survivor, returned), accuses(back, index)) {
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

/// Whether a table may be loaded while all legs are alive: nobody may accuse anybody.
///
/// # Errors
/// The objection, when somebody does or a superblock is not what it should be.
pub fn peaceful(superblocks: &Superblocks, legs: &[usize]) -> Result<(), Objection> {
    for &index in legs {
        let superblock = found(superblocks, index)?;
        if superblock.failed_devices != 0 {
            let objection = Objection::new(Hold::SplitBrain, "failed-devices", superblock.failed_devices);
            return Err(objection.with("events", superblock.events));
        }
    }
    Ok(())
}

fn found(superblocks: &Superblocks, index: usize) -> Result<&Superblock, Objection> {
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
    fn a_device_is_known_by_its_label_and_size() {
        let id = |c: char| crate::ids::LvmUuid::parse(&c.to_string().repeat(32)).unwrap();
        let (pv, vg, other) = (id('a'), id('b'), id('c'));
        let expected = Expected { pv: &pv, vg: &vg, size: 100 };
        let probe = |pv: &PvUuid, vg: Option<&VgUuid>, size| LegProbe {
            identity: ProbedIdentity::Pv { pv: pv.clone(), vg: vg.cloned(), seqno: Some(7) },
            size,
            superblocks: Vec::new(),
        };
        let hold = |probe: LegProbe| identity(&probe, expected).err().map(|o| o.hold);
        assert_eq!(hold(probe(&pv, Some(&vg), 100)), None);
        assert_eq!(hold(probe(&pv, None, 100)), None);
        assert_eq!(hold(probe(&other, Some(&vg), 100)), Some(Hold::IdentityMismatch));
        assert_eq!(hold(probe(&pv, Some(&other), 100)), Some(Hold::IdentityMismatch));
        assert_eq!(hold(probe(&pv, Some(&vg), 99)), Some(Hold::IdentityMismatch));
        let odd = |identity| LegProbe { identity, size: 100, superblocks: Vec::new() };
        assert_eq!(hold(odd(ProbedIdentity::Blank)), Some(Hold::BlankDevice));
        assert_eq!(hold(odd(ProbedIdentity::Foreign)), Some(Hold::IdentityMismatch));
        assert_eq!(hold(odd(ProbedIdentity::Unreadable("EIO".into()))), Some(Hold::Unreadable));
    }
}
