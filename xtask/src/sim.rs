//! `cargo xtask sim`: builds the simulator's runner in release mode and hands it the rest of the
//! command line.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::run::{self, cargo};

/// Builds and runs.
pub fn run(args: &[OsString]) -> Result<()> {
    let build =
        ["build", "--quiet", "--release", "-p", "mirrorkeeper-sys", "--features", "sim", "--bin", "mirrorkeeper-sim"];
    run::through(&mut cargo(&build))?;
    run::through(Command::new(run::target().join("release/mirrorkeeper-sim")).args(args))
}
