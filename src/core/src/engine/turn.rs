//! The two ends of a turn: what an input changes in belief, and what the world gets to see of the outcome.

use super::Engine;
use crate::ids::{LvUuid, TargetKey};
use crate::input::{Effect, Input};
use crate::name::Name;
use crate::plan::ProbeRun;
use crate::progress::SCRUB_UNSEEN;
use crate::roles::Roles;
use crate::session::Target;
use crate::snapshot::{Details, Object, Shared, Snapshot};
use crate::time::{Mono, Now};
use crate::topology::{Live, Mirror};
use crate::upkeep::Stopping;
use crate::witness::Objection;
use crate::words::{EventCode, Severity, TargetState, TimeoutReason};
use crate::{fence, incident, server_view, servers, silence, trapped, view};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Looks after a change in which the next one is expected soon: sysfs follows the kernel's messages within seconds.
const SOON: u32 = 15;

/// Longest pause before LVM is asked again after a report that failed. 10 s: until then nothing is judged, and a leg in doubt
/// may be read.
const REPORT_RETRY: Duration = Duration::from_secs(10);

/// Looks that a decision may rest on: a mirror counts as steady when it was seen so twice.
const LOOKS: u32 = 2;

/// Microseconds that the wall clock is set by at least. A slewed one takes hours for that, and turns are taken meanwhile.
const JUMP: u64 = 1_000_000;

impl Engine {
    /// What to do about an input that brings nothing new: waiting is most of what there is to do, and a full turn costs a
    /// hundred times as much as seeing that nothing has changed. `None` calls for a full turn.
    pub(super) fn nothing_new(&mut self, now: Now, input: &Input) -> Option<Vec<Effect>> {
        if self.stopping.is_some() || !self.world.kernel_seen {
            return None;
        }
        match input {
            // A turn of its own follows with the look.
            Input::Tick => Some(vec![Effect::ObserveKernel, Effect::WakeAt(now.mono.after(self.settings.poll_busy))]),
            Input::Kernel(kernel) => {
                let like = !std::mem::take(&mut self.rejoined) && kernel.is_like(&self.world.kernel);
                self.same_looks = if like { self.same_looks + 1 } else { 0 };
                let waiting = self.outdated || self.wants.kernel || self.wants.nodes || !self.news.is_empty();
                let stirs = self.targets.all.iter().any(|(key, t)| silence::stirs(key, t, kernel, now.mono));
                let due = now.mono >= self.due || self.clock_was_set(now);
                if kernel.partial || waiting || stirs || self.same_looks < LOOKS || due {
                    return None;
                }
                self.world.see_again(kernel);
                Arc::make_mut(&mut self.snapshot).observed_at = now.wall;
                Some(vec![Effect::WakeAt(self.next_wake(now))])
            }
            _ => None,
        }
    }

    /// Joins what was seen before with something else that was learnt: the next look shows something new.
    pub(crate) fn rejoin(&mut self) {
        self.join();
        self.rejoined = true;
    }

    /// What to do after the end of an operation, or a message of the kernel, of which only the look that it asks for will
    /// tell what it means: nothing is begun before. Returns false when there is something to tell or to note at once.
    pub(super) fn awaits_look(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        let calm = self.stopping.is_none() && self.world.kernel_seen && self.news.is_empty();
        // A command beyond its deadline has not ended, and asks for no look.
        if !calm || !self.wants.kernel || self.ledger != *self.ledger_before {
            return false;
        }
        self.observe(now, effects);
        effects.push(Effect::WakeAt(now.mono.after(self.settings.poll_busy)));
        true
    }

    /// Whether a ledger that is safe on disk changes nothing: no step waited for that, and judging once more has noted nothing.
    pub(super) fn only_saved(&self, now: Now) -> bool {
        let calm = self.stopping.is_none() && self.world.kernel_seen && self.news.is_empty() && !self.moving;
        calm && now.mono < self.due && self.ledger == *self.ledger_before && self.saved.is(&self.ledger)
    }

