//! A server's power: what was acknowledged and only in its cache is gone, and no bitmap remembers.
//!
//! Server c is a guest of its own whose QEMU is killed. The writes are in place, with O_DIRECT, and not flushed; the
//! fsync comes after the cut and returns 0, because the survivor has everything. From then on every reader may rely
//! on them. The stock way of healing reads 7 to 14 of 400 blocks wrong in every pass.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::check::{legs_alike, wrong};
use crate::guest::Guest;
use crate::install::{self, UNIT};
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::{self, VOLUMES};

/// Where the treacherous writes go.
const FILE: &str = "/mnt/r1/burst";
const LEDGER: &str = "/root/burst.ledger";

/// Power cut, the loss is noticed, power back.
pub fn cut(stage: &mut Stage<'_>) -> Result<()> {
    set_up(stage, 5)?;
    burst_and_cut(stage)?;
    // Waits in the kernel until the dead leg is given up.
    stage.guest().judge(&format!("sync --file {FILE}"))?;
    stage.step("fsync returned");
    stage.wait_for_state("vg0/r1", &["degraded"], LOSS_LIMIT)?;
    stage.lab.start_server()?;
    stage.step("server c is back");
    let passes = read_until_redundant(stage)?;
    last_reading(stage, passes)
}

/// Power cut and back within replacement_timeout: no leg is ever lost, no kernel line written.
pub fn cycle(stage: &mut Stage<'_>) -> Result<()> {
    set_up(stage, 120)?;
    burst_and_cut(stage)?;
    stage.lab.start_server()?;
    stage.step("server c is back");
    stage.guest().judge(&format!("sync --file {FILE}"))?;
    stage.step("fsync returned");
    let lost = stage.guest().dm_status("vg0/r1")?.health.contains('D');
    stage.figure(if lost { "the leg was given up" } else { "the leg was never D" });
    // What the kernel read before the flag was set it read unjudged: no program can be faster than the unblocked queue.
    let took = stage.wait_for_flag("vg0-r1")?;
    stage.figure(format!("flagged {:.1} s after fsync returned", took.as_secs_f64()));
    let passes = read_until_redundant(stage)?;
    last_reading(stage, passes)
}

/// Without the daemon, healed as the manuals say: proof that the lab sees stale blocks when there are any.
pub fn stock(stage: &mut Stage<'_>) -> Result<()> {
    set_up_volumes(stage, 5)?;
    burst_and_cut(stage)?;
    stage.guest().judge(&format!("sync --file {FILE}"))?;
    stage.wait_for_dm("vg0/r1", "to lose its leg", |status| status.health == "AD")?;
    stage.lab.start_server()?;
    let guest = stage.guest();
    crate::wait::wait_until("the disk of server c to run", HEAL_LIMIT, || {
        let state = guest.sh(&format!("cat /sys/block/{}/device/state", guest.disk_of('c')?))?;
        Ok(crate::wait::is(state.trim().to_owned(), &"running".to_owned()))
    })?;
    guest.sh(&format!(
        "vgextend --restoremissing vg0 /dev/{} || true; lvchange --refresh vg0/r1",
        guest.disk_of('c')?
    ))?;
    stock::wait_for_whole(guest, "vg0/r1")?;
    let result = verify(guest, 6)?;
    ensure!(
        wrong(&result) > 0,
        "the stock heal read everything right ({result}): this lab could not tell the difference"
    );
    stage.figure(format!("wrong in each pass: {}", result["wrong_per_pass"]));
    Ok(())
}

/// The mirrors on servers a and c, under the daemon.
fn set_up(stage: &mut Stage<'_>, timeout: u32) -> Result<()> {
    // A machine that never had other mirrors: no state, no registrations.
    stage.guest().sh(&format!("systemctl stop {UNIT}; rm -rf /var/lib/mirrorkeeper/*"))?;
    set_up_volumes(stage, timeout)?;
    stage.guest().sh(&format!("systemctl start {UNIT}"))?;
    install::wait_for_redundancy(stage.guest())
}

fn set_up_volumes(stage: &mut Stage<'_>, timeout: u32) -> Result<()> {
    stage.step("moving the mirrors to servers a and c");
    stage.lab.start_server()?;
    let guest = stage.guest();
    guest.sh("umount /mnt/r1 /mnt/testlv
         vgremove -ff -y vg0
         pvremove -y /dev/disk/by-path/*linuxtest1lv-?-lun-1
         iscsiadm -m node -T iqn.2006-01.com.openfiler:linuxtest1lv-b --logout
         iscsiadm -m node -T iqn.2006-01.com.openfiler:linuxtest1lv-b -o delete
         systemctl stop lab-target@b")?;
    stock::log_in(guest, "10.10.3.2", 'c', timeout)?;
    stock::make_volumes(guest, 'a', 'c')?;
    guest.judge(&format!("prepare --file {FILE}"))?;
    guest.sh("sync")?;
    // What was prepared is on c's disk for good, so that whatever the cut takes was acknowledged after this.
    stage.lab.sync_server()
}

fn burst_and_cut(stage: &mut Stage<'_>) -> Result<()> {
    let result = stage.guest().judge(&format!("burst --file {FILE} --ledger {LEDGER}"))?;
    stage.step(&format!("unflushed writes: {result}"));
    stage.lab.cut_server_power()?;
    stage.step("power of server c cut");
    Ok(())
}

fn verify(guest: &Guest, passes: u32) -> Result<serde_json::Value> {
    guest.judge(&format!("verify --file {FILE} --ledger {LEDGER} --direct --passes {passes} --threads 8"))
}

/// Reads all the time while the daemon heals: not one wrong block, at any moment.
fn read_until_redundant(stage: &mut Stage<'_>) -> Result<u64> {
    let start = Instant::now();
    let mut passes = 0;
    loop {
        let result = verify(stage.guest(), 2)?;
        ensure!(wrong(&result) == 0, "stale blocks were read during the heal, after {passes} good passes: {result}");
        passes += 2;
        let states = VOLUMES.map(|volume| stage.guest().mirror_state(volume).unwrap_or_else(|e| format!("{e:#}")));
        if states.iter().all(|state| state == "redundant") {
            stage.figure(format!("redundant {} s after its return", start.elapsed().as_secs()));
            return Ok(passes);
        }
        ensure!(start.elapsed() < HEAL_LIMIT + Duration::from_secs(120), "not redundant in time: {states:?}");
    }
}

fn last_reading(stage: &mut Stage<'_>, passes: u64) -> Result<()> {
    let result = verify(stage.guest(), 6)?;
    ensure!(wrong(&result) == 0, "stale blocks were read after the heal: {result}");
    for volume in VOLUMES {
        legs_alike(stage.guest(), volume)?;
    }
    stage.figure(format!("0 of {} blocks wrong in {} passes, legs alike", result["checked"], passes + 6));
    stage.check_daemon(0)
}
