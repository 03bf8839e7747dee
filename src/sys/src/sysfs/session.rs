//! One iSCSI session from its class directory, with its connection and its disks.

use super::disk;
use crate::error::Result;
use crate::{Roots, tcp, text};
use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::observation::{SessionObs, SessionState};
use std::path::Path;

/// Every session. What cannot be read becomes a line in `gaps` and costs that object only; a session that goes away
/// meanwhile is left out without a word.
pub fn sessions(roots: &Roots, gaps: &mut Vec<String>) -> Vec<SessionObs> {
    let class = roots.sysfs.join("class/iscsi_session");
    let names = text::names(&class).unwrap_or_else(|e| {
        gaps.push(e.to_string());
        Vec::new()
    });
    let mut found = Vec::new();
    for name in names {
        let dir = class.join(&name);
        match name.strip_prefix("session").and_then(|n| n.parse().ok()) {
            None => gaps.push(format!("{}: not session<N>", dir.display())),
            Some(sid) => match session(roots, &dir, sid, gaps) {
                Ok(session) => found.push(session),
                Err(_) if !dir.exists() => {}
                Err(e) => gaps.push(e.to_string()),
            },
        }
    }
    found.sort_by_key(|s: &SessionObs| s.sid);
    found
}

/// Whether a session is logged in at this moment.
pub fn logged_in(roots: &Roots, sid: u32) -> bool {
    let state = text::read(&roots.sysfs.join(format!("class/iscsi_session/session{sid}/state")));
    state.is_ok_and(|word| self::state(&word) == SessionState::LoggedIn)
}

fn session(roots: &Roots, dir: &Path, sid: u32, gaps: &mut Vec<String>) -> Result<SessionObs> {
    let needed = |path: &Path| text::optional(path)?.ok_or_else(|| text::not(path, "", "set"));
    let iqn = needed(&dir.join("targetname"))?;
    let state = state(&text::read(&dir.join("state"))?);
    let iface = text::optional(&dir.join("ifacename"));
    let iface = or_gap(iface, gaps).flatten().unwrap_or_else(|| "default".to_owned());
    // The configured portal: what node records are kept under, unlike the live one after a redirect.
    let connection = roots.sysfs.join(format!("class/iscsi_connection/connection{sid}:0"));
    let address = needed(&connection.join("persistent_address"))?;
    let port = text::parsed(&connection.join("persistent_port"), |t| t.parse().ok(), "a port")?;
    let live = tcp::connection(roots, sid, gaps);
    Ok(SessionObs {
        sid,
        target: TargetKey::new(&iqn, &address, port, &iface),
        state,
        local_port: live.endpoint.map(|endpoint| endpoint.local_port),
        recovery_tmo: or_gap(text::parsed(&dir.join("recovery_tmo"), recovery_tmo, "seconds or off"), gaps).flatten(),
        noop: live.noop_interval.zip(live.noop_timeout).filter(|(interval, limit)| *interval > 0 && *limit > 0),
        disks: disk::disks(&dir.join("device"), gaps),
    })
}

fn state(word: &str) -> SessionState {
    match word {
        "LOGGED_IN" => SessionState::LoggedIn,
        "FAILED" => SessionState::Failed,
        "FREE" => SessionState::Free,
        other => SessionState::Other(other.to_owned()),
    }
}

/// `off` is never; the outer `None` is a value that says neither.
pub(super) fn recovery_tmo(text: &str) -> Option<Option<u32>> {
    if text == "off" { Some(None) } else { text.parse().ok().map(Some) }
}

fn or_gap<T>(read: Result<T>, gaps: &mut Vec<String>) -> Option<T> {
    read.map_err(|e| gaps.push(e.to_string())).ok()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
