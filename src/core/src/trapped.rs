//! iscsid's own trap, and the way out of it. A connection that breaks again while iscsid sets its parameters, before the login
//! is sent, leaves the kernel waiting to be told that it was stopped. Before open-iscsi 2.1.9 iscsid does not tell it and
//! binds anew every two seconds, in vain and for ever (open-iscsi #387; Debian 12 has 2.1.8).
//!
//! Telling the kernel ourselves is enough: the next try of iscsid succeeds, whether the disks still wait or fail already, and
//! nobody who uses them loses anything. A connection that has failed anyway stands the message as often as it comes, so a
//! session that is kept away by something else takes no harm.

use crate::fence::RESTARTED;
use crate::ids::TargetKey;
use crate::op::{Op, OpResult};
use crate::plan::Situation;
use crate::session::Target;
use crate::time::Mono;
use crate::topology::{Leg, Mirror};
use crate::words::TargetState;
use std::time::Duration;

/// How long a session is left to iscsid alone. It tries every 3 s, and a login that was lost on the way is given up after 15 s.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// For how long a portal has to answer while its session stays away: an iscsid that is free is logged in by then, as above.
const TWICE: Duration = Duration::from_secs(15);

/// When the portal of a session that is away was heard first, and last, without a silence in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    first: Mono,
    last: Mono,
}

impl Heard {
    fn long_enough(self) -> bool {
        self.last >= self.first.after(TWICE)
    }

    /// When the portal should be heard once more.
    pub fn due(self) -> Mono {
        self.last.after(TWICE)
    }
}

/// Knocks at the portals of sessions that stay away, and lets those go that are trapped.
pub fn plan(s: &Situation<'_>) -> Vec<(Op, String)> {
    let mut steps = Vec::new();
    for (key, target) in &s.targets.all {
        let Some(sid) = left_alone(s, key, target) else { continue };
        let knock = |again| Op::Knock { target: key.clone(), again };
        let seconds = target.away_for(s.now.mono).as_secs();
        match target.heard {
            None => steps.push((knock(false), format!("away for {seconds} s; is it there?"))),
            Some(heard) if heard.due() <= s.now.mono => {
                steps.push((knock(true), format!("away for {seconds} s and was there just now")));
            }
            Some(heard) if heard.long_enough() => {
                let why = format!("{} answers, and iscsid has not had it back for {seconds} s", key.portal);
                steps.push((Op::ClearConnection { sid, target: key.clone() }, why));
            }
            Some(_) => {}
        }
    }
    steps
}

/// Takes in how a knock ended.
pub fn heard(target: &mut Target, result: &OpResult, now: Mono) {
    target.heard = match result {
        OpResult::Answered(_) => Some(Heard { first: target.heard.map_or(now, |heard| heard.first), last: now }),
        _ => None,
    };
}

/// Whether the kernel may be told that a session's connection was stopped.
///
/// # Errors
/// Why not.
pub fn check(s: &Situation<'_>, key: &TargetKey, sid: u32) -> Result<(), String> {
    let target = s.targets.all.get(key).ok_or_else(|| format!("{key} is not known"))?;
    match left_alone(s, key, target) {
        None => Err(format!("{key} is iscsid's business")),
        Some(found) if found != sid => Err(format!("{key} has another session now")),
        Some(_) if !target.heard.is_some_and(|heard| heard.long_enough() && s.now.mono < heard.due()) => {
            Err(format!("{key} has not answered for long, or not just now"))
        }
        Some(_) => Ok(()),
    }
}

/// The id of a session that iscsid should have had back by now, if it could.
fn left_alone(s: &Situation<'_>, key: &TargetKey, target: &Target) -> Option<u32> {
    let down = matches!(target.state, TargetState::Blocked | TargetState::Offline);
    let long = target.away_for(s.now.mono) >= PATIENCE;
    let carries = s.ledger.targets.get(&key.name).is_some_and(|record| record.carries_leg) || may_carry(s);
    let ours = carries && s.targets.managed(key, s.ledger) && !s.ledger.paused();
    target.sid.filter(|_| down && long && ours && s.targets.iscsid_settled(s.now.mono, RESTARTED))
}

/// Whether a leg is missing of which nobody knows where it was: any target may carry it.
fn may_carry(s: &Situation<'_>) -> bool {
    let unknown = |m: &Mirror, leg: &Leg| {
        let known = s.record(m).and_then(|record| record.legs.get(&leg.pv));
        leg.place.is_none() && known.is_some_and(|known| known.target.is_none())
    };
    s.mirrors.values().filter(|m| m.unmanaged.is_none()).any(|m| m.legs.iter().any(|leg| unknown(m, leg)))
}
