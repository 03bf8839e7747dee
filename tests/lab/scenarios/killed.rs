//! Killed at the worst moment: the daemon between any two of its steps, and its command while it holds a volume.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::run::INSTALLED;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::trap::{self, Trap};

/// The command that puts a leg on probation.
const FLAG: &str = "*--writemostly*:y*";

/// A PV is in its VG again, and its leg not yet on probation: now any refresh would trust it.
pub fn before_the_flag(stage: &mut Stage<'_>) -> Result<()> {
    Trap::DaemonDiesFirst.set(stage.guest(), 1, FLAG)?;
    loss_and_heal(stage)?;
    stage.step(&format!("it was killed: {}", trap::must_have_sprung(stage.guest())?));
    stage.check_daemon(1)
}

/// A command dies with the volume suspended: every writer hangs until somebody resumes it.
pub fn command_suspended(stage: &mut Stage<'_>) -> Result<()> {
    Trap::CommandDiesSuspended.set(stage.guest(), 1, FLAG)?;
    loss_and_heal(stage)?;
    let sprung = trap::must_have_sprung(stage.guest())?;
    ensure!(sprung.contains("Suspended"), "the command was killed too late, r1 was not suspended: {sprung}");
    stage.step(&format!("the command was killed: {sprung}"));
    stage.check_daemon(0)
}

/// At every step of a loss and a heal: the daemon is killed, its command never runs.
pub fn before_every_step(stage: &mut Stage<'_>) -> Result<()> {
    every_step(stage, Trap::DaemonDiesFirst)
}

/// The same; its command runs on without it.
pub fn in_every_step(stage: &mut Stage<'_>) -> Result<()> {
    every_step(stage, Trap::DaemonDies)
}

/// The same; its command is done, and it does not know.
pub fn after_every_step(stage: &mut Stage<'_>) -> Result<()> {
    every_step(stage, Trap::DaemonDiesAfter)
}

/// More steps than any loss and heal has.
const MANY: usize = 40;

fn every_step(stage: &mut Stage<'_>, trap: Trap) -> Result<()> {
    let mut commands = Vec::new();
    for at in 1..MANY {
        // From the same start each time; a server that came and went before would have to settle for longer.
        stage.lab.vm.load(INSTALLED)?;
        trap.set(stage.guest(), at, "*")?;
        loss_and_heal(stage)?;
        let Some(command) = trap::sprung(stage.guest())? else { break };
        stage.check_daemon(1)?;
        stage.step(&format!("survived at step {at}: {command}"));
        commands.push(command);
    }
    stage.figures.clear();
    stage.figure(format!("killed at each of {} steps", commands.len()));
    // Stamp, flag, release and re-add: with fewer the trap has not seen the heal.
    ensure!((4..MANY - 1).contains(&commands.len()), "the trap sprang at {} steps: {commands:?}", commands.len());
    Ok(())
}

fn loss_and_heal(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        // Whoever was killed meanwhile is back in seconds.
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Kill.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its return")?;
    final_check(stage, Errors::Forbidden)
}
