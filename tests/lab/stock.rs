//! The machine as its administrator left it before mirrorkeeper came: two servers, two mirrors, nothing to heal them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::accel::Accel;
use crate::cache::{self, Fingerprint};
use crate::guest::Guest;
use crate::host;
use crate::image::{self, Image};
use crate::progress;
use crate::vm::{Role, Spec, Vm};
use crate::wait::{Look, wait_until};

/// Name of the snapshot.
pub const SNAPSHOT: &str = "stock";

/// The mirrors: one of each kind the project heals.
pub const VOLUMES: [&str; 2] = ["vg0/r1", "vg0/testlv"];

/// A client's disk with the snapshot in it, in the cache; runs work on copies.
#[derive(Clone)]
pub struct Stock {
    /// What it was booted from.
    pub image: Image,
    /// How guests run here.
    pub accel: Accel,
    /// The client's disk.
    pub disk: PathBuf,
    /// The disk that carries `lab-guest`.
    pub program: PathBuf,
}

/// Makes it unless the cache has it.
pub fn build() -> Result<Stock> {
    host::require()?;
    let image = image::build()?;
    let accel = Accel::choose(&image)?;
    let program = guest_program()?;
    let key = Fingerprint::new()
        .add(image.fingerprint.name().as_bytes())
        .add(accel.word().as_bytes())
        .add(include_bytes!("stock.rs"))
        .add(include_bytes!("vm.rs"))
        .add(&program);
    let dir = cache::entry("stock", key, |draft| make(draft, &image, accel, &program))?;
    Ok(Stock { image, accel, disk: dir.join("client.qcow2"), program: dir.join("lab-guest.img") })
}

fn guest_program() -> Result<Vec<u8>> {
    let path = std::env::current_exe()?.with_file_name("lab-guest");
    fs::read(&path).with_context(|| format!("reading {}; `cargo build -p mirrorkeeper-tests` makes it", path.display()))
}

fn make(draft: &Path, image: &Image, accel: Accel, program: &[u8]) -> Result<()> {
    let disk = draft.join("client.qcow2");
    overlay(image, &disk)?;
    // A disk has whole sectors; programs do not mind what follows them.
    let mut padded = program.to_vec();
    padded.resize(program.len().next_multiple_of(4096), 0);
    fs::write(draft.join("lab-guest.img"), padded)?;
    let spec = Spec {
        role: Role::Client,
        image,
        accel,
        dir: draft.join("vm"),
        disk,
        program: draft.join("lab-guest.img"),
        data: None,
        wire: (crate::lab::free_port()?, crate::lab::free_port()?),
        paused: false,
        detached: false,
    };
    progress("booting the guest");
    let vm = Vm::start(&spec)?;
    let guest = &vm.guest;
    progress("setting up servers, sessions and mirrors");
    wait_for_units(guest, &["lab-net", "lab-target@a", "lab-target@b", "iscsid.socket"])?;
    log_in(guest, "10.10.1.2", 'a', 5)?;
    log_in(guest, "10.10.2.2", 'b', 5)?;
    make_volumes(guest, 'a', 'b')?;
    // As after any boot with node records: without this service nobody logs the sessions out when the machine goes down.
    guest.sh("systemctl start open-iscsi.service")?;
    // Less memory to keep and to load.
    guest.sh("sync; echo 3 > /proc/sys/vm/drop_caches")?;
    progress("keeping it as a snapshot");
    vm.save(SNAPSHOT)
}

/// An empty overlay on the image's root disk.
pub fn overlay(image: &Image, disk: &Path) -> Result<()> {
    host::tool(
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(&image.root).arg(disk),
    )
}

/// Waits until units are active.
pub fn wait_for_units(guest: &Guest, units: &[&str]) -> Result<()> {
    for unit in units {
        wait_until(&format!("{unit} to be active"), Duration::from_secs(120), || {
            let state = guest.exec(&["systemctl", "is-active", unit])?.stdout;
            Ok(if state.trim() == "active" { Look::Done(()) } else { Look::NotYet(state) })
        })?;
    }
    Ok(())
}

/// Discovery and login, as an administrator does it; `timeout` is his choice of replacement_timeout.
pub fn log_in(guest: &Guest, address: &str, letter: char, timeout: u32) -> Result<()> {
    guest.sh(&format!(
        "iscsiadm -m discovery -t sendtargets -p {address}
         iqn=iqn.2006-01.com.openfiler:linuxtest1lv-{letter}
         iscsiadm -m node -T $iqn -p {address} -o update -n node.session.timeo.replacement_timeout -v {timeout}
         iscsiadm -m node -T $iqn -p {address} --login
         udevadm settle"
    ))?;
    wait_until("the disk of that server", Duration::from_secs(30), || guest.disk_of(letter).map(Look::Done))?;
    Ok(())
}

/// VG, one mirror of each kind on two servers' disks, file systems, mounts. The first server's leg is leg 0.
pub fn make_volumes(guest: &Guest, first: char, second: char) -> Result<()> {
    let (p, q) = (guest.disk_of(first)?, guest.disk_of(second)?);
    let limit = Duration::from_secs(180);
    guest.sh_within(
        &format!(
            "vgcreate -y vg0 /dev/{p} /dev/{q}
             lvcreate -y --type raid1 -m1 -L 128M -n r1 vg0 /dev/{p} /dev/{q}
             lvcreate -y --type mirror --mirrorlog core -m1 -L 64M -n testlv vg0 /dev/{p} /dev/{q}"
        ),
        limit,
    )?;
    for volume in VOLUMES {
        let (device, name) = (format!("/dev/{volume}"), volume.trim_start_matches("vg0/"));
        wait_for_whole(guest, volume)?;
        // No lazy initialisation: it would go on writing under the scenarios.
        guest.sh_within(
            &format!(
                "mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 {device}
                 grep -q '^{device} ' /etc/fstab || echo '{device} /mnt/{name} ext4 _netdev,nofail 0 0' >> /etc/fstab
                 systemctl daemon-reload
                 mount /mnt/{name}"
            ),
            limit,
        )?;
    }
    let monitored = guest.sh("lvs --noheadings -o seg_monitor vg0/testlv")?;
    ensure!(monitored.trim() == "monitored", "dmeventd does not watch vg0/testlv: {monitored:?}");
    Ok(())
}

/// Waits until the kernel says that all legs are alive and everything is copied.
pub fn wait_for_whole(guest: &Guest, volume: &str) -> Result<()> {
    wait_until(&format!("{volume} to be whole"), Duration::from_secs(180), || {
        let status = guest.dm_status(volume)?;
        Ok(if status.is_whole() { Look::Done(()) } else { Look::NotYet(format!("{status:?}")) })
    })
}
