//! What the lab needs on this machine: installed with apt when we are root, else named exactly.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress;

/// A program that the lab runs, and the Debian package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("gpgv", "gpgv"),
];

/// Directories that a user's PATH may lack.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Makes sure that everything is there.
pub fn require() -> Result<()> {
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(tool, _)| !present(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing on this machine: {0}\n  as root: apt-get install {0}", missing.join(" "));
    }
    progress(&format!("installing {}", missing.join(" ")));
    apt(&["update"])?;
    // QEMU's own packages depend on each other by exact version. Where one of them came from another suite
    // (backports), apt would rather give up than step back, so the pair is named with the release's own suite.
    let suite = codename();
    if let (Some(suite), true) = (&suite, missing.contains(&"qemu-system-x86")) {
        let pair = [format!("qemu-system-x86/{suite}"), format!("qemu-utils/{suite}")];
        if apt(&["install", "-y", "--no-install-recommends", "--allow-downgrades", &pair[0], &pair[1]]).is_ok() {
            missing.retain(|package| !package.starts_with("qemu-"));
        }
    }
    let install: Vec<&str> = ["install", "-y", "--no-install-recommends"].into_iter().chain(missing).collect();
    apt(&install)?;
    match NEEDED.iter().find(|(tool, _)| !present(tool)) {
        None => Ok(()),
        Some((tool, package)) => bail!("{tool} is still missing after installing {package}"),
    }
}

fn present(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(SBIN).any(|dir| Path::new(dir).join(tool).is_file())
}

fn codename() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).map(|name| name.trim_matches('"').to_owned())
}

fn apt(args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("-q")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("running apt-get")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        bail!("apt-get {} failed:\n{}", args.join(" "), text.trim());
    }
    Ok(())
}

/// Runs a tool to its end; its output is shown only if it fails.
pub fn tool(command: &mut Command) -> Result<()> {
    // mke2fs and mmdebstrap live in or look for sbin.
    let path = std::env::var("PATH").unwrap_or_default() + ":" + &SBIN.join(":");
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("PATH", path).stdin(Stdio::null()).output().with_context(|| format!("running {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
