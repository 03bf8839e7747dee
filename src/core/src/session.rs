//! One iSCSI target over time: is it up, since when, did its connection break, and when to try the next login.
//!
//! iscsid reconnects the sessions it has; what is ours is the endless login where no session exists, and noticing that a
//! connection broke: whatever its server had not written by then may be gone (`facts/lab.md` A), so every leg on it
//! has to be judged. Facts: `facts/iscsi.md` 1–3, `facts/lab.md` 12 and 13.

use crate::detect;
use crate::ids::{LvUuid, PvUuid, TargetKey};
use crate::input::IscsiHint;
use crate::ledger::{Connection, Ledger, MirrorRecord};
use crate::name::Name;
use crate::observation::{
    Detect, DiskObs, KernelView, NodeObs, ProcessObs, ScsiState, SessionObs, SessionState, Startup,
};
use crate::op::OpResult;
use crate::settings::Settings;
use crate::silence;
use crate::time::{Mono, Now, Wall};
use crate::topology::{Leg, Mirror};
use crate::trapped;
use crate::words::TargetState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long after a restart of iscsid a bounce of a session is its doing. It takes the sessions one after the other, and
/// a dead target holds the queue for up to 60 s (`facts/iscsi.md` 3.5).
const ISCSID_BOUNCE: Duration = Duration::from_secs(60);

/// How long iscsid's own bounce keeps one session away: 2–5 s were measured (`facts/lab.md` 12). No server boots in 10 s,
/// and one that does while its session has no socket raises no connection error.
const ISCSID_ABSENCE: Duration = Duration::from_secs(10);

/// Losses older than this are forgotten when the settle time is reckoned (design, damping).
const FLAP_MEMORY: Duration = Duration::from_secs(3600);

/// Servers lost within this time of each other were lost by one cause. 10 s: iscsid's NOPs, sent every 5 s and waited for
/// 5 s, notice one outage at different times on each session.
const TOGETHER: Duration = Duration::from_secs(10);

/// A target over time.
#[derive(Debug, Clone)]
pub struct Target {
    /// State shown.
    pub state: TargetState,
    /// Since when.
    pub since: Wall,
    /// Session id, when there is a session.
    pub sid: Option<u32>,
    /// In force: `None` without a session, `Some(None)` = `off`.
    pub recovery_tmo: Option<Option<u32>>,
    /// iSCSI's own watch: seconds between NOPs, and for an answer.
    pub noop: Option<(u32, u32)>,
    /// What its socket was last found to have.
    pub detect: Option<detect::Found>,
    /// Since when its portal has been heard while its session is away.
    pub heard: Option<trapped::Heard>,
    /// What is known of a socket that takes no limit.
    pub silence: Option<silence::Found>,
    /// Kernel names of its disks.
    pub disks: Vec<Name>,
    /// Its node record.
    pub node: Option<NodeObs>,
    /// Since when the session is logged in with all its disks running, without a break.
    pub up_since: Option<Mono>,
    /// The connection whose disks were rescanned after login.
    pub rescanned: Option<Connection>,
    /// The connection now.
    pub connection: Option<Connection>,
    /// Login attempts since it was last up.
    pub attempts: u32,
    /// When the next one is due.
    pub next_attempt: Option<Mono>,
    /// A login of ours is under way.
    pub login_running: bool,
    /// What the last attempt said.
    pub last_error: String,
    away: bool,
    away_since: Option<Mono>,
    conn_error: bool,
    last_sid: Option<u32>,
    logout_answered: bool,
    /// The session that we began to log out: whatever its target says to that is no word of a person's.
    fenced: Option<u32>,
    losses: Vec<Mono>,
}

impl Target {
    fn new(now: Now) -> Self {
        Self {
            state: TargetState::LoggedOut,
            since: now.wall,
            sid: None,
            recovery_tmo: None,
            noop: None,
            detect: None,
            silence: None,
            heard: None,
            disks: Vec::new(),
            node: None,
            up_since: None,
            rescanned: None,
            connection: None,
            attempts: 0,
            next_attempt: None,
            login_running: false,
            last_error: String::new(),
            away: false,
            away_since: None,
            conn_error: false,
            last_sid: None,
            logout_answered: false,
            fenced: None,
            losses: Vec::new(),
        }
    }

