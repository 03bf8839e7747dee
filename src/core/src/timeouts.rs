//! How long each session waits for its server: what its role asks for, as writes to sysfs and to the node record.
//!
//! The kernel takes a new value only while the session is logged in (EBUSY otherwise), so a survivor is raised in the turn
//! that sees the loss. A session becomes quick only when another leg of each of its mirrors is seen to wait. Quick values
//! live in sysfs alone: a node record keeps at least open-iscsi's own default, so that a session made without us waits.

use crate::ids::TargetKey;
use crate::ledger::{Ledger, TargetRecord};
use crate::name::Name;
use crate::op::Op;
use crate::roles::{Ground, Roles, session, waits};
use crate::session::Targets;
use crate::settings::Settings;
use crate::words::TimeoutReason;

/// open-iscsi's own replacement timeout in seconds: what sessions are left with while nobody looks after them.
pub const STOCK: u32 = 120;

/// Writes that bring the live sessions to what their roles ask for, and what is to be noted of what was there before.
pub fn adjust(roles: &Roles, ground: Ground<'_>) -> (Vec<Op>, Vec<(Name, TargetRecord)>) {
    let (mut ops, mut notes) = (Vec::new(), Vec::new());
    for (key, role) in roles {
        let Some(target) = ground.targets.all.get(key).filter(|target| target.logged_in()) else { continue };
        let (Some(sid), Some(current)) = (target.sid, target.recovery_tmo) else { continue };
        let configured = target.node.as_ref().and_then(|n| n.replacement_timeout).and_then(|t| u32::try_from(t).ok());
        let known = ground.ledger.targets.get(&key.name);
        let mut record = known.cloned().unwrap_or_default();
        let wanted = wanted(*role, key, current, &record, ground);
        // Another value than ours is the administrator's, however late it comes.
        let settings = ground.settings;
        let ours = [settings.wait_timeout, settings.quick_timeout].map(Some).contains(&current)
            || (current == Some(STOCK) && record.raised_from.is_some());
        if wanted != current && !ours && *role != TimeoutReason::Override {
            record.raised_from = current;
        }
        if matches!(role, TimeoutReason::Configured | TimeoutReason::Unmanaged) && record.raised_from == current {
            record.raised_from = None;
        }
        ops.extend(node_update(key, *role, configured, &mut record));
        if known != Some(&record) && (known.is_some() || record != TargetRecord::default()) {
            notes.push((key.name.clone(), record));
        }
        if wanted != current {
            ops.push(Op::SetRecoveryTmo { sid, target: key.clone(), seconds: wanted });
        }
    }
    (ops, notes)
}

/// The value a session should have; the present one if nothing is asked for.
fn wanted(
    role: TimeoutReason,
    key: &TargetKey,
    current: Option<u32>,
    record: &TargetRecord,
    ground: Ground<'_>,
) -> Option<u32> {
    let settings = ground.settings;
    match role {
        TimeoutReason::Override => record.override_seconds.or(current),
        // `off` waits for ever, which is long enough; so is a longer value of the administrator's.
        _ if waits(role) => current.map(|seconds| seconds.max(settings.wait_timeout)),
        // `off` is somebody's wish to wait for ever.
        TimeoutReason::Quick if current.is_none() => None,
        TimeoutReason::Quick if spared(ground, key) => Some(settings.quick_timeout),
        // Somebody else's hand was here since, if it is neither of ours.
        TimeoutReason::Configured | TimeoutReason::Unmanaged => {
            let ours = [settings.wait_timeout, settings.quick_timeout, STOCK].map(Some).contains(&current);
            record.override_from.or(record.raised_from.filter(|_| ours)).or(current)
        }
        _ => current,
    }
}

/// Whether every mirror on a session has another leg that is seen to wait.
fn spared(ground: Ground<'_>, key: &TargetKey) -> bool {
    let here = ground.active().filter(|(mirror, _)| mirror.legs.iter().any(|leg| session(leg) == Some(key)));
    let waits_elsewhere = |(mirror, record)| {
        let good = ground.good_sessions(mirror, record);
        good.iter().any(|other| *other != key && ground.seen_waiting(other))
    };
    // An old report may have the legs of another layout.
    ground.reported && here.into_iter().all(waits_elsewhere)
}

/// What the node record should say: the administrator's own value, an override, or where we look after the session at least
/// [`STOCK`].
fn node_update(key: &TargetKey, role: TimeoutReason, configured: Option<u32>, record: &mut TargetRecord) -> Option<Op> {
    let configured = configured?;
    let ours = role == TimeoutReason::Quick || waits(role);
    let wanted = if role == TimeoutReason::Override {
        record.override_seconds.unwrap_or(configured)
    } else if let Some(before) = record.override_from {
        // An override that was taken back leaves the value from before it to be restored.
        record.override_from = Some(before).filter(|before| *before != configured);
        before
    } else if ours {
        let short = Some(configured).filter(|seconds| *seconds < STOCK);
        record.node_from = record.node_from.or(short);
        configured.max(STOCK)
    } else {
        let before = record.node_from.unwrap_or(configured);
        record.node_from = record.node_from.filter(|before| *before != configured);
        before
    };
    (wanted != configured).then(|| Op::UpdateNode { target: key.clone(), seconds: wanted })
}

/// What is written to live sessions when the service ends: neither a quick leg nor one that waits for ten minutes is to be
/// left to a kernel that nobody looks after.
pub fn farewell(targets: &Targets, ledger: &Ledger) -> Vec<Op> {
    let ours = |key: &TargetKey| {
        let record = ledger.targets.get(&key.name);
        record.is_some_and(|record| record.raised_from.is_some() && record.override_seconds.is_none())
    };
    let live = targets.all.iter().filter(|(key, target)| target.logged_in() && ours(key));
    let differs = live.filter(|(_, target)| target.recovery_tmo != Some(Some(STOCK)));
    let write = |(key, target): (&TargetKey, &crate::session::Target)| {
        Some(Op::SetRecoveryTmo { sid: target.sid?, target: key.clone(), seconds: Some(STOCK) })
    };
    differs.filter_map(write).collect()
}

/// How long writes wait, in seconds, if a server dies silently: until it is noticed, and until its session gives up or is
/// given up. `None` = until it returns.
pub fn stall(role: TimeoutReason, recovery_tmo: Option<u32>, detect: f64, settings: &Settings) -> Option<f64> {
    // Measured for the logout of a dead session: 0.3 to 0.7 s (`facts/lab.md` D).
    const LOGOUT: f64 = 0.7;
    match (role, recovery_tmo) {
        // Without quick legs nobody is an anchor.
        (TimeoutReason::Anchor, _) if settings.fence => Some(detect + f64::from(settings.quick_timeout) + LOGOUT),
        (_, Some(seconds)) => Some(detect + f64::from(seconds)),
        (_, None) => None,
    }
}
