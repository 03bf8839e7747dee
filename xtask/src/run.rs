//! Running tools: shown, timed, and stopped at the first that fails.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A counted list of steps.
pub struct Steps {
    start: Instant,
    done: usize,
    all: usize,
}

impl Steps {
    /// `all` steps to come.
    pub fn new(all: usize) -> Self {
        Self { start: Instant::now(), done: 0, all }
    }

    /// Runs a tool as the next step.
    pub fn run(&mut self, what: &str, mut command: Command) -> Result<()> {
        self.call(what, || through(&mut command))
    }

    /// Runs a function as the next step.
    pub fn call<T>(&mut self, what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.done += 1;
        println!("==== [{}/{}] {what}", self.done, self.all);
        let start = Instant::now();
        let result = step().with_context(|| format!("step {} of {}, {what}, failed", self.done, self.all))?;
        println!("==== [{}/{}] {what}: {:.1} s", self.done, self.all, start.elapsed().as_secs_f64());
        Ok(result)
    }

    /// Since the first.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Runs a tool with our own input and output; anything but success is an error.
pub fn through(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("     $ {line}");
    let status = command.status().with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// The cargo that runs us.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// The line as one would type it; `cargo` without its path.
fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, arg| line + " " + &arg.to_string_lossy())
}
