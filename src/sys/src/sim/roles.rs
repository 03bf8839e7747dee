//! Quick legs and anchors: how soon a silent server is missed, what a direct read and a fence do, and the promises about
//! who waits. Facts: `facts/lab.md` D, 12.
//!
//! A promise is looked at when an operation is begun, and after every step for as long as the daemon could have kept it:
//! alive, its tools at work, a session there that takes a new value.

use super::clock::{Happening, SECOND};
use super::exec::Job;
use super::server::Fault;
use super::session::{Session, State, Way};
use super::truth_keeper::Actor;
use super::volume::{Health, Live};
use super::world::World;
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::ledger::Trust;
use mirrorkeeper_core::observation::{Backlog, Detect};
use mirrorkeeper_core::op::{Op, OpResult};

/// How long all legs of a mirror may be quick while the daemon could change that.
const HASTE: u64 = 5 * SECOND;

/// Seconds below which a session counts as quick: open-iscsi's own default, the least that a waiting one may have.
const WAITS: u32 = 120;

/// How long the answer of a partner counts: longer than a fence is tried again with it.
const ANSWER: u64 = 5 * SECOND;

/// iscsiadm's exit codes (`facts/lab.md` 13): iscsid does not answer; no such session.
const NO_ISCSID: i32 = 20;
const NO_SESSION: i32 = 22;

/// Whether a session gives its server time.
fn waits(session: &Session) -> bool {
    session.tmo.is_none_or(|seconds| seconds >= WAITS)
}

impl World {
    /// A server stopped answering and says nothing: when that is noticed.
    pub(super) fn foresee_silence(&mut self, server: usize) {
        let epoch = self.servers[server].epoch;
        // NOP interval and timeout as shipped, 5 s each.
        let notice = self.rng.between(8, 11) * SECOND;
        self.queue.at(self.now + notice, Happening::Nop { server, epoch });
        self.foresee_unacknowledged(server);
    }

    /// Under TCP_USER_TIMEOUT the kernel gives up what stays unacknowledged. A target that hangs still acknowledges.
    fn foresee_unacknowledged(&mut self, server: usize) {
        let silent = matches!(self.servers[server].fault, Some(Fault::Cut | Fault::Power));
        let up = |s: &&Session| s.state == State::LoggedIn && s.limit > 0;
        let Some(session) = self.sessions[server].as_ref().filter(up).filter(|_| silent) else { return };
        let (epoch, limit) = (self.servers[server].epoch, u64::from(session.limit) * SECOND / 1000);
        // The next retransmission notices.
        let late = self.rng.between(0, 1000) * SECOND / 1000;
        self.queue.at(self.now + limit + late, Happening::Unacknowledged { server, epoch });
    }

    /// Its time is over; a connection made since has none, or a longer one.
    pub(super) fn unacknowledged(&mut self, server: usize, epoch: u32) {
        let limited = self.sessions[server].as_ref().is_some_and(|session| session.limit > 0);
        if limited && self.servers[server].epoch == epoch {
            self.break_connection(server, 1020);
        }
    }

    /// Puts TCP_USER_TIMEOUT on a session's socket, in milliseconds.
    pub fn set_detect(&mut self, sid: u32, millis: u32) -> Detect {
        if self.quirks.no_detect {
            return Detect::Unavailable("pidfd_getfd of descriptor 7 of iscsid: Operation not permitted".to_owned());
        }
        let up = |s: &Option<Session>| s.as_ref().is_some_and(|s| s.sid == sid && s.state == State::LoggedIn);
        let Some(server) = self.sessions.iter().position(up).filter(|_| self.iscsid.is_some()) else {
            return Detect::NoSocket;
        };
        self.sessions[server].iter_mut().for_each(|session| session.limit = millis);
        self.foresee_unacknowledged(server);
        Detect::InForce(millis)
    }

    /// What a session's socket has sent that is not acknowledged.
    pub(super) fn sample_socket(&mut self, sid: u32) -> OpResult {
        if self.quirks.no_destroy {
            return OpResult::Failed("destroy socket: Operation not supported".to_owned());
        }
        OpResult::Sampled(self.backlog(sid))
    }

