//! Without dmeventd nobody drops a dead leg of a core-log mirror, whose writers may hang until somebody does.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::roles::HEALTHY;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// dmeventd and its socket are stopped, then a server is lost.
pub fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    // The socket first: it takes lvm2-monitor.service along, which has every volume unwatched, so that dmeventd can end.
    stage.guest().sh("systemctl stop dm-event.socket; systemctl stop dm-event.service")?;
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        // dmeventd is given 30 s before its work is done for it.
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT + Duration::from_secs(60))?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its return")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// A flush fails on a leg whose server is back before anybody looks. With the next write the kernel calls the leg alive again,
/// and writes to the other one alone from then on; dmeventd finds nothing to repair, and without us whoever waits for the
/// flush waits for ever.
pub fn flush_kept(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    let signal = |signal: &str| stage.guest().sh(&format!("pkill -{signal} -x 'dmeventd|mirrorkeeperd'"));
    signal("STOP")?;
    Fault::Cut.strike(stage.guest(), Server::A)?;
    stage.guest().sh("systemd-run --quiet --no-block --unit=lab-sync sync -d /dev/vg0/testlv")?;
    stage.wait_for_dm("vg0/testlv", "to lose its leg", |status| status.health == "DA")?;
    Fault::Cut.undo(stage.guest(), Server::A)?;
    wait_until("server a's session", LOSS_LIMIT, || {
        let state = stage.guest().sh("cat /sys/class/iscsi_session/session1/state")?;
        Ok(if state.trim() == "LOGGED_IN" { Look::Done(()) } else { Look::NotYet(state) })
    })?;
    stage.guest().sh("dd if=/dev/zero of=/mnt/testlv/block bs=4k count=1 oflag=direct status=none")?;
    stage.wait_for_dm("vg0/testlv", "to call it alive", |status| status.health == "AA")?;
    signal("CONT")?;
    stage.step("all legs are called alive, and a flush waits");
    let start = Instant::now();
    wait_until("the flush to be done", LOSS_LIMIT, || {
        let state = stage.guest().sh("systemctl show -P ActiveState lab-sync.service")?;
        Ok(if state.trim() == "active" { Look::NotYet(state) } else { Look::Done(()) })
    })?;
    stage.figure(format!("the flush waited for {:.0} s more", start.elapsed().as_secs_f64()));
    stage.wait_for_redundancy("that")?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
