//! What the end of an operation means for the steps after it: scrubs that the kernel goes on with, disks rescanned,
//! logins tried, and the requests that people make.

use crate::diagnose;
use crate::engine::Engine;
use crate::ids::{LvUuid, OpId};
use crate::input::{Command, Refusal, Reply};
use crate::ledger::{Stage, Trust};
use crate::observation::{Detect, LegHealth, SyncAction};
use crate::op::{LogKind, Op, OpResult};
use crate::plan::{Scrub, ScrubKind};
use crate::silence;
use crate::snapshot::{Details, Object, Value};
use crate::time::{Mono, Now};
use crate::topology::{Live, Mirror};
use crate::trapped;
use crate::words::{EventCode, MirrorState, Operation, Severity};
use std::time::Duration;

/// A scrub that nobody saw at work and that raised no event within this time never ran.
pub(crate) const SCRUB_UNSEEN: Duration = Duration::from_secs(30);

/// How long a change of a timeout counts as what somebody asked for: it is made in the same turn, if the session is up.
const ASKED: Duration = Duration::from_secs(10);

impl Engine {
    /// Notes what must be known from before an operation.
    pub(crate) fn note_start(&mut self, now: Now, id: OpId, op: &Op) {
        if let Op::Login { target } = op {
            self.targets.all.entry(target.clone()).and_modify(|t| t.login_running = true);
        }
        if let Op::Fence { target, sid } = op {
            self.targets.all.entry(target.clone()).and_modify(|t| t.give_up(*sid));
        }
        let seqno = op.writes_vg().and_then(|vg| self.vg_seqno(vg));
        let scrub = |mirror: &Mirror| {
            let kind = match op {
                Op::Check { .. } => ScrubKind::Check,
                Op::Repair { .. } => ScrubKind::Repair,
                // A leg added anew is copied in full as well.
                Op::Rebuild { pv, .. } | Op::ReaddLeg { pv, log: LogKind::Bitmap, .. } => {
                    let place = mirror.leg(pv).and_then(|leg| leg.place.as_ref());
                    ScrubKind::Rebuild {
                        pv: pv.clone(),
                        sectors_before: place.map_or(0, |p| self.world.kernel.sectors_written(&p.disk)),
                    }
                }
                _ => return None,
            };
            Some(Scrub { kind, since: now.mono, event_nr: mirror.event_nr, seqno, seen: false })
        };
        let lvs = op.lvs().iter().filter_map(|lv| self.mirrors.get(&lv.uuid));
        let scrubs: Vec<_> = lvs.filter_map(|m| Some((m.lv.uuid.clone(), scrub(m)?))).collect();
        if !scrubs.is_empty() {
            self.before.insert(id, scrubs);
        }
    }

