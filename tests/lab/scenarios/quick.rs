//! One server dies, and writes wait as long as the daemon had said: seconds, whichever leg it was.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::install::UNIT;
use crate::roles::HEALTHY;
use crate::stage::{LOSS_LIMIT, Stage, name};
use crate::stock::{self, VOLUMES};
use crate::wait::{Look, wait_until};

/// The longest that any one server may keep writers waiting with defaults.
const PROMISE: Duration = Duration::from_secs(10);

/// A server that hangs acknowledges TCP. iscsid's defaults find it: a NOP every 5 s, 5 s for an answer.
const NOPS: Duration = Duration::from_secs(10);

/// Defaults, as the package has them.
const DETECT: Duration = Duration::from_secs(3);

/// The leg that fails fast: the kernel alone gives it up.
pub fn quick_cut(stage: &mut Stage<'_>) -> Result<()> {
    one_dies(stage, Fault::Cut, Server::A)
}

/// The leg that waits: it is logged out.
pub fn anchor_cut(stage: &mut Stage<'_>) -> Result<()> {
    one_dies(stage, Fault::Cut, Server::B)
}

/// The same for a target that hangs.
pub fn quick_hang(stage: &mut Stage<'_>) -> Result<()> {
    one_dies(stage, Fault::Hang, Server::A)
}

/// The same for a target that hangs.
pub fn anchor_hang(stage: &mut Stage<'_>) -> Result<()> {
    one_dies(stage, Fault::Hang, Server::B)
}

fn one_dies(stage: &mut Stage<'_>, fault: Fault, server: Server) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    stage.start_writers()?;
    die_and_return(stage, fault, server)?;
    end(stage)
}

/// Server c carries leg 0, is quick, and loses its power: nothing says so, and what it had cached is gone.
pub fn quick_power_cut(stage: &mut Stage<'_>) -> Result<()> {
    power_cut(stage, ['c', 'a'], [(Server::C, "quick"), (Server::A, "anchor")])
}

/// The same as the anchor.
pub fn anchor_power_cut(stage: &mut Stage<'_>) -> Result<()> {
    power_cut(stage, ['a', 'c'], [(Server::A, "quick"), (Server::C, "anchor")])
}

fn power_cut(stage: &mut Stage<'_>, legs: [char; 2], roles: [(Server, &str); 2]) -> Result<()> {
    super::power::set_up_on(stage, legs, 120)?;
    stage.wait_for_roles(roles)?;
    let promised = promised(stage, Server::C)?;
    stage.start_writers()?;
    let since = stage.guest().clock()?;
    stage.lab.cut_server_power()?;
    stage.step("server c has no power");
    lose(stage)?;
    stage.check_stalls("Power cut", since, promised)?;
    let fenced = stage.events("target-fenced")?;
    ensure!(fenced == usize::from(legs[1] == 'c'), "{fenced} targets were fenced");
    stage.lab.start_server()?;
    stage.step("server c is back");
    stage.wait_for_redundancy("its return")?;
    // The mirror has its legs in another order now, so that either may wait.
    for (server, _) in roles {
        self::promised(stage, server)?;
    }
    end(stage)
}

/// What a server's silent death would cost, once that is no more than it may.
fn promised(stage: &Stage<'_>, server: Server) -> Result<Duration> {
    wait_until(&format!("{server:?} to be lost in {PROMISE:?}"), LOSS_LIMIT, || {
        let estimate = stage.guest().stall_estimate(server)?;
        Ok(if estimate <= PROMISE { Look::Done(estimate) } else { Look::NotYet(format!("{estimate:?}")) })
    })
}

/// What an administrator sets who wants it as short as it goes.
const TUNED: &str = "[timeouts]\\ndetect_timeout = 2\\nquick_timeout = 1\\n";

/// Both servers die, one after the other is healed.
pub fn tuned(stage: &mut Stage<'_>) -> Result<()> {
    tune(stage)?;
    stage.start_writers()?;
    for server in [Server::A, Server::B] {
        die_and_return(stage, Fault::Cut, server)?;
        stage.wait_for_limits(1, 2000)?;
    }
    end(stage)
}

