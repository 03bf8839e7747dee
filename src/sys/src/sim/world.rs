//! The simulated machine and everything around it: servers, network, kernel, LVM, the daemon under test. One owner of all
//! state; the other modules of the simulator say what happens to it. Never asks a real clock, never does I/O.

use super::clock::{Happening, Queue, SECOND};
use super::content::{Area, BLOCKS, Image, Keys, Kind, Label, Lun, LvText, Super, Text};
use super::daemon::Daemon;
use super::rng::Rng;
use super::server::Server;
use super::session::Session;
use super::truth::History;
use super::volume::{Live, Names, Part, Volume};
use mirrorkeeper_core::ids::{LvUuid, LvmUuid, PvUuid, TargetKey, VgUuid};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::ProcessObs;
use mirrorkeeper_core::settings::Settings;
use std::collections::VecDeque;
use std::rc::Rc;

/// Capacity of a LUN.
pub const LUN: u64 = 400 << 20;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Storage servers.
    pub servers: usize,
    /// VGs.
    pub vgs: Vec<VgPlan>,
    /// `replacement_timeout` in seconds.
    pub replacement_timeout: u32,
    /// What differs between kernels and targets.
    pub quirks: Quirks,
    /// Settings of the daemon.
    pub settings: Settings,
}

/// A VG of a plan.
#[derive(Debug, Clone)]
pub struct VgPlan {
    /// Servers of its PVs, in order.
    pub servers: Vec<usize>,
    /// Its volumes.
    pub volumes: Vec<(&'static str, Kind)>,
}

/// What differs between kernels and targets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// 6.12: a recovery after a new device name may copy next to nothing, and a second activation alone forgets who failed.
    pub shallow_recovery: bool,
    /// The target does not know persistent reservations.
    pub no_registrations: bool,
    /// It keeps them over a power loss.
    pub persistent_registrations: bool,
    /// Somebody else has registered.
    pub foreign_keys: bool,
    /// iscsid's sockets are out of reach: no CAP_SYS_PTRACE, or an old kernel.
    pub no_detect: bool,
    /// Nor may sockets be destroyed, so that it is no use to watch them.
    pub no_destroy: bool,
    /// open-iscsi before 2.1.9, which cannot have a session back whose new connection breaks at the wrong moment.
    pub old_iscsid: bool,
}

impl Plan {
    /// Two servers, one VG, volumes by name: raid1 and core-log mirrors, as in the lab.
    pub fn lab(raids: &[&'static str], mirrors: &[&'static str]) -> Self {
        let raids = raids.iter().map(|name| (*name, Kind::Raid1));
        let mirrors = mirrors.iter().map(|name| (*name, Kind::Mirror));
        Self {
            servers: 2,
            vgs: vec![VgPlan { servers: vec![0, 1], volumes: raids.chain(mirrors).collect() }],
            replacement_timeout: 5,
            quirks: Quirks::default(),
            settings: Settings::default(),
        }
    }
}

