//! VG metadata on a PV: where its newest text stands, and whether it is whole.
//!
//! A metadata area begins with a header of one sector that says where in the ring buffer behind it the text stands
//! (lvm2 `lib/format_text/layout.h`, `format-text.c`). Little endian.

use super::crc::{INITIAL, crc};
use super::label::Area;
use super::vgtext;
use crate::bytes::{le32, le64};
use mirrorkeeper_core::observation::VgText;

/// `MDA_HEADER_SIZE`; the ring buffer begins behind it.
pub const HEADER: usize = 512;
const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
/// Largest text read. LVM's default area is 1 MiB; VGs of thousands of LVs have larger ones.
pub const LARGEST_TEXT: u64 = 4 * 1024 * 1024;
/// `RAW_LOCN_IGNORED`: the area is there but not in use.
const IGNORED: u32 = 1;

/// Where the current text stands: one run of bytes, or two when it goes round the end of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Runs on the device, in order.
    pub runs: Vec<Area>,
    /// Checksum of the text.
    pub checksum: u32,
}

/// Reads the header of a metadata area. `None`: no VG here (an orphan PV, or the area is set to be ignored).
///
/// # Errors
/// When the header or what it points to is damaged; how.
pub fn place(header: &[u8], area: Area) -> Result<Option<Place>, String> {
    let header = header.get(..HEADER).ok_or("metadata area header is short")?;
    let short = || "metadata area header is short".to_owned();
    if le32(header, 0).ok_or_else(short)? != crc(INITIAL, header.get(4..).unwrap_or_default()) {
        return Err("metadata area header: checksum is wrong".to_owned());
    }
    if header.get(4..20) != Some(MAGIC) || le32(header, 20) != Some(VERSION) {
        return Err("metadata area header: magic or version is unknown".to_owned());
    }
    let (start, size) = (le64(header, 24).ok_or_else(short)?, le64(header, 32).ok_or_else(short)?);
    if start != area.offset || size <= HEADER as u64 {
        return Err("metadata area header belongs elsewhere".to_owned());
    }
    // The first raw_locn is the committed text; a second would be one that was never committed.
    let (offset, length) = (le64(header, 40).ok_or_else(short)?, le64(header, 48).ok_or_else(short)?);
    let (checksum, flags) = (le32(header, 56).ok_or_else(short)?, le32(header, 60).ok_or_else(short)?);
    if offset == 0 || length == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    let ring = size - HEADER as u64;
    if offset < HEADER as u64 || offset >= size || length > ring.min(LARGEST_TEXT) {
        return Err(format!("VG metadata of {length} bytes at {offset} does not fit its area"));
    }
    let first = length.min(size - offset);
    let at = |offset: u64| start.checked_add(offset).ok_or("metadata area lies beyond any device");
    let mut runs = vec![Area { offset: at(offset)?, size: first }];
    if first < length {
        runs.push(Area { offset: at(HEADER as u64)?, size: length - first });
    }
    Ok(Some(Place { runs, checksum }))
}

/// Checks the text against its checksum and reads it.
///
/// # Errors
/// When the checksum is wrong or the text is not that of a VG; how.
pub fn read(text: &[u8], checksum: u32) -> Result<VgText, String> {
    if crc(INITIAL, text) != checksum {
        return Err("VG metadata: checksum is wrong".to_owned());
    }
    // The description holds what somebody typed, in whatever encoding.
    vgtext::read(&String::from_utf8_lossy(text)).map_err(|why| format!("VG metadata: {why}"))
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
