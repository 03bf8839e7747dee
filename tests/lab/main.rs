//! `lab`: a machine with two iSCSI servers in a box, to break and to watch.
//!
//! A QEMU guest runs the real stack - systemd, D-Bus, LVM, dmeventd, open-iscsi - and two target servers; the lab
//! installs the package, writes to the mirrors, takes servers away and brings them back, and judges what became of
//! every acknowledged write.

mod accel;
mod agent;
mod cache;
mod caller;
mod check;
mod demo;
mod evidence;
mod fault;
mod guest;
mod host;
mod image;
mod install;
mod lab;
mod lun;
mod mirror;
#[path = "../guest/protocol.rs"]
mod protocol;
mod qmp;
mod reading;
mod reboot;
mod roles;
mod run;
mod scenarios;
mod signals;
mod stage;
mod stock;
mod transcript;
mod trap;
mod up;
mod vm;
mod wait;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Two iSCSI servers and a client in a box, to break and to watch")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the guest's image and its stock snapshot, unless they are in the cache
    Build,
    /// Run scenarios: the core set, all, or some
    Run {
        /// Every scenario
        #[arg(long)]
        all: bool,
        /// Only this one; may be given several times
        #[arg(long)]
        only: Vec<String>,
        /// The package under test
        #[arg(long)]
        deb: Option<PathBuf>,
        /// Stop at the first failure and leave the guest up
        #[arg(long)]
        keep: bool,
    },
    /// Show the main job, with times
    Demo {
        /// The package to show
        #[arg(long)]
        deb: PathBuf,
    },
    /// Show the scenarios
    List,
    /// Start a guest at the stock snapshot and leave it running
    Up {
        /// Install this package in it
        #[arg(long)]
        deb: Option<PathBuf>,
    },
    /// End the guest of `up`
    Down,
    /// Run a command in the guest of `up`; one word is given to the shell
    #[command(trailing_var_arg = true)]
    Exec {
        #[arg(required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Copy a file into the guest of `up`
    Put { from: PathBuf, to: String },
    /// Copy a file out of the guest of `up`
    Get { from: String, to: PathBuf },
    /// Let something happen to a server in the guest of `up`: cut, kill, hang or return; a or b
    Fault { what: String, server: String },
    /// Keep the guest of `up` under a name
    Save { name: String },
    /// Take the guest of `up` back to a name (`stock` is always there)
    Load { name: String },
    /// Read commands from standard input and run them in the guest of `up`
    Shell,
}

fn main() -> Result<()> {
    progress_start();
    match Cli::parse().command {
        Command::Build => stock::build().map(drop),
        Command::Run { all, only, deb, keep } => {
            run::run(&run::Options { all, only: &only, deb: deb.as_deref(), keep })
        }
        Command::Demo { deb } => demo::demo(&deb),
        Command::List => {
            run::list();
            Ok(())
        }
        Command::Up { deb } => up::up(deb.as_deref()),
        Command::Down => up::down(),
        Command::Exec { command } => up::exec(&command),
        Command::Put { from, to } => up::put(&from, &to),
        Command::Get { from, to } => up::get(&from, &to),
        Command::Fault { what, server } => up::fault(&what, &server),
        Command::Save { name } => up::save(&name),
        Command::Load { name } => up::load(&name),
        Command::Shell => up::shell(),
    }
}

static START: OnceLock<Instant> = OnceLock::new();

fn progress_start() {
    START.get_or_init(Instant::now);
}

/// One line for whoever watches, with the seconds since the start.
fn progress(text: &str) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs();
    println!("[{seconds:4} s] {text}");
}
