//! Typed client of the mirrorkeeper service on the system bus.
//!
//! [`Client`] connects and reads everything there is in one go; the proxies call methods and follow signals. They say the
//! same as `dbus/*.xml`, which is the contract; a test of the daemon reads a served world back through this crate. Nothing
//! here decides anything, and reading never starts a stopped service.

mod error;
pub mod hold;
mod model;
pub mod path;
mod proxy;

pub use error::{Error, Result};
pub use model::{Entry, Finding, Job, Leg, Manager, Mirror, PlannedStep, Server, Status, Step, Target, Value};
pub use proxy::{JobProxy, ManagerProxy, MirrorProxy, ServerProxy, TargetProxy};
pub use zbus::{ObjectPath, OwnedObjectPath};

use model::Interfaces;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::Duration;
use zbus::connection::Builder;
use zbus::proxy::CacheProperties;
use zbus::{Connection, Type};

/// Name on the bus.
pub const NAME: &str = "org.mirrorkeeper1";

/// The root object.
pub const ROOT: &str = "/org/mirrorkeeper1";

/// How long a call may take, as with libdbus, GDBus and sd-bus. zbus itself would wait for ever.
const CALL: Duration = Duration::from_secs(25);

/// A connection to the bus the service is on.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the system bus, or to the bus at `address`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when there is no bus.
    pub async fn connect(address: Option<&str>) -> Result<Self> {
        let builder = address.map_or_else(Builder::system, Builder::address);
        let connection = builder.method_timeout(CALL).build().await;
        Ok(Self { connection: connection.map_err(|error| Error::Unreachable(format!("no bus: {error}")))? })
    }

    /// The connection, for signals and for objects of other services.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads the whole service. Does not start it.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the service does not run or does not answer; [`Error::Bus`] when what it says is not
    /// the contract.
    pub async fn status(&self) -> Result<Status> {
        let bus = "org.freedesktop.DBus";
        let running: bool = self.call(bus, "/org/freedesktop/DBus", bus, "NameHasOwner", &NAME).await?;
        if !running {
            return Err(Error::Unreachable(format!("nobody owns {NAME} on the bus")));
        }
        let properties = "org.freedesktop.DBus.Properties";
        let manager = self.call(NAME, ROOT, properties, "GetAll", &"org.mirrorkeeper1.Manager").await?;
        let object_manager = "org.freedesktop.DBus.ObjectManager";
        let objects: HashMap<OwnedObjectPath, Interfaces> =
            self.call(NAME, ROOT, object_manager, "GetManagedObjects", &()).await?;
        Ok(Status::new(manager, objects))
    }

    /// Reads one job whole, as [`Self::status`] would.
    ///
    /// # Errors
    /// As [`Self::status`]; [`Error::Bus`] too when there is no such job, or no more.
    pub async fn read_job(&self, path: &ObjectPath<'_>) -> Result<Job> {
        let properties = "org.freedesktop.DBus.Properties";
        self.call(NAME, path.as_str(), properties, "GetAll", &"org.mirrorkeeper1.Job").await
    }

    /// The root object.
    ///
    /// # Errors
    /// When the connection is gone; likewise below.
    pub async fn manager(&self) -> Result<ManagerProxy<'static>> {
        Ok(ManagerProxy::builder(&self.connection).cache_properties(CacheProperties::No).build().await?)
    }

    /// A server by its path.
    ///
    /// # Errors
    /// As [`Self::manager`].
    pub async fn server<'p>(&self, path: impl Into<ObjectPath<'p>>) -> Result<ServerProxy<'p>> {
        let builder = ServerProxy::builder(&self.connection).path(path.into());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// A target by its path.
    ///
    /// # Errors
    /// As [`Self::manager`].
    pub async fn target<'p>(&self, path: impl Into<ObjectPath<'p>>) -> Result<TargetProxy<'p>> {
        let builder = TargetProxy::builder(&self.connection).path(path.into());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// A mirror by its path.
    ///
    /// # Errors
    /// As [`Self::manager`].
    pub async fn mirror<'p>(&self, path: impl Into<ObjectPath<'p>>) -> Result<MirrorProxy<'p>> {
        let builder = MirrorProxy::builder(&self.connection).path(path.into());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// A job by its path.
    ///
    /// # Errors
    /// As [`Self::manager`].
    pub async fn job<'p>(&self, path: impl Into<ObjectPath<'p>>) -> Result<JobProxy<'p>> {
        let builder = JobProxy::builder(&self.connection).path(path.into());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    async fn call<B, T>(&self, to: &str, path: &str, interface: &str, method: &str, body: &B) -> Result<T>
    where
        B: serde::Serialize + zbus::DynamicType,
        T: DeserializeOwned + Type,
    {
        let reply = self.connection.call_method(Some(to), path, Some(interface), method, body).await?;
        Ok(reply.body().deserialize()?)
    }
}
