//! What the sensors report of the machine: sysfs, device-mapper, node records, probes. As the kernel shows it, with the
//! model's knowledge left out.

use super::content::{Kind, Label};
use super::session::{Scsi, Session, State};
use super::volume::{Action, Health, Live, Volume};
use super::world::World;
use mirrorkeeper_core::ids::DevNo;
use mirrorkeeper_core::observation::{
    DiskObs, DmObs, DmTarget, KernelView, LegHealth, LegProbe, MirrorLog, MirrorStatus, NodeObs, ProbedIdentity,
    ProbedSuperblock, PvLink, RaidStatus, RaidTable, Registration, ScsiState, SessionObs, SessionState, Startup,
    Superblock, SyncAction, VgText,
};
use mirrorkeeper_core::op::ProbeTarget;

/// Extent size in bytes.
pub const EXTENT: u64 = 4 << 20;

/// Sectors of every volume.
pub const SECTORS: u64 = 262_144;

/// Regions of a mirror.
const REGIONS: u64 = 128;

/// First extent of a volume's leg, on every PV: metadata, then data.
pub fn first_extent(lv: usize) -> u64 {
    100 * lv as u64
}

/// Kernel name of a disk.
pub fn disk_name(id: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = id;
    loop {
        letters.push(char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0)));
        if rest < 26 {
            break;
        }
        rest = rest / 26 - 1;
    }
    letters.push('d');
    letters.push('s');
    letters.iter().rev().collect()
}

/// Device number of a disk.
pub fn disk_dev(id: u32) -> DevNo {
    DevNo { major: 8, minor: 16 * id }
}

fn dm_dev(minor: u32) -> DevNo {
    DevNo { major: 253, minor }
}

/// What the client is called.
const NODE: &str = "client";

impl World {
    /// sysfs and device-mapper.
    pub fn kernel_view(&self) -> KernelView {
        let mut pv_links = std::collections::BTreeMap::new();
        for disk in self.disks() {
            if let Some(pv) = disk.link {
                pv_links.insert(self.pvs[pv].clone(), PvLink { name: disk.name.clone(), dev: disk_dev(disk.id) });
            }
        }
        let mut dm = Vec::new();
        for (n, volume) in self.volumes.iter().enumerate() {
            device(volume, 32 * u32::try_from(n).unwrap_or(0), self.now, &mut dm);
        }
        let suspended = self.volumes.iter().any(|v| v.suspended);
        let sessions = self.sessions.iter().enumerate();
        KernelView {
            sessions: sessions.filter_map(|(server, s)| Some(self.session_obs(server, s.as_ref()?))).collect(),
            dm,
            pv_links,
            iscsid: self.iscsid,
            lvm_running: suspended && self.daemon.jobs.iter().any(|job| job.op.writes_vg().is_some()),
            left_over: self.left_over(),
            node: NODE.into(),
            partial: false,
            gaps: Vec::new(),
        }
    }

    fn left_over(&self) -> Vec<String> {
        let earlier = self.daemon.jobs.iter().filter(|job| job.run != self.daemon.run);
        let writers = earlier.filter(|job| job.op.writes_vg().is_some());
        writers.map(|job| job.op.command_line()).collect()
    }

    fn session_obs(&self, server: usize, s: &Session) -> SessionObs {
        let disk = |d: &super::session::Disk| DiskObs {
            name: d.name.clone(),
            dev: disk_dev(d.id),
            state: match d.state {
                Scsi::Running => ScsiState::Running,
                Scsi::Blocked => ScsiState::Blocked,
                Scsi::TransportOffline => ScsiState::TransportOffline,
                Scsi::Offline => ScsiState::Offline,
            },
            size: d.size,
            wwid: self.wwids[d.wwid_of].clone(),
            sectors_written: d.sectors,
            partitions: Vec::new(),
            write_cache: self.write_cache.clone(),
            users: if self.servers[server].shared { vec!["/srv/other".to_owned()] } else { Vec::new() },
        };
        SessionObs {
            sid: s.sid,
            target: self.targets[server].clone(),
            state: match s.state {
                State::LoggedIn => SessionState::LoggedIn,
                State::Failed => SessionState::Failed,
                State::Free => SessionState::Free,
            },
            local_port: (s.state == State::LoggedIn).then_some(s.port),
            recovery_tmo: s.tmo,
            noop: Some((5, 5)),
            disks: s.disks.iter().map(disk).collect(),
        }
    }

