//! Developer commands: `cargo xtask demo`, `cargo xtask test` and their parts.
//!
//! Plain standard library on purpose: this is compiled before anything else can be done with a fresh checkout. It
//! only strings together tools that can also be run by hand; every command line it runs is printed.

mod bench;
mod needs;
mod package;
mod run;
mod sim;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::run::{Steps, cargo};

const USAGE: &str = "usage: cargo xtask COMMAND

  test           formatting, clippy, unit and bus tests, the package, the lab's core scenarios
  test --fast    without the package and the lab
  test --all     with every scenario of the lab
  demo           build the package and show the main job in the lab, with times
  package        build the .deb, in target/debian
  lab ARGS...    run the lab's own command; `cargo xtask lab help` shows what it can do
  bench          measure what is promised, and print it beside the budgets
  sim ARGS...    run schedules of the simulator: --seeds N [--from S] [--jobs J], or --seed S --trace";

/// The simulated machine, the tests that hold it to what was measured, and the daemon over it. No package has them.
const SIM: &str = "mirrorkeeper-sys/sim,mirrorkeeperd/simulate";

fn main() -> ExitCode {
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform() -> Result<()> {
    // Everything below is relative to the workspace, wherever it was called from.
    env::set_current_dir(workspace()).context("entering the workspace")?;
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    match words.as_slice() {
        ["test"] => test(Lab::Core),
        ["test", "--fast"] => test(Lab::None),
        ["test", "--all"] => test(Lab::All),
        ["demo"] => demo(),
        ["package"] => package::build().map(|deb| println!("{}", deb.display())),
        ["lab", ..] => {
            build_lab(&mut Steps::new(1))?;
            run::through(Command::new(lab_program()).args(&args[1..]))
        }
        ["bench"] => bench::run(),
        ["sim", ..] => sim::run(&args[1..]),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such command\n{USAGE}"),
    }
}

/// How much of the lab a test run takes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lab {
    None,
    Core,
    All,
}

fn test(lab: Lab) -> Result<()> {
    needs::require()?;
    let mut steps = Steps::new(if lab == Lab::None { 5 } else { 8 });
    steps.run("formatting", cargo(&["fmt", "--all", "--check"]))?;
    steps.run(
        "clippy",
        cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--features", SIM, "--", "-D", "warnings"]),
    )?;
    steps.run("tests", cargo(&["test", "--quiet", "--workspace", "--features", SIM]))?;
    steps.run("the simulator", sim::build())?;
    steps.run("schedules", sim::schedules(None))?;
    if lab != Lab::None {
        let deb = steps.call("package", package::build)?;
        build_lab(&mut steps)?;
        let mut scenarios = Command::new(lab_program());
        scenarios.arg("run").arg("--deb").arg(deb);
        if lab == Lab::All {
            scenarios.arg("--all");
        }
        steps.run("lab scenarios", scenarios)?;
    }
    println!("all passed in {} s", steps.elapsed().as_secs());
    Ok(())
}

fn demo() -> Result<()> {
    needs::require()?;
    let mut steps = Steps::new(3);
    let deb = steps.call("package", package::build)?;
    build_lab(&mut steps)?;
    let mut lab = Command::new(lab_program());
    lab.arg("demo").arg("--deb").arg(deb);
    steps.run("demo", lab)
}

fn build_lab(steps: &mut Steps) -> Result<()> {
    steps.run("the lab's programs", cargo(&["build", "--quiet", "--release", "-p", "mirrorkeeper-tests"]))
}

fn lab_program() -> PathBuf {
    run::target().join("release/lab")
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
