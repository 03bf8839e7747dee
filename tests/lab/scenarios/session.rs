//! Sessions in the hands of people: a logout and login, a restart of iscsid. And one that iscsid cannot have back.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::check::{Errors, final_check};
use crate::fault::Server;
use crate::install::UNIT;
use crate::signals;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// The disk comes back under a new name, while dm still holds the old one.
pub fn logout_login(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    let before = stage.guest().disk_of('b')?;
    let node = Server::B.node();
    stage.guest().sh(&format!("{node} --logout"))?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    stage.guest().sh(&format!("{node} --login"))?;
    stage.wait_for_redundancy("the login")?;
    let after = stage.guest().disk_of('b')?;
    stage.figure(format!("{before} became {after}"));
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}

/// Breaks a's connection, and the next one while iscsid sets its parameters: the fifth message to the kernel is one of them, and
/// strace gives us the time to act on it. Then iscsid binds in vain for ever (open-iscsi #387, mended in 2.1.9).
const SPRING: &str = r#"
    iscsid=$(pgrep -x iscsid | tail -n 1)
    cut() { ip netns exec nsa ss -K -tn '( sport = :3260 )' > /dev/null; }
    rm -f /run/said
    strace -p $iscsid -e trace=sendmsg -e inject=sendmsg:delay_exit=20000 -o /run/said 2> /run/attached & strace=$!
    until grep -q attached /run/attached; do :; done
    cut
    until [ "$(grep -c sendmsg /run/said)" -ge 5 ]; do :; done
    cut
    until [ "$(journalctl -u iscsid.service -o cat | grep -c "can't bind conn")" -ge 2 ]; do sleep 0.2; done
    kill $strace
"#;

/// The server has been there all the time; only iscsid cannot have it back. It is the quick one: a dead anchor is fenced, and
/// logged in anew.
pub fn iscsid_trapped(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.guest().sh_within(SPRING, LOSS_LIMIT)?;
    let sprung = Instant::now();
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    let disk = stage.guest().disk_of('a')?;
    stage.wait_for_redundancy("iscsid was trapped")?;
    let said = format!("journalctl -b -o cat -u {UNIT} | grep -c 'tell the kernel that connection' || true");
    let told = stage.guest().sh(&said)?;
    ensure!(told.trim() == "1", "the kernel was told {} times that the connection was stopped", told.trim());
    ensure!(stage.guest().disk_of('a')? == disk, "{disk} is gone: the session was logged out");
    stage.figure(format!("redundant {} s after iscsid was trapped", sprung.elapsed().as_secs()));
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}

/// How long after the restart the mirrors are watched: the second session is bounced some seconds after the first.
const WATCH: Duration = Duration::from_secs(30);

/// Both sessions are bounced for some seconds; that is no loss and must not look like one.
pub fn iscsid_restart(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.guest().sh("systemctl restart iscsid.service")?;
    let start = Instant::now();
    let mut lost = None;
    wait_until("both sessions to be logged in", LOSS_LIMIT, || {
        let states = stage.guest().sh("cat /sys/class/iscsi_session/session*/state")?;
        for volume in VOLUMES {
            let status = stage.guest().dm_status(volume)?;
            if status.health != "AA" {
                lost.get_or_insert_with(|| format!("{volume} lost a leg: {status:?}"));
            }
        }
        let all_in = states.split_whitespace().all(|state| state == "LOGGED_IN");
        Ok(if all_in && start.elapsed() > WATCH { Look::Done(()) } else { Look::NotYet(states) })
    })?;
    if let Some(lost) = lost {
        bail!(lost);
    }
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["redundant"], LOSS_LIMIT)?;
    }
    let messages = signals::read(stage.guest())?;
    for volume in VOLUMES {
        let states = signals::states(&messages, volume);
        let alarm = |state: &String| matches!(state.as_str(), "degraded" | "resyncing" | "failed");
        ensure!(!states.iter().any(alarm), "an alarm about {volume}: {states:?}");
        if !states.is_empty() {
            stage.figure(format!("{volume} announced {states:?}"));
        }
    }
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
