//! The client's side of iSCSI: kernel sessions with their disks, recovery timeouts, and iscsid that logs in again.
//! Facts: `facts/lab.md` D, 8, 12, 13, `facts/iscsi.md` 1–3.

use super::clock::{Happening, SECOND};
use super::content::Label;
use super::server::Fault;
use super::truth_keeper::Actor;
use super::world::World;
use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::input::{Input, IscsiHint};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::ProcessObs;
use mirrorkeeper_core::op::OpResult;

/// How long a session may be away because iscsid was restarted, and nobody thinks that its server was.
const BOUNCE: u64 = 10 * SECOND;

/// State of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In full feature phase.
    LoggedIn,
    /// Lost; I/O waits.
    Failed,
    /// Lost for longer than its recovery timeout; I/O fails.
    Free,
}

/// State of a SCSI disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scsi {
    /// I/O flows.
    Running,
    /// I/O waits.
    Blocked,
    /// I/O fails: the session is lost.
    TransportOffline,
    /// I/O fails: somebody said so.
    Offline,
}

/// A SCSI disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Number that gives name and device number; never used twice.
    pub id: u32,
    /// Its kernel name.
    pub name: Name,
    /// What is behind it.
    pub lun: usize,
    /// State.
    pub state: Scsi,
    /// Capacity as the kernel believes it.
    pub size: u64,
    /// Sectors written since it appeared.
    pub sectors: u64,
    /// PV that udev has linked to it.
    pub link: Option<usize>,
    /// LUN whose WWID the kernel read when it logged in last.
    pub wwid_of: usize,
}

/// A session with one server.
#[derive(Debug, Clone)]
pub struct Session {
    /// Kernel id.
    pub sid: u32,
    /// State.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// Local port.
    pub port: u16,
    /// recovery_tmo.
    pub tmo: Option<u32>,
    /// TCP_USER_TIMEOUT of its socket in milliseconds; 0 = none. A new socket has none.
    pub limit: u32,
    /// When a disk of it last answered a direct read, since its recovery_tmo was written.
    pub answered: Option<u64>,
    /// It is lost because a new iscsid takes it over.
    pub bounced: bool,
    /// The kernel waits for word from iscsid that never comes, and takes no new connection.
    pub trapped: bool,
    /// Its disks, one a VG.
    pub disks: Vec<Disk>,
}

/// How I/O to a device goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Answered.
    Works,
    /// Queued.
    Waits,
    /// Error.
    Fails,
}

impl World {
    /// How I/O goes to a disk of that number; `None` is LVM's stand-in for a missing device.
    pub fn way(&self, disk: Option<u32>) -> Way {
        let Some((server, disk)) = disk.and_then(|id| self.disk(id)) else { return Way::Fails };
        match disk.state {
            Scsi::Running if !self.servers[server].answers() => Way::Waits,
            Scsi::Running if self.luns[disk.lun].gone => Way::Fails,
            Scsi::Running => Way::Works,
            Scsi::Blocked => Way::Waits,
            Scsi::TransportOffline | Scsi::Offline => Way::Fails,
        }
    }

    /// A disk by its number, with its server.
    pub fn disk(&self, id: u32) -> Option<(usize, &Disk)> {
        let of = |(server, session): (usize, &'_ Option<Session>)| {
            let disk = session.as_ref()?.disks.iter().position(|disk| disk.id == id)?;
            Some((server, disk))
        };
        let (server, disk) = self.sessions.iter().enumerate().find_map(of)?;
        Some((server, &self.sessions[server].as_ref()?.disks[disk]))
    }

    /// The LUN behind a disk.
    pub fn lun_of(&self, disk: Option<u32>) -> Option<usize> {
        disk.and_then(|id| self.disk(id)).map(|(_, disk)| disk.lun)
    }