    /// Whether the wall clock has jumped since the last full turn, or local time has: what is due by them is due at another
    /// moment then.
    fn clock_was_set(&self, now: Now) -> bool {
        let passed = now.mono.0.wrapping_sub(self.turned.mono.0);
        let shown = now.wall.0.wrapping_sub(self.turned.wall.0);
        shown.abs_diff(passed) > JUMP || now.east != self.turned.east
    }

    /// The next moment at which time alone may change a decision.
    pub(super) fn next_due(&self, now: Now) -> Mono {
        let s = &self.settings;
        let targets = self.targets.all.values();
        let flaps = |key: &TargetKey| self.servers.of(&key.name).map_or(0, |name| self.servers.flaps(name));
        let settled = self.targets.all.iter().filter_map(|(key, t)| t.settled_at(s, flaps(key)));
        let quick = std::time::Duration::from_secs(s.quick_timeout.into());
        let moments = [quick.saturating_sub(fence::LEAD), quick];
        let dead = targets.clone().filter_map(|target| target.away_since()).flat_map(|at| moments.map(|d| at.after(d)));
        let silent = targets.clone().flat_map(|target| silence::due(target, s));
        let trapped = targets.clone().filter_map(|t| t.away_since()).map(|at| at.after(trapped::PATIENCE));
        let heard = targets.clone().filter_map(|t| t.heard).map(trapped::Heard::due);
        let logins = targets.filter_map(|t| t.next_attempt);
        let restarted = self.targets.iscsid_restarted.map(|at| at.after(fence::RESTARTED));
        let missing = self.targets.iscsid_missing_since.map(|at| at.after(s.suspended_grace));
        let stuck =
            self.watch.stuck_since.values().flat_map(|at| [s.suspended_grace, s.dmeventd_grace].map(|d| at.after(d)));
        let retries =
            [missing, restarted, self.saved.retry, self.wants.lvm_retry.map(|(at, _)| at)].into_iter().flatten();
        let looks = self.probes.values().map(ProbeRun::expires);
        let stamps = self.upkeep.stamps.done.values().map(|at| at.after(s.stamp_interval));
        let scrubs = self.scrubs.values().map(|scrub| scrub.since.after(SCRUB_UNSEEN));
        let grace = Mono::default().after(s.activation_grace);
        let all = settled
            .chain(logins)
            .chain(dead)
            .chain(trapped)
            .chain(heard)
            .chain(silent)
            .chain(stuck)
            .chain(self.watch.due())
            .chain(self.at_a_loss.due())
            .chain(retries)
            .chain(looks)
            .chain(stamps)
            .chain(scrubs);
        let all = all.chain(self.stalls.due(s.stall_after)).chain(self.calendar_due(now)).chain(self.window_opens(now));
        let all = all.chain(self.targets.all.values().filter_map(Target::forgets_at));
        let all = all.chain(self.arbiter.due(s)).chain(self.jobs.due(s.job_kept)).chain([grace]);
        all.filter(|at| *at > now.mono).min().unwrap_or(Mono(u64::MAX))
    }

