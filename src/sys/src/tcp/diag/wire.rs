//! Requests and answers of sock_diag as bytes (`linux/inet_diag.h`, `linux/tcp.h`, `linux/netlink.h`): native endian,
//! but for addresses and ports.

use super::Endpoint;
use crate::bytes::{array, ne32, ne64};
use nix::libc;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Asks for a last message in any case, so that every answer has the same end.
const ACK: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

const HEADER: usize = 16;
/// `sizeof(struct inet_diag_msg)`: attributes follow.
const INET_DIAG_MSG: usize = 72;
const INET_DIAG_INFO: u16 = 2;

/// States in which a session's socket can have something to send: established, and closed by the peer.
const STATES: u32 = 1 << 1 | 1 << 8;
const NO_COOKIE: u64 = u64::MAX;

/// One socket and no other: should its addresses come to belong to another one, the cookie differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId {
    /// Our end.
    pub local: SocketAddr,
    /// The portal's.
    pub peer: SocketAddr,
    /// Index of the interface that it is bound to, or 0.
    pub interface: u32,
    /// The kernel's number for it.
    pub cookie: u64,
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} from {} to {}", self.cookie, self.local, self.peer)
    }
}

/// How a connection was doing when it was looked at.
///
/// How old the oldest unacknowledged byte is, the kernel does not tell: `last_ack_ms` of a connection that was idle is
/// old with data that are fresh, and `last_sent_ms` begins anew with each retransmission. Two samples tell: as long as
/// `unacked` was never 0 and `acked` did not move, the data of the first are unacknowledged still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Bytes written and not acknowledged, sent or not.
    pub unacked: u32,
    /// Of these, bytes not sent yet: no room in the window. `None` before Linux 4.6.
    pub not_sent: Option<u32>,
    /// Segments sent and not acknowledged.
    pub in_flight: u32,
    /// Bytes acknowledged since the connection was made. `None` before Linux 4.1.
    pub acked: Option<u64>,
    /// Milliseconds since the last segment with an acknowledgement came in, also one that acknowledged nothing new.
    pub last_ack_ms: u32,
    /// Milliseconds since data were last sent, also again.
    pub last_sent_ms: u32,
    /// Times in a row that the retransmission timer ran out.
    pub retransmits: u8,
    /// Probes of a shut window in a row without an answer.
    pub probes: u8,
    /// Segments sent again since the connection was made.
    pub total_retransmits: u32,
}

/// Lists the sockets between these ports. (The local address is not known, so there is no asking for one.)
pub fn list(endpoint: &Endpoint) -> Vec<u8> {
    let unspecified = match endpoint.peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let id = SocketId {
        local: SocketAddr::new(unspecified, endpoint.local_port),
        peer: SocketAddr::new(endpoint.peer, endpoint.peer_port),
        interface: 0,
        cookie: NO_COOKIE,
    };
    request(SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, &id)
}

/// Asks about one socket.
pub fn look(id: &SocketId) -> Vec<u8> {
    request(SOCK_DIAG_BY_FAMILY, REQUEST | ACK, id)
}

/// Destroys one socket.
pub fn destroy(id: &SocketId) -> Vec<u8> {
    request(SOCK_DESTROY, REQUEST | ACK, id)
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn request(kind: u16, flags: u16, id: &SocketId) -> Vec<u8> {
    let family = if id.peer.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let (sequence, sender) = (1_u32, 0_u32);
    let extensions = 1 << (INET_DIAG_INFO - 1);
    let body = [
        &[family as u8, libc::IPPROTO_TCP as u8, extensions, 0][..],
        &STATES.to_ne_bytes(),
        &id.local.port().to_be_bytes(),
        &id.peer.port().to_be_bytes(),
        &address_bytes(id.local.ip()),
        &address_bytes(id.peer.ip()),
        &id.interface.to_ne_bytes(),
        // Two u32, the low one first.
        &(id.cookie as u32).to_ne_bytes(),
        &((id.cookie >> 32) as u32).to_ne_bytes(),
    ]
    .concat();
    let length = (HEADER + body.len()) as u32;
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &sender.to_ne_bytes(),
        &body,
    ]
    .concat()
}

fn address_bytes(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}

/// What the kernel said so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Sockets, with how they are doing where it said so.
    pub sockets: Vec<(SocketId, Option<Sample>)>,
    /// 0 when the request was granted.
    pub errno: i32,
}

impl Answer {
    /// Takes one datagram; `true` with the last.
    ///
    /// # Errors
    /// When it is not what the headers of the kernel promise; what is wrong with it.
    pub fn take(&mut self, mut datagram: &[u8]) -> Result<bool, String> {
        if datagram.is_empty() {
            return Err("an empty datagram".to_owned());
        }
        while !datagram.is_empty() {
            let cut = || format!("a message cut off after {} bytes", datagram.len());
            let length = ne32(datagram, 0).ok_or_else(cut)? as usize;
            let kind = array(datagram, 4).map(u16::from_ne_bytes).ok_or_else(cut)?;
            let body = datagram.get(HEADER..length).ok_or_else(cut)?;
            match kind {
                SOCK_DIAG_BY_FAMILY => self.sockets.push(socket(body)?),
                NLMSG_ERROR | NLMSG_DONE => {
                    let status = array(body, 0).map(i32::from_ne_bytes).ok_or_else(cut)?;
                    self.errno = status.saturating_neg();
                    return Ok(true);
                }
                _ => {}
            }
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

/// `inet_diag_msg` and its attributes.
fn socket(body: &[u8]) -> Result<(SocketId, Option<Sample>), String> {
    let short = || format!("{} bytes are no socket", body.len());
    let family = *body.first().ok_or_else(short)?;
    let attributes = body.get(INET_DIAG_MSG..).ok_or_else(short)?;
    let end = |port_at, address_at| {
        let port = array(body, port_at).map(u16::from_be_bytes).ok_or_else(short)?;
        Ok::<_, String>(SocketAddr::new(address(family, body, address_at)?, port))
    };
    let number = |at| ne32(body, at).ok_or_else(short);
    let id = SocketId {
        local: end(4, 8)?,
        peer: end(6, 24)?,
        interface: number(40)?,
        cookie: u64::from(number(44)?) | u64::from(number(48)?) << 32,
    };
    let unacked = number(60)?;
    Ok((id, attribute(attributes, INET_DIAG_INFO).and_then(|info| sample(unacked, info))))
}

fn address(family: u8, body: &[u8], at: usize) -> Result<IpAddr, String> {
    let address = match i32::from(family) {
        libc::AF_INET => array::<4>(body, at).map(IpAddr::from),
        libc::AF_INET6 => array::<16>(body, at).map(IpAddr::from),
        _ => None,
    };
    address.ok_or_else(|| format!("address family {family} is not IP"))
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(array(attributes, 0)?));
        let kind = u16::from_ne_bytes(array(attributes, 2)?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// From the head of `struct tcp_info`, which grows at its end from kernel to kernel.
fn sample(unacked: u32, info: &[u8]) -> Option<Sample> {
    Some(Sample {
        unacked,
        not_sent: ne32(info, 144),
        in_flight: ne32(info, 24)?,
        acked: ne64(info, 120),
        last_ack_ms: ne32(info, 56)?,
        last_sent_ms: ne32(info, 44)?,
        retransmits: *info.get(2)?,
        probes: *info.get(3)?,
        total_retransmits: ne32(info, 100)?,
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
