//! Draws the storage servers for the read model.

use crate::ids::TargetKey;
use crate::name::Name;
use crate::plan::Situation;
use crate::snapshot::{ServerView, TargetView};
use crate::words::{ServerState, TargetState};
use std::collections::{BTreeMap, BTreeSet};

/// Servers as shown. `before` tells since when they are in their state.
pub fn views(
    s: &Situation<'_>,
    targets: &BTreeMap<TargetKey, TargetView>,
    before: &BTreeMap<Name, ServerView>,
) -> BTreeMap<Name, ServerView> {
    let mut mirrors: BTreeMap<&Name, BTreeSet<&Name>> = BTreeMap::new();
    for mirror in s.mirrors.values() {
        for server in mirror.legs.iter().filter_map(|leg| s.server_of(mirror, leg)) {
            mirrors.entry(server).or_default().insert(&mirror.name);
        }
    }
    let mut views = BTreeMap::new();
    for (name, server) in s.servers.iter() {
        let shown = |key: &&TargetKey| targets.contains_key(*key);
        let keys: Vec<TargetKey> = server.targets.iter().filter(shown).cloned().collect();
        let maintenance = server.targets.iter().any(|key| s.ledger.resting(&key.name));
        if keys.is_empty() && !server.named && !maintenance {
            continue;
        }
        let state = if maintenance { ServerState::Maintenance } else { state(&keys, targets) };
        let settles = keys.iter().filter_map(|key| s.settled_at(key)).max().filter(|at| *at > s.now.mono);
        let was = before.get(name);
        let view = ServerView {
            portals: server.portals.iter().cloned().collect(),
            state,
            targets: keys,
            mirrors: mirrors.remove(name).into_iter().flatten().cloned().collect(),
            maintenance,
            flap_count: u32::try_from(s.servers.flaps(name)).unwrap_or(u32::MAX),
            held_until: settles.map(|at| s.now.wall_of(at)),
            since: was.filter(|was| was.state == state).map_or(s.now.wall, |was| was.since),
        };
        views.insert(name.clone(), view);
    }
    views
}

/// By the targets that are to be logged in; where none is, by all.
fn state(keys: &[TargetKey], targets: &BTreeMap<TargetKey, TargetView>) -> ServerState {
    let views = || keys.iter().filter_map(|key| targets.get(key));
    let any_managed = views().any(|target| target.managed);
    let counted = || views().filter(|target| target.managed || !any_managed);
    let up = counted().filter(|target| target.state == TargetState::LoggedIn).count();
    match (up, counted().count()) {
        (_, 0) => ServerState::Unknown,
        (0, _) => ServerState::Down,
        (up, all) if up == all => ServerState::Up,
        _ => ServerState::Partial,
    }
}
