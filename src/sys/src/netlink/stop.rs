//! ISCSI_UEVENT_STOP_CONN: tells the kernel that a connection was stopped for recovery, which is what it waits for before it
//! lets another be bound. iscsid says so itself, but for the case of open-iscsi #387.
//!
//! Sent for a connection that has failed, and for no other: one that is up would be cut without iscsid knowing. A second
//! message changes nothing (6.1: six of them a second apart left the recovery timer as it was, and the session came back).

use crate::bytes::ne32;
use crate::error::{Error, Result};
use crate::{Roots, text};
use nix::sys::socket::{MsgFlags, SockProtocol, recv};
use std::os::fd::AsRawFd;
use std::path::Path;

/// `struct nlmsghdr`, then `struct iscsi_uevent` (`iscsi_if.h`): type, error, transport, two unions.
const NLMSGHDR: usize = 16;
const LENGTH: usize = NLMSGHDR + 56;
const IFERROR: usize = NLMSGHDR + 4;
const RETCODE: usize = NLMSGHDR + 40;

const STOP_CONN: u32 = 18;
/// Type of an answer that is an error.
const IF_ERROR: u32 = 103;
const STOP_CONN_RECOVER: u32 = 3;

/// The transport that iscsid binds sockets for; with another one there is no such trap.
const TRANSPORT: &str = "iscsi_tcp";

/// Tells the kernel that the failed connection of a session was stopped. Needs CAP_SYS_ADMIN. Waits for other requests to the
/// transport, which may wait for error handling, but for no disk.
///
/// # Errors
/// [`Error::Malformed`] when the connection has not failed, or is none of iscsi_tcp; [`Error::Absent`] when it is gone; else
/// as the kernel says.
pub fn failed(roots: &Roots, sid: u32) -> Result<()> {
    ask(&message(roots, sid)?, &format!("stop connection {sid}:0"))
}

/// The message, if the connection is one that may be stopped.
fn message(roots: &Roots, sid: u32) -> Result<[u8; LENGTH]> {
    let state = roots.sysfs.join(format!("class/iscsi_connection/connection{sid}:0/state"));
    is(&state, "failed")?;
    let hosts = roots.sysfs.join(format!("class/iscsi_session/session{sid}/device/../scsi_host"));
    let host = text::names(&hosts)?.pop().unwrap_or_default();
    is(&hosts.join(host).join("proc_name"), TRANSPORT)?;
    let handle = |text: &str| text.parse().ok();
    let transport = text::parsed(&roots.sysfs.join("class/iscsi_transport/tcp/handle"), handle, "a handle")?;
    // Once more, since from here on nothing may take time.
    is(&state, "failed")?;
    Ok(request(transport, sid))
}

fn is(path: &Path, wanted: &str) -> Result<()> {
    text::parsed(path, |found| (found == wanted).then_some(()), wanted)
}

/// The message: transport, session, connection 0, flag.
fn request(transport: u64, sid: u32) -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u32::try_from(LENGTH).unwrap_or_default().to_ne_bytes());
    put(4, &u16::try_from(STOP_CONN).unwrap_or_default().to_ne_bytes());
    put(NLMSGHDR, &STOP_CONN.to_ne_bytes());
    put(NLMSGHDR + 8, &transport.to_ne_bytes());
    put(NLMSGHDR + 16, &sid.to_ne_bytes());
    put(NLMSGHDR + 32, &STOP_CONN_RECOVER.to_ne_bytes());
    message
}

/// The kernel answers within the call that asks, to the one who asked.
fn ask(request: &[u8], what: &str) -> Result<()> {
    let kernel = super::ask(SockProtocol::NetlinkISCSI, request, what)?;
    let mut answer = [0; LENGTH];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(|e| Error::io(what, e.into()))?;
    match error_in(answer.get(..length).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(error) => Err(Error::io(what, std::io::Error::from_raw_os_error(error.wrapping_neg()))),
        None => Err(Error::malformed(what, format!("an answer of {length} bytes, or to something else"))),
    }
}

/// What an answer says went wrong, as a negative error number; 0 = nothing.
fn error_in(answer: &[u8]) -> Option<i32> {
    let error = match ne32(answer, NLMSGHDR)? {
        STOP_CONN => ne32(answer, RETCODE)?,
        IF_ERROR => ne32(answer, IFERROR)?,
        _ => return None,
    };
    Some(error.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use proptest::prelude::*;

    /// Sent and answered on 6.1.
    const HANDLE: u64 = 18_446_744_072_642_527_328;

    fn machine() -> (TempDir, Roots) {
        let dir = TempDir::new();
        dir.link("/sys/class/iscsi_session/session2/device", "/sys/devices/platform/host3/session2");
        dir.write("sys/devices/platform/host3/session2/uevent", "");
        dir.write("sys/devices/platform/host3/scsi_host/host3/proc_name", "iscsi_tcp\n");
        dir.write("sys/class/iscsi_transport/tcp/handle", &format!("{HANDLE}\n"));
        dir.write("sys/class/iscsi_connection/connection2:0/state", "failed\n");
        let roots = Roots::under(dir.path());
        (dir, roots)
    }

    #[test]
    fn the_message_is_the_one_that_the_kernel_took() {
        let words: Vec<u32> = request(HANDLE, 2).chunks(4).map(|word| ne32(word, 0).unwrap()).collect();
        let handle = [3_227_943_008, u32::MAX];
        let wanted = [72, 18, 0, 0, 18, 0, handle[0], handle[1], 2, 0, 0, 0, 3, 0, 0, 0, 0, 0];
        assert_eq!(words, wanted);
    }

    #[test]
    fn only_a_failed_connection_of_iscsi_tcp_is_stopped() {
        let (dir, roots) = machine();
        for (path, value) in [
            ("sys/class/iscsi_connection/connection2:0/state", "up"),
            ("sys/class/iscsi_connection/connection2:0/state", "bound"),
            ("sys/devices/platform/host3/scsi_host/host3/proc_name", "bnx2i"),
            ("sys/class/iscsi_transport/tcp/handle", "-1"),
        ] {
            let before = std::fs::read_to_string(dir.path().join(path)).unwrap();
            dir.write(path, value);
            let refused = message(&roots, 2).unwrap_err();
            assert!(matches!(refused, Error::Malformed { .. }) && refused.to_string().contains(value), "{refused}");
            dir.write(path, &before);
        }
        assert!(message(&roots, 3).unwrap_err().is_absent());
        // Nothing is sent here: the machine that runs this may have such a session.
        assert_eq!(message(&roots, 2).unwrap(), request(HANDLE, 2));
    }

    #[test]
    fn an_answer_says_what_went_wrong() {
        let answer = |kind: u32, at: usize, error: i32| {
            let mut bytes = request(HANDLE, 2);
            bytes[NLMSGHDR..NLMSGHDR + 4].copy_from_slice(&kind.to_ne_bytes());
            bytes[at..at + 4].copy_from_slice(&error.to_ne_bytes());
            error_in(&bytes)
        };
        assert_eq!(answer(STOP_CONN, RETCODE, 0), Some(0));
        assert_eq!(answer(STOP_CONN, RETCODE, -22), Some(-22));
        assert_eq!(answer(IF_ERROR, IFERROR, -1), Some(-1));
        assert_eq!(answer(101, IFERROR, 0), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = error_in(&bytes);
        }
    }
}
