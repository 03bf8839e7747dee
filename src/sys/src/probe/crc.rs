//! LVM's checksum: CRC-32 (polynomial 0xEDB88320, reflected) from a start value of its own and without the final
//! inversion (lvm2 `lib/misc/crc.c`).

/// Where every checksum begins.
pub const INITIAL: u32 = 0xf597_a6cf;

/// Continues a checksum over more bytes. Bit by bit: the most there is to check is some hundred KiB, once.
pub fn crc(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crc32_but_for_start_and_end() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(!crc(u32::MAX, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc(crc(INITIAL, b"1234"), b"56789"), crc(INITIAL, b"123456789"));
    }
}