    /// All disks.
    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.sessions.iter().flatten().flat_map(|session| &session.disks)
    }

    /// Where LVM finds a PV: the disk, if I/O to it is answered and it may look there.
    pub fn pv_disk(&self, pv: usize) -> Option<u32> {
        let here =
            |disk: &&Disk| self.luns[disk.lun].cached.label == Label::Pv(pv) && self.way(Some(disk.id)) == Way::Works;
        let shown = self.daemon.shows.is_none_or(|seen| seen >> pv & 1 == 1);
        self.disks().find(here).filter(|_| shown).map(|disk| disk.id)
    }

    /// A disk whose I/O waits, with the kernel knowing it.
    pub fn blocked(&self) -> Option<u32> {
        self.disks().find(|disk| disk.state == Scsi::Blocked).map(|disk| disk.id)
    }

    /// Somebody reading all disks would wait.
    pub fn any_waits(&self) -> bool {
        self.disks().any(|disk| self.way(Some(disk.id)) == Way::Waits)
    }

    /// A connection is lost, and the kernel notices.
    pub fn break_connection(&mut self, server: usize, code: u32) {
        let now = self.now;
        let Some(session) = self.sessions[server].as_mut().filter(|s| s.state == State::LoggedIn) else { return };
        (session.state, session.since) = (State::Failed, now);
        for disk in session.disks.iter_mut().filter(|disk| disk.state == Scsi::Running) {
            disk.state = Scsi::Blocked;
        }
        let (sid, tmo) = (session.sid, session.tmo);
        if let Some(tmo) = tmo {
            self.queue.at(now + u64::from(tmo) * SECOND, Happening::Expire { sid, since: now });
        }
        self.note(|_| format!("  connection to server {server} breaks ({code})"));
        self.doubt_server(server);
        self.tell(Input::Iscsi(IscsiHint::ConnError { sid, code }));
        self.foresee_relogin(server);
        self.paths_changed(Actor::Nature);
    }

    /// A lost session's time is over.
    pub fn expire(&mut self, sid: u32, since: u64) {
        let lost = |s: &&mut Session| s.sid == sid && s.state == State::Failed && s.since == since;
        let Some(session) = self.sessions.iter_mut().flatten().find(lost) else { return };
        session.state = State::Free;
        let bounced = session.bounced;
        for disk in session.disks.iter_mut().filter(|disk| disk.state == Scsi::Blocked) {
            disk.state = Scsi::TransportOffline;
        }
        self.note(|_| format!("  session {sid} gives up"));
        self.poke();
        if bounced {
            // No restart of iscsid excuses the loss of a leg.
            self.doubt_bounced();
        }
        self.paths_changed(Actor::Nature);
    }

    /// iscsid will log in again some seconds after the server answers.
    pub fn foresee_relogin(&mut self, server: usize) {
        let Some(session) = &self.sessions[server] else { return };
        if session.state != State::LoggedIn && self.servers[server].answers() && self.iscsid.is_some() {
            let sid = session.sid;
            let due = self.rng.between(1000, 4000) * SECOND / 1000;
            self.queue.at(self.now + due, Happening::Relogin { sid });
        }
    }

    /// iscsid logs in again, if it can.
    pub fn relogin(&mut self, sid: u32) {
        let found = self.sessions.iter().position(|s| s.as_ref().is_some_and(|s| s.sid == sid));
        let Some(server) = found else { return };
        let host = &self.servers[server];
        if !host.answers() || self.iscsid.is_none() {
            return;
        }
        if host.target_gone || host.login_code != 0 {
            self.queue.at(self.now + 10 * SECOND, Happening::Relogin { sid });
            return;
        }
        if self.is_trapped(server) {
            return;
        }
        self.next_number += 1;
        let (now, port) = (self.now, 40_000 + u16::try_from(self.next_number % 20_000).unwrap_or(0));
        let Some(session) = self.sessions[server].as_mut().filter(|s| s.state != State::LoggedIn) else { return };
        // A restart of iscsid excuses only a short absence.
        let unexcused = std::mem::take(&mut session.bounced) && now > session.since + BOUNCE;
        (session.state, session.since, session.port, session.limit) = (State::LoggedIn, now, port, 0);
        self.servers[server].offline_by_hand = false;
        for disk in &mut session.disks {
            disk.state = Scsi::Running;
            // udev drops its link as soon as it sees that the PV is not there; that it is there again it has to be told.
            let label = self.luns[disk.lun].cached.label;
            disk.link = disk.link.filter(|pv| label == Label::Pv(*pv));
            disk.wwid_of = self.luns[disk.lun].wwid_of.unwrap_or(disk.lun);
        }
        self.note(|_| format!("  session {sid} with server {server} is back"));
        if unexcused {
            self.doubt_server(server);
        }
        self.poke();
        self.paths_changed(Actor::Nature);
        self.complete();
    }

    /// Whether a session's new connection breaks at the wrong moment, or one before did (`trapped` in the core).
    fn is_trapped(&mut self, server: usize) -> bool {
        let falls = self.quirks.old_iscsid && self.traps.chance(2);
        let Some(session) = self.sessions[server].as_mut().filter(|s| s.state != State::LoggedIn) else { return false };
        session.trapped |= falls;
        let (sid, trapped) = (session.sid, session.trapped);
        if trapped {
            self.note(|_| format!("  can't bind conn {sid}:0"));
        }
        trapped
    }

    /// Whether a portal accepts connections. A target that hangs has a kernel that does.
    pub(super) fn knock(&self, target: &TargetKey) -> OpResult {
        let fault = self.targets.iter().position(|t| t == target).map(|server| self.servers[server].fault);
        match fault {
            Some(None | Some(Fault::Hung)) => OpResult::Answered(500),
            _ => OpResult::NoAnswer("connection timed out".to_owned()),
        }
    }

    /// The kernel is told that a connection was stopped; iscsid tries every two seconds.
    pub fn clear_connection(&mut self, sid: u32) -> OpResult {
        let failed = |s: &&mut Session| s.sid == sid && s.state != State::LoggedIn;
        let Some(session) = self.sessions.iter_mut().flatten().find(failed) else {
            return OpResult::Failed("\"up\" is not failed".to_owned());
        };
        if std::mem::take(&mut session.trapped) {
            self.queue.at(self.now + 2 * SECOND, Happening::Relogin { sid });
        }
        OpResult::Wrote
    }

    /// A session appears: new id, new disks.
    pub fn login(&mut self, server: usize) {
        if self.sessions[server].is_some() {
            return;
        }
        self.next_sid += 1;
        self.next_number += 1;
        let (sid, number) = (self.next_sid, self.next_number);
        let mut disks = Vec::new();
        for lun in 0..self.luns.len() {
            if self.luns[lun].server == server {
                let id = self.next_disk;
                self.next_disk += 1;
                let link = match self.luns[lun].cached.label {
                    Label::Pv(pv) => Some(pv),
                    _ => None,
                };
                let size = self.luns[lun].cached.size;
                let name = super::view::disk_name(id).into();
                let wwid_of = self.luns[lun].wwid_of.unwrap_or(lun);
                disks.push(Disk { id, name, lun, state: Scsi::Running, size, sectors: 0, link, wwid_of });
            }
        }
        let session = Session {
            sid,
            state: State::LoggedIn,
            since: self.now,
            port: 40_000 + u16::try_from(number % 20_000).unwrap_or(0),
            tmo: Some(self.servers[server].record),
            limit: 0,
            answered: None,
            bounced: false,
            trapped: false,
            disks,
        };
        self.sessions[server] = Some(session);
        (self.servers[server].restarted, self.servers[server].offline_by_hand) = (false, false);
        self.note(|_| format!("  session {sid} with server {server} begins"));
        self.poke();
        self.paths_changed(Actor::Nature);
        self.complete();
    }

    /// `iscsiadm --logout`.
    pub fn logout(&mut self, server: usize, actor: Actor) {
        let Some(session) = self.sessions[server].take() else { return };
        self.note(|_| format!("  session {} with server {server} is logged out", session.sid));
        self.tell(Input::Iscsi(IscsiHint::Unbind { sid: session.sid }));
        if session.state == State::LoggedIn {
            self.tell(Input::Iscsi(IscsiHint::LogoutResponse { sid: session.sid }));
        }
        self.doubt_server(server);
        self.excuse_stranded();
        self.poke();
        self.paths_changed(actor);
    }

    /// The session object goes without anybody having asked for it (`reopen_max`).
    pub fn lose_session(&mut self, server: usize) {
        if self.sessions[server].take().is_some() {
            self.doubt_server(server);
            self.excuse_stranded();
            self.note(|_| format!("  the session with server {server} is gone"));
            self.poke();
            self.paths_changed(Actor::Nature);
        }
    }

    /// iscsid is restarted and takes over the sessions one after the other (`facts/lab.md` 12).
    pub fn restart_iscsid(&mut self) {
        let pid = self.iscsid.map_or(600, |p| p.pid + 1);
        self.iscsid = Some(ProcessObs { pid, start: self.now });
        self.note(|_| "  iscsid starts".to_owned());
        let mut turn = self.now;
        for server in 0..self.sessions.len() {
            let Some(session) = &mut self.sessions[server] else { continue };
            session.trapped = false;
            let (sid, up) = (session.sid, session.state == State::LoggedIn);
            if up {
                // The first one at once.
                if turn == self.now {
                    self.bounce(sid);
                } else {
                    self.queue.at(turn, Happening::Bounce { sid });
                }
                // Blocked for 1.9 and 3.0 s were measured.
                turn += self.rng.between(1900, 3000) * SECOND / 1000;
            }
            self.queue.at(turn, Happening::Relogin { sid });
        }
        self.poke();
    }

    /// A new iscsid drops a connection, to make one of its own; the kernel says nothing about it.
    pub fn bounce(&mut self, sid: u32) {
        let now = self.now;
        let up = |s: &&mut Session| s.sid == sid && s.state == State::LoggedIn;
        let Some(session) = self.sessions.iter_mut().flatten().find(up) else { return };
        (session.state, session.since, session.bounced) = (State::Failed, now, true);
        for disk in session.disks.iter_mut().filter(|disk| disk.state == Scsi::Running) {
            disk.state = Scsi::Blocked;
        }
        if let Some(tmo) = session.tmo {
            self.queue.at(now + u64::from(tmo) * SECOND, Happening::Expire { sid, since: now });
        }
        if !self.daemon.alive() {
            self.doubt_bounced();
        }
        self.poke();
        self.paths_changed(Actor::Nature);
    }

    /// Who did not see iscsid restart cannot know that a session is away for its sake alone.
    pub fn doubt_bounced(&mut self) {
        let taking_over = self.iscsid.is_some_and(|iscsid| self.now < iscsid.start + BOUNCE);
        for server in 0..self.sessions.len() {
            let away = |s: &Session| s.bounced && s.state != State::LoggedIn;
            if self.sessions[server].as_ref().is_some_and(|s| taking_over || away(s)) {
                self.doubt_server(server);
                self.doubt_unnoted(server);
            }
        }
    }
}
