//! The edges of mirrorkeeper: thin readers of the kernel and of tools, each beside a pure parser over `&str` or `&[u8]`.
//!
//! Parsers never panic and never guess: what they do not understand becomes an error or a line in `gaps`. Nothing in
//! here decides anything, and nothing that can wait for storage runs in the caller's process: LVM, iscsiadm and reads
//! of block devices are children with a deadline ([`child`], [`probe`]).

mod blockdev;
mod bytes;
pub mod child;
pub mod dm;
mod error;
pub mod iscsiadm;
pub mod lvm;
pub mod netlink;
pub mod observe;
pub mod probe;
mod process;
pub mod scsi;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sysfs;
pub mod tcp;
#[cfg(test)]
mod testing;
mod text;
pub mod throttle;
mod users;

pub use error::{Error, Result};

use std::path::{Path, PathBuf};

/// Where the kernel's file systems are mounted. Tests point them to a directory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/sys`.
    pub sysfs: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/run`, for iscsid's pid file and to see whether udev runs.
    pub run: PathBuf,
}

impl Roots {
    /// `sys`, `proc`, `dev` and `run` below one directory.
    pub fn under(dir: &Path) -> Self {
        Self { sysfs: dir.join("sys"), proc: dir.join("proc"), dev: dir.join("dev"), run: dir.join("run") }
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}
