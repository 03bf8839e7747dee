//! Limits of copies, by the kernel's live throttles and never by loading a table. Both throttles are the whole machine's, so
//! they are changed only while a mirror with a limit is copied or compared, and put back as they were.
//!
//! `dev.raid.speed_limit_max` is a rate for each array. dm-mirror has a share of time instead, which is brought to the wanted
//! rate step by step from the rate that is seen.

use crate::engine::Engine;
use crate::ids::LvUuid;
use crate::input::{Refusal, Reply};
use crate::ledger::Kind;
use crate::op::{Op, OpResult, Throttle};
use crate::time::{Mono, Now};
use crate::topology::Mirror;
use crate::view;
use crate::wishes::Throttled;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a rate is watched before the share of time is changed again: by then it has forgotten nine tenths of the old one.
const WATCH: Duration = Duration::from_secs(10);

/// A throttle as last seen in this run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    value: u32,
    /// Not just what we wrote: others may have written it since.
    read: bool,
    at: Mono,
}

/// The share of time in percent that brings a copy to a limit, by the rate that it has with the present share.
fn share(now: u32, rate: u64, limit: u64) -> u32 {
    if rate == 0 {
        return now;
    }
    let ideal = u64::from(now).saturating_mul(limit) / rate;
    let ideal = u32::try_from(ideal.clamp(1, 100)).unwrap_or(100);
    // A share that is nearly right is left alone.
    if ideal.abs_diff(now) * 8 < now { now } else { ideal }
}

impl Engine {
    pub(crate) fn limit_resync(&mut self, mirror: &LvUuid, bytes: u64) -> Result<Reply, Refusal> {
        self.managed(mirror)?;
        match bytes {
            0 => self.ledger.wishes.limits.remove(mirror),
            _ => self.ledger.wishes.limits.insert(mirror.clone(), bytes),
        };
        Ok(Reply::Done)
    }

    /// The limit of a mirror in bytes a second.
    fn limit_of(&self, mirror: &Mirror) -> Option<u64> {
        let own = self.ledger.wishes.limits.get(&mirror.lv.uuid).copied();
        own.or(Some(self.settings.resync_limit)).filter(|limit| *limit > 0)
    }

    /// What a throttle should be now; `None` when nothing with a limit is at work, or nobody would put it back.
    fn throttled(&self, throttle: Throttle, now: Mono) -> Option<u32> {
        if self.stopping.is_some() {
            return None;
        }
        let kind = |m: &&Mirror| (m.kind == Kind::Mirror) == (throttle == Throttle::Mirror) && m.unmanaged.is_none();
        let at_work = self.mirrors.values().filter(kind).filter(|m| view::ratio(m) < 1.0);
        let limited = at_work.filter_map(|m| Some((m, self.limit_of(m)?)));
        let (mirror, limit) = limited.min_by_key(|(_, limit)| *limit)?;
        match throttle {
            // The kernel's variable is an int.
            Throttle::Raid => Some(u32::try_from((limit / 1024).clamp(1, 1 << 30)).unwrap_or(1 << 30)),
            Throttle::Mirror => {
                let seen = self.throttles.get(&throttle)?;
                let rate = self.watch.paces.get(&mirror.lv.uuid).map_or(0, |pace| pace.rate);
                let settled = now.since(seen.at) >= WATCH;
                Some(if settled { share(seen.value, rate, limit) } else { seen.value })
            }
        }
    }

