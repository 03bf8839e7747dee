//! What is remembered: gone, or written at the last moment.

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::install::UNIT;
use crate::mirror::wait_for_mounts;
use crate::reboot::{Down, reboot};
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// The ledger is deleted while a leg is lost. Found `D` at first sight, the leg has no history: a person decides.
pub fn ledger_deleted(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.step("the ledger is deleted");
    stage.guest().sh(&format!("systemctl stop {UNIT}; rm -rf /var/lib/mirrorkeeper/*; systemctl start {UNIT}"))?;
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_hold("vg0/r1", &["no-history"])?;
    let pv = stage.guest().pv_on(Server::A)?;
    stage.step("mirrorkeeper resolve: keep the leg on a");
    stage.guest().sh_within(&format!("mirrorkeeper resolve vg0/r1 --keep {pv} --yes"), HEAL_LIMIT)?;
    stage.wait_for_state("vg0/r1", &["redundant"], HEAL_LIMIT)?;
    // That this linear volume was a mirror was written in the ledger and nowhere else.
    let disk = stage.guest().disk_of('b')?;
    stage.guest().sh(&format!("lvconvert -b -y --type mirror -m1 --mirrorlog core vg0/testlv /dev/{disk}"))?;
    stage.wait_for_redundancy("the decision")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// A server is cut just before the client shuts down, under load: the last writes are on a alone, and at the next boot
/// both are there.
pub fn lost_in_shutdown(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    reboot(stage, Down::InOrder, None)?;
    stage.wait_for_redundancy("the boot")?;
    wait_for_mounts(stage)?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
