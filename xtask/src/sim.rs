//! The simulator's runner: `cargo xtask sim` hands it the rest of the command line, and a test run has it go through the
//! same schedules every time.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::run::{self, cargo};

/// Schedules of a test run, from seed 0. As many as keep every promise today (`CONTRIBUTING.md`): whoever breaks one of them
/// has changed what the daemon does. Some four minutes on two cores.
const SCHEDULES: &str = "100000";

/// Builds it, optimised.
pub fn build() -> Command {
    cargo(&[
        "build",
        "--quiet",
        "--release",
        "-p",
        "mirrorkeeper-sys",
        "--features",
        "sim",
        "--bin",
        "mirrorkeeper-sim",
    ])
}

/// Goes through the schedules of a test run, on so many cores; on all of them unless it is said.
pub fn schedules(cores: Option<&str>) -> Command {
    let mut command = program();
    command.args(["--seeds", SCHEDULES]);
    cores.map(|cores| command.args(["--jobs", cores]));
    command
}

/// Builds and runs.
pub fn run(args: &[OsString]) -> Result<()> {
    run::through(&mut build())?;
    run::through(program().args(args))
}

fn program() -> Command {
    Command::new(run::target().join("release/mirrorkeeper-sim"))
}
