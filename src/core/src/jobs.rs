//! Jobs: what is being done for whom, step by step, for people to read. Nothing is decided here.

use crate::ids::{JobId, OpId, TargetKey};
use crate::name::Name;
use crate::op::{Op, OpResult};
use crate::snapshot::{JobView, MirrorView, Object, Shared, StepView, TargetView};
use crate::time::{Mono, Now, Wall};
use crate::words::{Hold, JobState, MirrorState, Operation, TargetState};
use std::collections::BTreeMap;
use std::time::Duration;

/// Steps of one job that are kept; a job that needs more repeats itself.
const MOST_STEPS: usize = 200;

/// All jobs of the last minutes.
#[derive(Debug, Default)]
pub struct Jobs {
    all: BTreeMap<JobId, Job>,
    next: u32,
    steps: BTreeMap<OpId, Vec<(JobId, usize)>>,
}

#[derive(Debug)]
struct Job {
    view: JobView,
    ended: Option<Mono>,
    /// Somebody wants it to end before its next step.
    cancelled: bool,
}

impl Job {
    fn end(&mut self, state: JobState, error: String, now: Now) {
        self.ended = Some(now.mono);
        (self.view.progress, self.view.rate, self.view.expected_end) = (None, 0, now.wall);
        (self.view.state, self.view.error) = (state, error);
    }
}

impl Jobs {
    /// The unfinished job of that kind for that object, or a new one.
    pub fn begin(&mut self, operation: Operation, object: Object, uid: u32, now: Now) -> JobId {
        if let Some(id) = self.active(operation, &object) {
            return id;
        }
        self.next += 1;
        let id = JobId(self.next);
        let view = JobView {
            operation,
            object,
            state: JobState::Queued,
            progress: None,
            rate: 0,
            started: now.wall,
            expected_end: Wall(0),
            uid,
            steps: Vec::new(),
            error: String::new(),
        };
        self.all.insert(id, Job { view, ended: None, cancelled: false });
        id
    }

    fn active(&self, operation: Operation, object: &Object) -> Option<JobId> {
        let same = |job: &Job| job.ended.is_none() && job.view.operation == operation && job.view.object == *object;
        self.all.iter().find(|(_, job)| same(job)).map(|(id, _)| *id)
    }

    /// Notes the start of an operation for mirrors or a target. A command that changes a mirror makes a job of its own
    /// where there is none; looking and logging in do not.
    pub fn step(&mut self, id: OpId, op: &Op, why: &str, mirrors: &[Name], now: Now) {
        let mut jobs = Vec::new();
        for name in mirrors {
            let object = Object::Mirror(name.clone());
            let kinds = [Operation::Resolve, Operation::Activate, Operation::Heal, Operation::Check];
            match kinds.into_iter().find_map(|kind| self.active(kind, &object)) {
                Some(job) => jobs.push(job),
                None if op.writes_vg().is_some() => jobs.push(self.begin(Operation::Heal, object, 0, now)),
                None => {}
            }
        }
        if matches!(op, Op::Unstamp { .. } | Op::Unregister { .. }) {
            jobs.extend(self.active(Operation::Forget, &Object::Manager));
        }
        if let Op::Login { target } = op {
            jobs.extend(self.active(Operation::Reconnect, &Object::Target(target.clone())));
        }
        self.add_step(jobs, id, op, why);
    }

    /// Notes the start of an operation for a server.
    pub fn server_step(&mut self, id: OpId, op: &Op, why: &str, server: Name) {
        let object = Object::Server(server);
        let kinds = [Operation::EnterMaintenance, Operation::LeaveMaintenance];
        let jobs = kinds.into_iter().filter_map(|kind| self.active(kind, &object)).collect();
        self.add_step(jobs, id, op, why);
    }

    fn add_step(&mut self, jobs: Vec<JobId>, id: OpId, op: &Op, why: &str) {
        for job in jobs {
            let Some(entry) = self.all.get_mut(&job) else { continue };
            if entry.view.steps.len() >= MOST_STEPS {
                continue;
            }
            entry.view.state = JobState::Running;
            entry.view.steps.push(StepView {
                code: op.code(),
                why: why.to_owned(),
                command: op.command_line(),
                exit: -1,
                result: "running",
            });
            self.steps.entry(id).or_default().push((job, entry.view.steps.len() - 1));
        }
    }

