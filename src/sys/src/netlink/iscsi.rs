//! NETLINK_ISCSI, group 1: what the kernel tells iscsid, overheard (`facts/iscsi.md` 2).
//!
//! Frame: `nlmsghdr` (type 0) and `struct iscsi_uevent`, of which only the fields of the event at hand are set, then
//! for PDUs their header and data. There is no event for a recovered session; a login response is a good hint.

use super::socket::{Received, Socket};
use crate::bytes::ne32;
use crate::error::Result;
use mirrorkeeper_core::input::IscsiHint;
use nix::sys::socket::SockProtocol;
use std::io;

/// `sizeof(struct nlmsghdr)`.
const NLMSGHDR: usize = 16;
/// `struct iscsi_uevent`: its type is its first word, `r` begins here, and the PDU follows it.
const R: usize = NLMSGHDR + 40;
const PDU: usize = NLMSGHDR + 56;

const RECV_PDU: u32 = 101;
const CONN_ERROR: u32 = 102;
const UNBIND_SESSION: u32 = 105;
/// Below are answers to requests of other programs, multicast to everybody.
const FIRST_EVENT: u32 = 100;
/// The low six bits of a PDU's first byte (RFC 7143 11.2.1.2).
const OPCODE: u8 = 0x3f;
const LOGOUT_RESPONSE: u8 = 0x26;

/// What a message means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Something whose order matters.
    Hint(IscsiHint),
    /// Look at sysfs.
    Wake,
}

/// A socket on group 1. Safe beside iscsid: a slow listener loses its own messages only.
#[derive(Debug)]
pub struct Listener(Socket);

impl Listener {
    /// Opens the socket. Needs a tokio runtime, CAP_NET_ADMIN and the host's network namespace.
    ///
    /// # Errors
    /// [`crate::Error::Absent`] when the iSCSI module is not loaded: try again later.
    pub fn open() -> Result<Self> {
        Socket::open(SockProtocol::NetlinkISCSI, "iSCSI events", 1).map(Self)
    }

    /// Waits until something is worth telling; never returns an empty list. May be dropped at any time without loss.
    ///
    /// # Errors
    /// When the socket breaks. Lost messages are no error but [`IscsiHint::Overrun`].
    pub async fn next(&mut self) -> io::Result<Vec<Notice>> {
        loop {
            let notices = match self.0.next().await? {
                Received::Message(bytes) => parse(bytes),
                Received::Overrun => vec![Notice::Hint(IscsiHint::Overrun)],
            };
            if !notices.is_empty() {
                return Ok(notices);
            }
        }
    }
}

/// Takes a datagram apart. A frame that is cut short is read as far as it goes; one too short to tell is a wake.
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let Some(length) = ne32(rest, 0).map(|n| n as usize).filter(|n| *n >= NLMSGHDR) else {
            notices.push(Notice::Wake);
            break;
        };
        let frame = rest.get(..length).unwrap_or(rest);
        notices.extend(notice(frame));
        // Frames are aligned to four bytes.
        rest = length.checked_next_multiple_of(4).and_then(|next| rest.get(next..)).unwrap_or_default();
    }
    notices
}

fn notice(frame: &[u8]) -> Option<Notice> {
    let Some(event) = ne32(frame, NLMSGHDR) else { return Some(Notice::Wake) };
    if event < FIRST_EVENT {
        return None;
    }
    let hint = || {
        let sid = ne32(frame, R)?;
        match event {
            // r: sid, cid, error
            CONN_ERROR => Some(IscsiHint::ConnError { sid, code: ne32(frame, R + 8)? }),
            UNBIND_SESSION => Some(IscsiHint::Unbind { sid }),
            RECV_PDU if frame.get(PDU)? & OPCODE == LOGOUT_RESPONSE => Some(IscsiHint::LogoutResponse { sid }),
            _ => None,
        }
    };
    Some(hint().map_or(Notice::Wake, Notice::Hint))
}

#[cfg(test)]
#[path = "iscsi_tests.rs"]
mod tests;
