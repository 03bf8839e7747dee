//! What no rule speaks of. A mirror that is not whole, that nothing is done for and that nobody objects to would look to a
//! person as if all were about to be healed. After a while it is held, so that somebody hears of it.

use crate::engine::Engine;
use crate::ids::{LvUuid, VgUuid};
use crate::observation::LegHealth;
use crate::plan::Situation;
use crate::snapshot::MirrorView;
use crate::time::{Mono, Now};
use crate::topology::{Leg, Live, Mirror};
use crate::witness::Objection;
use crate::words::Hold;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What such a hold says: whoever reads it has found a mistake of ours.
const REASON: &str = "a leg is here, and no rule says what to do with it; please report this with the journal";

/// How long nothing may be done without a word: several times as long as the looks that a decision waits for, which are ten
/// seconds apart while nothing seems to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Mirrors that nothing is done for, and since when.
#[derive(Debug, Default)]
pub struct AtALoss(BTreeMap<LvUuid, Mono>);

impl AtALoss {
    /// Takes in the mirrors that nothing is done for now, and gives those for which that has lasted too long.
    fn look(&mut self, left: Vec<LvUuid>, now: Mono) -> impl Iterator<Item = &LvUuid> {
        let before = std::mem::take(&mut self.0);
        self.0.extend(left.into_iter().map(|uuid| {
            let since = before.get(&uuid).copied().unwrap_or(now);
            (uuid, since)
        }));
        self.0.iter().filter(move |(_, since)| now.since(**since) >= PATIENCE).map(|(uuid, _)| uuid)
    }

    /// When the next one will have waited for too long.
    pub fn due(&self) -> impl Iterator<Item = Mono> {
        self.0.values().map(|since| since.after(PATIENCE))
    }
}

impl Engine {
    /// Holds what has been left alone for too long. Something is done in the VGs that are `moving`.
    pub(crate) fn admit(&mut self, now: Now, moving: &BTreeSet<VgUuid>, holds: &mut BTreeMap<LvUuid, Vec<Objection>>) {
        let known = self.world.reported && !self.outdated;
        let alone = |m: &&Mirror| known && !moving.contains(&m.vg.uuid) && !holds.contains_key(&m.lv.uuid);
        let left = self.situation(now, |s| {
            let left = self.mirrors.values().filter(alone).filter(|m| lacks(s, m));
            left.map(|m| m.lv.uuid.clone()).collect()
        });
        for uuid in self.at_a_loss.look(left, now.mono) {
            holds.insert(uuid.clone(), vec![Objection::new(Hold::NeedsOperator, "reason", REASON)]);
        }
    }
}

/// Whether a mirror is shown with that objection.
pub fn admits(shown: &MirrorView) -> bool {
    shown.hold_details.get("reason") == Some(&REASON.into())
}

/// Whether the kernel is at rest and a leg that is there is not in use, or not trusted. What was never two copies lacks none.
fn lacks(s: &Situation<'_>, mirror: &Mirror) -> bool {
    let unused = |leg: &Leg| leg.up() && leg.health != Some(LegHealth::InSync);
    let lacks = !s.trusts_all(mirror) && mirror.legs.iter().all(Leg::up) || mirror.legs.iter().any(unused);
    let at_rest = mirror.live != Live::Inactive && mirror.idle() && !s.scrubs.contains_key(&mirror.lv.uuid);
    at_rest && mirror.unmanaged.is_none() && s.record(mirror).is_some() && lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LvmUuid;

    #[test]
    fn only_what_is_left_alone_all_the_time_is_told_of() {
        let [a, b] = ['a', 'b'].map(|c| LvmUuid::parse(&c.to_string().repeat(32)).unwrap());
        let at = |seconds: u64| Mono(seconds * 1_000_000);
        let mut all = AtALoss::default();
        assert_eq!(all.look(vec![a.clone(), b.clone()], at(100)).count(), 0);
        // Something is done for one of them.
        assert_eq!(all.look(vec![b.clone()], at(130)).count(), 0);
        assert!(all.due().eq([at(160)]));
        assert!(all.look(vec![a.clone(), b.clone()], at(160)).eq([&b]));
        assert!(all.look(vec![a.clone()], at(219)).eq([] as [&LvUuid; 0]));
        assert!(all.look(vec![a.clone()], at(220)).eq([&a]));
    }
}
