//! Sessions that carry more than the two mirrors with their legs in one order.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check, legs_alike};
use crate::fault::{Fault, Server};
use crate::roles::HEALTHY;
use crate::stage::{Stage, name};
use crate::stock::{VOLUMES, wait_for_whole};
use crate::wait::{Look, wait_until};

/// A second LUN of a's target is mounted plainly: its writes have nowhere else to go, so a waits and is not fenced; b takes
/// the part of the quick leg.
pub fn mounted(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.guest().sh("truncate -s 64M /srv/lab/a2.img
         ip netns exec nsa tgtadm -C 1 --lld iscsi --mode logicalunit --op new --tid 1 --lun 2 -b /srv/lab/a2.img
         iscsiadm -m session --rescan; udevadm settle
         disk=$(readlink -f /dev/disk/by-path/*linuxtest1lv-a-lun-2)
         mke2fs -q -t ext4 $disk; mkdir -p /mnt/plain; mount $disk /mnt/plain")?;
    stage.wait_for_roles([(Server::A, "shared"), (Server::B, "quick")])?;
    for (server, seconds) in [(Server::A, 600), (Server::B, 4)] {
        wait_until(&format!("{seconds} s on {server:?}"), crate::stage::LOSS_LIMIT, || {
            let found = stage.guest().recovery_tmo(server)?;
            Ok(if found == seconds { Look::Done(()) } else { Look::NotYet(found.to_string()) })
        })?;
    }
    stage.start_writers()?;
    stage.guest().sh(
        "systemd-run --quiet --unit=lab-plain lab-guest writer --file /mnt/plain/records --ledger /root/plain.ledger \
         --summary /root/plain.summary",
    )?;
    stage.step("A is cut for 40 s");
    let since = stage.guest().clock()?;
    stage.guest().sh("ip -n nsa link set eth0 down; sleep 40; ip -n nsa link set eth0 up")?;
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 20)?;
        let stall = stage.guest().longest_write(volume, since)?;
        stage.figure(format!("{} waited {stall:.1} s", name(volume)));
    }
    ensure!(stage.events("target-fenced")? == 0, "a shared session was fenced");
    let text = stage.guest().sh("systemctl stop lab-plain; cat /root/plain.summary")?;
    ensure!(text.contains("\"errors\":0"), "writes to the plain LUN failed: {text}");
    stage.wait_for_redundancy("its return")?;
    stage.guest().sh("umount /mnt/plain; rmdir /mnt/plain")?;
    stage.wait_for_roles(HEALTHY)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// One more mirror whose leg 0 is on b: one server is the anchor of all three, and both may die.
pub fn opposite(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    let (a, b) = (stage.guest().disk_of('a')?, stage.guest().disk_of('b')?);
    stage.guest().sh(&format!(
        "lvcreate -y --type raid1 -m1 -L 32M -n r2 vg0 /dev/{b} /dev/{a}
         mkdir -p /mnt/r2; echo '/dev/vg0/r2 /mnt/r2 ext4 _netdev,nofail 0 0' >> /etc/fstab; systemctl daemon-reload"
    ))?;
    wait_for_whole(stage.guest(), "vg0/r2")?;
    stage.guest().sh("mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vg0/r2; mount /mnt/r2")?;
    stage.wait_for_state("vg0/r2", &["redundant"], crate::stage::HEAL_LIMIT)?;
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    stage.start_writers()?;
    stage.guest().sh(
        "systemd-run --quiet --unit=lab-writer-r2 lab-guest writer --file /mnt/r2/records --ledger /root/r2.ledger \
         --summary /root/r2.summary",
    )?;
    stage.wait_for_progress("vg0/r2", 10)?;
    let promised = stage.guest().stall_estimate(Server::B)?;
    let since = stage.guest().clock()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    stage.step("Cut B");
    for volume in VOLUMES.into_iter().chain(["vg0/r2"]) {
        stage.wait_for_dm(volume, "to lose its leg", |status| !status.is_whole())?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.check_stalls("Cut B", since, promised)?;
    stage.figure(format!("r2 {:.1} s", stage.guest().longest_write("vg0/r2", since)?));
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its return")?;
    stage.wait_for_state("vg0/r2", &["redundant"], crate::stage::HEAL_LIMIT)?;
    stage.wait_for_roles(HEALTHY)?;
    let text = stage.guest().sh("systemctl stop lab-writer-r2; cat /root/r2.summary")?;
    ensure!(text.contains("\"errors\":0"), "writes to r2 failed: {text}");
    legs_alike(stage.guest(), "vg0/r2")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
