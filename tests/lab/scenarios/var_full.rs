//! The disk with the state directory is full: nothing that has to be remembered first is done.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::caller::ROOT;
use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::install::{self, UNIT};
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// `/var` becomes a file system of its own, so that filling it leaves LVM's backups and the lab's own files alone.
const OWN_VAR: &str = "systemctl stop mirrorkeeper
truncate -s 200M /root/var.img; mke2fs -q -t ext4 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 /root/var.img
mkdir /root/var; mount -o loop /root/var.img /root/var; cp -a /var/. /root/var/; umount /root/var
mount -o loop /root/var.img /var
systemctl restart systemd-journald; systemctl start mirrorkeeper";

/// Whatever somebody sets free, such as journald, is filled again.
const FILL: &str = "fallocate -l $(df --output=avail -B1 /var | tail -n 1) /var/full || true
systemd-run --quiet --unit=lab-filler sh -c \
    'while :; do dd if=/dev/zero of=/var/full bs=4k oflag=append conv=notrunc status=none 2>/dev/null; sleep 0.1; done'
until ! dd if=/dev/zero of=/var/probe bs=4k count=1 status=none 2>/dev/null; do rm -f /var/probe; done; rm -f /var/probe";

/// A server is lost and returns on a full disk: held, and healed when there is room again.
pub fn heals_when_there_is_room(stage: &mut Stage<'_>) -> Result<()> {
    stage.guest().sh_within(OWN_VAR, Duration::from_secs(300))?;
    install::wait_for_redundancy(stage.guest())?;
    stage.start_writers()?;
    stage.guest().sh(FILL)?;
    stage.step("/var is full");
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_hold("vg0/r1", &["ledger-unwritable"])?;
    let written = storage(stage)?;
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 300)?;
    }
    ensure!(storage(stage)? == written, "storage was written without a ledger: {written} became {}", storage(stage)?);
    let refused = stage.guest().call_as(ROOT, &Server::B.object(), "Server.EnterMaintenance")?;
    ensure!(refused == Err("org.mirrorkeeper1.Error.Busy".to_owned()), "maintenance was begun: {refused:?}");
    let findings = stage.guest().exec(&["mirrorkeeper", "diagnose"])?.stdout;
    ensure!(findings.contains("ledger-unwritable"), "`mirrorkeeper diagnose` does not say it: {findings}");
    ensure!(stage.events("resync-started")? == 0, "a copy was begun");
    stage.step("held, and nothing was done");

    stage.guest().sh("systemctl stop lab-filler; rm /var/full")?;
    stage.wait_for_redundancy("there was room again")?;
    wait_until("no hold", LOSS_LIMIT, || {
        let hold = stage.guest().hold("vg0/r1")?;
        Ok(if hold.is_empty() { Look::Done(()) } else { Look::NotYet(hold) })
    })?;
    let told = stage.events("ledger-damaged")?;
    ensure!(told == 1, "the full disk was told {told} times");
    let history = stage.guest().sh(&format!("journalctl -b -u {UNIT} -o cat | grep 'the history' || true"))?;
    stage.figure(history.trim().replace('\n', "; "));
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Number of the VG's metadata and what the legs are: both change with whatever the daemon does to storage.
fn storage(stage: &Stage<'_>) -> Result<String> {
    stage.guest().sh("vgs --noheadings -o seqno vg0; dmsetup table vg0-r1; dmsetup table vg0-testlv")
}
