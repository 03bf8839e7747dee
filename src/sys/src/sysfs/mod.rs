//! iSCSI sessions and their SCSI disks as sysfs shows them, and the attributes that this program writes.
//!
//! Reads attributes only and never waits for storage. Never reads the CHAP attributes. Layout, vocabulary and the
//! odd ends (`(null)`, ENOTCONN, `off`) are in `facts/iscsi.md` 1; all but `state` and `targetname` are optional.

mod disk;
mod session;
mod write;

pub use session::{logged_in, sessions};
pub use write::{recovery_tmo as write_recovery_tmo, set_offline};
pub(crate) use write::{rescan, set_running};

use crate::error::{Error, Result};
use crate::{Roots, text};
use mirrorkeeper_core::ids::DevNo;
use std::path::{Path, PathBuf};

/// Number of a block device by its kernel name.
///
/// # Errors
/// [`Error::Absent`] when there is no such device.
pub fn block_number(roots: &Roots, name: &str) -> Result<DevNo> {
    number(&block(roots, name)?)
}

/// The `block` class directory of a kernel name: whole disks, partitions and dm devices alike.
pub(crate) fn block(roots: &Roots, name: &str) -> Result<PathBuf> {
    if !is_kernel_name(name) {
        return Err(Error::malformed(format!("device {name:?}"), "not a kernel name"));
    }
    Ok(roots.sysfs.join("class/block").join(name))
}

/// A name that stays inside the directory it is joined to. (The kernel writes `!` for a slash.)
pub(crate) fn is_kernel_name(name: &str) -> bool {
    !name.is_empty() && name.len() < 64 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn number(block: &Path) -> Result<DevNo> {
    text::parsed(&block.join("dev"), |t| DevNo::parse(t).ok(), "major:minor")
}