    /// When the present stay will have lasted for the settle time; `None` while it is not up. The settle time doubles with
    /// each of the `flaps` of its server within an hour but the first.
    pub fn settled_at(&self, settings: &Settings, flaps: usize) -> Option<Mono> {
        let doublings = u32::try_from(flaps.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let settle = settings.settle.saturating_mul(1 << doublings).min(settings.settle_max);
        // The first sight of a target that was never lost needs no settling.
        let settle = if self.losses.is_empty() { Duration::ZERO } else { settle };
        self.up_since.map(|up| up.after(settle))
    }

    /// Losses so far were meant. Away now, it settles once more when it is back.
    pub fn calm(&mut self, now: Now) {
        self.losses.clear();
        self.losses.extend((self.state != TargetState::LoggedIn).then_some(now.mono));
    }

    /// When the first of its losses is forgotten.
    pub fn forgets_at(&self) -> Option<Mono> {
        self.losses.first().map(|at| at.after(FLAP_MEMORY))
    }

    /// A dead session of it is going to be logged out by us.
    pub fn give_up(&mut self, sid: u32) {
        self.fenced = Some(sid);
    }

    /// When it was last lost, within the last hour.
    pub fn lost_at(&self) -> Option<Mono> {
        self.losses.last().copied()
    }

    /// Whether its session is up.
    pub fn logged_in(&self) -> bool {
        self.state == TargetState::LoggedIn
    }

    /// Since when its connection has been gone.
    pub fn away_since(&self) -> Option<Mono> {
        self.away_since
    }

    /// How long its connection has been gone; zero while it is there.
    pub fn away_for(&self, now: Mono) -> Duration {
        self.away_since.map_or(Duration::ZERO, |at| now.since(at))
    }

    /// How often it was lost within the last hour.
    pub fn flaps(&self) -> usize {
        self.losses.len()
    }
}

/// All targets, and the iscsid that looks after them.
#[derive(Debug, Default)]
pub struct Targets {
    /// By key.
    pub all: BTreeMap<TargetKey, Target>,
    /// Since when iscsid has been missing although sessions exist.
    pub iscsid_missing_since: Option<Mono>,
    iscsid: Option<ProcessObs>,
    /// When iscsid was last restarted.
    pub iscsid_restarted: Option<Mono>,
    overrun: Option<Mono>,
}

impl Targets {
    /// Takes in a message of the kernel.
    pub fn hint(&mut self, hint: IscsiHint, now: Now) {
        let sid = match hint {
            IscsiHint::ConnError { sid, .. } | IscsiHint::Unbind { sid } | IscsiHint::LogoutResponse { sid } => sid,
            IscsiHint::Overrun => {
                self.overrun = Some(now.mono);
                return;
            }
        };
        let Some(target) = self.all.values_mut().find(|t| t.last_sid == Some(sid)) else { return };
        match hint {
            IscsiHint::ConnError { .. } => target.conn_error = true,
            // Only a session that was up until then was logged out by somebody. The session goes within milliseconds of the
            // answer (`facts/lab.md` 8), so it may be seen gone first.
            IscsiHint::LogoutResponse { .. } => {
                target.logout_answered = !target.conn_error && target.fenced != Some(sid);
            }
            IscsiHint::Unbind { .. } | IscsiHint::Overrun => {}
        }
    }

    /// The iscsid that looks after the sessions.
    pub fn iscsid(&self) -> Option<ProcessObs> {
        self.iscsid
    }

    /// Whether iscsid is there and has not been restarted for so long.
    pub fn iscsid_settled(&self, now: Mono, quiet: Duration) -> bool {
        let restarted = self.iscsid_restarted.is_some_and(|at| now.since(at) < quiet);
        self.iscsid.is_some() && self.iscsid_missing_since.is_none() && !restarted
    }

