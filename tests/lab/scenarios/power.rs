//! A server's power: what was acknowledged and only in its cache is gone, and no bitmap remembers.
//!
//! Server c is a guest of its own whose QEMU is killed. The writes are not flushed; the fsync comes after the cut and
//! returns 0, because the survivor has everything. From then on every reader may rely on them. The stock way of
//! healing reads 7 to 14 of 400 blocks wrong in every pass.

use anyhow::{Result, ensure};

use crate::check::{legs_alike, wrong};
use crate::fault::Server;
use crate::install::{self, UNIT};
use crate::reading;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::{self, VOLUMES};

/// Power cut, the loss is noticed, power back.
pub fn cut(stage: &mut Stage<'_>) -> Result<()> {
    set_up(stage, 5)?;
    burst_and_cut(stage)?;
    reading::flush(stage.guest())?;
    stage.step("fsync returned");
    stage.wait_for_state("vg0/r1", &["degraded"], LOSS_LIMIT)?;
    stage.lab.start_server()?;
    stage.step("server c is back");
    read_to_the_end(stage)
}

/// Power cut and back within replacement_timeout: no leg is ever lost, no kernel line written.
pub fn cycle(stage: &mut Stage<'_>) -> Result<()> {
    set_up(stage, 120)?;
    burst_and_cut(stage)?;
    stage.lab.start_server()?;
    stage.step("server c is back");
    reading::flush(stage.guest())?;
    stage.step("fsync returned");
    let lost = stage.guest().dm_status("vg0/r1")?.health.contains('D');
    stage.figure(if lost { "the leg was given up" } else { "the leg was never D" });
    // What the kernel read before the flag was set it read unjudged: no program can be faster than the unblocked queue.
    let took = stage.wait_for_flag("vg0-r1")?;
    stage.figure(format!("flagged {:.1} s after fsync returned", took.as_secs_f64()));
    read_to_the_end(stage)
}

/// Without the daemon, healed as the manuals say: proof that the lab sees stale blocks when there are any.
pub fn stock(stage: &mut Stage<'_>) -> Result<()> {
    set_up_volumes(stage, ['a', 'c'], 5)?;
    burst_and_cut(stage)?;
    reading::flush(stage.guest())?;
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
    let result = reading::verify(guest, 6)?;
    ensure!(
        wrong(&result) > 0,
        "the stock heal read everything right ({result}): this lab could not tell the difference"
    );
    stage.figure(format!("wrong in each pass: {}", result["wrong_per_pass"]));
    Ok(())
}

/// The mirrors on servers a and c, under the daemon.
fn set_up(stage: &mut Stage<'_>, timeout: u32) -> Result<()> {
    set_up_on(stage, ['a', 'c'], timeout)
}

/// The same with the legs in this order.
pub fn set_up_on(stage: &mut Stage<'_>, legs: [char; 2], timeout: u32) -> Result<()> {
    // A machine that never had other mirrors: no state, no registrations.
    stage.guest().sh(&format!("systemctl stop {UNIT}; rm -rf /var/lib/mirrorkeeper/*"))?;
    set_up_volumes(stage, legs, timeout)?;
    stage.guest().sh(&format!("systemctl start {UNIT}"))?;
    install::wait_for_redundancy(stage.guest())
}

fn set_up_volumes(stage: &mut Stage<'_>, legs: [char; 2], timeout: u32) -> Result<()> {
    stage.step("moving the mirrors to servers a and c");
    stage.lab.start_server()?;
    let guest = stage.guest();
    let b = Server::B.node();
    guest.sh(&format!(
        "umount /mnt/r1 /mnt/testlv
         vgremove -ff -y vg0
         pvremove -y /dev/disk/by-path/*linuxtest1lv-?-lun-1
         {b} --logout
         {b} -o delete
         systemctl stop lab-target@b"
    ))?;
    stock::log_in(guest, "10.10.3.2", 'c', timeout)?;
    stock::make_volumes(guest, legs[0], legs[1])?;
    reading::prepare(guest)?;
    // What was prepared is on c's disk for good, so that whatever the cut takes was acknowledged after this.
    stage.lab.sync_server()
}

fn burst_and_cut(stage: &mut Stage<'_>) -> Result<()> {
    reading::write(stage)?;
    stage.lab.cut_server_power()?;
    stage.step("power of server c cut");
    Ok(())
}

fn read_to_the_end(stage: &mut Stage<'_>) -> Result<()> {
    let passes = reading::until_redundant(stage)?;
    reading::last(stage, passes)?;
    for volume in VOLUMES {
        legs_alike(stage.guest(), volume)?;
    }
    stage.figure("legs alike");
    stage.check_daemon(0)
}
