//! Draws the read model from what is seen, remembered and planned. Words and meanings are the D-Bus contract's.

use crate::ids::{LvUuid, TargetKey};
use crate::ledger::{Cause, LegRecord, MirrorRecord, Stage, Trust};
use crate::observation::{LegHealth, SyncAction};
use crate::plan::{Situation, gravest};
use crate::session::Target;
use crate::snapshot::{Details, LegView, MirrorView, TargetView, Value};
use crate::time::Mono;
use crate::topology::{Leg, Live, Mirror};
use crate::witness::Objection;
use crate::words::{Hold, LegState, MirrorState, TargetState, TimeoutReason};
use crate::{detect, timeouts};
use std::collections::BTreeMap;
use std::time::Duration;

/// How fast the running action goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Ratio when last looked at.
    pub ratio: f64,
    /// When that was.
    pub at: Mono,
    /// When the ratio was first seen.
    pub moved: Mono,
    /// Bytes a second, smoothed; 0 until two looks.
    pub rate: u64,
}

impl Pace {
    /// Takes in another look at an action over `size` bytes.
    pub fn follow(before: Option<Self>, ratio: f64, size: u64, now: Mono) -> Self {
        let Some(before) = before.filter(|b| b.ratio <= ratio) else {
            return Self { ratio, at: now, moved: now, rate: 0 };
        };
        let moved = if ratio > before.ratio { now } else { before.moved };
        let seconds = now.since(before.at).as_secs_f64();
        if seconds < 0.5 {
            return Self { moved, ..before };
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let bytes = (ratio - before.ratio) * size as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ratio did not fall")]
        let latest = (bytes / seconds) as u64;
        let rate = if before.rate == 0 { latest } else { (before.rate / 4) * 3 + latest / 4 };
        Self { ratio, at: now, moved, rate }
    }
}

/// The ratio of a mirror's running action; 1.0 when none runs.
pub fn ratio(mirror: &Mirror) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people; decisions compare the integers")]
    let of = |done: u64, total: u64| if total == 0 { 1.0 } else { done.min(total) as f64 / total as f64 };
    match &mirror.live {
        Live::Raid(status) if status.action != SyncAction::Idle => of(status.done, status.total),
        Live::Mirror { in_sync, total, .. } => of(*in_sync, *total),
        _ => 1.0,
    }
}

