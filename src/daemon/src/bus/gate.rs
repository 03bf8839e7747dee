//! The way of a request from the bus to the loop: a permit, the caller's right, the loop's answer.
//!
//! zbus starts a task for every call and knows no limit, so the permit comes first: whoever floods the bus is turned away
//! at the price of one error reply. Property reads never come through here.

use super::auth::Authority;
use super::error::CallError;
use super::path;
use crate::link::Link;
use mirrorkeeper_core::ids::JobId;
use mirrorkeeper_core::input::{Command, Reply};
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
    jobs: watch::Receiver<BTreeSet<JobId>>,
}

impl Gate {
    /// `jobs` are those that the publisher has put on the bus.
    pub fn new(link: Link, authority: Arc<dyn Authority>, jobs: watch::Receiver<BTreeSet<JobId>>) -> Self {
        Self { link, authority, permits: Arc::new(Semaphore::new(CALLS)), jobs }
    }

    /// Passes on what the caller asks for, built from the caller's uid once it is known to be allowed.
    ///
    /// # Errors
    /// `LimitsExceeded`, `AccessDenied`, `Timedout`, or what the engine refuses it with.
    pub async fn ask(
        &self,
        connection: &Connection,
        call: &Header<'_>,
        command: impl FnOnce(u32) -> Result<Command, CallError>,
    ) -> Result<Reply, CallError> {
        let _permit = self.permit()?;
        let uid = self.authority.allow(connection, call).await?;
        self.put(command(uid)?).await
    }

    /// Asks what anybody may know. A permit is needed all the same.
    ///
    /// # Errors
    /// `LimitsExceeded`, `Timedout`, or what the engine refuses it with.
    pub async fn consult(&self, command: Command) -> Result<Reply, CallError> {
        let _permit = self.permit()?;
        self.put(command).await
    }

    fn permit(&self) -> Result<SemaphorePermit<'_>, CallError> {
        let full = |_| CallError::limits_exceeded(format!("{CALLS} calls are under way already; try again later"));
        self.permits.try_acquire().map_err(full)
    }

    async fn put(&self, command: Command) -> Result<Reply, CallError> {
        let answer = timeout(ANSWER, self.link.ask(command)).await;
        let answer = answer.map_err(|_| CallError::timed_out(format!("no answer within {} s", ANSWER.as_secs())))?;
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
        command: impl FnOnce(u32) -> Result<Command, CallError>,
    ) -> Result<OwnedObjectPath, CallError> {
        match self.ask(connection, call, command).await? {
            Reply::Done | Reply::Plan(_) => Ok(path::none()),
            Reply::Job(id) => {
                let mut jobs = self.jobs.clone();
                let _ = timeout(JOB_SHOWN, jobs.wait_for(|shown| shown.contains(&id))).await;
                Ok(path::job(id))
            }
        }
    }
}