/// A VG.
#[derive(Debug, Clone)]
pub struct Vg {
    /// Name.
    pub name: Name,
    /// UUID.
    pub uuid: VgUuid,
    /// LUNs of its PVs.
    pub luns: Vec<usize>,
    /// UUIDs of its PVs.
    pub pvs: Vec<PvUuid>,
    /// Its volumes.
    pub volumes: Vec<usize>,
    /// LVM will activate it as soon as it is complete.
    pub event_activation: bool,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// Microseconds since the first boot.
    pub now: u64,
    /// How far the wall clock is ahead of where it should be, in microseconds.
    pub wall_jump: i64,
    /// Chance.
    pub rng: Rng,
    /// Chance of iscsid's trap alone.
    pub(super) traps: Rng,
    /// What will happen.
    pub queue: Queue,
    /// Servers.
    pub servers: Vec<Server>,
    /// Names of their targets.
    pub targets: Vec<TargetKey>,
    /// LUNs.
    pub luns: Vec<Lun>,
    /// PV UUID by LUN.
    pub pvs: Vec<PvUuid>,
    /// WWID by LUN.
    pub wwids: Vec<Name>,
    /// The kernel's word for the cache of every disk.
    pub write_cache: Name,
    /// Sessions by server.
    pub sessions: Vec<Option<Session>>,
    /// VGs.
    pub vgs: Vec<Vg>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// The daemon of open-iscsi.
    pub iscsid: Option<ProcessObs>,
    /// dmeventd works.
    pub dmeventd: bool,
    /// What differs between kernels and targets.
    pub quirks: Quirks,
    /// The daemon under test.
    pub daemon: Daemon,
    /// Boots so far.
    pub boot: u32,
    /// The client runs.
    pub powered: bool,
    /// Broken promises.
    pub violations: Vec<String>,
    /// Plans that the daemon's own safety check stopped.
    pub anomalies: Vec<String>,
    /// Servers gone so far.
    pub outages: u64,
    /// Since when the daemon has been able to act.
    pub able_since: Option<u64>,
    /// When the client booted last.
    pub booted_at: u64,
    /// How many times longer than in the lab, with its small volumes, copies and comparisons take.
    pub copying: u64,
    /// Since when all that a volume has left may be lost quickly, and need not be.
    pub(super) hasty: Vec<Option<u64>>,
    pub(super) next_write: u32,
    pub(super) next_disk: u32,
    pub(super) next_sid: u32,
    pub(super) next_number: u32,
    pub(super) poked: bool,
    pub(super) hints: VecDeque<Input>,
    pub(super) trace: Option<Vec<String>>,
}

/// An LVM UUID with a name in it.
pub fn uuid(tag: &str) -> LvmUuid {
    let text = format!("{tag:0<32}");
    LvmUuid::parse(&text)
        .or_else(|_| LvmUuid::parse(&"0".repeat(32)))
        .unwrap_or_else(|_| unreachable!("32 zeros are a UUID"))
}

