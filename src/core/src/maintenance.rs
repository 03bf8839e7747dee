//! A server taken out of service and put back (design section 4). Its disks are made to fail their I/O, which costs writers
//! a tenth of a second and keeps the session (`facts/lab.md` D); nothing is healed there until it serves again.
//!
//! Survivors are raised first, and seen to be raised. A session that comes back sets its disks running by itself, so they
//! are set offline again after every login: the wish stands in the ledger, and everything else follows from what is seen.

use crate::ids::{PvUuid, VgUuid};
use crate::ledger::Trust;
use crate::name::Name;
use crate::op::Op;
use crate::plan::{Plan, Situation};
use crate::takedown;
use crate::topology::{Leg, Live, Mirror, Place};
use crate::wishes::{Maintenance, Stage};
use crate::witness::Objection;
use crate::words::Hold;
use std::collections::BTreeSet;

/// Takes out of a plan what would heal a leg on a server that is out of service, and says so.
pub fn restrain(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    if s.ledger.wishes.maintenance.is_empty() {
        return;
    }
    let legs = || mirrors.iter().flat_map(|m| m.legs.iter().map(move |leg| (*m, leg)));
    let resting: BTreeSet<&PvUuid> = legs().filter(|(m, leg)| s.resting(m, leg)).map(|(_, leg)| &leg.pv).collect();
    plan.steps.retain(|(op, _)| !op.pv().is_some_and(|pv| resting.contains(pv)) || matches!(op, Op::Resume { .. }));
    let comparing = |op: &Op| matches!(op, Op::Check { .. } | Op::Repair { .. });
    let concerned = |m: &&&Mirror| m.legs.iter().any(|leg| resting.contains(&leg.pv));
    plan.steps.retain(|(op, _)| !comparing(op) || !mirrors.iter().filter(concerned).any(|m| op.lvs().contains(&m.lv)));
    for mirror in mirrors.iter().filter(concerned) {
        let leg = mirror.legs.iter().find(|leg| resting.contains(&leg.pv));
        let server = leg.and_then(|leg| s.server_of(mirror, leg)).cloned().unwrap_or_default();
        plan.hold(mirror, Objection::new(Hold::Maintenance, "server", server.as_str()));
    }
}

/// Whether the disk of a leg may be made to fail: it is on a server out of service, and other legs on other servers may go on
/// alone and are seen to wait as long as a last good copy has to.
pub fn expendable(s: &Situation<'_>, mirror: &Mirror, leg: &Leg) -> bool {
    let mut others = survivors(s, mirror, leg).peekable();
    s.resting(mirror, leg) && others.peek().is_some() && others.all(|other| raised(s, other))
}

/// Whether the disk of a PV was set offline by us for a maintenance that is over.
pub fn leaving(s: &Situation<'_>, pv: &PvUuid) -> bool {
    let left = |record: &Maintenance| record.stage == Stage::Leaving && record.offline.contains(pv);
    s.ledger.wishes.maintenance.values().any(left)
}

/// Legs that may go on alone without one leg and its server.
fn survivors<'a>(s: &'a Situation<'_>, mirror: &'a Mirror, leg: &'a Leg) -> impl Iterator<Item = &'a Leg> {
    let server = s.server_of(mirror, leg);
    let record = s.record(mirror);
    mirror.legs.iter().filter(move |other| {
        let elsewhere = other.pv != leg.pv && s.server_of(mirror, other) != server;
        elsewhere && record.is_some_and(|record| takedown::good(s, mirror, record, other))
    })
}

/// Whether a survivor waits as long as a last good copy has to, seen on its live session.
fn raised(s: &Situation<'_>, survivor: &Leg) -> bool {
    let Some(place) = survivor.place.as_ref().filter(|place| !place.multipath) else { return true };
    let Some((key, target)) = place.target.as_ref().and_then(|key| s.targets.all.get_key_value(key)) else {
        return true;
    };
    let fixed = s.ledger.targets.get(&key.name).is_some_and(|record| record.override_seconds.is_some());
    match target.recovery_tmo {
        Some(Some(seconds)) => fixed || seconds >= s.settings.wait_timeout,
        Some(None) => true,
        None => false,
    }
}

/// The disks to be set offline now, and whether any that should be still is not. A disk waits while a survivor is not raised
/// and while one of `writing`, VGs with a command at work, has a PV on it; one with nothing in use is left as it is.
pub fn to_fail(s: &Situation<'_>, record: &Maintenance, writing: &BTreeSet<VgUuid>) -> (BTreeSet<Name>, bool) {
    let mirrors = || s.mirrors.values().filter(|m| m.unmanaged.is_none());
    let legs = mirrors().flat_map(|m| m.legs.iter().filter_map(move |leg| Some((m, leg, leg.place.as_ref()?))));
    let here = |place: &Place| place.target.as_ref().is_some_and(|key| record.targets.contains(&key.name));
    let fit = |place: &Place| place.up && !place.multipath && !place.disk.is_empty();
    let (mut open, mut waiting) = (BTreeSet::new(), BTreeSet::new());
    for (mirror, leg, place) in legs.filter(|(.., place)| here(place) && fit(place)) {
        let in_use = leg.index.is_some() && mirror.live != Live::Inactive;
        let known = s.record(mirror).and_then(|record| record.legs.get(&leg.pv));
        let doubted = known.is_some_and(|known| known.trust != Trust::Trusted);
        if in_use {
            open.insert(place.disk.clone());
        }
        if writing.contains(&mirror.vg.uuid) || (in_use && !doubted && !expendable(s, mirror, leg)) {
            waiting.insert(place.disk.clone());
        }
    }
    (open.difference(&waiting).cloned().collect(), !open.is_empty())
}
