//! A block device opened for direct reading.

use super::leg::Source;
use crate::error::{Error, Result};
use crate::{Roots, blockdev};
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// What O_DIRECT wants of offsets, lengths and memory, whatever the device's sector size.
const BLOCK: usize = 4096;

nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
nix::ioctl_none!(blkflsbuf, 0x12, 97);

/// An open device.
pub struct Device {
    file: File,
    name: String,
    size: u64,
}

impl Device {
    /// Opens `/dev/NAME` for reading past the page cache. May wait for the device.
    ///
    /// # Errors
    /// As [`blockdev::open`], and when the size cannot be had.
    pub fn open(roots: &Roots, name: &str) -> Result<Self> {
        let file = blockdev::open(roots, name, libc::O_DIRECT)?;
        let mut size = 0;
        // A LUN may have been swapped under the page cache, which is what udev reads. Without the privilege it stays as it
        // is; what is read here does not come from it.
        // SAFETY: BLKFLSBUF takes no argument and the descriptor is open.
        let _ = unsafe { blkflsbuf(file.as_raw_fd()) };
        // SAFETY: BLKGETSIZE64 writes one u64 to the address given, which is that of a live u64.
        unsafe { blkgetsize64(file.as_raw_fd(), &mut size) }
            .map_err(|e| Error::io(format!("size of {name}"), e.into()))?;
        Ok(Self { file, name: name.to_owned(), size })
    }
}

impl Source for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let why = |e: &dyn std::fmt::Display| format!("read {length} bytes at {offset} of {}: {e}", self.name);
        let inside = offset.checked_add(length as u64).is_some_and(|end| end <= self.size);
        if !inside {
            return Err(why(&format!("beyond its end at {}", self.size)));
        }
        let skip = (offset % BLOCK as u64) as usize;
        let wanted = (skip + length).next_multiple_of(BLOCK);
        // One block more than needed, so that an aligned window of the wanted length fits wherever memory begins.
        let mut memory = vec![0_u8; wanted + BLOCK];
        let align = memory.as_ptr().align_offset(BLOCK);
        let window = memory.get_mut(align..align.saturating_add(wanted)).ok_or_else(|| why(&"memory not alignable"))?;
        let got = read_full(&self.file, window, offset - skip as u64).map_err(|e| why(&e))?;
        let bytes = window.get(skip..skip + length).filter(|_| got >= skip + length);
        bytes.map(<[u8]>::to_vec).ok_or_else(|| why(&"ends early"))
    }
}

/// Reads until the window is full or the device ends; the last block of a device need not be whole.
fn read_full(file: &File, window: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < window.len() {
        match file.read_at(&mut window[got..], offset + got as u64) {
            Ok(0) => break,
            // A partial direct read ends on a sector; going on from there keeps sector alignment.
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
