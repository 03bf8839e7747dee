//! The figures, measured and printed; nothing is asserted, and a machine that does something else meanwhile spoils them.

use std::process::Command;

use anyhow::Result;

use crate::run::{Steps, cargo};
use crate::sim;

/// Measures everything. Without the lab: what it measures of stalls and healing, its scenarios print.
pub fn run() -> Result<()> {
    let mut steps = Steps::new(4);
    steps.run("the daemon over a simulated machine", budgets("--no-run"))?;
    steps.run("latencies, start and memory by the number of mirrors", budgets("--quiet"))?;
    steps.run("the simulator", sim::build())?;
    // A core alone: outage cycles a second are promised of each, 20 000.
    steps.run("simulated outage cycles", sim::schedules(Some("1")))
}

fn budgets(how: &str) -> Command {
    cargo(&["bench", "-p", "mirrorkeeperd", "--features", "simulate", "--bench", "budgets", how])
}
