//! Ending a connection that nobody answers any more, where the kernel cannot be told to do so by itself (`detect`: no
//! CAP_SYS_PTRACE, a Yama scope of 3, a kernel before 5.6). Its socket is looked at from here, by sock_diag, and destroyed on
//! evidence: what it sent stays unacknowledged while the other leg of every mirror on it answers (`facts/lab.md` D).
//!
//! Looking costs a wake-up a second, so it is done only while the session's disks are written or something is in flight. A
//! server that dies in idleness is left to iSCSI's NOPs; who begins to write just then waits for those. Nobody who has to
//! wait is ever broken, and where the socket can be neither limited nor watched, `Diagnose` says why.

use crate::detect;
use crate::fence::{self, LEAD};
use crate::ids::TargetKey;
use crate::ledger::Connection;
use crate::observation::{Backlog, KernelView, ProcessObs};
use crate::op::{Op, OpResult};
use crate::plan::Situation;
use crate::roles::{self, Roles, session};
use crate::session::{Target, Targets};
use crate::settings::Settings;
use crate::time::Mono;
use crate::words::TimeoutReason;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a socket is still watched after it was last busy. 10 s: twice the interval at which ext4 commits, so that a
/// volume in use is not lost sight of between two of them.
const LINGER: Duration = Duration::from_secs(10);

/// What is known of the socket of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    connection: Connection,
    /// Why it cannot be watched, if it cannot.
    watch: Result<Watch, String>,
}

/// A socket over some looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watch {
    /// When it was looked at last, and what it had then.
    at: Mono,
    backlog: Backlog,
    /// Since when at the latest something is unacknowledged that still is.
    since: Option<Mono>,
    /// When there was something in flight, or something written since the look before.
    busy: Mono,
    /// Sectors written to its disks.
    written: u64,
}

impl Watch {
    /// Joins a look to those before it. As long as the count of what was acknowledged stands still, what was in flight
    /// then is so now.
    fn follow(before: Option<Self>, backlog: Backlog, written: u64, now: Mono) -> Self {
        let stuck = before.filter(|b| b.backlog.acked == backlog.acked).and_then(|b| b.since);
        let since = (backlog.unacked > 0).then(|| stuck.unwrap_or(now));
        let idle = before.filter(|b| since.is_none() && b.written == written);
        Self { at: now, backlog, since, busy: idle.map_or(now, |b| b.busy), written }
    }

    /// Whether it deserves another look soon.
    fn active(&self, written: u64, now: Mono) -> bool {
        self.written != written || now.since(self.busy) < LINGER
    }
}

/// Takes in what a look at a session's socket found.
pub fn seen(target: &mut Target, result: &OpResult, written: u64, now: Mono) {
    let Some(connection) = target.connection else { return };
    let before = target.silence.take().filter(|found| found.connection == connection).map(|found| found.watch);
    let watch = match result {
        // Of another connection.
        OpResult::Sampled(Some(backlog)) if backlog.local_port != connection.local_port => return,
        OpResult::Sampled(Some(backlog)) => Ok(Watch::follow(before.and_then(Result::ok), *backlog, written, now)),
        // In another network namespace, or going.
        OpResult::Sampled(None) => Err("the session has no socket here".to_owned()),
        OpResult::Wrote => Err("the socket was destroyed".to_owned()),
        OpResult::Failed(why) => Err(why.clone()),
        other => Err(format!("{other:?}")),
    };
    target.silence = Some(Found { connection, watch });
}

/// What is to be done about sockets that have no limit although they should: look at them, ask whether others answer, end
/// those that stay silent.
pub fn plan(s: &Situation<'_>, roles: &Roles) -> Vec<(Op, String)> {
    let mut steps = Vec::new();
    for (key, target) in &s.targets.all {
        let Some(sid) = target.sid.filter(|_| exposed(s, roles, key, target)) else { continue };
        let due = match watch(target) {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(w)) => {
                w.active(written(s.kernel, key), s.now.mono) && w.at.after(s.settings.poll_busy) <= s.now.mono
            }
        };
        if due {
            let why = format!("{} has to be watched: {}", key.name, detect::unavailable(target).unwrap_or_default());
            steps.push((Op::SampleSocket { sid, target: key.clone() }, why));
        }
        let Some((seen, partners)) = condemned(s, roles, key, LEAD) else { continue };
        let silent: Vec<&TargetKey> = partners.into_iter().filter(|partner| !answers(s, target, partner)).collect();
        for partner in &silent {
            let why = format!("{} acknowledges nothing; does {} answer?", key.name, partner.name);
            steps.extend(fence::ask(s, partner).map(|op| (op, why)));
        }
        if silent.is_empty() && condemned(s, roles, key, Duration::ZERO).is_some() {
            let why = format!("{} acknowledges nothing, and every mirror on it has another leg that answers", key.name);
            steps.push((Op::DestroySocket { sid, target: key.clone(), seen }, why));
        }
    }
    steps
}

/// Whether a socket may be destroyed that was seen like this.
///
/// # Errors
/// Why not.
pub fn check(s: &Situation<'_>, key: &TargetKey, sid: u32, seen: Backlog) -> Result<(), String> {
    let roles = roles::roles(s.ground());
    let (found, partners) = condemned(s, &roles, key, Duration::ZERO)
        .ok_or_else(|| format!("{} may still be needed, or is not known to be silent", key.name))?;
    let target = s.targets.all.get(key).filter(|target| target.sid == Some(sid) && found == seen);
    let target = target.ok_or_else(|| format!("{} has another connection now", key.name))?;
    match partners.into_iter().find(|partner| !answers(s, target, partner)) {
        Some(partner) => Err(format!("{} has not answered since", partner.name)),
        None => Ok(()),
    }
}

