//! Proxies of the four interfaces, in the order of `dbus/*.xml`, which documents every member. Properties are read in one go
//! through [`crate::Client::status`]; the few that are worth following one by one have a getter here.

use crate::{PlannedStep, Result};
use std::collections::HashMap;
use zbus::{OwnedObjectPath, OwnedVariant, proxy};

/// The root object.
#[proxy(
    interface = "org.mirrorkeeper1.Manager",
    default_service = "org.mirrorkeeper1",
    default_path = "/org/mirrorkeeper1"
)]
pub trait Manager {
    /// Version of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> Result<String>;

    /// Worst state of all managed mirrors.
    #[zbus(property)]
    fn state(&self) -> Result<String>;

    /// Observes everything again.
    fn rescan(&self) -> Result<()>;

    /// Takes our marks off a VG and leaves it alone; the path is the job's.
    fn forget(&self, vg: &str) -> Result<OwnedObjectPath>;

    /// The object of a mirror, by `VG/LV`.
    fn get_mirror(&self, name: &str) -> Result<OwnedObjectPath>;

    /// The object of a target, by IQN or `IQN,ADDR:PORT`.
    fn get_target(&self, iqn: &str) -> Result<OwnedObjectPath>;

    /// Something happened, once.
    #[zbus(signal)]
    fn event(
        &self,
        at_usec: u64,
        code: &str,
        severity: &str,
        object: OwnedObjectPath,
        details: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()>;
}

/// A target.
#[proxy(interface = "org.mirrorkeeper1.Target", default_service = "org.mirrorkeeper1")]
pub trait Target {
    /// State.
    #[zbus(property)]
    fn state(&self) -> Result<String>;

    /// Logs in now; the path is the job's.
    fn reconnect(&self) -> Result<OwnedObjectPath>;

    /// Fixes the replacement timeout: 1–86400 s, 0 = automatic again.
    fn set_replacement_timeout(&self, seconds: u32) -> Result<()>;
}

/// A mirror.
#[proxy(interface = "org.mirrorkeeper1.Mirror", default_service = "org.mirrorkeeper1")]
pub trait Mirror {
    /// State.
    #[zbus(property)]
    fn state(&self) -> Result<String>;

    /// Ratio done of the running action.
    #[zbus(property)]
    fn sync_ratio(&self) -> Result<f64>;

    /// Acts now, skipping settle and back-off times; the path is the job's.
    fn heal(&self) -> Result<OwnedObjectPath>;

    /// What would be done now, and why not; empty when redundant.
    fn plan_heal(&self) -> Result<Vec<PlannedStep>>;

    /// Keeps the leg on that PV and copies every other one anew; the path is the job's.
    fn resolve(&self, keep_pv_uuid: &str) -> Result<OwnedObjectPath>;

    /// Activates an inactive mirror; the path is the job's.
    fn activate(&self) -> Result<OwnedObjectPath>;
}

/// A job.
#[proxy(interface = "org.mirrorkeeper1.Job", default_service = "org.mirrorkeeper1")]
pub trait Job {
    /// State.
    #[zbus(property)]
    fn state(&self) -> Result<String>;

    /// Why it failed; empty otherwise.
    #[zbus(property)]
    fn error(&self) -> Result<String>;

    /// It ended.
    #[zbus(signal)]
    fn completed(&self, success: bool, error: &str) -> zbus::Result<()>;
}
