//! The way of a request from the bus to the loop: a permit, the caller's right, the loop's answer.
//!
//! zbus starts a task for every call and knows no limit, so the permit comes first: whoever floods the bus is turned away
//! at the price of one error reply. Property reads need none of them.

use super::auth::{Action, Authority};
use super::error::CallError;
use super::limits::{Limits, Permit};
use super::path;
use super::wire::WireEntry;
use crate::history::Unanswered;
use crate::link::Link;
use mirrorkeeper_core::ids::JobId;
use mirrorkeeper_core::input::{Command, Reply};
use mirrorkeeper_core::time::Wall;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath};

/// Calls under way at once. The loop answers in well under a millisecond, so a person or a script never meets the limit;
/// it is also what the loop's own queue holds.
const CALLS: usize = 64;

/// Calls under way at once from one connection: more than any program has a use for, and few enough that one cannot take
/// everything from the others.
const CALLS_OF_ONE: usize = 16;

/// How long the loop may take to answer: less than the 25 s after which the usual clients give up, so that they get an
/// error of ours instead.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a reply is kept back until the job it names is on the bus. The snapshot with the job is published in the same
/// step, so this only ends waiting for a job that is gone already.
const JOB_SHOWN: Duration = Duration::from_secs(5);

/// What every interface needs to pass requests on. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    link: Link,
    authority: Arc<dyn Authority>,
    permits: Arc<Semaphore>,
    callers: Arc<Limits<String>>,
    reading: Arc<Semaphore>,
    jobs: watch::Receiver<BTreeSet<JobId>>,
}

impl Gate {
    /// `jobs` are those that the publisher has put on the bus.
    pub fn new(link: Link, authority: Arc<dyn Authority>, jobs: watch::Receiver<BTreeSet<JobId>>) -> Self {
        let (permits, callers) = (Arc::new(Semaphore::new(CALLS)), Arc::new(Limits::new(CALLS_OF_ONE)));
        Self { link, authority, permits, callers, reading: Arc::new(Semaphore::new(1)), jobs }
    }

    /// When the kernel was last looked at: what all mirrors show alike.
    pub fn observed_at(&self) -> Wall {
        self.link.snapshot().observed_at
    }

    /// Passes on what the caller asks for, built from the caller's uid once it is known to be allowed `action`.
    ///
    /// # Errors
    /// `LimitsExceeded`, `AccessDenied`, `InteractiveAuthorizationRequired`, `Timedout`, or what the engine refuses it
    /// with.
    pub async fn ask(
        &self,
        connection: &Connection,
        call: &Header<'_>,
        action: Action,
        command: impl FnOnce(u32) -> Result<Command, CallError>,
    ) -> Result<Reply, CallError> {
        let _permit = self.permit(call)?;
        let uid = self.allow(connection, call, action).await?;
        self.put(command(uid)?).await
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    /// As [`Self::ask`], and `BadConfig`.
    pub async fn reload(&self, connection: &Connection, call: &Header<'_>) -> Result<(), CallError> {
        let _permit = self.permit(call)?;
        self.allow(connection, call, Action::Heal).await?;
        let answer = timeout(ANSWER, self.link.reload()).await.map_err(|_| late())?;
        answer?.map_err(CallError::bad_config)
    }

    /// Who asks for something, is on record.
    async fn allow(&self, connection: &Connection, call: &Header<'_>, action: Action) -> Result<u32, CallError> {
        let uid = self.authority.allow(connection, call, action).await?;
        let method = call.member().map(|member| member.as_str()).unwrap_or_default();
        let path = call.path().map(|path| path.as_str()).unwrap_or_default();
        tracing::info!(uid, method, path, "uid {uid} calls {method} on {path}");
        Ok(uid)
    }

    /// Asks what anybody may know. A permit is needed all the same.
    ///
    /// # Errors
    /// `LimitsExceeded`, `Timedout`, or what the engine refuses it with.
    pub async fn consult(&self, call: &Header<'_>, command: Command) -> Result<Reply, CallError> {
        let _permit = self.permit(call)?;
        self.put(command).await
    }

    /// Reads the history, which anybody may.
    ///
    /// # Errors
    /// `LimitsExceeded`, `Timedout` while its disk does not answer, `IOError` when it cannot be read.
    pub async fn history(&self, call: &Header<'_>, since: u64, limit: u32) -> Result<Vec<WireEntry>, CallError> {
        let _permit = self.permit(call)?;
        let read = async {
            // One answer may have some megabytes, so there is one at a time. Nobody closes the semaphore.
            let _turn = self.reading.acquire().await;
            self.link.history().read(since, limit).await
        };
        let entries = timeout(ANSWER, read).await.unwrap_or(Err(Unanswered::Stuck))?;
        Ok(entries.into_iter().filter_map(WireEntry::new).collect())
    }

    fn permit(&self, call: &Header<'_>) -> Result<(SemaphorePermit<'_>, Permit<'_, String>), CallError> {
        let full = |calls| CallError::limits_exceeded(format!("{calls} calls are under way already; try again later"));
        let caller = call.sender().map(ToString::to_string).unwrap_or_default();
        let own = self.callers.take(caller).ok_or_else(|| full(CALLS_OF_ONE))?;
        Ok((self.permits.try_acquire().map_err(|_| full(CALLS))?, own))
    }

    async fn put(&self, command: Command) -> Result<Reply, CallError> {
        let answer = timeout(ANSWER, self.link.ask(command)).await.map_err(|_| late())?;
        Ok(answer??)
    }

    /// Like [`Self::ask`] for what is done by a job; answers with its path once it is on the bus.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_for_job(
        &self,
        connection: &Connection,
        call: &Header<'_>,
        action: Action,
        command: impl FnOnce(u32) -> Result<Command, CallError>,
    ) -> Result<OwnedObjectPath, CallError> {
        match self.ask(connection, call, action, command).await? {
            Reply::Done | Reply::Plan(_) | Reply::Obstacles(_) | Reply::Findings(_) => Ok(path::none()),
            Reply::Job(id) => {
                let mut jobs = self.jobs.clone();
                let _ = timeout(JOB_SHOWN, jobs.wait_for(|shown| shown.contains(&id))).await;
                Ok(path::job(id))
            }
        }
    }
}

fn late() -> CallError {
    CallError::timed_out(format!("no answer within {} s", ANSWER.as_secs()))
}
