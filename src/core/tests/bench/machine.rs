//! The machine under the daemon: two servers, two sessions, the network between them, one VG over both LUNs. Time moves it;
//! faults and commands change it; `view.rs` shows it and `exec.rs` does what commands do to it. Facts: `facts/lab.md`.

use super::dm_mirror::DmMirror;
use super::raid::Raid;
use mirrorkeeper_core::ids::{DevNo, LvmUuid, PvUuid, TargetKey, VgUuid};
use mirrorkeeper_core::input::{Input, IscsiHint};
use mirrorkeeper_core::observation::{Backlog, LvmView, ProcessObs, ScsiState, SessionState};
use mirrorkeeper_core::op::Throttle;
use std::collections::BTreeMap;

/// Server and leg 0.
pub const A: usize = 0;
/// Server and leg 1.
pub const B: usize = 1;

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;

/// NOP interval and timeout as shipped.
const DETECT: u64 = 10 * SECOND;

/// From a reachable server to LOGGED_IN.
const RECONNECT: u64 = 3 * SECOND;

/// From power to answers: as quick as a small server gets.
const BOOT: u64 = 15 * SECOND;

/// Capacity of a LUN.
pub const LUN: u64 = 400 << 20;

/// An LVM UUID with a name in it.
pub fn uuid(tag: &str) -> LvmUuid {
    LvmUuid::parse(&format!("{tag:0<32}")).unwrap()
}

/// What stands on a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The PV it should be.
    Own,
    /// Zeros.
    Blank,
    /// Something without an LVM label.
    Foreign,
    /// Another PV.
    OtherPv,
}

/// A storage server with one LUN.
#[derive(Debug, Clone)]
pub struct Server {
    /// The network reaches it and it answers; since when that is so or not so.
    pub up: (bool, u64),
    /// It was switched on and answers then at the earliest.
    pub boots: Option<u64>,
    /// The network is to reach it once it has booted.
    pub wanted: bool,
    /// Capacity.
    pub size: u64,
    /// What stands on it.
    pub content: Content,
    /// The LUN was deleted under the live session: I/O fails, and nothing says so (`facts/lab.md` 13).
    pub lun_gone: bool,
    /// Another machine wrote the metadata on it, with this sequence number.
    pub written_elsewhere: Option<u64>,
    /// Exit code of a first login.
    pub login_code: i32,
    /// iscsid can bind no new connection to its session (open-iscsi #387).
    pub trapped: bool,
}

/// A session with its disk.
#[derive(Debug, Clone)]
pub struct Session {
    /// Kernel id.
    pub sid: u32,
    /// State and since when.
    pub state: (SessionState, u64),
    /// Local port.
    pub port: u16,
    /// recovery_tmo.
    pub tmo: Option<u32>,
    /// Disk name.
    pub disk: String,
    /// Disk number.
    pub dev: DevNo,
    /// Disk state.
    pub disk_state: ScsiState,
    /// Capacity as the kernel believes it.
    pub size: u64,
    /// Written so far.
    pub sectors: u64,
    /// udev's link by PV UUID: as it was when the disk appeared.
    pub linked: bool,
    /// A bounce by a restarted iscsid ends then.
    bounce: Option<u64>,
}

/// How I/O to a leg's device goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Answered.
    Works,
    /// Queued.
    Waits,
    /// Error.
    Fails,
}

/// Where the LUNs are now and how I/O to them goes.
#[derive(Debug, Clone, Copy)]
pub struct Paths([Option<(DevNo, Way)>; 2]);

impl Paths {
    /// For a leg that points at a device.
    pub fn way(&self, server: usize, dev: DevNo) -> Way {
        self.0[server].filter(|(now, _)| *now == dev).map_or(Way::Fails, |(_, way)| way)
    }

    /// Where the PV of a server can be read now.
    pub fn dev(&self, server: usize) -> Option<DevNo> {
        self.0[server].filter(|(_, way)| *way == Way::Works).map(|(dev, _)| dev)
    }

