//! The attributes this program writes: two that never wait for the disk, and two that may, for children only.

use super::block;
use super::session::recovery_tmo as parse_recovery_tmo;
use crate::error::{Error, Result};
use crate::{Roots, text};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Sets how long a lost session keeps its I/O waiting, in seconds; `None` = for ever (`off`). Read back afterwards.
///
/// # Errors
/// [`Error::Busy`] while the session is not logged in (`facts/iscsi.md` 1.4); [`Error::Absent`] when it is gone;
/// [`Error::NotKept`] when something else stands there afterwards.
pub fn recovery_tmo(roots: &Roots, sid: u32, seconds: Option<u32>) -> Result<()> {
    let path = roots.sysfs.join(format!("class/iscsi_session/session{sid}/recovery_tmo"));
    // The word, not -1: the kernel parses unsigned.
    let wanted = seconds.map_or_else(|| "off".to_owned(), |s| s.to_string());
    write(&path, &wanted)?;
    let found = text::read(&path)?;
    if parse_recovery_tmo(&found) == Some(seconds) { Ok(()) } else { Err(not_kept(&path, wanted, found)) }
}

/// Makes a disk fail its I/O at once. Accepted from `running` and `offline` only.
///
/// # Errors
/// As the kernel says; EINVAL from any other state. [`Error::NotKept`] when it reads differently afterwards.
pub fn set_offline(roots: &Roots, disk: &str) -> Result<()> {
    set_state(&block(roots, disk)?.join("device/state"), "offline")
}

/// Lets a disk answer again that was set offline. The kernel then asks the disk for its capacity, which may wait: for
/// children only. Refused in any other state: a blocked disk belongs to its session, and older kernels (before 5.17)
/// would unblock it.
///
/// # Errors
/// [`Error::Malformed`] when it is neither offline nor running; else as [`set_offline`].
pub(crate) fn set_running(roots: &Roots, disk: &str) -> Result<()> {
    let path = block(roots, disk)?.join("device/state");
    match text::read(&path)?.as_str() {
        "running" => Ok(()),
        "offline" => set_state(&path, "running"),
        other => Err(text::not(&path, other, "offline")),
    }
}

/// The newline is compulsory (scsi_sysfs.c compares with it).
fn set_state(path: &Path, wanted: &str) -> Result<()> {
    write(path, wanted)?;
    let found = text::read(path)?;
    if found == wanted { Ok(()) } else { Err(not_kept(path, wanted.to_owned(), found)) }
}

/// Has the kernel read a disk's capacity again. May wait for the disk: for children only.
///
/// # Errors
/// As the kernel says.
pub(crate) fn rescan(roots: &Roots, disk: &str) -> Result<()> {
    write(&block(roots, disk)?.join("device/rescan"), "1")
}

/// One write system call with a newline at its end: sysfs takes each call as a whole value.
fn write(path: &Path, value: &str) -> Result<()> {
    let line = format!("{value}\n");
    let write = || fs::OpenOptions::new().write(true).open(path)?.write_all(line.as_bytes());
    write().map_err(|e| Error::io(format!("write {value:?} to {}", path.display()), e))
}

fn not_kept(path: &Path, wanted: String, found: String) -> Error {
    Error::NotKept { path: path.display().to_string(), wanted, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn roots() -> (TempDir, Roots) {
        let dir = TempDir::new();
        dir.sysfs("healthy");
        dir.link("/sys/class/block/sda", "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sda");
        let roots = Roots::under(dir.path());
        (dir, roots)
    }

    #[test]
    fn recovery_tmo_is_written_as_the_kernel_reads_it() {
        let (_dir, roots) = roots();
        let path = roots.sysfs.join("class/iscsi_session/session1/recovery_tmo");
        // A plain file keeps the tail of a longer old value; start from the same length.
        for (seconds, text) in [(Some(15), "15\n"), (None, "off\n")] {
            fs::write(&path, "").unwrap();
            recovery_tmo(&roots, 1, seconds).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_value_that_does_not_stay_is_an_error() {
        let (_dir, roots) = roots();
        fs::write(roots.sysfs.join("class/iscsi_session/session1/recovery_tmo"), "1\n234\n").unwrap();
        assert!(matches!(recovery_tmo(&roots, 1, Some(5)), Err(Error::NotKept { .. })));
    }

    #[test]
    fn a_session_that_is_gone_is_told_apart() {
        let (_dir, roots) = roots();
        assert!(recovery_tmo(&roots, 99, Some(5)).unwrap_err().is_absent());
    }

    #[test]
    fn busy_is_told_apart() {
        assert!(matches!(Error::io("x", std::io::Error::from_raw_os_error(16)), Error::Busy { .. }));
    }

    #[test]
    fn offline_goes_to_the_disk_named_and_nowhere_else() {
        let (_dir, roots) = roots();
        set_offline(&roots, "sda").unwrap_or_else(|e| assert!(matches!(e, Error::NotKept { .. }), "{e}"));
        assert_eq!(fs::read_to_string(roots.sysfs.join("block/sda/device/state")).unwrap(), "offline\n");
        assert_eq!(fs::read_to_string(roots.sysfs.join("block/sdb/device/state")).unwrap(), "running");
        for name in ["../sda", "", ".", "..", "a/b"] {
            assert!(matches!(set_offline(&roots, name), Err(Error::Malformed { .. })), "{name}");
            assert!(matches!(set_running(&roots, name), Err(Error::Malformed { .. })), "{name}");
        }
    }

    #[test]
    fn only_a_disk_that_is_offline_is_set_running() {
        let (_dir, roots) = roots();
        let path = roots.sysfs.join("block/sda/device/state");
        for (found, wanted) in [("offline", "running\n"), ("running\n", "running\n")] {
            fs::write(&path, found).unwrap();
            set_running(&roots, "sda").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
        }
        for state in ["blocked", "transport-offline", "created"] {
            fs::write(&path, state).unwrap();
            let said = set_running(&roots, "sda").unwrap_err().to_string();
            assert!(said.contains(&format!("{state:?} is not offline")), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), state);
        }
    }
}
