//! What only shows over several looks: who is steady, who is stuck and since when, how fast a copy goes.

use crate::ids::{LvUuid, VgUuid};
use crate::ledger::{Ledger, MirrorRecord, Trust};
use crate::observation::{KernelView, LegHealth};
use crate::time::Mono;
use crate::topology::{Leg, Live, Mirror};
use crate::view::{self, Pace};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// Volumes of type `mirror` that may keep writes although no leg is dead.
    pub keeping: BTreeSet<LvUuid>,
    /// dm event numbers at the last look.
    pub events: BTreeMap<LvUuid, u32>,
    /// Copies under way.
    pub paces: BTreeMap<LvUuid, Pace>,
    steady_once: BTreeSet<LvUuid>,
    /// The report was out of date at the last two looks, the last one first: legs may have been in the table that nobody knew.
    outdated: [bool; 2],
    looked_at: BTreeSet<LvUuid>,
}

/// How long a copy may stand still before the kernel is made to look for regions again. A region has 2 MiB if nobody chose
/// otherwise, so this is slower than any copy that was asked for; and it does no harm to one that is as slow.
const STANDS: Duration = Duration::from_secs(30);

impl Watch {
    /// Takes in a look. In VGs with a `writer` of ours at work nothing counts as stuck. `reported` tells whether the LVM report
    /// is newer than the last structural change.
    pub fn look(
        &mut self,
        mirrors: &BTreeMap<LvUuid, Mirror>,
        ledger: &Ledger,
        kernel: &KernelView,
        writers: &BTreeSet<VgUuid>,
        reported: bool,
        now: Mono,
    ) {
        self.outdated = [!reported, self.outdated[0]];
        let steady: BTreeSet<LvUuid> =
            mirrors.iter().filter(|(_, m)| m.steady()).map(|(uuid, _)| uuid.clone()).collect();
        self.steady = steady.intersection(&self.steady_once).cloned().collect();
        self.keeping.retain(|uuid| mirrors.get(uuid).is_some_and(holds_writes));
        let stands = |m: &Mirror| self.paces.get(&m.lv.uuid).is_some_and(|pace| now.since(pace.moved) >= STANDS);
        let may_keep = |m: &&Mirror| holds_writes(m) && (stands(m) || self.erred(m, ledger));
        let keeping: Vec<LvUuid> = mirrors.values().filter(may_keep).map(|m| m.lv.uuid.clone()).collect();
        self.keeping.extend(keeping);
        self.looked_at = mirrors.keys().cloned().collect();
        self.steady_once = steady;
        let keeping = &self.keeping;
        let waits = |m: &Mirror| {
            let stuck = stuck(m, kernel) || keeping.contains(&m.lv.uuid) && kernel.blocked_device().is_none();
            stuck && !writers.contains(&m.vg.uuid)
        };
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

    /// Whether a leg failed since the last look, or has: the kernel tells by an event, and may call the leg alive again
    /// before anybody looks. At the first look one that is in doubt may have failed while nobody was there, if the table is
    /// not new.
    fn erred(&self, mirror: &Mirror, ledger: &Ledger) -> bool {
        let dead = mirror.legs.iter().any(|leg| leg.index.is_some() && leg.health == Some(LegHealth::Dead));
        let doubted = || {
            let in_this_boot = |record: &&MirrorRecord| record.active_in_boot == ledger.boot_id;
            let record = ledger.mirrors.get(&mirror.lv.uuid).filter(in_this_boot);
            let known = |leg: &Leg| record?.legs.get(&leg.pv).map(|known| known.trust != Trust::Trusted);
            let unseen = record.is_some_and(|record| record.unseen);
            unseen || mirror.legs.iter().any(|leg| leg.index.is_some() && known(leg) == Some(true))
        };
        if !self.looked_at.contains(&mirror.lv.uuid) {
            return dead || doubted();
        }
        let told = self.events.get(&mirror.lv.uuid).is_some_and(|nr| *nr != mirror.event_nr);
        // The first look after a command of ours shows what that did.
        let unknown = self.outdated == [true, true];
        dead || told && (unknown || mirror.steady() && self.steady_once.contains(&mirror.lv.uuid))
    }

    /// A volume has let go what it kept, and looks for regions to copy anew.
    pub fn let_go(&mut self, uuid: &LvUuid) {
        self.keeping.remove(uuid);
        self.paces.remove(uuid);
    }

    /// When the next copy will have been standing still for long.
    pub fn due(&self) -> impl Iterator<Item = Mono> {
        self.paces.values().map(|pace| pace.moved.after(STANDS))
    }

    /// Remembers what mirrors are like now. To be called after they were judged.
    pub fn remember(&mut self, mirrors: &BTreeMap<LvUuid, Mirror>) {
        self.whole.extend(self.steady_once.iter().cloned());
        // Nobody judges what is left alone.
        self.whole.retain(|uuid| mirrors.get(uuid).is_some_and(|mirror| mirror.unmanaged.is_none()));
        // Of a leg whose device has just gone the next look tells how it is, and by this number what it was like before.
        let unclear = |m: &Mirror| m.live != Live::Inactive && m.legs.iter().any(|leg| m.unclear(leg));
        let seen = |(uuid, mirror): (&LvUuid, &Mirror)| {
            let before = self.events.get(uuid).copied().filter(|_| unclear(mirror));
            (uuid.clone(), before.unwrap_or(mirror.event_nr))
        };
        self.events = mirrors.iter().map(seen).collect();
    }
}

/// Whether a volume keeps the writes that failed on a leg until it is suspended.
///
/// dm-mirror does so for dmeventd, which drops the leg. But it calls a leg alive again as soon as all regions are in sync,
/// and a flush that failed makes none out of sync: if the server is back by the time of the next write, dmeventd finds
/// nothing to repair, and whoever waits for that flush waits for ever. Regions that are out of sync stay so as well, since a
/// core log is searched once (seen on 6.1; `dm-raid1.c`, `do_failures`, `do_recovery`; `dm-log.c`, `core_resume`).
fn holds_writes(mirror: &Mirror) -> bool {
    matches!(mirror.live, Live::Mirror { handle_errors: true, .. })
}

/// Whether a mirror is suspended with no LVM command alive, has a dead leg that dmeventd should have dropped, a leg that
/// nothing copies, or was spoiled.
fn stuck(mirror: &Mirror, kernel: &KernelView) -> bool {
    let any = |health| mirror.legs.iter().any(|leg| leg.index.is_some() && leg.health == Some(health));
    let orphan = mirror.suspended && !kernel.lvm_running;
    // dmeventd cannot act either while a device is blocked.
    let undropped = matches!(mirror.live, Live::Mirror { .. }) && any(LegHealth::Dead);
    let stopped = mirror.idle() && any(LegHealth::Syncing) || mirror.spoiled();
    orphan || stopped || (undropped && kernel.blocked_device().is_none())
}
