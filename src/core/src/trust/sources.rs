//! Who may be copied from.

use crate::ids::PvUuid;
use crate::ledger::{Cause, MirrorRecord, Trust};
use crate::observation::LegHealth;
use crate::topology::{Leg, Mirror};

/// PVs of legs that a leg which differs may be mended from: those beyond doubt, or without any, the only one whose session was
/// down, if the others beside it were put back from old images.
pub fn sources<'a>(record: &'a MirrorRecord, mirror: &'a Mirror) -> Vec<&'a PvUuid> {
    let good: Vec<&PvUuid> = good_legs(record, mirror).collect();
    if !good.is_empty() {
        return good;
    }
    let live = || mirror.legs.iter().filter(|leg| leg.health == Some(LegHealth::InSync) && leg.up());
    let because =
        |leg: &&Leg, why: Cause| record.legs.get(&leg.pv).is_some_and(|l| super::cause(&l.trust) == Some(why));
    let older = live().any(|leg| because(&leg, Cause::RolledBack));
    let down: Vec<&PvUuid> = live().filter(|leg| because(leg, Cause::SessionDown)).map(|leg| &leg.pv).collect();
    // Of two, each may lack what the other has.
    if older && down.len() == 1 { down } else { Vec::new() }
}

/// PVs of a mirror whose legs may serve as a source: trusted, alive, and their device answers.
pub fn good_legs<'a>(record: &'a MirrorRecord, mirror: &'a Mirror) -> impl Iterator<Item = &'a PvUuid> {
    mirror.legs.iter().filter_map(|leg| {
        let known = record.legs.get(&leg.pv)?;
        let up = leg.up() && leg.attached;
        (known.trust == Trust::Trusted && leg.health == Some(LegHealth::InSync) && up).then_some(&leg.pv)
    })
}