/// Sets those, and waits until they are in force.
pub fn tune(stage: &Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.guest().sh(&format!(
        "mkdir -p /etc/mirrorkeeper.toml.d; printf '{TUNED}' > /etc/mirrorkeeper.toml.d/50-lab.toml
         systemctl reload {UNIT}"
    ))?;
    stage.wait_for_limits(1, 2000)
}

/// Dies under the writers, returns when both mirrors have gone on without it, and is healed.
fn die_and_return(stage: &mut Stage<'_>, fault: Fault, server: Server) -> Result<()> {
    let mut promised = stage.guest().stall_estimate(server)?;
    if fault == Fault::Hang {
        let detect = stage.guest().user_timeout(server)?.map_or(DETECT, |ms| Duration::from_millis(ms.into()));
        promised = promised - detect + NOPS;
    }
    let since = stage.guest().clock()?;
    let fenced = stage.events("target-fenced")?;
    fault.strike(stage.guest(), server)?;
    stage.step(&format!("{fault:?} {server:?}"));
    lose(stage)?;
    stage.check_stalls(&format!("{fault:?} {server:?}"), since, promised)?;
    let fenced = stage.events("target-fenced")? - fenced;
    ensure!(fenced == usize::from(server == Server::B), "{fenced} targets were fenced");
    stage.step(&format!("{server:?} returns"));
    fault.undo(stage.guest(), server)?;
    stage.wait_for_redundancy("its return")?;
    stage.wait_for_roles(HEALTHY)
}

/// Waits until the kernel has given a leg of each mirror up and writes go on.
pub fn lose(stage: &Stage<'_>) -> Result<()> {
    for volume in VOLUMES {
        stage.wait_for_dm(volume, "to lose its leg", |status| !status.is_whole())?;
        stage.wait_for_progress(volume, 20)?;
    }
    Ok(())
}

/// What every loss that was healed ends with.
pub fn end(stage: &mut Stage<'_>) -> Result<()> {
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}

/// Nobody in user space is needed to give a quick leg up.
pub fn daemon_dead(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    let promised = stage.guest().stall_estimate(Server::A)?;
    stage.start_writers()?;
    stage.guest().sh(&format!(
        "mkdir -p /run/systemd/system/{UNIT}.d; printf '[Service]\\nRestart=no\\n' > /run/systemd/system/{UNIT}.d/lab.conf
         systemctl daemon-reload; systemctl kill --kill-whom=main -s KILL {UNIT}
         while systemctl is-active -q {UNIT}; do :; done"
    ))?;
    let since = stage.guest().clock()?;
    Fault::Cut.strike(stage.guest(), Server::A)?;
    stage.step("the daemon is dead, and A is cut");
    lose(stage)?;
    stage.check_stalls("Cut A", since, promised)?;
    stage
        .guest()
        .sh(&format!("rm -r /run/systemd/system/{UNIT}.d; systemctl daemon-reload; systemctl start {UNIT}"))?;
    stock::wait_for_units(stage.guest(), &[UNIT])?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    Fault::Cut.undo(stage.guest(), Server::A)?;
    stage.wait_for_redundancy("its return")?;
    stage.wait_for_roles(HEALTHY)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// iscsid makes new sockets, a new daemon finds old ones: either way the limits are there again, and no leg is lost.
pub fn limits_return(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_limits(4, 3000)?;
    stage.start_writers()?;
    for unit in ["iscsid.service", UNIT, "iscsid.service"] {
        stage.guest().sh(&format!("systemctl restart {unit}"))?;
        stage.step(&format!("{unit} restarted"));
        wait_until("both sessions to be logged in", LOSS_LIMIT, || {
            let states = stage.guest().sh("cat /sys/class/iscsi_session/session*/state")?;
            let all_in = states.split_whitespace().all(|state| state == "LOGGED_IN");
            Ok(if all_in { Look::Done(()) } else { Look::NotYet(states) })
        })?;
        for volume in VOLUMES {
            stage.wait_for_progress(volume, 20)?;
        }
        stage.wait_for_limits(4, 3000)?;
        for volume in VOLUMES {
            let status = stage.guest().dm_status(volume)?;
            ensure!(status.health == "AA", "{} lost a leg: {status:?}", name(volume));
            stage.wait_for_state(volume, &["redundant"], LOSS_LIMIT)?;
        }
    }
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
