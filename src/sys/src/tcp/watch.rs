//! Sockets of sessions as the engine watches them where no limit can be set: found once a connection, then looked at by
//! the kernel's number for them, and destroyed only if nothing was acknowledged since they were last looked at.

use super::connection::{Endpoint, connection};
use super::diag::{self, SocketId};
use crate::error::{Error, Result};
use crate::{Roots, text};
use mirrorkeeper_core::observation::Backlog;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The sockets found so far, by session.
#[derive(Debug, Default)]
pub struct Sockets(Mutex<BTreeMap<u32, (Endpoint, SocketId)>>);

impl Sockets {
    /// What the socket of a session has sent and not seen acknowledged; `None` when there is no such socket (any more).
    ///
    /// # Errors
    /// Why it cannot be watched here: no sock_diag, no right or no support to destroy it, a kernel before 4.1.
    pub fn backlog(&self, roots: &Roots, sid: u32) -> Result<Option<Backlog>> {
        let Some((endpoint, id)) = self.socket(roots, sid)? else { return Ok(None) };
        let Some(sample) = diag::sample(&id)? else {
            self.known().remove(&sid);
            return Ok(None);
        };
        let acked =
            sample.acked.ok_or_else(|| Error::malformed(format!("socket {id}"), "no count of bytes acknowledged"));
        Ok(Some(Backlog { local_port: endpoint.local_port, unacked: sample.unacked, acked: acked? }))
    }

    /// Destroys the socket of a session unless something was acknowledged since it was `seen`, or it is another one now.
    /// Returns whether it did.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn destroy(&self, roots: &Roots, sid: u32, seen: Backlog) -> Result<bool> {
        let silent = |now: Backlog| now.unacked > 0 && (now.local_port, now.acked) == (seen.local_port, seen.acked);
        match (self.backlog(roots, sid)?, self.socket(roots, sid)?) {
            (Some(now), Some((_, id))) if silent(now) => diag::destroy(&id),
            _ => Ok(false),
        }
    }

    /// The socket of a session's present connection.
    fn socket(&self, roots: &Roots, sid: u32) -> Result<Option<(Endpoint, SocketId)>> {
        // What cannot be read of it is among the gaps of every look.
        let Some(endpoint) = connection(roots, sid, &mut Vec::new()).endpoint else { return Ok(None) };
        if let Some(known) = self.known().get(&sid).filter(|(at, _)| *at == endpoint) {
            return Ok(Some(*known));
        }
        let Some(id) = diag::find(&endpoint)? else { return Ok(None) };
        // Better known now than when it is needed.
        diag::can_destroy(&id)?;
        permitted(roots)?;
        self.known().insert(sid, (endpoint, id));
        Ok(Some((endpoint, id)))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, (Endpoint, SocketId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether we may destroy sockets. The kernel looks for the socket first, so there is no asking without destroying one.
fn permitted(roots: &Roots) -> Result<()> {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    let status = text::optional(&roots.proc.join("thread-self/status"))?.unwrap_or_default();
    let rights = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    match rights {
        Some(rights) if rights & CAP_NET_ADMIN == 0 => {
            Err(Error::io("destroy sockets without CAP_NET_ADMIN", Errno::EPERM.into()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
