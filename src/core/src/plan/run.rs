//! What a look at every leg of a VG brought, and when it was like that.

use crate::ids::{LvUuid, PvUuid, VgUuid};
use crate::ledger::Connection;
use crate::observation::{LegProbe, ProbedIdentity, ProbedSuperblock, Registration, VgText};
use crate::plan::Situation;
use crate::time::Mono;
use crate::topology::{Leg, Mirror};
use crate::witness::{self, Expected, Objection, Superblocks, Texts};
use crate::words::Hold;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a probe's answer may justify a command: it is asked for just before.
const PROBE_VALID: Duration = Duration::from_secs(10);

/// A probe's answers.
#[derive(Debug, Clone)]
pub struct ProbeRun {
    /// When it began.
    pub at: Mono,
    /// Which LV each superblock of a PV belongs to, in the order read.
    pub order: BTreeMap<PvUuid, Vec<LvUuid>>,
    /// What it was asked, and what things were like then.
    pub event_nrs: BTreeMap<LvUuid, Option<u32>>,
    /// Connections of the legs when it began: what was read under another one is about another time.
    pub connections: BTreeMap<PvUuid, Option<Connection>>,
    /// What was read.
    pub legs: BTreeMap<PvUuid, LegProbe>,
}

impl ProbeRun {
    /// When it justifies no command any more.
    pub fn expires(&self) -> Mono {
        self.at.after(PROBE_VALID)
    }

    /// The answer of a probe that gave none.
    pub fn failed(asked: Self, why: &str) -> Self {
        let nothing = |lvs: &Vec<LvUuid>| LegProbe {
            identity: ProbedIdentity::Unreadable(why.to_owned()),
            size: 0,
            superblocks: lvs.iter().map(|_| ProbedSuperblock::Unreadable(why.to_owned())).collect(),
            registration: Registration::Unknown(why.to_owned()),
        };
        let legs = asked.order.iter().map(|(pv, lvs)| (pv.clone(), nothing(lvs))).collect();
        Self { legs, ..asked }
    }

    /// Whether the device found for a leg is the leg.
    ///
    /// # Errors
    /// The objection.
    pub fn identity(&self, mirror: &Mirror, leg: &Leg, size: u64) -> Result<(), Objection> {
        let Some(probe) = self.legs.get(&leg.pv) else {
            return Err(Objection::new(Hold::Unreadable, "probe", "device was not read"));
        };
        // Sizes are noted of disks; a partition is its own business.
        let whole = leg.place.as_ref().is_some_and(|p| p.disk == p.name);
        let size = if whole { size } else { 0 };
        witness::identity(probe, Expected { pv: &leg.pv, vg: &mirror.vg.uuid, size })
    }

    /// Whether what was read on a PV is that PV to each mirror with a leg on it: they may have noted different sizes.
    pub fn stands(&self, s: &Situation<'_>, vg: &VgUuid, pv: &PvUuid) -> Result<(), Objection> {
        let legs = s.mirrors.values().filter(|m| m.vg.uuid == *vg).filter_map(|m| Some((m, m.leg(pv)?)));
        let size = |m: &Mirror| s.record(m).and_then(|r| r.legs.get(pv)).map_or(0, |known| known.size);
        legs.into_iter().try_for_each(|(mirror, leg)| self.identity(mirror, leg, size(mirror)))
    }

    /// The VG metadata on each device.
    pub fn texts(&self) -> Texts<'_> {
        self.legs.iter().filter_map(|(pv, probe)| Some((pv, text_of(probe)?))).collect()
    }

    /// The newest VG metadata on any device.
    pub fn newest(&self) -> Option<&VgText> {
        self.texts().into_values().max_by_key(|text| text.seqno)
    }

    /// The VG metadata on one device.
    pub fn text(&self, pv: &PvUuid) -> Option<&VgText> {
        text_of(self.legs.get(pv)?)
    }

    /// The superblocks of one LV by leg position.
    pub fn superblocks(&self, mirror: &Mirror) -> Superblocks {
        mirror.legs.iter().filter_map(|leg| Some((leg.index?, self.superblock(mirror, leg)?.clone()))).collect()
    }

    /// The superblock of one leg.
    pub fn superblock(&self, mirror: &Mirror, leg: &Leg) -> Option<&ProbedSuperblock> {
        let position = self.order.get(&leg.pv)?.iter().position(|lv| *lv == mirror.lv.uuid)?;
        self.legs.get(&leg.pv)?.superblocks.get(position)
    }
}

fn text_of(probe: &LegProbe) -> Option<&VgText> {
    match &probe.identity {
        ProbedIdentity::Pv { metadata, .. } => metadata.as_ref(),
        _ => None,
    }
}
