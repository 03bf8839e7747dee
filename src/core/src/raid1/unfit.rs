//! Legs that are not healed as they are: a person has to do something first, or to choose.

use super::Case;
use crate::ledger::{Kind, MirrorRecord};
use crate::observation::LegHealth;
use crate::plan::Situation;
use crate::topology::{Leg, Live, Mirror};
use crate::trust;
use crate::witness::{self, Objection};
use crate::words::Hold;

/// What this version does not heal by itself.
pub(super) fn unfit(s: &Situation<'_>, case: &Case<'_>) -> Option<Objection> {
    if case.record.kind == Kind::Raid10 {
        return Some(Objection::new(Hold::NeedsOperator, "reason", "raid10 legs cannot be kept from serving reads"));
    }
    if let Live::Unreadable(why) = &case.mirror.live {
        return Some(Objection::new(Hold::Unreadable, "status", why.as_str()));
    }
    if needs_another_table(case) {
        let objection = Objection::new(Hold::NeedsOperator, "reason", ANOTHER_TABLE);
        return Some(objection.with("leg", case.leg.pv.as_str()));
    }
    serving_alone(s, case.mirror, case.record, case.leg)
}

/// What a person has to do about a volume that was spoiled.
pub(super) const ANOTHER_TABLE: &str = "writes to the last leg had failed; only another table makes it whole: run \
                             `lvchange --maxrecoveryrate 1000000` on the volume, and with 0 afterwards";

/// Whether a leg will not be revived by a resume, and the table that we want is the one that is loaded.
fn needs_another_table(case: &Case<'_>) -> bool {
    let as_wanted = case.leg.write_mostly && case.leg.attached && !case.leg.missing;
    let dead = case.leg.health == Some(LegHealth::Dead) && case.leg.up();
    case.mirror.spoiled() && dead && as_wanted
}

/// A leg that missed writes, or was not proven, is all that is in use, and one that may have what it lacks is not.
pub fn serving_alone(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord, leg: &Leg) -> Option<Objection> {
    let in_use = |leg: &&Leg| leg.health == Some(LegHealth::InSync);
    let serves = |leg: &Leg| record.legs.get(&leg.pv).is_some_and(|known| trust::may_serve(&known.trust));
    if !in_use(&leg) || serves(leg) || mirror.legs.iter().filter(in_use).any(serves) {
        return None;
    }
    let better = mirror.legs.iter().find(|leg| !in_use(leg) && serves(leg))?;
    // Both were written apart: said so, and with what the disks say, as soon as both can be read.
    let superblocks = s.verdict(&mirror.vg.uuid).map(|probe| probe.superblocks(mirror));
    if let (Some(superblocks), Some(own), Some(other)) = (superblocks, leg.index, better.index)
        && let Err(objection) = witness::apart(&superblocks, own, other)
    {
        return Some(objection);
    }
    let (hold, why) = match (leg.write_mostly, better.up()) {
        (true, false) => (Hold::UnverifiedOnly, "the leg it was checked against is gone, and it was not proven yet"),
        (true, true) => (Hold::SplitBrain, "it served alone before it was proven, and the other leg is back"),
        (false, _) => (Hold::StaleLeg, "it missed writes, and is the only leg in use"),
    };
    let objection = Objection::new(hold, "reason", why).with("leg", leg.pv.as_str());
    Some(objection.with("newer", better.pv.as_str()))
}
