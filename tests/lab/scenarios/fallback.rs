//! Where iscsid's sockets are out of the daemon's reach: watched and destroyed, and what that costs in seconds.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::fault::{Fault, Server};
use crate::install::UNIT;
use crate::roles::HEALTHY;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock;
use crate::wait::{Look, wait_until};

use super::quick::{end, lose};

/// 3 s of silence, a second between two looks at the socket, 4 s until the session gives up.
const WATCHED: Duration = Duration::from_secs(8);

/// The unit may not look into other processes; each server dies in turn under the writers.
pub fn watched(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    // A socket that has its limit keeps it; a new iscsid makes new ones.
    stage.guest().sh(&format!(
        "mkdir -p /etc/systemd/system/{UNIT}.d
         printf '[Service]\\nCapabilityBoundingSet=~CAP_SYS_PTRACE\\n' > /etc/systemd/system/{UNIT}.d/lab.conf
         systemctl daemon-reload; systemctl restart {UNIT}; systemctl restart iscsid.service"
    ))?;
    stock::wait_for_units(stage.guest(), &[UNIT])?;
    stage.wait_for_redundancy("the restarts")?;
    stage.wait_for_roles(HEALTHY)?;
    for server in [Server::A, Server::B] {
        let limit = stage.guest().user_timeout(server)?;
        ensure!(limit == Some(0), "{server:?}'s socket is not out of reach: {limit:?}");
    }
    let told = stage.guest().sh("mirrorkeeper diagnose || true")?;
    ensure!(told.contains("socket-watched") && told.contains("not permitted"), "nobody says why: {told}");
    stage.start_writers()?;
    for server in [Server::A, Server::B] {
        silent(stage, server)?;
    }
    end(stage)
}

fn silent(stage: &mut Stage<'_>, server: Server) -> Result<()> {
    let promised = wait_until(&format!("the watch over {server:?}"), LOSS_LIMIT, || {
        let estimate = stage.guest().stall_estimate(server)?;
        Ok(if estimate <= WATCHED + Duration::from_secs(1) {
            Look::Done(estimate)
        } else {
            Look::NotYet(format!("{estimate:?}"))
        })
    })?;
    let since = stage.guest().clock()?;
    Fault::Cut.strike(stage.guest(), server)?;
    stage.step(&format!("Cut {server:?}, unlimited"));
    lose(stage)?;
    stage.check_stalls(&format!("Cut {server:?}, unlimited"), since, promised)?;
    let said = stage.guest().sh(&format!("journalctl -b -o cat -u {UNIT} | grep -c 'destroy the socket' || true"))?;
    ensure!(said.trim() != "0", "no socket was destroyed");
    Fault::Cut.undo(stage.guest(), server)?;
    stage.wait_for_redundancy("its return")?;
    stage.wait_for_roles(HEALTHY)
}
