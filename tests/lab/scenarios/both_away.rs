//! Both servers away: a switch reboots, or one dies while the other may not be given up. Somebody always waits, so that no
//! write fails.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::roles::HEALTHY;
use crate::stage::{HEAL_LIMIT, Stage, name};
use crate::stock::VOLUMES;

use super::probation::hold_checks_back;

/// Both cables are pulled at once, and plugged in again a minute later.
pub fn a_minute(stage: &mut Stage<'_>) -> Result<()> {
    away(stage, "ip -n nsa link set eth0 down; ip -n nsb link set eth0 down; sleep 60", 60.0)
}

/// The leg that fails fast goes first; the anchor is the last.
pub fn a_then_b(stage: &mut Stage<'_>) -> Result<()> {
    away(stage, "ip -n nsa link set eth0 down; sleep 1; ip -n nsb link set eth0 down; sleep 30", 30.0)
}

/// The anchor goes first; the quick leg must be told to wait before it fails, or the anchor must be kept.
pub fn b_then_a(stage: &mut Stage<'_>) -> Result<()> {
    away(stage, "ip -n nsb link set eth0 down; sleep 1; ip -n nsa link set eth0 down; sleep 30", 30.0)
}

/// Runs `outage` in the guest, which takes both servers away for about `seconds`, and brings them back together.
fn away(stage: &mut Stage<'_>, outage: &str, seconds: f64) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    stage.start_writers()?;
    stage.step("both are cut");
    let since = stage.guest().clock()?;
    stage.guest().sh(&format!("{outage}; ip -n nsa link set eth0 up; ip -n nsb link set eth0 up"))?;
    stage.step("both return");
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 20)?;
        let stall = stage.guest().longest_write(volume, since)?;
        ensure!(stall > seconds / 2.0, "{volume} was never kept waiting: {stall:.1} s");
        stage.figure(format!("{} waited {stall:.1} s", name(volume)));
    }
    let (fenced, lost) = (stage.events("target-fenced")?, stage.events("target-offline")?);
    let told = stage.events("all-servers-lost")?;
    stage.figure(format!("{lost} legs given up, {fenced} fenced, all-servers-lost announced {told} times"));
    ensure!(fenced == 0, "a target was fenced while nobody answered");
    stage.wait_for_redundancy("their return")?;
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// The anchor dies while the quick leg of `r1` is on probation, and returns within the limit: nothing but waiting is right.
pub fn in_probation(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.start_writers()?;
    // A kill loses the continuity, so that the return has to be verified.
    Fault::Kill.strike(stage.guest(), Server::A)?;
    for volume in VOLUMES {
        stage.wait_for_dm(volume, "to lose its leg", |status| !status.is_whole())?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Kill.undo(stage.guest(), Server::A)?;
    stage.wait_for_flag("vg0-r1")?;
    stage.wait_for_state("vg0/r1", &["verifying"], HEAL_LIMIT)?;
    // Not before: the limits are those of the recovery as well.
    hold_checks_back(stage.guest(), true)?;
    let role = stage.guest().role(Server::B)?;
    ensure!(
        matches!(role.as_str(), "probation" | "resyncing" | "last-good-leg"),
        "the partner of a probation is {role}"
    );
    stage.step(&format!("B is {role} and is cut"));
    let since = stage.guest().clock()?;
    stage
        .guest()
        .sh_within("ip -n nsb link set eth0 down; sleep 30; ip -n nsb link set eth0 up", Duration::from_secs(120))?;
    stage.step("B returns");
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 20)?;
    }
    let stall = stage.guest().longest_write("vg0/r1", since)?;
    ensure!(stall > 15.0, "r1 went on without its last good leg: {stall:.1} s");
    stage.figure(format!("r1 waited {stall:.1} s"));
    ensure!(stage.events("target-fenced")? == 0, "the last good leg was fenced");
    let status = stage.guest().dm_status("vg0/r1")?;
    ensure!(!status.health.contains('D'), "r1 lost a leg: {status:?}");
    hold_checks_back(stage.guest(), false)?;
    stage.wait_for_redundancy("the check was let go")?;
    stage.wait_for_roles(HEALTHY)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
