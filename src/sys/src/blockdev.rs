//! Opening block devices by kernel name, for reading only. For children: it may wait for the device.

use crate::error::{Error, Result};
use crate::{Roots, sysfs};
use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

/// Opens `/dev/NAME` with these flags besides O_CLOEXEC. Never for writing: udev looks at a device anew when one that
/// wrote to it closes it, and nothing here writes.
///
/// # Errors
/// When the name leaves `/dev`, or it is no block device, or cannot be opened.
pub fn open(roots: &Roots, name: &str, flags: c_int) -> Result<File> {
    if !sysfs::is_kernel_name(name) {
        return Err(Error::malformed(format!("device {name:?}"), "not a kernel name"));
    }
    let path = roots.dev.join(name);
    let fail = |e| Error::io(format!("open {}", path.display()), e);
    let file = File::options().read(true).custom_flags(flags).open(&path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.file_type().is_block_device() {
        return Err(Error::malformed(path.display().to_string(), "no block device"));
    }
    Ok(file)
}

/// Has a device write its cache out (fsync).
///
/// # Errors
/// When it cannot be opened, or says that it did not.
pub fn flush(roots: &Roots, name: &str) -> Result<()> {
    open(roots, name, 0)?.sync_all().map_err(|e| Error::io(format!("flush {name}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn only_block_devices_below_dev_are_opened() {
        let dir = TempDir::new();
        dir.write("dev/file", "");
        dir.write("secret", "");
        for (name, why) in [
            ("file", "no block device"),
            ("../secret", "not a kernel name"),
            ("", "not a kernel name"),
            ("gone", "No such file or directory"),
        ] {
            let said = flush(&Roots::under(dir.path()), name).unwrap_err().to_string();
            assert!(said.contains(why), "{name}: {said}");
        }
    }
}
