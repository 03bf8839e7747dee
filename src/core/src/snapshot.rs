//! The read model: everything the bus, the journal and the command show, made anew after every step and immutable.
//! Names and meanings are those of the D-Bus contract; this module knows no D-Bus types.

use crate::ids::{JobId, TargetKey};
use crate::name::Name;
use crate::observation::{Startup, SyncAction};
use crate::time::Wall;
use crate::words::{
    Concern, EventCode, Hold, JobState, LegState, MirrorState, Operation, ServerState, Severity, TargetState,
    TimeoutReason, UnmanagedReason,
};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// A value in a details map.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Str(String),
    /// `as`
    Strs(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::U64(number)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::U32(value) => write!(f, "{value}"),
            Self::U64(value) => write!(f, "{value}"),
            Self::F64(value) => write!(f, "{value}"),
            Self::Str(value) => f.write_str(value),
            Self::Strs(values) => f.write_str(&values.join(" ")),
        }
    }
}

/// Named facts, `a{sv}` on the bus.
pub type Details = BTreeMap<&'static str, Value>;

/// What an event or a job is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The daemon itself.
    Manager,
    /// A target, by its name on the bus.
    Target(TargetKey),
    /// A mirror, by its name on the bus (`vg/lv`).
    Mirror(Name),
    /// A job.
    Job(JobId),
    /// A storage server, by its name.
    Server(Name),
}

/// A view that snapshots have in common for as long as nothing in it changes: there may be a thousand, and most moments
/// change one. Who changes it gets one of his own.
#[derive(Debug)]
pub struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Shared<T> {
    fn from(view: T) -> Self {
        Self(Arc::new(view))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *self.0 == *other.0
    }
}

impl<T: PartialEq> Shared<T> {
    /// The view as it was, if it is like that still.
    pub fn again(before: Option<&Self>, view: T) -> Self {
        before.filter(|before| ***before == view).cloned().unwrap_or_else(|| view.into())
    }
}

/// Everything there is to see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// When the kernel was last looked at.
    pub observed_at: Wall,
    /// Healing is switched off, and why. Empty reason when not paused.
    pub paused: Option<String>,
    /// Targets.
    pub targets: BTreeMap<TargetKey, TargetView>,
    /// Mirrors by name.
    pub mirrors: BTreeMap<Name, Shared<MirrorView>>,
    /// Jobs of the last minutes.
    pub jobs: BTreeMap<JobId, JobView>,
    /// Storage servers by name.
    pub servers: BTreeMap<Name, ServerView>,
    /// A mirror is being copied, and the administrator wants a shutdown of the system delayed meanwhile.
    pub delays_shutdown: bool,
}

impl Snapshot {
    /// Worst state of all managed mirrors; `redundant` when there is none.
    pub fn state(&self) -> MirrorState {
        let managed = self.mirrors.values().filter(|m| m.unmanaged.is_none());
        managed.map(|m| m.state).max().unwrap_or(MirrorState::Redundant)
    }

    /// Managed mirrors of which a leg is being brought up to date or mended. A comparison that is cut short costs time alone.
    pub fn copied(&self) -> impl Iterator<Item = &Name> {
        let copied = |m: &&Shared<MirrorView>| m.unmanaged.is_none() && m.state == MirrorState::Resyncing;
        self.mirrors.values().filter(copied).map(|m| &m.name)
    }
}

/// A storage server as shown: one failure domain.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerView {
    /// `addr:port`, sorted.
    pub portals: Vec<String>,
    /// State.
    pub state: ServerState,
    /// Everything known there, managed or not.
    pub targets: Vec<TargetKey>,
    /// Mirrors with a leg there, by their keys in [`Snapshot::mirrors`].
    pub mirrors: Vec<Name>,
    /// Out of service by a person's wish.
    pub maintenance: bool,
    /// How often it came back lately.
    pub flap_count: u32,
    /// Until when its legs are not touched.
    pub held_until: Option<Wall>,
    /// Since when it is in its state.
    pub since: Wall,
}

/// Something that could be better, for `Diagnose`.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What.
    pub code: &'static str,
    /// How much it matters.
    pub concern: Concern,
    /// About what.
    pub object: Object,
    /// The facts; under `fix` what a person can do, one command or setting each.
    pub details: Details,
}

