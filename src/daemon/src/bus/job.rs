//! `org.mirrorkeeper1.Job`: work that may outlast a method call. A finished job stays for five minutes (the engine's clock).

use super::auth::Action;
use super::error::CallError;
use super::gate::Gate;
use super::objects::listed;
use super::{Exported, path, wire};
use mirrorkeeper_core::ids::JobId;
use mirrorkeeper_core::input::Command;
use mirrorkeeper_core::snapshot::{JobView, StepView};
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, interface};

/// Step code, why, command line, exit status or −1, result word: `(sssis)`.
type WireStep = (String, String, String, i32, String);

/// A job object.
pub struct Job {
    id: JobId,
    view: watch::Receiver<JobView>,
    gate: Gate,
}

impl Job {
    fn show<T>(&self, value: impl FnOnce(&JobView) -> T) -> T {
        value(&self.view.borrow())
    }
}

impl Exported for Job {
    type Key = JobId;
    type View = JobView;

    fn new(id: &JobId, view: watch::Receiver<JobView>, gate: Gate) -> Self {
        Self { id: *id, view, gate }
    }

    fn path(id: &JobId) -> OwnedObjectPath {
        path::job(*id)
    }

    fn is_progress(property: &str, _: &Self::View, _: &Self::View) -> bool {
        matches!(property, "Progress" | "RateBytes")
    }
}

#[interface(name = "org.mirrorkeeper1.Job", introspection_docs = false)]
impl Job {
    #[zbus(property)]
    fn operation(&self) -> &'static str {
        self.show(|j| j.operation.word())
    }

    #[zbus(property)]
    fn object(&self) -> OwnedObjectPath {
        self.show(|j| path::object(&j.object))
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.show(|j| j.state.word())
    }

    #[zbus(property)]
    fn progress(&self) -> f64 {
        self.show(|j| j.progress.map_or(0.0, wire::ratio))
    }

    #[zbus(property)]
    fn progress_valid(&self) -> bool {
        self.show(|j| j.progress.is_some())
    }

    #[zbus(property)]
    fn rate_bytes(&self) -> u64 {
        self.show(|j| j.rate)
    }

    #[zbus(property, name = "StartedAtUSec")]
    fn started_at_usec(&self) -> u64 {
        self.show(|j| j.started.0)
    }

    #[zbus(property, name = "ExpectedEndAtUSec")]
    fn expected_end_at_usec(&self) -> u64 {
        self.show(|j| j.expected_end.0)
    }

    #[zbus(property, name = "StartedByUID")]
    fn started_by_uid(&self) -> u32 {
        self.show(|j| j.uid)
    }

    #[zbus(property)]
    fn steps(&self) -> Vec<WireStep> {
        self.show(|j| j.steps.iter().map(wire_step).collect())
    }

    #[zbus(property)]
    fn error(&self) -> String {
        self.show(|j| wire::text(&j.error))
    }

    /// Needs the right to begin what is cancelled.
    async fn cancel(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        let (job, action) = (self.id, self.show(|j| Action::from(j.operation)));
        self.gate.ask(connection, &call, action, |uid| Ok(Command::Cancel { job, uid })).await.map(drop)
    }

    /// The job ended.
    #[zbus(signal)]
    pub async fn completed(emitter: &SignalEmitter<'_>, success: bool, error: &str) -> zbus::Result<()>;
}

listed!(Job {
    "Operation": operation,
    "Object": object,
    "State": state,
    "Progress": progress,
    "ProgressValid": progress_valid,
    "RateBytes": rate_bytes,
    "StartedAtUSec": started_at_usec,
    "ExpectedEndAtUSec": expected_end_at_usec,
    "StartedByUID": started_by_uid,
    "Steps": steps,
    "Error": error,
});

fn wire_step(step: &StepView) -> WireStep {
    let (code, result) = (step.code.to_owned(), step.result.to_owned());
    (code, wire::text(&step.why), wire::text(&step.command), step.exit, result)
}
