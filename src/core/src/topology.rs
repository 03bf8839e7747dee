//! The join: server → target → session → disk → (partition) (multipath) → PV → leg → mirror.
//!
//! A pure function of what was observed and remembered, made anew whenever either changes. The kernel says how things
//! are now, LVM's metadata says whose they are; where they differ about the present, the kernel is right.

use crate::ids::{DevNo, LvUuid, PvUuid, TargetKey, VgUuid};
use crate::ledger::{Kind, Ledger, MirrorRecord};
use crate::observation::{
    DiskObs, DmObs, DmTarget, KernelView, LegHealth, LvObs, MirrorLog, PvLink, PvObs, RaidStatus, ScsiState,
    SessionState, SyncAction, VgObs,
};
use crate::op::{LogKind, LvRef, VgRef};
use crate::words::UnmanagedReason;
use std::collections::BTreeMap;

/// Where a PV is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Kernel name of the device that holds the PV (`sda`, `sda1`, `dm-3`).
    pub name: String,
    /// Its number.
    pub dev: DevNo,
    /// The SCSI disk below it; equal to `name` for a whole disk. Empty for a device that is on no iSCSI session.
    pub disk: String,
    /// Capacity of that disk in bytes.
    pub size: u64,
    /// Sectors written to that disk so far.
    pub sectors_written: u64,
    /// The target, for an iSCSI disk.
    pub target: Option<TargetKey>,
    /// I/O would be answered: disk running and session logged in, seen in one sample.
    pub up: bool,
    /// I/O would wait.
    pub blocked: bool,
    /// The disk was set offline, by hand or by error handling: no relogin revives it.
    pub offline: bool,
    /// A dm-multipath map lies between.
    pub multipath: bool,
    /// udev calls it this PV. Commands name PVs by udev's links.
    pub linked: bool,
}

/// One leg of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Its PV.
    pub pv: PvUuid,
    /// Position in the LV; `None` when the LV has dropped it.
    pub index: Option<usize>,
    /// What the kernel says; `None` when inactive or dropped. dm-mirror's letters other than `A` count as dead.
    pub health: Option<LegHealth>,
    /// The kernel reads from it only if it must.
    pub write_mostly: bool,
    /// Where the PV is.
    pub place: Option<Place>,
    /// LVM has the PV flagged MISSING (or cannot find it).
    pub missing: bool,
    /// Bytes from the PV's data area to this leg's dm-raid superblock.
    pub superblock: Option<u64>,
}

/// The live table of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// Not active here.
    Inactive,
    /// raid target.
    Raid(RaidStatus),
    /// mirror target; regions of all segments added up.
    Mirror {
        /// Regions in sync.
        in_sync: u64,
        /// Regions.
        total: u64,
        /// Failed writes wait for dmeventd.
        handle_errors: bool,
    },
    /// A `mirror` that has only one leg left.
    Single,
    /// Not understood: hold.
    Unreadable(String),
}

/// A mirrored LV, or one that was mirrored and lost its legs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Name on the bus.
    pub name: String,
    /// Its VG.
    pub vg: VgRef,
    /// Itself.
    pub lv: LvRef,
    /// Type it has or had.
    pub kind: Kind,
    /// Log it has or had.
    pub log: LogKind,
    /// PV of a disk log.
    pub log_pv: Option<PvUuid>,
    /// Bytes.
    pub size: u64,
    /// Why it is only shown.
    pub unmanaged: Option<UnmanagedReason>,
    /// Live table.
    pub live: Live,
    /// dm event number of the live device.
    pub event_nr: u32,
    /// It, or a part of it, is suspended.
    pub suspended: bool,
    /// dmeventd watches it; `None` when not known.
    pub monitored: Option<bool>,
    /// Legs in order, dropped ones last.
    pub legs: Vec<Leg>,
    /// LVM's report described it; else it is drawn from the ledger and must not be acted upon.
    pub reported: bool,
}

