//! The services that the daemon lives with go away while a server does: bus and polkit. It heals without them.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::caller::{ASK_FIRST, DENIED, MANAGER, ROOT, VISITOR};
use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::mirror_path;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// The bus is killed and restarted while a leg is lost, and is not there at all during the heal. polkitd is killed as well,
/// and kept from coming back.
pub fn bus_gone(stage: &mut Stage<'_>) -> Result<()> {
    stage.guest().add_user(VISITOR)?;
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    polkit_gone(stage)?;
    for command in ["kill --kill-whom=main -s KILL", "restart"] {
        stage.guest().sh(&format!("systemctl {command} dbus.service"))?;
        back_on_the_bus(stage, &format!("`systemctl {command}`"))?;
    }
    let since = stage.guest().clock()?;
    // The socket would start it again.
    stage.guest().sh("systemctl stop dbus.socket dbus.service")?;
    stage.step("no bus; B returns");
    Fault::Cut.undo(stage.guest(), Server::B)?;
    healed_without_a_word(stage)?;
    stage.guest().sh("systemctl start dbus.socket dbus.service")?;
    back_on_the_bus(stage, "it was started again")?;
    stage.wait_for_redundancy("the bus came back")?;
    for volume in VOLUMES {
        let path = mirror_path(volume);
        let told = |code: &str, history: &[serde_json::Value]| {
            history.iter().any(|e| e[0].as_u64() > Some(since) && e[1] == code && e[3] == path.as_str())
        };
        let history = stage.guest().history()?;
        ensure!(told("mirror-redundant", &history), "History() does not know that {volume} was healed: {history:?}");
    }
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Waits by the kernel's word alone: nobody else could be asked.
fn healed_without_a_word(stage: &mut Stage<'_>) -> Result<()> {
    let start = Instant::now();
    for volume in VOLUMES {
        wait_until(&format!("{volume} to be healed without a bus"), HEAL_LIMIT, || {
            let status = stage.guest().dm_status(volume)?;
            let flagged = stage.guest().sh("dmsetup table vg0-r1")?.contains("write_mostly");
            let healed = status.is_whole() && !flagged;
            Ok(if healed { Look::Done(()) } else { Look::NotYet(format!("{status:?}, flagged: {flagged}")) })
        })?;
    }
    stage.figure(format!("healed without a bus in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Waits until the daemon answers on the bus there is now.
fn back_on_the_bus(stage: &mut Stage<'_>, after: &str) -> Result<()> {
    let start = Instant::now();
    wait_until("the daemon to be on the bus again", LOSS_LIMIT, || {
        stage.guest().property(MANAGER, "Manager", "State").map(Look::Done)
    })?;
    stage.figure(format!("on the bus {:.1} s after {after}", start.elapsed().as_secs_f64()));
    Ok(())
}

/// A polkitd that was killed is started again by the bus, by the very question; where it cannot be, only root may.
fn polkit_gone(stage: &Stage<'_>) -> Result<()> {
    let guest = stage.guest();
    let rescan = |user: &str| guest.call_as(user, MANAGER, "Manager.Rescan");
    guest.sh("systemctl start polkit; systemctl kill --kill-whom=main -s KILL polkit
         while systemctl is-active -q polkit; do :; done")?;
    let refused = rescan(VISITOR)?;
    ensure!(refused == Err(ASK_FIRST.to_owned()), "with polkit started anew: {refused:?}");
    ensure!(guest.sh("systemctl is-active polkit")?.trim() == "active", "polkit was not started by the question");
    guest.sh("systemctl mask --runtime --now -q polkit")?;
    let refused = rescan(VISITOR)?;
    ensure!(refused == Err(DENIED.to_owned()), "without polkit: {refused:?}");
    let called = rescan(ROOT)?;
    ensure!(called.is_ok(), "root was refused without polkit: {called:?}");
    guest.sh("systemctl unmask --runtime -q polkit")?;
    stage.step("without polkit only root may");
    Ok(())
}
