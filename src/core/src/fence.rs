//! Giving up an anchor that died. It waits, and its replacement timeout cannot be shortened while its session is down (EBUSY),
//! so writers would wait with it; but logging the dead session out fails what it holds into the mirrors, which go on without
//! it (`facts/lab.md` D).
//!
//! Only if nothing can be lost by it: every mirror on it has another trusted leg that is logged in, is seen to wait and whose
//! disk has just answered a read. If nobody answers it is our own network, and waiting is right.
//!
//! It does not wait for a report of LVM, which cannot be made while a disk is blocked: the tables of device-mapper name every
//! user of the disk, and a leg is good only over the device that its table points at.

use crate::ids::TargetKey;
use crate::ledger::Trust;
use crate::op::Op;
use crate::plan::Situation;
use crate::roles::{copying, session, shared};
use crate::time::Mono;
use crate::topology::Leg;
use crate::words::TargetState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an answer of a partner's disk counts. The logout follows in the same turn; this leaves room for a slow loop.
const ANSWER_VALID: Duration = Duration::from_secs(2);

/// How long before a session is given up its partners are asked, so that only the logout is left then.
pub const LEAD: Duration = Duration::from_millis(500);

/// How long after a restart of iscsid a failed session is no sign of a dead server: it takes its sessions over one after the
/// other, a few seconds each (`facts/lab.md` 12).
pub const RESTARTED: Duration = Duration::from_secs(60);

/// Disks that answered a direct read, and when that read was begun.
pub type Answers = BTreeMap<TargetKey, Mono>;

/// What is to be done about dead sessions that wait: ask the partners' disks, then log out.
pub fn plan(s: &Situation<'_>) -> Vec<(Op, String)> {
    let mut steps = Vec::new();
    for key in s.targets.all.keys() {
        let Some((sid, partners)) = condemned(s, key, LEAD) else { continue };
        let silent: Vec<&TargetKey> = partners.iter().copied().filter(|key| !answered(s, key)).collect();
        if silent.is_empty() && condemned(s, key, Duration::ZERO).is_some() {
            let why = format!("{} is dead, and every mirror on it has another leg that answers", key.name);
            steps.push((Op::Fence { sid, target: key.clone() }, why));
        }
        for partner in silent {
            let why = format!("{} is dead; does {} answer?", key.name, partner.name);
            steps.extend(ask(s, partner).map(|op| (op, why)));
        }
    }
    steps
}

/// Whether a dead session is about to be given up. Until then its partners have to wait.
pub fn due(s: &Situation<'_>) -> bool {
    let soon = Duration::from_secs(s.settings.quick_timeout.into());
    s.targets.all.keys().any(|key| condemned(s, key, soon).is_some())
}

/// Reads from a disk of a session: does its server answer?
pub fn ask(s: &Situation<'_>, partner: &TargetKey) -> Option<Op> {
    let disk = s.targets.all.get(partner)?.disks.first()?.clone();
    Some(Op::ReadDirect { target: partner.clone(), disk })
}

/// Whether a disk of a session has just answered.
pub fn answered(s: &Situation<'_>, key: &TargetKey) -> bool {
    s.answers.get(key).is_some_and(|at| s.now.mono.since(*at) < ANSWER_VALID)
}

/// Whether a session may be logged out now.
///
/// # Errors
/// Why not.
pub fn check(s: &Situation<'_>, key: &TargetKey, sid: u32) -> Result<(), String> {
    let (found, partners) =
        condemned(s, key, Duration::ZERO).ok_or_else(|| format!("{} may still be needed", key.name))?;
    let silent = partners.iter().find(|key| !answered(s, key));
    match silent {
        Some(partner) => Err(format!("{} has not just answered", partner.name)),
        None if found != sid => Err(format!("{} has another session now", key.name)),
        None => Ok(()),
    }
}

/// Whether a session may be logged out if its partners answer, so long from now: its id, and the sessions that have to.
fn condemned<'a>(s: &Situation<'a>, key: &TargetKey, from_now: Duration) -> Option<(u32, BTreeSet<&'a TargetKey>)> {
    let ground = s.ground();
    let target = s.targets.all.get(key)?;
    let quick = s.settings.quick_timeout;
    // A session that gives up by itself needs nobody.
    let waits = target.recovery_tmo?.is_none_or(|seconds| seconds > quick);
    let failed = target.state == TargetState::Blocked
        && target.away_for(s.now.mono) + from_now >= Duration::from_secs(quick.into());
    let ours = s.settings.fence && quick > 0 && !s.ledger.paused() && !s.ledger.resting(&key.name);
    let fixed = s.ledger.targets.get(&key.name).is_some_and(|record| record.override_seconds.is_some());
    if !waits || !failed || !ours || fixed || !s.targets.iscsid_settled(s.now.mono, RESTARTED) || shared(ground, key) {
        return None;
    }
    let mut partners = BTreeSet::new();
    let mut carries = false;
    for (mirror, record) in ground.active() {
        let here = |leg: &Leg| session(leg) == Some(key);
        if !mirror.legs.iter().any(here) {
            continue;
        }
        carries = true;
        // Never a second one while a leg of that mirror is not trusted again.
        let settled = mirror
            .legs
            .iter()
            .filter(|leg| !here(leg))
            .all(|leg| record.legs.get(&leg.pv).is_some_and(|known| known.trust == Trust::Trusted));
        let multipath = mirror.legs.iter().any(|leg| leg.place.as_ref().is_some_and(|place| place.multipath));
        let good = ground.good_sessions(mirror, record);
        let other = good.into_iter().find(|other| *other != key && ground.seen_waiting(other))?;
        // A `mirror` that is copied calls the leg alive that the copy goes to.
        if !settled || multipath || copying(mirror) {
            return None;
        }
        partners.insert(other);
    }
    carries.then_some((target.sid?, partners))
}