impl Mirror {
    /// The leg on a PV.
    pub fn leg(&self, pv: &PvUuid) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.pv == *pv)
    }

    /// Whether all legs are `A`, nothing is being copied and the table is live. (Believe it only when seen twice:
    /// `facts/lvm.md` 1.1.)
    pub fn steady(&self) -> bool {
        let all_alive = self.legs.iter().all(|leg| leg.health == Some(LegHealth::InSync));
        !self.suspended
            && all_alive
            && match &self.live {
                Live::Raid(status) => status.action == SyncAction::Idle && status.done == status.total,
                Live::Mirror { in_sync, total, .. } => in_sync == total,
                _ => false,
            }
    }

    /// Whether no copy, check or suspend is going on, whatever the legs are like.
    pub fn idle(&self) -> bool {
        !self.suspended
            && match &self.live {
                Live::Raid(status) => status.action == SyncAction::Idle,
                Live::Mirror { in_sync, total, .. } => in_sync == total,
                Live::Single => true,
                _ => false,
            }
    }
}

/// Every mirror there is or was, by LV UUID.
pub fn join(kernel: &KernelView, vgs: &BTreeMap<VgUuid, VgObs>, ledger: &Ledger) -> BTreeMap<LvUuid, Mirror> {
    let join = Join::new(kernel, ledger);
    let mut mirrors = BTreeMap::new();
    for vg in vgs.values() {
        let twin = vgs.values().any(|other| other.name == vg.name && other.uuid != vg.uuid);
        for lv in &vg.lvs {
            let record = ledger.mirrors.get(&lv.uuid);
            if let Some(mirror) = join.reported(vg, lv, record, twin) {
                mirrors.insert(lv.uuid.clone(), mirror);
            }
        }
    }
    for (uuid, record) in &ledger.mirrors {
        if !vgs.contains_key(&record.vg) {
            mirrors.insert(uuid.clone(), join.remembered(uuid, record));
        }
    }
    mirrors
}

/// The type of a mirrored LV, if it is one.
fn kind_of(lv: &LvObs) -> Option<Kind> {
    let segtype = lv.segs.first()?.segtype.as_str();
    match segtype {
        "raid1" => Some(Kind::Raid1),
        "mirror" => Some(Kind::Mirror),
        _ if segtype.starts_with("raid10") => Some(Kind::Raid10),
        _ => None,
    }
}

struct Join<'a> {
    kernel: &'a KernelView,
    ledger: &'a Ledger,
    dm_by_uuid: BTreeMap<&'a str, &'a DmObs>,
    dm_by_dev: BTreeMap<DevNo, &'a DmObs>,
}

impl<'a> Join<'a> {
    fn new(kernel: &'a KernelView, ledger: &'a Ledger) -> Self {
        Self {
            kernel,
            ledger,
            dm_by_uuid: kernel.dm.iter().map(|d| (d.uuid.as_str(), d)).collect(),
            dm_by_dev: kernel.dm.iter().map(|d| (d.dev, d)).collect(),
        }
    }

