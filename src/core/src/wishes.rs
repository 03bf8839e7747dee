//! What people asked for and what stays so until they take it back: healing switched off, servers out of service, limits of
//! copies. Part of the ledger, so that it outlives every restart; nothing is decided here.

use crate::ids::{LvUuid, PvUuid};
use crate::ledger::Ledger;
use crate::name::Name;
use crate::op::Throttle;
use crate::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Wishes in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// Healing is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Servers out of service, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub maintenance: BTreeMap<Name, Maintenance>,
    /// Limits of copies in bytes a second, by mirror.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<LvUuid, u64>,
    /// Throttles of the kernel that we changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttles: BTreeMap<Throttle, Throttled>,
}

/// Healing is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub since: Wall,
    /// By whom.
    pub uid: u32,
}

/// A server out of service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Since when.
    pub since: Wall,
    /// By whom.
    pub uid: u32,
    /// How far it is.
    pub stage: Stage,
    /// People were told that it was entered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
    /// Its targets by their names on the bus: it may go by another name after the next edit of the configuration.
    pub targets: BTreeSet<Name>,
    /// PVs whose disks we set offline. A disk that somebody else set offline stays so when the server is back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub offline: BTreeSet<PvUuid>,
}

/// How far a maintenance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Survivors are raised and disks set offline.
    Entering,
    /// The server may be switched off.
    Entered,
    /// Disks are set running again.
    Leaving,
}

/// A throttle of the kernel that we changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttled {
    /// What it was before.
    pub from: u32,
    /// What we set.
    pub set: u32,
    /// What we had set before that: a death between the note and the write leaves it.
    pub earlier: u32,
}

impl Throttled {
    /// Whether a value is of our making.
    pub fn ours(&self, value: u32) -> bool {
        value == self.set || value == self.earlier
    }
}

impl Ledger {
    /// Whether a target, by its name on the bus, is on a server that is out of service.
    pub fn resting(&self, target: &str) -> bool {
        let on = |m: &Maintenance| m.stage != Stage::Leaving && m.targets.contains(target);
        self.wishes.maintenance.values().any(on)
    }

    /// Whether healing is switched off.
    pub fn paused(&self) -> bool {
        self.wishes.paused.is_some()
    }
}