    /// Follows up on the end of an operation.
    pub(crate) fn note_end(&mut self, now: Now, id: OpId, op: &Op, result: &OpResult) {
        self.excuse_scrubs(op);
        let worked = matches!(result, OpResult::Exit { code: 0, .. } | OpResult::Wrote);
        let started = self.before.remove(&id).unwrap_or_default();
        if worked {
            self.scrubs.extend(started.into_iter().map(|(lv, scrub)| (lv, Scrub { since: now.mono, ..scrub })));
        }
        match op {
            Op::Login { target } => self.targets.login_ended(target, result, &self.settings, now),
            Op::SetDetect { target, .. } => {
                let found = match result {
                    OpResult::Detect(found) => found.clone(),
                    other => Detect::Unavailable(format!("{other:?}")),
                };
                self.targets.detected(target, found);
            }
            Op::SampleSocket { target, .. } | Op::DestroySocket { target, .. } => {
                let written = silence::written(&self.world.kernel, target);
                let target = self.targets.all.get_mut(target);
                target.into_iter().for_each(|target| silence::seen(target, result, written, now.mono));
            }
            Op::ReadDirect { target, .. } => {
                self.answers.remove(target);
                if let OpResult::Answered(micros) = result {
                    self.answers.insert(target.clone(), Mono(now.mono.0.saturating_sub(*micros)));
                }
            }
            Op::Knock { target, .. } => {
                let target = self.targets.all.get_mut(target);
                target.into_iter().for_each(|target| trapped::heard(target, result, now.mono));
            }
            // Whether that was it is seen by the session; if not, all begins anew.
            Op::ClearConnection { target, .. } => {
                self.targets.all.entry(target.clone()).and_modify(|target| target.heard = None);
            }
            Op::Fence { target, .. } if worked => {
                let details = Details::from([
                    ("iqn", target.iqn.as_str().into()),
                    ("portal", target.portal.as_str().into()),
                    ("reason", "it is dead, and every mirror on it goes on without it".into()),
                ]);
                self.tell(now, EventCode::TargetFenced, Severity::Warning, Object::Target(target.clone()), details);
            }
            // The next time it is flagged begins with another number.
            Op::RestoreMissing { vg, pv } if worked => {
                let records = self.ledger.mirrors.values_mut().filter(|record| record.vg == vg.uuid);
                for known in records.filter_map(|record| record.legs.get_mut(pv)) {
                    if let Trust::Suspect { loss, .. } = &mut known.trust {
                        loss.flagged = None;
                    }
                }
            }
            Op::Rescan { disk } if worked => {
                for target in self.targets.all.values_mut().filter(|t| t.disks.contains(disk)) {
                    target.rescanned = target.connection;
                }
            }
            Op::SetRecoveryTmo { target, seconds, .. } if worked => {
                // What counts is an answer of one that waits.
                self.answers.remove(target);
                let mut details =
                    Details::from([("iqn", target.iqn.as_str().into()), ("portal", target.portal.as_str().into())]);
                // Without a number it is switched off.
                details.extend(seconds.map(|seconds| ("seconds", u64::from(seconds).into())));
                let asked = self.asked_by.remove(target).filter(|(_, at)| now.mono.since(*at) < ASKED);
                details.extend(asked.map(|(uid, _)| ("uid", Value::U32(uid))));
                let object = Object::Target(target.clone());
                self.tell(now, EventCode::TimeoutChanged, Severity::Info, object, details);
            }
            Op::UpdateNode { .. } => self.wants.nodes = true,
            Op::ReadThrottle { .. } | Op::SetThrottle { .. } => self.throttle_seen(now, op, result),
            Op::StartIscsid => {
                let details = Details::from([("result", if worked { "started" } else { "failed" }.into())]);
                self.tell(now, EventCode::IscsidDown, Severity::Error, Object::Manager, details);
            }
            Op::Resume { lv, .. } if worked => {
                if let Some(name) = self.mirrors.get(&lv.uuid).map(|m| m.name.clone()) {
                    let details = Details::from([("mirror", name.as_str().into())]);
                    self.tell(now, EventCode::LvResumed, Severity::Warning, Object::Mirror(name), details);
                }
            }
            Op::Requeue { lv, .. } if worked => self.watch.let_go(&lv.uuid),
            Op::Activate { lv, on, .. } if worked && !on.is_empty() => {
                if let Some(name) = self.mirrors.get(&lv.uuid).map(|m| m.name.clone()) {
                    let details = Details::from([("mirror", name.as_str().into())]);
                    let (code, object) = (EventCode::MirrorActivatedDegraded, Object::Mirror(name));
                    self.tell(now, code, Severity::Warning, object, details);
                }
            }
            Op::Monitor { lv, .. } => {
                if let Some(name) = self.mirrors.get(&lv.uuid).map(|m| m.name.clone()) {
                    let details = Details::from([("mirror", name.as_str().into())]);
                    self.tell(now, EventCode::MonitoringMissing, Severity::Warning, Object::Mirror(name), details);
                }
            }
            _ => {}
        }
    }

    /// Looks at the scrubs under way. One is finished when it was seen at work, or raised its event, and is idle again with
    /// all legs alive; a check counts only if no table was loaded meanwhile.
    pub(crate) fn finish_scrubs(&mut self, now: Now) {
        let mut finished = Vec::new();
        let mut ended = Vec::new();
        // A copy that was given up half-way.
        let stuck = |at: &Mono| now.mono.since(*at) >= self.settings.suspended_grace;
        let stands = |uuid: &LvUuid| self.watch.stuck_since.get(uuid).is_some_and(stuck);
        for (uuid, scrub) in &mut self.scrubs {
            let Some(mirror) = self.mirrors.get(uuid) else {
                ended.push(uuid.clone());
                continue;
            };
            let alive = |leg: &crate::topology::Leg| {
                matches!(leg.health, Some(LegHealth::InSync | LegHealth::Syncing)) && leg.up()
            };
            // The layout after the command is known with the next report.
            let young = now.mono.since(scrub.since) <= SCRUB_UNSEEN && !scrub.seen;
            let unknown = mirror.legs.iter().any(|leg| leg.index.is_none() || leg.health.is_none());
            if young && unknown {
                continue;
            }
            if !mirror.legs.iter().all(alive) {
                ended.push(uuid.clone());
            } else if mirror.steady() && (scrub.seen || mirror.event_nr != scrub.event_nr) {
                finished.push((uuid.clone(), scrub.clone()));
            } else if !mirror.idle() {
                scrub.seen |= matches!(&mirror.live, Live::Raid(status)
                    if matches!(status.action, SyncAction::Check | SyncAction::Repair | SyncAction::Recover));
            } else if now.mono.since(scrub.since) > SCRUB_UNSEEN && mirror.steady() || stands(uuid) {
                ended.push(uuid.clone());
            }
        }
        for uuid in ended {
            self.scrubs.remove(&uuid);
        }
        for (uuid, scrub) in finished {
            self.finish_scrub(now, &uuid, &scrub);
        }
    }

