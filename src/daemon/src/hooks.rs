//! Hooks: executables in `/etc/mirrorkeeper/hooks.d` that get each event as JSON on standard input.
//!
//! For mail, pagers and tickets. Events wait in a bounded queue and a task of its own calls the hooks, one after the other
//! by name; whoever is not done in time is killed. A hook that hangs or fails costs later events their call and nothing
//! else. Nothing is read from a hook but what it says when it fails.

use crate::bus::path;
use mirrorkeeper_core::op::OnDeadline;
use mirrorkeeper_core::snapshot::{Event, Object, Value};
use mirrorkeeper_sys::child::{self, Limits, Outcome};
use nix::unistd::geteuid;
use serde_json::{Map, json};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Where they are.
pub const DIR: &str = "/etc/mirrorkeeper/hooks.d";

/// How long one may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Events that may wait: some ten times those of a bad moment with one mirror. A hook that is slower than events come has
/// missed the point of being told.
const QUEUE: usize = 128;

/// What is kept of what a hook says.
const OUTPUT: usize = 4096;

/// The way to the task that calls them. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    events: mpsc::Sender<Event>,
    missed: Arc<AtomicUsize>,
}

impl Hooks {
    /// Calls those in `dir`, which need not exist. Needs a tokio runtime.
    pub fn start(dir: PathBuf) -> Self {
        let (events, mut waiting) = mpsc::channel::<Event>(QUEUE);
        let missed = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&missed);
        tokio::spawn(async move {
            while let Some(event) = waiting.recv().await {
                call_all(&dir, &document(&event), DEADLINE).await;
                let missed = counter.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    tracing::warn!(missed, "the hooks were not called for {missed} events: they are too slow");
                }
            }
        });
        Self { events, missed }
    }

    /// Calls none.
    pub fn none() -> Self {
        Self { events: mpsc::channel(1).0, missed: Arc::default() }
    }

    /// Has them called. Never waits.
    pub fn note(&self, event: &Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event.clone()) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a hook is told, in one line. `name` is the object's plain name: a mirror's `VG/LV`, a target's `IQN,PORTAL`, a
/// server's, a job's number.
fn document(event: &Event) -> Vec<u8> {
    let details: Map<_, _> = event.details.iter().map(|(name, value)| ((*name).to_owned(), plain(value))).collect();
    let name = match &event.object {
        Object::Manager => String::new(),
        Object::Mirror(name) | Object::Server(name) => name.to_string(),
        Object::Target(key) => key.to_string(),
        Object::Job(id) => id.0.to_string(),
    };
    let document = json!({
        "at_usec": event.at.0,
        "code": event.code.word(),
        "severity": event.severity.word(),
        "object": path::object(&event.object).as_str(),
        "name": name,
        "details": details,
    });
    format!("{document}\n").into_bytes()
}

fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::F64(value) => json!(value),
        Value::Str(value) => json!(value),
        Value::Strs(values) => json!(values),
    }
}

/// Calls every hook with the same input, and says which of them did not do well.
async fn call_all(dir: &Path, input: &[u8], deadline: Duration) {
    let listing = dir.to_owned();
    let found = tokio::task::spawn_blocking(move || list(&listing)).await;
    let found = found.unwrap_or_else(|error| Err(io::Error::other(error)));
    let hooks = found.unwrap_or_else(|error| {
        tracing::warn!("no hook is called: listing {}: {error}", dir.display());
        Vec::new()
    });
    for hook in hooks {
        let limits = Limits { deadline, on_deadline: OnDeadline::Kill, max_output: OUTPUT };
        let argv = [hook.to_string_lossy().into_owned()];
        let said = match child::run(&argv, limits, Some(input.to_vec())).await {
            Outcome::Ended(ended) if ended.code == 0 => continue,
            Outcome::Ended(ended) => format!("exit status {}: {}", ended.code, ended.last_line()),
            Outcome::TimedOut => format!("killed: not done within {} s", deadline.as_secs_f32()),
            Outcome::NotStarted(why) => why,
        };
        tracing::warn!("hook {}: {said}", hook.display());
    }
}

/// The hooks, by name.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut hooks: Vec<_> = paths.into_iter().filter(|path| is_hook(path)).collect();
    hooks.sort();
    Ok(hooks)
}

/// A program that only root can have put there. Hidden files and what editors and package managers leave behind are none.
fn is_hook(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let leftover = |name: &str| name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-");
    if name.is_none_or(leftover) {
        return false;
    }
    let Ok(meta) = std::fs::metadata(path) else { return false };
    let runs = meta.is_file() && meta.mode() & 0o111 != 0;
    let ours = meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if runs && !ours {
        tracing::warn!("hook {}: not called, since others than root can change it", path.display());
    }
    runs && ours
}

#[cfg(test)]
mod tests;