    /// Ends a session's connection, unless something was acknowledged since it was seen like this.
    pub(super) fn destroy_socket(&mut self, sid: u32, seen: Backlog) -> OpResult {
        let found = self.backlog(sid);
        let Some(server) = self.server_of(sid).filter(|_| found == Some(seen) && seen.unacked > 0) else {
            return OpResult::Sampled(found);
        };
        self.break_connection(server, 1020);
        OpResult::Wrote
    }

    /// In flight is what some volume waits for; a target that hangs still acknowledges.
    fn backlog(&self, sid: u32) -> Option<Backlog> {
        let server = self.server_of(sid)?;
        let session = self.sessions[server].as_ref().filter(|s| s.state == State::LoggedIn)?;
        let silent = matches!(self.servers[server].fault, Some(Fault::Cut | Fault::Power));
        let waits = |v: &super::volume::Volume| {
            let here = |leg: usize| v.legs[leg].disk.is_some_and(|id| session.disks.iter().any(|disk| disk.id == id));
            !v.inflight.is_empty() && (0..v.legs.len()).any(|leg| v.takes_writes(leg) && here(leg))
        };
        let unacked = if silent && self.volumes.iter().any(waits) { 4096 } else { 0 };
        let acked = session.disks.iter().map(|disk| disk.sectors).sum();
        Some(Backlog { local_port: session.port, unacked, acked })
    }

    /// One block read past every cache, by a disk that does not wait.
    pub(super) fn read_direct(&mut self, name: &str) -> OpResult {
        let disk = self.disks().find(|disk| *disk.name == *name).map(|disk| disk.id);
        let server = disk.and_then(|id| self.disk(id)).map(|(server, _)| server);
        match disk.map(|id| self.way(Some(id))) {
            Some(Way::Works) => {
                let session = server.and_then(|server| self.sessions[server].as_mut());
                session.into_iter().for_each(|session| session.answered = Some(self.now));
                OpResult::Answered(500)
            }
            Some(Way::Fails | Way::Waits) => OpResult::Failed("Input/output error".to_owned()),
            None => OpResult::Failed("No such file or directory".to_owned()),
        }
    }

    /// `iscsiadm -m session -r SID --logout`, unless the session is back by now: what waits for it fails into the mirrors.
    pub fn fence(&mut self, sid: u32) -> OpResult {
        let exit = |code| OpResult::Exit { code, last_line: String::new() };
        if self.iscsid.is_none() {
            return exit(NO_ISCSID);
        }
        let Some(server) = self.server_of(sid) else { return exit(NO_SESSION) };
        if self.sessions[server].as_ref().is_some_and(|session| session.state == State::LoggedIn) {
            return OpResult::Failed("it is logged in again".to_owned());
        }
        self.logout(server, Actor::Daemon);
        exit(0)
    }

    /// Somebody mounts another LUN's file system, or takes it away again: what the session carries then has no second copy.
    pub fn share(&mut self, server: usize) {
        self.servers[server].shared = !self.servers[server].shared;
        self.note(|w| format!("  server {server} has another user: {}", w.servers[server].shared));
        self.poke();
    }

    fn server_of(&self, sid: u32) -> Option<usize> {
        self.sessions.iter().position(|s| s.as_ref().is_some_and(|s| s.sid == sid))
    }

    /// Legs of a mirror that are in sync and beyond doubt, with their sessions. What cannot be written down the daemon alone knows.
    fn good(&self, volume: usize) -> impl Iterator<Item = (usize, &Session)> {
        let v = &self.volumes[volume];
        let trusted = move |leg: &usize| !self.daemon.ledger_ok || self.trusted(volume, v.legs[*leg].pv);
        let legs = v.alive().filter(move |leg| !v.legs[*leg].flag || trusted(leg));
        legs.filter_map(|leg| {
            let (server, _) = self.disk(v.legs[leg].disk?)?;
            Some((server, self.sessions[server].as_ref()?))
        })
    }

    /// The ledger on disk says so. A flag may be the administrator's.
    fn trusted(&self, volume: usize, pv: usize) -> bool {
        let pv: &PvUuid = &self.vgs[self.volumes[volume].vg].pvs[pv];
        let record = self.daemon.ledger().and_then(|ledger| ledger.mirrors.get(&self.volumes[volume].names.uuid));
        record.and_then(|record| record.legs.get(pv)).is_some_and(|leg| leg.trust == Trust::Trusted)
    }