impl World {
    /// Everything up, logged in and in sync; the daemon has not been started.
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let mut world = Self {
            now: 1000 * SECOND,
            wall_jump: 0,
            rng: Rng::new(seed),
            traps: Rng::new(seed ^ 0x7472_6170),
            queue: Queue::default(),
            servers: (0..plan.servers).map(|_| Server::new(plan.replacement_timeout)).collect(),
            targets: (0..plan.servers).map(target).collect(),
            luns: Vec::new(),
            pvs: Vec::new(),
            wwids: Vec::new(),
            write_cache: "write back".into(),
            sessions: vec![None; plan.servers],
            vgs: Vec::new(),
            volumes: Vec::new(),
            iscsid: Some(ProcessObs { pid: 500, start: 1 }),
            dmeventd: true,
            quirks: plan.quirks,
            daemon: Daemon::new(plan.settings.clone()),
            boot: 1,
            powered: true,
            violations: Vec::new(),
            anomalies: Vec::new(),
            outages: 0,
            able_since: None,
            booted_at: 0,
            copying: 1,
            hasty: Vec::new(),
            next_write: 0,
            next_disk: 0,
            next_sid: 0,
            next_number: 0,
            poked: false,
            hints: VecDeque::new(),
            trace: None,
        };
        for (n, vg) in plan.vgs.iter().enumerate() {
            world.add_vg(n, vg);
        }
        world.hasty = vec![None; world.volumes.len()];
        for server in 0..plan.servers {
            world.login(server);
        }
        for volume in 0..world.volumes.len() {
            // Everything is there: nothing is refused.
            let _done = world.activate(volume, false, super::truth_keeper::Actor::Nature);
            if world.volumes[volume].live == Live::Mirror {
                // The first copy was long ago.
                world.volumes[volume].stop_sync();
                world.volumes[volume].legs.iter_mut().for_each(|leg| leg.health = super::volume::Health::Alive);
            }
            let first = world.rng.between(0, 5 * SECOND);
            world.queue.at(world.now + first, Happening::Burst { volume });
        }
        (world.outages, world.poked) = (0, false);
        world.hints.clear();
        world
    }

    fn add_vg(&mut self, n: usize, plan: &VgPlan) {
        let letter = char::from(b'0' + u8::try_from(n % 10).unwrap_or(0));
        let name: Name = format!("vg{letter}").into();
        let legs: Vec<usize> = (0..plan.servers.len()).collect();
        let lv = |kind: Kind| LvText { kind, legs: legs.clone(), write_mostly: 0, autoactivation: true };
        let lvs = plan.volumes.iter().map(|(_, kind)| lv(*kind)).collect();
        let text = Rc::new(Text { seqno: 5, missing: 0, stamps: Vec::new(), foreign: false, lvs });
        let mut vg = Vg {
            uuid: uuid(&name),
            name,
            luns: Vec::new(),
            pvs: Vec::new(),
            volumes: Vec::new(),
            event_activation: false,
        };
        for (pv, server) in plan.servers.iter().enumerate() {
            let index = self.luns.len();
            let area = |kind: Kind| {
                let sb = Super { events: 22, failed: 0, position: pv, devices: legs.len(), complete: true };
                Area { blocks: [0; BLOCKS], bitmap: 0, sb: (kind == Kind::Raid1).then_some(sb) }
            };
            let areas = plan.volumes.iter().map(|(_, kind)| area(*kind)).collect();
            let image = Image { label: Label::Pv(index), size: LUN, text: Some(Rc::clone(&text)), areas };
            let keys = Keys {
                supported: !self.quirks.no_registrations,
                persists: self.quirks.persistent_registrations,
                generation: u32::from(self.quirks.foreign_keys),
                keys: if self.quirks.foreign_keys { vec![0xabcd] } else { Vec::new() },
            };
            self.luns.push(Lun {
                server: *server,
                vg: n,
                pv,
                durable: image.clone(),
                cached: image,
                dirty: false,
                images: Vec::new(),
                away: None,
                gone: false,
                keys,
                wwid_of: None,
                unseen: false,
                lost_at: None,
                changed_at: None,
                write_back: false,
            });
            let id = uuid(&format!("pv{letter}{pv}"));
            self.pvs.push(id.clone());
            self.wwids.push(format!("t10.LUN{index}").into());
            vg.luns.push(index);
            vg.pvs.push(id);
        }
        for (lv, (name, kind)) in plan.volumes.iter().enumerate() {
            vg.volumes.push(self.volumes.len());
            self.volumes.push(volume(n, lv, &vg, name, *kind));
        }
        self.vgs.push(vg);
    }

    /// A line for the trace. Not made unless somebody reads it.
    pub fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let at = self.now as f64 / 1e6;
            let line = format!("{at:10.2} {}", line(self));
            self.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
    }

    /// Keeps a trace from now on.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The trace so far.
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// A promise is broken.
    pub fn violate(&mut self, what: String) {
        self.note(|_| format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// There is something to see: the daemon will look.
    pub fn poke(&mut self) {
        self.poked = true;
    }

    /// The kernel says something to the daemon.
    pub fn tell(&mut self, input: Input) {
        self.poked = true;
        self.hints.push_back(input);
    }

    /// The LUN of a PV by its UUID.
    pub fn lun_by_pv(&self, pv: &PvUuid) -> Option<usize> {
        self.pvs.iter().position(|known| known == pv)
    }

    /// A volume by its UUID.
    pub fn volume_by_uuid(&self, lv: &LvUuid) -> Option<usize> {
        self.volumes.iter().position(|v| v.names.uuid == *lv)
    }

    /// A volume by `vg/lv`.
    pub fn volume_named(&self, name: &str) -> Option<usize> {
        self.volumes.iter().position(|v| v.names.full == name)
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Nop { server, epoch } if self.servers[server].epoch == epoch => {
                self.break_connection(server, 1022);
            }
            Happening::Booted { server, epoch } if self.servers[server].epoch == epoch => self.up(server),
            Happening::Nop { .. } | Happening::Booted { .. } => {}
            Happening::Unacknowledged { server, epoch } => self.unacknowledged(server, epoch),
            Happening::Bounce { sid } => self.bounce(sid),
            Happening::Expire { sid, since } => self.expire(sid, since),
            Happening::Relogin { sid } => self.relogin(sid),
            Happening::Burst { volume } => {
                self.burst(volume);
                let pause = if self.volumes[volume].busy { (2, 12) } else { (20, 90) };
                let pause = self.rng.between(pause.0 * SECOND, pause.1 * SECOND);
                self.queue.at(self.now + pause, Happening::Burst { volume });
            }
            Happening::WriteBack { lun } => self.write_back(lun),
            Happening::SyncDone { volume, epoch } => self.sync_done(volume, epoch),
            Happening::Dmeventd { volume } => self.dmeventd(volume),
            Happening::Grace { volume } => self.grace_over(volume),
            Happening::Flagged { volume } => self.look_at_flags(volume),
            Happening::BootLogin { server, boot } => self.boot_login(server, boot),
            Happening::OpEnds { job } => self.op_ends(job),
            Happening::Deadline { job } => self.deadline(job),
            Happening::Saved { run } => self.saved(run),
            Happening::Report { run } => self.report_ready(run),
            Happening::Nodes { run } => self.nodes_ready(run),
            Happening::DaemonStarts { run } => self.daemon_starts(run),
        }
    }

    /// Goes to the next thing that happens, if that is not after `until`. Returns whether there was one.
    pub fn step(&mut self, until: u64) -> bool {
        let wake = self.daemon.wake();
        let next = self.queue.next_at();
        let at = match (next, wake) {
            (Some(next), Some(wake)) => next.min(wake),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return false,
        };
        if at > until {
            return false;
        }
        self.now = self.now.max(at);
        if wake == Some(at) && next.is_none_or(|next| at < next) {
            self.wake_daemon();
        } else if let Some(what) = self.queue.pop() {
            self.happen(what);
        }
        self.attend();
        self.measure_ability();
        self.look_at_waiting();
        true
    }

    /// Lets virtual time pass, in microseconds.
    pub fn run_for(&mut self, time: u64) {
        let until = self.now + time;
        self.attend();
        while self.violations.is_empty() && self.step(until) {}
        self.now = self.now.max(until);
    }

    /// Lets virtual time pass until something is so. Returns whether it came to that within so many microseconds.
    pub fn run_until(&mut self, time: u64, so: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + time;
        self.attend();
        while self.violations.is_empty() {
            if so(self) {
                return true;
            }
            if !self.step(until) {
                break;
            }
        }
        so(self)
    }
}

