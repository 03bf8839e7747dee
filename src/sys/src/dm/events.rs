//! Wake-ups by device-mapper: a leg failed, a sync action ended, a table was swapped, a device came or went.
//!
//! The start of a recovery and its progress raise none (`facts/lvm.md` 2, `facts/lab.md` 1).

use super::Control;
use crate::Roots;
use crate::error::{Error, Result};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for device-mapper events on a control node of its own.
#[derive(Debug)]
pub struct Events(AsyncFd<Control>);

impl Events {
    /// Opens and arms the control node. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Absent`] when device-mapper is not in this kernel; otherwise as [`Control::arm_poll`].
    pub fn open(roots: &Roots) -> Result<Self> {
        let control = Control::open(roots)?;
        control.arm_poll()?;
        // SAFETY: `Control` owns its descriptor and neither closes nor replaces it before it is dropped, which
        // `AsyncFd` does last.
        let control = unsafe { AsyncFd::register_with_interest(control, Interest::READABLE) };
        Ok(Self(control.map_err(|e| Error::io("watch device-mapper", e.into()))?))
    }

    /// Arms the node again. To be called before each look at the devices, so that what happens during the look wakes
    /// once more.
    ///
    /// # Errors
    /// As [`Control::arm_poll`]: open anew.
    pub fn arm(&self) -> Result<()> {
        self.0.get_ref().arm_poll()
    }

    /// Waits for an event since the node was armed. May be dropped at any time without loss.
    ///
    /// # Errors
    /// When the node cannot be watched any more: open anew.
    pub async fn next(&mut self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[tokio::test]
    async fn without_device_mapper_there_is_nothing_to_wait_for() {
        let dir = TempDir::new();
        assert!(Events::open(&Roots::under(dir.path())).unwrap_err().is_absent());
    }
}
