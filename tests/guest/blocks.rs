//! Aligned buffers and plain positioned I/O, for files opened with O_DIRECT or without.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// O_DIRECT wants memory aligned to the logical block size; a page is right for every disk.
const ALIGN: usize = 4096;

/// A buffer whose bytes start on a page boundary.
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zero bytes.
    pub fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        Self { memory, start, len }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The bytes, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// Opens for reading, past the page cache if `direct`.
pub fn open_read(path: &Path, direct: bool) -> Result<File> {
    let flags = if direct { nix::libc::O_DIRECT } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path).with_context(|| format!("opening {}", path.display()))
}

/// Opens for writing, created if absent, past the page cache if `direct`.
pub fn open_write(path: &Path, direct: bool) -> Result<File> {
    let flags = if direct { nix::libc::O_DIRECT } else { 0 };
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}
