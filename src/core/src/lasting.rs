//! Holds that last. A hold that names evidence against a leg ends by other evidence, not by a moment in which nothing is known:
//! while a report is on its way, a command runs in the VG or the disks are still to be read, the planner has nothing to object
//! with, and a person who asks in that moment would be told that all is about to be healed.

use crate::ids::LvUuid;
use crate::plan::Plan;
use crate::topology::{Live, Mirror};
use crate::witness::Objection;
use crate::words::Hold;
use std::collections::BTreeMap;

/// Objections of the last plan that was made in full knowledge, or of a later one.
#[derive(Debug, Default)]
pub struct Lasting(BTreeMap<LvUuid, Held>);

#[derive(Debug)]
struct Held {
    objections: Vec<Objection>,
    /// A choice between its legs would end one of them.
    resolvable: bool,
    /// It was in use: whoever takes it into use, or out of it, makes it another case.
    active: bool,
}

/// Whether a hold is about what was found, rather than about the moment.
fn lasts(hold: Hold) -> bool {
    hold >= Hold::Unreadable && hold != Hold::LedgerUnwritable
}

fn active(mirror: &Mirror) -> bool {
    mirror.live != Live::Inactive
}

impl Lasting {
    /// Adds to a plan that was not made in full knowledge what was held before.
    pub fn complete(&self, plan: &mut Plan, mirrors: &[&Mirror]) {
        for mirror in mirrors {
            let found = plan.holds.get(&mirror.lv.uuid).into_iter().flatten().any(|objection| lasts(objection.hold));
            let before = self.0.get(&mirror.lv.uuid).filter(|held| !found && held.active == active(mirror));
            let Some(before) = before else { continue };
            for objection in &before.objections {
                plan.hold_with(mirror, objection.clone());
            }
            if before.resolvable {
                plan.resolvable.insert(mirror.lv.uuid.clone());
            }
        }
    }

    /// Remembers what a plan holds.
    pub fn remember(&mut self, plan: &Plan, mirrors: &[&Mirror]) {
        for mirror in mirrors {
            let lv = &mirror.lv.uuid;
            let lasting = plan.holds.get(lv).into_iter().flatten().filter(|objection| lasts(objection.hold));
            let objections: Vec<Objection> = lasting.cloned().collect();
            if objections.is_empty() {
                self.0.remove(lv);
            } else {
                let resolvable = plan.resolvable.contains(lv);
                self.0.insert(lv.clone(), Held { objections, resolvable, active: active(mirror) });
            }
        }
    }

    /// A person has decided.
    pub fn end(&mut self, lv: &LvUuid) {
        self.0.remove(lv);
    }
}
