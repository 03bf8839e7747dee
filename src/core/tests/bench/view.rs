//! What the sensors would report of the machine.

use super::dm_mirror::{DmMirror, REGIONS};
use super::machine::{A, B, Content, Machine, uuid};
use super::raid::Raid;
use mirrorkeeper_core::ids::{DevNo, LvmUuid, PvUuid};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::*;
use mirrorkeeper_core::op::ProbeTarget;
use std::collections::BTreeSet;

/// First superblock's distance from the data area, and the distance between LVs.
const EXTENT: u64 = 4 << 20;

const HELPERS: u32 = 100;

impl Machine {
    /// sysfs and device-mapper.
    pub fn kernel_view(&self, lvm_running: bool) -> KernelView {
        let sessions = [A, B].into_iter().filter_map(|server| {
            let s = self.sessions[server].as_ref()?;
            let disk = DiskObs {
                name: s.disk.as_str().into(),
                dev: s.dev,
                state: s.disk_state.clone(),
                size: s.size,
                wwid: Name::default(),
                sectors_written: s.sectors,
                partitions: Vec::new(),
                write_cache: Name::default(),
                users: if self.users[server] { vec!["/mnt".to_owned()] } else { Vec::new() },
            };
            Some(SessionObs {
                sid: s.sid,
                target: Self::target(server),
                state: s.state.0.clone(),
                // 0: the socket has ended, and its session is not yet said to have failed.
                local_port: (s.state.0 == SessionState::LoggedIn && s.port != 0).then_some(s.port),
                recovery_tmo: s.tmo,
                noop: Some((5, 5)),
                disks: vec![disk],
            })
        });
        let links = [A, B].into_iter().filter_map(|server| {
            // udev's link goes as soon as it sees that the PV is not there any more.
            let own = self.servers[server].content == Content::Own;
            let s = self.sessions[server].as_ref().filter(|s| s.linked && own)?;
            Some((Self::pv(server), PvLink { name: s.disk.as_str().into(), dev: s.dev }))
        });
        let mut dm = Vec::new();
        for (n, raid) in (0..).zip(&self.raids).filter(|(_, r)| r.active) {
            dm.extend(raid_dm(raid, 10 * n));
        }
        for (n, mirror) in (5..).zip(&self.mirrors) {
            dm.extend(mirror_dm(mirror, 10 * n));
        }
        let suspended = dm.iter().any(|d| d.suspended);
        KernelView {
            sessions: sessions.collect(),
            dm,
            pv_links: links.collect(),
            iscsid: self.iscsid.0,
            lvm_running: suspended && lvm_running,
            left_over: self.left_over.clone(),
            node: self.node.into(),
            partial: false,
            gaps: Vec::new(),
        }
    }

    /// `lvm fullreport`.
    pub fn lvm_view(&self) -> LvmView {
        let mut view = LvmView::default();
        if self.visible(A) || self.visible(B) {
            view.vgs.push(self.vg_obs());
        }
        if let Some(doctor) = &self.doctor {
            doctor(&mut view);
        }
        view
    }

    fn vg_obs(&self) -> VgObs {
        let pvs = [A, B].map(|server| PvObs {
            uuid: Self::pv(server),
            device: self.sessions[server].as_ref().filter(|_| self.visible(server)).map(|s| format!("/dev/{}", s.disk)),
            missing: self.missing[server] || !self.visible(server),
            duplicate: false,
            dev_size: self.servers[server].size,
        });
        let mut lvs = Vec::new();
        for (n, raid) in (0..).zip(&self.raids) {
            lvs.extend(raid_lvs(raid, 100 * n));
        }
        for (n, mirror) in (50..).zip(&self.mirrors) {
            lvs.extend(mirror_lvs(mirror, 100 * n));
        }
        VgObs {
            uuid: Self::vg(),
            name: "vg0".into(),
            seqno: self.seqno,
            exported: false,
            system_id: String::new(),
            lock_type: String::new(),
            writeable: true,
            extent_size: EXTENT,
            tags: Vec::new(),
            pvs: pvs.to_vec(),
            lvs,
        }
    }

    /// Node records.
    pub fn nodes(&self) -> Vec<NodeObs> {
        let record = |server: usize| {
            let replacement_timeout = Some(self.records[server]?);
            Some(NodeObs { target: Self::target(server), startup: Startup::Automatic, replacement_timeout })
        };
        [A, B].into_iter().filter_map(record).collect()
    }

