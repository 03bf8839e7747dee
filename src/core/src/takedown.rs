//! May a server be switched off now, without a mirror losing its last trusted copy?

use crate::ledger::{Kind, MirrorRecord, Trust};
use crate::name::Name;
use crate::observation::{LegHealth, SyncAction};
use crate::plan::{RESOLVABLE, Situation};
use crate::snapshot::{MirrorView, Shared};
use crate::topology::{Leg, Live, Mirror};
use crate::words::{Hold, Obstacle};
use std::collections::{BTreeMap, BTreeSet};

/// What is in the way, by mirror, or by the name of whatever else is in use there; the gravest each.
pub fn obstacles(s: &Situation<'_>, server: &str, shown: &BTreeMap<Name, Shared<MirrorView>>) -> Vec<(Name, Obstacle)> {
    let mut found: BTreeMap<Name, Obstacle> = BTreeMap::new();
    for mirror in s.mirrors.values() {
        let hold = shown.get(&mirror.name).and_then(|view| view.hold);
        if let Some(obstacle) = obstacle(s, mirror, server, hold) {
            found.insert(mirror.name.clone(), obstacle);
        }
    }
    for name in other_users(s, server) {
        found.entry(name).or_insert(Obstacle::OtherUser);
    }
    found.into_iter().collect()
}

fn obstacle(s: &Situation<'_>, mirror: &Mirror, server: &str, hold: Option<Hold>) -> Option<Obstacle> {
    let here = |leg: &&Leg| s.server_of(mirror, leg).is_some_and(|name| *name == *server);
    // A leg that a `mirror` has dropped holds nothing that anybody would miss.
    let legs: Vec<&Leg> = mirror.legs.iter().filter(here).filter(|leg| leg.index.is_some()).collect();
    if legs.is_empty() {
        return None;
    }
    if mirror.unmanaged.is_some() {
        return (mirror.live != Live::Inactive).then_some(Obstacle::OtherUser);
    }
    // Nothing is remembered of it yet, so nothing is known to be good.
    let Some(record) = s.record(mirror) else { return Some(Obstacle::NotInSync) };
    let others: Vec<&Leg> = mirror.legs.iter().filter(|leg| !here(leg)).collect();
    let survives = others.iter().any(|leg| good(s, mirror, record, leg));
    let survives = survives && (mirror.kind != Kind::Raid10 || one_of_all(s, mirror, record, &legs));
    if survives {
        let open = |hold: Hold| RESOLVABLE.contains(&hold) || matches!(hold, Hold::UnverifiedOnly | Hold::Unreadable);
        return hold.filter(|hold| open(*hold)).map(|_| Obstacle::Held);
    }
    let any = |test: &dyn Fn(&Leg) -> bool| others.iter().any(|leg| test(leg));
    let copied = |leg: &Leg| leg.index.is_some() && leg.up() && being_copied(mirror, leg);
    Some(if any(&copied) {
        Obstacle::SourceOfResync
    } else if any(&|leg| leg.up() && leg.health == Some(LegHealth::InSync)) {
        Obstacle::OtherLegUnverified
    } else if any(&Leg::up) {
        Obstacle::NotInSync
    } else {
        Obstacle::LastGoodLeg
    })
}

/// A leg that may go on alone: beyond doubt, its device answers, and its own server stays.
pub fn good(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord, leg: &Leg) -> bool {
    let trusted = record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted);
    let serves = mirror.live == Live::Inactive || leg.health == Some(LegHealth::InSync);
    leg.index.is_some()
        && trusted
        && (serves || leads_first_sync(mirror, leg))
        && !(copies_from_first(mirror) && leg.index != Some(0))
        && leg.up()
        && !s.resting(mirror, leg)
}

/// raid10 keeps each block on two legs, and which ones is its own business: one leg may go if all others are good.
fn one_of_all(s: &Situation<'_>, mirror: &Mirror, record: &MirrorRecord, going: &[&Leg]) -> bool {
    let stays = |leg: &&Leg| !going.iter().any(|gone| gone.pv == leg.pv);
    going.len() == 1 && mirror.legs.iter().filter(stays).all(|leg| good(s, mirror, record, leg))
}

/// A copy is under way that takes the first leg for the truth, whatever the letters say: that of an activated `mirror`, the
/// first one of a raid1, and its repair.
fn copies_from_first(mirror: &Mirror) -> bool {
    match &mirror.live {
        Live::Mirror { in_sync, total, .. } => in_sync < total,
        Live::Raid(status) => matches!(status.action, SyncAction::Resync | SyncAction::Repair),
        _ => false,
    }
}

/// During the first sync the kernel calls all legs not in sync; the first is the source (`facts/lvm.md` 1.1).
fn leads_first_sync(mirror: &Mirror, leg: &Leg) -> bool {
    leg.index == Some(0) && mirror.legs.iter().all(|leg| leg.health == Some(LegHealth::Syncing))
}

fn being_copied(mirror: &Mirror, leg: &Leg) -> bool {
    leg.health == Some(LegHealth::Syncing) || (copies_from_first(mirror) && leg.index != Some(0))
}

/// Whatever else is active on the server's disks: volumes that are no mirrors, and device-mapper devices that are not LVM's.
/// A file system right on a disk cannot be seen here.
fn other_users(s: &Situation<'_>, server: &str) -> BTreeSet<Name> {
    let here = |target: &str| s.servers.of(target).is_some_and(|name| *name == *server);
    let sessions = s.kernel.sessions.iter().filter(|session| here(&session.target.name));
    let disks = sessions.clone().flat_map(|session| &session.disks);
    let devices: BTreeSet<_> = disks.flat_map(|d| d.partitions.iter().map(|(_, dev)| *dev).chain([d.dev])).collect();
    let on = |deps: &[crate::ids::DevNo]| deps.iter().any(|dev| devices.contains(dev));
    let foreign =
        s.kernel.dm.iter().filter(|dm| on(&dm.deps) && !dm.uuid.starts_with("LVM-") && !dm.uuid.starts_with("mpath-"));
    let used = sessions.clone().flat_map(|session| &session.disks).filter(|disk| !disk.users.is_empty());
    let mut users: BTreeSet<Name> = used.map(|disk| Name::from(format!("/dev/{}", disk.name))).collect();
    users.extend(foreign.map(|dm| Name::from(dm.name.as_str())));
    for vg in s.vgs.values() {
        let pv_here =
            |pv: &crate::ids::PvUuid| s.kernel.pv_links.get(pv).is_some_and(|link| devices.contains(&link.dev));
        let whole = |lv: &&crate::observation::LvObs| !lv.role.iter().any(|word| word == "private");
        let lvs = vg.lvs.iter().filter(whole).filter(|lv| lv.active && !s.mirrors.contains_key(&lv.uuid));
        let used = lvs.filter(|lv| lv.extents.iter().any(|run| pv_here(&run.pv)));
        users.extend(used.map(|lv| Name::from(format!("{}/{}", vg.name, lv.name))));
    }
    users
}
