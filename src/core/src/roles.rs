//! Who may fail fast and who has to wait. Short timeouts on every leg are a trap: a switch that reboots takes all sessions
//! down together, the last leg's writes fail and the file system dies (`facts/lab.md` D). So every mirror keeps one leg that
//! waits, its anchor, and only the others are quick.
//!
//! A pure function of what is seen and remembered, made anew in every turn: roles move in the turn that sees the change.

use crate::ids::{DevNo, LvUuid, TargetKey};
use crate::ledger::{Kind, Ledger, MirrorRecord, Trust};
use crate::name::Name;
use crate::observation::{DiskObs, DmObs, KernelView, LegHealth, SyncAction};
use crate::session::Targets;
use crate::settings::Settings;
use crate::topology::{Leg, Live, Mirror};
use crate::trust::good_legs;
use crate::words::TimeoutReason;
use std::collections::{BTreeMap, BTreeSet};

/// What roles rest on.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// Mirrors.
    pub mirrors: &'a BTreeMap<LvUuid, Mirror>,
    /// sysfs and dm.
    pub kernel: &'a KernelView,
    /// Targets.
    pub targets: &'a Targets,
    /// Ledger.
    pub ledger: &'a Ledger,
    /// Settings.
    pub settings: &'a Settings,
    /// The LVM report is newer than the last structural change.
    pub reported: bool,
}

/// A managed mirror in use, and the sessions of its legs beyond doubt.
struct InUse<'a> {
    mirror: &'a Mirror,
    record: &'a MirrorRecord,
    good: BTreeSet<&'a TargetKey>,
}

/// Role of every session.
pub type Roles = BTreeMap<TargetKey, TimeoutReason>;

/// Whether a session with this role has to wait for its server.
pub const fn waits(role: TimeoutReason) -> bool {
    use TimeoutReason::{Anchor, LastGoodLeg, Maintenance, Probation, Resyncing, Shared};
    matches!(role, Anchor | LastGoodLeg | Resyncing | Probation | Shared | Maintenance)
}

impl<'a> Ground<'a> {
    /// Managed mirrors that are in use and should have more than one leg.
    pub fn active(self) -> impl Iterator<Item = (&'a Mirror, &'a MirrorRecord)> {
        self.mirrors.values().filter_map(move |mirror| Some((mirror, self.record_of_active(mirror)?)))
    }

    fn record_of_active(self, mirror: &Mirror) -> Option<&'a MirrorRecord> {
        let active = mirror.unmanaged.is_none() && mirror.live != Live::Inactive;
        self.ledger.mirrors.get(&mirror.lv.uuid).filter(|record| active && record.legs.len() > 1)
    }

    /// Whether a device-mapper device is one of these mirrors. Parts of one carry the uuid of an LV of their own, so they are
    /// known by who lies on them.
    fn owns(self, dm: &DmObs) -> bool {
        let mirror = dm.lv().and_then(|lv| self.mirrors.get(&lv));
        mirror.is_some_and(|m| dm.suffix(&m.vg.uuid, &m.lv.uuid).is_some() && self.record_of_active(m).is_some())
    }

    fn in_use(self) -> Vec<InUse<'a>> {
        self.active()
            .map(|(mirror, record)| InUse { mirror, record, good: self.good_sessions(mirror, record) })
            .collect()
    }

    /// Whether a session has been seen to wait long enough: read back from the kernel, not only asked for.
    pub fn seen_waiting(self, key: &TargetKey) -> bool {
        let target = self.targets.all.get(key);
        let long = |tmo: Option<u32>| tmo.is_none_or(|seconds| seconds >= self.settings.wait_timeout);
        target.is_some_and(|t| t.logged_in() && t.recovery_tmo.is_some_and(long))
    }

    /// Sessions of the legs of a mirror that are beyond doubt, answer, and are to stay. While a `mirror` is copied that is its
    /// first leg alone: what the others had before does not count.
    pub fn good_sessions(self, mirror: &'a Mirror, record: &'a MirrorRecord) -> BTreeSet<&'a TargetKey> {
        let copied = |leg: &Leg| mirror.kind == Kind::Mirror && leg.index != Some(0) && copying(mirror);
        let legs = good_legs(record, mirror).filter_map(|pv| mirror.leg(pv)).filter(|leg| !copied(leg));
        legs.filter_map(session).filter(|key| !self.ledger.resting(&key.name)).collect()
    }
}

