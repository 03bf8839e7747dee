//! Belief about the present: the last observation of each kind, and how fresh it is.

use crate::ids::{TargetKey, VgUuid};
use crate::ledger::Ledger;
use crate::observation::{DiskObs, DmObs, DmTarget, KernelView, LvmView, ScsiState, SessionObs, VgObs};
use std::collections::BTreeMap;

/// Last observations.
#[derive(Debug, Default)]
pub struct World {
    /// sysfs and device-mapper.
    pub kernel: KernelView,
    /// They have been read at least once.
    pub kernel_seen: bool,
    /// VGs by the last report that showed them: an empty report proves nothing (`facts/lab.md` 0.8).
    pub vgs: BTreeMap<VgUuid, VgObs>,
    /// The report is newer than the last structural change.
    pub reported: bool,
    asked_for: Option<KernelView>,
}

impl World {
    /// Takes in a kernel view.
    pub fn see_kernel(&mut self, kernel: KernelView) {
        self.reported &= same_structure(&kernel, &self.kernel);
        (self.kernel, self.kernel_seen) = (kernel, true);
    }

    /// Takes in a kernel view that is like the last one.
    pub fn see_again(&mut self, kernel: &KernelView) {
        for (known, seen) in self.kernel.sessions.iter_mut().zip(&kernel.sessions) {
            for (known, seen) in known.disks.iter_mut().zip(&seen.disks) {
                known.sectors_written = seen.sectors_written;
            }
        }
    }

    /// A command that may have changed the metadata has run.
    pub fn distrust_report(&mut self) {
        self.reported = false;
        self.asked_for = None;
    }

    /// The report is being made.
    pub fn ask_report(&mut self) {
        self.asked_for = Some(self.kernel.clone());
    }

    /// Takes in a report. A VG is believed to be gone only when every PV it had belongs to none: of one whose disks cannot be
    /// read a report says nothing.
    pub fn see_report(&mut self, report: LvmView, ledger: &mut Ledger) {
        self.reported = self.asked_for.take().is_some_and(|then| same_structure(&then, &self.kernel));
        let known = if self.reported { self.vgs.values().collect() } else { Vec::new() };
        let gone: Vec<VgUuid> = known
            .into_iter()
            .filter(|vg| !report.vgs.iter().any(|new| new.uuid == vg.uuid))
            .filter(|vg| vg.pvs.iter().all(|pv| report.orphans.contains(&pv.uuid)))
            .filter(|vg| !self.kernel.dm.iter().any(|dm| dm.is_in(&vg.uuid)))
            .map(|vg| vg.uuid.clone())
            .collect();
        for uuid in gone {
            self.vgs.remove(&uuid);
            ledger.mirrors.retain(|_, record| record.vg != uuid);
        }
        self.vgs.extend(report.vgs.into_iter().map(|vg| (vg.uuid.clone(), vg)));
    }

    /// Whether there is anything LVM could tell.
    pub fn has_storage(&self) -> bool {
        !self.kernel.sessions.is_empty() || !self.kernel.dm.is_empty() || !self.kernel.pv_links.is_empty()
    }
}

/// Whether two views agree on all that the LVM report depends on. When that changes, the metadata may have.
fn same_structure(a: &KernelView, b: &KernelView) -> bool {
    let tables = a.dm.len() == b.dm.len() && a.dm.iter().zip(&b.dm).all(|(a, b)| same_table(a, b));
    tables && a.pv_links == b.pv_links && disks(a).eq(disks(b)) && a.left_over == b.left_over
}

/// Disks by target and name; whether a report finds them, and their size.
fn disks(view: &KernelView) -> impl Iterator<Item = (&TargetKey, &str, bool, u64)> {
    // A report made while a disk failed its I/O calls its PV missing. While one is blocked no report is made.
    let there = |d: &DiskObs| matches!(d.state, ScsiState::Running | ScsiState::Blocked);
    view.sessions.iter().flat_map(move |s| s.disks.iter().map(move |d| (&s.target, d.name.as_str(), there(d), d.size)))
}

fn same_table(a: &DmObs, b: &DmObs) -> bool {
    (&a.uuid, a.dev, &a.deps) == (&b.uuid, b.dev, &b.deps)
        && a.targets.len() == b.targets.len()
        && a.targets.iter().zip(&b.targets).all(|(a, b)| same_shape(a, b))
}

/// Whether two targets are the same, but for their progress.
fn same_shape(a: &DmTarget, b: &DmTarget) -> bool {
    match (a, b) {
        (DmTarget::Raid { table: a, .. }, DmTarget::Raid { table: b, .. }) => a == b,
        (
            DmTarget::Mirror { handle_errors: a, nosync: for_a, status: of_a },
            DmTarget::Mirror { handle_errors: b, nosync: for_b, status: of_b },
        ) => (a, for_a, &of_a.legs, &of_a.log) == (b, for_b, &of_b.legs, &of_b.log),
        (DmTarget::Unreadable { kind: a, .. }, DmTarget::Unreadable { kind: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

impl KernelView {
    /// Whether another view shows the same, but for sectors written.
    pub fn is_like(&self, other: &Self) -> bool {
        let sessions = self.sessions.len() == other.sessions.len()
            && self.sessions.iter().zip(&other.sessions).all(|(a, b)| a.is_like(b));
        sessions
            && self.dm == other.dm
            && self.pv_links == other.pv_links
            && self.iscsid == other.iscsid
            && (self.lvm_running, &self.left_over) == (other.lvm_running, &other.left_over)
            && (self.partial, &self.gaps, &self.node) == (other.partial, &other.gaps, &other.node)
    }

    /// Sectors written so far to the disk of that name; 0 for none.
    pub fn sectors_written(&self, disk: &str) -> u64 {
        let mut disks = self.sessions.iter().flat_map(|session| &session.disks);
        disks.find(|d| d.name == disk).map_or(0, |d| d.sectors_written)
    }
}

impl SessionObs {
    /// Whether another view of it shows the same, but for sectors written.
    fn is_like(&self, other: &Self) -> bool {
        let disks = self.disks.len() == other.disks.len();
        disks
            && (self.sid, &self.target, &self.state) == (other.sid, &other.target, &other.state)
            && (self.local_port, self.recovery_tmo, self.noop) == (other.local_port, other.recovery_tmo, other.noop)
            && self.disks.iter().zip(&other.disks).all(|(a, b)| {
                (&a.name, a.dev, &a.state, a.size) == (&b.name, b.dev, &b.state, b.size)
                    && (&a.wwid, &a.partitions, &a.write_cache, &a.users)
                        == (&b.wwid, &b.partitions, &b.write_cache, &b.users)
            })
    }
}
