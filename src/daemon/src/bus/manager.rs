//! `org.mirrorkeeper1.Manager` on the root object: the sum of everything, and the way from names to objects.

use super::auth::Action;
use super::error::CallError;
use super::gate::Gate;
use super::wire::{WireDetails, WireEntry};
use super::{Exported, path, wire};
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeper_core::snapshot::{Finding, Snapshot};
use mirrorkeeper_core::words::{MirrorState, TargetState};
use std::sync::Arc;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, interface};

/// Longest reason for a pause, in bytes: some lines. It is kept in the ledger.
const LONGEST_REASON: usize = 1024;

/// Code, severity, object, details: `(ssoa{sv})`.
type WireFinding = (String, String, OwnedObjectPath, WireDetails);

/// The root object.
pub struct Manager {
    view: watch::Receiver<Arc<Snapshot>>,
    gate: Gate,
}

impl Exported for Manager {
    type Key = ();
    type View = Arc<Snapshot>;

    fn new((): &(), view: watch::Receiver<Arc<Snapshot>>, gate: Gate) -> Self {
        Self { view, gate }
    }

    fn path((): &()) -> OwnedObjectPath {
        path::root()
    }
}

#[interface(name = "org.mirrorkeeper1.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.view.borrow().state().word()
    }

    #[zbus(property)]
    fn mirrors(&self) -> u32 {
        count(self.view.borrow().mirrors.len())
    }

    #[zbus(property)]
    fn mirrors_redundant(&self) -> u32 {
        let snapshot = self.view.borrow();
        count(snapshot.mirrors.values().filter(|m| m.state == MirrorState::Redundant).count())
    }

    #[zbus(property)]
    fn targets(&self) -> u32 {
        count(self.view.borrow().targets.len())
    }

    #[zbus(property)]
    fn targets_logged_in(&self) -> u32 {
        count(self.view.borrow().targets.values().filter(|t| t.state == TargetState::LoggedIn).count())
    }

    #[zbus(property)]
    fn paused(&self) -> bool {
        self.view.borrow().paused.is_some()
    }

    #[zbus(property)]
    fn pause_reason(&self) -> String {
        self.view.borrow().paused.as_deref().map(wire::text).unwrap_or_default()
    }

    async fn rescan(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.gate.ask(connection, &call, Action::Heal, |_| Ok(Command::Rescan)).await.map(drop)
    }

    async fn reload(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.gate.reload(connection, &call).await
    }

    async fn pause(
        &self,
        reason: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        let command = |uid| match reason.len() {
            0..=LONGEST_REASON => Ok(Command::Pause { reason: reason.to_owned(), uid }),
            length => {
                Err(Refusal::InvalidArgument(format!("a reason of {length} bytes: at most {LONGEST_REASON}")).into())
            }
        };
        self.gate.ask(connection, &call, Action::Heal, command).await.map(drop)
    }

    async fn resume(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.gate.ask(connection, &call, Action::Heal, |uid| Ok(Command::Resume { uid })).await.map(drop)
    }

    #[zbus(out_args("job"))]
    async fn forget(
        &self,
        vg: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let command = |uid| Ok(Command::Forget { vg: vg.to_owned(), uid });
        self.gate.ask_for_job(connection, &call, Action::Maintain, command).await
    }

    #[zbus(out_args("mirror"))]
    fn get_mirror(&self, name: &str) -> Result<OwnedObjectPath, CallError> {
        let snapshot = self.view.borrow();
        let by_key = snapshot.mirrors.get_key_value(name).map(|(key, _)| key);
        let by_name = || snapshot.mirrors.iter().find(|(_, mirror)| mirror.name == name).map(|(key, _)| key);
        let key = by_key.or_else(by_name);
        let unknown = || Refusal::NoSuchObject(format!("no mirror {name:?}; mirrors are named VG/LV"));
        Ok(key.map(|key| path::mirror(key)).ok_or_else(unknown)?)
    }

    #[zbus(out_args("target"))]
    fn get_target(&self, iqn: &str) -> Result<OwnedObjectPath, CallError> {
        let snapshot = self.view.borrow();
        let key = snapshot.targets.keys().find(|key| key.iqn == iqn || key.name == iqn);
        let unknown = || Refusal::NoSuchObject(format!("no target {iqn:?}; targets are named IQN or IQN,ADDR:PORT"));
        Ok(key.map(path::target).ok_or_else(unknown)?)
    }

    #[zbus(out_args("server"))]
    fn get_server(&self, name: &str) -> Result<OwnedObjectPath, CallError> {
        let unknown =
            || Refusal::NoSuchObject(format!("no server {name:?}; servers have a configured name or an address"));
        let found = self.view.borrow().servers.contains_key(name);
        Ok(found.then(|| path::server(name)).ok_or_else(unknown)?)
    }

    #[zbus(out_args("safe", "reasons"))]
    async fn safe_to_take_down(
        &self,
        server: &str,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(bool, Vec<(String, &'static str)>), CallError> {
        match self.gate.consult(&call, Command::SafeToTakeDown { server: server.into() }).await? {
            Reply::Obstacles(found) => {
                let reasons = found.iter().map(|(mirror, obstacle)| (wire::text(mirror), obstacle.word()));
                Ok((found.is_empty(), reasons.collect()))
            }
            other => Err(CallError::strange(&other)),
        }
    }

    #[zbus(out_args("findings"))]
    async fn diagnose(&self, #[zbus(header)] call: Header<'_>) -> Result<Vec<WireFinding>, CallError> {
        match self.gate.consult(&call, Command::Diagnose).await? {
            Reply::Findings(found) => Ok(found.iter().map(wire_finding).collect()),
            other => Err(CallError::strange(&other)),
        }
    }

    #[zbus(out_args("entries"))]
    async fn history(
        &self,
        since_usec: u64,
        limit: u32,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<Vec<WireEntry>, CallError> {
        self.gate.history(&call, since_usec, limit).await
    }

    /// Something happened, once.
    #[zbus(signal)]
    pub async fn event(
        emitter: &SignalEmitter<'_>,
        at_usec: u64,
        code: &str,
        severity: &str,
        object: OwnedObjectPath,
        details: WireDetails,
    ) -> zbus::Result<()>;
}

fn wire_finding(finding: &Finding) -> WireFinding {
    let (code, concern) = (finding.code.to_owned(), finding.concern.word().to_owned());
    (code, concern, path::object(&finding.object), WireDetails(finding.details.clone()))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
