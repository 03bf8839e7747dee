//! One server goes and comes back: the main job, for each way of going.

use anyhow::{Context, Result, ensure};

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

/// Size of the file that is read again, in sectors: 20 MiB.
const FILE_SECTORS: u64 = 40960;

/// While leg 1 is on probation and its check is held back, a file is read with cold caches: server b's disk must not
/// be read beyond what labels and a crawling check need.
pub fn probation_reads(stage: &mut Stage<'_>) -> Result<()> {
    let guest = stage.guest();
    guest.sh(
        "dd if=/dev/urandom of=/mnt/r1/big bs=1M count=20 conv=fsync status=none; md5sum /mnt/r1/big > /root/big.md5",
    )?;
    // The kill loses the continuity, so that the return has to be verified.
    stage.start_writers()?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    Fault::Kill.undo(stage.guest(), Server::B)?;
    // A leg that never failed serves reads until its flag is set: the proof begins with the flag.
    stage.wait_for_flag("vg0-r1")?;
    let guest = stage.guest();
    guest.sh("echo 1 > /proc/sys/dev/raid/speed_limit_min; echo 1 > /proc/sys/dev/raid/speed_limit_max")?;
    let disk = guest.disk_of('b')?;
    let read = |disk: &str| -> Result<u64> {
        guest.judge(&format!("diskstats {disk}"))?["read"].as_u64().context("diskstats counts")
    };
    let before = read(&disk)?;
    guest.sh("for i in 1 2; do echo 3 > /proc/sys/vm/drop_caches; (cd / && md5sum --quiet -c /root/big.md5); done")?;
    let served = read(&disk)? - before;
    let state = guest.mirror_state("vg0/r1")?;
    guest.sh("echo 1000 > /proc/sys/dev/raid/speed_limit_min; echo 200000 > /proc/sys/dev/raid/speed_limit_max")?;
    ensure!(state == "verifying", "probation was over before the file was read ({state}): nothing proven");
    // Of two readings a trusted leg serves about one; a tenth of one leaves room for labels and the check.
    ensure!(served < FILE_SECTORS / 10, "{served} sectors were read from the leg on probation");
    stage.figure(format!("{served} sectors read from b's disk while {} were read from the volume", 2 * FILE_SECTORS));
    stage.wait_for_redundancy("the check was let go")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
