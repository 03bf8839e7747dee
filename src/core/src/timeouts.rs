//! How long each session waits for its server. First form: a session that carries a last good copy waits long, so that
//! writers wait instead of failing (`facts/lab.md` 9); when redundancy is back it gets back what it had. The scheme of
//! quick legs and one anchor takes this place later.
//!
//! The kernel takes a new value only while the session is logged in (EBUSY otherwise), so the survivor is raised in the
//! same turn that sees the loss.

use crate::ids::TargetKey;
use crate::ledger::{Ledger, MirrorRecord, Trust};
use crate::op::Op;
use crate::session::Targets;
use crate::settings::Settings;
use crate::topology::{Leg, Live, Mirror};
use crate::trust::good_legs;
use crate::words::{TargetState, TimeoutReason};
use std::collections::BTreeMap;

/// Why each session has to wait as long as it does. Sessions without a managed mirror are `unmanaged`.
pub fn reasons<'a>(
    mirrors: impl Iterator<Item = &'a Mirror>,
    targets: &Targets,
    ledger: &Ledger,
) -> BTreeMap<TargetKey, TimeoutReason> {
    let mut reasons: BTreeMap<TargetKey, TimeoutReason> =
        targets.all.keys().map(|key| (key.clone(), TimeoutReason::Unmanaged)).collect();
    for mirror in mirrors.filter(|m| m.unmanaged.is_none() && m.live != Live::Inactive) {
        let Some(record) = ledger.mirrors.get(&mirror.lv.uuid) else { continue };
        let good: Vec<_> = good_legs(record, mirror).collect();
        for leg in &mirror.legs {
            let Some(place) = &leg.place else { continue };
            let Some(key) = &place.target else { continue };
            // With no proven leg left, whatever still serves is the last copy there is.
            let serves = leg.index.is_some() && leg.health.is_some_and(|h| h == crate::observation::LegHealth::InSync);
            let last = if good.is_empty() { serves } else { good.len() == 1 && good[0] == &leg.pv };
            let reason = if place.multipath {
                TimeoutReason::Multipath
            } else if last && record.legs.len() > 1 {
                if !mirror.idle() {
                    TimeoutReason::Resyncing
                } else if on_probation(record, mirror) {
                    TimeoutReason::Probation
                } else {
                    TimeoutReason::LastGoodLeg
                }
            } else {
                TimeoutReason::Configured
            };
            let entry = reasons.entry(key.clone()).or_insert(TimeoutReason::Unmanaged);
            *entry = graver(*entry, reason);
        }
    }
    for (key, reason) in &mut reasons {
        let fixed = ledger.targets.get(&key.name).is_some_and(|r| r.override_seconds.is_some());
        if fixed && *reason != TimeoutReason::Multipath {
            *reason = TimeoutReason::Override;
        }
    }
    reasons
}

/// Whether a leg that is not trusted yet takes part and serves no reads.
fn on_probation(record: &MirrorRecord, mirror: &Mirror) -> bool {
    let doubted = |leg: &Leg| record.legs.get(&leg.pv).is_some_and(|known| known.trust != Trust::Trusted);
    mirror.legs.iter().any(|leg| leg.write_mostly && doubted(leg))
}

/// Of two mirrors on one session, the one that has more to lose decides.
fn graver(a: TimeoutReason, b: TimeoutReason) -> TimeoutReason {
    let rank = |r: TimeoutReason| match r {
        TimeoutReason::Multipath => 5,
        TimeoutReason::LastGoodLeg => 4,
        TimeoutReason::Resyncing => 3,
        TimeoutReason::Probation => 2,
        TimeoutReason::Unmanaged => 0,
        _ => 1,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// Writes that bring the live sessions to what they should have, noting in the ledger what was there before.
pub fn adjust(
    reasons: &BTreeMap<TargetKey, TimeoutReason>,
    targets: &Targets,
    ledger: &mut Ledger,
    settings: &Settings,
) -> Vec<Op> {
    let mut ops = Vec::new();
    for (key, reason) in reasons {
        let Some(target) = targets.all.get(key).filter(|t| t.state == TargetState::LoggedIn) else { continue };
        let (Some(sid), Some(current)) = (target.sid, target.recovery_tmo) else { continue };
        let record = ledger.targets.entry(key.name.clone()).or_default();
        let configured = target.node.as_ref().and_then(|n| n.replacement_timeout).and_then(|t| u32::try_from(t).ok());
        let wanted = match reason {
            TimeoutReason::Override => {
                ops.extend(node_update(key, configured, record.override_seconds));
                record.override_seconds.map(Some)
            }
            TimeoutReason::LastGoodLeg | TimeoutReason::Resyncing | TimeoutReason::Probation => {
                // `off` waits for ever, which is long enough; so is a longer value of the administrator's.
                let short = current.filter(|seconds| *seconds < settings.last_leg_timeout);
                record.raised_from = short.or(record.raised_from);
                short.map(|_| Some(settings.last_leg_timeout))
            }
            TimeoutReason::Configured | TimeoutReason::Unmanaged => {
                // Another value than ours: it was put back, or somebody else's hand was here since.
                if current != Some(settings.last_leg_timeout) {
                    record.raised_from = None;
                }
                // An override that was taken back leaves the value from before it to be restored.
                let update = node_update(key, configured, record.override_from);
                if update.is_none() && current == record.override_from {
                    record.override_from = None;
                }
                ops.extend(update);
                record.override_from.or(record.raised_from).map(Some)
            }
            _ => None,
        };
        if let Some(seconds) = wanted.filter(|wanted| *wanted != current) {
            ops.push(Op::SetRecoveryTmo { sid, target: key.clone(), seconds });
        }
    }
    ops
}

/// The node record is to say what the session says, if there is a record.
fn node_update(key: &TargetKey, configured: Option<u32>, wanted: Option<u32>) -> Option<Op> {
    let seconds = wanted.filter(|wanted| configured.is_some_and(|now| now != *wanted))?;
    Some(Op::UpdateNode { target: key.clone(), seconds })
}