/// The session that a leg is reached over.
pub fn session(leg: &Leg) -> Option<&TargetKey> {
    leg.place.as_ref()?.target.as_ref()
}

/// The role of every session.
pub fn roles(ground: Ground<'_>) -> Roles {
    let mut roles: Roles = ground.targets.all.keys().map(|key| (key.clone(), TimeoutReason::Unmanaged)).collect();
    let (active, carrying) = (ground.in_use(), with_legs(ground));
    for (key, role) in bound_to_wait(ground, &active, &carrying) {
        let entry = roles.entry(key).or_insert(role);
        *entry = graver(*entry, role);
    }
    let quick = ground.settings.quick_timeout > 0;
    if quick {
        let anchors = anchors(ground, &active, &roles);
        roles.extend(anchors.into_iter().map(|key| (key, TimeoutReason::Anchor)));
    }
    // Whoever has not to wait may be quick, as far as another leg of every mirror on it waits.
    for InUse { mirror, good, .. } in active.iter().filter(|_| quick) {
        for key in mirror.legs.iter().filter_map(session) {
            if roles.get(key).is_some_and(|role| waits(*role)) {
                continue;
            }
            let spare = good.iter().any(|other| *other != key && roles.get(*other).is_some_and(|role| waits(*role)));
            let role = if spare { TimeoutReason::Quick } else { TimeoutReason::LastGoodLeg };
            let entry = roles.entry(key.clone()).or_insert(role);
            *entry = graver(*entry, role);
        }
    }
    for key in carrying {
        let entry = roles.entry(key.clone()).or_insert(TimeoutReason::Configured);
        *entry = graver(*entry, TimeoutReason::Configured);
    }
    for (key, role) in &mut roles {
        if *role != TimeoutReason::Multipath && fixed(ground, key).is_some() {
            *role = TimeoutReason::Override;
        }
    }
    roles
}

