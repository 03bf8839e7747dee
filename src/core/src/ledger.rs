//! What must be remembered over a restart: what the mirrors should look like, which legs are not to be trusted, and what
//! we changed that is not ours. Everything else is observed anew.
//!
//! The file is the shell's business (root disk, atomic, fsynced); this module says what is in it. Commands that write
//! storage wait until the ledger that justifies them is on disk.

use crate::ids::{LvUuid, PvUuid, VgUuid};
use crate::op::LogKind;
use crate::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the format. A file of another version is not read: unknown history means hold.
pub const VERSION: u32 = 1;

/// The ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Format version, [`VERSION`].
    pub version: u32,
    /// Rises with every save.
    pub generation: u64,
    /// Kernel boot in which it was written. What is noted about connections is worthless in another boot.
    pub boot_id: String,
    /// Mirrors by LV UUID.
    pub mirrors: BTreeMap<LvUuid, MirrorRecord>,
    /// Targets by their name on the bus.
    pub targets: BTreeMap<String, TargetRecord>,
}

impl Ledger {
    /// A ledger that knows nothing.
    pub fn empty(boot_id: &str) -> Self {
        let (mirrors, targets) = (BTreeMap::new(), BTreeMap::new());
        Self { version: VERSION, generation: 0, boot_id: boot_id.to_owned(), mirrors, targets }
    }
}

/// What a mirror should look like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorRecord {
    /// `vg/lv` when last seen, for people reading the file.
    pub name: String,
    /// Its VG.
    pub vg: VgUuid,
    /// `raid1`, `raid10` or `mirror`.
    pub kind: Kind,
    /// Log it had.
    pub log: LogKind,
    /// PV of a disk log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_pv: Option<PvUuid>,
    /// Legs by PV; their number is the number of copies wanted.
    pub legs: BTreeMap<PvUuid, LegRecord>,
    /// Since when it is not redundant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded_since: Option<Wall>,
    /// Result of the last completed check: sectors, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<(u64, Wall)>,
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
    /// Target it was last seen on, by its name on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
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
    },
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
    /// Fixed value in seconds set through the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_seconds: Option<u32>,
    /// What the node record said before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_from: Option<u32>,
    /// The administrator logged out in this boot; left alone until asked or rebooted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_out_in_boot: Option<String>,
}

/// One TCP connection of one session, within a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Kernel session id.
    pub sid: u32,
    /// Local port.
    pub local_port: u16,
}
