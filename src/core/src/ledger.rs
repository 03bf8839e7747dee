//! What must be remembered over a restart: what the mirrors should look like, which legs are not to be trusted, and what
//! we changed that is not ours. Everything else is observed anew.
//!
//! The file is the shell's business (root disk, atomic, fsynced); this module says what is in it. Commands that write
//! storage wait until the ledger that justifies them is on disk.

use crate::ids::{LvUuid, PvUuid, VgUuid};
use crate::name::Name;
use crate::op::LogKind;
use crate::time::Wall;
use crate::wishes::Wishes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the format. A file of another version is not read: unknown history means hold.
pub const VERSION: u32 = 2;

/// Incidents kept of each mirror: the last few losses and returns, within 4 KiB a mirror.
pub const INCIDENTS: usize = 10;

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Rises with every save.
    pub generation: u64,
    /// Kernel boot in which it was written. What is noted about connections is worthless in another boot.
    pub boot_id: Name,
    /// How the service ended, if it did.
    #[serde(default)]
    pub mark: Mark,
    /// VGs with mirrors.
    pub vgs: BTreeMap<VgUuid, VgRecord>,
    /// Mirrors by LV UUID.
    pub mirrors: BTreeMap<LvUuid, MirrorRecord>,
    /// Targets by their name on the bus.
    pub targets: BTreeMap<Name, TargetRecord>,
    /// What people asked for, until they take it back.
    #[serde(default)]
    pub wishes: Wishes,
    /// Node names that this machine went by, which LVM wrote into the metadata.
    #[serde(default)]
    pub hosts: BTreeSet<Name>,
}

/// More names than anybody gives a machine. Where every boot brings another one they tell nothing.
const MOST_HOSTS: usize = 32;

impl Ledger {
    /// A ledger that knows nothing.
    pub fn empty(boot_id: &str) -> Self {
        Self {
            version: VERSION,
            generation: 0,
            boot_id: boot_id.into(),
            mark: Mark::Running,
            vgs: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            targets: BTreeMap::new(),
            wishes: Wishes::default(),
            hosts: BTreeSet::new(),
        }
    }

    /// Notes what this machine is called.
    pub fn called(&mut self, node: &Name) {
        if !node.is_empty() && !self.hosts.contains(node) {
            if self.hosts.len() >= MOST_HOSTS {
                self.hosts.clear();
            }
            self.hosts.insert(node.clone());
        }
    }

    /// Whether a text was written by another machine, as far as its name tells. An initial RAM disk has no name yet, and one
    /// that nobody chose is every machine's.
    pub fn foreign(&self, host: &str) -> bool {
        let nobody = matches!(host, "" | "(none)" | "localhost" | "localhost.localdomain");
        !nobody && !self.hosts.is_empty() && !self.hosts.contains(host)
    }
}

/// How the service ended. After it nobody noted what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// It did not: it runs, or the machine or the process died. Whatever was lost until then was noted.
    #[default]
    Running,
    /// In good order, with no managed mirror open: nothing was written after it.
    Closed,
    /// In good order, with a managed mirror open: a leg may have been lost after it, with nobody to see.
    Left,
}

/// What is remembered of a VG.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VgRecord {
    /// Number of the last stamp that was begun. The next one is higher, and higher than any tag found.
    #[serde(default)]
    pub stamp: u64,
    /// The last stamp known to be on every disk that was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<Noted>,
    /// Asked to be left alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

/// A stamp that was written and flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its number.
    pub stamp: u64,
    /// Sequence number of the metadata it stood in.
    pub seqno: u64,
}

/// What a mirror should look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorRecord {
    /// `vg/lv` when last seen, for people reading the file.
    pub name: Name,
    /// Its VG.
    pub vg: VgUuid,
    /// `raid1`, `raid10` or `mirror`.
    pub kind: Kind,
    /// Log it had.
    pub log: LogKind,
    /// PV of a disk log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_pv: Option<PvUuid>,
    /// Legs by PV; their number is the number of copies wanted. Boxed: a map has room for eleven in its first node, and most
    /// mirrors have two.
    pub legs: BTreeMap<PvUuid, Box<LegRecord>>,
    /// Since when it is not redundant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_since: Option<Wall>,
    /// Result of the last completed check: sectors, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<(u64, Wall)>,
    /// Boot in which it was last seen active. Once it was, whoever deactivates it means it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub active_in_boot: Name,
    /// The leg that a person chose to keep. Until the others are copied anew from it, nothing casts doubt on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<PvUuid>,
    /// The service had ended while it was open, and another boot began: a leg may have been lost with nobody to see. Or one in
    /// doubt went on alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// LVM's own activation was switched off by us.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// What happened to its legs, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
}

/// Something that happened to a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// When.
    pub at: Wall,
    /// To whom.
    pub leg: PvUuid,
    /// What: the cause by which it lost its trust, or `trusted`.
    pub what: String,
}