    fn finish_scrub(&mut self, now: Now, uuid: &LvUuid, scrub: &Scrub) {
        let Some(mirror) = self.mirrors.get(uuid) else { return };
        let whole = match &scrub.kind {
            ScrubKind::Check => {
                // The metadata must be known to be the same as when the check began.
                let Some(seqno) = self.vg_seqno(&mirror.vg.uuid) else { return };
                scrub.seqno == Some(seqno)
            }
            ScrubKind::Repair => true,
            // `--rebuild` was seen to say done and to copy next to nothing (`facts/lab.md` B).
            ScrubKind::Rebuild { pv, sectors_before } => {
                let written = mirror.leg(pv).and_then(|leg| leg.place.as_ref()).map_or(0, |p| p.sectors_written);
                written.saturating_sub(*sectors_before).saturating_mul(512) >= mirror.size
            }
        };
        let mismatches = match (&mirror.live, &scrub.kind) {
            (Live::Raid(status), ScrubKind::Check) => status.mismatches,
            _ => 0,
        };
        let name = mirror.name.clone();
        self.scrubs.remove(uuid);
        if scrub.kind == ScrubKind::Check {
            self.check_ended(now, uuid, &name, whole.then_some(mismatches));
        }
        let Some(record) = self.ledger.mirrors.get_mut(uuid).filter(|_| whole) else { return };
        if scrub.kind == ScrubKind::Check {
            record.last_check = Some((mismatches, now.wall));
        }
        // A full copy onto the one leg that differed from the other makes the two alike.
        let pair = record.legs.len() == 2;
        for (pv, known) in &mut record.legs {
            known.unverified &= scrub.kind != ScrubKind::Check || mismatches > 0;
            if let Trust::Suspect { stage, .. } = &mut known.trust {
                *stage = match (&scrub.kind, *stage) {
                    (ScrubKind::Check, Stage::Unverified) if mismatches > 0 => Stage::Mismatched,
                    (ScrubKind::Check, Stage::Unverified) => Stage::Verified,
                    (ScrubKind::Repair, Stage::Mismatched) => Stage::Verified,
                    (ScrubKind::Rebuild { pv: rebuilt, .. }, Stage::Mismatched) if pair || rebuilt == pv => {
                        Stage::Verified
                    }
                    (_, other) => other,
                };
            }
        }
        if mismatches > 0 {
            let details = Details::from([("mirror", name.as_str().into()), ("sectors", mismatches.into())]);
            self.tell(now, EventCode::MismatchFound, Severity::Critical, Object::Mirror(name), details);
        }
    }

