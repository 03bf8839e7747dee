//! Kernel multicasts that say "look again": iSCSI events and uevents. And one message to the kernel.
//!
//! Wake-ups only; the truth is in sysfs (`facts/iscsi.md` 2 and 7). Must never log a payload: login responses may
//! carry CHAP text.

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send};
use std::os::fd::{AsRawFd, OwnedFd};

pub mod iscsi;
mod socket;
pub mod stop;
pub mod uevent;

/// Sends a request to the kernel, on a socket of its own, so that no answer there can be that to another one. The kernel has
/// put its answer there, or the first of them, by the time this returns.
pub(crate) fn ask(protocol: SockProtocol, request: &[u8], what: &str) -> Result<OwnedFd> {
    let fail = |e: Errno| Error::io(what, e.into());
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let kernel = nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(fail)?;
    // Without a destination only the kernel is talked to, and nobody else knows this socket's address.
    send(kernel.as_raw_fd(), request, MsgFlags::empty()).map_err(fail)?;
    Ok(kernel)
}
