//! What happened, kept over restarts for `History()`: the entries of the signal `Event`, newest 10 000, 90 days.
//!
//! A convenience, and nothing decides by it: an entry that cannot be written is lost and counted, and the loop never waits
//! for the disk. One thread has the file; entries and questions reach it through one bounded queue, so that who was told of
//! an event finds it. The journal has the same entries, for as long as its administrator wants.

mod file;
mod line;

pub use file::MOST;
pub use line::{Entry, Fact, Facts};

use crate::clock;
use file::{Book, Damage};
use mirrorkeeper_core::snapshot::Event;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Entries and questions that may wait. A bad moment makes a few dozen; more wait only while the disk hangs.
const QUEUE: usize = 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The disk takes its time; or the thread could not be started.
    #[error("the history is not read at present: its disk does not answer, or too much is asked at once")]
    Stuck,
    /// It cannot be read.
    #[error("reading the history: {0}")]
    Unreadable(io::Error),
}

enum Message {
    Entry(Entry),
    Question { since: u64, limit: usize, answer: oneshot::Sender<io::Result<Vec<Entry>>> },
}

/// The way to the thread. Cheap to clone.
#[derive(Clone)]
pub struct History {
    messages: mpsc::SyncSender<Message>,
    lost: Arc<AtomicUsize>,
}

impl History {
    /// Keeps the history in `dir`. Without a thread nothing is kept, which is logged.
    pub fn start(dir: PathBuf) -> Self {
        let (messages, waiting) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicUsize::new(0));
        let mut keeper = Keeper { dir, book: None, lost: Arc::clone(&lost), silent: false };
        let started = std::thread::Builder::new().name("history".into()).spawn(move || keeper.run(&waiting));
        if let Err(error) = started {
            tracing::error!("no history is kept: starting its thread: {error}");
        }
        Self { messages, lost }
    }

    /// Keeps nothing and answers nothing.
    pub fn none() -> Self {
        Self { messages: mpsc::sync_channel(0).0, lost: Arc::default() }
    }

    /// Adds an event. Never waits.
    pub fn note(&self, event: &Event) {
        if self.messages.try_send(Message::Entry(event.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The newest `limit` entries (0: all there are) at `since` or later, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read, or the thread is busy with its disk.
    pub async fn read(&self, since: u64, limit: u32) -> Result<Vec<Entry>, Unanswered> {
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(MOST);
        let (answer, wait) = oneshot::channel();
        self.messages.try_send(Message::Question { since, limit, answer }).map_err(|_| Unanswered::Stuck)?;
        wait.await.map_err(|_| Unanswered::Stuck)?.map_err(Unanswered::Unreadable)
    }
}

/// The thread.
struct Keeper {
    dir: PathBuf,
    book: Option<Book>,
    lost: Arc<AtomicUsize>,
    /// That it does not work was said already.
    silent: bool,
}

impl Keeper {
    fn run(&mut self, waiting: &mpsc::Receiver<Message>) {
        // Mended at once rather than at the first event.
        self.write(&[]);
        while let Ok(first) = waiting.recv() {
            let mut entries = Vec::new();
            // What has come meanwhile is written in one go.
            for message in std::iter::once(first).chain(waiting.try_iter()) {
                match message {
                    Message::Entry(entry) => entries.push(entry),
                    Message::Question { since, limit, answer } => {
                        self.write(&std::mem::take(&mut entries));
                        // Whoever asked may have left.
                        let _ = answer.send(file::select(&self.dir, clock::now().wall, since, limit));
                    }
                }
            }
            self.write(&entries);
        }
    }

    fn write(&mut self, entries: &[Entry]) {
        match self.try_write(entries) {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if std::mem::take(&mut self.silent) || lost > 0 {
                    tracing::warn!(lost, "the history is written again; {lost} entries are missing from it");
                }
            }
            Err(error) => {
                self.lost.fetch_add(entries.len(), Ordering::Relaxed);
                if !std::mem::replace(&mut self.silent, true) {
                    let dir = self.dir.display();
                    tracing::warn!("the history in {dir} cannot be written, entries are lost until it can: {error}");
                }
            }
        }
    }

    /// After a failure the file is opened anew, which mends it.
    fn try_write(&mut self, entries: &[Entry]) -> io::Result<()> {
        let now = clock::now().wall;
        let mut book = match self.book.take() {
            Some(book) => book,
            None => {
                let (book, damage) = Book::open(&self.dir, now)?;
                damage.iter().for_each(|damage| report(&self.dir, damage));
                book
            }
        };
        let damage = book.append(entries, now)?;
        damage.iter().for_each(|damage| report(&self.dir, damage));
        self.book = Some(book);
        Ok(())
    }
}

fn report(dir: &Path, Damage { lines, aside }: &Damage) {
    tracing::warn!("{lines} lines of the history in {} were damaged and are in {}", dir.display(), aside.display());
}

#[cfg(test)]
mod tests;