/// Segment type of a mirrored LV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// raid1.
    Raid1,
    /// raid10: watched, healed only by policy.
    Raid10,
    /// The old mirror target.
    Mirror,
}

impl Kind {
    /// LVM's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Raid1 => "raid1",
            Self::Raid10 => "raid10",
            Self::Mirror => "mirror",
        }
    }
}

/// What is known about a leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegRecord {
    /// Bytes of its device when it was last healthy. A returned device of another size is not the leg.
    pub size: u64,
    /// The device's own name (`wwid` in sysfs) when it was last healthy; empty if it has none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub wwid: Name,
    /// Target it was last seen on, by its name on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Name>,
    /// It was compared and found the same although its metadata was older than this sequence number, that of the VG then. Only
    /// the next command that writes metadata renews it. Void once its session goes, or the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<u64>,
    /// It failed while no other leg was there: nobody has more than it, until it is in use again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// Its superblock while it was healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Healthy>,
    /// Generation of the target's registrations when ours was the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<u32>,
    /// Its disk was set offline by us, to keep it out of an activation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept_out: bool,
    /// It was taken back without a check, by policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
    /// Whether it may be read from and copied from.
    pub trust: Trust,
    /// The administrator had set write-mostly himself: it stays when we are done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin_write_mostly: bool,
}

/// Whether a leg may serve reads and be a source of copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trust {
    /// In sync as far as anybody can know.
    Trusted,
    /// Not to be believed until verified.
    Suspect {
        /// What happened to it.
        cause: Cause,
        /// When.
        since: Wall,
        /// How far its rehabilitation is.
        stage: Stage,
        /// What was known about it then.
        #[serde(default)]
        loss: Loss,
    },
}

/// A leg's superblock as it was while the array was healthy and idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthy {
    /// Its `events`.
    pub events: u64,
    /// dm event number of the volume then: with another one, a sync action or a failure has raised `events` since, and the
    /// note is no witness.
    pub event_nr: u32,
}

/// What was known about a leg when it lost its trust, and what was learnt since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The most `events` that its superblock may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Sequence number that its metadata has at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqno: Option<u64>,
    /// First sequence number seen that has it flagged MISSING: its own is lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flagged: Option<u64>,
    /// Number of the stamp that its metadata has at most, until it is written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<u64>,
    /// Its own metadata was read after it came back, before anybody wrote it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witnessed: bool,
    /// Whether its server lived on.
    #[serde(default)]
    pub continuity: Continuity,
    /// It was revived in a way that has been seen to leave out blocks: over a new device name, or in more than one try; or
    /// while another leg in doubt was read from, which it may have been copied from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rough: bool,
    /// It was seen to fail, and nobody has dropped it since. A `mirror` that calls it alive again writes past it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Its metadata told another history when it was read. A later write of metadata may wipe that; this note stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub diverged: bool,
    /// It came back with older metadata than it must have had: it is compared whatever the policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub older: bool,
}

/// Whether a server provably went on running while its session was down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Continuity {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Our registration is still there: its cache was never lost.
    Proven,
    /// Our registration is gone: it restarted.
    Broken,
}

impl Continuity {
    /// The word of the contract.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Proven => "proven",
            Self::Broken => "broken",
        }
    }
}

/// Why a leg is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// This daemon saw it fail or vanish: writes went past it.
    Lost,
    /// It was already failed at first sight: nothing is known about its past.
    FoundFailed,
    /// Its session was down although it never failed; its server may have lost cached writes.
    SessionDown,
    /// It is in use with older metadata than the other legs: its LUN was put back from an image.
    RolledBack,
    /// A person chose another leg to be kept: it is copied anew in full.
    Condemned,
}

impl Cause {
    /// The word in details and incidents.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::FoundFailed => "found-failed",
            Self::SessionDown => "session-down",
            Self::RolledBack => "rolled-back",
            Self::Condemned => "condemned",
        }
    }
}

/// How far the rehabilitation of a suspect leg is. Only what observation cannot tell is kept here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// To be revived or flagged, and checked.
    Unverified,
    /// Checked and found different: to be mended.
    Mismatched,
    /// Checked clean, or mended after a check: to be released.
    Verified,
}

/// What is known about a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRecord {
    /// A leg of a managed mirror was last seen here, so it is kept logged in whatever its node record says.
    #[serde(default)]
    pub carries_leg: bool,
    /// The connection last seen up, to notice one that came and went while nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// The replacement timeout in seconds that we raised, as we found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_from: Option<u32>,
    /// What the node record said, in seconds, before we made sessions of it wait longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_from: Option<u32>,
    /// Fixed value in seconds set through the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_seconds: Option<u32>,
    /// What the node record said before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_from: Option<u32>,
    /// The administrator logged out in this boot; left alone until asked or rebooted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_out_in_boot: Option<Name>,
}

/// One TCP connection of one session, within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Kernel session id.
    pub sid: u32,
    /// Local port.
    pub local_port: u16,
}