    /// Some device queues its I/O.
    pub fn any_waits(&self) -> bool {
        self.0.iter().flatten().any(|(_, way)| *way == Way::Waits)
    }
}

/// A change a story makes to LVM reports.
pub type Doctor = Box<dyn Fn(&mut LvmView)>;

/// Everything.
pub struct Machine {
    /// Somebody else uses the disk of a server.
    pub users: [bool; 2],
    /// Microseconds since boot.
    pub now: u64,
    /// Servers.
    pub servers: [Server; 2],
    /// Sessions by server.
    pub sessions: [Option<Session>; 2],
    /// replacement_timeout in the node records.
    pub records: [Option<i32>; 2],
    /// What it is called.
    pub node: &'static str,
    /// LVM commands of an earlier run.
    pub left_over: Vec<String>,
    /// The daemon of open-iscsi, and since when.
    pub iscsid: (Option<ProcessObs>, u64),
    /// dmeventd does its work.
    pub dmeventd: bool,
    /// VG metadata number.
    pub seqno: u64,
    /// MISSING flags by server.
    pub missing: [bool; 2],
    /// raid1 LVs.
    pub raids: Vec<Raid>,
    /// core-log mirrors.
    pub mirrors: Vec<DmMirror>,
    /// Broken promises.
    pub broken: Vec<String>,
    /// What the kernel tells the daemon.
    pub news: Vec<Input>,
    /// Changes what LVM reports.
    pub doctor: Option<Doctor>,
    /// The application writes without a pause.
    pub writing: bool,
    /// iscsid's sockets are out of reach.
    pub unreachable: bool,
    /// No socket may be destroyed.
    pub unwatchable: bool,
    /// Throttles of the kernel.
    pub throttles: BTreeMap<Throttle, u32>,
    next: u32,
}

impl Machine {
    /// Both servers up, logged in, everything in sync.
    pub fn new(raids: &[&str], mirrors: &[&str]) -> Self {
        let server = Server {
            up: (true, 0),
            boots: None,
            wanted: false,
            size: LUN,
            content: Content::Own,
            written_elsewhere: None,
            lun_gone: false,
            login_code: 0,
            trapped: false,
        };
        let mut machine = Self {
            now: 1000 * SECOND,
            users: [false; 2],
            servers: [server.clone(), server],
            sessions: [None, None],
            records: [Some(120), Some(120)],
            node: "client",
            left_over: Vec::new(),
            iscsid: (Some(ProcessObs { pid: 500, start: 1 }), 0),
            dmeventd: true,
            seqno: 5,
            missing: [false, false],
            raids: Vec::new(),
            mirrors: Vec::new(),
            broken: Vec::new(),
            news: Vec::new(),
            doctor: None,
            writing: false,
            unreachable: false,
            unwatchable: false,
            throttles: [(Throttle::Raid, 200_000), (Throttle::Mirror, 100)].into(),
            next: 0,
        };
        machine.login(A);
        machine.login(B);
        let devs = [A, B].map(|s| machine.session(s).dev);
        machine.raids = raids.iter().map(|name| Raid::new(name, uuid(name), devs)).collect();
        machine.mirrors = mirrors.iter().map(|name| DmMirror::new(name, uuid(name), devs)).collect();
        machine.news.clear();
        machine
    }

    /// The only VG.
    pub fn vg() -> VgUuid {
        uuid("vg")
    }

    /// The PV on a server.
    pub fn pv(server: usize) -> PvUuid {
        uuid(["pva", "pvb"][server])
    }

    /// The target on a server.
    pub fn target(server: usize) -> TargetKey {
        let (name, addr) = [("iqn.2024.x:a", "10.0.0.1"), ("iqn.2024.x:b", "10.0.0.2")][server];
        TargetKey::new(name, addr, 3260, "default")
    }

    /// The session with a server, which must be there.
    pub fn session(&mut self, server: usize) -> &mut Session {
        self.sessions[server].as_mut().expect("a session")
    }