    /// Takes in what a socket was found to have.
    pub fn detected(&mut self, key: &TargetKey, found: Detect) {
        let iscsid = self.iscsid;
        let Some(target) = self.all.get_mut(key) else { return };
        target.detect =
            target.connection.map(|connection| detect::Found { socket: (connection, iscsid), detect: found });
    }

    /// Takes in node records.
    pub fn records(&mut self, nodes: Vec<NodeObs>, now: Now) {
        for target in self.all.values_mut() {
            target.node = None;
        }
        for node in nodes {
            let target = self.all.entry(node.target.clone()).or_insert_with(|| Target::new(now));
            target.node = Some(node);
        }
    }

    /// Takes in the sessions, notes connections in the ledger and returns the targets whose connection broke since they
    /// were last seen up and has no excuse.
    pub fn observe(
        &mut self,
        kernel: &KernelView,
        ledger: &mut Ledger,
        settings: &Settings,
        now: Now,
    ) -> BTreeSet<TargetKey> {
        let first_login = settings.login_backoff.0;
        self.watch_iscsid(kernel, now);
        let mut broken = BTreeSet::new();
        for session in &kernel.sessions {
            self.all.entry(session.target.clone()).or_insert_with(|| Target::new(now));
        }
        let bounce = self.iscsid_restarted.is_some_and(|at| now.mono.since(at) <= ISCSID_BOUNCE)
            && self.overrun.is_none_or(|at| now.mono.since(at) > ISCSID_BOUNCE);
        for (key, target) in &mut self.all {
            let session = kernel.sessions.iter().find(|s| s.target == *key);
            let noted = ledger.targets.get(&key.name).and_then(|r| r.connection);
            let connection = session.and_then(|session| connection_of(session, noted));
            // One that is found down has been so for nobody knows how long.
            if connection != noted || session.is_some() && connection.is_none() {
                target.away_since.get_or_insert(now.mono);
            }
            let short = target.away_since.is_none_or(|at| now.mono.since(at) <= ISCSID_ABSENCE);
            let same_session = session.is_some_and(|s| noted.is_some_and(|n| n.sid == s.sid));
            let excused = bounce && short && same_session && !target.conn_error;
            // One that is found down broke before anybody looked. (One that never logged in has no disks.)
            let found_down = noted.is_none() && connection.is_none() && session.is_some_and(|s| !s.disks.is_empty());
            if found_down || noted.is_some() && connection != noted && !excused {
                broken.insert(key.clone());
            }
            target.losses.retain(|at| now.mono.since(*at) < FLAP_MEMORY);
            // One loss however long it lasts and however often it is looked at.
            if broken.contains(key) && !target.away {
                // A server that is out of service comes and goes as it likes.
                target.losses.extend((!ledger.resting(&key.name)).then_some(now.mono));
                target.away = true;
            }
            if session.is_none() && target.logout_answered {
                target.logout_answered = false;
                let boot = ledger.boot_id.clone();
                ledger.targets.entry(key.name.clone()).or_default().logged_out_in_boot = Some(boot);
            }
            target.follow(session, connection, first_login, now);
            if let Some(connection) = connection {
                let record = ledger.targets.entry(key.name.clone()).or_default();
                record.connection = Some(connection);
                record.logged_out_in_boot = None;
                (target.conn_error, target.away, target.away_since) = (false, false, None);
                target.heard = None;
            }
        }
        broken
    }

    fn watch_iscsid(&mut self, kernel: &KernelView, now: Now) {
        if kernel.iscsid != self.iscsid {
            // The first sight of it is no restart; its coming back after an absence is.
            if self.iscsid.is_some() || self.iscsid_missing_since.is_some() {
                self.iscsid_restarted = Some(now.mono);
            }
            if kernel.iscsid.is_some() {
                self.iscsid = kernel.iscsid;
            }
        }
        let missing = kernel.iscsid.is_none() && !kernel.sessions.is_empty();
        self.iscsid_missing_since = missing.then(|| self.iscsid_missing_since.unwrap_or(now.mono));
    }

