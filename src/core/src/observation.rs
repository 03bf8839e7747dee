//! What the sensors report, in the words of the kernel and of LVM. Facts only: no belief, no history, no decision.
//!
//! Unknown words are kept as they were read (`Other`), because an unknown word means hold, never guess (principle 5).
//! Formats: `facts/iscsi.md` 1 (sysfs), `facts/lvm.md` 1 (dm status) and 3 (report columns).

mod probe;

pub use probe::{LegProbe, ProbedIdentity, ProbedSuperblock, Registration, Superblock, VgText};

use crate::ids::{DevNo, LvUuid, PvUuid, TargetKey, VgUuid};
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One consistent-enough reading of sysfs and device-mapper. Never needs storage to answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KernelView {
    /// iSCSI sessions; empty when the module is absent.
    pub sessions: Vec<SessionObs>,
    /// Every device-mapper device.
    pub dm: Vec<DmObs>,
    /// PV UUID → kernel name (`sda`, `sda1`, `dm-3`) by udev's `lvm-pv-uuid-*` links: a hint, proven before use.
    pub pv_links: BTreeMap<PvUuid, PvLink>,
    /// The iscsid that looks after the sessions.
    pub iscsid: Option<ProcessObs>,
    /// Whether any LVM command is alive. Looked up only while a dm device is suspended, else `false`.
    pub lvm_running: bool,
    /// Command lines of LVM commands that an earlier run of the service began and that are still at work.
    pub left_over: Vec<String>,
    /// Our own node name, which LVM writes into what it writes; empty when unreadable.
    pub node: Name,
    /// dm devices could not be listed: what is not here may still be there.
    pub partial: bool,
    /// What could not be read, one line each, naming file and reason. Logged when it changes.
    pub gaps: Vec<String>,
}

/// Where udev last saw a PV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PvLink {
    /// Kernel name, `sda`.
    pub name: Name,
    /// Its number.
    pub dev: DevNo,
}

/// A process that is told apart from its successor by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessObs {
    /// Process id.
    pub pid: u32,
    /// Start in clock ticks since boot (`/proc/PID/stat` field 22).
    pub start: u64,
}

/// State of an iSCSI session (`scsi_transport_iscsi.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// In full feature phase.
    LoggedIn,
    /// Connection lost, recovery timer running, disks blocked.
    Failed,
    /// Recovery timed out, or never logged in, or going away.
    Free,
    /// A word this program does not know.
    Other(String),
}

/// A session as sysfs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionObs {
    /// Kernel session id; lives as long as the session object.
    pub sid: u32,
    /// Who it is with.
    pub target: TargetKey,
    /// Session state.
    pub state: SessionState,
    /// Local TCP port of the connection, when it has a socket. Changes at every reconnect, so it tells one
    /// connection from the next even to a daemon that was not looking.
    pub local_port: Option<u16>,
    /// Seconds until a lost session fails its I/O; `None` = `off`, never.
    pub recovery_tmo: Option<u32>,
    /// iSCSI's own watch: seconds between NOPs, and seconds that one may stay without an answer. `None` when switched off
    /// or not known.
    pub noop: Option<(u32, u32)>,
    /// Its SCSI disks.
    pub disks: Vec<DiskObs>,
}

/// How a dead connection of a session is noticed, as far as the socket goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detect {
    /// TCP_USER_TIMEOUT in milliseconds, read back from the socket; 0 = none.
    InForce(u32),
    /// The session has no socket just now, or iscsid is not there: to be tried again.
    NoSocket,
    /// It cannot be set here; why. iSCSI's own NOPs are all there is.
    Unavailable(String),
}

/// What a session's socket has sent and not seen acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Our port, which tells one connection from the next.
    pub local_port: u16,
    /// Bytes written and not acknowledged, sent or not.
    pub unacked: u32,
    /// Bytes acknowledged since the connection was made.
    pub acked: u64,
}

/// State of a SCSI device (`scsi_sysfs.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScsiState {
    /// I/O flows.
    Running,
    /// I/O queues: whoever touches the disk sleeps.
    Blocked,
    /// Recovery timed out: I/O fails at once.
    TransportOffline,
    /// Set offline by error handling or by hand.
    Offline,
    /// Any other word (`created`, `cancel`, `quiesce`, …).
    Other(String),
}