    /// A session appears: new id, new disk name.
    pub fn login(&mut self, server: usize) {
        self.next += 1;
        let n = self.next;
        let name = char::from(b'a' + u8::try_from(n - 1).unwrap() % 26);
        self.sessions[server] = Some(Session {
            sid: n,
            state: (SessionState::LoggedIn, self.now),
            port: 40_000 + u16::try_from(n).unwrap(),
            tmo: Some(u32::try_from(self.records[server].unwrap_or(120)).unwrap()),
            disk: format!("sd{}{name}", "a".repeat(usize::try_from((n - 1) / 26).unwrap())),
            dev: DevNo { major: 8, minor: 16 * (n - 1) },
            disk_state: ScsiState::Running,
            size: self.servers[server].size,
            sectors: 1000,
            linked: self.servers[server].content == Content::Own,
            bounce: None,
        });
        self.news.push(Input::Tick);
    }

    /// `iscsiadm --logout`.
    pub fn logout(&mut self, server: usize) {
        if let Some(session) = self.sessions[server].take() {
            self.news.push(Input::Iscsi(IscsiHint::Unbind { sid: session.sid }));
            self.news.push(Input::Iscsi(IscsiHint::LogoutResponse { sid: session.sid }));
        }
    }

    /// The session object goes without anybody having asked (`reopen_max`).
    pub fn lose_session(&mut self, server: usize) {
        self.sessions[server] = None;
        self.news.push(Input::Tick);
    }

    /// A server goes: silently (`resets` false) or with a reset.
    pub fn down(&mut self, server: usize, resets: bool) {
        if self.servers[server].up.0 {
            self.servers[server].up = (false, self.now);
        }
        self.servers[server].wanted = false;
        if resets {
            self.drop_connection(server);
        }
    }

    /// A server comes back.
    pub fn back(&mut self, server: usize) {
        let now = self.now;
        let server = &mut self.servers[server];
        // One that is booting takes its time.
        if server.boots.is_some_and(|at| now < at) {
            server.wanted = true;
        } else if !server.up.0 {
            server.up = (true, now);
        }
    }

    /// The power of a server fails and returns: the connection is gone, and with it what it had cached, and it takes
    /// [`BOOT`] to answer again.
    pub fn power_cycle(&mut self, server: usize) {
        self.lose_cache(server);
        self.servers[server].up = (false, self.now);
        self.servers[server].boots = Some(self.now + BOOT);
        self.servers[server].wanted = true;
        self.drop_connection(server);
    }

    /// A server loses writes that it had acknowledged.
    pub fn lose_cache(&mut self, server: usize) {
        for leg in self.raids.iter_mut().flat_map(|r| &mut r.legs).filter(|leg| leg.server == server) {
            (leg.stale, leg.judged) = (true, false);
        }
        for mirror in &mut self.mirrors {
            mirror.stale[server] = true;
        }
    }

    fn drop_connection(&mut self, server: usize) {
        let now = self.now;
        if let Some(session) = self.sessions[server].as_mut().filter(|s| s.state.0 == SessionState::LoggedIn) {
            session.state = (SessionState::Failed, now);
            session.disk_state = ScsiState::Blocked;
            let sid = session.sid;
            self.news.push(Input::Iscsi(IscsiHint::ConnError { sid, code: 1020 }));
        }
    }

    /// What a session's socket has sent that is not acknowledged. Both legs are written at a time, so that nobody writes on
    /// once one of them is silent.
    pub fn backlog(&self, sid: u32) -> Option<Backlog> {
        let server = self.sessions.iter().position(|s| s.as_ref().is_some_and(|s| s.sid == sid))?;
        let session = self.sessions[server].as_ref().filter(|s| s.state.0 == SessionState::LoggedIn)?;
        let unacked = if self.writing && !self.servers[server].up.0 { 4096 } else { 0 };
        Some(Backlog { local_port: session.port, unacked, acked: session.sectors * 512 })
    }