    pub(super) fn absorb(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) -> BTreeSet<TargetKey> {
        let mut broken = BTreeSet::new();
        match input {
            // Half a picture would look like absence.
            Input::Kernel(kernel) if kernel.partial => {}
            Input::Kernel(kernel) => {
                self.ledger.called(&kernel.node);
                self.world.see_kernel(*kernel);
                self.outdated = false;
                broken = self.targets.observe(&self.world.kernel, &mut self.ledger, &self.settings, now);
                self.join();
                let writers = self.arbiter.running().filter_map(|running| running.op.writes_vg().cloned()).collect();
                let reported = self.world.reported;
                self.watch.look(&self.mirrors, &self.ledger, &self.world.kernel, &writers, reported, now.mono);
                let sessions =
                    self.targets.all.values().filter_map(|t| Some((t.sid?, t.state == TargetState::LoggedIn)));
                let sessions: Vec<_> = sessions.collect();
                self.wants.nodes |= self.wants.sessions.len() != sessions.len();
                // Servers came or went: whatever did not work before is worth another try.
                if self.wants.sessions != sessions {
                    self.arbiter.fresh_start();
                    self.wants.lvm_retry = None;
                }
                self.wants.sessions = sessions;
                // What stands behind a new connection may be something else.
                let connections: Vec<_> = self.targets.all.values().filter_map(|target| target.connection).collect();
                if self.wants.connections != connections {
                    self.world.distrust_report();
                }
                self.wants.connections = connections;
            }
            Input::Lvm(report) => {
                self.wants.lvm_running = false;
                match report {
                    Ok(report) => {
                        self.wants.lvm_retry = None;
                        self.world.see_report(report, &mut self.ledger);
                        self.rejoin();
                        self.renumber_scrubs();
                    }
                    Err(_) => {
                        let times = self.wants.lvm_retry.map_or(1, |(_, times)| times + 1);
                        let first = self.settings.heal_backoff.0;
                        let due = now.mono.after(crate::session::pause(first, REPORT_RETRY, times, "report"));
                        self.wants.lvm_retry = Some((due, times));
                    }
                }
            }
            Input::Nodes(nodes) => {
                self.wants.nodes_running = false;
                // Unreadable records leave the old ones in force.
                if let Ok(nodes) = nodes {
                    self.targets.records(nodes, now);
                }
            }
            Input::Iscsi(hint) => {
                self.targets.hint(hint, now);
                self.wants.kernel = true;
            }
            Input::OpEnded(id, result) => self.op_ended(now, id, &result),
            Input::LedgerSaved(generation, result) => {
                self.saved.writing = false;
                match result {
                    Ok(()) => self.saved.done(generation),
                    Err(why) => {
                        if self.saved.error.is_none() {
                            let details = Details::from([("reason", why.as_str().into())]);
                            self.tell(now, EventCode::LedgerDamaged, Severity::Error, Object::Manager, details);
                        }
                        self.saved.error = Some(why);
                        self.saved.retry = Some(now.mono.after(self.settings.heal_backoff.0));
                    }
                }
            }
            Input::Command(token, command) => {
                let reply = self.command(now, command);
                effects.push(Effect::Reply(token, reply));
            }
            Input::Settings(settings) => {
                self.settings = *settings;
                // Servers may go by other names.
                self.servers = servers::Servers::default();
                // What is excluded may have changed.
                self.rejoin();
            }
            Input::Tick => self.wants.kernel = true,
            Input::SystemStopping(system) => self.system_stopping = Some(system),
            Input::Stopping => {
                self.stopping.get_or_insert(Stopping::since(now.mono));
            }
        }
        broken
    }

