//! The client boots while a server is down.

use std::time::Duration;

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::install::UNIT;
use crate::signals;
use crate::stage::Stage;
use crate::stock::{self, VOLUMES};
use crate::vm::BOOT_LIMIT;
use crate::wait::{Look, wait_until};

/// Server b is off at boot, for longer than open-iscsi tries to log in; when it comes, so do the volumes.
pub fn without_b(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.stop_writers()?;
    stage.step("reboot with server b off");
    let boot = boot_id(stage)?;
    stage.guest().sh("touch /etc/lab/off.b; sync; systemctl --no-block reboot")?;
    wait_until("the guest to boot again", BOOT_LIMIT, || {
        let now = boot_id(stage)?;
        Ok(if now == boot { Look::NotYet("still the old boot".to_owned()) } else { Look::Done(()) })
    })?;
    stock::wait_for_units(stage.guest(), &["lab-target@a"])?;
    wait_until("open-iscsi to give up server b", Duration::from_secs(300), || {
        let state = stage.guest().exec(&["systemctl", "is-active", "open-iscsi.service"])?.stdout;
        Ok(match state.trim() {
            "activating" | "inactive" => Look::NotYet(state),
            _ => Look::Done(()),
        })
    })?;
    stock::wait_for_units(stage.guest(), &[UNIT])?;
    signals::record(stage.guest())?;
    let state = stage.guest().manager_state()?;
    stage.figure(format!("{state} without b"));
    stage.step(&format!("{UNIT} runs, state {state}; server b comes"));
    stage.guest().sh("rm /etc/lab/off.b; systemctl start lab-target@b")?;
    stage.wait_for_redundancy("server b came")?;
    for volume in VOLUMES {
        let name = crate::stage::name(volume);
        stage.guest().sh(&format!("mountpoint -q /mnt/{name} || mount /mnt/{name}"))?;
    }
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

fn boot_id(stage: &Stage<'_>) -> Result<String> {
    // A guest on its way down or up does not answer, and this must not wait for it.
    stage.guest().agent().ping(Duration::from_secs(5))?;
    stage.guest().sh("cat /proc/sys/kernel/random/boot_id")
}