    /// What a probe reads.
    pub fn probe(&self, target: &ProbeTarget) -> LegProbe {
        let place = [A, B].into_iter().find(|server| {
            let session = self.sessions[*server].as_ref();
            session.is_some_and(|s| s.disk == *target.device) && self.paths().dev(*server).is_some()
        });
        let Some(server) = place else {
            let identity = ProbedIdentity::Unreadable("EIO".into());
            return LegProbe { identity, size: 0, superblocks: Vec::new(), registration: unknown() };
        };
        let host = &self.servers[server];
        let pv = Self::pv(server);
        let text = |vg| {
            let (missing, stamps) = (BTreeSet::new(), BTreeSet::new());
            let elsewhere = host.written_elsewhere.map(|seqno| (seqno, "other"));
            let (seqno, node) = elsewhere.unwrap_or((self.seqno, "client"));
            Some(VgText { vg, seqno, missing, stamps, host: node.into() })
        };
        let identity = match host.content {
            Content::Own => ProbedIdentity::Pv { pv, metadata: text(Self::vg()) },
            Content::OtherPv => ProbedIdentity::Pv { pv: uuid("pvx"), metadata: text(uuid("vgx")) },
            Content::Blank => ProbedIdentity::Blank,
            Content::Foreign => ProbedIdentity::Foreign,
        };
        let superblock = |offset: &u64| match host.content {
            Content::Own => self.superblock(server, *offset),
            Content::Blank => ProbedSuperblock::Blank,
            _ => ProbedSuperblock::Foreign,
        };
        let superblocks = target.superblocks.iter().map(superblock).collect();
        LegProbe { identity, size: host.size, superblocks, registration: unknown() }
    }

    fn superblock(&self, server: usize, offset: u64) -> ProbedSuperblock {
        let n = usize::try_from(offset / EXTENT / 100).unwrap();
        let Some(raid) = self.raids.get(n) else { return ProbedSuperblock::Blank };
        let Some(position) = raid.legs.iter().position(|leg| leg.server == server) else {
            return ProbedSuperblock::Blank;
        };
        let leg = &raid.legs[position];
        ProbedSuperblock::Found(Superblock {
            num_devices: u32::try_from(raid.legs.len()).unwrap(),
            position: u32::try_from(position).unwrap(),
            events: leg.events,
            failed_devices: leg.failed,
            disk_recovery_offset: u64::MAX,
        })
    }
}

fn unknown() -> Registration {
    Registration::Unknown("not in this model".into())
}

fn dm(
    name: impl Into<Name>,
    uuid: impl Into<Name>,
    minor: u32,
    suspended: bool,
    target: DmTarget,
    deps: Vec<DevNo>,
) -> DmObs {
    let dev = DevNo { major: 253, minor };
    DmObs {
        name: name.into(),
        uuid: uuid.into(),
        dev,
        event_nr: 0,
        suspended,
        open_count: 1,
        targets: vec![target],
        deps,
    }
}

fn top_uuid(lv: &LvmUuid) -> String {
    format!("LVM-{}{}", Machine::vg().compact(), lv.compact())
}

/// An image with its number, below an LV.
fn image(lv: &str, n: u32, i: usize, dev: DevNo) -> (DmObs, DevNo) {
    let minor = HELPERS + n + u32::try_from(i).unwrap();
    let target = DmTarget::Linear { dev, offset: 2048 };
    let name = format!("vg0-{lv}_image_{i}");
    (dm(name.clone(), format!("LVM-{name}"), minor, false, target, vec![dev]), DevNo { major: 253, minor })
}

fn raid_dm(raid: &Raid, n: u32) -> Vec<DmObs> {
    let (mut all, below): (Vec<_>, Vec<_>) =
        raid.legs.iter().enumerate().map(|(i, leg)| image(&raid.name, n, i, leg.dev)).unzip();
    let flags = raid.legs.iter().enumerate().filter_map(|(i, leg)| match (leg.dropped, leg.table_flag) {
        (true, _) => Some(-1),
        (_, true) => i32::try_from(i).ok(),
        _ => None,
    });
    let table = RaidTable {
        raid_type: "raid1".into(),
        legs: below.iter().map(|dev| (Some(*dev), Some(*dev))).collect(),
        write_mostly: flags.collect(),
    };
    let (action, done) = match &raid.sync {
        _ if raid.suspended => (SyncAction::Frozen, 0),
        Some(sync) => (sync.action.clone(), sync.done),
        None => (SyncAction::Idle, raid.sectors),
    };
    let health = raid.legs.iter().map(|leg| leg.health).collect();
    let status = RaidStatus { health, done, total: raid.sectors, action, mismatches: raid.mismatches };
    let target = DmTarget::Raid { table, status };
    let mut top = dm(format!("vg0-{}", raid.name), top_uuid(&raid.uuid), n, raid.suspended, target, below);
    top.event_nr = raid.event_nr;
    all.push(top);
    all
}

