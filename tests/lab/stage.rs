//! What a scenario plays on: a guest fresh from a snapshot, writers on both mirrors, and the words to wait in.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::guest::{DmStatus, Guest};
use crate::install::UNIT;
use crate::lab::Lab;
use crate::signals;
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// A silent cut is noticed and the leg given up within 8 s, a hang within 15 s; the rest is emulation.
pub const LOSS_LIMIT: Duration = Duration::from_secs(90);

/// From a server's return to redundancy: reconnecting (15 s), settling (10 s), heal, a check of 128 MiB, a full copy
/// of 64 MiB; in emulation on a busy machine.
pub const HEAL_LIMIT: Duration = Duration::from_secs(300);

/// Ledger writes in a scenario, generously: a loss and a heal take some 100.
const MOST_WRITES: u64 = 1000;

/// One scenario's stage.
pub struct Stage<'a> {
    /// The client.
    pub lab: &'a mut Lab,
    /// Printed with the verdict.
    pub figures: Vec<String>,
    start: Instant,
}

impl<'a> Stage<'a> {
    /// On a guest that has just been loaded.
    pub fn new(lab: &'a mut Lab) -> Self {
        Self { lab, figures: Vec::new(), start: Instant::now() }
    }

    /// The client.
    pub fn guest(&self) -> &Guest {
        &self.lab.vm.guest
    }

    /// Adds to the verdict's line.
    pub fn figure(&mut self, text: impl Into<String>) {
        self.figures.push(text.into());
    }

    /// A step, for the log of a run.
    pub fn step(&self, text: &str) {
        println!("         {:4} s  {text}", self.start.elapsed().as_secs());
    }

    /// Starts an fsync writer on each mirror and waits for the first acknowledged records.
    pub fn start_writers(&self) -> Result<()> {
        self.step("writers start on both mirrors");
        for volume in VOLUMES {
            let n = name(volume);
            self.guest().sh(&format!(
                "systemd-run --quiet --unit=lab-writer-{n} -p TimeoutStopSec=900 -p RequiresMountsFor=/mnt/{n} lab-guest writer \
                     --file /mnt/{n}/records --ledger /root/{n}.ledger --summary /root/{n}.summary"
            ))?;
        }
        for volume in VOLUMES {
            self.wait_for_progress(volume, 20)?;
        }
        Ok(())
    }

    /// Waits until a leg of a raid volume is write-mostly, and says how long that took.
    pub fn wait_for_flag(&self, dm: &str) -> Result<Duration> {
        let start = Instant::now();
        wait_until(&format!("{dm} has a write-mostly leg"), HEAL_LIMIT, || {
            let table = self.guest().sh(&format!("dmsetup table {dm}"))?;
            Ok(if table.contains("write_mostly") { Look::Done(()) } else { Look::NotYet(table) })
        })?;
        Ok(start.elapsed())
    }

    /// Waits until the writer of a mirror got `more` further records acknowledged.
    pub fn wait_for_progress(&self, volume: &str, more: u64) -> Result<()> {
        let count = || -> Result<u64> {
            let text = self.guest().sh(&format!("wc -l < /root/{}.ledger 2>/dev/null || echo 0", name(volume)))?;
            text.trim().parse().context("wc said no number")
        };
        let target = count()? + more;
        wait_until(&format!("{more} more records on {volume}"), LOSS_LIMIT, || {
            let now = count()?;
            Ok(if now >= target { Look::Done(()) } else { Look::NotYet(format!("{now} of {target}")) })
        })
    }

    /// Ends the writers; gives the sum of errors and adds the longest wait of each to the verdict.
    pub fn stop_writers(&mut self) -> Result<u64> {
        let mut errors = 0;
        let mut text = "longest stall".to_owned();
        for volume in VOLUMES {
            let n = name(volume);
            let summary = self.guest().sh_within(
                &format!("systemctl stop lab-writer-{n}; cat /root/{n}.summary"),
                Duration::from_secs(900),
            )?;
            let summary: Value = serde_json::from_str(&summary).context("reading a writer's summary")?;
            errors += summary["errors"].as_u64().unwrap_or(0);
            let stall = summary["longest_stall_ms"].as_f64().unwrap_or(f64::NAN) / 1000.0;
            write!(text, " {n} {stall:.1} s")?;
            if let Some(first) = summary["first_error"].as_str() {
                write!(text, " ({} errors, first: {first})", summary["errors"])?;
            }
        }
        self.figure(text);
        Ok(errors)
    }

