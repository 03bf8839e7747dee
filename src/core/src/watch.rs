//! What only shows over several looks: who is steady, who is stuck and since when, how fast a copy goes.

use crate::ids::{LvUuid, VgUuid};
use crate::observation::{KernelView, LegHealth};
use crate::time::Mono;
use crate::topology::{Live, Mirror};
use crate::view::{self, Pace};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of the mirrors over time.
#[derive(Debug, Default)]
pub struct Watch {
    /// Mirrors that were steady in the last two looks. A single sample may lie: right after a resume the kernel calls
    /// legs alive that are not (`facts/lvm.md` 1.1).
    pub steady: BTreeSet<LvUuid>,
    /// Mirrors seen whole in this run: what changes on them from now on is seen as it happens.
    pub whole: BTreeSet<LvUuid>,
    /// Mirrors that wait for somebody else's hand, and since when.
    pub stuck_since: BTreeMap<LvUuid, Mono>,
    /// dm event numbers at the last look.
    pub events: BTreeMap<LvUuid, u32>,
    /// Copies under way.
    pub paces: BTreeMap<LvUuid, Pace>,
    steady_once: BTreeSet<LvUuid>,
}

impl Watch {
    /// Takes in a look. In VGs with a `writer` of ours at work nothing counts as stuck.
    pub fn look(
        &mut self,
        mirrors: &BTreeMap<LvUuid, Mirror>,
        kernel: &KernelView,
        writers: &BTreeSet<VgUuid>,
        now: Mono,
    ) {
        let steady: BTreeSet<LvUuid> =
            mirrors.iter().filter(|(_, m)| m.steady()).map(|(uuid, _)| uuid.clone()).collect();
        self.steady = steady.intersection(&self.steady_once).cloned().collect();
        self.steady_once = steady;
        let waits = |m: &Mirror| stuck(m, kernel) && !writers.contains(&m.vg.uuid);
        self.stuck_since.retain(|uuid, _| mirrors.get(uuid).is_some_and(waits));
        for (uuid, mirror) in mirrors {
            if waits(mirror) {
                self.stuck_since.entry(uuid.clone()).or_insert(now);
            }
            let ratio = view::ratio(mirror);
            let before = self.paces.remove(uuid);
            if ratio < 1.0 {
                self.paces.insert(uuid.clone(), Pace::follow(before, ratio, mirror.size, now));
            }
        }
    }

    /// Remembers what mirrors are like now. To be called after they were judged.
    pub fn remember(&mut self, mirrors: &BTreeMap<LvUuid, Mirror>) {
        self.whole.extend(self.steady_once.iter().cloned());
        // Nobody judges what is left alone.
        self.whole.retain(|uuid| mirrors.get(uuid).is_some_and(|mirror| mirror.unmanaged.is_none()));
        self.events = mirrors.iter().map(|(uuid, mirror)| (uuid.clone(), mirror.event_nr)).collect();
    }
}

/// Whether a mirror is suspended with no LVM command alive, has a dead leg that dmeventd should have dropped, or a leg
/// that nothing copies.
fn stuck(mirror: &Mirror, kernel: &KernelView) -> bool {
    let any = |health| mirror.legs.iter().any(|leg| leg.index.is_some() && leg.health == Some(health));
    let orphan = mirror.suspended && !kernel.lvm_running;
    // dmeventd cannot act either while a device is blocked.
    let undropped = matches!(mirror.live, Live::Mirror { .. }) && any(LegHealth::Dead);
    let stopped = mirror.idle() && any(LegHealth::Syncing);
    orphan || stopped || (undropped && kernel.blocked_device().is_none())
}
