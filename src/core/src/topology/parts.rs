//! What single pieces mean: an LV by its segments, a live table by its targets.

use super::{Live, Place};
use crate::ids::{LvUuid, PvUuid, VgUuid};
use crate::ledger::Kind;
use crate::name::Name;
use crate::observation::{DmObs, DmTarget, LegHealth, LvObs, MirrorLog, RaidStatus, VgObs};
use crate::words::UnmanagedReason;

/// The type of a mirrored LV, if it is one.
pub(super) fn kind_of(lv: &LvObs) -> Option<Kind> {
    let segtype = lv.segs.first()?.segtype.as_str();
    match segtype {
        "raid1" => Some(Kind::Raid1),
        "mirror" => Some(Kind::Mirror),
        _ if segtype.starts_with("raid10") => Some(Kind::Raid10),
        _ => None,
    }
}

impl DmObs {
    /// What its uuid says after `LVM-` and the VG; `None` for a device that is not of that VG.
    fn after_vg(&self, vg: &VgUuid) -> Option<&[u8]> {
        vg.strip_from(self.uuid.as_bytes().strip_prefix(b"LVM-")?)
    }

    /// Whether it is of a VG.
    pub fn is_in(&self, vg: &VgUuid) -> bool {
        self.after_vg(vg).is_some()
    }

    /// The LV that it is, or is named after.
    pub fn lv(&self) -> Option<LvUuid> {
        let ids = self.uuid.as_bytes().strip_prefix(b"LVM-")?;
        LvUuid::begin(VgUuid::begin(ids)?.strip_from(ids)?)
    }

    /// Whether it is an LV.
    pub fn is(&self, vg: &VgUuid, lv: &LvUuid) -> bool {
        self.suffix(vg, lv) == Some(b"")
    }

    /// What its uuid has behind that of an LV: nothing for the LV itself; `None` for a device of something else.
    pub fn suffix(&self, vg: &VgUuid, lv: &LvUuid) -> Option<&[u8]> {
        lv.strip_from(self.after_vg(vg)?)
    }
}

/// One leg by the metadata.
pub(super) struct LegLayout {
    pub(super) pv: PvUuid,
    pub(super) superblock: Option<u64>,
}

/// The LVs of a VG in the order of their names.
pub(super) struct Names<'a>(Vec<&'a LvObs>);

impl<'a> Names<'a> {
    pub(super) fn of(vg: &'a VgObs) -> Self {
        let mut lvs: Vec<&LvObs> = vg.lvs.iter().collect();
        lvs.sort_by(|a, b| a.name.cmp(&b.name));
        Self(lvs)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a LvObs> {
        let at = self.0.binary_search_by(|lv| lv.name.as_str().cmp(name)).ok()?;
        self.0.get(at).copied()
    }
}

/// Whether a table load could not read a leg and went on without it; which one the kernel does not say.
pub(super) fn left_out(device: &DmObs, index: usize) -> bool {
    let dead = |status: &RaidStatus| status.health.get(index) == Some(&LegHealth::Dead);
    let target = |t: &DmTarget| match t {
        DmTarget::Raid { table, status } => table.write_mostly.iter().any(|leg| *leg < 0) && dead(status),
        _ => false,
    };
    device.targets.iter().any(target)
}

/// The legs of an LV in order; `None` when a leg has no extents or spreads over several PVs.
pub(super) fn layout(vg: &VgObs, names: &Names<'_>, lv: &LvObs) -> Option<Vec<LegLayout>> {
    let by_name = |name: &Name| names.get(name);
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

pub(super) fn unmanaged(
    vg: &VgObs,
    lv: &LvObs,
    twin: bool,
    odd_layout: bool,
    device: Option<&DmObs>,
) -> Option<UnmanagedReason> {
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

pub(super) fn live(device: &DmObs) -> Live {
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
            let (mut in_sync, mut total, mut handle_errors, mut nosync) = (0, 0, true, false);
            for target in &device.targets {
                if let DmTarget::Mirror { handle_errors: handles, nosync: without, status } = target {
                    in_sync += status.in_sync;
                    total += status.total;
                    handle_errors &= handles;
                    nosync |= without;
                }
            }
            Live::Mirror { in_sync, total, handle_errors, nosync }
        }
        Some(DmTarget::Linear { .. }) => Live::Single,
        Some(DmTarget::Error) => Live::Unreadable("error target in place of the volume".into()),
        Some(DmTarget::Other(kind)) => Live::Unreadable(format!("{kind} target in place of the mirror")),
        Some(DmTarget::Unreadable { .. }) | None => Live::Inactive,
    }
}

/// How many legs a live table has.
pub(super) fn positions(device: &DmObs) -> usize {
    match device.targets.first() {
        Some(DmTarget::Raid { table, .. }) => table.legs.len(),
        Some(DmTarget::Mirror { status, .. }) => status.legs.len(),
        Some(_) => 1,
        None => 0,
    }
}

pub(super) fn health(device: &DmObs, index: usize, place: Option<&Place>) -> Option<LegHealth> {
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

pub(super) fn is_write_mostly(device: &DmObs, index: usize) -> bool {
    device.targets.iter().any(|t| {
        matches!(t, DmTarget::Raid { table, .. } if table.write_mostly.iter().any(|i| usize::try_from(*i) == Ok(index)))
    })
}