/// A SCSI disk behind a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskObs {
    /// Kernel name, `sda`.
    pub name: Name,
    /// Device number.
    pub dev: DevNo,
    /// SCSI device state.
    pub state: ScsiState,
    /// Capacity in bytes as the kernel believes it (stale until a rescan).
    pub size: u64,
    /// WWID as sysfs prints it, or empty.
    pub wwid: Name,
    /// Sectors of 512 bytes written since the device appeared.
    pub sectors_written: u64,
    /// Partitions: name and number.
    pub partitions: Vec<(String, DevNo)>,
    /// The kernel's word for its cache (`queue/write_cache`): `write back`, `write through`, empty if unknown.
    pub write_cache: Name,
    /// Who else uses it or a partition of it, other than through device-mapper: mount points, `swap`, md devices.
    pub users: Vec<String>,
}

/// A device-mapper device with its live table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmObs {
    /// Name, `vg0-r1`.
    pub name: Name,
    /// Uuid, `LVM-` + VG + LV [+ `-suffix`]; empty when none.
    pub uuid: Name,
    /// Number.
    pub dev: DevNo,
    /// Counts events of this device; restarts when it is made anew.
    pub event_nr: u32,
    /// I/O to it waits.
    pub suspended: bool,
    /// How often it is open (mounts, other dm devices).
    pub open_count: u32,
    /// Its targets in order.
    pub targets: Vec<DmTarget>,
    /// Devices its live table uses.
    pub deps: Vec<DevNo>,
}

/// One line of a dm table joined with its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DmTarget {
    /// `raid`: raid1, raid10, …
    Raid {
        /// From the table line.
        table: RaidTable,
        /// From the status line.
        status: RaidStatus,
    },
    /// `mirror`, one segment.
    Mirror {
        /// Failed writes wait for user space (needs monitoring).
        handle_errors: bool,
        /// It was loaded as in sync from the start.
        nosync: bool,
        /// From the status line.
        status: MirrorStatus,
    },
    /// `linear`.
    Linear {
        /// Device below.
        dev: DevNo,
        /// Start there, in sectors.
        offset: u64,
    },
    /// `error`: what LVM puts in place of a missing PV.
    Error,
    /// A target that is none of ours, by its type.
    Other(String),
    /// Ours, but the line could not be understood: hold.
    Unreadable {
        /// Target type.
        kind: String,
        /// What was wrong, with the line.
        why: String,
    },
}

/// Health letter of one raid leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegHealth {
    /// `A`: alive and in sync.
    InSync,
    /// `a`: alive, not in sync.
    Syncing,
    /// `D`: failed.
    Dead,
    /// `-`: no device given.
    Absent,
    /// A letter this program does not know.
    Other(char),
}

/// What the raid target is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncAction {
    /// Nothing.
    Idle,
    /// Initial copy or after an unclean shutdown.
    Resync,
    /// One leg is being brought up to date.
    Recover,
    /// Scrub, counting only.
    Check,
    /// Scrub, mending.
    Repair,
    /// Loaded but not resumed, or suspended.
    Frozen,
    /// Not reported by this kernel, or a word this program does not know.
    Other(String),
}

/// Status line of a raid target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaidStatus {
    /// One letter a leg.
    pub health: Vec<LegHealth>,
    /// Sectors done of the current action.
    pub done: u64,
    /// Sectors to do.
    pub total: u64,
    /// Current action.
    pub action: SyncAction,
    /// Sectors found different by the last check; 0 after any other action.
    pub mismatches: u64,
}

/// Table line of a raid target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaidTable {
    /// `raid1`, `raid10`, …
    pub raid_type: String,
    /// Metadata and data device of each leg; `None` for `-`.
    pub legs: Vec<(Option<DevNo>, Option<DevNo>)>,
    /// Leg numbers after each `write_mostly`; −1 is what the kernel prints for a leg that a table load dropped.
    pub write_mostly: Vec<i32>,
}

/// Log of a dm mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorLog {
    /// In memory: every activation copies anew from leg 0.
    Core,
    /// On a device, with its health letter.
    Disk(DevNo, char),
    /// Cluster or userspace log: not ours.
    Other(String),
}

