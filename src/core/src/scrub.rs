//! Comparing redundant mirrors, because somebody asks or because the calendar does. It reads everything and mends nothing:
//! where two legs that are both beyond doubt differ, nobody here knows which is right. Never while anything is wrong.

use crate::engine::Engine;
use crate::ids::LvUuid;
use crate::input::{Refusal, Reply};
use crate::ledger::Kind;
use crate::link;
use crate::name::Name;
use crate::op::Op;
use crate::plan::{Plan, Situation};
use crate::snapshot::{Details, Object, Snapshot};
use crate::time::{Mono, Now, Wall};
use crate::topology::{Leg, Mirror};
use crate::window;
use crate::words::{EventCode, MirrorState, Operation, Severity};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the calendar leaves a mirror alone whose comparison came to nothing.
const AGAIN: Duration = Duration::from_secs(3600);

/// Who wants a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Somebody who asks for it now.
    Person,
    /// The calendar, which can wait.
    Calendar,
}

/// Comparisons that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Mirrors that are to be compared, or are being compared.
    pub(crate) wanted: BTreeMap<LvUuid, By>,
    /// When the calendar last had its way with a mirror.
    tried: BTreeMap<LvUuid, Mono>,
}

/// Proposes the next comparison, the most important mirror first.
pub fn plan(s: &Situation<'_>, mirrors: &[&Mirror], plan: &mut Plan) {
    let calm = |m: &Mirror| {
        let there = |leg: &Leg| leg.up() && !leg.missing && !s.resting(m, leg);
        s.steady.contains(&m.lv.uuid) && s.trusts_all(m) && m.legs.iter().all(there)
    };
    let able = s.reported && s.blocked_device().is_none();
    let ready = |m: &Mirror| {
        able && m.reported && calm(m) && !s.scrubs.contains_key(&m.lv.uuid) && s.vg_complete(&m.vg.uuid).is_ok()
    };
    for (mirror, by) in mirrors.iter().filter_map(|m| Some((m, s.checks.get(&m.lv.uuid)?))) {
        if !ready(mirror) || plan.holds.contains_key(&mirror.lv.uuid) {
            continue;
        }
        let closed = window::closed(s).filter(|_| *by == By::Calendar);
        match closed.map_or_else(|| link::room(s, mirror), Err) {
            Ok(_) => {
                let op = Op::Check { vg: mirror.vg.clone(), lvs: vec![mirror.lv.clone()] };
                plan.propose(Some((op, format!("{} is to be compared", mirror.name))));
                return;
            }
            Err(objection) => plan.hold(mirror, objection),
        }
    }
}

/// When the calendar wants a mirror to be compared again.
fn due(last: Option<(u64, Wall)>, interval: Duration, now: Now) -> Mono {
    let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
    let at = last.map_or(0, |(_, at)| at.0.saturating_add(interval));
    Mono(now.mono.0.saturating_add(at.saturating_sub(now.wall.0)))
}

impl Engine {
    pub(crate) fn check(&mut self, now: Now, mirror: &LvUuid, uid: u32) -> Result<Reply, Refusal> {
        let found = self.managed(mirror)?;
        let name = found.name.clone();
        self.not_paused()?;
        if found.kind != Kind::Raid1 {
            let kind = found.kind.word();
            return Err(Refusal::InvalidArgument(format!("{name} is a {kind}: only a raid1 can be compared")));
        }
        let resting = self.situation(now, |s| found.legs.iter().any(|leg| s.resting(found, leg)));
        if resting {
            return Err(Refusal::InMaintenance(format!("a server of {name} is out of service")));
        }
        let state = self.snapshot.mirrors.get(&name).map_or(MirrorState::Unknown, |m| m.state);
        if state != MirrorState::Redundant {
            return Err(Refusal::Held(format!("{name} is {state}, and compared only while it is redundant")));
        }
        let asked = self.checks.wanted.contains_key(mirror);
        if !asked && (!found.idle() || self.scrubs.contains_key(mirror)) {
            return Err(Refusal::Busy(format!("{name} is being copied or compared")));
        }
        self.checks.wanted.insert(mirror.clone(), By::Person);
        self.arbiter.fresh_start();
        Ok(Reply::Job(self.jobs.begin(Operation::Check, Object::Mirror(name), uid, now)))
    }

