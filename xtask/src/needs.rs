//! What the tests need from the system: installed with apt when we are root, else named exactly.
//!
//! The lab has a list of its own. A C compiler and the Rust toolchain are taken for granted; without them this would
//! not run.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{cargo, through};

/// A program and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    // The bus tests start a private bus.
    ("dbus-daemon", "dbus-daemon"),
    ("busctl", "systemd"),
    // Packing.
    ("dpkg-deb", "dpkg"),
    // `$auto` in the package's dependencies.
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("xz", "xz-utils"),
];

/// Parts of the toolchain that a minimal installation lacks.
const COMPONENTS: &[&str] = &["fmt", "clippy"];

/// Makes sure that everything is there.
pub fn require() -> Result<()> {
    for component in COMPONENTS {
        let there = cargo(&[component, "--version"]).output().is_ok_and(|output| output.status.success());
        if !there {
            bail!("cargo {component} is missing; `rustup component add rustfmt clippy` installs it");
        }
    }
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !root() {
        bail!("missing on this machine: {0}\n  as root: apt-get install {0}", missing.join(" "));
    }
    through(Command::new("apt-get").args(["-q", "update"]))?;
    through(Command::new("apt-get").args(["-q", "install", "-y", "--no-install-recommends"]).args(&missing))
}

fn present(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).is_file())
}

fn root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