/// Status line of a mirror target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorStatus {
    /// Legs in order.
    pub legs: Vec<DevNo>,
    /// Regions in sync.
    pub in_sync: u64,
    /// Regions.
    pub total: u64,
    /// One letter a leg: `A` ok, `D` write error, `F` flush error, `S` resync error, `R` read error, `U` unknown.
    pub health: Vec<char>,
    /// Where the log is.
    pub log: MirrorLog,
}

/// One `lvm fullreport`. A VG that is absent from it proves nothing (all servers gone → empty report, exit 0).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LvmView {
    /// Volume groups found.
    pub vgs: Vec<VgObs>,
    /// PVs found that belong to none.
    pub orphans: BTreeSet<PvUuid>,
    /// What could not be understood, one line each.
    pub gaps: Vec<String>,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq)]
pub struct VgObs {
    /// UUID.
    pub uuid: VgUuid,
    /// Name; two VGs may share one.
    pub name: Name,
    /// Metadata sequence number.
    pub seqno: u64,
    /// Exported.
    pub exported: bool,
    /// System id, empty when none.
    pub system_id: String,
    /// `sanlock`, `dlm`, `idm` or empty/`none`.
    pub lock_type: String,
    /// Metadata may be written.
    pub writeable: bool,
    /// Bytes.
    pub extent_size: u64,
    /// Tags.
    pub tags: Vec<String>,
    /// Physical volumes, missing ones included.
    pub pvs: Vec<PvObs>,
    /// Logical volumes, hidden ones included.
    pub lvs: Vec<LvObs>,
}

/// A physical volume as LVM sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PvObs {
    /// UUID.
    pub uuid: PvUuid,
    /// `/dev/…`; `None` when LVM cannot find it.
    pub device: Option<String>,
    /// Flagged MISSING in the metadata, or absent.
    pub missing: bool,
    /// LVM sees it twice.
    pub duplicate: bool,
    /// Bytes of the device at the time of the report.
    pub dev_size: u64,
}

/// A logical volume, visible or hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct LvObs {
    /// UUID.
    pub uuid: LvUuid,
    /// Name without brackets.
    pub name: Name,
    /// Name of the LV it is part of, or empty.
    pub parent: String,
    /// `lv_role` words.
    pub role: Vec<String>,
    /// `lv_layout` words.
    pub layout: Vec<String>,
    /// `lv_attr`.
    pub attr: String,
    /// Bytes.
    pub size: u64,
    /// Active on this machine.
    pub active: bool,
    /// A conversion is going on.
    pub converting: bool,
    /// `pvmove` source, or empty.
    pub move_pv: String,
    /// Mirror log LV, or empty.
    pub mirror_log: String,
    /// Health word (`partial`, `refresh needed`, `writemostly`, …).
    pub health: String,
    /// Segments in order.
    pub segs: Vec<SegObs>,
    /// Extents on PVs (for images, metadata and linear LVs).
    pub extents: Vec<ExtentRun>,
    /// LVM activates it by itself when its VG is complete.
    pub autoactivation: bool,
}

/// A segment of an LV.
#[derive(Debug, Clone, PartialEq)]
pub struct SegObs {
    /// `raid1`, `mirror`, `linear`, …
    pub segtype: String,
    /// Sub-LVs or PV paths in leg order, without `(extent)`.
    pub devices: Vec<Name>,
    /// Metadata sub-LVs in leg order.
    pub metadata_devices: Vec<Name>,
    /// `monitored`, `not monitored`, `pending`, … or empty.
    pub monitor: String,
}

/// Extents of an LV on a PV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentRun {
    /// Where.
    pub pv: PvUuid,
    /// First extent.
    pub start: u64,
    /// Number of extents.
    pub len: u64,
}

/// Startup mode of a node record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Startup {
    /// Logged in at boot.
    Automatic,
    /// By hand only.
    Manual,
    /// Logged in by the initramfs.
    Onboot,
}

/// An open-iscsi node record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeObs {
    /// Who.
    pub target: TargetKey,
    /// The stronger of `node.startup` and `node.conn[0].startup`.
    pub startup: Startup,
    /// `node.session.timeo.replacement_timeout` in seconds; negative = never.
    pub replacement_timeout: Option<i32>,
}
