//! The dm-raid superblock at the beginning of a leg's metadata (`drivers/md/dm-raid.c`, struct dm_raid_superblock).

use crate::bytes::{le32, le64};
use mirrorkeeper_core::observation::{ProbedSuperblock, Superblock};

/// "DmRd".
const MAGIC: u32 = 0x6452_6d44;
/// Bytes to read; the fields of interest are among the first.
pub const SIZE: usize = 512;

/// Takes the first sector of a raid metadata LV apart.
pub fn parse(bytes: &[u8]) -> ProbedSuperblock {
    let Some(bytes) = bytes.get(..SIZE) else {
        return ProbedSuperblock::Unreadable(format!("{} of {SIZE} bytes", bytes.len()));
    };
    if bytes.iter().all(|b| *b == 0) {
        return ProbedSuperblock::Blank;
    }
    fields(bytes).map_or(ProbedSuperblock::Foreign, ProbedSuperblock::Found)
}

/// magic u32, compat_features u32, num_devices u32, array_position u32, events u64, failed_devices u64,
/// disk_recovery_offset u64.
fn fields(bytes: &[u8]) -> Option<Superblock> {
    (le32(bytes, 0)? == MAGIC).then_some(())?;
    Some(Superblock {
        num_devices: le32(bytes, 8)?,
        position: le32(bytes, 12)?,
        events: le64(bytes, 16)?,
        failed_devices: le64(bytes, 24)?,
        disk_recovery_offset: le64(bytes, 32)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fixture_bytes, fixtures};
    use proptest::prelude::*;

    fn found(fixture: &str, file: &str) -> Superblock {
        match parse(&fixture_bytes(fixture, file)) {
            ProbedSuperblock::Found(superblock) => superblock,
            other => panic!("{fixture}/{file}: {other:?}"),
        }
    }

    #[test]
    fn the_survivor_accuses_and_has_more_events() {
        let (a, b) = (found("returned-not-healed", "rmeta_0.bin"), found("returned-not-healed", "rmeta_1.bin"));
        assert_eq!((a.events, a.failed_devices, a.position, a.num_devices), (46, 0x2, 0, 2));
        assert_eq!((b.events, b.failed_devices, b.position, b.num_devices), (22, 0, 1, 2));
        assert_eq!(a.disk_recovery_offset, u64::MAX);
    }

    #[test]
    fn a_leg_being_recovered_says_how_far() {
        assert_eq!(found("recovering", "rmeta_1.bin").disk_recovery_offset, 0x4000);
    }

    #[test]
    fn nobody_accuses_in_the_split_brain_but_the_events_tell() {
        let fixture = "deb13-split-brain-kept-leg-active";
        let (a, b) = (found(fixture, "pv-a-rmeta.bin"), found(fixture, "pv-b-rmeta.bin"));
        assert_eq!((b.failed_devices, a.failed_devices), (0, 0x2));
        assert!(a.events > b.events && b.events > 22, "{a:?} {b:?}");
    }

    #[test]
    fn every_recorded_superblock_is_one() {
        let mut count = 0;
        for entry in std::fs::read_dir(fixtures()).unwrap() {
            let dir = entry.unwrap().path();
            for (file, position) in
                [("rmeta_0.bin", 0), ("rmeta_1.bin", 1), ("pv-a-rmeta.bin", 0), ("pv-b-rmeta.bin", 1)]
            {
                let Ok(bytes) = std::fs::read(dir.join(file)) else { continue };
                // Reading through an offline or suspended device left nothing.
                if bytes.is_empty() {
                    continue;
                }
                let ProbedSuperblock::Found(s) = parse(&bytes) else { panic!("{}/{file}", dir.display()) };
                assert_eq!((s.num_devices, s.position), (2, position), "{}/{file}", dir.display());
                count += 1;
            }
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn zeros_are_blank_and_anything_else_is_foreign() {
        assert_eq!(parse(&[0; SIZE]), ProbedSuperblock::Blank);
        let mut bytes = fixture_bytes("healthy", "rmeta_0.bin");
        bytes[0] ^= 1;
        assert_eq!(parse(&bytes), ProbedSuperblock::Foreign);
        assert_eq!(parse(&bytes[..511]), ProbedSuperblock::Unreadable("511 of 512 bytes".into()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            parse(&bytes);
        }
    }
}
