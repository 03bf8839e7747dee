//! The D-Bus face of the daemon, `org.mirrorkeeper1`: five interfaces that show the newest snapshot and pass requests on.
//!
//! A property getter answers from memory. It never waits, never fails and never asks the engine: zbus runs getters under
//! the lock of its object tree, so one slow getter would stall every call on every object. A method that changes
//! something goes through [`gate::Gate`]: a permit, the caller's right, the loop's answer. Nothing here adds or removes
//! objects; only [`crate::publish`] does. The contract, member by member, is `dbus/*.xml` at the top of the project.

pub mod auth;
pub mod error;
pub mod gate;
pub mod job;
pub mod limits;
pub mod manager;
pub mod mirror;
pub mod objects;
pub mod path;
pub mod server;
pub mod target;
pub mod wire;

use serde::Serializer;
use tokio::sync::watch;
use zbus::OwnedObjectPath;
use zbus::object_server::Interface;

/// The name on the bus.
pub const NAME: &str = "org.mirrorkeeper1";

/// An interface as the publisher sees it. The getters are the only place that says how a view becomes property values;
/// what is announced is read back through them.
pub trait Exported: Interface + Sized {
    /// What tells an object from the others with this interface.
    type Key: Clone + Ord + Send + Sync + 'static;

    /// What one object shows.
    type View: Clone + PartialEq + Send + Sync + 'static;

    /// An interface that shows whatever was last put into `view`.
    fn new(key: &Self::Key, view: watch::Receiver<Self::View>, gate: gate::Gate) -> Self;

    /// Its object.
    fn path(key: &Self::Key) -> OwnedObjectPath;

    /// Whether a change of `property` between two views is mere progress, announced at most once a second.
    fn is_progress(_property: &str, _old: &Self::View, _new: &Self::View) -> bool {
        false
    }
}

/// An interface whose objects [`objects::Objects`] lists.
pub trait Listed: Exported {
    /// Writes all properties, as `GetAll` answers: `a{sv}`.
    ///
    /// # Errors
    /// Those of the serializer.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}