/// Sessions that have to wait whatever the others do: last good copies, sources, partners of a probation, shared disks.
fn bound_to_wait(
    ground: Ground<'_>,
    active: &[InUse<'_>],
    carrying: &BTreeSet<&TargetKey>,
) -> Vec<(TargetKey, TimeoutReason)> {
    let mut bound = Vec::new();
    for InUse { mirror, record, good } in active {
        let multipath = mirror.legs.iter().filter(|leg| leg.place.as_ref().is_some_and(|place| place.multipath));
        bound.extend(multipath.filter_map(|leg| Some((session(leg)?.clone(), TimeoutReason::Multipath))));
        let doubted = |leg: &&Leg| record.legs.get(&leg.pv).is_some_and(|known| known.trust != Trust::Trusted);
        let mut in_doubt = mirror.legs.iter().filter(|leg| leg.index.is_some()).filter(doubted);
        let role = if copying(mirror) || record.kept.is_some() {
            TimeoutReason::Resyncing
        } else if in_doubt.any(|leg| leg.write_mostly) {
            TimeoutReason::Probation
        } else if mirror.legs.iter().filter_map(session).any(|key| ground.ledger.resting(&key.name)) {
            TimeoutReason::Maintenance
        } else if good.len() < 2 {
            TimeoutReason::LastGoodLeg
        } else {
            continue;
        };
        // With no proven leg left, whatever still serves is the last copy there is, and may be any leg while none is known to
        // serve; and a copy may come from any that serves. A `mirror` calls its new leg in sync from the first moment, but what
        // it is copied from is its first one.
        let serves = |leg: &&Leg| leg.index.is_some() && leg.health == Some(LegHealth::InSync);
        let unknown = !mirror.legs.iter().any(|leg| serves(&leg));
        let serving = mirror.legs.iter().filter(|leg| unknown || serves(leg));
        let source = mirror.legs.iter().find(|leg| leg.index == Some(0) && mirror.kind == Kind::Mirror);
        let known = source.is_some_and(|leg| !doubted(&leg)) && mirror.legs.iter().any(|leg| doubted(&leg));
        if good.is_empty() || role == TimeoutReason::Resyncing && !known {
            bound.extend(serving.filter_map(session).map(|key| (key.clone(), role)));
        } else {
            bound.extend(good.iter().map(|key| ((*key).clone(), role)));
        }
    }
    let shared = carrying.iter().filter(|key| shared(ground, key));
    bound.extend(shared.map(|key| ((*key).clone(), TimeoutReason::Shared)));
    bound.extend(astray(ground).map(|key| (key.clone(), TimeoutReason::LastGoodLeg)));
    bound
}

/// Sessions with a disk that serves a mirror none of whose legs is known to be there: something else goes by the name of its
/// PV. Whatever the table uses may be the last copy there is.
pub fn astray(ground: Ground<'_>) -> impl Iterator<Item = &TargetKey> {
    let places = ground.mirrors.values().flat_map(|m| &m.legs).filter_map(|leg| leg.place.as_ref());
    let known: BTreeSet<&Name> = places.map(|place| &place.disk).collect();
    let attached = |m: &Mirror| m.legs.iter().any(|leg| leg.health == Some(LegHealth::InSync) && leg.attached);
    let in_use = ground.mirrors.values().filter(|m| m.unmanaged.is_none() && m.live != Live::Inactive);
    let elsewhere: Vec<&Mirror> = in_use.filter(|m| !attached(m)).collect();
    let lost = move |disk: &DiskObs| {
        !known.contains(&disk.name) && serves(ground, disk, |_| true)
            || !elsewhere.is_empty() && serves(ground, disk, |m| elsewhere.iter().any(|other| other.lv == m.lv))
    };
    ground.kernel.sessions.iter().filter(move |session| session.disks.iter().any(&lost)).map(|session| &session.target)
}

/// Whether one of these mirrors is in use and lies on a disk, itself or by a part. One that was left with a single leg is meant
/// as well: what it lies on is all it has.
fn serves(ground: Ground<'_>, disk: &DiskObs, these: impl Fn(&Mirror) -> bool) -> bool {
    let parts = on(ground, &[disk], |_| true);
    let in_use = |m: &Mirror| these(m) && m.unmanaged.is_none() && m.live != Live::Inactive;
    let theirs = |dm: &DmObs| dm.lv().and_then(|lv| ground.mirrors.get(&lv)).is_some_and(in_use);
    let upon = |dm: &DmObs| dm.deps.iter().any(|dev| lies_on(&parts, *dev));
    ground.kernel.dm.iter().any(|dm| theirs(dm) && (lies_on(&parts, dm.dev) || upon(dm)))
}

/// Numbers, sorted, of those device-mapper devices that lie on some disks.
fn on(ground: Ground<'_>, disks: &[&DiskObs], wanted: impl Fn(&DmObs) -> bool) -> Vec<DevNo> {
    let of = |disk: &&DiskObs| disk.partitions.iter().map(|(_, dev)| *dev).chain([disk.dev]).collect::<Vec<_>>();
    let mut below: Vec<DevNo> = disks.iter().flat_map(of).collect();
    below.sort_unstable();
    let devices = ground.kernel.dm.iter().filter(|dm| dm.deps.iter().any(|dev| lies_on(&below, *dev)) && wanted(dm));
    let mut numbers: Vec<DevNo> = devices.map(|dm| dm.dev).collect();
    numbers.sort_unstable();
    numbers
}

fn lies_on(sorted: &[DevNo], dev: DevNo) -> bool {
    sorted.binary_search(&dev).is_ok()
}

/// Whether one leg is being copied onto another. A comparison needs nobody.
pub fn copying(mirror: &Mirror) -> bool {
    match &mirror.live {
        Live::Raid(status) => !matches!(status.action, SyncAction::Idle | SyncAction::Check | SyncAction::Frozen),
        // A region that its only other leg, which is dead, could not be given is nobody's copy.
        Live::Mirror { in_sync, total, .. } => {
            let alive = mirror.legs.iter().filter(|leg| leg.health == Some(LegHealth::InSync));
            in_sync < total && alive.count() > 1
        }
        _ => false,
    }
}

/// One anchor for each mirror that has none yet, on as few sessions as possible; of equals the one with the highest leg
/// indexes, since md's `repair` copies from the lowest leg and so may be used when an anchor comes back.
fn anchors(ground: Ground<'_>, active: &[InUse<'_>], roles: &Roles) -> BTreeSet<TargetKey> {
    let has_one = |good: &BTreeSet<&TargetKey>| good.iter().any(|key| roles.get(*key).is_some_and(|role| waits(*role)));
    let fit = |key: &TargetKey| {
        let multipath = roles.get(key) == Some(&TimeoutReason::Multipath);
        let short = fixed(ground, key).is_some_and(|seconds| seconds < ground.settings.wait_timeout);
        !multipath && !short
    };
    let mut open: Vec<BTreeMap<&TargetKey, usize>> = Vec::new();
    for InUse { mirror, good, .. } in active {
        if !has_one(good) {
            let legs = mirror.legs.iter().filter_map(|leg| Some((session(leg)?, leg.index?)));
            open.push(legs.filter(|(key, _)| good.contains(key) && fit(key)).collect());
        }
    }
    let mut anchors = BTreeSet::new();
    loop {
        let mut votes: BTreeMap<&TargetKey, (usize, usize)> = BTreeMap::new();
        for (key, index) in open.iter().flatten() {
            let (mirrors, indexes) = votes.entry(key).or_default();
            (*mirrors, *indexes) = (*mirrors + 1, *indexes + index);
        }
        let Some((best, _)) = votes.into_iter().max_by_key(|(_, votes)| *votes) else { return anchors };
        anchors.insert(best.clone());
        open.retain(|legs| !legs.contains_key(best));
    }
}

