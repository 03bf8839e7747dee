//! Copies and comparisons over the link of a server: so many at a time as the settings allow, the most important first. Two
//! at once take as long as one after the other, and until the end neither mirror has what it is done for.

use crate::ids::LvUuid;
use crate::name::Name;
use crate::observation::SyncAction;
use crate::plan::Situation;
use crate::roles;
use crate::topology::{Live, Mirror};
use crate::witness::Objection;
use crate::words::Hold;
use std::collections::BTreeSet;

/// The servers of a mirror's legs.
fn servers<'a>(s: &'a Situation<'_>, mirror: &Mirror) -> BTreeSet<&'a Name> {
    mirror.legs.iter().filter_map(|leg| s.server_of(mirror, leg)).collect()
}

/// Whether the kernel copies or compares. A frozen action would be waited for in vain.
fn at_work(mirror: &Mirror) -> bool {
    match &mirror.live {
        Live::Raid(status) => !matches!(status.action, SyncAction::Idle | SyncAction::Frozen),
        Live::Mirror { .. } => roles::copying(mirror),
        _ => false,
    }
}

/// How many more mirrors may be copied or compared over the links that one would need.
///
/// # Errors
/// Whom it has to wait for.
pub fn room(s: &Situation<'_>, mirror: &Mirror) -> Result<usize, Objection> {
    let works = |(uuid, m): &(&LvUuid, &Mirror)| m.lv != mirror.lv && (at_work(m) || s.scrubs.contains_key(*uuid));
    let busy: Vec<(&Mirror, BTreeSet<&Name>)> =
        s.mirrors.iter().filter(works).map(|(_, m)| (m, servers(s, m))).collect();
    let parallel = usize::try_from(s.settings.parallel.max(1)).unwrap_or(usize::MAX);
    let mut room = parallel;
    for server in servers(s, mirror) {
        let here: Vec<&Mirror> = busy.iter().filter(|(_, on)| on.contains(server)).map(|(m, _)| *m).collect();
        room = room.min(parallel.saturating_sub(here.len()));
        if let Some(first) = here.first().filter(|_| room == 0) {
            return Err(Objection::new(Hold::Queued, "behind", first.name.as_str()));
        }
    }
    Ok(room)
}
