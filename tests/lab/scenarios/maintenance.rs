//! A server is taken out of service: without a stall, through reboots of both sides, until it is put back.

use anyhow::{Context, Result, ensure};

use crate::caller::ROOT;
use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::mirror::wait_for_mounts;
use crate::reboot::{Down, reboot};
use crate::roles::{EMULATION, HEALTHY};
use crate::stage::{LOSS_LIMIT, Stage, name};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// What entering may cost above the longest write before it, in seconds.
const BUDGET: [f64; 2] = [0.2, 0.5];

/// Under writers; the client reboots and the server restarts again and again, and nothing is healed there until it is left.
pub fn through_a_reboot(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    stage.start_writers()?;
    enter(stage)?;
    let refused = stage.guest().call_as(ROOT, &Server::A.object(), "Server.EnterMaintenance")?;
    let expected = Err("org.mirrorkeeper1.Error.WouldLoseRedundancy".to_owned());
    ensure!(refused == expected, "the last trusted legs were to be taken: {refused:?}");
    let safe = stage.guest().exec(&["mirrorkeeper", "safe", Server::A.address()])?;
    ensure!(safe.rc == 1, "a is called safe to take down: {}", safe.stdout);
    restarts(stage, 2, 0)?;
    let errors = stage.stop_writers()?;
    ensure!(errors == 0, "{errors} writes failed");

    reboot(stage, Down::InOrder, None)?;
    wait_for_mounts(stage)?;
    stage.start_writers()?;
    // md goes on from its superblocks at once when LVM activates r1, which is before there is a leg to fail.
    let by_md = stage.events("resync-started")?;
    ensure!(by_md <= 1, "{by_md} copies were begun at boot");
    nothing_healed(stage, by_md)?;
    restarts(stage, 3, by_md)?;

    let job = stage.guest().call_as(ROOT, &Server::B.object(), "Server.LeaveMaintenance")?;
    stage.follow(&job.map_err(anyhow::Error::msg).context("leaving")?)?;
    stage.wait_for_redundancy("it was put back")?;
    stage.wait_for_roles(HEALTHY)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Takes b out, and measures what writers felt.
fn enter(stage: &mut Stage<'_>) -> Result<()> {
    let before = stage.guest().clock()?;
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 100)?;
    }
    let since = stage.guest().clock()?;
    let job = stage.guest().call_as(ROOT, &Server::B.object(), "Server.EnterMaintenance")?;
    stage.follow(&job.map_err(anyhow::Error::msg).context("entering")?)?;
    for volume in VOLUMES {
        stage.wait_for_dm(volume, "to go on without b", |status| !status.is_whole())?;
        stage.wait_for_progress(volume, 20)?;
    }
    for (volume, budget) in VOLUMES.into_iter().zip(BUDGET) {
        let usual = stage.guest().longest_write_until(volume, before, since)?;
        let entering = stage.guest().longest_write(volume, since)?;
        stage.figure(format!("{}: longest write {usual:.2} s before, {entering:.2} s entering", name(volume)));
        ensure!(entering <= usual + budget + EMULATION, "{volume} stalled for {entering:.2} s");
    }
    nothing_healed(stage, 0)
}

/// The target dies and comes back; its session is back each time, and its disk offline again.
fn restarts(stage: &mut Stage<'_>, times: usize, copies_before: usize) -> Result<()> {
    let wait = |stage: &Stage<'_>, logged_in: bool| {
        wait_until(&format!("b's session to be logged in: {logged_in}"), LOSS_LIMIT, || {
            let state = stage.guest().property(&Server::B.target(), "Target", "State")?;
            Ok(if (state == "logged-in") == logged_in { Look::Done(()) } else { Look::NotYet(state.to_string()) })
        })
    };
    for _ in 0..times {
        Fault::Kill.strike(stage.guest(), Server::B)?;
        wait(stage, false)?;
        Fault::Kill.undo(stage.guest(), Server::B)?;
        wait(stage, true)?;
        nothing_healed(stage, copies_before)?;
    }
    stage.figure(format!("b restarted {times} times"));
    Ok(())
}

/// Out of service, held for it, offline, and carrying no leg; nothing was begun but what was before.
fn nothing_healed(stage: &Stage<'_>, copies_before: usize) -> Result<()> {
    let guest = stage.guest();
    wait_until("b's disk to be offline", LOSS_LIMIT, || {
        let state = guest.sh(&format!("cat /sys/block/{}/device/state", guest.disk_of('b')?))?;
        Ok(if state.trim() == "offline" { Look::Done(()) } else { Look::NotYet(state) })
    })?;
    for volume in VOLUMES {
        wait_until(&format!("{volume} to be held"), LOSS_LIMIT, || {
            let hold = guest.hold(volume)?;
            Ok(if hold == "maintenance" { Look::Done(()) } else { Look::NotYet(hold) })
        })?;
        let status = guest.dm_status(volume)?;
        ensure!(!status.is_whole() && status.sync.0 == status.sync.1, "{volume} is healed in maintenance: {status:?}");
    }
    let state = guest.property(&Server::B.object(), "Server", "State")?;
    let maintenance = guest.property(&Server::B.object(), "Server", "Maintenance")?;
    ensure!(state == "maintenance" && maintenance == true, "b is {state}, Maintenance is {maintenance}");
    let copies = stage.events("resync-started")?;
    ensure!(copies == copies_before, "{copies} copies were begun, {copies_before} of them by md");
    Ok(())
}
