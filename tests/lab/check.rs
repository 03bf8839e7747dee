//! The check every scenario ends with: nothing that was acknowledged is lost, torn or older, and the legs are alike.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guest::{Guest, dm_name};
use crate::stage::{Stage, name};
use crate::stock::VOLUMES;

/// What write errors mean in a scenario.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// The volume had a working leg, or a survivor told to wait, all the time.
    Forbidden,
    /// Every leg was away longer than any timeout; what was *acknowledged* still counts.
    Tolerated,
}

/// Ends the writers, compares the legs below the unmounted file systems, and looks for every acknowledged record.
pub fn final_check(stage: &mut Stage<'_>, errors: Errors) -> Result<()> {
    let count = stage.stop_writers()?;
    ensure!(count == 0 || errors == Errors::Tolerated, "{count} writes failed");
    stage.step("checking records and legs");
    let mut checked = 0;
    for volume in VOLUMES {
        legs_alike(stage.guest(), volume)?;
        checked += records_kept(stage.guest(), volume)?;
    }
    stage.figure(format!("{checked} records kept, legs alike"));
    Ok(())
}

/// Unmounts and compares the legs of a mirror block by block, past every cache; mounts again.
pub fn legs_alike(guest: &Guest, volume: &str) -> Result<()> {
    let (device, mount) = (dm_name(volume), format!("/mnt/{}", name(volume)));
    guest.sh(&format!("! mountpoint -q {mount} || umount {mount}"))?;
    let image = if guest.dm_status(volume)?.target == "mirror" { "mimage" } else { "rimage" };
    let result = guest.judge(&format!("compare /dev/mapper/{device}_{image}_0 /dev/mapper/{device}_{image}_1"))?;
    ensure!(result["differing_4k_blocks"] == 0, "the legs of {volume} differ: {result}");
    guest.sh(&format!("mount {mount}"))?;
    Ok(())
}

/// Reads every acknowledged record of a mirror's writer with cold caches; gives their number.
pub fn records_kept(guest: &Guest, volume: &str) -> Result<u64> {
    let n = name(volume);
    guest.sh("echo 3 > /proc/sys/vm/drop_caches")?;
    let result = guest.judge(&format!("verify --file /mnt/{n}/records --ledger /root/{n}.ledger --threads 4"))?;
    ensure!(wrong(&result) == 0, "{volume} did not keep what it acknowledged: {result}");
    let checked = result["checked"].as_u64().context("verify counts")?;
    ensure!(checked > 0, "nothing was ever acknowledged on {volume}: the scenario proves nothing");
    Ok(checked)
}

/// Wrong slots in all passes of a `verify`.
pub fn wrong(result: &Value) -> u64 {
    ["lost", "torn", "older", "unreadable"].iter().filter_map(|kind| result[kind].as_u64()).sum()
}