/// Sessions with a leg of a managed mirror.
fn with_legs(ground: Ground<'_>) -> BTreeSet<&TargetKey> {
    let managed = ground.mirrors.values().filter(|m| m.unmanaged.is_none());
    managed.flat_map(|m| &m.legs).filter_map(session).collect()
}

/// Whether anything but managed mirrors uses a disk of a session: a mount, swap, another volume.
pub fn shared(ground: Ground<'_>, key: &TargetKey) -> bool {
    let sessions = ground.kernel.sessions.iter().filter(|session| session.target == *key);
    let disks: Vec<&DiskObs> = sessions.flat_map(|session| &session.disks).collect();
    disks.iter().any(|disk| !disk.users.is_empty()) || strangers(ground, &disks)
}

/// Whether a device-mapper device that belongs to no managed mirror lies on one of some disks. All at once: there are
/// thousands of both, and roles are made anew in every turn.
fn strangers(ground: Ground<'_>, disks: &[&DiskObs]) -> bool {
    // One that was left with a single leg on purpose is a volume like any other.
    let parts = on(ground, disks, |dm| !ground.owns(dm));
    let mut used = Vec::new();
    for upper in &ground.kernel.dm {
        let below = || upper.deps.iter().filter(|dev| lies_on(&parts, **dev));
        if below().next().is_some() && !ground.owns(upper) {
            return true;
        }
        used.extend(below());
    }
    used.sort_unstable();
    let unused = |dm: &DmObs| lies_on(&parts, dm.dev) && !lies_on(&used, dm.dev);
    ground.kernel.dm.iter().any(|dm| dm.open_count > 0 && unused(dm))
}

fn fixed(ground: Ground<'_>, key: &TargetKey) -> Option<u32> {
    ground.ledger.targets.get(&key.name)?.override_seconds
}

/// Of two mirrors on one session, the one that has more to lose decides.
fn graver(a: TimeoutReason, b: TimeoutReason) -> TimeoutReason {
    let rank = |r: TimeoutReason| match r {
        TimeoutReason::Multipath => 8,
        TimeoutReason::LastGoodLeg => 7,
        TimeoutReason::Resyncing => 6,
        TimeoutReason::Probation => 5,
        TimeoutReason::Shared => 4,
        TimeoutReason::Anchor | TimeoutReason::Maintenance => 3,
        TimeoutReason::Quick => 2,
        TimeoutReason::Unmanaged => 0,
        TimeoutReason::Configured | TimeoutReason::Override => 1,
    };
    if rank(b) > rank(a) { b } else { a }
}