/// Ends the watch over sockets that may have no limit any more, so that nobody wakes up for them.
pub fn let_go(targets: &mut Targets, roles: &Roles, settings: &Settings) {
    let iscsid = targets.iscsid();
    for (key, target) in &mut targets.all {
        let role = roles.get(key).copied().unwrap_or(TimeoutReason::Unmanaged);
        if !wants_limit(role, target, iscsid, settings) {
            target.silence.take_if(|found| found.watch.is_ok());
        }
    }
}

/// Whether a session should have a limit on its socket and cannot.
fn exposed(s: &Situation<'_>, roles: &Roles, key: &TargetKey, target: &Target) -> bool {
    let role = roles.get(key).copied().unwrap_or(TimeoutReason::Unmanaged);
    wants_limit(role, target, s.targets.iscsid(), s.settings)
}

fn wants_limit(role: TimeoutReason, target: &Target, iscsid: Option<ProcessObs>, settings: &Settings) -> bool {
    target.logged_in() && detect::wanted(role, settings) > 0 && detect::beyond_reach(target, iscsid)
}

/// Whether a session's socket may be destroyed if its partners answer, so long from now: what it was seen to have, and the
/// sessions that have to.
fn condemned<'a>(
    s: &Situation<'a>,
    roles: &Roles,
    key: &TargetKey,
    from_now: Duration,
) -> Option<(Backlog, BTreeSet<&'a TargetKey>)> {
    let (ground, target) = (s.ground(), s.targets.all.get(key)?);
    let watch = watch(target)?.as_ref().ok()?;
    let silent = s.now.mono.since(watch.since?) + from_now >= s.settings.detect_timeout;
    if !silent || !s.reported || !exposed(s, roles, key, target) || roles::shared(ground, key) {
        return None;
    }
    // An anchor that is seen to wait does so after its connection is gone as before; one that is quick will fail.
    let anchor = roles.get(key) == Some(&TimeoutReason::Anchor) && ground.seen_waiting(key);
    let waits = |other: &TargetKey| anchor || ground.seen_waiting(other);
    let mut partners = BTreeSet::new();
    for (mirror, record) in ground.active() {
        if mirror.legs.iter().any(|leg| session(leg) == Some(key)) {
            let good = ground.good_sessions(mirror, record);
            partners.insert(good.into_iter().find(|other| *other != key && waits(other))?);
        }
    }
    (!partners.is_empty()).then_some((watch.backlog, partners))
}

/// Whether a disk of `partner` answered a read that was begun after this session fell silent: it is not our own network.
fn answers(s: &Situation<'_>, target: &Target, partner: &TargetKey) -> bool {
    let since = watch(target).and_then(|watch| watch.as_ref().ok()?.since);
    let at = s.answers.get(partner).filter(|_| fence::answered(s, partner));
    at.is_some_and(|at| since.is_some_and(|since| *at >= since))
}

/// What is known of the present connection.
fn watch(target: &Target) -> Option<&Result<Watch, String>> {
    let connection = target.connection?;
    target.silence.as_ref().filter(|found| found.connection == connection).map(|found| &found.watch)
}

/// Why a session's socket cannot be watched either, once that is known.
pub fn deaf(target: &Target) -> Option<&str> {
    watch(target)?.as_ref().err().map(String::as_str)
}

/// How long a silent server goes unnoticed while its socket is watched: a look's time more than the kernel would take.
/// `None` while it is not.
pub fn seconds(target: &Target, settings: &Settings, now: Mono) -> Option<f64> {
    let watch = watch(target)?.as_ref().ok()?;
    let watched = target.logged_in() && watch.active(watch.written, now);
    watched.then(|| (settings.detect_timeout + settings.poll_busy).as_secs_f64())
}

/// Whether a look at the machine brings a reason to look at a session's socket again.
pub fn stirs(key: &TargetKey, target: &Target, kernel: &KernelView, now: Mono) -> bool {
    let watch = watch(target).and_then(|watch| watch.as_ref().ok());
    target.logged_in() && watch.is_some_and(|watch| watch.active(written(kernel, key), now))
}

/// When its silence will have lasted long enough to ask, and to act; and when it is not watched any more.
pub fn due(target: &Target, settings: &Settings) -> impl Iterator<Item = Mono> {
    let watch = watch(target).and_then(|watch| watch.as_ref().ok());
    let detect = settings.detect_timeout;
    watch.into_iter().flat_map(move |watch| {
        let silent = watch.since.map(|at| [detect.saturating_sub(LEAD), detect].map(|after| at.after(after)));
        silent.into_iter().flatten().chain([watch.busy.after(LINGER)])
    })
}

/// Sectors written so far to the disks of a session.
pub fn written(kernel: &KernelView, key: &TargetKey) -> u64 {
    let disks = kernel.sessions.iter().filter(|session| session.target == *key).flat_map(|session| &session.disks);
    disks.fold(0, |sum, disk| sum.wrapping_add(disk.sectors_written))
}
