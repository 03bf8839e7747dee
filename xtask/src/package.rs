//! The Debian package. What goes into it is said in `src/daemon/Cargo.toml`; this only runs cargo-deb.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::run::{cargo, target, through};

/// Builds it and gives its path.
pub fn build() -> Result<PathBuf> {
    let tools = cargo_deb()?;
    through(&mut cargo(&["build", "--release", "-p", "mirrorkeeperd", "-p", "mirrorkeeper"]))?;
    let start = SystemTime::now();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([tools].into_iter().chain(env::split_paths(&path)))?;
    through(cargo(&["deb", "--quiet", "-p", "mirrorkeeperd", "--no-build"]).env("PATH", path))?;
    newest(&target().join("debian"), start)
}

/// Directory of a cargo-deb of our own, compiled once on a machine: nothing may depend on what somebody happened to
/// have installed, nor be compiled anew in every checkout.
fn cargo_deb() -> Result<PathBuf> {
    let root = cache()?.join("tools");
    let bin = root.join("bin");
    if !bin.join("cargo-deb").is_file() {
        println!("     compiling cargo-deb, once on this machine");
        let install: &mut Command = &mut cargo(&["install", "--quiet", "--locked", "cargo-deb", "--root"]);
        // Its objects are of no use to the workspace.
        through(install.arg(&root).env_remove("CARGO_TARGET_DIR"))?;
    }
    Ok(bin)
}

/// The same directory as the lab's cache; see `tests/lab/cache.rs`.
fn cache() -> Result<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("MIRRORKEEPER_LAB_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|base| base.join("mirrorkeeper-lab")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/mirrorkeeper-lab")))
        .context("none of MIRRORKEEPER_LAB_CACHE, XDG_CACHE_HOME and HOME is set")
}

/// The package that was just written: its name has the version in it, and older ones may lie beside it.
fn newest(dir: &Path, since: SystemTime) -> Result<PathBuf> {
    fs::read_dir(dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "deb"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(written, _)| *written >= since)
        .max()
        .map(|(_, path)| path)
        .with_context(|| format!("cargo deb wrote no package to {}", dir.display()))
}