    /// A volume in use whose legs the daemon knows and looks after.
    fn looked_after(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        v.live != Live::Inactive && !v.forgotten && self.shown(volume).is_some_and(|shown| shown.unmanaged.is_none())
    }

    /// Volumes with a leg behind a server that is not dead.
    fn volumes_on(&self, server: usize) -> impl Iterator<Item = usize> {
        let on = move |leg: &super::volume::Leg| {
            leg.health != Health::Dead && leg.disk.and_then(|id| self.disk(id)).is_some_and(|(on, _)| on == server)
        };
        (0..self.volumes.len())
            .filter(move |v| self.volumes[*v].live != Live::Inactive && self.volumes[*v].legs.iter().any(on))
    }

    /// The promises about a session that is made quick, broken, or given up.
    pub(super) fn look_at_roles(&mut self, op: &Op) {
        let (sid, given_up) = match op {
            Op::Fence { sid, .. } | Op::DestroySocket { sid, .. } => (*sid, true),
            Op::SetRecoveryTmo { sid, seconds: Some(seconds), .. } if *seconds < WAITS => (*sid, false),
            _ => return,
        };
        let Some(server) = self.server_of(sid) else { return };
        // One that waits goes on waiting for a new connection.
        let broken = matches!(op, Op::DestroySocket { .. });
        let stays = broken && self.sessions[server].as_ref().is_some_and(waits);
        let looked_at = self.daemon.looked_at;
        // What happened since the daemon last looked it cannot know.
        let there = |s: &Session| s.state == State::LoggedIn || s.since >= looked_at;
        let answered = |s: &Session| s.answered.is_some_and(|at| self.now < at + ANSWER);
        let alone = |volume: &usize| {
            let mut others = self.good(*volume).filter(|(other, _)| *other != server);
            !others.any(|(_, s)| (stays || waits(s)) && (!given_up || there(s) && answered(s)))
        };
        let code = op.code();
        // Only who looks after a volume makes it depend on roles; nobody may pull away the last leg of any.
        let alone = self.volumes_on(server).filter(|v| given_up || self.looked_after(*v)).find(alone);
        if let Some(volume) = alone {
            let name = self.volumes[volume].names.full.clone();
            let answers = if given_up { " and has just answered" } else { "" };
            self.violate(format!("{code}: {name} has no other leg in sync that waits{answers}"));
        }
        if given_up && self.servers[server].shared {
            self.violate(format!("{code}: another user is on the session"));
        }
    }

    /// The promises about who waits, after every step.
    pub(super) fn look_at_waiting(&mut self) {
        // Nearly always.
        if self.sessions.iter().flatten().all(waits) {
            self.hasty.iter_mut().for_each(|since| *since = None);
            return;
        }
        let able = self.daemon_able();
        for volume in 0..self.volumes.len() {
            let hasty = able && self.hasty(volume) && self.looked_after(volume);
            let since = self.hasty[volume].filter(|_| hasty);
            self.hasty[volume] = hasty.then(|| since.unwrap_or(self.now));
            if since.is_some_and(|since| self.now > since + HASTE) {
                let name = self.volumes[volume].names.full.clone();
                self.violate(format!("{name}: a session that has to wait is quick"));
            }
        }
    }

    /// Whether every leg in sync is on a quick session, or one on a session with another user is; and the kernel would take
    /// another value.
    fn hasty(&self, volume: usize) -> bool {
        let quick = |session: &Session| session.state == State::LoggedIn && !waits(session);
        let mut good = self.good(volume).peekable();
        let all = good.peek().is_some() && good.all(|(_, session)| !waits(session));
        all && self.good(volume).any(|(_, session)| quick(session))
            || self.good(volume).any(|(server, session)| self.servers[server].shared && quick(session))
    }
}

/// What goes on when the daemon dies: LVM commands that write, and a logout. The rest dies with it.
pub(super) fn outlives(job: &Job) -> bool {
    job.op.writes_vg().is_some() || matches!(job.op, Op::Fence { .. })
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;
