//! Something else stands where a leg was. It must not be written to, nor read, and when the true LUN is back all is
//! well again by itself.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::Guest;
use crate::lun::Image;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// Zeros.
pub fn blank(stage: &mut Stage<'_>) -> Result<()> {
    swapped(stage, Image::blank, "blank-device")
}

/// A PV of another VG.
pub fn foreign(stage: &mut Stage<'_>) -> Result<()> {
    swapped(stage, Image::foreign, "identity-mismatch")
}

/// The leg itself, on a LUN half as large: LVM and the kernel do not notice.
pub fn smaller(stage: &mut Stage<'_>) -> Result<()> {
    swapped(stage, |guest| Image::smaller(guest, Server::B), "identity-mismatch")
}

fn swapped(stage: &mut Stage<'_>, other: impl Fn(&Guest) -> Result<Image>, reason: &str) -> Result<()> {
    stage.start_writers()?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        // The leg was given up: what stands in its place is not written to by the kernel.
        stage.wait_for_progress(volume, 20)?;
    }
    let own = Image::keep(stage.guest(), Server::B)?;
    other(stage.guest())?.put_behind(stage.guest(), Server::B)?;
    let before = Image::sum_behind(stage.guest(), Server::B)?;
    stage.step("B comes back with another LUN");
    Fault::Kill.undo(stage.guest(), Server::B)?;
    stage.wait_for_hold("vg0/r1", &[reason])?;
    for volume in VOLUMES {
        // Longer than the settle time: whatever was going to be done to it is being done.
        stage.wait_for_progress(volume, 200)?;
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    ensure!(Image::sum_behind(stage.guest(), Server::B)? == before, "what stands in the leg's place was written to");
    stage.step("B comes back with its own LUN");
    Fault::Kill.strike(stage.guest(), Server::B)?;
    own.put_behind(stage.guest(), Server::B)?;
    Fault::Kill.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its own LUN was back")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
