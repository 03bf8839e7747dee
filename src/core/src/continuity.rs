//! Did the server live on? A key registered with a disk's target goes when the target or its power does, and with it
//! whatever was only in its cache. Found again with the generation that was noted, it proves that nothing was lost
//! (`facts/lab.md` E).
//!
//! Keys of others, a reservation, a target that keeps registrations over a power loss, or one that knows none: nothing is
//! known then, and nothing is touched.

use crate::ids::PvUuid;
use crate::ledger::Continuity;
use crate::observation::Registration;

/// Our key for a PV: FNV-1a over the machine id and the PV's UUID, so that no two clients have the same. Never 0, which would
/// mean "no key".
pub fn key(machine_id: &str, pv: &PvUuid) -> u64 {
    let bytes = machine_id.bytes().chain([0]).chain(pv.as_str().bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)).max(1)
}

/// The generation, where our key is the only one and would be gone after a power loss.
pub fn ours(found: &Registration, key: u64) -> Option<u32> {
    match found {
        Registration::Keys { generation, keys, reserved: false, persists: false }
            if !keys.is_empty() && keys.iter().all(|other| *other == key) =>
        {
            Some(*generation)
        }
        _ => None,
    }
}

/// Whether there is nothing that forbids to register.
pub fn vacant(found: &Registration) -> bool {
    matches!(found, Registration::Keys { keys, reserved: false, persists: false, .. } if keys.is_empty())
}

/// Whether a target's generation was set back since it was read before. It counts what is done to registrations, and
/// begins at 0 with the target or its power (PRGENERATION of SPC; `facts/lab.md` E): that tells of a restart, whoever's keys
/// there were.
pub fn set_back(before: &Registration, now: &Registration) -> bool {
    match (before, now) {
        (Registration::Keys { generation: before, .. }, Registration::Keys { generation: now, .. }) => now < before,
        _ => false,
    }
}

/// What the keys say about a server that was away, given the generation [`ours`] now and the one noted before.
pub fn judge(found: &Registration, ours: Option<u32>, noted: Option<u32>) -> Continuity {
    match (noted, ours) {
        (None, _) => Continuity::Unknown,
        (Some(noted), Some(now)) if noted == now => Continuity::Proven,
        // Whoever else has keys there may have taken ours away.
        (Some(_), None) if matches!(found, Registration::Keys { keys, .. } if keys.is_empty()) => Continuity::Broken,
        _ => Continuity::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LvmUuid;

    fn keys(generation: u32, keys: &[u64]) -> Registration {
        Registration::Keys { generation, keys: keys.to_vec(), reserved: false, persists: false }
    }

    #[test]
    fn only_our_key_with_the_noted_generation_proves_anything() {
        let table = [
            (keys(1, &[7]), Some(1), Continuity::Proven),
            (keys(1, &[7, 7]), Some(1), Continuity::Proven),
            (keys(0, &[]), Some(1), Continuity::Broken),
            (keys(2, &[7]), Some(1), Continuity::Unknown),
            (keys(2, &[7, 8]), Some(1), Continuity::Unknown),
            (keys(2, &[8]), Some(1), Continuity::Unknown),
            (keys(1, &[7]), None, Continuity::Unknown),
            (Registration::Unknown("refused".into()), Some(1), Continuity::Unknown),
            (
                Registration::Keys { generation: 1, keys: vec![7], reserved: false, persists: true },
                Some(1),
                Continuity::Unknown,
            ),
        ];
        for (found, noted, verdict) in table {
            assert_eq!(judge(&found, ours(&found, 7), noted), verdict, "{found:?}");
        }
    }

    #[test]
    fn a_generation_only_goes_back_with_a_restart() {
        assert!(set_back(&keys(1, &[8]), &keys(0, &[])));
        assert!(!set_back(&keys(1, &[8]), &keys(2, &[])));
        assert!(!set_back(&keys(0, &[]), &keys(0, &[])));
        assert!(!set_back(&Registration::Unknown("refused".into()), &keys(0, &[])));
    }

    #[test]
    fn we_register_only_where_nobody_else_is() {
        assert!(vacant(&keys(0, &[])) && !vacant(&keys(1, &[8])));
        assert!(!vacant(&Registration::Keys { generation: 0, keys: vec![], reserved: true, persists: false }));
        assert!(!vacant(&Registration::Keys { generation: 0, keys: vec![], reserved: false, persists: true }));
        assert!(!vacant(&Registration::Unknown("no such command".into())));
    }

    #[test]
    fn keys_differ_by_machine_and_by_pv() {
        let pv = |c: char| LvmUuid::parse(&c.to_string().repeat(32)).unwrap();
        let all = [key("m1", &pv('a')), key("m2", &pv('a')), key("m1", &pv('b'))];
        assert!(all[0] != all[1] && all[0] != all[2] && !all.contains(&0));
    }
}
