//! uevents of block and iSCSI devices. Group 2 is what udev sends after its rules ran, so that its links are there;
//! without udev group 1, the kernel's own.
//!
//! Formats: `action@devpath` and NUL-separated properties by the kernel (`lib/kobject_uevent.c`), a header with the
//! offset of the properties by udev (systemd `src/libsystemd/sd-device/device-monitor.c`).

use super::socket::{Received, Socket};
use crate::Roots;
use crate::bytes::{array, ne32};
use crate::error::Result;
use nix::sys::socket::SockProtocol;
use std::io;

const KERNEL: u32 = 1;
const UDEV: u32 = 2;
/// Big-endian, behind the prefix.
const UDEV_MAGIC: u32 = 0xfeed_cafe;
/// Where udev's header keeps the offset of the properties.
const PROPERTIES_OFFSET: usize = 16;

/// The parts of a uevent that matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uevent {
    /// `add`, `remove`, `change`, …
    pub action: String,
    /// `block`, `scsi`, …
    pub subsystem: String,
    /// Path below `/sys`.
    pub devpath: String,
}

impl Uevent {
    /// Whether it is about something we look at.
    pub fn wakes(&self) -> bool {
        matches!(self.subsystem.as_str(), "block" | "scsi" | "iscsi_session" | "iscsi_connection")
    }
}

/// A socket on udev's group, or on the kernel's.
#[derive(Debug)]
pub struct Listener(Socket);

impl Listener {
    /// Opens the socket. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open(roots: &Roots) -> Result<Self> {
        // libudev asks the same question the same way.
        let group = if roots.run.join("udev/control").exists() { UDEV } else { KERNEL };
        Socket::open(SockProtocol::NetlinkKObjectUEvent, "uevents", group).map(Self)
    }

    /// Waits until a device we look at changed, or messages were lost. Uevents come in swarms: all that wait are
    /// answered by one return. May be dropped at any time without loss.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn next(&mut self) -> io::Result<()> {
        loop {
            let wakes = match self.0.next().await? {
                Received::Message(bytes) => parse(bytes).is_none_or(|event| event.wakes()),
                Received::Overrun => true,
            };
            if wakes {
                self.0.drain();
                return Ok(());
            }
        }
    }
}

/// Takes a message of either group apart; `None` when it is neither.
pub fn parse(message: &[u8]) -> Option<Uevent> {
    let properties = if message.starts_with(b"libudev\0") {
        if array(message, 8).map(u32::from_be_bytes) != Some(UDEV_MAGIC) {
            return None;
        }
        message.get(ne32(message, PROPERTIES_OFFSET)? as usize..)?
    } else {
        let head = message.split(|b| *b == 0).next()?;
        if !head.contains(&b'@') {
            return None;
        }
        message.get(head.len()..)?
    };
    let mut event = Uevent::default();
    for property in properties.split(|b| *b == 0) {
        let text = String::from_utf8_lossy(property);
        match text.split_once('=') {
            Some(("ACTION", value)) => value.clone_into(&mut event.action),
            Some(("SUBSYSTEM", value)) => value.clone_into(&mut event.subsystem),
            Some(("DEVPATH", value)) => value.clone_into(&mut event.devpath),
            _ => {}
        }
    }
    (!event.action.is_empty() && !event.devpath.is_empty()).then_some(event)
}

#[cfg(test)]
#[path = "uevent_tests.rs"]
mod tests;