    /// Answers a request.
    pub(crate) fn command(&mut self, now: Now, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::Rescan => {
                (self.wants.kernel, self.wants.nodes) = (true, true);
                self.world.distrust_report();
                Ok(Reply::Done)
            }
            Command::Reconnect { target, uid } => {
                let unknown = || Refusal::NoSuchObject(format!("no target {target}"));
                let known = self.targets.all.get_mut(&target).ok_or_else(unknown)?;
                (known.next_attempt, known.attempts) = (None, 0);
                if let Some(record) = self.ledger.targets.get_mut(&target.name) {
                    record.logged_out_in_boot = None;
                }
                if known.sid.is_none() && !self.targets.managed(&target, &self.ledger) {
                    return Err(Refusal::NotManaged(format!("{target} is neither automatic nor carries a leg")));
                }
                self.arbiter.fresh_start();
                Ok(Reply::Job(self.jobs.begin(Operation::Reconnect, Object::Target(target), uid, now)))
            }
            Command::SetReplacementTimeout { target, seconds, uid } => {
                let reply = self.override_timeout(&target, seconds)?;
                self.asked_by.insert(target, (uid, now.mono));
                Ok(reply)
            }
            Command::Heal { mirror, uid } => {
                let unknown = || Refusal::NoSuchObject("no such mirror".into());
                let found = self.mirrors.get(&mirror).ok_or_else(unknown)?;
                if let Some(reason) = found.unmanaged {
                    return Err(Refusal::NotManaged(format!("{} is not managed: {reason}", found.name)));
                }
                let object = Object::Mirror(found.name.clone());
                self.not_paused()?;
                if self.situation(now, |s| found.legs.iter().any(|leg| s.resting(found, leg))) {
                    return Err(Refusal::InMaintenance(format!("a server of {} is out of service", found.name)));
                }
                self.cancelled.remove(&mirror);
                let redundant =
                    self.snapshot.mirrors.get(&found.name).is_some_and(|m| m.state == MirrorState::Redundant);
                if !redundant {
                    self.hurry.insert(mirror);
                }
                self.arbiter.fresh_start();
                Ok(Reply::Job(self.jobs.begin(Operation::Heal, object, uid, now)))
            }
            Command::PlanHeal { mirror } => self.plan_heal(now, &mirror),
            Command::Resolve { mirror, keep, uid } => self.resolve(now, &mirror, &keep, uid),
            Command::Activate { mirror, uid } => self.activate(now, &mirror, uid),
            Command::Forget { vg, uid } => self.forget(now, &vg, uid),
            Command::Pause { reason, uid } => Ok(self.pause(now, reason, uid)),
            Command::Resume { uid } => Ok(self.resume(now, uid)),
            Command::SafeToTakeDown { server } => {
                let unknown = || Refusal::NoSuchObject(format!("no server {server}"));
                self.snapshot.servers.get(&server).ok_or_else(unknown)?;
                Ok(Reply::Obstacles(self.obstacles(now, &server)))
            }
            Command::Diagnose => {
                let unsaved = self.saved.error();
                Ok(Reply::Findings(self.situation(now, |s| diagnose::findings(s, &self.snapshot, unsaved))))
            }
            Command::Check { mirror, uid } => self.check(now, &mirror, uid),
            Command::SetResyncLimit { mirror, bytes, .. } => self.limit_resync(&mirror, bytes),
            Command::EnterMaintenance { server, uid } => self.enter_maintenance(now, &server, uid),
            Command::LeaveMaintenance { server, uid } => self.leave_maintenance(now, &server, uid),
            Command::Cancel { job, .. } => self.cancel(now, job),
        }
    }

    fn override_timeout(&mut self, key: &crate::ids::TargetKey, seconds: u32) -> Result<Reply, Refusal> {
        if seconds > 86_400 {
            return Err(Refusal::InvalidArgument(format!("{seconds} s is more than 86400")));
        }
        let unknown = || Refusal::NoSuchObject(format!("no target {key}"));
        let target = self.targets.all.get(key).ok_or_else(unknown)?;
        let configured = target.node.as_ref().and_then(|n| n.replacement_timeout).and_then(|t| u32::try_from(t).ok());
        let record = self.ledger.targets.entry(key.name.clone()).or_default();
        if seconds == 0 {
            record.override_seconds = None;
        } else {
            record.override_from = record.override_from.or(configured).or(target.recovery_tmo.flatten());
            record.override_seconds = Some(seconds);
        }
        Ok(Reply::Done)
    }

    /// Sequence number of a VG's metadata, while it is known for sure.
    fn vg_seqno(&self, vg: &crate::ids::VgUuid) -> Option<u64> {
        self.world.vgs.get(vg).filter(|_| self.world.reported).map(|vg| vg.seqno)
    }

    /// A command of ours on other volumes of the VG raises the number without touching a scrubbed table.
    fn excuse_scrubs(&mut self, op: &Op) {
        let Some(vg) = op.writes_vg() else { return };
        for (uuid, scrub) in &mut self.scrubs {
            let here = self.mirrors.get(uuid).is_some_and(|m| m.vg.uuid == *vg);
            if here && !op.lvs().iter().any(|lv| lv.uuid == *uuid) {
                scrub.seqno = None;
            }
        }
    }

    /// After a report: scrubs whose VG was changed by ourselves go on from the new number.
    pub(crate) fn renumber_scrubs(&mut self) {
        let seqno = |uuid| self.mirrors.get(uuid).and_then(|m| self.vg_seqno(&m.vg.uuid));
        let renumbered: Vec<_> = self.scrubs.keys().map(|uuid| (uuid.clone(), seqno(uuid))).collect();
        for (uuid, seqno) in renumbered {
            if let Some(scrub) = self.scrubs.get_mut(&uuid) {
                scrub.seqno = scrub.seqno.or(seqno);
            }
        }
    }
}