fn target(server: usize) -> TargetKey {
    let letter = char::from(b'a' + u8::try_from(server % 26).unwrap_or(0));
    TargetKey::new(&format!("iqn.2024.x:{letter}"), &format!("10.0.0.{}", server + 1), 3260, "default")
}

fn volume(vg: usize, lv: usize, group: &Vg, name: &str, kind: Kind) -> Volume {
    let id = uuid(&format!("{}lv{name}", group.name));
    let dm = format!("{}-{name}", group.name);
    let dm_uuid = format!("LVM-{}{}", group.uuid.compact(), id.compact());
    let part = |kind: &str, leg: usize| {
        let lv = format!("{name}_{kind}_{leg}");
        let tag: String = dm.chars().chain(lv.chars()).filter(char::is_ascii_alphanumeric).collect();
        Part {
            lv: lv.into(),
            uuid: uuid(&tag),
            dm: format!("{dm}_{kind}_{leg}").into(),
            dm_uuid: format!("{dm_uuid}-{kind}_{leg}").into(),
        }
    };
    let parts = |kind: &str| (0..group.luns.len()).map(|leg| part(kind, leg)).collect();
    let names = Names {
        lv: name.into(),
        full: format!("{}/{name}", group.name),
        rimage: parts("rimage"),
        rmeta: parts("rmeta"),
        mimage: parts("mimage"),
        dm: dm.into(),
        dm_uuid: dm_uuid.into(),
        uuid: id,
    };
    Volume {
        vg,
        lv,
        names,
        kind,
        live: Live::Inactive,
        suspended: false,
        open: false,
        busy: true,
        event_nr: 0,
        legs: Vec::new(),
        bitmap: 0,
        last_write: 0,
        sync: None,
        sync_ended: 0,
        sync_epoch: 0,
        mismatches: 0,
        spoiled: false,
        handle_errors: true,
        monitored: true,
        dmeventd_due: false,
        keeps: false,
        inflight: Vec::new(),
        inflight_on: 0,
        truth: History::default(),
        lost: Vec::new(),
        bad_since: None,
        resolving: None,
        excused: false,
        doubted: 0,
        doubted_at: 0,
        unnoted: false,
        died_at: None,
        activated_at: 0,
        whole_at: 0,
        away: Vec::new(),
        forgotten: false,
        reshaped: false,
    }
}
