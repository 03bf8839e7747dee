//! The client boots while a server is down.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::mirror::wait_for_mounts;
use crate::reboot::{Down, reboot, switch_on};
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// Server b is off at boot, for longer than open-iscsi tries to log in. Its legs were in step with a's at the end, so
/// both mirrors come up on a alone; when b comes, it is taken in.
pub fn without_b(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.stop_writers()?;
    reboot(stage, Down::InOrder, Some(Server::B))?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], HEAL_LIMIT)?;
    }
    wait_for_mounts(stage)?;
    stage.start_writers()?;
    switch_on(stage, Server::B)?;
    stage.wait_for_redundancy("server b came")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// b is lost, data is written to a, the client loses its power and finds only b: the older leg.
pub fn with_the_stale_leg_alone(stage: &mut Stage<'_>) -> Result<()> {
    boot_with_b_alone(stage)?;
    switch_on(stage, Server::A)?;
    stage.wait_for_redundancy("server a came")?;
    wait_for_mounts(stage)?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// As above, up to where both mirrors are held and stay down. What `r1` had acknowledged when b was lost, and so what
/// b knows of, is kept as `/root/r1.before`.
pub fn boot_with_b_alone(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.guest().sh("cp /root/r1.ledger /root/r1.before")?;
    stage.step("cut b; a goes on alone");
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.stop_writers()?;
    reboot(stage, Down::PowerLoss, Some(Server::A))?;
    for volume in VOLUMES {
        stage.wait_for_hold(volume, &["stale-leg"])?;
        // Nor is it when somebody asks for it.
        let refusal = stage.guest().start_job(volume, "Activate")?;
        ensure!(
            refusal.as_ref().is_err_and(|name| name == "org.mirrorkeeper1.Error.Held"),
            "to activate {volume} on its older leg gave {refusal:?}, not Held"
        );
        let active = stage.guest().sh(&format!("lvs --noheadings -o lv_active {volume}"))?;
        ensure!(active.trim().is_empty(), "{volume} is {} although only its older leg is there", active.trim());
    }
    Ok(())
}