    /// Waits until a mirror's `State` is one of `wanted`.
    pub fn wait_for_state(&self, volume: &str, wanted: &[&str], limit: Duration) -> Result<String> {
        let what = format!("State of {volume} to be {}", wanted.join(" or "));
        let state = wait_until(&what, limit, || {
            let state = self.guest().mirror_state(volume)?;
            Ok(if wanted.contains(&state.as_str()) { Look::Done(state) } else { Look::NotYet(state) })
        })?;
        self.step(&format!("{volume} is {state}"));
        Ok(state)
    }

    /// Waits until the daemon says that both mirrors are redundant, and the kernel agrees; tells how long it took.
    pub fn wait_for_redundancy(&mut self, since: &str) -> Result<()> {
        let start = Instant::now();
        // Both in one look: after a boot one may be compared once more while the other is still copied.
        wait_until("both mirrors to be redundant", HEAL_LIMIT, || {
            let states = VOLUMES.map(|volume| self.guest().mirror_state(volume));
            let states: Vec<String> = states.into_iter().collect::<Result<_>>()?;
            let all = states.iter().all(|state| state == "redundant");
            Ok(if all { Look::Done(()) } else { Look::NotYet(states.join(", ")) })
        })?;
        for volume in VOLUMES {
            let status = self.guest().dm_status(volume)?;
            ensure!(status.is_whole(), "{volume} is called redundant while the kernel says {status:?}");
        }
        self.figure(format!("redundant {} s after {since}", start.elapsed().as_secs()));
        Ok(())
    }

    /// Waits until the kernel's status of a mirror satisfies `wanted`.
    pub fn wait_for_dm(&self, volume: &str, what: &str, wanted: impl Fn(&DmStatus) -> bool) -> Result<DmStatus> {
        wait_until(&format!("{volume} {what}"), LOSS_LIMIT, || {
            let status = self.guest().dm_status(volume)?;
            Ok(if wanted(&status) { Look::Done(status) } else { Look::NotYet(format!("{status:?}")) })
        })
    }

    /// The path every heal must be seen to take: degraded, then resyncing or verifying, and redundant at the end.
    pub fn check_signals_of_a_heal(&self) -> Result<()> {
        let messages = signals::read(self.guest())?;
        for volume in VOLUMES {
            let states = signals::states(&messages, volume);
            let lost = states.iter().position(|state| state == "degraded");
            let Some(lost) = lost else { bail!("{volume} was never announced as degraded: {states:?}") };
            let healing = |state: &String| matches!(state.as_str(), "verifying" | "resyncing");
            ensure!(states[lost..].iter().any(healing), "no resync or verification of {volume} announced: {states:?}");
            ensure!(
                states.last().is_some_and(|state| state == "redundant"),
                "the last announced state of {volume} is not redundant: {states:?}"
            );
        }
        Ok(())
    }

    /// What the daemon remembers.
    pub fn ledger(&self) -> Result<Value> {
        let text = self.guest().sh("cat /var/lib/mirrorkeeper/ledger.json")?;
        serde_json::from_str(&text).context("reading the ledger")
    }

    /// The daemon runs, has not been restarted behind our back, and has not turned in circles.
    pub fn check_daemon(&self, restarts: u64) -> Result<()> {
        let text = self.guest().sh(&format!("systemctl show -P ActiveState -P NRestarts {UNIT}"))?;
        let words: Vec<&str> = text.split_whitespace().collect();
        ensure!(words.contains(&"active"), "{UNIT} is {words:?}");
        ensure!(words.contains(&restarts.to_string().as_str()), "{UNIT} was restarted: {words:?}, expected {restarts}");
        // Each is an fsync of the root disk. A plan that takes back in one turn what it noted in the last made 20 000.
        let writes = self.ledger()?["generation"].as_u64().context("a ledger without a generation")?;
        ensure!(writes < MOST_WRITES, "the ledger was written {writes} times");
        self.step(&format!("{UNIT} is well; its ledger was written {writes} times"));
        Ok(())
    }
}

/// `r1` of `vg0/r1`.
pub fn name(volume: &str) -> &str {
    volume.rsplit('/').next().unwrap_or(volume)
}