    /// iscsid is restarted: it takes over the sessions one after the other (`facts/lab.md` 12).
    pub fn restart_iscsid(&mut self) {
        let pid = self.iscsid.0.map_or(600, |p| p.pid + 1);
        self.iscsid = (Some(ProcessObs { pid, start: self.now }), self.now);
        for (server, seconds) in [(B, 4), (A, 2)] {
            let now = self.now;
            if let Some(session) = self.sessions[server].as_mut().filter(|s| s.state.0 == SessionState::LoggedIn) {
                session.state = (SessionState::Failed, now);
                session.disk_state = ScsiState::Blocked;
                session.bounce = Some(now + seconds * SECOND);
            }
        }
        self.news.push(Input::Tick);
    }

    /// I/O paths now.
    pub fn paths(&self) -> Paths {
        let path = |server: usize| {
            let session = self.sessions[server].as_ref()?;
            let way = match session.disk_state {
                ScsiState::Running if !self.servers[server].lun_gone => Way::Works,
                ScsiState::Blocked => Way::Waits,
                _ => Way::Fails,
            };
            Some((session.dev, way))
        };
        Paths([path(A), path(B)])
    }

    /// Whether LVM finds the PV of a server.
    pub fn visible(&self, server: usize) -> bool {
        self.servers[server].content == Content::Own && self.paths().dev(server).is_some()
    }

    /// Time passes.
    pub fn advance(&mut self, micros: u64) {
        self.now += micros;
        for server in [A, B] {
            self.advance_session(server);
        }
        if self.writing && self.servers.iter().all(|server| server.up.0) {
            self.sessions.iter_mut().flatten().for_each(|session| session.sectors += 8);
        }
        let paths = self.paths();
        #[expect(clippy::cast_precision_loss)]
        let seconds = micros as f64 / 1e6;
        for raid in &mut self.raids {
            let (written, event) = raid.advance(seconds, &paths, &mut self.broken);
            for (session, sectors) in self.sessions.iter_mut().zip(written) {
                session.iter_mut().for_each(|s| s.sectors += sectors);
            }
            if event {
                self.news.push(Input::Tick);
            }
        }
        for i in 0..self.mirrors.len() {
            let (dropped, event) = self.mirrors[i].advance(self.now, seconds, &paths, self.dmeventd);
            for server in dropped {
                self.mirrors[i].drop_leg(server, &mut self.broken);
                self.write_metadata();
            }
            if event {
                self.news.push(Input::Tick);
            }
        }
    }

    fn advance_session(&mut self, server: usize) {
        if self.servers[server].wanted && self.servers[server].boots.is_some_and(|at| self.now >= at) {
            self.servers[server].wanted = false;
            self.back(server);
        }
        let (now, iscsid, host) = (self.now, self.iscsid, self.servers[server].clone());
        if !host.up.0 && now >= host.up.1 + DETECT {
            self.drop_connection(server);
        }
        let Some(session) = self.sessions[server].as_mut() else { return };
        let expired = session.tmo.is_some_and(|tmo| now >= session.state.1 + u64::from(tmo) * SECOND);
        if session.state.0 == SessionState::Failed && expired {
            session.state = (SessionState::Free, now);
            session.disk_state = ScsiState::TransportOffline;
            self.news.push(Input::Tick);
        } else if session.state.0 != SessionState::LoggedIn && host.up.0 && !host.trapped && iscsid.0.is_some() {
            let since =
                host.up.1.max(iscsid.1).max(if session.state.0 == SessionState::Failed { session.state.1 } else { 0 });
            if now >= session.bounce.unwrap_or(since + RECONNECT) {
                session.state = (SessionState::LoggedIn, now);
                session.disk_state = ScsiState::Running;
                session.bounce = None;
                self.next += 1;
                session.port = 40_000 + u16::try_from(self.next % 20_000).unwrap();
                self.news.push(Input::Tick);
            }
        }
    }

    /// LVM writes the metadata: to every PV it finds, and flags the others.
    pub fn write_metadata(&mut self) {
        self.seqno += 1;
        for server in [A, B] {
            self.missing[server] |= !self.visible(server);
        }
    }
}