/// A mirror as shown.
pub fn mirror_view(
    s: &Situation<'_>,
    mirror: &Mirror,
    objections: &BTreeMap<LvUuid, Vec<Objection>>,
    pace: Option<&Pace>,
) -> MirrorView {
    let record = s.record(mirror);
    let (hold, hold_details) = match objections.get(&mirror.lv.uuid).and_then(|list| gravest(list)) {
        Some((hold, details)) => (Some(hold), details),
        None => (None, Details::new()),
    };
    let legs: Vec<LegView> = mirror.legs.iter().map(|leg| leg_view(s, mirror, record, leg, hold)).collect();
    let state = mirror_state(mirror, &legs);
    let ratio = ratio(mirror);
    let rate = pace.filter(|_| ratio < 1.0).map_or(0, |p| p.rate);
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let seconds_left = (1.0 - ratio) * mirror.size as f64 / rate as f64;
    let remaining = if ratio < 1.0 { Duration::try_from_secs_f64(seconds_left).ok() } else { Some(Duration::ZERO) };
    let wanted = record.map_or(mirror.legs.len(), |r| r.legs.len());
    let in_sync = legs.iter().filter(|leg| leg.state == LegState::InSync && state != MirrorState::Inactive).count();
    let (mismatches, last_check) = record.and_then(|r| r.last_check).unwrap_or_default();
    MirrorView {
        name: mirror.name.clone(),
        uuid: mirror.lv.uuid.as_str().to_owned(),
        kind: mirror.kind.word(),
        log: mirror.log.word(),
        size: mirror.size,
        state,
        copies_wanted: count(wanted),
        copies_in_sync: count(in_sync),
        action: match &mirror.live {
            Live::Raid(status) => Some(status.action.clone()),
            Live::Mirror { in_sync, total, .. } if in_sync < total => Some(SyncAction::Resync),
            Live::Mirror { .. } | Live::Single => Some(SyncAction::Idle),
            Live::Inactive | Live::Unreadable(_) => None,
        },
        ratio,
        rate,
        remaining,
        legs,
        mismatches,
        last_check,
        degraded_since: record.and_then(|r| r.degraded_since).unwrap_or_default(),
        hold,
        hold_details,
        unmanaged: mirror.unmanaged,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn mirror_state(mirror: &Mirror, legs: &[LegView]) -> MirrorState {
    match mirror.live {
        Live::Inactive => return MirrorState::Inactive,
        Live::Unreadable(_) => return MirrorState::Unknown,
        _ => {}
    }
    let any = |states: &[LegState]| legs.iter().any(|leg| states.contains(&leg.state));
    let serving = mirror.legs.iter().zip(legs).any(|(leg, view)| {
        leg.health == Some(LegHealth::InSync) && !matches!(view.state, LegState::Failed | LegState::Missing)
    });
    // A `recover` shows in its leg's letter; without one it is what the kernel says in the moment of a loss.
    let copying = matches!(&mirror.live, Live::Raid(status)
        if matches!(status.action, SyncAction::Resync | SyncAction::Repair));
    if !serving {
        MirrorState::Failed
    } else if copying || any(&[LegState::Rebuilding]) {
        MirrorState::Resyncing
    } else if mirror.legs.iter().any(|leg| leg.health != Some(LegHealth::InSync))
        || any(&[LegState::Failed, LegState::Missing, LegState::Stale, LegState::Foreign, LegState::Error])
    {
        MirrorState::Degraded
    } else if any(&[LegState::Probation, LegState::Returned]) {
        MirrorState::Verifying
    } else {
        MirrorState::Redundant
    }
}

fn leg_view(
    s: &Situation<'_>,
    mirror: &Mirror,
    record: Option<&MirrorRecord>,
    leg: &Leg,
    hold: Option<Hold>,
) -> LegView {
    let known = record.and_then(|r| r.legs.get(&leg.pv)).map(|known| &**known);
    let state = leg_state(mirror, leg, known, hold);
    let details = evidence(s, mirror, known, leg);
    LegView {
        pv: leg.pv.as_str().to_owned(),
        device: leg.place.as_ref().map_or_else(String::new, |p| ["/dev/", &p.name].concat()),
        target: leg.place.as_ref().and_then(|p| p.target.clone()),
        state,
        ratio: match state {
            LegState::InSync | LegState::Probation => 1.0,
            LegState::Rebuilding => ratio(mirror),
            _ => 0.0,
        },
        details,
    }
}

/// What is known of a leg, in the words of the contract.
fn evidence(s: &Situation<'_>, mirror: &Mirror, known: Option<&LegRecord>, leg: &Leg) -> Details {
    let mut details = Details::new();
    if mirror.live != Live::Inactive {
        details.insert("in-use", Value::Bool(leg.health == Some(LegHealth::InSync)));
    }
    if let Some(Trust::Suspect { cause, since, stage, loss }) = known.map(|k| &k.trust) {
        let stage = match stage {
            Stage::Unverified => "unverified",
            Stage::Mismatched => "mismatched",
            Stage::Verified => "verified",
        };
        let continuity = loss.continuity.word();
        details.extend([
            ("cause", Value::from(cause.word())),
            ("stage", stage.into()),
            ("stale-since", since.0.into()),
        ]);
        details.insert("continuity", continuity.into());
        details.extend(loss.events.map(|events| ("events-at-loss", events.into())));
        details.extend(loss.seqno.map(|seqno| ("vg-seqno-at-loss", number(seqno))));
    }
    if known.is_some_and(|k| k.unverified) {
        details.insert("unverified", Value::Bool(true));
    }
    if leg.write_mostly {
        details.insert("write-mostly", Value::Bool(true));
    }
    if let Some(place) = leg.place.as_ref().filter(|place| !place.write_cache.is_empty()) {
        details.insert("write-cache", place.write_cache.as_str().into());
    }
    if let Some(probe) = s.probes.get(&mirror.vg.uuid) {
        if let Some(text) = probe.text(&leg.pv) {
            details.insert("vg-seqno", number(text.seqno));
            details.extend(text.stamps.last().map(|stamp| ("stamp", Value::U64(*stamp))));
        }
        let superblock = leg.index.and_then(|_| probe.superblock(mirror, leg));
        if let Some(crate::observation::ProbedSuperblock::Found(superblock)) = superblock {
            details.insert("events", superblock.events.into());
            details.insert("failed-devices", superblock.failed_devices.into());
        }
    }
    details
}

fn number(n: u64) -> Value {
    Value::U32(u32::try_from(n).unwrap_or(u32::MAX))
}

fn leg_state(mirror: &Mirror, leg: &Leg, known: Option<&LegRecord>, hold: Option<Hold>) -> LegState {
    let suspect = known.is_some_and(|k| k.trust != Trust::Trusted);
    let Some(place) = &leg.place else { return LegState::Missing };
    // A session that iscsid bounces is away for seconds without harm; only a leg in doubt is called failed for it.
    if !place.up && (suspect || leg.health != Some(LegHealth::InSync)) {
        return LegState::Failed;
    }
    let refused = match hold {
        Some(Hold::BlankDevice | Hold::IdentityMismatch) => LegState::Foreign,
        Some(Hold::StaleLeg | Hold::SplitBrain | Hold::RolledBackLeg | Hold::NoHistory) => LegState::Stale,
        Some(Hold::Unreadable) => LegState::Error,
        _ => LegState::Returned,
    };
    // What is wrong is wrong with the legs in doubt.
    let refused = if suspect { refused } else { LegState::Returned };
    // A region that a dead leg could not be given is nobody's copy.
    let dead = mirror.legs.iter().any(|leg| leg.health == Some(LegHealth::Dead));
    let syncing = !dead && matches!(mirror.live, Live::Mirror { in_sync, total, .. } if in_sync < total);
    match leg.health {
        Some(LegHealth::InSync) if syncing && (suspect || leg.index != Some(0)) => LegState::Rebuilding,
        Some(LegHealth::InSync) if !suspect => LegState::InSync,
        Some(LegHealth::InSync) if leg.write_mostly => LegState::Probation,
        // A full copy is believed when it has been seen complete twice.
        Some(LegHealth::InSync) if copied_in_full(known) => LegState::Rebuilding,
        Some(LegHealth::InSync) => refused,
        // During the first sync the kernel calls all legs not in sync; the first is the source (`facts/lvm.md` 1.1).
        Some(LegHealth::Syncing) if leg.index == Some(0) && first_sync(mirror) => LegState::InSync,
        Some(LegHealth::Syncing) => LegState::Rebuilding,
        None if mirror.live == Live::Inactive && !suspect => LegState::InSync,
        _ => refused,
    }
}

fn copied_in_full(known: Option<&LegRecord>) -> bool {
    let copied = |k: &LegRecord| {
        matches!(k.trust, Trust::Suspect { stage: Stage::Mismatched, cause: Cause::Lost | Cause::Condemned, .. })
    };
    known.is_some_and(copied)
}

fn first_sync(mirror: &Mirror) -> bool {
    mirror.legs.iter().all(|leg| leg.health == Some(LegHealth::Syncing))
}

/// A target as shown.
pub fn target_view(s: &Situation<'_>, key: &TargetKey, target: &Target, reason: TimeoutReason) -> TargetView {
    let timeout = target.recovery_tmo.map(|tmo| tmo.map_or(-1, |seconds| i32::try_from(seconds).unwrap_or(i32::MAX)));
    TargetView {
        server: s.servers.of(&key.name).cloned().unwrap_or_default(),
        detect_timeout: detect::in_force(target, s.targets.iscsid()),
        state: target.state,
        since: target.since,
        sid: target.sid,
        disks: target.disks.iter().map(|name| ["/dev/", name].concat()).collect(),
        startup: target.node.as_ref().map(|n| n.startup),
        managed: s.targets.managed(key, s.ledger),
        replacement_timeout: timeout,
        configured_timeout: target.node.as_ref().and_then(|n| n.replacement_timeout),
        timeout_reason: reason,
        stall_estimate: target.recovery_tmo.map_or(Some(Duration::ZERO), |tmo| {
            let detect = detect::seconds(target, s.targets.iscsid(), s.settings, s.now.mono);
            timeouts::stall(reason, tmo, detect, s.settings).map(Duration::from_secs_f64)
        }),
        last_error: target.last_error.clone(),
        next_attempt: target.next_attempt.filter(|_| target.state != TargetState::LoggedIn).map(|at| s.now.wall_of(at)),
        attempts: target.attempts,
    }
}
