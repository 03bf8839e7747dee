//! The kernel's live throttles of copies and comparisons. Read from and written to memory: neither waits for storage.

use crate::error::{Error, Result};
use crate::{Roots, text};
use mirrorkeeper_core::op::Throttle;
use std::path::PathBuf;

/// Where a throttle is below these roots.
fn path(roots: &Roots, throttle: Throttle) -> PathBuf {
    let path = throttle.path();
    match (path.strip_prefix("/proc/"), path.strip_prefix("/sys/")) {
        (Some(rest), _) => roots.proc.join(rest),
        (_, Some(rest)) => roots.sysfs.join(rest),
        _ => PathBuf::from(path),
    }
}

/// A throttle as it is now, in its own unit.
///
/// # Errors
/// [`Error::Absent`] while the module that has it is not loaded; else as read.
pub fn read(roots: &Roots, throttle: Throttle) -> Result<u32> {
    text::parsed(&path(roots, throttle), |text| text.parse().ok(), "a number")
}

/// Sets a throttle and reads it back.
///
/// # Errors
/// As the kernel says; [`Error::NotKept`] when something else stands there afterwards.
pub fn write(roots: &Roots, throttle: Throttle, value: u32) -> Result<u32> {
    let path = path(roots, throttle);
    let what = || format!("write {value} to {}", path.display());
    std::fs::write(&path, format!("{value}\n")).map_err(|source| Error::io(what(), source))?;
    let found = read(roots, throttle)?;
    if found == value {
        Ok(found)
    } else {
        let path = path.display().to_string();
        Err(Error::NotKept { path, wanted: value.to_string(), found: found.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn a_throttle_is_written_read_back_and_named_when_it_is_missing() {
        let dir = TempDir::new();
        let roots = Roots::under(dir.path());
        assert!(matches!(read(&roots, Throttle::Raid), Err(Error::Absent { .. })));
        for throttle in [Throttle::Raid, Throttle::Mirror] {
            dir.write(throttle.path(), "200000\n");
            assert_eq!(read(&roots, throttle).unwrap(), 200_000);
            assert_eq!(write(&roots, throttle, 50).unwrap(), 50);
            dir.write(throttle.path(), "fast\n");
            let error = read(&roots, throttle).unwrap_err().to_string();
            assert!(error.contains("fast"), "{error}");
        }
    }
}