fn mirror_dm(mirror: &DmMirror, n: u32) -> Vec<DmObs> {
    let name = format!("vg0-{}", mirror.name);
    let mut all = Vec::new();
    let mut top = if let [only] = mirror.legs.as_slice() {
        let target = DmTarget::Linear { dev: only.dev, offset: 2048 };
        dm(name, top_uuid(&mirror.uuid), n, mirror.suspended, target, vec![only.dev])
    } else {
        let below: Vec<_> = mirror.legs.iter().enumerate().map(|(i, leg)| image(&mirror.name, n, i, leg.dev)).collect();
        let legs: Vec<DevNo> = below.iter().map(|(_, dev)| *dev).collect();
        all.extend(below.into_iter().map(|(obs, _)| obs));
        let health = mirror.legs.iter().map(|leg| if leg.dead { 'D' } else { 'A' }).collect();
        let (in_sync, total) = (mirror.in_sync, REGIONS);
        let status = MirrorStatus { legs: legs.clone(), in_sync, total, health, log: MirrorLog::Core };
        let target = DmTarget::Mirror { handle_errors: mirror.handle_errors, nosync: false, status };
        dm(name, top_uuid(&mirror.uuid), n, mirror.suspended, target, legs)
    };
    top.event_nr = mirror.event_nr;
    all.push(top);
    all
}

fn lv(name: &str, id: LvmUuid, segtype: &str, devices: Vec<Name>, extents: Vec<ExtentRun>) -> LvObs {
    LvObs {
        uuid: id,
        name: name.into(),
        parent: String::new(),
        role: vec!["public".into()],
        layout: vec![segtype.into()],
        attr: String::new(),
        size: 128 << 20,
        active: true,
        converting: false,
        move_pv: String::new(),
        mirror_log: String::new(),
        health: String::new(),
        segs: vec![SegObs {
            segtype: segtype.into(),
            devices,
            metadata_devices: Vec::new(),
            monitor: "monitored".into(),
        }],
        extents,
        autoactivation: true,
    }
}

fn part(parent: &str, suffix: &str, roles: &[&str], pv: PvUuid, start: u64, active: bool) -> LvObs {
    let name = format!("{parent}_{suffix}");
    let tag: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut part = lv(&name, uuid(&tag), "linear", Vec::new(), vec![ExtentRun { pv, start, len: 1 }]);
    (part.parent, part.active) = (parent.to_owned(), active);
    part.role = roles.iter().map(|r| (*r).to_owned()).collect();
    part
}

fn raid_lvs(raid: &Raid, start: u64) -> Vec<LvObs> {
    let names = |kind: &str| (0..raid.legs.len()).map(|i| format!("{}_{kind}_{i}", raid.name).into()).collect();
    let mut top = lv(&raid.name, raid.uuid.clone(), "raid1", names("rimage"), Vec::new());
    top.segs[0].metadata_devices = names("rmeta");
    (top.size, top.active) = (raid.sectors * 512, raid.active);
    let mut all = vec![top];
    for (i, leg) in raid.legs.iter().enumerate() {
        let pv = Machine::pv(leg.server);
        let meta = ["private", "raid", "metadata"];
        all.push(part(&raid.name, &format!("rmeta_{i}"), &meta, pv.clone(), start, raid.active));
        all.push(part(&raid.name, &format!("rimage_{i}"), &["private", "raid", "image"], pv, start + 1, raid.active));
    }
    all
}

fn mirror_lvs(mirror: &DmMirror, start: u64) -> Vec<LvObs> {
    if let [only] = mirror.legs.as_slice() {
        let extents = vec![ExtentRun { pv: Machine::pv(only.server), start, len: 16 }];
        return vec![lv(&mirror.name, mirror.uuid.clone(), "linear", vec!["/dev/sd".into()], extents)];
    }
    let names = (0..mirror.legs.len()).map(|i| format!("{}_mimage_{i}", mirror.name).into()).collect();
    let mut top = lv(&mirror.name, mirror.uuid.clone(), "mirror", names, Vec::new());
    if !mirror.monitored {
        top.segs[0].monitor = "not monitored".into();
    }
    let mut all = vec![top];
    for (i, leg) in mirror.legs.iter().enumerate() {
        let pv = Machine::pv(leg.server);
        all.push(part(&mirror.name, &format!("mimage_{i}"), &["private", "mirror", "image"], pv, start, true));
    }
    all
}
