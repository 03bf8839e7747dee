//! Where a PV is: by udev's links, by what LVM found, by what the live table lies on.

use super::{Join, Place};
use crate::ids::{DevNo, PvUuid};
use crate::name::Name;
use crate::observation::{DiskObs, DmObs, DmTarget, PvLink, PvObs, ScsiState, SessionState};

impl Join<'_> {
    /// The disk that stands where a PV was last seen and is no known PV: a LUN that came back blank or as something else
    /// has lost its link. It is looked at before anything is believed of it.
    fn stranger(&self, pv: &PvUuid) -> Option<PvLink> {
        let known = || self.ledger.mirrors.values().flat_map(|m| &m.legs);
        let target = known().find(|(uuid, _)| *uuid == pv)?.1.target.as_ref()?;
        let session = self.kernel.sessions.iter().find(|s| s.target.name == *target)?;
        let taken: Vec<DevNo> =
            known().filter_map(|(uuid, _)| self.kernel.pv_links.get(uuid)).map(|link| link.dev).collect();
        let free = |d: &&DiskObs| !taken.contains(&d.dev) && !d.partitions.iter().any(|(_, p)| taken.contains(p));
        let mut disks = session.disks.iter().filter(free);
        // With more than one it could be either.
        let disk = disks.next().filter(|_| disks.next().is_none())?;
        Some(PvLink { name: disk.name.clone(), dev: disk.dev })
    }

    /// Where udev last saw a PV.
    pub(super) fn place(&self, pv: &PvUuid) -> Option<Place> {
        match self.kernel.pv_links.get(pv) {
            Some(link) => self.place_at(link, true),
            None => self.place_at(&self.stranger(pv)?, false),
        }
    }

    /// Where LVM found a PV that udev knows nothing of: LVM reads the disks itself.
    pub(super) fn named(&self, pv: &PvObs) -> Option<Place> {
        let name = pv.device.as_ref()?.strip_prefix("/dev/")?;
        let disks = self.kernel.sessions.iter().flat_map(|session| &session.disks);
        let mut devices = disks.flat_map(|disk| {
            let partitions = disk.partitions.iter().map(|(name, dev)| (name.as_str(), *dev));
            partitions.chain([(disk.name.as_str(), disk.dev)])
        });
        let (_, dev) = devices.find(|(own, _)| *own == name)?;
        self.place_at(&PvLink { name: name.into(), dev }, false)
    }

    /// The disk that a leg in use lies on, whatever stands on it now, unless it is known to be another PV. What is left of a
    /// `mirror` has no legs to be told apart by.
    pub(super) fn under(&self, device: &DmObs, index: usize) -> Option<Place> {
        if matches!(device.targets.first(), Some(DmTarget::Linear { .. })) {
            return None;
        }
        let image = self.image(device, index)?;
        let below = self.device_at(image).map_or(Some(image), |map| map.deps.first().copied())?;
        let disks = self.kernel.sessions.iter().flat_map(|session| &session.disks);
        let claimed = |dev: DevNo| self.kernel.pv_links.values().any(|link| link.dev == dev);
        let disk = disks.into_iter().find(|disk| disk.dev == below && !claimed(disk.dev))?;
        self.place_at(&PvLink { name: disk.name.clone(), dev: disk.dev }, false)
    }

    /// A device, followed down to the SCSI disk.
    fn place_at(&self, link: &PvLink, linked: bool) -> Option<Place> {
        let mut multipath = false;
        let mut dev = link.dev;
        // A PV may lie on a map on a map; eight levels are more than anybody builds.
        for _ in 0..8 {
            let Some(map) = self.device_at(dev) else { break };
            multipath |= map.uuid.starts_with("mpath-");
            dev = *map.deps.first()?;
        }
        let holds = |d: &&DiskObs| d.dev == dev || d.partitions.iter().any(|(_, p)| *p == dev);
        let mut disks = self.kernel.sessions.iter().rev().filter_map(|s| Some((s, s.disks.iter().find(holds)?)));
        let place = Place {
            name: link.name.clone(),
            dev: link.dev,
            disk: Name::default(),
            size: 0,
            wwid: Name::default(),
            write_cache: Name::default(),
            sectors_written: 0,
            target: None,
            up: true,
            blocked: false,
            offline: false,
            multipath,
            linked,
        };
        let Some((session, disk)) = disks.next() else { return Some(place) };
        Some(Place {
            disk: disk.name.clone(),
            size: disk.size,
            wwid: disk.wwid.clone(),
            write_cache: disk.write_cache.clone(),
            sectors_written: disk.sectors_written,
            target: Some(session.target.clone()),
            up: disk.state == ScsiState::Running && session.state == SessionState::LoggedIn,
            blocked: disk.state == ScsiState::Blocked,
            offline: disk.state == ScsiState::Offline,
            ..place
        })
    }

    /// Whether a device ends on one that is no map. LVM's stand-in for a missing PV lies on nothing.
    pub(super) fn over_a_disk(&self, mut dev: DevNo) -> bool {
        // As deep as in `place_at`.
        for _ in 0..8 {
            let Some(map) = self.device_at(dev) else { return true };
            let Some(below) = map.deps.first() else { return false };
            dev = *below;
        }
        true
    }
}
