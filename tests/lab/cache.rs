//! Where the lab keeps what is slow to make, and how it knows that it is still the right thing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `$MIRRORKEEPER_LAB_CACHE`, else `$XDG_CACHE_HOME/mirrorkeeper-lab`, else `~/.cache/mirrorkeeper-lab`.
pub fn dir() -> Result<PathBuf> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = named("MIRRORKEEPER_LAB_CACHE")
        .or_else(|| named("XDG_CACHE_HOME").map(|base| base.join("mirrorkeeper-lab")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/mirrorkeeper-lab")))
        .context("none of MIRRORKEEPER_LAB_CACHE, XDG_CACHE_HOME and HOME is set")?;
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// A name for the sum of some inputs: the same inputs, the same name, on any machine and any day.
#[derive(Clone, Copy)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Takes in one more input (FNV-1a over 128 bits; the length keeps neighbours apart).
    pub fn add(mut self, data: &[u8]) -> Self {
        let len = (data.len() as u64).to_le_bytes();
        for byte in len.iter().chain(data) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        self
    }

    /// Sixteen hexadecimal digits, short enough for a directory name.
    pub fn name(self) -> String {
        format!("{:016x}", (self.0 >> 64) ^ (self.0 & u128::from(u64::MAX)))
    }
}

/// `dir/kind-NAME`, made by `make` in a directory beside it that is renamed when complete. Older ones of that kind
/// are removed, so that the cache does not grow with every change.
pub fn entry(kind: &str, key: Fingerprint, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = dir()?;
    let ready = root.join(format!("{kind}-{}", key.name()));
    if ready.is_dir() {
        return Ok(ready);
    }
    let draft = root.join(format!("{kind}-draft.{}", std::process::id()));
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft)?;
    make(&draft).inspect_err(|_| {
        let _ = fs::remove_dir_all(&draft);
    })?;
    for old in fs::read_dir(&root)?.flatten() {
        let name = old.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{kind}-")) && old.path() != draft {
            let _ = fs::remove_dir_all(old.path());
        }
    }
    fs::rename(&draft, &ready)?;
    Ok(ready)
}
