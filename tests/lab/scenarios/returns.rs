//! One server goes and comes back: the main job, for each way of going.

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// Silent loss of leg 1.
pub fn cut_b(stage: &mut Stage<'_>) -> Result<()> {
    goes_and_returns(stage, Fault::Cut, Server::B)
}

/// Silent loss of leg 0.
pub fn cut_a(stage: &mut Stage<'_>) -> Result<()> {
    goes_and_returns(stage, Fault::Cut, Server::A)
}

/// Refused connections, leg 1.
pub fn kill_b(stage: &mut Stage<'_>) -> Result<()> {
    goes_and_returns(stage, Fault::Kill, Server::B)
}

/// Refused connections, leg 0.
pub fn kill_a(stage: &mut Stage<'_>) -> Result<()> {
    goes_and_returns(stage, Fault::Kill, Server::A)
}

/// A server that TCP thinks is fine, leg 1.
pub fn hang_b(stage: &mut Stage<'_>) -> Result<()> {
    goes_and_returns(stage, Fault::Hang, Server::B)
}

/// A server that TCP thinks is fine, leg 0.
pub fn hang_a(stage: &mut Stage<'_>) -> Result<()> {
    goes_and_returns(stage, Fault::Hang, Server::A)
}

fn goes_and_returns(stage: &mut Stage<'_>, fault: Fault, server: Server) -> Result<()> {
    stage.start_writers()?;
    stage.step(&format!("{fault:?} {server:?}"));
    fault.strike(stage.guest(), server)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        // Written on one leg alone: what the heal has to carry over.
        stage.wait_for_progress(volume, 20)?;
    }
    stage.step(&format!("{server:?} returns"));
    fault.undo(stage.guest(), server)?;
    stage.wait_for_redundancy("its return")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}
