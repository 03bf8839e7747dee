//! The daemon itself: killed at the worst moment, and left alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::Guest;
use crate::install::UNIT;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::{self, VOLUMES};

/// SIGKILL as soon as the heal has begun; systemd starts it again, and it must take up what is half done.
pub fn killed_in_a_heal(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Kill.undo(stage.guest(), Server::B)?;
    stage.wait_for_state("vg0/r1", &["resyncing", "verifying"], HEAL_LIMIT)?;
    let pid = main_pid(stage.guest())?;
    stage.guest().sh(&format!("kill -KILL {pid}; while kill -0 {pid} 2>/dev/null; do :; done"))?;
    stage.step("daemon killed");
    stock::wait_for_units(stage.guest(), &[UNIT])?;
    stage.wait_for_redundancy("its death")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(1)
}

/// How long nothing is done.
const MINUTE: u32 = 60;

/// PSS, voluntary context switches a minute, children.
pub fn idle(stage: &mut Stage<'_>) -> Result<()> {
    let pid = main_pid(stage.guest())?;
    // Measured by one command in the guest, so that asking does not wake what is measured. The first thread runs the
    // loop and the bus; the others come and go with work or wait for the log.
    let script = format!(
        "count() {{ awk '/^voluntary/ {{ print $2 }}' /proc/{pid}/task/{pid}/status; }}
         children() {{ ps -e -o ppid= | awk '$1 == {pid}' | wc -l; }}
         before=$(count); worst=$(children)
         i=0; while [ $i -lt {MINUTE} ]; do
             sleep 1; n=$(children); [ $n -le $worst ] || worst=$n; i=$((i + 1))
         done
         after=$(count)
         pss=$(awk '/^Pss:/ {{ print $2 }}' /proc/{pid}/smaps_rollup)
         echo $((after - before)) $worst $pss"
    );
    let text = stage.guest().sh_within(&script, Duration::from_secs(240))?;
    let figures: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let &[wakeups, children, pss] = figures.as_slice() else { anyhow::bail!("three figures expected: {text:?}") };
    stage.figure(format!(
        "PSS {:.1} MiB, {wakeups} wake-ups a minute, at most {children} children",
        pss as f64 / 1024.0
    ));
    ensure!(children == 0, "{children} child processes in a healthy minute");
    // Generous against the budget (8 MiB, 4 a minute), which is for a benchmark: this only catches what is broken.
    ensure!(pss < 24 * 1024, "PSS is {pss} KiB");
    ensure!(wakeups < 60, "{wakeups} wake-ups in a healthy minute");
    stage.check_daemon(0)
}

fn main_pid(guest: &Guest) -> Result<u32> {
    guest.sh(&format!("systemctl show -P MainPID {UNIT}"))?.trim().parse().context("systemctl says no PID")
}
