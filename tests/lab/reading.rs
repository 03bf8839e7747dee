//! A file whose blocks are acknowledged, and which is read again and again while legs are not what they seem.
//!
//! The writes are in place and with O_DIRECT; several threads read, since dm-raid spreads concurrent reads over the
//! legs and a stale one answers only some.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::check::wrong;
use crate::guest::Guest;
use crate::stage::{HEAL_LIMIT, Stage};
use crate::stock::VOLUMES;

const FILE: &str = "/mnt/r1/burst";
const LEDGER: &str = "/root/burst.ledger";

/// The file exists on both legs, flushed, so that what follows is written in place.
pub fn prepare(guest: &Guest) -> Result<()> {
    guest.judge(&format!("prepare --file {FILE}"))?;
    guest.sh("sync").map(drop)
}

/// Overwrites 400 blocks without flushing them.
pub fn write(stage: &Stage<'_>) -> Result<()> {
    let result = stage.guest().judge(&format!("burst --file {FILE} --ledger {LEDGER}"))?;
    stage.step(&format!("unflushed writes: {result}"));
    Ok(())
}

/// From its return on every reader may rely on what was written. Waits in the kernel while a dead leg is not given up.
pub fn flush(guest: &Guest) -> Result<()> {
    guest.judge(&format!("sync --file {FILE}")).map(drop)
}

/// Reads what was written, past every cache.
pub fn verify(guest: &Guest, passes: u32) -> Result<Value> {
    guest.judge(&format!("verify --file {FILE} --ledger {LEDGER} --direct --passes {passes} --threads 8"))
}

/// Reads all the time while the daemon heals: not one wrong block, at any moment. Gives the number of passes.
pub fn until_redundant(stage: &mut Stage<'_>) -> Result<u64> {
    let start = Instant::now();
    let mut passes = 0;
    loop {
        let result = verify(stage.guest(), 2)?;
        ensure!(wrong(&result) == 0, "stale blocks were read during the heal, after {passes} good passes: {result}");
        passes += 2;
        let states = VOLUMES.map(|volume| stage.guest().mirror_state(volume).unwrap_or_else(|e| format!("{e:#}")));
        // Redundant is also what a mirror is called whose return has not been noticed yet.
        let whole = || VOLUMES.iter().all(|v| stage.guest().dm_status(v).is_ok_and(|status| status.is_whole()));
        if states.iter().all(|state| state == "redundant") && whole() {
            stage.figure(format!("redundant {} s after its return", start.elapsed().as_secs()));
            return Ok(passes);
        }
        ensure!(start.elapsed() < HEAL_LIMIT + Duration::from_secs(120), "not redundant in time: {states:?}");
    }
}

/// After the heal.
pub fn last(stage: &mut Stage<'_>, passes: u64) -> Result<()> {
    let result = verify(stage.guest(), 6)?;
    ensure!(wrong(&result) == 0, "stale blocks were read after the heal: {result}");
    stage.figure(format!("0 of {} blocks wrong in {} passes", result["checked"], passes + 6));
    Ok(())
}
