//! Everything the service shows, as plain data: decoded from the bus by property name, written as JSON in snake case.
//!
//! Units and words are those of `dbus/*.xml`, which documents every field. Words stay strings: a newer service may use new
//! ones. Members that this version does not know are ignored.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use zbus::{DeserializeDict, OwnedObjectPath, OwnedVariant, Type, Variant};

/// Everything there is to see.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// The sum.
    pub manager: Manager,
    /// Servers by object path.
    pub servers: BTreeMap<String, Server>,
    /// Targets by object path.
    pub targets: BTreeMap<String, Target>,
    /// Mirrors by object path.
    pub mirrors: BTreeMap<String, Mirror>,
    /// Jobs by object path.
    pub jobs: BTreeMap<String, Job>,
}

impl Status {
    pub(crate) fn new(manager: Manager, objects: HashMap<OwnedObjectPath, Interfaces>) -> Self {
        let mut status = Self { manager, ..Self::default() };
        for (path, found) in objects {
            let path = path.to_string();
            status.servers.extend(found.server.map(|server| (path.clone(), server)));
            status.targets.extend(found.target.map(|target| (path.clone(), target)));
            status.mirrors.extend(found.mirror.map(|mirror| (path.clone(), mirror)));
            status.jobs.extend(found.job.map(|job| (path, job)));
        }
        status
    }
}

/// Interfaces of one managed object.
#[derive(Debug, DeserializeDict, Type)]
#[zbus(signature = "a{sa{sv}}")]
pub(crate) struct Interfaces {
    #[zbus(rename = "org.mirrorkeeper1.Server")]
    server: Option<Server>,
    #[zbus(rename = "org.mirrorkeeper1.Target")]
    target: Option<Target>,
    #[zbus(rename = "org.mirrorkeeper1.Mirror")]
    mirror: Option<Mirror>,
    #[zbus(rename = "org.mirrorkeeper1.Job")]
    job: Option<Job>,
}

/// The root object.
#[allow(missing_docs, reason = "each field is a property, documented in dbus/org.mirrorkeeper1.Manager.xml")]
#[derive(Debug, Clone, Default, PartialEq, DeserializeDict, Serialize, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct Manager {
    pub version: String,
    pub state: String,
    pub mirrors: u32,
    pub mirrors_redundant: u32,
    pub targets: u32,
    pub targets_logged_in: u32,
    pub paused: bool,
    pub pause_reason: String,
}

/// A storage server.
#[allow(missing_docs, reason = "each field is a property, documented in dbus/org.mirrorkeeper1.Server.xml")]
#[derive(Debug, Clone, Default, PartialEq, DeserializeDict, Serialize, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct Server {
    pub name: String,
    pub portals: Vec<String>,
    pub state: String,
    pub targets: Vec<OwnedObjectPath>,
    pub mirrors: Vec<OwnedObjectPath>,
    pub maintenance: bool,
    pub flap_count: u32,
    #[zbus(rename = "HeldUntilAtUSec")]
    pub held_until_at_usec: u64,
    #[zbus(rename = "SinceUSec")]
    pub since_usec: u64,
}

/// A target.
#[allow(missing_docs, reason = "each field is a property, documented in dbus/org.mirrorkeeper1.Target.xml")]
#[derive(Debug, Clone, Default, PartialEq, DeserializeDict, Serialize, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct Target {
    pub iqn: String,
    pub portal: String,
    pub interface: String,
    pub server: OwnedObjectPath,
    pub state: String,
    #[zbus(rename = "SinceUSec")]
    pub since_usec: u64,
    pub session_id: i32,
    pub disks: Vec<String>,
    pub startup: String,
    pub managed: bool,
    pub replacement_timeout_sec: i32,
    pub configured_replacement_timeout_sec: i32,
    pub timeout_reason: String,
    #[zbus(rename = "DetectTimeoutUSec")]
    pub detect_timeout_usec: u64,
    #[zbus(rename = "StallEstimateUSec")]
    pub stall_estimate_usec: u64,
    pub last_error: String,
    #[zbus(rename = "NextAttemptAtUSec")]
    pub next_attempt_at_usec: u64,
    pub attempts: u32,
}

