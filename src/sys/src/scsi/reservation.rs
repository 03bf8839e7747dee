//! Commands and answers of persistent reservations (SPC-4 5.7, 6.14 and 6.15; SPC-3 alike), as bytes. Big endian.

use std::fmt;

/// A command.
pub type Cdb = [u8; 10];

/// Bytes of an answer asked for: 511 keys and more than any other answer. Who has more keys is no target of ours.
pub const ANSWER: u16 = 4096;

/// Parameter list of a registration.
pub const PARAMETERS: usize = 24;

const PERSISTENT_RESERVE_IN: u8 = 0x5e;
const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
const REGISTER_AND_IGNORE_EXISTING_KEY: u8 = 0x06;

/// What PERSISTENT RESERVE IN can ask for; the value is the service action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Generation and registered keys.
    Keys = 0,
    /// Generation and who holds the reservation.
    Reservation = 1,
    /// What the device can do, and does.
    Capabilities = 2,
}

impl Ask {
    /// The command.
    pub const fn cdb(self) -> Cdb {
        let [high, low] = ANSWER.to_be_bytes();
        [PERSISTENT_RESERVE_IN, self as u8, 0, 0, 0, 0, 0, high, low, 0]
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys => "READ KEYS",
            Self::Reservation => "READ RESERVATION",
            Self::Capabilities => "REPORT CAPABILITIES",
        })
    }
}

/// Command and parameters that register `key` for this initiator in place of whatever it had, for the time the target is
/// powered (APTPL = 0), and for this port alone. Key 0 takes the registration away.
pub fn register(key: u64) -> (Cdb, [u8; PARAMETERS]) {
    let cdb = [PERSISTENT_RESERVE_OUT, REGISTER_AND_IGNORE_EXISTING_KEY, 0, 0, 0, 0, 0, 0, PARAMETERS as u8, 0];
    let mut parameters = [0; PARAMETERS];
    // Before it stands the key that is ignored, behind it flags, all zero.
    parameters[8..16].copy_from_slice(&key.to_be_bytes());
    (cdb, parameters)
}

/// Generation and keys from an answer to [`Ask::Keys`].
///
/// # Errors
/// When it is shorter than it says it is, or no list of keys.
pub fn keys(answer: &[u8]) -> Result<(u32, Vec<u64>), String> {
    let (generation, list) = list(answer)?;
    let (keys, rest) = list.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(format!("{} bytes are no list of keys", list.len()));
    }
    Ok((generation, keys.iter().map(|key| u64::from_be_bytes(*key)).collect()))
}

/// Whether somebody holds a reservation, from an answer to [`Ask::Reservation`].
///
/// # Errors
/// When it is shorter than it says it is.
pub fn reserved(answer: &[u8]) -> Result<bool, String> {
    list(answer).map(|(_, descriptor)| !descriptor.is_empty())
}

/// PTPL_A from an answer to [`Ask::Capabilities`]: registrations are kept over a power loss.
///
/// # Errors
/// When it is shorter than the eight bytes that SPC gives it.
pub fn persists(answer: &[u8]) -> Result<bool, String> {
    match answer {
        [high, low, _, flags, _, _, _, _, ..] if u16::from_be_bytes([*high, *low]) >= 8 => Ok(flags & 1 != 0),
        _ => Err(format!("{} bytes are no report of capabilities", answer.len())),
    }
}

/// PRGENERATION, ADDITIONAL LENGTH, and as many bytes as that.
fn list(answer: &[u8]) -> Result<(u32, &[u8]), String> {
    let short = || format!("ends after {} bytes", answer.len());
    let (generation, rest) = answer.split_first_chunk::<4>().ok_or_else(short)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_be_bytes(*length) as usize;
    let list = rest.get(..length).ok_or_else(|| format!("{length} bytes announced, {} received", rest.len()))?;
    Ok((u32::from_be_bytes(*generation), list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(generation: u32, length: u32, list: &[u8]) -> Vec<u8> {
        [&generation.to_be_bytes()[..], &length.to_be_bytes(), list].concat()
    }

    #[test]
    fn commands_are_those_of_the_standard() {
        assert_eq!(Ask::Keys.cdb(), [0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(Ask::Reservation.cdb()[..2], [0x5e, 1]);
        assert_eq!(Ask::Capabilities.cdb()[..2], [0x5e, 2]);
        let (cdb, parameters) = register(0x0102_0304_0506_0708);
        assert_eq!(cdb, [0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0]);
        assert_eq!(parameters[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(parameters[..8].iter().chain(&parameters[16..]).all(|byte| *byte == 0), "no flag is set");
    }

    #[test]
    fn keys_are_read_with_their_generation() {
        assert_eq!(keys(&answer(0, 0, &[])), Ok((0, vec![])));
        let list = [7_u64, u64::MAX].map(u64::to_be_bytes).concat();
        assert_eq!(keys(&answer(3, 16, &list)), Ok((3, vec![7, u64::MAX])));
        // A buffer that the target did not fill is longer than the list.
        assert_eq!(keys(&answer(3, 8, &list)), Ok((3, vec![7])));
    }

    #[test]
    fn a_list_that_is_cut_is_no_list() {
        assert_eq!(keys(&[]), Err("ends after 0 bytes".into()));
        assert_eq!(keys(&[0; 7]), Err("ends after 7 bytes".into()));
        assert_eq!(keys(&answer(1, 8, &[0; 7])), Err("8 bytes announced, 7 received".into()));
        assert_eq!(keys(&answer(1, u32::MAX, &[0; 64])), Err("4294967295 bytes announced, 64 received".into()));
        assert_eq!(keys(&answer(1, 12, &[0; 12])), Err("12 bytes are no list of keys".into()));
    }

    #[test]
    fn a_descriptor_is_a_reservation() {
        assert_eq!(reserved(&answer(1, 0, &[])), Ok(false));
        assert_eq!(reserved(&answer(1, 16, &[0; 16])), Ok(true));
        assert!(reserved(&answer(1, 16, &[])).is_err());
    }

    #[test]
    fn persistence_is_the_lowest_bit_of_byte_three() {
        // As tgt 1.0.85 answers: type mask valid, no capability.
        let tgt = [0, 8, 0, 0x80, 0xea, 1, 0, 0];
        assert_eq!(persists(&tgt), Ok(false));
        // PTPL_C says that it could, which does not matter.
        assert_eq!(persists(&[0, 8, 1, 0x80, 0xea, 1, 0, 0]), Ok(false));
        assert_eq!(persists(&[0, 8, 1, 0x81, 0xea, 1, 0, 0]), Ok(true));
        for bad in [&[][..], &tgt[..7], &[0, 4, 0, 0, 0, 0, 0, 0], &[0; 8]] {
            assert!(persists(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (keys(&bytes), reserved(&bytes), persists(&bytes));
        }

        #[test]
        fn every_list_of_keys_comes_through(generation: u32, wanted in proptest::collection::vec(any::<u64>(), 0..511)) {
            let list: Vec<u8> = wanted.iter().flat_map(|key| key.to_be_bytes()).collect();
            let bytes = answer(generation, list.len() as u32, &list);
            prop_assert!(bytes.len() <= usize::from(ANSWER));
            prop_assert_eq!(keys(&bytes), Ok((generation, wanted)));
        }
    }
}
