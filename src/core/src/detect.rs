//! How soon a dead server is noticed: TCP_USER_TIMEOUT on the session's own socket, which the kernel acts upon by itself even
//! while we are dead (`facts/lab.md` D). iscsid makes a new socket at every reconnect, so the limit is put there again after
//! each. Only sessions that may be given up carry one; the others are better off waiting than broken.

use crate::ids::TargetKey;
use crate::ledger::Connection;
use crate::observation::{Detect, ProcessObs};
use crate::op::Op;
use crate::roles::Roles;
use crate::session::{Target, Targets};
use crate::settings::Settings;
use crate::silence;
use crate::time::Mono;
use crate::words::TimeoutReason;
use std::time::Duration;

/// What a socket was found to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is: another connection or another iscsid has another socket.
    pub socket: Socket,
    /// What it has.
    pub detect: Detect,
}

/// One socket of one session.
pub type Socket = (Connection, Option<ProcessObs>);

/// The limit that a role asks for in milliseconds; 0 = none.
pub fn wanted(role: TimeoutReason, settings: &Settings) -> u32 {
    match role {
        TimeoutReason::Quick | TimeoutReason::Anchor => {
            u32::try_from(settings.detect_timeout.as_millis()).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

/// Sockets whose limit is not what it should be, or not known.
pub fn adjust(roles: &Roles, targets: &Targets, settings: &Settings) -> Vec<Op> {
    let ours = |role: &TimeoutReason| !matches!(role, TimeoutReason::Unmanaged | TimeoutReason::Multipath);
    let due = |(key, role): (&TargetKey, &TimeoutReason)| {
        let target = targets.all.get(key).filter(|target| target.logged_in())?;
        let millis = wanted(*role, settings);
        // Where nobody is quick nobody has ever been given a limit.
        if settings.quick_timeout == 0 && target.detect.is_none() {
            return None;
        }
        match known(target, targets.iscsid())? {
            Detect::InForce(now) if *now == millis => None,
            // Nothing is there that we could have put there.
            Detect::Unavailable(_) => None,
            _ => Some(Op::SetDetect { sid: target.sid?, target: key.clone(), millis }),
        }
    };
    roles.iter().filter(|(_, role)| ours(role)).filter_map(due).collect()
}

/// What the socket of a session has now; `NoSocket` while that is not known. `None` without a connection.
fn known(target: &Target, iscsid: Option<ProcessObs>) -> Option<&Detect> {
    let socket = (target.connection?, iscsid);
    let found = target.detect.as_ref().filter(|found| found.socket == socket);
    Some(found.map_or(&Detect::NoSocket, |found| &found.detect))
}

/// The limit in force on the socket of a session, if there is one.
pub fn in_force(target: &Target, iscsid: Option<ProcessObs>) -> Option<Duration> {
    match known(target, iscsid)? {
        Detect::InForce(millis) if *millis > 0 => Some(Duration::from_millis(u64::from(*millis))),
        _ => None,
    }
}

/// Whether the socket of a session takes no limit from us.
pub fn beyond_reach(target: &Target, iscsid: Option<ProcessObs>) -> bool {
    matches!(known(target, iscsid), Some(Detect::Unavailable(_)))
}

/// Why the socket of a session was last found to take no limit.
pub fn unavailable(target: &Target) -> Option<&str> {
    match &target.detect.as_ref()?.detect {
        Detect::Unavailable(why) => Some(why),
        Detect::InForce(_) | Detect::NoSocket => None,
    }
}

/// iSCSI's own watch where the kernel does not tell: a NOP every 5 s, 5 s for an answer.
const NOOP: (u32, u32) = (5, 5);

/// Seconds until a dead server is noticed at the latest, as long as somebody writes.
pub fn seconds(target: &Target, iscsid: Option<ProcessObs>, settings: &Settings, now: Mono) -> f64 {
    let (interval, timeout) = target.noop.unwrap_or(NOOP);
    let noop = f64::from(interval) + f64::from(timeout);
    let limit = in_force(target, iscsid).map(|limit| limit.as_secs_f64());
    limit.or_else(|| silence::seconds(target, settings, now)).map_or(noop, |limit| limit.min(noop))
}