    fn reported(&self, vg: &VgObs, lv: &LvObs, record: Option<&MirrorRecord>, twin: bool) -> Option<Mirror> {
        let kind = kind_of(lv).or_else(|| record.map(|r| r.kind))?;
        let layout = layout(vg, lv);
        let device = self.dm_by_uuid.get(dm_uuid(&vg.uuid, &lv.uuid).as_str()).copied();
        let mut legs: Vec<Leg> = layout
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, part)| self.leg(vg.pvs.iter().find(|pv| pv.uuid == part.pv), part, index, device))
            .collect();
        for pv in record.iter().flat_map(|r| r.legs.keys()) {
            if !legs.iter().any(|leg| leg.pv == *pv) {
                let missing = vg.pvs.iter().find(|p| p.uuid == *pv).is_none_or(|p| p.missing);
                legs.push(Leg { place: self.place(pv), missing, ..Leg::absent(pv) });
            }
        }
        let log_lv = vg.lvs.iter().find(|l| !lv.mirror_log.is_empty() && l.name == lv.mirror_log);
        let log_pv = log_lv.and_then(|l| l.extents.first()).map(|run| run.pv.clone());
        let log = match kind {
            Kind::Mirror if log_pv.is_some() => LogKind::Disk,
            Kind::Mirror => LogKind::Core,
            Kind::Raid1 | Kind::Raid10 => LogKind::Bitmap,
        };
        // A mirror that lost its legs has no log any more; what it had is in the ledger.
        let (log, log_pv) = match record {
            Some(r) if kind_of(lv).is_none() => (r.log, r.log_pv.clone()),
            _ => (log, log_pv),
        };
        Some(Mirror {
            name: if twin { format!("{}/{}", vg.uuid, lv.name) } else { format!("{}/{}", vg.name, lv.name) },
            vg: VgRef { uuid: vg.uuid.clone(), name: vg.name.clone() },
            lv: LvRef { uuid: lv.uuid.clone(), name: lv.name.clone() },
            kind,
            log,
            log_pv,
            size: lv.size,
            unmanaged: unmanaged(vg, lv, twin, layout.is_none(), device),
            live: device.map_or(Live::Inactive, live),
            event_nr: device.map_or(0, |d| d.event_nr),
            suspended: device.is_some_and(|d| self.suspended(d)),
            monitored: match lv.segs.first().map(|s| s.monitor.as_str()) {
                Some("monitored" | "pending") => Some(true),
                Some("not monitored") => Some(false),
                _ => None,
            },
            legs,
            reported: true,
        })
    }

    /// A mirror whose VG LVM cannot see now (every server gone, or no report yet).
    fn remembered(&self, uuid: &LvUuid, record: &MirrorRecord) -> Mirror {
        let device = self.dm_by_uuid.get(dm_uuid(&record.vg, uuid).as_str()).copied();
        let legs = record.legs.keys().map(|pv| {
            let place = self.place(pv);
            // Which letter is whose cannot be told without the metadata but through the device below the image.
            let index = device.zip(place.as_ref()).and_then(|(d, place)| self.index_over(d, place.dev));
            let health = device.zip(index).and_then(|(d, i)| health(d, i, place.as_ref()));
            let write_mostly = index.is_some_and(|i| device.is_some_and(|d| is_write_mostly(d, i)));
            Leg { place, index, health, write_mostly, ..Leg::absent(pv) }
        });
        let (vg, lv) = record.name.rsplit_once('/').unwrap_or(("", &record.name));
        Mirror {
            name: record.name.clone(),
            vg: VgRef { uuid: record.vg.clone(), name: vg.to_owned() },
            lv: LvRef { uuid: uuid.clone(), name: lv.to_owned() },
            kind: record.kind,
            log: record.log,
            log_pv: record.log_pv.clone(),
            size: 0,
            unmanaged: None,
            live: device.map_or(Live::Inactive, live),
            event_nr: device.map_or(0, |d| d.event_nr),
            suspended: device.is_some_and(|d| self.suspended(d)),
            monitored: None,
            legs: legs.collect(),
            reported: false,
        }
    }

    fn leg(&self, pv: Option<&PvObs>, part: &LegLayout, index: usize, device: Option<&DmObs>) -> Leg {
        let place = self.place(&part.pv);
        Leg {
            pv: part.pv.clone(),
            index: Some(index),
            health: device.and_then(|d| health(d, index, place.as_ref())),
            write_mostly: device.is_some_and(|d| is_write_mostly(d, index)),
            place,
            missing: pv.is_none_or(|pv| pv.missing || pv.device.is_none()),
            superblock: part.superblock,
        }
    }

    /// The disk that stands where a PV was last seen and is no known PV: a LUN that came back blank or as something else
    /// has lost its link. It is looked at before anything is believed of it.
    fn stranger(&self, pv: &PvUuid) -> Option<PvLink> {
        let known = || self.ledger.mirrors.values().flat_map(|m| &m.legs);
        let target = known().find(|(uuid, _)| *uuid == pv)?.1.target.as_ref()?;
        let session = self.kernel.sessions.iter().find(|s| s.target.to_string() == *target)?;
        let taken: Vec<DevNo> =
            known().filter_map(|(uuid, _)| self.kernel.pv_links.get(uuid)).map(|link| link.dev).collect();
        let free = |d: &&DiskObs| !taken.contains(&d.dev) && !d.partitions.iter().any(|(_, p)| taken.contains(p));
        let mut disks = session.disks.iter().filter(free);
        // With more than one it could be either.
        let disk = disks.next().filter(|_| disks.next().is_none())?;
        Some(PvLink { name: disk.name.clone(), dev: disk.dev })
    }

    /// Where udev last saw a PV, followed down to the SCSI disk.
    fn place(&self, pv: &PvUuid) -> Option<Place> {
        let unlinked;
        let link = match self.kernel.pv_links.get(pv) {
            Some(link) => link,
            None => {
                unlinked = self.stranger(pv)?;
                &unlinked
            }
        };
        let mut multipath = false;
        let mut dev = link.dev;
        // A PV may lie on a map on a map; eight levels are more than anybody builds.
        for _ in 0..8 {
            let Some(map) = self.dm_by_dev.get(&dev) else { break };
            multipath |= map.uuid.starts_with("mpath-");
            dev = *map.deps.first()?;
        }
        let mut place = Place {
            name: link.name.clone(),
            dev: link.dev,
            disk: String::new(),
            size: 0,
            sectors_written: 0,
            target: None,
            up: true,
            blocked: false,
            offline: false,
            multipath,
            linked: self.kernel.pv_links.contains_key(pv),
        };
        for session in &self.kernel.sessions {
            let holds = |d: &&DiskObs| d.dev == dev || d.partitions.iter().any(|(_, p)| *p == dev);
            if let Some(disk) = session.disks.iter().find(holds) {
                place.disk.clone_from(&disk.name);
                place.size = disk.size;
                place.sectors_written = disk.sectors_written;
                place.target = Some(session.target.clone());
                place.up = disk.state == ScsiState::Running && session.state == SessionState::LoggedIn;
                place.blocked = disk.state == ScsiState::Blocked;
                place.offline = disk.state == ScsiState::Offline;
            }
        }
        Some(place)
    }

    fn suspended(&self, device: &DmObs) -> bool {
        let below = device.deps.iter().filter_map(|dev| self.dm_by_dev.get(dev));
        device.suspended || below.into_iter().any(|d| d.suspended)
    }

    /// Position of the leg whose image lies on a device.
    fn index_over(&self, device: &DmObs, below: DevNo) -> Option<usize> {
        let on = |image: DevNo| self.dm_by_dev.get(&image).is_some_and(|d| d.deps.contains(&below));
        match device.targets.first()? {
            DmTarget::Raid { table, .. } => table.legs.iter().position(|(_, data)| data.is_some_and(on)),
            DmTarget::Mirror { status, .. } => status.legs.iter().position(|dev| on(*dev)),
            DmTarget::Linear { dev, .. } => (*dev == below).then_some(0),
            _ => None,
        }
    }
}

