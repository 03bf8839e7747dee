//! Copies that stand still. Level-triggered like everything: what counts is that nothing moved, not what should have moved it.

use crate::engine::Engine;
use crate::ids::LvUuid;
use crate::observation::SyncAction;
use crate::snapshot::{Details, Object, Value};
use crate::time::{Mono, Now};
use crate::topology::{Live, Mirror};
use crate::view;
use crate::words::{EventCode, Severity};
use std::collections::BTreeMap;
use std::time::Duration;

/// Copies and comparisons under way.
#[derive(Debug, Default)]
pub struct Stalls {
    seen: BTreeMap<LvUuid, Seen>,
}

#[derive(Debug)]
struct Seen {
    /// What is going on, and how far it is.
    at: (SyncAction, u64),
    since: Mono,
    told: bool,
}

impl Stalls {
    /// Takes in a look and returns the mirrors whose copy has just been standing still for `limit`.
    pub fn look(&mut self, mirrors: &BTreeMap<LvUuid, Mirror>, now: Mono, limit: Duration) -> Vec<LvUuid> {
        self.seen.retain(|uuid, _| mirrors.get(uuid).and_then(progress).is_some());
        let mut stalled = Vec::new();
        for (uuid, at) in mirrors.iter().filter_map(|(uuid, m)| Some((uuid, progress(m)?))) {
            let seen =
                self.seen.entry(uuid.clone()).or_insert_with(|| Seen { at: at.clone(), since: now, told: false });
            if seen.at != at {
                *seen = Seen { at, since: now, told: false };
            } else if !seen.told && now.since(seen.since) >= limit {
                seen.told = true;
                stalled.push(uuid.clone());
            }
        }
        stalled
    }

    /// When the next copy will have been standing still for `limit`.
    pub fn due(&self, limit: Duration) -> impl Iterator<Item = Mono> {
        self.seen.values().filter(|seen| !seen.told).map(move |seen| seen.since.after(limit))
    }
}

/// How far the running action is, in the kernel's own units; `None` when nothing runs.
fn progress(mirror: &Mirror) -> Option<(SyncAction, u64)> {
    match &mirror.live {
        Live::Raid(status) if status.action != SyncAction::Idle => Some((status.action.clone(), status.done)),
        Live::Mirror { in_sync, total, .. } if in_sync < total => Some((SyncAction::Resync, *in_sync)),
        _ => None,
    }
}

impl Engine {
    /// Tells copies that stand still.
    pub(crate) fn tell_stalls(&mut self, now: Now) {
        let limit = self.settings.stall_after;
        for uuid in self.stalls.look(&self.mirrors, now.mono, limit) {
            let Some(mirror) = self.mirrors.get(&uuid) else { continue };
            let name = mirror.name.clone();
            let mut details = Details::from([("mirror", name.as_str().into()), ("seconds", limit.as_secs().into())]);
            details.insert("sync-ratio", Value::F64(view::ratio(mirror)));
            self.tell(now, EventCode::ResyncStalled, Severity::Error, Object::Mirror(name), details);
        }
    }
}
