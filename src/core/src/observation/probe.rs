//! What a probe found on the devices themselves, past LVM's merged view: labels, metadata, superblocks, keys. It passes from
//! a child process to the daemon, so all of it can be written and read.

use crate::ids::{PvUuid, VgUuid};
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What stands on a device where a leg should be, read with O_DIRECT by a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegProbe {
    /// PV label and VG metadata on the device.
    pub identity: ProbedIdentity,
    /// Capacity in bytes when it was opened.
    pub size: u64,
    /// One superblock per position asked for, in the order asked.
    pub superblocks: Vec<ProbedSuperblock>,
    /// Keys registered with its target.
    pub registration: Registration,
}

/// Whose PV the device says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbedIdentity {
    /// An LVM label was found.
    Pv {
        /// PV UUID in the label.
        pv: PvUuid,
        /// The newest VG metadata on this very device; `None` for an orphan or a metadata area in ignore mode.
        metadata: Option<VgText>,
    },
    /// The first four sectors are zero.
    Blank,
    /// Something else is there.
    Foreign,
    /// Could not be read; the reason.
    Unreadable(String),
}

/// What the VG metadata on one device says, whatever the other devices of the VG say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VgText {
    /// VG.
    pub vg: VgUuid,
    /// Sequence number.
    pub seqno: u64,
    /// PVs it has flagged MISSING.
    pub missing: BTreeSet<PvUuid>,
    /// Numbers of our stamps among its tags.
    pub stamps: BTreeSet<u64>,
    /// Node name of the machine that wrote it; empty when it does not tell.
    #[serde(default)]
    pub host: Name,
}

/// Keys registered with a disk's target (SPC persistent reservations).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    /// Not asked, not supported, refused; the reason.
    Unknown(String),
    /// As read.
    Keys {
        /// Rises with every change, from 0 after a power loss.
        generation: u32,
        /// Every registered key.
        keys: Vec<u64>,
        /// Somebody holds a reservation.
        reserved: bool,
        /// The target keeps registrations over a power loss (PTPL_A): then they prove nothing.
        persists: bool,
    },
}

/// A dm-raid superblock as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbedSuperblock {
    /// Magic is right.
    Found(Superblock),
    /// All zero.
    Blank,
    /// Another magic.
    Foreign,
    /// Could not be read; the reason.
    Unreadable(String),
}

/// dm-raid superblock (`drivers/md/dm-raid.c`, struct dm_raid_superblock; little endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// Legs in the array.
    pub num_devices: u32,
    /// Which leg this is.
    pub position: u32,
    /// Rises on failures and sync actions, not on writes; the table load trusts the highest.
    pub events: u64,
    /// Legs this one knows to have failed, one bit each (first 64).
    pub failed_devices: u64,
    /// Sectors of this leg known good while it is rebuilt; all ones when complete.
    pub disk_recovery_offset: u64,
}
