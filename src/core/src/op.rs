//! The closed list of things this daemon can ever do to a machine. Command lines are built here, purely, so that the
//! safety check, `PlanHeal`, the journal and the tests all see exactly what would run.
//!
//! Sources of the verbs: `facts/lab.md` A and B (raid1), `facts/lvm.md` 5 (mirror), `facts/iscsi.md` 1.4 and 3 (iSCSI).

mod argv;
mod facts;

pub use argv::pv_path;

use crate::ids::{LvUuid, PvUuid, TargetKey, VgUuid};
use crate::name::Name;
use crate::observation::{Backlog, Detect, LegProbe, Registration};
use std::collections::BTreeMap;

/// A VG with the name LVM commands need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VgRef {
    /// UUID.
    pub uuid: VgUuid,
    /// Name.
    pub name: Name,
}

/// An LV with the name LVM commands need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LvRef {
    /// UUID.
    pub uuid: LvUuid,
    /// Name without the VG.
    pub name: Name,
}

/// Log kind of a `mirror` to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// raid's write-intent bitmap.
    Bitmap,
    /// In memory.
    Core,
    /// On a device.
    Disk,
}

impl LogKind {
    /// The word of the contract and of `--mirrorlog`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Core => "core",
            Self::Disk => "disk",
        }
    }
}

/// One PV to be read by a probe.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProbeTarget {
    /// The PV expected there.
    pub pv: PvUuid,
    /// Kernel name of the device to open, `sda`.
    pub device: Name,
    /// Bytes from the PV's data area to each superblock wanted (extent start × extent size).
    pub superblocks: Vec<u64>,
    /// Kernel name of the SCSI disk below it, whose registrations are read; empty for none.
    #[serde(default)]
    pub disk: Name,
}

/// Prefix of our stamps among a VG's tags; a number follows.
pub const STAMP: &str = "mirrorkeeper.epoch.";

/// The number of a stamp, if a VG tag is one. `07` is not: it could not be removed by its number.
pub fn stamp_of(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix(STAMP)?;
    digits.parse().ok().filter(|_| digits == "0" || !digits.starts_with(['0', '+']))
}

/// A live throttle of the kernel for copies. Both are the whole machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Throttle {
    /// `dev.raid.speed_limit_max`: KiB/s of each array's copy or comparison, 200000 unless changed. Below
    /// `speed_limit_min`, 1000 KiB/s, the kernel does not throttle.
    Raid,
    /// `raid1_resync_throttle` of dm_mirror: percent of the time that a copy may work, 1 to 100.
    Mirror,
}

