//! A leg on probation: what it must not do, and what may happen to it.

use anyhow::{Context, Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::Guest;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// Size of the file that is read again, in sectors: 20 MiB.
const FILE_SECTORS: u64 = 40960;

/// While leg 1 is on probation and its check is held back, a file is read with cold caches: server b's disk must not
/// be read beyond what labels and a crawling check need.
pub fn serves_no_reads(stage: &mut Stage<'_>) -> Result<()> {
    let guest = stage.guest();
    guest.sh(
        "dd if=/dev/urandom of=/mnt/r1/big bs=1M count=20 conv=fsync status=none; md5sum /mnt/r1/big > /root/big.md5",
    )?;
    // The kill loses the continuity, so that the return has to be verified.
    go_on_probation(stage)?;
    let guest = stage.guest();
    hold_checks_back(guest, true)?;
    let disk = guest.disk_of('b')?;
    let read = |disk: &str| -> Result<u64> {
        guest.judge(&format!("diskstats {disk}"))?["read"].as_u64().context("diskstats counts")
    };
    let before = read(&disk)?;
    guest.sh("for i in 1 2; do echo 3 > /proc/sys/vm/drop_caches; (cd / && md5sum --quiet -c /root/big.md5); done")?;
    let served = read(&disk)? - before;
    let state = guest.mirror_state("vg0/r1")?;
    hold_checks_back(guest, false)?;
    ensure!(state == "verifying", "probation was over before the file was read ({state}): nothing proven");
    // Of two readings a trusted leg serves about one; a tenth of one leaves room for labels and the check.
    ensure!(served < FILE_SECTORS / 10, "{served} sectors were read from the leg on probation");
    stage.figure(format!("{served} sectors read from b's disk while {} were read from the volume", 2 * FILE_SECTORS));
    finish(stage)
}

/// It is lost again before it is released.
pub fn lost_again(stage: &mut Stage<'_>) -> Result<()> {
    go_on_probation(stage)?;
    hold_checks_back(stage.guest(), true)?;
    stage.wait_for_state("vg0/r1", &["verifying"], HEAL_LIMIT)?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    hold_checks_back(stage.guest(), false)?;
    stage.step("B returns again");
    Fault::Cut.undo(stage.guest(), Server::B)?;
    finish(stage)
}

fn go_on_probation(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    Fault::Kill.undo(stage.guest(), Server::B)?;
    // A leg that never failed serves reads until its flag is set: the proof begins with the flag.
    stage.wait_for_flag("vg0-r1").map(drop)
}

/// A crawling check gives the time that a large volume would give.
pub fn hold_checks_back(guest: &Guest, back: bool) -> Result<()> {
    let (min, max) = if back { (1, 1) } else { (1000, 200_000) };
    guest
        .sh(&format!(
            "echo {min} > /proc/sys/dev/raid/speed_limit_min; echo {max} > /proc/sys/dev/raid/speed_limit_max"
        ))
        .map(drop)
}

fn finish(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_redundancy("the check was let go")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
