//! `org.mirrorkeeper1.Manager` on the root object: the sum of everything, and the way from names to objects.

use super::error::CallError;
use super::gate::Gate;
use super::{Exported, path, wire};
use mirrorkeeper_core::input::{Command, Refusal};
use mirrorkeeper_core::snapshot::Snapshot;
use mirrorkeeper_core::words::{MirrorState, TargetState};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

/// The root object.
pub struct Manager {
    view: watch::Receiver<Arc<Snapshot>>,
    gate: Gate,
}

impl Exported for Manager {
    type View = Arc<Snapshot>;

    fn new(view: watch::Receiver<Arc<Snapshot>>, gate: Gate) -> Self {
        Self { view, gate }
    }

    fn path(_: &Arc<Snapshot>) -> OwnedObjectPath {
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
        self.gate.ask(connection, &call, |_| Ok(Command::Rescan)).await.map(drop)
    }

    #[zbus(out_args("job"))]
    async fn forget(
        &self,
        vg: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        self.gate.ask_for_job(connection, &call, |uid| Ok(Command::Forget { vg: vg.to_owned(), uid })).await
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
        let key = snapshot.targets.keys().find(|key| key.iqn == iqn || key.to_string() == iqn);
        let unknown = || Refusal::NoSuchObject(format!("no target {iqn:?}; targets are named IQN or IQN,ADDR:PORT"));
        Ok(key.map(path::target).ok_or_else(unknown)?)
    }

    /// Something happened, once.
    #[zbus(signal)]
    pub async fn event(
        emitter: &SignalEmitter<'_>,
        at_usec: u64,
        code: &str,
        severity: &str,
        object: OwnedObjectPath,
        details: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()>;
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