    /// Notes the end of an operation.
    pub fn step_ended(&mut self, id: OpId, result: &OpResult) {
        for (job, index) in self.steps.remove(&id).unwrap_or_default() {
            let Some(step) = self.all.get_mut(&job).and_then(|j| j.view.steps.get_mut(index)) else { continue };
            (step.exit, step.result) = match result {
                OpResult::Exit { code: 0, .. } => (0, "done"),
                OpResult::Exit { code, .. } => (*code, "failed"),
                OpResult::Wrote
                | OpResult::Probed(_)
                | OpResult::Registered(_)
                | OpResult::Throttle(_)
                | OpResult::Detect(_)
                | OpResult::Sampled(_)
                | OpResult::Answered(_) => (0, "done"),
                OpResult::NoAnswer(_) => (-1, "no-effect"),
                OpResult::Failed(_) => (-1, "failed"),
                OpResult::TimedOut => (-1, "timed-out"),
            };
            if let OpResult::Exit { code: 1.., last_line }
            | OpResult::Failed(last_line)
            | OpResult::NoAnswer(last_line) = result
            {
                let job = self.all.get_mut(&job);
                job.into_iter().for_each(|j| j.view.error.clone_from(last_line));
            }
        }
    }

    /// Ends the open jobs of a kind whose aim nobody can see: it is reached.
    pub fn done(&mut self, operation: Operation, now: Now) {
        for job in self.all.values_mut().filter(|job| job.ended.is_none() && job.view.operation == operation) {
            job.ended = Some(now.mono);
            (job.view.state, job.view.expected_end) = (JobState::Succeeded, now.wall);
        }
    }

    /// Ends the open job of a kind for an object: its aim is reached.
    pub fn done_for(&mut self, operation: Operation, object: &Object, now: Now) {
        self.end(operation, object, JobState::Succeeded, "", now);
    }

    /// Ends the open job of a kind for an object: its aim is out of reach.
    pub fn give_up(&mut self, operation: Operation, object: &Object, why: &str, now: Now) {
        self.end(operation, object, JobState::Failed, why, now);
    }

    fn end(&mut self, operation: Operation, object: &Object, state: JobState, error: &str, now: Now) {
        let Some(id) = self.active(operation, object) else { return };
        self.all.get_mut(&id).into_iter().for_each(|job| job.end(state, error.to_owned(), now));
    }

    /// Objects that a job of a kind is open for.
    pub fn waiting(&self, operation: Operation) -> Vec<Object> {
        let open = self.all.values().filter(|job| job.ended.is_none() && job.view.operation == operation);
        open.map(|job| job.view.object.clone()).collect()
    }

    /// What an open job is for, and on what; `None` inside when it has ended.
    pub fn find(&self, id: JobId) -> Option<Option<(Operation, Object)>> {
        let job = self.all.get(&id)?;
        Some(job.ended.is_none().then(|| (job.view.operation, job.view.object.clone())))
    }

    /// Has a job end as soon as no step of it runs.
    pub fn cancel(&mut self, id: JobId) {
        self.all.get_mut(&id).into_iter().for_each(|job| job.cancelled = true);
    }

    /// Ends the cancelled jobs of which no step runs.
    pub fn settle_cancelled(&mut self, now: Now) {
        let over = |job: &&mut Job| job.cancelled && job.ended.is_none();
        for job in self.all.values_mut().filter(over) {
            if job.view.steps.iter().all(|step| step.result != "running") {
                job.end(JobState::Cancelled, String::new(), now);
            }
        }
    }

