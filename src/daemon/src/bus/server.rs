//! `org.mirrorkeeper1.Server`: one storage server, that is, what fails together.

use super::auth::Action;
use super::error::CallError;
use super::gate::Gate;
use super::objects::listed;
use super::{Exported, path, wire};
use mirrorkeeper_core::input::Command;
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::snapshot::ServerView;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, interface};

/// A server object. Its path comes from its name, which is the key in the snapshot.
pub struct Server {
    key: Name,
    view: watch::Receiver<ServerView>,
    gate: Gate,
}

impl Server {
    fn show<T>(&self, value: impl FnOnce(&ServerView) -> T) -> T {
        value(&self.view.borrow())
    }
}

impl Exported for Server {
    type Key = Name;
    type View = ServerView;

    fn new(key: &Name, view: watch::Receiver<ServerView>, gate: Gate) -> Self {
        Self { key: key.clone(), view, gate }
    }

    fn path(name: &Name) -> OwnedObjectPath {
        path::server(name)
    }
}

#[interface(name = "org.mirrorkeeper1.Server", introspection_docs = false)]
impl Server {
    #[zbus(property)]
    fn name(&self) -> String {
        wire::text(&self.key)
    }

    #[zbus(property)]
    fn portals(&self) -> Vec<String> {
        self.show(|s| s.portals.iter().map(|portal| wire::text(portal)).collect())
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.show(|s| s.state.word())
    }

    #[zbus(property)]
    fn targets(&self) -> Vec<OwnedObjectPath> {
        self.show(|s| s.targets.iter().map(path::target).collect())
    }

    #[zbus(property)]
    fn mirrors(&self) -> Vec<OwnedObjectPath> {
        self.show(|s| s.mirrors.iter().map(|name| path::mirror(name)).collect())
    }

    #[zbus(property)]
    fn maintenance(&self) -> bool {
        self.show(|s| s.maintenance)
    }

    #[zbus(property)]
    fn flap_count(&self) -> u32 {
        self.show(|s| s.flap_count)
    }

    #[zbus(property, name = "HeldUntilAtUSec")]
    fn held_until_at_usec(&self) -> u64 {
        self.show(|s| wire::micros_or_never(s.held_until))
    }

    #[zbus(property, name = "SinceUSec")]
    fn since_usec(&self) -> u64 {
        self.show(|s| s.since.0)
    }

    #[zbus(out_args("job"))]
    async fn enter_maintenance(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let command = |uid| Ok(Command::EnterMaintenance { server: self.key.clone(), uid });
        self.gate.ask_for_job(connection, &call, Action::Maintain, command).await
    }

    #[zbus(out_args("job"))]
    async fn leave_maintenance(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let command = |uid| Ok(Command::LeaveMaintenance { server: self.key.clone(), uid });
        self.gate.ask_for_job(connection, &call, Action::Maintain, command).await
    }
}

listed!(Server {
    "Name": name,
    "Portals": portals,
    "State": state,
    "Targets": targets,
    "Mirrors": mirrors,
    "Maintenance": maintenance,
    "FlapCount": flap_count,
    "HeldUntilAtUSec": held_until_at_usec,
    "SinceUSec": since_usec,
});
