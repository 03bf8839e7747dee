//! The ledger on the root disk: `ledger.json` in the state directory.
//!
//! A reader finds either the old ledger or the new one, never half of one: written beside it, fsynced, renamed over it,
//! directory fsynced. One that cannot be understood is put aside for a person, never overwritten, never guessed at. The
//! loop does not wait for the disk: [`Saver`] writes on a blocking thread and reports back as an input.

use mirrorkeeper_core::engine::LedgerFound;
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::ledger::{Ledger, VERSION};
use mirrorkeeper_core::time::Wall;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Name of the file.
const NAME: &str = "ledger.json";

/// More than this is not a ledger. A mirror takes 4 KiB at most, so this is four thousand mirrors with all that could ever
/// happen to them.
const MAX_BYTES: u64 = 16 << 20;

/// How long a save may take before the engine is told that it fails. A loaded disk takes a second or two for an fsync;
/// a disk that needs more than this is in trouble, and nothing may be started that the ledger does not justify.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A system call failed.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// It is not a ledger that this version understands.
    #[error("{path}: {why}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Whether the state directory is ours alone.
#[derive(Debug)]
pub enum Locked {
    /// Yes, for as long as this lives.
    Ours(Flock<File>),
    /// Another process has it.
    Taken,
}

/// Claims the state directory (made with mode 0700 if absent). The kernel lets go of the claim when we end, however we
/// end; children do not inherit it.
///
/// # Errors
/// When the directory cannot be made or opened.
pub fn lock(dir: &Path) -> Result<Locked, LedgerError> {
    make(dir)?;
    let file = File::open(dir).map_err(io_error("open", dir))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Locked::Ours(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(Locked::Taken),
        Err((_, error)) => Err(io_error("lock", dir)(error.into())),
    }
}

fn make(dir: &Path) -> Result<(), LedgerError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io { action, path, source }
}

/// Reads the ledger in `dir`. One that cannot be used is renamed to `ledger.json.damaged-SECONDS` (of `now`).
pub fn load(dir: &Path, now: Wall) -> LedgerFound {
    let path = dir.join(NAME);
    match read(&path) {
        Ok(Some(ledger)) => LedgerFound::Good(Box::new(ledger)),
        Ok(None) => LedgerFound::Absent,
        Err(error @ LedgerError::Io { .. }) => LedgerFound::Damaged(error.to_string()),
        Err(error @ LedgerError::Content { .. }) => {
            let aside = dir.join(format!("{NAME}.damaged-{}", now.0 / 1_000_000));
            LedgerFound::Damaged(match std::fs::rename(&path, &aside) {
                Ok(()) => format!("{error}; kept as {}", aside.display()),
                Err(rename) => format!("{error}; could not be renamed to {}: {rename}", aside.display()),
            })
        }
    }
}

fn read(path: &Path) -> Result<Option<Ledger>, LedgerError> {
    let mut text = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
        Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(io_error("read", path))?,
    };
    let content = |why| LedgerError::Content { path: path.to_owned(), why };
    if text.len() as u64 > MAX_BYTES {
        return Err(content(format!("longer than {MAX_BYTES} bytes")));
    }
    parse(&text).map(Some).map_err(content)
}

/// Version first: a newer format would only give a riddle about some unknown field.
fn parse(text: &[u8]) -> Result<Ledger, String> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    if version != VERSION {
        return Err(format!("format version {version}, this daemon reads {VERSION}"));
    }
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

/// Puts the ledger on disk in `dir` (made with mode 0700 if absent), and returns when it is safe there.
///
/// # Errors
/// The step that failed. The ledger that was there before is then still whole, unless only the last fsync failed.
pub fn save(dir: &Path, ledger: &Ledger) -> Result<(), LedgerError> {
    let (path, temp) = (dir.join(NAME), dir.join(format!("{NAME}.new")));
    // In one line: set out for reading, a mirror with all its incidents would take more than its 4 KiB.
    let mut text = serde_json::to_vec(ledger)
        .map_err(|e| LedgerError::Content { path: path.clone(), why: format!("cannot be put into JSON: {e}") })?;
    text.push(b'\n');
    make(dir)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temp).map_err(io_error("create", &temp))?;
    file.write_all(&text).map_err(io_error("write", &temp))?;
    file.sync_all().map_err(io_error("fsync", &temp))?;
    std::fs::rename(&temp, &path).map_err(io_error("rename to ledger.json:", &temp))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error("fsync", dir))
}

/// Saves in the background, one at a time; of several that wait only the newest is written.
#[derive(Debug)]
pub struct Saver {
    wanted: watch::Sender<Option<Arc<Ledger>>>,
}

impl Saver {
    /// Starts the task. Each end of a save is reported to `results` as [`Input::LedgerSaved`].
    pub fn start(dir: PathBuf, results: mpsc::Sender<Input>) -> Self {
        Self::start_with(move |ledger| save(&dir, ledger).map_err(|e| e.to_string()), results)
    }

    fn start_with<F>(write: F, results: mpsc::Sender<Input>) -> Self
    where
        F: Fn(&Ledger) -> Result<(), String> + Clone + Send + 'static,
    {
        let (wanted, mut newest) = watch::channel(None::<Arc<Ledger>>);
        tokio::spawn(async move {
            while newest.changed().await.is_ok() {
                let Some(ledger) = newest.borrow_and_update().clone() else { continue };
                let (generation, write) = (ledger.generation, write.clone());
                let mut writing = tokio::task::spawn_blocking(move || write(&ledger));
                let ended = match tokio::time::timeout(DEADLINE, &mut writing).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        let late = format!("still being written after {} s", DEADLINE.as_secs());
                        if results.send(Input::LedgerSaved(generation, Err(late))).await.is_err() {
                            return;
                        }
                        writing.await
                    }
                };
                let ended = ended.unwrap_or_else(|e| Err(format!("the writing thread died: {e}")));
                if results.send(Input::LedgerSaved(generation, ended)).await.is_err() {
                    return;
                }
            }
        });
        Self { wanted }
    }

    /// Asks for this ledger to be saved. Returns at once.
    pub fn save(&self, ledger: Arc<Ledger>) {
        self.wanted.send_replace(Some(ledger));
    }
}

#[cfg(test)]
mod tests;
