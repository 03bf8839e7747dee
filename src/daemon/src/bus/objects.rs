//! `org.freedesktop.DBus.ObjectManager` on the root object: everything in one answer.
//!
//! In place of zbus's own, which sends `InterfacesAdded` and `InterfacesRemoved` for whoever has this name. That one first
//! builds a tree of all values of all objects. Here each property is written as its getter gives it: with 1000 mirrors an
//! answer takes 17 ms and not 40 (median, both hops over the bus in it), and 33 of them leave 3 MiB behind and not 12 (PSS).

use super::Listed;
use super::gate::Gate;
use super::job::Job;
use super::mirror::Mirror;
use super::server::Server;
use super::target::Target;
use mirrorkeeper_core::snapshot::Snapshot;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;
use zbus::fdo::ManagedObjects;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, Signature, Type, Variant, interface};

/// The list of all objects.
pub struct Objects {
    shown: watch::Receiver<Arc<Snapshot>>,
    gate: Gate,
}

impl Objects {
    /// Lists what is in the newest snapshot that was `shown`.
    pub fn new(shown: watch::Receiver<Arc<Snapshot>>, gate: Gate) -> Self {
        Self { shown, gate }
    }
}

#[interface(name = "org.freedesktop.DBus.ObjectManager", introspection_docs = false)]
impl Objects {
    fn get_managed_objects(&self) -> All {
        All { snapshot: self.shown.borrow().clone(), gate: self.gate.clone() }
    }

    #[zbus(signal)]
    async fn interfaces_added(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces_and_properties: HashMap<InterfaceName<'_>, HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn interfaces_removed(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces: Cow<'_, [InterfaceName<'_>]>,
    ) -> zbus::Result<()>;
}

/// All objects of a snapshot, with all their properties: `a{oa{sa{sv}}}`.
struct All {
    snapshot: Arc<Snapshot>,
    gate: Gate,
}

impl Type for All {
    const SIGNATURE: &'static Signature = ManagedObjects::SIGNATURE;
}

impl Serialize for All {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut objects = serializer.serialize_map(None)?;
        self.family::<Server, _>(&self.snapshot.servers, &mut objects)?;
        self.family::<Target, _>(&self.snapshot.targets, &mut objects)?;
        self.family::<Mirror, _>(&self.snapshot.mirrors, &mut objects)?;
        self.family::<Job, _>(&self.snapshot.jobs, &mut objects)?;
        objects.end()
    }
}

impl All {
    fn family<I: Listed, M: SerializeMap>(
        &self,
        views: &BTreeMap<I::Key, I::View>,
        objects: &mut M,
    ) -> Result<(), M::Error> {
        views.iter().try_for_each(|(key, view)| {
            let interface = I::new(key, watch::channel(view.clone()).1, self.gate.clone());
            objects.serialize_entry(&I::path(key), &Interfaces(interface))
        })
    }
}

/// What one object has: a single interface, by its name.
struct Interfaces<I>(I);

impl<I: Listed> Serialize for Interfaces<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(I::name(), Properties(&self.0))])
    }
}

struct Properties<'i, I>(&'i I);

impl<I: Listed> Serialize for Properties<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// [`Listed::write`] for properties and their getters.
macro_rules! listed {
    ($interface:ty { $($name:literal: $getter:ident,)* }) => {
        impl crate::bus::Listed for $interface {
            fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut properties = serializer.serialize_map(None)?;
                $(properties.serialize_entry($name, &zbus::as_variant::Serialize(&self.$getter()))?;)*
                properties.end()
            }
        }
    };
}
pub(super) use listed;
