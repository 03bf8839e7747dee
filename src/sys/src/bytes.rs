//! Bounds-checked reads from foreign bytes. An offset beyond the end is `None`, never a panic.

/// `N` bytes at `at`.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Native-endian u32, as in ioctl and netlink structures.
pub fn ne32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

/// Native-endian u64.
pub fn ne64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_ne_bytes)
}

/// Little-endian u32, as on disk.
pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Little-endian u64.
pub fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The bytes from `at` up to the first NUL; `None` when there is none.
pub fn until_nul(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.get(..rest.iter().position(|b| *b == 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let bytes = [1, 0, 0, 0, b'x', 0];
        assert_eq!(le32(&bytes, 0), Some(1));
        assert_eq!(le32(&bytes, 3), None);
        assert_eq!(le64(&bytes, usize::MAX), None);
        assert_eq!(until_nul(&bytes, 4), Some(&b"x"[..]));
        assert_eq!(until_nul(b"x", 0), None);
        assert_eq!(until_nul(&bytes, 7), None);
    }
}