    pub(super) fn observe(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.wants.kernel) {
            effects.push(Effect::ObserveKernel);
        }
        let stopping = self.stopping.is_some();
        if self.wants.nodes && !self.wants.nodes_running && !stopping {
            (self.wants.nodes, self.wants.nodes_running) = (false, true);
            effects.push(Effect::ObserveNodes);
        }
        let due = self.wants.lvm_retry.is_none_or(|(at, _)| at <= now.mono);
        let writer = self.arbiter.running().any(|r| r.op.writes_vg().is_some());
        let marked = self.stopping.as_ref().is_some_and(Stopping::marked);
        if self.report_is_wanted() && due && !self.wants.lvm_running && !writer && !marked {
            self.wants.lvm_running = true;
            self.world.ask_report();
            effects.push(Effect::ObserveLvm);
        }
    }

    pub(super) fn show(
        &mut self,
        now: Now,
        roles: &Roles,
        holds: &BTreeMap<LvUuid, Vec<Objection>>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.world.kernel_seen {
            return;
        }
        let mut next = self.situation(now, |s| Snapshot {
            observed_at: now.wall,
            paused: self.ledger.wishes.paused.as_ref().map(|paused| paused.reason.clone()),
            targets: self
                .targets
                .all
                .iter()
                .filter(|(_, t)| t.sid.is_some() || t.node.is_some())
                .map(|(key, target)| {
                    let reason = roles.get(key).copied().unwrap_or(TimeoutReason::Unmanaged);
                    (key.clone(), view::target_view(s, key, target, reason))
                })
                .collect(),
            mirrors: self
                .mirrors
                .iter()
                .map(|(uuid, m)| {
                    let view = view::mirror_view(s, m, holds, self.watch.paces.get(uuid));
                    (m.name.clone(), Shared::again(self.snapshot.mirrors.get(&m.name), view))
                })
                .collect(),
            servers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            delays_shutdown: false,
        });
        if !self.outdated {
            self.jobs.settle(&next.mirrors, &next.targets, self.settings.job_kept, now);
            // Asked for and given up: whoever still wants it asks again.
            let open: BTreeSet<Name> = self.jobs.activations().collect();
            self.asked.retain(|uuid| self.mirrors.get(uuid).is_some_and(|m| open.contains(&m.name)));
        }
        let servers = self.situation(now, |s| server_view::views(s, &next.targets, &self.snapshot.servers));
        next.servers = servers;
        if !self.outdated {
            self.settle_service(now, &next);
            self.settle_checks(now, &next);
        }
        next.delays_shutdown = self.settings.inhibit_shutdown && next.copied().next().is_some();
        let snapshot = &next;
        self.hurry.retain(|uuid| {
            let mirror = self.mirrors.get(uuid).and_then(|m| snapshot.mirrors.get(&m.name));
            mirror.is_some_and(|m| m.state != crate::words::MirrorState::Redundant)
        });
        next.jobs.clone_from(&self.snapshot.jobs);
        self.jobs.show(&mut next.jobs);
        self.news.extend(incident::transitions(&self.snapshot, &next, now.wall));
        for mut event in self.news.drain(..) {
            event.at = now.wall;
            effects.push(Effect::Publish(event));
        }
        self.snapshot = Arc::new(next);
    }

    /// Whether nothing is to be expected of a mirror. One that was not seen active in this boot may be ours to activate.
    fn is_calm(&self, mirror: &Mirror) -> bool {
        let seen = || self.ledger.mirrors.get(&mirror.lv.uuid).is_none_or(|r| r.active_in_boot == self.ledger.boot_id);
        if mirror.live == Live::Inactive { seen() } else { mirror.steady() }
    }

    /// When to look again. Healthy and idle: only for the watchdog.
    pub(super) fn next_wake(&self, now: Now) -> Mono {
        let healthy = self.targets.all.values().all(|t| t.sid.is_none() || t.state == TargetState::LoggedIn)
            && self.mirrors.values().all(|m| self.is_calm(m))
            && self.watch.stuck_since.is_empty()
            && self.scrubs.is_empty()
            && self.targets.iscsid_missing_since.is_none()
            && self.arbiter.running().next().is_none()
            && self.ledger.mirrors.values().all(|m| m.degraded_since.is_none());
        let kernel = &self.world.kernel;
        let watched = self.targets.all.iter().any(|(key, target)| silence::stirs(key, target, kernel, now.mono));
        let pause = match self.same_looks {
            _ if watched => self.settings.poll_busy,
            _ if healthy => self.settings.poll_idle,
            0..SOON => self.settings.poll_busy,
            _ => self.settings.poll_waiting,
        };
        let idle = now.mono.after(pause).min(if self.due > now.mono { self.due } else { Mono(u64::MAX) });
        let closing = self.stopping.as_ref().map(|stopping| stopping.by(&self.settings));
        let retries = [closing, self.saved.retry, self.wants.lvm_retry.map(|(at, _)| at)].into_iter().flatten();
        let logins = self.targets.all.values().filter(|t| t.sid.is_none()).filter_map(|t| t.next_attempt);
        retries.chain(logins).filter(|at| *at > now.mono).fold(idle, Mono::min)
    }
}