impl Leg {
    fn absent(pv: &PvUuid) -> Self {
        Self {
            pv: pv.clone(),
            index: None,
            health: None,
            write_mostly: false,
            place: None,
            missing: true,
            superblock: None,
        }
    }
}

/// The uuid device-mapper has for an LV.
fn dm_uuid(vg: &VgUuid, lv: &LvUuid) -> String {
    format!("LVM-{}{}", vg.compact(), lv.compact())
}

/// One leg by the metadata.
struct LegLayout {
    pv: PvUuid,
    superblock: Option<u64>,
}

/// The legs of an LV in order; `None` when a leg has no extents or spreads over several PVs.
fn layout(vg: &VgObs, lv: &LvObs) -> Option<Vec<LegLayout>> {
    let by_name = |name: &String| vg.lvs.iter().find(|l| l.name == *name);
    let one_pv = |l: &LvObs| {
        let first = l.extents.first()?;
        l.extents.iter().all(|run| run.pv == first.pv).then(|| first.clone())
    };
    if kind_of(lv).is_none() {
        return Some(vec![LegLayout { pv: one_pv(lv)?.pv, superblock: None }]);
    }
    let seg = lv.segs.first()?;
    let legs = seg.devices.iter().enumerate().map(|(i, image)| {
        let image = one_pv(by_name(image)?)?;
        let meta = seg.metadata_devices.get(i).and_then(by_name).and_then(one_pv);
        let superblock = meta.filter(|m| m.pv == image.pv).map(|m| m.start.saturating_mul(vg.extent_size));
        Some(LegLayout { pv: image.pv, superblock })
    });
    legs.collect()
}