    /// Node records.
    pub fn node_records(&self) -> Vec<NodeObs> {
        let record = |(server, target): (usize, &mirrorkeeper_core::ids::TargetKey)| {
            let host = &self.servers[server];
            let startup = if host.automatic { Startup::Automatic } else { Startup::Manual };
            NodeObs { target: target.clone(), startup, replacement_timeout: i32::try_from(host.record).ok() }
        };
        self.targets.iter().enumerate().map(record).collect()
    }

    /// What a probe reads.
    pub fn probe(&self, target: &ProbeTarget) -> LegProbe {
        let works =
            |d: &&super::session::Disk| d.name == target.device && self.way(Some(d.id)) == super::session::Way::Works;
        let Some(lun) = self.disks().find(works).map(|d| d.lun) else {
            let why = || "Input/output error".to_owned();
            return LegProbe {
                identity: ProbedIdentity::Unreadable(why()),
                size: 0,
                superblocks: target.superblocks.iter().map(|_| ProbedSuperblock::Unreadable(why())).collect(),
                registration: Registration::Unknown(why()),
            };
        };
        let image = &self.luns[lun].cached;
        let identity = match image.label {
            Label::Pv(pv) => ProbedIdentity::Pv { pv: self.pvs[pv].clone(), metadata: self.vg_text(lun) },
            Label::Foreign => ProbedIdentity::Pv { pv: super::world::uuid("pvforeign"), metadata: None },
            Label::Garbage => ProbedIdentity::Foreign,
            Label::Blank => ProbedIdentity::Blank,
        };
        let registration =
            if target.disk.is_empty() { Registration::Unknown("not asked".to_owned()) } else { self.registration(lun) };
        let superblocks = target.superblocks.iter().map(|offset| self.superblock(lun, *offset)).collect();
        LegProbe { identity, size: image.size, superblocks, registration }
    }

    fn vg_text(&self, lun: usize) -> Option<VgText> {
        let vg = &self.vgs[self.luns[lun].vg];
        let text = self.luns[lun].cached.text.as_ref()?;
        let missing = (0..vg.pvs.len()).filter(|pv| text.missing >> pv & 1 == 1).map(|pv| vg.pvs[pv].clone());
        Some(VgText {
            vg: vg.uuid.clone(),
            seqno: text.seqno,
            missing: missing.collect(),
            stamps: text.stamps.iter().copied().collect(),
            host: if text.foreign { "other".into() } else { NODE.into() },
        })
    }

    pub(super) fn registration(&self, lun: usize) -> Registration {
        let keys = &self.luns[lun].keys;
        if !keys.supported {
            return Registration::Unknown("Illegal Request".to_owned());
        }
        Registration::Keys {
            generation: keys.generation,
            keys: keys.keys.clone(),
            reserved: false,
            persists: keys.persists,
        }
    }

    fn superblock(&self, lun: usize, offset: u64) -> ProbedSuperblock {
        let image = &self.luns[lun].cached;
        let lv = usize::try_from(offset / EXTENT / 100).unwrap_or(usize::MAX);
        let area = image.areas.get(lv);
        match (area.and_then(|area| area.sb), image.label) {
            (_, Label::Garbage | Label::Foreign) => ProbedSuperblock::Foreign,
            (None, _) => ProbedSuperblock::Blank,
            (Some(sb), _) => ProbedSuperblock::Found(Superblock {
                num_devices: u32::try_from(sb.devices).unwrap_or(0),
                position: u32::try_from(sb.position).unwrap_or(0),
                // One more while it is dirty (`facts/lab.md` 0.1).
                events: sb.events + u64::from(area.is_some_and(|area| area.bitmap != 0)),
                failed_devices: sb.failed,
                disk_recovery_offset: if sb.complete { u64::MAX } else { 0 },
            }),
        }
    }
}