/// A mirror.
#[allow(missing_docs, reason = "each field is a property, documented in dbus/org.mirrorkeeper1.Mirror.xml")]
#[derive(Debug, Clone, Default, PartialEq, DeserializeDict, Serialize, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct Mirror {
    pub name: String,
    pub uuid: String,
    #[zbus(rename = "Type")]
    #[serde(rename = "type")]
    pub kind: String,
    pub log: String,
    pub size_bytes: u64,
    pub state: String,
    pub copies_wanted: u32,
    pub copies_in_sync: u32,
    pub sync_action: String,
    pub sync_ratio: f64,
    pub sync_rate_bytes: u64,
    #[zbus(rename = "SyncRemainingUSec")]
    pub sync_remaining_usec: u64,
    pub legs: Vec<Leg>,
    pub mismatch_count: u64,
    #[zbus(rename = "LastCheckAtUSec")]
    pub last_check_at_usec: u64,
    #[zbus(rename = "DegradedSinceUSec")]
    pub degraded_since_usec: u64,
    pub hold: String,
    pub hold_details: BTreeMap<String, Value>,
    pub managed: bool,
    pub unmanaged_reason: String,
    #[zbus(rename = "ObservedAtUSec")]
    pub observed_at_usec: u64,
}

/// A leg of a mirror.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, Type)]
pub struct Leg {
    /// PV UUID.
    pub pv: String,
    /// `/dev/…`, or empty.
    pub device: String,
    /// Path of its target, or `/`.
    pub target: OwnedObjectPath,
    /// State.
    pub state: String,
    /// Ratio in sync.
    pub ratio: f64,
    /// Evidence.
    pub details: BTreeMap<String, Value>,
}

/// A job.
#[allow(missing_docs, reason = "each field is a property, documented in dbus/org.mirrorkeeper1.Job.xml")]
#[derive(Debug, Clone, Default, PartialEq, DeserializeDict, Serialize, Type)]
#[zbus(signature = "a{sv}", rename_all = "PascalCase")]
pub struct Job {
    pub operation: String,
    pub object: OwnedObjectPath,
    pub state: String,
    pub progress: f64,
    pub progress_valid: bool,
    pub rate_bytes: u64,
    #[zbus(rename = "StartedAtUSec")]
    pub started_at_usec: u64,
    #[zbus(rename = "ExpectedEndAtUSec")]
    pub expected_end_at_usec: u64,
    #[zbus(rename = "StartedByUID")]
    pub started_by_uid: u32,
    pub steps: Vec<Step>,
    pub error: String,
}

/// A step of a job.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, Type)]
pub struct Step {
    /// Step code.
    pub code: String,
    /// Why it was taken.
    pub why: String,
    /// Command line, or what was done in words.
    pub command: String,
    /// Exit status, −1 while running or without one.
    pub exit: i32,
    /// `running`, `done`, `no-effect`, `failed`, `timed-out`.
    pub result: String,
}

/// A step that would be taken.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, Type)]
pub struct PlannedStep {
    /// Step code, or `hold`.
    pub code: String,
    /// Why, or why not.
    pub why: String,
    /// The command line, word by word; empty when it is none.
    pub argv: Vec<String>,
}

/// Something that could be better.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, Type)]
pub struct Finding {
    /// What.
    pub code: String,
    /// `error`, `warning`, `hint`.
    pub severity: String,
    /// Path of what it is about.
    pub object: OwnedObjectPath,
    /// The facts; under `fix` what a person can do.
    pub details: BTreeMap<String, Value>,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, Type)]
pub struct Entry {
    /// When: CLOCK_REALTIME microseconds.
    pub at: u64,
    /// Event code.
    pub code: String,
    /// `info`, `warning`, `error`, `critical`.
    pub severity: String,
    /// Path of what it happened to.
    pub object: OwnedObjectPath,
    /// The facts.
    pub details: BTreeMap<String, Value>,
}

/// A value in a details map.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Type)]
#[zbus(signature = "v")]
#[serde(from = "OwnedVariant", untagged)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`, `x` and the shorter ones
    Int(i64),
    /// `u`, `t` and the shorter ones
    Uint(u64),
    /// `d`
    Float(f64),
    /// `s`, `o`, and anything else in D-Bus's own notation
    Text(String),
    /// `as`
    Texts(Vec<String>),
}

impl From<OwnedVariant> for Value {
    fn from(value: OwnedVariant) -> Self {
        match &*value {
            Variant::Bool(yes) => Self::Bool(*yes),
            Variant::I16(number) => Self::Int((*number).into()),
            Variant::I32(number) => Self::Int((*number).into()),
            Variant::I64(number) => Self::Int(*number),
            Variant::U8(number) => Self::Uint((*number).into()),
            Variant::U16(number) => Self::Uint((*number).into()),
            Variant::U32(number) => Self::Uint((*number).into()),
            Variant::U64(number) => Self::Uint(*number),
            Variant::F64(number) => Self::Float(*number),
            Variant::Str(text) => Self::Text(text.to_string()),
            Variant::ObjectPath(path) => Self::Text(path.to_string()),
            Variant::Array(items) if items.iter().all(|item| matches!(item, Variant::Str(_))) => {
                Self::Texts(items.iter().filter_map(|item| item.downcast_ref::<String>().ok()).collect())
            }
            other => Self::Text(other.to_string()),
        }
    }
}