fn unmanaged(vg: &VgObs, lv: &LvObs, twin: bool, odd_layout: bool, device: Option<&DmObs>) -> Option<UnmanagedReason> {
    let cluster_log = device.is_some_and(|d| {
        d.targets
            .iter()
            .any(|t| matches!(t, DmTarget::Mirror { status, .. } if matches!(status.log, MirrorLog::Other(_))))
    });
    let rules = [
        (!matches!(vg.lock_type.as_str(), "" | "none"), UnmanagedReason::SharedVg),
        (vg.exported, UnmanagedReason::Exported),
        (!vg.writeable, UnmanagedReason::ReadOnly),
        (lv.layout.iter().any(|w| w == "integrity"), UnmanagedReason::Integrity),
        (cluster_log, UnmanagedReason::ClusterLog),
        (!lv.move_pv.is_empty(), UnmanagedReason::Pvmove),
        (lv.converting, UnmanagedReason::Converting),
        (lv.role.iter().any(|w| w == "private") || !lv.parent.is_empty(), UnmanagedReason::Hidden),
        (vg.pvs.iter().any(|pv| pv.duplicate), UnmanagedReason::DuplicatePv),
        (twin || odd_layout, UnmanagedReason::Unsupported),
    ];
    rules.into_iter().find(|(applies, _)| *applies).map(|(_, reason)| reason)
}

fn live(device: &DmObs) -> Live {
    let unreadable = device.targets.iter().find_map(|t| match t {
        DmTarget::Unreadable { kind, why } => Some(Live::Unreadable(format!("{kind}: {why}"))),
        _ => None,
    });
    if let Some(unreadable) = unreadable {
        return unreadable;
    }
    match device.targets.first() {
        Some(DmTarget::Raid { status, .. }) => Live::Raid(status.clone()),
        Some(DmTarget::Mirror { .. }) => {
            let (mut in_sync, mut total, mut handle_errors) = (0, 0, true);
            for target in &device.targets {
                if let DmTarget::Mirror { handle_errors: handles, status } = target {
                    in_sync += status.in_sync;
                    total += status.total;
                    handle_errors &= handles;
                }
            }
            Live::Mirror { in_sync, total, handle_errors }
        }
        Some(DmTarget::Linear { .. }) => Live::Single,
        Some(DmTarget::Error) => Live::Unreadable("error target in place of the volume".into()),
        Some(DmTarget::Other(kind)) => Live::Unreadable(format!("{kind} target in place of the mirror")),
        Some(DmTarget::Unreadable { .. }) | None => Live::Inactive,
    }
}

fn health(device: &DmObs, index: usize, place: Option<&Place>) -> Option<LegHealth> {
    let worst = device.targets.iter().filter_map(|t| match t {
        DmTarget::Raid { status, .. } => status.health.get(index).copied(),
        DmTarget::Mirror { status, .. } => {
            status.health.get(index).map(|c| if *c == 'A' { LegHealth::InSync } else { LegHealth::Dead })
        }
        // What is left of a mirror that lost its other legs. Told by the device: right after dmeventd has dropped a leg, the
        // last report still has the old order.
        DmTarget::Linear { dev, .. } if place.is_some_and(|p| p.dev == *dev) => Some(LegHealth::InSync),
        _ => None,
    });
    worst.reduce(|a, b| if a == LegHealth::InSync { b } else { a })
}

fn is_write_mostly(device: &DmObs, index: usize) -> bool {
    device.targets.iter().any(|t| {
        matches!(t, DmTarget::Raid { table, .. } if table.write_mostly.iter().any(|i| usize::try_from(*i) == Ok(index)))
    })
}