    /// Wants what the calendar wants, within the hours for it.
    pub(crate) fn keep_calendar(&mut self, now: Now) {
        let interval = self.settings.scrub_interval;
        if interval.is_zero() || self.ledger.paused() || self.window_opens(now).is_some() {
            return;
        }
        for (uuid, mirror) in &self.mirrors {
            let last = self.ledger.mirrors.get(uuid).and_then(|record| record.last_check);
            let redundant = self.snapshot.mirrors.get(&mirror.name).is_some_and(|m| m.state == MirrorState::Redundant);
            let fit = mirror.unmanaged.is_none() && mirror.kind == Kind::Raid1 && redundant && mirror.idle();
            let tried = self.checks.tried.get(uuid).is_some_and(|at| now.mono.since(*at) < AGAIN.min(interval));
            let wanted = self.checks.wanted.contains_key(uuid);
            if fit && !tried && !wanted && due(last, interval, now) <= now.mono {
                self.checks.wanted.insert(uuid.clone(), By::Calendar);
                self.checks.tried.insert(uuid.clone(), now.mono);
                self.jobs.begin(Operation::Check, Object::Mirror(mirror.name.clone()), 0, now);
            }
        }
    }

    /// When the calendar wants something next.
    pub(crate) fn calendar_due(&self, now: Now) -> impl Iterator<Item = Mono> {
        let interval = self.settings.scrub_interval;
        let records = self.ledger.mirrors.values().filter(move |_| !interval.is_zero());
        records.map(move |record| due(record.last_check, interval, now))
    }

    /// When the hours for comparisons that may wait begin; `None` while they last, or when there are none.
    pub(crate) fn window_opens(&self, now: Now) -> Option<Mono> {
        self.settings.window.and_then(|window| window.opens(now))
    }

    /// The comparison of a mirror is over; `None` when it cannot be known to have been complete.
    pub(crate) fn check_ended(&mut self, now: Now, mirror: &LvUuid, name: &Name, sectors: Option<u64>) {
        if self.checks.wanted.remove(mirror).is_none() {
            return;
        }
        let object = Object::Mirror(name.clone());
        let Some(sectors) = sectors else {
            let why = "the VG was changed meanwhile, and with it the comparison may have been cut short";
            self.jobs.give_up(Operation::Check, &object, why, now);
            return;
        };
        self.jobs.done_for(Operation::Check, &object, now);
        let details = Details::from([("mirror", name.as_str().into()), ("sectors", sectors.into())]);
        let severity = if sectors > 0 { Severity::Warning } else { Severity::Info };
        self.tell(now, EventCode::CheckFinished, severity, object, details);
    }

    /// Gives up comparisons of mirrors that are not redundant any more.
    pub(crate) fn settle_checks(&mut self, now: Now, next: &Snapshot) {
        let paused = self.ledger.paused();
        let jobs = &mut self.jobs;
        let open = jobs.waiting(Operation::Check);
        self.checks.wanted.retain(|uuid, _| {
            let Some(mirror) = self.mirrors.get(uuid) else { return false };
            let object = Object::Mirror(mirror.name.clone());
            let state = next.mirrors.get(&mirror.name).map_or(MirrorState::Unknown, |m| m.state);
            let begun = self.scrubs.contains_key(uuid);
            let why = match state {
                MirrorState::Redundant if paused && !begun => "healing is switched off".to_owned(),
                // Cancelled before it began.
                MirrorState::Redundant => return begun || open.contains(&object),
                state => format!("it is {state}"),
            };
            jobs.give_up(Operation::Check, &object, &why, now);
            false
        });
        for object in open {
            let Object::Mirror(name) = &object else { continue };
            if !next.mirrors.contains_key(name) {
                jobs.give_up(Operation::Check, &object, "the mirror is gone", now);
            }
        }
    }
}
