//! Server b on LIO, the kernel's own target, instead of tgt.

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::install::{self, UNIT};
use crate::lun::Image;
use crate::reading;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

const SCRIPT: &str = include_str!("../in-guest/lio");
const LIO: &str = "ip netns exec nsb /usr/local/sbin/lab-lio";

/// Its cable is pulled and plugged in again.
pub fn cut(stage: &mut Stage<'_>) -> Result<()> {
    replace_tgt(stage)?;
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    lose(stage)?;
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its return")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}

/// It restarts, with an older LUN.
pub fn rolled_back(stage: &mut Stage<'_>) -> Result<()> {
    replace_tgt(stage)?;
    reading::prepare(stage.guest())?;
    // LIO writes through the guest's page cache, which the copy reads.
    let image = Image::keep(stage.guest(), Server::B)?;
    stage.start_writers()?;
    reading::write(stage)?;
    reading::flush(stage.guest())?;
    stage.guest().sh(&format!("{LIO} down b"))?;
    lose(stage)?;
    image.put_behind(stage.guest(), Server::B)?;
    stage.step("B comes back with an older LUN");
    stage.guest().sh(&format!("{LIO} up b"))?;
    let passes = reading::until_redundant(stage)?;
    reading::last(stage, passes)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

fn lose(stage: &Stage<'_>) -> Result<()> {
    stage.wait_for_dm("vg0/r1", "to lose its leg", |status| status.health.contains('D'))?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    Ok(())
}

/// The same LUN behind the other kind of target, for a daemon that never knew the first.
fn replace_tgt(stage: &Stage<'_>) -> Result<()> {
    let (guest, node) = (stage.guest(), Server::B.node());
    guest.agent().put(SCRIPT.as_bytes(), "/usr/local/sbin/lab-lio", 0o755)?;
    guest.sh(&format!(
        "systemctl stop {UNIT}; rm -rf /var/lib/mirrorkeeper/*
         umount /mnt/r1 /mnt/testlv; lvchange -an vg0/r1 vg0/testlv
         {node} --logout"
    ))?;
    Fault::Kill.strike(guest, Server::B)?;
    guest.sh(&format!(
        "{LIO} up b
         {node} --login; udevadm settle
         vgchange -ay vg0; mount /mnt/r1; mount /mnt/testlv
         systemctl start {UNIT}"
    ))?;
    stage.step("server b is LIO now");
    install::wait_for_redundancy(guest)
}
