//! LVM's label: says that a device is a PV, which, and where its data and metadata begin.
//!
//! Layout: lvm2 `lib/label/label.h` (label_header), `lib/format_text/layout.h` (pv_header, disk_locn). Little endian.

use super::crc::{INITIAL, crc};
use crate::bytes::{le32, le64};
use mirrorkeeper_core::ids::{LvmUuid, PvUuid};

/// Bytes of a sector.
pub const SECTOR: usize = 512;
/// Sectors that may hold the label.
pub const SECTORS: usize = 4;
/// LVM itself writes at most one data area and two metadata areas; this only bounds the loop.
const MOST_AREAS: usize = 16;

/// A run of bytes on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Where it begins.
    pub offset: u64,
    /// Its length; 0 for a data area that goes to the end.
    pub size: u64,
}

/// What a label says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Whose it is.
    pub pv: PvUuid,
    /// Bytes of the device when it became a PV.
    pub device_size: u64,
    /// Extents live here.
    pub data: Vec<Area>,
    /// Metadata lives here; empty for a PV without any.
    pub metadata: Vec<Area>,
}

/// What the first sectors hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A label.
    Label(Label),
    /// Nothing but zeros.
    Blank,
    /// Something else.
    Foreign,
    /// A label that is damaged; how.
    Damaged(String),
}

/// Looks for a label in the first four sectors: the first that is whole, as LVM does.
pub fn find(head: &[u8]) -> Found {
    let head = head.get(..SECTORS * SECTOR).unwrap_or(head);
    let mut damage = None;
    for (number, sector) in head.chunks_exact(SECTOR).enumerate() {
        if sector.starts_with(b"LABELONE") && sector.get(24..32) == Some(b"LVM2 001") {
            match read(sector, number) {
                Ok(label) => return Found::Label(label),
                Err(why) => damage = damage.or(Some(format!("LVM label in sector {number}: {why}"))),
            }
        }
    }
    match damage {
        Some(why) => Found::Damaged(why),
        None if head.iter().all(|b| *b == 0) => Found::Blank,
        None => Found::Foreign,
    }
}

/// label_header: id[8], sector u64, crc u32 (of all that follows it), offset u32 of the pv_header, type[8].
fn read(sector: &[u8], number: usize) -> Result<Label, &'static str> {
    let short = "ends too early";
    if le32(sector, 16) != sector.get(20..).map(|rest| crc(INITIAL, rest)) {
        return Err("checksum is wrong");
    }
    if le64(sector, 8) != Some(number as u64) {
        return Err("belongs into another sector");
    }
    // pv_header: uuid[32], size u64, then two lists of areas, each ended by an offset of zero.
    let header = sector.get(le32(sector, 20).ok_or(short)? as usize..).ok_or("points outside its sector")?;
    let uuid = header.get(..32).and_then(|u| std::str::from_utf8(u).ok()).ok_or("PV UUID is no text")?;
    let pv = LvmUuid::parse(uuid).map_err(|_| "PV UUID is none")?;
    let device_size = le64(header, 32).ok_or(short)?;
    let mut at = 40;
    let data = areas(header, &mut at).ok_or("data areas run over the end")?;
    let metadata = areas(header, &mut at).ok_or("metadata areas run over the end")?;
    Ok(Label { pv, device_size, data, metadata })
}

fn areas(header: &[u8], at: &mut usize) -> Option<Vec<Area>> {
    let mut found = Vec::new();
    while found.len() < MOST_AREAS {
        let area = Area { offset: le64(header, *at)?, size: le64(header, *at + 8)? };
        *at += 16;
        if area.offset == 0 {
            return Some(found);
        }
        found.push(area);
    }
    None
}

#[cfg(test)]
#[path = "label_tests.rs"]
mod tests;
