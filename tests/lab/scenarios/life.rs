//! The package's own life: the gate, a daemon that does not start, an orderly stop, and what is left after a purge.
//!
//! A machine without mirrorkeeper has to boot as it did before it came.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::Server;
use crate::guest::Guest;
use crate::install::{self, UNIT};
use crate::mirror::wait_for_mounts;
use crate::reboot::{Down, reboot, reboot_alone};
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::wait::{Look, wait_until};

const SETTING: &str = "/etc/mirrorkeeper.toml.d/lab.toml";

/// `[boot] gate = true`; returns when LVM activates nothing by itself any more.
pub fn close_gate(stage: &Stage<'_>) -> Result<()> {
    // Mounts wait for the gate longer than systemd's 90 s on a busy machine: what README asks of whoever sets it.
    stage.guest().sh(&format!(
        "mkdir -p /etc/mirrorkeeper.toml.d; printf '[boot]\\ngate = true\\n' > {SETTING}
         sed -i 's/_netdev,nofail/&,x-systemd.device-timeout=5min/' /etc/fstab; systemctl daemon-reload
         systemctl restart {UNIT}"
    ))?;
    wait_for_autoactivation(stage.guest(), false)?;
    stage.step("activation is the daemon's");
    install::wait_for_redundancy(stage.guest())
}

fn wait_for_autoactivation(guest: &Guest, on: bool) -> Result<()> {
    wait_until(&format!("autoactivation to be {}", if on { "on" } else { "off" }), LOSS_LIMIT, || {
        let text = guest.sh("lvs --noheadings -o lv_name,lv_autoactivation vg0")?;
        let enabled = text.lines().filter(|line| line.contains("enabled")).count();
        let wanted = if on { text.lines().count() } else { 0 };
        Ok(if enabled == wanted { Look::Done(()) } else { Look::NotYet(text) })
    })
}

/// What the gate took from LVM it gives back, with the volumes in use all the time.
pub fn gate_on_and_off(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    close_gate(stage)?;
    stage.guest().sh(&format!("rm {SETTING}; systemctl restart {UNIT}"))?;
    wait_for_autoactivation(stage.guest(), true)?;
    stage.step("activation is LVM's again");
    reboot(stage, Down::InOrder, None)?;
    wait_for_boot_mounts(stage)?;
    stage.wait_for_redundancy("the boot")?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// The daemon does not start, and LVM was told to leave the volumes to it: they come up all the same.
pub fn fallback(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    close_gate(stage)?;
    let dir = format!("/etc/systemd/system/{UNIT}.d");
    stage.guest().sh(&format!(
        "mkdir -p {dir}; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > {dir}/broken.conf"
    ))?;
    reboot_alone(stage, Down::InOrder, None)?;
    wait_for_boot_mounts(stage)?;
    let state = stage.guest().sh("systemctl show -P Result -P ExecMainStatus mirrorkeeper-fallback.service")?;
    stage.figure(format!("fallback: {}", state.split_whitespace().collect::<Vec<_>>().join(" ")));
    let boot = stage.guest().exec(&["systemd-analyze"])?.stdout;
    stage.figure(boot.lines().next().unwrap_or_default().to_owned());
    stage.guest().sh(&format!("rm {dir}/broken.conf; systemctl daemon-reload; systemctl restart {UNIT}"))?;
    stage.wait_for_redundancy("the daemon was whole again")?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)
}

/// Stopped with nothing active, whatever happens to the volumes afterwards happens in sight of nobody: `closed`. Stopped
/// under a mounted volume it is `left`. Both are redundant after the next boot, since both legs are there.
pub fn stops(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.stop_writers()?;
    stop(stage, "umount /mnt/r1 /mnt/testlv; vgchange -an vg0", "closed")?;
    reboot(stage, Down::InOrder, None)?;
    stage.wait_for_redundancy("the boot")?;
    wait_for_mounts(stage)?;
    stop(stage, "", "left")?;
    reboot(stage, Down::InOrder, None)?;
    stage.wait_for_redundancy("the boot")?;
    wait_for_mounts(stage)?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Stops the daemon at once after `first`: the ledger must have the mark, and the disks a closing stamp that it knows of.
fn stop(stage: &Stage<'_>, first: &str, mark: &str) -> Result<()> {
    let stamp = || -> Result<u64> {
        let tags = stage.guest().sh("vgs --noheadings -o tags vg0")?;
        let number = tags.trim().strip_prefix("mirrorkeeper.epoch.").with_context(|| format!("tags {tags:?}"))?;
        number.parse().with_context(|| format!("tags {tags:?}"))
    };
    let before = stamp()?;
    stage.guest().sh(&format!("{first}\nsystemctl stop {UNIT}"))?;
    let ledger = stage.ledger()?;
    ensure!(ledger["mark"] == mark, "the mark is {}, not {mark}", ledger["mark"]);
    let closing = stamp()?;
    ensure!(closing > before, "no closing stamp: the disks say {closing} as before");
    let vgs = ledger["vgs"].as_object().context("a ledger without VGs")?;
    let noted: Vec<_> = vgs.values().filter_map(|vg| vg["noted"]["stamp"].as_u64()).collect();
    ensure!(noted == [closing], "the disks say {closing}, the ledger {noted:?}");
    stage.step(&format!("stopped: {mark}, stamp {closing}"));
    Ok(())
}

/// Nothing of ours is left on the storage, and the machine boots its volumes as before.
pub fn purge(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    close_gate(stage)?;
    let text =
        stage.guest().sh_within("DEBIAN_FRONTEND=noninteractive apt-get purge -y mirrorkeeper 2>&1", HEAL_LIMIT)?;
    println!("{}", text.trim_end());
    wait_for_autoactivation(stage.guest(), true)?;
    let tags =
        stage.guest().sh("vgs --noheadings -o tags vg0; lvs --noheadings -o tags vg0; pvs --noheadings -o tags")?;
    ensure!(!tags.contains("mirrorkeeper"), "tags are left: {tags:?}");
    for server in [Server::A, Server::B] {
        let disk = stage.guest().disk_of(server.letter())?;
        let keys = stage.guest().sh(&format!("sg_persist --no-inquiry --in --read-keys /dev/{disk}"))?;
        ensure!(keys.contains("no registered") || keys.contains("NO registered"), "a key is left on {disk}: {keys}");
    }
    let left = stage.guest().exec(&["sh", "-c", "ls -d /var/lib/mirrorkeeper /etc/mirrorkeeper*"])?.stdout;
    ensure!(left.trim().is_empty(), "files are left: {left:?}");
    stage.step("purged");
    reboot_alone(stage, Down::InOrder, None)?;
    wait_for_boot_mounts(stage)?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)
}

/// By the boot itself, not by hand.
fn wait_for_boot_mounts(stage: &Stage<'_>) -> Result<()> {
    wait_until("the boot to mount both", LOSS_LIMIT + Duration::from_secs(150), || {
        let exit = stage.guest().exec(&["sh", "-c", "mountpoint /mnt/r1 && mountpoint /mnt/testlv"])?;
        Ok(if exit.rc == 0 { Look::Done(()) } else { Look::NotYet(exit.stdout + &exit.stderr) })
    })?;
    stage.step("the boot has mounted both");
    Ok(())
}
