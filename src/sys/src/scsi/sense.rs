//! How a SCSI command ended: status, transport, and sense data (SPC-4 4.5; Linux `include/scsi/sg.h`).

use std::io;

/// SAM status.
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
/// Sense key of a device that has something to tell first: it was reset, its keys changed, ….
const UNIT_ATTENTION: u8 = 0x06;

/// Sense key, additional code and its qualifier. Prints as `5/20/00`, the form of the standard's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{key:x}/{asc:02x}/{ascq:02x}")]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
}

/// Why a command was not carried out, as far as anybody knows.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The device said no.
    #[error("CHECK CONDITION {0}")]
    Check(Sense),
    /// The device said something else than yes; 0x18 is a reservation conflict.
    #[error("status {0:#04x}")]
    Status(u8),
    /// It was not reached.
    #[error("host status {host:#04x}, driver status {driver:#04x}")]
    Transport {
        /// `DID_…` of the kernel.
        host: u16,
        /// `DRIVER_…` of the kernel.
        driver: u16,
    },
    /// The kernel did not take it.
    #[error("SG_IO: {0}")]
    Io(#[from] io::Error),
}

impl Refusal {
    /// Whether the same command may be tried again at once: the device has told what it had to tell.
    pub fn is_unit_attention(&self) -> bool {
        matches!(self, Self::Check(Sense { key: UNIT_ATTENTION, .. }))
    }
}

/// What the kernel's words about a command come to.
///
/// # Errors
/// Unless it was carried out.
pub fn ending(status: u8, host: u16, driver: u16, sense: &[u8]) -> Result<(), Refusal> {
    match (status, host, driver) {
        (GOOD, 0, 0) => Ok(()),
        // The driver's word is then that there is sense data.
        (CHECK_CONDITION, 0, _) => Err(parse(sense).map_or(Refusal::Status(status), Refusal::Check)),
        (_, 1.., _) | (GOOD, ..) => Err(Refusal::Transport { host, driver }),
        _ => Err(Refusal::Status(status)),
    }
}

/// Fixed and descriptor format.
fn parse(sense: &[u8]) -> Option<Sense> {
    let (key, asc, ascq) = match sense.first()? & 0x7f {
        0x70 | 0x71 => (2, 12, 13),
        0x72 | 0x73 => (1, 2, 3),
        _ => return None,
    };
    // Fixed format may end before the additional codes; then there are none.
    let at = |index| sense.get(index).copied().unwrap_or_default();
    Some(Sense { key: *sense.get(key)? & 0x0f, asc: at(asc), ascq: at(ascq) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u8, host: u16, driver: u16, sense: &[u8]) -> String {
        ending(status, host, driver, sense).map_or_else(|refusal| refusal.to_string(), |()| "done".into())
    }

    #[test]
    fn what_was_done_and_what_was_not() {
        let fixed = [0x70, 0, 0x05, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0x00, 0, 0, 0, 0];
        let descriptor = [0x72, 0x06, 0x29, 0x01];
        let table = [
            (said(0, 0, 0, &[]), "done"),
            (said(2, 0, 8, &fixed), "CHECK CONDITION 5/20/00"),
            (said(2, 0, 0, &descriptor), "CHECK CONDITION 6/29/01"),
            (said(2, 0, 8, &fixed[..5]), "CHECK CONDITION 5/00/00"),
            (said(2, 0, 8, &[]), "status 0x02"),
            (said(2, 0, 8, &[0x70, 0]), "status 0x02"),
            (said(2, 0, 8, &[0x42, 6, 6, 6]), "status 0x02"),
            (said(0x18, 0, 0, &[]), "status 0x18"),
            (said(0, 3, 6, &[]), "host status 0x03, driver status 0x06"),
            (said(0, 0, 6, &[]), "host status 0x00, driver status 0x06"),
            (said(2, 1, 8, &fixed), "host status 0x01, driver status 0x08"),
        ];
        table.iter().for_each(|(said, wanted)| assert_eq!(said, wanted));
    }

    #[test]
    fn only_a_unit_attention_is_tried_again() {
        let ended = |sense: &[u8]| ending(2, 0, 8, sense).unwrap_err();
        assert!(ended(&[0x72, 6, 0x29, 0]).is_unit_attention());
        assert!(!ended(&[0x72, 5, 0x20, 0]).is_unit_attention());
        assert!(!ending(6, 0, 0, &[]).unwrap_err().is_unit_attention());
    }
}