/// A target as shown.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetView {
    /// The server it is on, by its key in [`Snapshot::servers`]; empty when none is known.
    pub server: Name,
    /// TCP user timeout in force on the session; `None` when only NOPs detect a dead server.
    pub detect_timeout: Option<Duration>,
    /// State.
    pub state: TargetState,
    /// Since when.
    pub since: Wall,
    /// Kernel session id.
    pub sid: Option<u32>,
    /// `/dev/sdX`.
    pub disks: Vec<String>,
    /// Startup mode; `None` without a node record.
    pub startup: Option<Startup>,
    /// Kept logged in by us.
    pub managed: bool,
    /// In force: `None` without a session, `Some(-1)` never, else seconds.
    pub replacement_timeout: Option<i32>,
    /// In the node record: `None` without one.
    pub configured_timeout: Option<i32>,
    /// Why it is what it is.
    pub timeout_reason: TimeoutReason,
    /// How long writes wait if this server dies silently now; `None` = until it returns.
    pub stall_estimate: Option<Duration>,
    /// What the last login attempt said; empty when it worked.
    pub last_error: String,
    /// When the next login attempt is due.
    pub next_attempt: Option<Wall>,
    /// Login attempts since it was lost.
    pub attempts: u32,
}

/// A mirror as shown.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorView {
    /// `vg/lv`.
    pub name: Name,
    /// LVM UUID.
    pub uuid: String,
    /// `raid1`, `raid10`, `mirror`.
    pub kind: &'static str,
    /// `bitmap`, `core`, `disk`.
    pub log: &'static str,
    /// Bytes.
    pub size: u64,
    /// State.
    pub state: MirrorState,
    /// Copies it should have.
    pub copies_wanted: u32,
    /// Copies in sync and trusted.
    pub copies_in_sync: u32,
    /// Running action; `None` = nothing can be running (`none`).
    pub action: Option<SyncAction>,
    /// Of the running action; 1.0 when none.
    pub ratio: f64,
    /// Bytes a second of the running action; 0 when none or not known yet.
    pub rate: u64,
    /// Until the running action ends; zero when none, `None` when not known.
    pub remaining: Option<Duration>,
    /// Legs in order.
    pub legs: Vec<LegView>,
    /// Sectors found different by the last completed check.
    pub mismatches: u64,
    /// When that was.
    pub last_check: Wall,
    /// When it stopped being redundant; 0 when it is.
    pub degraded_since: Wall,
    /// Why nothing is done.
    pub hold: Option<Hold>,
    /// Evidence for the hold.
    pub hold_details: Details,
    /// Why it is not managed; `None` when it is.
    pub unmanaged: Option<UnmanagedReason>,
}

/// A leg as shown.
#[derive(Debug, Clone, PartialEq)]
pub struct LegView {
    /// PV UUID.
    pub pv: String,
    /// `/dev/…`, or empty.
    pub device: String,
    /// The target it is on.
    pub target: Option<TargetKey>,
    /// State.
    pub state: LegState,
    /// Ratio in sync.
    pub ratio: f64,
    /// Evidence.
    pub details: Details,
}

/// A job as shown.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// What for.
    pub operation: Operation,
    /// On what.
    pub object: Object,
    /// How far.
    pub state: JobState,
    /// Progress of the running step, when it can be told.
    pub progress: Option<f64>,
    /// Bytes a second of the running step.
    pub rate: u64,
    /// When it began; 0 while queued.
    pub started: Wall,
    /// When it should end; 0 when not known.
    pub expected_end: Wall,
    /// Who asked; 0 for the daemon itself.
    pub uid: u32,
    /// Steps so far.
    pub steps: Vec<StepView>,
    /// Why it failed, in the tool's own words; empty otherwise.
    pub error: String,
}

/// A step of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Step code, as in `PlanHeal`.
    pub code: &'static str,
    /// Why it was taken.
    pub why: String,
    /// Command line, or what was done in words.
    pub command: String,
    /// Exit status, −1 while running or when there was none.
    pub exit: i32,
    /// `running`, `done`, `no-effect`, `failed`, `timed-out`.
    pub result: &'static str,
}

/// Something that happened, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub at: Wall,
    /// What.
    pub code: EventCode,
    /// How bad.
    pub severity: Severity,
    /// To what.
    pub object: Object,
    /// The facts.
    pub details: Details,
}
