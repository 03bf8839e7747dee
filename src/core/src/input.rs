//! What reaches the engine, and what leaves it. One input in, a list of effects out; nothing else crosses the border.

use crate::ids::{JobId, LvUuid, OpId, PvUuid, TargetKey};
use crate::ledger::Ledger;
use crate::name::Name;
use crate::observation::{KernelView, LvmView, NodeObs};
use crate::op::{Op, OpResult};
use crate::settings::Settings;
use crate::snapshot::{Event, Finding};
use crate::time::Mono;
use crate::words::Obstacle;
use std::sync::Arc;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// sysfs and device-mapper were read.
    Kernel(Box<KernelView>),
    /// The LVM report came back, or did not.
    Lvm(Result<LvmView, String>),
    /// The node records came back, or did not.
    Nodes(Result<Vec<NodeObs>, String>),
    /// The kernel said something about a session. A hint with memory: order tells a logout from a loss.
    Iscsi(IscsiHint),
    /// An operation ended.
    OpEnded(OpId, OpResult),
    /// The ledger of that generation is on disk, or could not be put there.
    LedgerSaved(u64, Result<(), String>),
    /// Somebody asks for something; `u64` is the token of the reply.
    Command(u64, Command),
    /// The configuration was read again; these are in force from now on.
    Settings(Box<Settings>),
    /// Time passed.
    Tick,
    /// Whether the whole system is going down, so that nobody opens anything any more.
    SystemStopping(bool),
    /// The machine or the service is stopping: observe and remember, begin nothing.
    Stopping,
}

/// NETLINK_ISCSI messages that matter (`facts/iscsi.md` 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IscsiHint {
    /// The connection broke.
    ConnError {
        /// Session.
        sid: u32,
        /// 1000 + code.
        code: u32,
    },
    /// The SCSI target of a session was removed: first step of a logout, or forced.
    Unbind {
        /// Session.
        sid: u32,
    },
    /// The target answered a logout request: somebody logged out in good order.
    LogoutResponse {
        /// Session.
        sid: u32,
    },
    /// Messages were lost: anything may have happened to any session.
    Overrun,
}

/// A request from the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Observe everything again.
    Rescan,
    /// Log in now.
    Reconnect {
        /// Whom to.
        target: TargetKey,
        /// Who asked.
        uid: u32,
    },
    /// Fixed replacement timeout in seconds, 0 = automatic again.
    SetReplacementTimeout {
        /// Of whom.
        target: TargetKey,
        /// Seconds.
        seconds: u32,
        /// Who asked.
        uid: u32,
    },
    /// Switch healing off; the last reason counts.
    Pause {
        /// Why, for people.
        reason: String,
        /// Who asked.
        uid: u32,
    },
    /// Switch healing on again, and end what `Forget` began.
    Resume {
        /// Who asked.
        uid: u32,
    },
    /// May this server be switched off now?
    SafeToTakeDown {
        /// Its name.
        server: Name,
    },
    /// What could be better.
    Diagnose,
    /// Read and compare all legs.
    Check {
        /// Which mirror.
        mirror: LvUuid,
        /// Who asked.
        uid: u32,
    },
    /// Limit copies of a mirror; 0 = no limit of ours.
    SetResyncLimit {
        /// Which mirror.
        mirror: LvUuid,
        /// Bytes a second.
        bytes: u64,
        /// Who asked.
        uid: u32,
    },
    /// Take a server out of service.
    EnterMaintenance {
        /// Its name.
        server: Name,
        /// Who asked.
        uid: u32,
    },
    /// Put a server back into service.
    LeaveMaintenance {
        /// Its name.
        server: Name,
        /// Who asked.
        uid: u32,
    },
    /// End a job between two of its steps.
    Cancel {
        /// Which.
        job: JobId,
        /// Who asked.
        uid: u32,
    },
    /// Heal without waiting for settle and back-off times.
    Heal {
        /// Which mirror.
        mirror: LvUuid,
        /// Who asked.
        uid: u32,
    },
    /// What would be done, and why or why not.
    PlanHeal {
        /// Which mirror.
        mirror: LvUuid,
    },
    /// End a hold: one leg is kept, the others are copied anew from it.
    Resolve {
        /// Which mirror.
        mirror: LvUuid,
        /// PV of the leg to keep.
        keep: PvUuid,
        /// Who asked.
        uid: u32,
    },
    /// Activate an inactive mirror, degraded if need be, under the checks of a boot.
    Activate {
        /// Which mirror.
        mirror: LvUuid,
        /// Who asked.
        uid: u32,
    },
    /// Take our stamps and registrations off a VG and leave it alone.
    Forget {
        /// Name of the VG.
        vg: String,
        /// Who asked.
        uid: u32,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done.
    Done,
    /// A job does it.
    Job(JobId),
    /// The steps that would be taken; a hold comes first and has no command line.
    Plan(Vec<PlannedStep>),
    /// What would be lost, by mirror, the gravest each; empty = nothing.
    Obstacles(Vec<(Name, Obstacle)>),
    /// What could be better.
    Findings(Vec<Finding>),
}

/// A step that would be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// Step code, or `hold`.
    pub code: &'static str,
    /// Why.
    pub why: String,
    /// The command line, if it is one.
    pub argv: Vec<String>,
}

/// Why a command is refused; each is an error name of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such object.
    #[error("{0}")]
    NoSuchObject(String),
    /// Out of range or malformed.
    #[error("{0}")]
    InvalidArgument(String),
    /// Shown but not managed.
    #[error("{0}")]
    NotManaged(String),
    /// Held, with the hold's word.
    #[error("{0}")]
    Held(String),
    /// Something else is going on.
    #[error("{0}")]
    Busy(String),
    /// There is no hold that the request would end.
    #[error("{0}")]
    NotHeld(String),
    /// The leg to keep is not there.
    #[error("{0}")]
    LegMissing(String),
    /// It is active already.
    #[error("{0}")]
    NotInactive(String),
    /// A mirror would lose its last trusted leg.
    #[error("{0}")]
    WouldLoseRedundancy(String),
    /// The leg is not what it should be.
    #[error("{0}")]
    LegMismatch(String),
    /// Its server is in maintenance.
    #[error("{0}")]
    InMaintenance(String),
    /// Healing is switched off.
    #[error("{0}")]
    Paused(String),
    /// A tool failed; its own last line.
    #[error("{0}")]
    ToolFailed(String),
}

/// One thing for the shell to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Read sysfs and device-mapper.
    ObserveKernel,
    /// Run the LVM report. Only asked for while no device is blocked.
    ObserveLvm,
    /// Read the node records.
    ObserveNodes,
    /// Carry out an operation.
    Start(OpId, Op),
    /// Put the ledger on disk.
    Save(Arc<Ledger>),
    /// Call again at that time.
    WakeAt(Mono),
    /// Tell everybody.
    Publish(Event),
    /// Answer a command.
    Reply(u64, Result<Reply, Refusal>),
    /// Stopping is done: what had to be remembered is on disk, or could not be put there in time.
    Stopped,
    /// Something that must not happen was about to: the safety check stopped it. Logged as an error.
    Anomaly(String),
}
