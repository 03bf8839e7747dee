//! Logging that never waits: entries go into a bounded queue, one thread hands them to journald.
//!
//! journald stalls when its disk does, and `tracing-journald` stalls with it, at the very moment when this daemon has to
//! act. So the caller only copies the fields; when the queue is full the entry is dropped and counted, and the count is
//! logged when there is room again. The thread rebuilds each entry under its own static metadata and gives it to
//! `tracing-journald`, or to standard error when that is not the journal.

mod event;

pub use event::{MESSAGE_IDS, message_id, publish};

use std::fmt::Debug;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tracing::dispatcher::{self, Dispatch};
use tracing::field::{Field, Visit, display};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber, Value};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, fmt};

/// Entries that may wait. A bad moment makes a few dozen, each well under 1 KiB.
const QUEUE: usize = 1024;

/// How long the end of the daemon waits for the last entries.
const FLUSH: Duration = Duration::from_millis(500);

/// Value of the field `severity` that stands above an error.
const CRITICAL: &str = "critical";

/// An entry on its way: where it was logged and what was said.
struct Record {
    metadata: &'static Metadata<'static>,
    values: Vec<(Field, String)>,
}

enum Message {
    Record(Record),
    /// Answered when everything before it has been written.
    Flush(mpsc::SyncSender<()>),
}

/// The half that callers see: copies, never waits.
struct Queue {
    entries: mpsc::SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.values.push((field.clone(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.values.push((field.clone(), format!("{value:?}")));
    }
}

impl<S: Subscriber> Layer<S> for Queue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = Record { metadata: event.metadata(), values: Vec::new() };
        event.record(&mut record);
        if self.entries.try_send(Message::Record(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Record {
    /// Says it again, to the subscriber of this thread.
    fn replay(&self) {
        let values: Vec<_> = self.values.iter().map(|(field, text)| (field, display(text))).collect();
        let mut slots: [(&Field, Option<&dyn Value>); 32] = match values.first() {
            Some((field, _)) => [(*field, None); 32],
            None => return,
        };
        for (slot, (field, value)) in slots.iter_mut().zip(&values) {
            *slot = (*field, Some(value));
        }
        Event::dispatch(self.metadata, &self.metadata.fields().value_set(&slots));
    }

    fn is_critical(&self) -> bool {
        self.values.iter().any(|(field, text)| field.name() == "severity" && text == CRITICAL)
    }
}

/// Keeps the way to the queue's end; see [`Log::flush`].
pub struct Log {
    entries: mpsc::SyncSender<Message>,
}

impl Log {
    /// Starts logging for the whole process, at `level` and above.
    ///
    /// # Errors
    /// When the thread cannot be started or logging was started before.
    pub fn start(level: LevelFilter) -> std::io::Result<Self> {
        let (queue, log) = queue(QUEUE, Sinks::open)?;
        let subscriber = Registry::default().with(level).with(queue);
        tracing::subscriber::set_global_default(subscriber).map_err(std::io::Error::other)?;
        Ok(log)
    }

    /// Waits until what was logged so far is written, but not long: the journal may be stalled for good.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        let until = Instant::now() + FLUSH;
        let mut message = Message::Flush(done);
        while let Err(mpsc::TrySendError::Full(back)) = self.entries.try_send(message) {
            if Instant::now() >= until {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Where the thread writes: one subscriber for most entries, one that maps its errors to PRIORITY=2.
struct Sinks {
    normal: Dispatch,
    critical: Dispatch,
}

impl Sinks {
    /// The journal if standard error goes there or nowhere useful, else standard error.
    fn open() -> Self {
        let journald = |error| {
            let layer = tracing_journald::layer()?.with_field_prefix(None).with_priority_mappings(PriorityMappings {
                error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            });
            Ok::<_, std::io::Error>(Dispatch::new(Registry::default().with(layer)))
        };
        if stderr_is_journal() {
            if let (Ok(normal), Ok(critical)) = (journald(Priority::Error), journald(Priority::Critical)) {
                return Self { normal, critical };
            }
            let _ = writeln!(std::io::stderr(), "the journal's socket does not answer; logging to standard error");
        }
        let plain = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
        let normal = Dispatch::new(Registry::default().with(plain));
        Self { critical: normal.clone(), normal }
    }

    fn write(&self, record: &Record) {
        let sink = if record.is_critical() { &self.critical } else { &self.normal };
        dispatcher::with_default(sink, || record.replay());
    }
}

/// Starts the thread. `sinks` is opened there, since even that may wait for journald.
fn queue(capacity: usize, sinks: impl FnOnce() -> Sinks + Send + 'static) -> std::io::Result<(Queue, Log)> {
    let (entries, waiting) = mpsc::sync_channel(capacity);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&dropped);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        let sinks = sinks();
        for message in waiting {
            match message {
                Message::Record(record) => sinks.write(&record),
                Message::Flush(done) => drop(done.try_send(())),
            }
            let lost = counter.swap(0, Ordering::Relaxed);
            if lost > 0 {
                dispatcher::with_default(&sinks.normal, || {
                    tracing::warn!(lost, "{lost} log entries were dropped because the journal did not take them");
                });
            }
        }
    })?;
    Ok((Queue { entries: entries.clone(), dropped }, Log { entries }))
}

/// systemd says in JOURNAL_STREAM which device and inode its journal stream has; an inherited value may be about another
/// standard error (systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

#[cfg(test)]
mod tests;
