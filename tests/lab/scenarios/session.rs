//! Sessions in the hands of people: a logout and login, a restart of iscsid.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::check::{Errors, final_check};
use crate::fault::Server;
use crate::signals;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// The disk comes back under a new name, while dm still holds the old one.
pub fn logout_login(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    let before = stage.guest().disk_of('b')?;
    let node = Server::B.node();
    stage.guest().sh(&format!("{node} --logout"))?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.guest().sh(&format!("{node} --login"))?;
    stage.wait_for_redundancy("the login")?;
    let after = stage.guest().disk_of('b')?;
    stage.figure(format!("{before} became {after}"));
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}

/// How long after the restart the mirrors are watched: the second session is bounced some seconds after the first.
const WATCH: Duration = Duration::from_secs(30);

/// Both sessions are bounced for some seconds; that is no loss and must not look like one.
pub fn iscsid_restart(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.guest().sh("systemctl restart iscsid.service")?;
    let start = Instant::now();
    let mut lost = None;
    wait_until("both sessions to be logged in", LOSS_LIMIT, || {
        let states = stage.guest().sh("cat /sys/class/iscsi_session/session*/state")?;
        for volume in VOLUMES {
            let status = stage.guest().dm_status(volume)?;
            if status.health != "AA" {
                lost.get_or_insert_with(|| format!("{volume} lost a leg: {status:?}"));
            }
        }
        let all_in = states.split_whitespace().all(|state| state == "LOGGED_IN");
        Ok(if all_in && start.elapsed() > WATCH { Look::Done(()) } else { Look::NotYet(states) })
    })?;
    if let Some(lost) = lost {
        bail!(lost);
    }
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["redundant"], LOSS_LIMIT)?;
    }
    let messages = signals::read(stage.guest())?;
    for volume in VOLUMES {
        let states = signals::states(&messages, volume);
        let alarm = |state: &String| matches!(state.as_str(), "degraded" | "resyncing" | "failed");
        ensure!(!states.iter().any(alarm), "an alarm about {volume}: {states:?}");
        if !states.is_empty() {
            stage.figure(format!("{volume} announced {states:?}"));
        }
    }
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
