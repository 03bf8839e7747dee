//! A guest to keep, for developers: `up`, then any number of commands and faults, then `down`.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fault::{self, Fault, Server};
use crate::install;
use crate::lab::{self, Lab};
use crate::progress;
use crate::vm::Vm;

/// A command typed by hand may be one that waits for something.
const LIMIT: Duration = Duration::from_secs(3600);

fn dir() -> PathBuf {
    lab::dir().join("up/client")
}

/// Starts it.
pub fn up(deb: Option<&Path>) -> Result<()> {
    let lab = Lab::start("up", true)?;
    if let Some(deb) = deb {
        install::install(&lab.vm.guest, deb)?;
    }
    lab.vm.leave();
    progress("up; try: lab exec lvs -a, lab fault cut b, lab fault return b, lab down");
    Ok(())
}

/// Ends it.
pub fn down() -> Result<()> {
    Vm::attach(&dir())?.power_cut()
}

/// Runs one command; its exit status becomes ours.
pub fn exec(command: &[String]) -> Result<()> {
    let vm = Vm::attach(&dir())?;
    let argv: Vec<&str> = match command {
        [script] => vec!["sh", "-c", script],
        words => words.iter().map(String::as_str).collect(),
    };
    let exit = vm.guest.agent().exec(&argv, None, LIMIT)?;
    print!("{}", exit.stdout);
    eprint!("{}", exit.stderr);
    std::process::exit(exit.rc)
}

/// Copies a file in, with its mode.
pub fn put(from: &Path, to: &str) -> Result<()> {
    let mode = fs::metadata(from).with_context(|| format!("no {}", from.display()))?.permissions().mode() & 0o777;
    Vm::attach(&dir())?.guest.agent().put(&fs::read(from)?, to, mode)
}

/// Copies a file out.
pub fn get(from: &str, to: &Path) -> Result<()> {
    let data = Vm::attach(&dir())?.guest.agent().get(from)?;
    fs::write(to, data).with_context(|| format!("writing {}", to.display()))
}

/// Breaks or restores a server.
pub fn fault(what: &str, server: &str) -> Result<()> {
    let (vm, server) = (Vm::attach(&dir())?, Server::parse(server)?);
    match what {
        "return" => fault::restore(&vm.guest, server),
        what => Fault::parse(what)?.strike(&vm.guest, server),
    }
}

/// Keeps the guest as it is now.
pub fn save(name: &str) -> Result<()> {
    Vm::attach(&dir())?.save(name)
}

/// Goes back.
pub fn load(name: &str) -> Result<()> {
    Vm::attach(&dir())?.load(name)
}

/// A line, its output, the next line.
pub fn shell() -> Result<()> {
    let vm = Vm::attach(&dir())?;
    print!("lab> ");
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        let exit = vm.guest.agent().exec(&["sh", "-c", &line?], None, LIMIT)?;
        print!("{}", exit.stdout);
        eprint!("{}", exit.stderr);
        if exit.rc != 0 {
            println!("[{}]", exit.rc);
        }
        print!("lab> ");
        std::io::stdout().flush()?;
    }
    Ok(())
}
