//! The border between the loop and the bus: snapshots and events go out, requests come in.
//!
//! The loop never waits for this side. A snapshot replaces the one before, a slow reader of events loses the oldest and is
//! told so, and a full request queue refuses; so a stalled bus costs a few kilobytes and nothing else.

use crate::history::History;
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeper_core::snapshot::{Event, Snapshot};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Events kept for a publisher that is behind. The worst moment, both servers lost, was counted at about a dozen events a
/// mirror; 256 hold that for twenty mirrors.
const EVENTS: usize = 256;

/// Requests waiting for the loop. It takes one in well under a millisecond, so more than this waiting is abuse.
const REQUESTS: usize = 64;

/// A request with the way back for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Where the answer goes. The asker may have left; then it goes nowhere.
    pub reply: oneshot::Sender<Result<Reply, Refusal>>,
}

/// A wish to have the configuration read again, by the way back for its answer: what is wrong with it.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// Why a request got no answer from the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Too many requests are waiting.
    #[error("{REQUESTS} requests are waiting already; try again later")]
    Full,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// What the publisher and the bus objects hold. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    events: broadcast::Sender<Event>,
    requests: mpsc::Sender<Request>,
    reloads: mpsc::Sender<Reload>,
    owned: watch::Sender<bool>,
    history: History,
}

/// What the loop holds.
#[derive(Debug)]
pub struct LoopEnd {
    /// Newest snapshot; set only when it differs from the one before.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// Events as they happen.
    pub events: broadcast::Sender<Event>,
    /// Requests to be answered.
    pub requests: mpsc::Receiver<Request>,
    /// Wishes to have the configuration read again.
    pub reloads: mpsc::Receiver<Reload>,
    /// Whether the bus name is owned.
    pub owned: watch::Receiver<bool>,
}

/// Makes both ends.
pub fn pair() -> (LoopEnd, Link) {
    let (snapshot_tx, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (events, _) = broadcast::channel(EVENTS);
    let (request_tx, requests) = mpsc::channel(REQUESTS);
    let (reload_tx, reloads) = mpsc::channel(REQUESTS);
    let (owned_tx, owned) = watch::channel(false);
    let ours = LoopEnd { snapshots: snapshot_tx, events: events.clone(), requests, reloads, owned };
    let history = History::none();
    (ours, Link { snapshots, events, requests: request_tx, reloads: reload_tx, owned: owned_tx, history })
}

impl Link {
    /// With the history that is shown.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// What happened so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// A receiver of snapshots that wakes on each change.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// A receiver of the events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells the loop whether the bus name is owned; READY=1 waits for it.
    pub fn set_owned(&self, owned: bool) {
        self.owned.send_if_modified(|now| std::mem::replace(now, owned) != owned);
    }

    /// Hands a command to the loop and waits for its answer.
    ///
    /// # Errors
    /// When the queue is full or the loop has ended; a refusal by the engine is the inner result.
    pub async fn ask(&self, command: Command) -> Result<Result<Reply, Refusal>, NotTaken> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { command, reply })?;
        answer.await.map_err(|_| NotTaken::Stopping)
    }

    /// Has the configuration read again and waits until it is in force; what is wrong with it is the inner result.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn reload(&self) -> Result<Result<(), String>, NotTaken> {
        let (reply, answer) = oneshot::channel();
        self.reloads.try_send(reply)?;
        answer.await.map_err(|_| NotTaken::Stopping)
    }
}

impl<T> From<mpsc::error::TrySendError<T>> for NotTaken {
    fn from(error: mpsc::error::TrySendError<T>) -> Self {
        match error {
            mpsc::error::TrySendError::Full(_) => Self::Full,
            mpsc::error::TrySendError::Closed(_) => Self::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_through_its_own_channel() {
        let (mut ours, link) = pair();
        let asker = tokio::spawn(async move { link.ask(Command::Rescan).await });
        let request = ours.requests.recv().await.unwrap();
        assert_eq!(request.command, Command::Rescan);
        request.reply.send(Ok(Reply::Done)).unwrap();
        assert_eq!(asker.await.unwrap(), Ok(Ok(Reply::Done)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_an_ended_loop_says_so() {
        let (ours, link) = pair();
        let mut waiting = Vec::new();
        for _ in 0..REQUESTS {
            let (reply, answer) = oneshot::channel();
            link.requests.try_send(Request { command: Command::Rescan, reply }).unwrap();
            waiting.push(answer);
        }
        assert_eq!(link.ask(Command::Rescan).await, Err(NotTaken::Full));
        drop(ours);
        assert_eq!(link.ask(Command::Rescan).await, Err(NotTaken::Stopping));
    }
}