/// A volume's devices; `minor` is the first of its numbers.
fn device(v: &Volume, minor: u32, now: u64, dm: &mut Vec<DmObs>) {
    if v.live == Live::Inactive {
        return;
    }
    let top = |target: DmTarget, deps: Vec<DevNo>| DmObs {
        name: v.names.dm.clone(),
        uuid: v.names.dm_uuid.clone(),
        dev: dm_dev(minor),
        event_nr: v.event_nr,
        suspended: v.suspended,
        open_count: u32::from(v.open),
        targets: vec![target],
        deps,
    };
    if v.live == Live::Linear {
        let dev = v.legs.first().and_then(|leg| leg.disk).map(disk_dev);
        let target = dev.map_or(DmTarget::Error, |dev| DmTarget::Linear { dev, offset: 2048 });
        dm.push(top(target, dev.into_iter().collect()));
        return;
    }
    let mut images = Vec::with_capacity(v.legs.len());
    let parts = if v.live == Live::Raid { &v.names.rimage } else { &v.names.mimage };
    for (i, (leg, part)) in v.legs.iter().zip(parts).enumerate() {
        let dev = dm_dev(minor + 1 + u32::try_from(i).unwrap_or(0));
        let target = leg.disk.map_or(DmTarget::Error, |id| DmTarget::Linear { dev: disk_dev(id), offset: 2048 });
        dm.push(DmObs {
            name: part.dm.clone(),
            uuid: part.dm_uuid.clone(),
            dev,
            event_nr: 0,
            suspended: false,
            open_count: 1,
            targets: vec![target],
            deps: leg.disk.map(disk_dev).into_iter().collect(),
        });
        images.push(dev);
    }
    let target = if v.live == Live::Raid { raid(v, &images, now) } else { mirror(v, &images, now) };
    dm.push(top(target, images));
}

/// How far a sync is, of `total`.
fn done(v: &Volume, total: u64, now: u64) -> u64 {
    let Some(sync) = &v.sync else { return total };
    let length = sync.ends.saturating_sub(sync.begun).max(1);
    let part = u128::from(total) * u128::from(now.saturating_sub(sync.begun)) / u128::from(length);
    u64::try_from(part).unwrap_or(total).min(total - 1)
}

fn raid(v: &Volume, images: &[DevNo], now: u64) -> DmTarget {
    let flags = v.legs.iter().enumerate().filter_map(|(i, leg)| match (leg.dropped, leg.flag) {
        (true, _) => Some(-1),
        (false, true) => i32::try_from(i).ok(),
        (false, false) => None,
    });
    let table = RaidTable {
        raid_type: "raid1".to_owned(),
        legs: images.iter().map(|dev| (Some(*dev), Some(*dev))).collect(),
        write_mostly: flags.collect(),
    };
    let letter = |leg: &super::volume::Leg| match leg.health {
        Health::Alive => LegHealth::InSync,
        Health::Syncing => LegHealth::Syncing,
        Health::Dead => LegHealth::Dead,
    };
    let action = match &v.sync {
        _ if v.suspended => SyncAction::Frozen,
        None => SyncAction::Idle,
        Some(sync) => match sync.action {
            Action::Resync => SyncAction::Resync,
            Action::Recover => SyncAction::Recover,
            Action::Check => SyncAction::Check,
            Action::Repair => SyncAction::Repair,
        },
    };
    let done = if v.suspended || v.spoiled { 0 } else { done(v, SECTORS, now) };
    let health = v.legs.iter().map(letter).collect();
    DmTarget::Raid { table, status: RaidStatus { health, done, total: SECTORS, action, mismatches: v.mismatches } }
}

fn mirror(v: &Volume, images: &[DevNo], now: u64) -> DmTarget {
    let letter = |leg: &super::volume::Leg| if leg.health == Health::Dead { 'D' } else { 'A' };
    // A copy whose source failed leaves regions that are nobody's until the next table load (`dm-raid1.c`).
    let broken_off = v.sync.is_none() && v.legs.iter().any(|leg| leg.health == Health::Syncing);
    DmTarget::Mirror {
        handle_errors: v.handle_errors,
        nosync: false,
        status: MirrorStatus {
            legs: images.to_vec(),
            in_sync: if broken_off { 0 } else { done(v, REGIONS, now) },
            total: REGIONS,
            health: v.legs.iter().map(letter).collect(),
            log: MirrorLog::Core,
        },
    }
}

/// The segment type's word.
pub fn segtype(kind: Kind) -> &'static str {
    match kind {
        Kind::Raid1 => "raid1",
        Kind::Mirror => "mirror",
        Kind::Linear => "linear",
    }
}
