//! TCP_USER_TIMEOUT on the socket of one iSCSI session: how long sent data may stay unacknowledged until the kernel gives
//! the connection up, by itself, whether or not anybody in user space is awake (`facts/lab.md` D).
//!
//! The socket is iscsid's; open-iscsi has no setting for it and makes a new socket at every reconnect. So it is duplicated
//! out of iscsid, recognised by its own names rather than by its inode (what is held cannot change under us, and no
//! table of another network namespace has to be read), and closed again at once. iscsid's other descriptors are looked
//! at and left alone.
//!
//! Since Linux 5.11 the limit also counts while the peer acknowledges but keeps its window shut: a target that has
//! stopped reading is given up as well, as soon as enough was written to fill its buffer.

use super::connection::Endpoint;
use super::foreign::Process;
use crate::error::Error;
use crate::{Roots, process, text};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout};
use nix::sys::socket::{getsockopt, setsockopt};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::RawFd;

/// Why a session's socket was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Miss {
    /// Nobody holds the sockets: no iscsid runs, or it has just ended.
    #[error("no iscsid is running")]
    NoIscsid,
    /// iscsid has no such socket: the session has reconnected meanwhile, or is none of iscsid's.
    #[error("iscsid (process {pid}) has no socket with {endpoint}")]
    NoSocket {
        /// iscsid's process id.
        pid: u32,
        /// What was looked for.
        endpoint: Endpoint,
    },
    /// No CAP_SYS_PTRACE, a Yama scope of 3, a security module or a system call filter.
    #[error("{0}")]
    NotPermitted(Error),
    /// Linux before 5.6.
    #[error("{0}")]
    Unsupported(Error),
    /// Anything else.
    #[error("{0}")]
    Failed(Error),
}

impl Miss {
    /// Sorts what came back from looking into iscsid.
    fn from_errno(what: String, errno: Errno) -> Self {
        let error = Error::io(what, errno.into());
        match errno {
            Errno::ESRCH => Self::NoIscsid,
            Errno::ENOSYS => Self::Unsupported(error),
            _ => error.into(),
        }
    }
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        if let Error::Denied { .. } = error { Self::NotPermitted(error) } else { Self::Failed(error) }
    }
}

/// Sets the limit in milliseconds and gives it back as the kernel then has it; 0 is the kernel's own arithmetic (many
/// minutes). The option is lost with the socket at the next reconnect.
///
/// # Errors
/// When the socket was not reached, or does not keep the value.
pub fn set_user_timeout(roots: &Roots, endpoint: &Endpoint, ms: u32) -> Result<u32, Miss> {
    let socket = socket(roots, endpoint)?;
    let what = || format!("TCP_USER_TIMEOUT of {endpoint}");
    setsockopt(&socket, TcpUserTimeout, &ms).map_err(|e| Error::io(format!("set {} to {ms}", what()), e.into()))?;
    probe_silence(&socket, ms > 0).map_err(|e| Error::io(format!("set keepalive of {endpoint}"), e.into()))?;
    match get(&socket, endpoint)? {
        found if found == ms => Ok(ms),
        found => Err(Error::NotKept { path: what(), wanted: ms.to_string(), found: found.to_string() }.into()),
    }
}

/// A server may die when it has acknowledged everything and answered nothing: then nothing of ours is under way, and only
/// iSCSI's next NOP, up to 5 s later, would put the limit to work (12.4 s instead of 7 were seen in the lab). Probes of TCP's
/// own, from the first idle second on, are held to the same limit.
fn probe_silence(socket: &TcpStream, on: bool) -> Result<(), Errno> {
    if on {
        setsockopt(socket, TcpKeepIdle, &1)?;
        setsockopt(socket, TcpKeepInterval, &1)?;
    }
    setsockopt(socket, KeepAlive, &on)
}

/// The limit in force in milliseconds, 0 = none.
///
/// # Errors
/// When the socket was not reached.
pub fn user_timeout(roots: &Roots, endpoint: &Endpoint) -> Result<u32, Miss> {
    get(&socket(roots, endpoint)?, endpoint)
}

fn get(socket: &TcpStream, endpoint: &Endpoint) -> Result<u32, Miss> {
    let fail = |e: Errno| Error::io(format!("read TCP_USER_TIMEOUT of {endpoint}"), e.into());
    Ok(getsockopt(socket, TcpUserTimeout).map_err(fail)?)
}

/// Our own descriptor of iscsid's socket with these ends. Two sessions with one portal over different interfaces may have
/// the same port of ours; then nobody can say which is which.
fn socket(roots: &Roots, endpoint: &Endpoint) -> Result<TcpStream, Miss> {
    let pid = process::iscsid(roots)?.ok_or(Miss::NoIscsid)?.pid;
    let iscsid =
        Process::open(pid).map_err(|e| Miss::from_errno(format!("pidfd_open of iscsid (process {pid})"), e))?;
    let mut found: Option<(SocketAddr, TcpStream)> = None;
    for fd in sockets(roots, pid)? {
        let socket = match iscsid.duplicate(fd) {
            Ok(socket) => TcpStream::from(socket),
            // Closed since it was listed.
            Err(Errno::EBADF) => continue,
            Err(e) => {
                return Err(Miss::from_errno(format!("pidfd_getfd of descriptor {fd} of iscsid (process {pid})"), e));
            }
        };
        // What is no IP socket, or not connected, has no such names.
        if let (Ok(local), Ok(peer)) = (socket.local_addr(), socket.peer_addr())
            && endpoint.is(local, peer)
            && let Some((other, _)) = found.replace((local, socket))
            && other != local
        {
            let why = format!("iscsid has two, from {other} and from {local}");
            return Err(Error::malformed(format!("socket with {endpoint}"), why).into());
        }
    }
    found.map(|(_, socket)| socket).ok_or(Miss::NoSocket { pid, endpoint: *endpoint })
}

/// The descriptors of a process that are sockets.
fn sockets(roots: &Roots, pid: u32) -> Result<Vec<RawFd>, Error> {
    let dir = roots.proc.join(pid.to_string()).join("fd");
    let mut sockets = Vec::new();
    for name in text::names(&dir)? {
        match fs::read_link(dir.join(&name)) {
            Ok(to) if to.to_string_lossy().starts_with("socket:[") => sockets.extend(name.parse::<RawFd>()),
            Ok(_) => {}
            // Closed since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(format!("read where {} points to", dir.join(name).display()), e)),
        }
    }
    Ok(sockets)
}

#[cfg(test)]
#[path = "user_timeout_tests.rs"]
mod tests;