    /// Ends the jobs whose aim is reached or out of reach, by what is seen, and forgets old ones.
    pub fn settle(
        &mut self,
        mirrors: &BTreeMap<Name, Shared<MirrorView>>,
        targets: &BTreeMap<TargetKey, TargetView>,
        kept: Duration,
        now: Now,
    ) {
        self.settle_cancelled(now);
        for job in self.all.values_mut().filter(|job| job.ended.is_none() && !job.cancelled) {
            let outcome = match &job.view.object {
                Object::Mirror(name) => match mirrors.get(name) {
                    None => Some(Err("the mirror is gone".to_owned())),
                    Some(mirror) => {
                        let copying = mirror.ratio < 1.0;
                        job.view.progress = copying.then_some(mirror.ratio);
                        job.view.rate = mirror.rate;
                        job.view.expected_end =
                            expected(job.view.expected_end, mirror.remaining.filter(|_| copying), now);
                        let held = mirror.hold.filter(|hold| *hold >= Hold::NeedsOperator);
                        let up = job.view.operation == Operation::Activate;
                        match (mirror.state, held) {
                            // Those who look after it know when it is over.
                            _ if job.view.operation == Operation::Check => None,
                            (MirrorState::Inactive, None) => None,
                            (MirrorState::Inactive, Some(hold)) => Some(Err(format!("held: {hold}"))),
                            (_, _) if up => Some(Ok(())),
                            (MirrorState::Redundant, _) => Some(Ok(())),
                            (_, Some(hold)) => Some(Err(format!("held: {hold}"))),
                            _ => None,
                        }
                    }
                },
                Object::Target(key) => match targets.get(key) {
                    None => Some(Err("the target is gone".to_owned())),
                    Some(target) if target.state == TargetState::LoggedIn => Some(Ok(())),
                    Some(target) => {
                        let tried = job.view.steps.iter().any(|step| step.result != "running");
                        tried.then(|| Err(target.last_error.clone()))
                    }
                },
                Object::Manager | Object::Job(_) | Object::Server(_) => None,
            };
            match outcome {
                Some(Ok(())) => job.end(JobState::Succeeded, String::new(), now),
                Some(Err(why)) => job.end(JobState::Failed, why, now),
                None => {}
            }
        }
        self.all.retain(|_, job| job.ended.is_none_or(|at| now.mono.since(at) < kept));
    }

    /// When finished jobs are forgotten.
    pub fn due(&self, kept: Duration) -> impl Iterator<Item = Mono> {
        self.all.values().filter_map(move |job| Some(job.ended?.after(kept)))
    }

    /// Names of the mirrors that somebody waits to see activated.
    pub fn activations(&self) -> impl Iterator<Item = Name> {
        let open = self.all.values().filter(|job| job.ended.is_none() && job.view.operation == Operation::Activate);
        open.filter_map(|job| match &job.view.object {
            Object::Mirror(name) => Some(name.clone()),
            _ => None,
        })
    }

    /// Mirrors or targets with a requested job that is still open.
    pub fn open(&self) -> impl Iterator<Item = &Object> {
        self.all.values().filter(|job| job.ended.is_none()).map(|job| &job.view.object)
    }

    /// Brings what is shown up to date. Most jobs are over and stay as they are.
    pub fn show(&self, shown: &mut BTreeMap<JobId, JobView>) {
        shown.retain(|id, _| self.all.contains_key(id));
        for (id, job) in &self.all {
            if shown.get(id) != Some(&job.view) {
                shown.insert(*id, job.view.clone());
            }
        }
    }
}

/// When a copy will be over. A guess that has moved by less than a second has not moved: it is new at every look, and would be
/// announced each time.
fn expected(before: Wall, left: Option<Duration>, now: Now) -> Wall {
    let Some(left) = left.and_then(|left| u64::try_from(left.as_micros()).ok()) else { return Wall(0) };
    let at = Wall(now.wall.0.saturating_add(left));
    if before.0.abs_diff(at.0) < 1_000_000 { before } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_end_moves_by_seconds_only() {
        let now = |wall| Now { mono: Mono(wall), wall: Wall(wall), east: 0 };
        let left = Some(Duration::from_secs(10));
        let first = expected(Wall(0), left, now(5_000_000));
        assert_eq!(first, Wall(15_000_000));
        assert_eq!(expected(first, left, now(5_900_000)), first);
        assert_eq!(expected(first, left, now(6_000_000)), Wall(16_000_000));
        assert_eq!(expected(first, Some(Duration::from_secs(5)), now(6_000_000)), Wall(11_000_000));
        assert_eq!(expected(first, None, now(6_000_000)), Wall(0));
    }
}