impl Throttle {
    /// The file to read and write.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Raid => "/proc/sys/dev/raid/speed_limit_max",
            Self::Mirror => "/sys/module/dm_mirror/parameters/raid1_resync_throttle",
        }
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Take a returned PV back into its VG: `vgextend --restoremissing`.
    RestoreMissing {
        /// VG.
        vg: VgRef,
        /// PV.
        pv: PvUuid,
    },
    /// Put legs on probation, and revive them if they are `D`: `lvchange --writemostly PV:y`.
    /// Flags named in `unflag` are taken off in the same command (all flagged = md reads the lowest index).
    Quarantine {
        /// VG.
        vg: VgRef,
        /// PV of the legs.
        pv: PvUuid,
        /// All LVs with a suspect leg there.
        lvs: Vec<LvRef>,
        /// PVs of legs in doubt that serve reads, flagged in the same command: what is revived is copied from those that are not.
        also: Vec<PvUuid>,
        /// PVs whose flag comes off.
        unflag: Vec<PvUuid>,
    },
    /// End probation: `lvchange --writemostly PV:n`. Flags named in `reflag`, the administrator's own, go back on.
    Release {
        /// VG.
        vg: VgRef,
        /// PV of the legs.
        pv: PvUuid,
        /// LVs.
        lvs: Vec<LvRef>,
        /// PVs whose flag goes back on.
        reflag: Vec<PvUuid>,
    },
    /// Resume a volume that a killed command left suspended: `lvchange --refresh`.
    Resume {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Make a `mirror` issue anew what it keeps after a failed leg, and look again for regions to copy: `lvchange --refresh`,
    /// which suspends and resumes it and loads no table that is there already (`lvm2` skips identical ones).
    Requeue {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Compare the legs: `lvchange --syncaction check`.
    Check {
        /// VG.
        vg: VgRef,
        /// LVs.
        lvs: Vec<LvRef>,
    },
    /// Copy differing blocks from the lowest leg: `lvchange --syncaction repair`.
    Repair {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Copy a whole leg anew: `lvchange --rebuild PV`.
    Rebuild {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// PV to be written.
        pv: PvUuid,
    },
    /// Give a volume a leg back, to be copied in full: `lvconvert --type raid1|mirror -m N`.
    ReaddLeg {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// PV to be written.
        pv: PvUuid,
        /// Log it had; a bitmap makes it a raid1.
        log: LogKind,
        /// PV of a disk log, when it had one.
        log_pv: Option<PvUuid>,
        /// Legs it will have afterwards.
        legs: u32,
    },
    /// Take a leg that cannot be believed out of a volume, to copy it anew: `lvconvert -m N VG/LV PV`.
    DropLeg {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// PV of the leg.
        pv: PvUuid,
        /// Legs left afterwards.
        legs: u32,
    },
    /// Do what dmeventd failed to do: drop a dead mirror leg, `lvconvert --repair --use-policies`.
    DropDeadLeg {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Have dmeventd watch an LV again: `lvchange --monitor y`.
    Monitor {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Write our tag of that number into the VG's metadata, in place of older ones: `vgchange --addtag`. Whoever is not
    /// there to get it is older from then on, and says so.
    Stamp {
        /// VG.
        vg: VgRef,
        /// Number of the new one.
        add: u64,
        /// Numbers of those it replaces.
        drop: Vec<u64>,
    },
    /// Remove our tags from a VG: `vgchange --deltag`.
    Unstamp {
        /// VG.
        vg: VgRef,
        /// Their numbers.
        drop: Vec<u64>,
    },
    /// Have disks write their caches out, in a child: LVM does not flush its metadata.
    Flush {
        /// VG on them.
        vg: VgUuid,
        /// Kernel names.
        devices: Vec<Name>,
    },
    /// Register a key with a disk's target, in a child (SPC persistent reservations: a registration, never a reservation,
    /// and not to survive a power loss). Found again after a return, it proves that the target did not restart.
    Register {
        /// PV on it.
        pv: PvUuid,
        /// Kernel name.
        disk: Name,
        /// The key.
        key: u64,
    },
    /// Take our key away again.
    Unregister {
        /// PV on it.
        pv: PvUuid,
        /// Kernel name.
        disk: Name,
        /// The key.
        key: u64,
    },
    /// Activate a volume: `lvchange -ay --activationmode complete`, or `degraded` with `--devices`.
    Activate {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// The PVs of a raid1 with a leg missing that is to be activated without it, and all that LVM may see: whoever turns up
        /// while the command is at work would have a say in the table. Empty for a volume that is complete.
        on: Vec<PvUuid>,
    },
    /// Deactivate a volume that nobody has open: `lvchange -an`.
    Deactivate {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Leave activation at boot to us, or back to LVM: `lvchange --setautoactivation`.
    SetAutoactivation {
        /// VG.
        vg: VgRef,
        /// LVs.
        lvs: Vec<LvRef>,
        /// LVM activates them as soon as the VG is complete.
        on: bool,
    },
    /// Read labels, VG metadata, superblocks and registrations.
    Probe {
        /// VG the answer is about.
        vg: VgUuid,
        /// What to read.
        targets: Vec<ProbeTarget>,
    },
    /// See whether a portal answers, then log in to one target there.
    Login {
        /// Target.
        target: TargetKey,
    },
    /// Write `recovery_tmo` of a live session and read it back.
    SetRecoveryTmo {
        /// Kernel session id.
        sid: u32,
        /// Target, for the record.
        target: TargetKey,
        /// Seconds; `None` = `off`.
        seconds: Option<u32>,
    },
    /// Put TCP_USER_TIMEOUT on the session's own socket and read it back (`facts/lab.md` D).
    SetDetect {
        /// Kernel session id.
        sid: u32,
        /// Target.
        target: TargetKey,
        /// Milliseconds; 0 = none.
        millis: u32,
    },
    /// See how much the session's own socket has sent that is not acknowledged.
    SampleSocket {
        /// Kernel session id.
        sid: u32,
        /// Target.
        target: TargetKey,
    },
    /// Destroy the session's own socket, as `ss -K` does, if nothing has been acknowledged since it was seen like this.
    DestroySocket {
        /// Kernel session id.
        sid: u32,
        /// Target.
        target: TargetKey,
        /// What it was seen to have.
        seen: Backlog,
    },
    /// Read one block of a disk past every cache: does its server answer now?
    ReadDirect {
        /// Its target.
        target: TargetKey,
        /// Kernel name, `sda`.
        disk: Name,
    },
    /// Log a dead session out, so that what waits for it fails into the mirrors instead of waiting on.
    Fence {
        /// Kernel session id.
        sid: u32,
        /// Target.
        target: TargetKey,
    },
    /// See whether a portal accepts a connection while its session is away. One that is reached by an interface of its own
    /// cannot be tried and counts as there.
    Knock {
        /// Target.
        target: TargetKey,
        /// It did the last time.
        again: bool,
    },
    /// Tell the kernel that a session's failed connection was stopped, so that iscsid can bind another (`trapped`).
    ClearConnection {
        /// Kernel session id.
        sid: u32,
        /// Target.
        target: TargetKey,
    },
    /// Write `replacement_timeout` into the node record.
    UpdateNode {
        /// Target.
        target: TargetKey,
        /// Seconds.
        seconds: u32,
    },
    /// Have the kernel read a disk's capacity again.
    Rescan {
        /// Kernel name, `sda`.
        disk: Name,
    },
    /// Have udev look at a disk again: a LUN whose content was put right raises no event.
    Announce {
        /// Kernel name, `sda`.
        disk: Name,
    },
    /// Make a disk fail its I/O at once: keeps an ambiguous leg out.
    SetOffline {
        /// Kernel name, `sda`.
        disk: Name,
    },
    /// Let a disk answer again that we had set offline.
    SetRunning {
        /// Kernel name, `sda`.
        disk: Name,
    },
    /// Start iscsid.
    StartIscsid,
    /// Read a throttle.
    ReadThrottle {
        /// Which.
        throttle: Throttle,
    },
    /// Write a throttle and read it back.
    SetThrottle {
        /// Which.
        throttle: Throttle,
        /// In its own unit.
        value: u32,
    },
}

/// What to do with a child that outlives its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadline {
    /// It only reads: SIGKILL.
    Kill,
    /// It writes LVM metadata: SIGTERM once, then wait and say so. Killing it may leave devices suspended
    /// (lvmteam/lvm2#75).
    TermAndWait,
}

/// How an operation ended. An exit code is a hint; success is seen by observation.
#[derive(Debug, Clone, PartialEq)]
pub enum OpResult {
    /// A command ended.
    Exit {
        /// Exit status; 128 + signal when killed.
        code: i32,
        /// Its last line of output, standard error first.
        last_line: String,
    },
    /// A sysfs write was made and read back as wanted.
    Wrote,
    /// A probe's answers.
    Probed(BTreeMap<PvUuid, LegProbe>),
    /// The keys read back after one was registered or taken away.
    Registered(Registration),
    /// A throttle as it is now.
    Throttle(u32),
    /// What the socket says now.
    Detect(Detect),
    /// What the socket has; `None` when it is gone.
    Sampled(Option<Backlog>),
    /// The disk, or the portal, answered, after so many microseconds.
    Answered(u64),
    /// The portal did not answer a TCP connect; nothing was run.
    NoAnswer(String),
    /// It could not be run or done; the reason.
    Failed(String),
    /// Its deadline passed. A writer may still be running: another result follows when it ends.
    TimedOut,
}
