//! sock_diag: how the TCP connection under a session is doing, and its end, by way of the kernel's own list of sockets.
//!
//! The way that is left where iscsid's descriptors are out of reach: watch what stays unacknowledged, and destroy the
//! socket on evidence. It sees the sockets of our own network namespace, which is iscsid's on any usual machine. Looking
//! needs no privilege; destroying needs CAP_NET_ADMIN and a kernel with CONFIG_INET_DIAG_DESTROY. The kernel answers
//! within the call that asks, so nothing here waits – but for the first question after boot, which may load `tcp_diag`
//! from the root disk.

mod wire;

pub use wire::{Sample, SocketId};

use super::connection::Endpoint;
use crate::error::{Error, Result};
use crate::netlink;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockProtocol, recv};
use std::io;
use std::os::fd::AsRawFd;
use wire::Answer;

/// The kernel puts no more than this into one datagram of a list; an answer about one socket has some 400 bytes.
const BUFFER: usize = 32 * 1024;

/// Finds a session's socket among those that can carry data; `None` when there is none (any more) in this network
/// namespace. Walks the kernel's whole table: once for each connection, not for each look.
///
/// # Errors
/// [`Error::Absent`] when the kernel has no sock_diag for TCP; when two sockets fit, since one of them may be
/// destroyed on the strength of this.
pub fn find(endpoint: &Endpoint) -> Result<Option<SocketId>> {
    let what = format!("find the socket with {endpoint}");
    let answer = ask(&wire::list(endpoint), &what)?;
    if answer.errno != 0 {
        return Err(refused(what, answer.errno));
    }
    let mut fitting = answer.sockets.into_iter().map(|(id, _)| id).filter(|id| endpoint.is(id.local, id.peer));
    match (fitting.next(), fitting.next()) {
        (Some(one), Some(other)) => Err(Error::malformed(what, format!("both {one} and {other} fit"))),
        (found, _) => Ok(found),
    }
}

/// How a socket is doing; `None` when it is gone.
///
/// # Errors
/// When the kernel does not say.
pub fn sample(id: &SocketId) -> Result<Option<Sample>> {
    let what = format!("look at socket {id}");
    let answer = ask(&wire::look(id), &what)?;
    match (answer.errno, answer.sockets.into_iter().find(|(found, _)| found == id)) {
        (0, Some((_, Some(sample)))) => Ok(Some(sample)),
        (0, _) => Err(Error::malformed(what, "the answer has no tcp_info of it")),
        (errno, _) if gone(errno) => Ok(None),
        (errno, _) => Err(refused(what, errno)),
    }
}

/// Ends a connection as `ss -K` does: its owner sees ECONNABORTED, the peer a reset if one gets through. `false` when
/// that very socket was gone already, whatever has its addresses now.
///
/// # Errors
/// [`Error::Denied`] without CAP_NET_ADMIN; EOPNOTSUPP when the kernel was built without it.
pub fn destroy(id: &SocketId) -> Result<bool> {
    let what = format!("destroy socket {id}");
    match ask(&wire::destroy(id), &what)?.errno {
        0 => Ok(true),
        errno if gone(errno) => Ok(false),
        errno => Err(refused(what, errno)),
    }
}

/// Whether this kernel can destroy sockets: asks for the end of one that never was, with the same addresses.
///
/// # Errors
/// EOPNOTSUPP when it was built without.
pub fn can_destroy(id: &SocketId) -> Result<()> {
    // Cookies count up from 1; `!0` would stand for any.
    destroy(&SocketId { cookie: 0, ..*id }).map(drop)
}

/// No socket of these addresses and this cookie. (That the kernel has no sock_diag sounds the same, but then nobody
/// has found a socket to ask about.)
fn gone(errno: i32) -> bool {
    errno == Errno::ENOENT as i32
}

fn refused(what: String, errno: i32) -> Error {
    Error::io(what, io::Error::from_raw_os_error(errno))
}

/// Asks, and takes the answer apart, which may come in several datagrams.
fn ask(request: &[u8], what: &str) -> Result<Answer> {
    let fail = |e: Errno| Error::io(what, e.into());
    let kernel = netlink::ask(SockProtocol::NetlinkSockDiag, request, what)?;
    let mut buffer = vec![0; BUFFER];
    let mut answer = Answer::default();
    loop {
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(fail)?;
        let datagram = buffer.get(..length).unwrap_or_default();
        if answer.take(datagram).map_err(|why| Error::malformed(what, why))? {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
