//! The bytes of device-mapper ioctls: requests built, answers taken apart, with nothing of the kernel in between.
//!
//! Layout from `include/uapi/linux/dm-ioctl.h`; the fields after each name in a device list from `list_devices()` in
//! `drivers/md/dm-ioctl.c`. The kernel aligns records relative to the start of the buffer, so byte offsets suffice.

use crate::bytes::{ne32, ne64, until_nul};
use crate::error::{Error, Result};
use mirrorkeeper_core::ids::DevNo;

/// `sizeof(struct dm_ioctl)`.
pub const HEADER: usize = 312;
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const OPEN_COUNT: usize = 24;
const FLAGS: usize = 28;
const EVENT_NR: usize = 32;
const DEV: usize = 40;
const NAME: usize = 48;
const UUID: usize = 176;
/// `sizeof(struct dm_target_spec)`: start, length, status, next, type.
const TARGET_SPEC: usize = 40;

/// The device is suspended.
pub const SUSPENDED: u32 = 1 << 1;
/// Ask for the table instead of the status.
pub const STATUS_TABLE: u32 = 1 << 4;
/// The answer did not fit.
pub const BUFFER_FULL: u32 = 1 << 8;
/// Do not have the target commit its metadata for the sake of a status line.
pub const NOFLUSH: u32 = 1 << 11;
/// Ask for uuids in the device list (Linux 5.13; ignored before).
pub const WITH_UUID: u32 = 1 << 14;
/// In a list record: a uuid follows / the device has none. Neither: the kernel does not tell.
const HAS_UUID: u32 = 1;
const HAS_NO_UUID: u32 = 2;

/// What every answer starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the interface in the kernel.
    pub version: [u32; 3],
    /// Where the answer begins and ends in the buffer.
    pub data: std::ops::Range<usize>,
    /// Number of target records.
    pub target_count: u32,
    /// How often the device is open.
    pub open_count: u32,
    /// Flags of the answer.
    pub flags: u32,
    /// Events of this device.
    pub event_nr: u32,
    /// Device number.
    pub dev: DevNo,
    /// Name.
    pub name: String,
    /// Uuid, or empty.
    pub uuid: String,
}

/// One device of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Number.
    pub dev: DevNo,
    /// Name.
    pub name: String,
    /// Events so far; `None` on kernels before 4.14.
    pub event_nr: Option<u32>,
    /// Uuid, empty when it has none; `None` when the kernel does not list uuids.
    pub uuid: Option<String>,
}

/// One line of a table or of a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// First sector.
    pub start: u64,
    /// Number of sectors.
    pub length: u64,
    /// Target type.
    pub kind: String,
    /// Everything after the type.
    pub params: String,
}

/// A zeroed buffer of `size` bytes (at least a header) with the request written into it.
pub fn request(size: usize, flags: u32, dev: Option<DevNo>) -> Vec<u8> {
    let size = size.max(HEADER);
    let mut buffer = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| buffer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &4_u32.to_ne_bytes());
    put(DATA_SIZE, &u32::try_from(size).unwrap_or(u32::MAX).to_ne_bytes());
    put(DATA_START, &(HEADER as u32).to_ne_bytes());
    put(FLAGS, &flags.to_ne_bytes());
    if let Some(dev) = dev {
        put(DEV, &encode(dev).to_ne_bytes());
    }
    buffer
}

/// Takes the header of an answer apart. The data range always lies inside the buffer.
///
/// # Errors
/// When the buffer is shorter than a header, or the header points outside it.
pub fn header(buffer: &[u8]) -> Result<Header> {
    let read = || {
        let word = |at| ne32(buffer, at);
        let start = usize::try_from(word(DATA_START)?).ok()?;
        let end = usize::try_from(word(DATA_SIZE)?).ok()?.min(buffer.len()).max(start);
        buffer.get(HEADER - 1)?;
        buffer.get(start..end)?;
        Some(Header {
            version: [word(0)?, word(4)?, word(8)?],
            data: start..end,
            target_count: word(TARGET_COUNT)?,
            open_count: word(OPEN_COUNT)?,
            flags: word(FLAGS)?,
            event_nr: word(EVENT_NR)?,
            dev: decode(ne64(buffer, DEV)?),
            name: text(buffer.get(NAME..UUID)?, 0)?,
            uuid: text(buffer.get(UUID..HEADER)?, 0)?,
        })
    };
    read().ok_or_else(|| Error::malformed("device-mapper answer", "header points outside its buffer"))
}