    /// The connection over which a leg's device is reached.
    pub fn connection(&self, leg: &Leg) -> Option<Connection> {
        let place = leg.place.as_ref().filter(|place| place.up)?;
        self.all.get(place.target.as_ref()?)?.connection
    }

    /// The connection under which a PV is reached, by whichever mirror knows its disk: the table of one may still lie on a disk
    /// that LVM takes for another PV by now.
    pub fn connection_to(&self, mirrors: &BTreeMap<LvUuid, Mirror>, pv: &PvUuid) -> Option<Connection> {
        mirrors.values().filter_map(|m| m.leg(pv)).find_map(|leg| self.connection(leg))
    }

    /// Whether every server of a mirror is away and was lost within seconds of the others.
    pub fn vanished_together(&self, mirror: &Mirror, record: Option<&MirrorRecord>) -> bool {
        let known = |leg: &Leg| record.and_then(|r| r.legs.get(&leg.pv)?.target.as_ref());
        let target = |leg: &Leg| {
            let here = leg.place.as_ref().and_then(|p| p.target.as_ref());
            let name = here.map(|key| &key.name).or_else(|| known(leg))?;
            self.all.iter().find(|(key, _)| key.name == *name).map(|(_, target)| target)
        };
        let lost = mirror.legs.iter().map(|leg| target(leg).filter(|t| t.state != TargetState::LoggedIn)?.lost_at());
        let lost: Option<Vec<Mono>> = lost.collect();
        let span = |times: &[Mono]| Some(times.iter().max()?.since(*times.iter().min()?));
        mirror.legs.len() > 1 && lost.is_some_and(|times| span(&times).is_some_and(|span| span <= TOGETHER))
    }

    /// Whether the daemon keeps this target logged in.
    pub fn managed(&self, key: &TargetKey, ledger: &Ledger) -> bool {
        let startup = self.all.get(key).and_then(|t| t.node.as_ref()).map(|n| n.startup);
        matches!(startup, Some(Startup::Automatic | Startup::Onboot))
            || (startup.is_some() && ledger.targets.get(&key.name).is_some_and(|r| r.carries_leg))
    }

    /// Targets to log in to now. Only those with a node record can be.
    pub fn logins_due(&self, ledger: &Ledger, now: Mono) -> Vec<TargetKey> {
        let due = self.all.iter().filter(|(key, t)| {
            t.sid.is_none()
                && !t.login_running
                && t.next_attempt.is_none_or(|at| at <= now)
                && self.managed(key, ledger)
                && ledger.targets.get(&key.name).is_none_or(|r| r.logged_out_in_boot.is_none())
        });
        due.map(|(key, _)| key.clone()).collect()
    }

