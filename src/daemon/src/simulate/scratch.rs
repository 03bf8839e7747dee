//! A directory of our own for as long as the process runs.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names that are tried. In a container every run may have the same process id, and a killed one leaves its directory.
const MOST: u32 = 100;

/// Removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one that nobody else can look into. One of that name that is there already is left alone: it may be anybody's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> io::Result<Self> {
        let mut n = 0;
        loop {
            let dir = std::env::temp_dir().join(format!("mirrorkeeper-simulate-{}-{n}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Self(dir)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < MOST => n += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} stays behind: {error}", self.0.display());
        }
    }
}