    /// Brings the throttles to what they should be, noting in the ledger what they were before.
    pub(crate) fn throttle(&mut self, now: Now, wishes: &mut Vec<(Op, String)>) {
        let (limits, mirrors) = (&mut self.ledger.wishes.limits, &self.ledger.mirrors);
        limits.retain(|uuid, _| mirrors.contains_key(uuid) || self.mirrors.contains_key(uuid));
        for throttle in [Throttle::Raid, Throttle::Mirror] {
            let unseen =
                self.stopping.is_none() && throttle == Throttle::Mirror && !self.throttles.contains_key(&throttle);
            let limited = |m: &&Mirror| m.kind == Kind::Mirror && view::ratio(m) < 1.0 && self.limit_of(m).is_some();
            let wanted = self.throttled(throttle, now.mono);
            let begins = wanted.is_some() || (unseen && self.mirrors.values().any(|m| limited(&m)));
            let saved = self.ledger.wishes.throttles.get(&throttle).copied();
            let seen = self.throttles.get(&throttle).copied();
            let read = (Op::ReadThrottle { throttle }, "what is it before it is changed?".to_owned());
            match (wanted, saved, seen) {
                (None, None, _) if !begins => {}
                (_, _, None) => wishes.push(read),
                (None, None, _) => {}
                // Somebody else may have changed it since.
                (_, None, Some(seen)) | (None, Some(_), Some(seen)) if !seen.read => wishes.push(read),
                (Some(set), None, Some(seen)) if set != seen.value => {
                    self.ledger
                        .wishes
                        .throttles
                        .insert(throttle, Throttled { from: seen.value, set, earlier: seen.value });
                    wishes.push((Op::SetThrottle { throttle, value: set }, "a copy has a limit".to_owned()));
                }
                (Some(_), None, _) => {}
                (Some(set), Some(saved), Some(seen)) => {
                    // What somebody else set meanwhile is what it goes back to.
                    let from = if seen.read && !saved.ours(seen.value) { seen.value } else { saved.from };
                    let earlier = if set == saved.set { saved.earlier } else { saved.set };
                    self.ledger.wishes.throttles.insert(throttle, Throttled { from, set, earlier });
                    if set != seen.value {
                        wishes.push((Op::SetThrottle { throttle, value: set }, "a copy has a limit".to_owned()));
                    }
                }
                (None, Some(saved), Some(seen)) if saved.ours(seen.value) && saved.from != seen.value => {
                    let op = Op::SetThrottle { throttle, value: saved.from };
                    wishes.push((op, "no copy has a limit any more".to_owned()));
                }
                (None, Some(_), Some(_)) => {
                    self.ledger.wishes.throttles.remove(&throttle);
                }
            }
        }
    }

    /// Takes in what a throttle was read as.
    pub(crate) fn throttle_seen(&mut self, now: Now, op: &Op, result: &OpResult) {
        let (throttle, read) = match op {
            Op::ReadThrottle { throttle } => (*throttle, true),
            Op::SetThrottle { throttle, .. } => (*throttle, false),
            _ => return,
        };
        match (result, op) {
            (OpResult::Throttle(value), Op::SetThrottle { value: back, .. }) => {
                // Put back as it was.
                let restored = self.ledger.wishes.throttles.get(&throttle).is_some_and(|saved| saved.from == *back);
                if restored && value == back && self.throttled(throttle, now.mono).is_none() {
                    self.ledger.wishes.throttles.remove(&throttle);
                }
                self.throttles.insert(throttle, Seen { value: *value, read, at: now.mono });
            }
            (OpResult::Throttle(value), _) => {
                self.throttles.insert(throttle, Seen { value: *value, read, at: now.mono });
            }
            // What it is now nobody knows.
            _ => {
                self.throttles.remove(&throttle);
            }
        }
    }
}

/// Throttles as last seen.
pub(crate) type Throttles = BTreeMap<Throttle, Seen>;

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_share_of_time_follows_the_rate() {
        // now, rate, limit, share
        let table = [
            (100, 0, 10, 100),
            (100, 50, 10, 20),
            (20, 10, 10, 20),
            (20, 11, 10, 20),
            (20, 40, 10, 5),
            (20, 5, 10, 40),
            (50, 1, 1000, 100),
            (1, u64::MAX, 1, 1),
            (100, 1, u64::MAX, 100),
        ];
        for (now, rate, limit, expected) in table {
            assert_eq!(share(now, rate, limit), expected, "{now} % at {rate}, limit {limit}");
        }
    }
}
