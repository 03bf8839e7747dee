//! Proxies of the five interfaces, in the order of `dbus/*.xml`, which documents every member. Properties are read in one
//! go through [`crate::Client::status`]; the few that are worth following one by one have a getter here. Where a password
//! agent runs, a call that needs one may ask for a password, and then waits for the person.

use crate::{Entry, Finding, PlannedStep, Result};
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
    #[zbus(allow_interactive_auth)]
    fn rescan(&self) -> Result<()>;

    /// Reads the configuration again; refused if anything is wrong with it.
    #[zbus(allow_interactive_auth)]
    fn reload(&self) -> Result<()>;

    /// Switches healing off.
    #[zbus(allow_interactive_auth)]
    fn pause(&self, reason: &str) -> Result<()>;

    /// Switches healing on again.
    #[zbus(allow_interactive_auth)]
    fn resume(&self) -> Result<()>;

    /// Takes our marks off a VG and leaves it alone; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn forget(&self, vg: &str) -> Result<OwnedObjectPath>;

    /// The object of a mirror, by `VG/LV`.
    fn get_mirror(&self, name: &str) -> Result<OwnedObjectPath>;

    /// The object of a target, by IQN or `IQN,ADDR:PORT`.
    fn get_target(&self, iqn: &str) -> Result<OwnedObjectPath>;

    /// The object of a server, by its name.
    fn get_server(&self, name: &str) -> Result<OwnedObjectPath>;

    /// Whether a server may be switched off now; else mirrors with the reason why not.
    fn safe_to_take_down(&self, server: &str) -> Result<(bool, Vec<(String, String)>)>;

    /// What could be better.
    fn diagnose(&self) -> Result<Vec<Finding>>;

    /// What happened at `since_usec` or later, the newest `limit` entries (0: all), oldest first.
    fn history(&self, since_usec: u64, limit: u32) -> Result<Vec<Entry>>;

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

/// A storage server.
#[proxy(interface = "org.mirrorkeeper1.Server", default_service = "org.mirrorkeeper1")]
pub trait Server {
    /// State.
    #[zbus(property)]
    fn state(&self) -> Result<String>;

    /// Takes it out of service; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn enter_maintenance(&self) -> Result<OwnedObjectPath>;

    /// Puts it back into service; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn leave_maintenance(&self) -> Result<OwnedObjectPath>;
}

/// A target.
#[proxy(interface = "org.mirrorkeeper1.Target", default_service = "org.mirrorkeeper1")]
pub trait Target {
    /// State.
    #[zbus(property)]
    fn state(&self) -> Result<String>;

    /// Logs in now; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn reconnect(&self) -> Result<OwnedObjectPath>;

    /// Fixes the replacement timeout: 1–86400 s, 0 = automatic again.
    #[zbus(allow_interactive_auth)]
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
    #[zbus(allow_interactive_auth)]
    fn heal(&self) -> Result<OwnedObjectPath>;

    /// What would be done now, and why not; empty when redundant.
    fn plan_heal(&self) -> Result<Vec<PlannedStep>>;

    /// Reads and compares all legs; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn check(&self) -> Result<OwnedObjectPath>;

    /// Keeps the leg on that PV and copies every other one anew; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn resolve(&self, keep_pv_uuid: &str) -> Result<OwnedObjectPath>;

    /// Activates an inactive mirror; the path is the job's.
    #[zbus(allow_interactive_auth)]
    fn activate(&self) -> Result<OwnedObjectPath>;

    /// Limits copies: bytes a second, 0 = no limit of ours.
    #[zbus(allow_interactive_auth)]
    fn set_resync_limit(&self, bytes_per_second: u64) -> Result<()>;
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

    /// Ends it before its next step.
    #[zbus(allow_interactive_auth)]
    fn cancel(&self) -> Result<()>;

    /// It ended.
    #[zbus(signal)]
    fn completed(&self, success: bool, error: &str) -> zbus::Result<()>;
}
