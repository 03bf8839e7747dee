//! Both servers lost, one after the other; data was written in between, so that only a's leg is whole.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// The survivor returns first.
pub fn good_one_first(stage: &mut Stage<'_>) -> Result<()> {
    lose_both(stage)?;
    stage.step("a returns, then b");
    Fault::Cut.undo(stage.guest(), Server::A)?;
    Fault::Cut.undo(stage.guest(), Server::B)?;
    finish(stage)
}

/// The stale one returns first, and is not touched until the other is there.
pub fn stale_one_first(stage: &mut Stage<'_>) -> Result<()> {
    lose_both(stage)?;
    stage.step("b, the older, returns");
    Fault::Cut.undo(stage.guest(), Server::B)?;
    wait_until("the disk of b to run", HEAL_LIMIT, || {
        // It was fenced, and comes back under another name.
        let disk = stage.guest().disk_of('b')?;
        let state = stage.guest().sh(&format!("cat /sys/block/{disk}/device/state"))?;
        Ok(if state.trim() == "running" { Look::Done(()) } else { Look::NotYet(state) })
    })?;
    wait_until("the return to be held back", HEAL_LIMIT, || {
        let hold = stage.guest().hold("vg0/r1")?;
        // A young return is held for its youth alone; what comes after that is the verdict.
        Ok(if matches!(hold.as_str(), "" | "settling") { Look::NotYet(hold) } else { Look::Done(()) })
    })?;
    let status = stage.guest().dm_status("vg0/r1")?;
    ensure!(status.health == "AD", "with only the older leg there, r1 became {status:?}");
    stage.step("a returns");
    Fault::Cut.undo(stage.guest(), Server::A)?;
    finish(stage)
}

fn lose_both(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.step("cut b");
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.step("cut a");
    Fault::Cut.strike(stage.guest(), Server::A)?;
    wait_until("both sessions to be down", LOSS_LIMIT, || {
        let states = stage.guest().sh("cat /sys/class/iscsi_session/session*/state")?;
        let up = states.split_whitespace().any(|state| state == "LOGGED_IN");
        Ok(if up { Look::NotYet(states) } else { Look::Done(()) })
    })
}

fn finish(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_redundancy("their return")?;
    // Whether writes fail depends on the survivor having been told to wait; the figures say how many did.
    final_check(stage, Errors::Tolerated)?;
    stage.check_daemon(0)
}