/// Takes the data of a `DM_LIST_DEVICES` answer apart.
///
/// # Errors
/// When a record lies outside the data or is not terminated.
pub fn list(data: &[u8]) -> Result<Vec<Listed>> {
    let bad = |at: usize| Error::malformed("device-mapper list", format!("record at byte {at} runs over the end"));
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let (listed, next) = listed(data, at).ok_or_else(|| bad(at))?;
        let Some(listed) = listed else { return Ok(found) };
        found.push(listed);
        if next == 0 {
            return Ok(found);
        }
        // A record is longer than its fixed part, so a smaller step could only run in circles.
        at = Some(next as usize).filter(|n| *n > 12).and_then(|n| at.checked_add(n)).ok_or_else(|| bad(at))?;
    }
}

/// One record: u64 dev, u32 next, name, then aligned to 8: u32 event number, u32 flags, uuid.
fn listed(data: &[u8], at: usize) -> Option<(Option<Listed>, u32)> {
    if data.is_empty() {
        return Some((None, 0));
    }
    let dev = ne64(data, at)?;
    if dev == 0 {
        return Some((None, 0));
    }
    let next = ne32(data, at.checked_add(8)?)?;
    let name_at = at.checked_add(12)?;
    let name = until_nul(data, name_at)?;
    let after = name_at.checked_add(name.len())?.checked_add(1)?.checked_next_multiple_of(8)?;
    // Kernels before 4.14 go straight on to the next record here.
    let has_event = next == 0 || after < at.checked_add(next as usize)?;
    let event_nr = if has_event { ne32(data, after) } else { None };
    let uuid = match ne32(data, after.checked_add(4)?).filter(|_| has_event).unwrap_or(0) {
        flags if flags & HAS_UUID != 0 => Some(text(data, after.checked_add(8)?)?),
        flags if flags & HAS_NO_UUID != 0 => Some(String::new()),
        _ => None,
    };
    let name = String::from_utf8_lossy(name).into_owned();
    Some((Some(Listed { dev: decode(dev), name, event_nr, uuid }), next))
}

/// Takes the data of a `DM_TABLE_STATUS` answer apart.
///
/// # Errors
/// When a record lies outside the data or is not terminated.
pub fn lines(data: &[u8], count: u32) -> Result<Vec<Line>> {
    let mut found = Vec::new();
    let mut at = 0_usize;
    for _ in 0..count {
        let (line, next) = line(data, at).ok_or_else(|| {
            Error::malformed("device-mapper status", format!("target at byte {at} runs over the end"))
        })?;
        found.push(line);
        // Offset from the start of the data to the next record.
        at = next as usize;
    }
    Ok(found)
}

fn line(data: &[u8], at: usize) -> Option<(Line, u32)> {
    let kind_at = at.checked_add(24)?;
    let spec = data.get(kind_at..kind_at.checked_add(16)?)?;
    let kind = spec.split(|b| *b == 0).next().unwrap_or(spec);
    let line = Line {
        start: ne64(data, at)?,
        length: ne64(data, at + 8)?,
        kind: String::from_utf8_lossy(kind).into_owned(),
        params: text(data, at.checked_add(TARGET_SPEC)?)?,
    };
    Some((line, ne32(data, at + 20)?))
}

/// Takes the data of a `DM_TABLE_DEPS` answer apart: u32 count, u32 padding, u64 numbers.
///
/// # Errors
/// When it names more devices than it holds.
pub fn deps(data: &[u8]) -> Result<Vec<DevNo>> {
    // A device that has no live table yet has no answer.
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let bad = || Error::malformed("device-mapper deps", "names more devices than it holds");
    let count = ne32(data, 0).ok_or_else(bad)? as usize;
    let numbers = data.get(8..).unwrap_or_default();
    if count > numbers.len() / 8 {
        return Err(bad());
    }
    Ok(numbers.chunks_exact(8).take(count).filter_map(|c| ne64(c, 0)).map(decode).collect())
}

fn text(bytes: &[u8], at: usize) -> Option<String> {
    until_nul(bytes, at).map(|b| String::from_utf8_lossy(b).into_owned())
}

/// `new_decode_dev()` of `include/linux/kdev_t.h`.
fn decode(dev: u64) -> DevNo {
    // The kernel uses 32 bits of it: 12 for the major number, 20 for the minor one.
    let dev = (dev & u64::from(u32::MAX)) as u32;
    DevNo { major: (dev & 0xfff00) >> 8, minor: (dev & 0xff) | ((dev >> 12) & 0xfff00) }
}

/// `new_encode_dev()`.
fn encode(dev: DevNo) -> u64 {
    u64::from((dev.minor & 0xff) | ((dev.major & 0xfff) << 8) | ((dev.minor & 0xfff00) << 12))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
