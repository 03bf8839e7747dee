//! Both servers lost.

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// First b, then, while it is away and data is written, a; then both return, the survivor first.
pub fn one_after_the_other(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.step("cut b");
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.step("cut a");
    Fault::Cut.strike(stage.guest(), Server::A)?;
    wait_until("session a to be down", LOSS_LIMIT, || {
        let disk = stage.guest().disk_of('a');
        let states = stage.guest().sh("cat /sys/class/iscsi_session/session*/state")?;
        let up = states.split_whitespace().any(|state| state == "LOGGED_IN");
        Ok(if up { Look::NotYet(format!("{disk:?} {states}")) } else { Look::Done(()) })
    })?;
    stage.step("a returns, then b");
    Fault::Cut.undo(stage.guest(), Server::A)?;
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("their return")?;
    // Whether writes fail depends on the survivor having been told to wait; the figures say how many did.
    final_check(stage, Errors::Tolerated)?;
    stage.check_daemon(0)
}
