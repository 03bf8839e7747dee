//! Belief about the present: the last observation of each kind, and how fresh it is.

use crate::ids::VgUuid;
use crate::ledger::Ledger;
use crate::observation::{DiskObs, DmTarget, KernelView, LvmView, ScsiState, SessionObs, VgObs};
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
    structure: Structure,
    asked_for: Option<Structure>,
}

/// What the LVM report depends on. When this changes, the metadata may have.
type Structure = Vec<String>;

impl World {
    /// Takes in a kernel view.
    pub fn see_kernel(&mut self, kernel: KernelView) {
        let structure = structure_of(&kernel);
        if structure != self.structure {
            self.reported = false;
            self.structure = structure;
        }
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
        self.asked_for = Some(self.structure.clone());
    }

    /// Takes in a report. A VG is believed to be gone only when every device it had is there and says nothing of it.
    pub fn see_report(&mut self, report: LvmView, ledger: &mut Ledger) {
        self.reported = self.asked_for.take().is_some_and(|structure| structure == self.structure);
        let known = if self.reported { self.vgs.values().collect() } else { Vec::new() };
        let gone: Vec<VgUuid> = known
            .into_iter()
            .filter(|vg| !report.vgs.iter().any(|new| new.uuid == vg.uuid))
            .filter(|vg| vg.pvs.iter().all(|pv| self.kernel.pv_links.contains_key(&pv.uuid)))
            // An offline disk keeps its link and its session, and LVM does not show what is on it.
            .filter(|_| self.kernel.sessions.iter().flat_map(|s| &s.disks).all(|d| d.state == ScsiState::Running))
            .filter(|vg| !self.kernel.dm.iter().any(|dm| dm.uuid.starts_with(&format!("LVM-{}", vg.uuid.compact()))))
            .filter(|_| self.kernel.sessions.iter().all(|s| s.state == crate::observation::SessionState::LoggedIn))
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

fn structure_of(kernel: &KernelView) -> Structure {
    let dm = kernel.dm.iter().map(|d| {
        let targets: Vec<String> = d.targets.iter().map(shape).collect();
        format!("dm {} {} {:?} {}", d.uuid, d.dev, d.deps, targets.join(";"))
    });
    let pvs = kernel.pv_links.iter().map(|(pv, link)| format!("pv {pv} {} {}", link.name, link.dev));
    // A report made while a disk failed its I/O calls its PV missing. While one is blocked no report is made.
    let there = |d: &DiskObs| matches!(d.state, ScsiState::Running | ScsiState::Blocked);
    let disks = kernel
        .sessions
        .iter()
        .flat_map(|s| s.disks.iter().map(move |d| format!("disk {} {} {} {}", s.target, d.name, there(d), d.size)));
    dm.chain(pvs).chain(disks).collect()
}

/// A target without its progress.
fn shape(target: &DmTarget) -> String {
    match target {
        DmTarget::Raid { table, .. } => format!("{table:?}"),
        DmTarget::Mirror { handle_errors, status } => {
            format!("mirror {:?} {:?} {handle_errors}", status.legs, status.log)
        }
        DmTarget::Linear { dev, offset } => format!("linear {dev} {offset}"),
        DmTarget::Error => "error".into(),
        DmTarget::Other(kind) => kind.clone(),
        DmTarget::Unreadable { kind, .. } => format!("unreadable {kind}"),
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
            && (self.lvm_running, self.partial, &self.gaps) == (other.lvm_running, other.partial, &other.gaps)
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
            && (self.local_port, self.recovery_tmo) == (other.local_port, other.recovery_tmo)
            && self.disks.iter().zip(&other.disks).all(|(a, b)| {
                (&a.name, a.dev, &a.state, a.size) == (&b.name, b.dev, &b.state, b.size)
                    && (&a.wwid, &a.partitions, &a.write_cache) == (&b.wwid, &b.partitions, &b.write_cache)
            })
    }
}
