//! A listening netlink socket for tokio: bound to one multicast group, never sending.

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Larger than any uevent (2 KiB by the kernel, 8 KiB with udev's properties) or iSCSI event (48 bytes of header and
/// at most 8 KiB of login text). Anything longer is cut, which the parsers stand.
const BUFFER: usize = 16 * 1024;

#[derive(Debug)]
pub struct Socket {
    fd: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// One multicast message, perhaps cut at its end.
    Message(&'a [u8]),
    /// The kernel had to drop messages (ENOBUFS).
    Overrun,
}

impl Socket {
    /// Opens and binds a socket. Needs a tokio runtime.
    pub fn open(protocol: SockProtocol, what: &str, group: u32) -> Result<Self> {
        let fail = |e: Errno| Error::io(format!("listen to {what}"), e.into());
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(fail)?;
        // Port 0: the kernel picks one. iscsid uses its process id.
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, group)).map_err(fail)?;
        // SAFETY: the descriptor is open, owned by the `OwnedFd` given, and closed only when that is dropped.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        let fd = fd.map_err(|e| Error::io(format!("watch {what}"), e.into()))?;
        Ok(Self { fd, buffer: vec![0; BUFFER] })
    }

    /// Waits for the next multicast. Unicasts are dropped: any process may send those, and nobody has to.
    pub async fn next(&mut self) -> io::Result<Received<'_>> {
        loop {
            let mut ready = self.fd.readable().await?;
            let got =
                ready.try_io(|fd| recvfrom::<NetlinkAddr>(fd.as_raw_fd(), &mut self.buffer).map_err(io::Error::from));
            match got {
                Ok(Ok((length, Some(from)))) if from.groups() != 0 => {
                    let length = length.min(self.buffer.len());
                    return Ok(Received::Message(&self.buffer[..length]));
                }
                Ok(Err(e)) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => return Ok(Received::Overrun),
                Ok(Err(e)) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                // A unicast, a signal, or nothing there after all.
                _ => {}
            }
        }
    }

    /// Throws away what else is waiting, up to a limit: one look answers for all of it.
    pub fn drain(&mut self) {
        for _ in 0..MOST_DRAINED {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            match nix::sys::socket::recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

/// So that a storm cannot keep the caller in here.
const MOST_DRAINED: usize = 1024;
