//! The join: server → target → session → disk → (partition) (multipath) → PV → leg → mirror.
//!
//! A pure function of what was observed and remembered, made anew whenever either changes. The kernel says how things
//! are now, LVM's metadata says whose they are; where they differ about the present, the kernel is right.

mod parts;
mod place;

use crate::ids::{DevNo, LvUuid, PvUuid, TargetKey, VgUuid};
use crate::ledger::{Kind, Ledger, MirrorRecord};
use crate::name::Name;
use crate::observation::{DmObs, DmTarget, KernelView, LegHealth, LvObs, PvObs, RaidStatus, SyncAction, VgObs};
use crate::op::{LogKind, LvRef, VgRef};
use crate::words::UnmanagedReason;
use parts::{LegLayout, Names, health, is_write_mostly, kind_of, layout, left_out, live, positions, unmanaged};
use std::collections::BTreeMap;

/// Where a PV is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Kernel name of the device that holds the PV (`sda`, `sda1`, `dm-3`).
    pub name: Name,
    /// Its number.
    pub dev: DevNo,
    /// The SCSI disk below it; equal to `name` for a whole disk. Empty for a device that is on no iSCSI session.
    pub disk: Name,
    /// Capacity of that disk in bytes.
    pub size: u64,
    /// That disk's own name, empty if it has none.
    pub wwid: Name,
    /// The kernel's word for that disk's cache.
    pub write_cache: Name,
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
    /// Its image in the live table lies on that very device, and is used. It does not after a login under a new name, and is not
    /// when the table was loaded without it.
    pub attached: bool,
    /// Its image in the live table lies on a disk, be it gone, and not on what LVM puts in the place of one it does not find.
    pub placed: bool,
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
        /// Loaded as in sync: the next table made from the metadata is another one, and begins with a full copy.
        nosync: bool,
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
    pub name: Name,
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
    /// Somebody has it open: a mount, or another device on top.
    pub open: bool,
    /// LVM activates it by itself when its VG is complete.
    pub autoactivation: bool,
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

    /// dm event number of the live table; `None` while it is not active.
    pub fn event(&self) -> Option<u32> {
        (self.live != Live::Inactive).then_some(self.event_nr)
    }

    /// Whether nobody knows how a leg is: its device has just gone, and LVM has not reported since.
    pub fn unclear(&self, leg: &Leg) -> bool {
        leg.health.is_none() && (leg.index.is_some() || !self.reported)
    }

    /// Whether nothing counts as in sync and nothing is copied: writes to the last leg have failed, and a resume revives nobody
    /// (`facts/lab.md` 4). Nothing done in that state shows in the status: `AD 0/262144 idle`.
    pub fn spoiled(&self) -> bool {
        self.idle() && matches!(&self.live, Live::Raid(status) if status.done == 0 && status.total > 0)
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
        let names = Names::of(vg);
        for lv in &vg.lvs {
            let record = ledger.mirrors.get(&lv.uuid);
            if let Some(mirror) = join.reported(vg, &names, lv, record, twin) {
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

struct Join<'a> {
    kernel: &'a KernelView,
    ledger: &'a Ledger,
    /// The devices by number, and those that are LVs by uuid. Each mirror is looked up by several numbers: with a thousand of
    /// them, searching took most of a turn.
    by_dev: Vec<&'a DmObs>,
    by_uuid: Vec<&'a DmObs>,
}

impl<'a> Join<'a> {
    fn new(kernel: &'a KernelView, ledger: &'a Ledger) -> Self {
        let mut by_dev: Vec<&DmObs> = kernel.dm.iter().collect();
        by_dev.sort_by_key(|device| device.dev);
        let mut by_uuid: Vec<&DmObs> = kernel.dm.iter().filter(|device| device.uuid.starts_with("LVM-")).collect();
        by_uuid.sort_by_key(|device| &device.uuid);
        Self { kernel, ledger, by_dev, by_uuid }
    }

    fn device(&self, vg: &VgUuid, lv: &LvUuid) -> Option<&'a DmObs> {
        let uuid = ["LVM-", &vg.compact(), &lv.compact()].concat();
        let at = self.by_uuid.binary_search_by(|device| device.uuid.as_str().cmp(&uuid)).ok()?;
        self.by_uuid.get(at).copied()
    }

    fn device_at(&self, dev: DevNo) -> Option<&'a DmObs> {
        self.by_dev.get(self.by_dev.binary_search_by_key(&dev, |device| device.dev).ok()?).copied()
    }

    fn reported(
        &self,
        vg: &VgObs,
        names: &Names<'_>,
        lv: &LvObs,
        record: Option<&MirrorRecord>,
        twin: bool,
    ) -> Option<Mirror> {
        let kind = kind_of(lv).or_else(|| record.map(|r| r.kind))?;
        let layout = layout(vg, names, lv);
        let device = self.device(&vg.uuid, &lv.uuid);
        let mut legs: Vec<Leg> = layout
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, part)| self.leg(vg.pvs.iter().find(|pv| pv.uuid == part.pv), part, index, device))
            .collect();
        for pv in record.iter().flat_map(|r| r.legs.keys()) {
            if !legs.iter().any(|leg| leg.pv == *pv) {
                let known = vg.pvs.iter().find(|p| p.uuid == *pv);
                let place = self.place(pv).or_else(|| self.named(known?));
                legs.push(Leg { place, missing: known.is_none_or(|p| p.missing), ..Leg::absent(pv) });
            }
        }
        let log_lv = if lv.mirror_log.is_empty() { None } else { names.get(&lv.mirror_log) };
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
        let forgotten = self.ledger.vgs.get(&vg.uuid).is_some_and(|vg| vg.forgotten);
        let forgotten = forgotten.then_some(UnmanagedReason::Forgotten);
        Some(Mirror {
            name: full_name(if twin { vg.uuid.as_str() } else { &vg.name }, &lv.name, record),
            vg: VgRef { uuid: vg.uuid.clone(), name: vg.name.clone() },
            lv: LvRef { uuid: lv.uuid.clone(), name: lv.name.clone() },
            kind,
            log,
            log_pv,
            size: lv.size,
            unmanaged: unmanaged(vg, lv, twin, layout.is_none(), device).or(forgotten),
            live: device.map_or(Live::Inactive, live),
            event_nr: device.map_or(0, |d| d.event_nr),
            open: device.is_some_and(|d| d.open_count > 0),
            autoactivation: lv.autoactivation,
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
        let device = self.device(&record.vg, uuid);
        let places: Vec<Option<Place>> = record.legs.keys().map(|pv| self.place(pv)).collect();
        let indices = device.map_or_else(|| vec![None; places.len()], |device| self.indices(device, &places));
        let legs = record.legs.keys().zip(places).zip(indices).map(|((pv, place), index)| {
            let health = device.zip(index).and_then(|(d, i)| health(d, i, place.as_ref()));
            let write_mostly = index.is_some_and(|i| device.is_some_and(|d| is_write_mostly(d, i)));
            let table = device.zip(index);
            let attached = table.is_some_and(|(d, i)| self.attached(d, i, place.as_ref()));
            let placed = table.is_some_and(|(d, i)| self.placed(d, i));
            Leg { place, index, health, write_mostly, attached, placed, ..Leg::absent(pv) }
        });
        let (vg, lv) = record.name.rsplit_once('/').unwrap_or(("", &record.name));
        Mirror {
            name: record.name.clone(),
            vg: VgRef { uuid: record.vg.clone(), name: vg.into() },
            lv: LvRef { uuid: uuid.clone(), name: lv.into() },
            kind: record.kind,
            log: record.log,
            log_pv: record.log_pv.clone(),
            size: 0,
            unmanaged: None,
            live: device.map_or(Live::Inactive, live),
            event_nr: device.map_or(0, |d| d.event_nr),
            open: device.is_some_and(|d| d.open_count > 0),
            autoactivation: true,
            suspended: device.is_some_and(|d| self.suspended(d)),
            monitored: None,
            legs: legs.collect(),
            reported: false,
        }
    }

    fn leg(&self, pv: Option<&PvObs>, part: &LegLayout, index: usize, device: Option<&DmObs>) -> Leg {
        let place = self.place(&part.pv).or_else(|| self.under(device?, index)).or_else(|| self.named(pv?));
        Leg {
            pv: part.pv.clone(),
            index: Some(index),
            health: device.and_then(|d| health(d, index, place.as_ref())),
            write_mostly: device.is_some_and(|d| is_write_mostly(d, index)),
            attached: device.is_some_and(|d| self.attached(d, index, place.as_ref())),
            placed: device.is_some_and(|d| self.placed(d, index)),
            place,
            missing: pv.is_none_or(|pv| pv.missing || pv.device.is_none()),
            superblock: part.superblock,
        }
    }

    /// The image of a leg lies on its device, and is used.
    fn attached(&self, device: &DmObs, index: usize, place: Option<&Place>) -> bool {
        let over = |place: &Place| self.image(device, index).is_some_and(|image| self.on(image, place.dev));
        place.is_some_and(over) && !left_out(device, index)
    }

    /// The image of a leg lies on a disk, be it gone.
    fn placed(&self, device: &DmObs, index: usize) -> bool {
        self.image(device, index).is_some_and(|image| self.over_a_disk(image))
    }

    fn suspended(&self, device: &DmObs) -> bool {
        let below = device.deps.iter().filter_map(|dev| self.device_at(*dev));
        device.suspended || below.into_iter().any(|d| d.suspended)
    }

    /// Positions of legs in these places. Which letter is whose cannot be told without the metadata but through the device
    /// below the image; whose is the only one that is left, by that.
    fn indices(&self, device: &DmObs, places: &[Option<Place>]) -> Vec<Option<usize>> {
        let over = |place: &Option<Place>| self.index_over(device, place.as_ref()?.dev);
        let mut indices: Vec<Option<usize>> = places.iter().map(over).collect();
        let vacant: Vec<usize> = (0..positions(device)).filter(|at| !indices.contains(&Some(*at))).collect();
        let mut unknown = indices.iter_mut().filter(|index| index.is_none());
        if let (Some(last), None, [only]) = (unknown.next(), unknown.next(), vacant.as_slice()) {
            *last = Some(*only);
        }
        indices
    }

    /// Position of the leg whose image lies on a device.
    fn index_over(&self, device: &DmObs, below: DevNo) -> Option<usize> {
        (0..positions(device)).find(|i| self.image(device, *i).is_some_and(|image| self.on(image, below)))
    }

    /// The device that a leg's blocks are on.
    fn image(&self, device: &DmObs, index: usize) -> Option<DevNo> {
        match device.targets.first()? {
            DmTarget::Raid { table, .. } => table.legs.get(index)?.1,
            DmTarget::Mirror { status, .. } => status.legs.get(index).copied(),
            DmTarget::Linear { dev, .. } => Some(*dev),
            _ => None,
        }
    }

    /// Whether an image is, or lies on, a device.
    fn on(&self, image: DevNo, below: DevNo) -> bool {
        image == below || self.device_at(image).is_some_and(|d| d.deps.contains(&below))
    }
}

/// `vg/lv`, which is most often what it was before.
fn full_name(vg: &str, lv: &str, record: Option<&MirrorRecord>) -> Name {
    let same = |r: &&MirrorRecord| r.name.strip_prefix(vg).and_then(|rest| rest.strip_prefix('/')) == Some(lv);
    record.filter(same).map_or_else(|| format!("{vg}/{lv}").into(), |r| r.name.clone())
}

impl Leg {
    /// Its device is there and answers.
    pub fn up(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.up)
    }

    fn absent(pv: &PvUuid) -> Self {
        Self {
            pv: pv.clone(),
            index: None,
            health: None,
            write_mostly: false,
            place: None,
            attached: false,
            placed: false,
            missing: true,
            superblock: None,
        }
    }
}
