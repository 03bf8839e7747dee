//! What a failed scenario leaves behind in `target/lab/evidence/NAME`, for whoever has to find out why.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::lab::{self, Lab};
use crate::progress;
use crate::vm::BOOT_LIMIT;

/// File and the command whose output goes there. None of them reads a disk that may be blocked, but for `lvs`, last.
const COMMANDS: &[(&str, &str)] = &[
    // With the boots before this one: a scenario may reboot.
    ("journal.txt", "journalctl --no-pager -o short-precise"),
    ("mirrorkeeper.json", "journalctl --no-pager -o json -u mirrorkeeper.service"),
    ("signals.jsonl", "cat /root/signals.jsonl"),
    ("dm.txt", "dmsetup status --noflush; dmsetup table; dmsetup info -c"),
    ("iscsi.txt", "iscsiadm -m session -P3"),
    (
        "status.txt",
        "mirrorkeeper status; mirrorkeeper plan vg0/r1; mirrorkeeper plan vg0/testlv
         systemctl status --no-pager mirrorkeeper.service 'lab-*'",
    ),
    (
        "objects.json",
        "busctl -j call org.mirrorkeeper1 /org/mirrorkeeper1 org.freedesktop.DBus.ObjectManager GetManagedObjects",
    ),
    ("state-directory.txt", "head -c 65536 /var/lib/mirrorkeeper/*"),
    ("ledgers.txt", "tail -n 5 /root/*.ledger /root/*.summary"),
    // What a trap let pass.
    ("commands.txt", "cat /run/lab/commands /run/lab/sprung"),
    ("lvm.txt", "timeout 30 lvs -a -o+devices,lv_health_status; timeout 30 pvs -o+uuid,vg_seqno"),
    (
        "metadata.txt",
        "for disk in /dev/disk/by-path/*-lun-1; do echo $disk; timeout 10 pvck --dump metadata $disk; done",
    ),
];

/// Where a scenario's evidence goes.
pub fn dir(scenario: &str) -> PathBuf {
    lab::dir().join("evidence").join(scenario)
}

/// Collects what can still be had.
pub fn collect(lab: &Lab, scenario: &str, reason: &str) -> Result<PathBuf> {
    let dir = dir(scenario);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("reason.txt"), format!("{reason}\n"))?;
    if lab.vm.guest.agent().ping(Duration::from_secs(20)).is_err() {
        // Stuck on its way down, for one. What it was like then is in the journal on its disk.
        progress("the guest does not answer; it is switched off and on for its journal");
        lab.vm.reset().and_then(|()| lab.vm.wait_for_agent(BOOT_LIMIT)).unwrap_or_else(|e| progress(&format!("{e:#}")));
    }
    for (file, command) in COMMANDS {
        let text = match lab.vm.guest.agent().exec(&["sh", "-c", command], None, Duration::from_secs(40)) {
            Ok(exit) => exit.stdout + &exit.stderr,
            Err(e) => format!("could not be had: {e:#}\n"),
        };
        fs::write(dir.join(file), text)?;
    }
    for (guest, log) in lab.consoles() {
        // A guest that never started has no console.
        let _ = fs::copy(log, dir.join(format!("console-{guest}.txt")));
    }
    Ok(dir)
}
