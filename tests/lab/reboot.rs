//! The client goes down and comes up again, in good order or not; its servers live in the same guest and do as well.

use std::time::Duration;

use anyhow::Result;

use crate::fault::Server;
use crate::guest::Guest;
use crate::install::UNIT;
use crate::signals;
use crate::stage::Stage;
use crate::stock;
use crate::vm::BOOT_LIMIT;
use crate::wait::{Look, wait_until};

/// How the client goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// Everything is stopped and unmounted.
    InOrder,
    /// At once: what the client had only in memory is gone.
    PowerLoss,
}

/// Reboots with only some servers there, and waits for the daemon.
pub fn reboot(stage: &Stage<'_>, how: Down, off: Option<Server>) -> Result<()> {
    reboot_alone(stage, how, off)?;
    stock::wait_for_units(stage.guest(), &[UNIT])?;
    signals::record(stage.guest())?;
    stage.step(&format!("{UNIT} runs"));
    Ok(())
}

/// The same where there is no daemon, or none that starts.
pub fn reboot_alone(stage: &Stage<'_>, how: Down, off: Option<Server>) -> Result<()> {
    let guest = stage.guest();
    stage.step(&format!("{how:?}; boots with {}", off.map_or("both servers".to_owned(), |s| format!("{s:?} off"))));
    let boot = boot_id(guest)?;
    if let Some(server) = off {
        let s = server.letter();
        // Boot waits for this: one try is enough.
        guest.sh(&format!(
            "touch /etc/lab/off.{s}
             {} -o update -n node.session.initial_login_retry_max -v 1",
            server.node()
        ))?;
    }
    match how {
        // Servers do not go down with their clients: the lab's end last, when nobody uses them any more.
        Down::InOrder => guest
            .sh(&format!(
                "dir=/etc/systemd/system/lab-target@.service.d; mkdir -p $dir
                 printf '[Unit]\\nBefore=iscsid.service {UNIT}\\n' > $dir/outlive.conf
                 systemctl daemon-reload; systemctl --no-block reboot"
            ))
            .map(drop)?,
        // The servers do not lose their power: their files, and the lab's own, reach the guest's disk. The mirrors are
        // not flushed by this.
        Down::PowerLoss => {
            guest.sh("sync -f /root")?;
            stage.lab.vm.reset()?;
        }
    }
    wait_until("the guest to boot again", BOOT_LIMIT, || {
        let now = boot_id(guest)?;
        Ok(if now == boot { Look::NotYet("still the old boot".to_owned()) } else { Look::Done(()) })
    })?;
    for server in [Server::A, Server::B] {
        if off != Some(server) {
            stock::wait_for_units(guest, &[&format!("lab-target@{}", server.letter())])?;
        }
    }
    wait_until("open-iscsi to be done with its logins", Duration::from_secs(300), || {
        let state = guest.exec(&["systemctl", "is-active", "open-iscsi.service"])?.stdout;
        Ok(match state.trim() {
            "activating" | "inactive" => Look::NotYet(state),
            _ => Look::Done(()),
        })
    })
}

/// A server that was off at boot is switched on.
pub fn switch_on(stage: &Stage<'_>, server: Server) -> Result<()> {
    let s = server.letter();
    stage.step(&format!("{server:?} is switched on"));
    stage.guest().sh(&format!("rm /etc/lab/off.{s}; systemctl start lab-target@{s}")).map(drop)
}

fn boot_id(guest: &Guest) -> Result<String> {
    // A guest on its way down or up does not answer, and this must not wait for it.
    guest.agent().ping(Duration::from_secs(5))?;
    guest.sh("cat /proc/sys/kernel/random/boot_id")
}