    /// Takes in how a login ended. Whether it worked is seen by the session alone (`facts/iscsi.md` 3.2: 15 means only
    /// that somebody is at it).
    pub fn login_ended(&mut self, key: &TargetKey, result: &OpResult, settings: &Settings, now: Now) {
        let Some(target) = self.all.get_mut(key) else { return };
        target.login_running = false;
        target.attempts += 1;
        let (first, longest) = settings.login_backoff;
        let mut pause = pause(first, longest, target.attempts, &key.name);
        let state = match result {
            OpResult::Exit { code: 0 | 15, .. } => {
                target.last_error.clear();
                None
            }
            OpResult::Exit { code: 24, last_line } => {
                target.last_error.clone_from(last_line);
                pause = settings.auth_backoff;
                Some(TargetState::AuthFailed)
            }
            OpResult::Exit { code: 19, last_line } => {
                target.last_error.clone_from(last_line);
                Some(TargetState::NotFound)
            }
            OpResult::Exit { code, last_line } => {
                target.last_error = format!("iscsiadm exit {code}: {last_line}");
                Some(TargetState::LoggedOut)
            }
            OpResult::NoAnswer(why) | OpResult::Failed(why) => {
                target.last_error.clone_from(why);
                Some(TargetState::LoggedOut)
            }
            OpResult::TimedOut => {
                "no answer from iscsiadm in time".clone_into(&mut target.last_error);
                Some(TargetState::LoggedOut)
            }
            OpResult::Wrote
            | OpResult::Probed(_)
            | OpResult::Registered(_)
            | OpResult::Throttle(_)
            | OpResult::Detect(_)
            | OpResult::Sampled(_)
            | OpResult::Answered(_) => None,
        };
        target.next_attempt = Some(now.mono.after(pause));
        if let Some(state) = state.filter(|_| target.sid.is_none()) {
            target.change(state, now);
        }
    }
}

impl Target {
    fn follow(
        &mut self,
        session: Option<&SessionObs>,
        connection: Option<Connection>,
        first_login: Duration,
        now: Now,
    ) {
        let Some(session) = session else {
            if self.sid.take().is_some() {
                self.change(TargetState::LoggedOut, now);
                // Word that it was meant may still be on its way.
                self.next_attempt = Some(now.mono.after(first_login));
            }
            (self.recovery_tmo, self.up_since, self.connection) = (None, None, None);
            self.disks.clear();
            return;
        };
        if self.last_sid != Some(session.sid) {
            self.logout_answered = false;
        }
        (self.sid, self.last_sid) = (Some(session.sid), Some(session.sid));
        self.recovery_tmo = Some(session.recovery_tmo);
        self.noop = session.noop;
        self.disks = session.disks.iter().map(|d| d.name.clone()).collect();
        let any = |state: ScsiState| session.disks.iter().any(|d| d.state == state);
        let state = match session.state {
            SessionState::LoggedIn => TargetState::LoggedIn,
            SessionState::Failed => TargetState::Blocked,
            // A session that never logged in has no disks yet.
            SessionState::Free if session.disks.is_empty() => TargetState::Connecting,
            SessionState::Free => TargetState::Offline,
            SessionState::Other(_) if any(ScsiState::Blocked) => TargetState::Blocked,
            SessionState::Other(_) => TargetState::Connecting,
        };
        self.change(state, now);
        // One that was set offline stays so whatever the session does.
        let works = |d: &DiskObs| matches!(d.state, ScsiState::Running | ScsiState::Offline);
        let up = state == TargetState::LoggedIn && session.disks.iter().all(works);
        if !up {
            self.up_since = None;
        } else if self.up_since.is_none() || (self.connection.is_some() && self.connection != connection) {
            self.up_since = Some(now.mono);
        }
        if up {
            (self.attempts, self.next_attempt) = (0, None);
            self.last_error.clear();
        }
        if connection.is_some() {
            self.connection = connection;
        }
    }

    fn change(&mut self, state: TargetState, now: Now) {
        if self.state != state {
            (self.state, self.since) = (state, now.wall);
        }
    }
}

/// The connection of a session that is up. A socket that has ended shows no port, and it ends before its session is said to
/// have failed: that is no new connection, and the next look tells what became of it.
fn connection_of(session: &SessionObs, noted: Option<Connection>) -> Option<Connection> {
    let up = session.state == SessionState::LoggedIn;
    let same = noted.filter(|noted| noted.sid == session.sid).map(|noted| noted.local_port);
    // A kernel that does not show the port leaves us the session id and the messages.
    up.then(|| Connection { sid: session.sid, local_port: session.local_port.or(same).unwrap_or(0) })
}

/// Doubling pause with up to a quarter taken off, so that two targets that died together do not knock together. The
/// share comes from name and attempt: no randomness here.
pub fn pause(first: Duration, longest: Duration, attempt: u32, name: &str) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest);
    let hash =
        name.bytes().fold(attempt.wrapping_mul(0x9e37_79b9), |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    doubled - doubled / 4 * (hash % 256) / 256
}
