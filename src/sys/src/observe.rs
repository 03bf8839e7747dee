//! One reading of everything the kernel tells without asking storage: sessions, disks, device-mapper, PV links,
//! iscsid.
//!
//! Must never fail as a whole: what cannot be read becomes a line in `gaps`, and a machine without iSCSI or without
//! device-mapper is simply empty.

use crate::dm::Control;
use crate::error::{Error, Result};
use crate::process::LeftOver;
use crate::{Roots, process, sysfs, text, users};
use mirrorkeeper_core::ids::{LvmUuid, PvUuid};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::{DmObs, KernelView, PvLink};
use std::collections::BTreeMap;
use std::fs;

/// Reads the machine; keeps device-mapper's control node open between readings.
#[derive(Debug)]
pub struct Observer {
    roots: Roots,
    control: Option<Control>,
    /// Looked for at the first reading, before anything is begun.
    left_over: Option<LeftOver>,
}

impl Observer {
    /// An observer of the machine below these roots. Opens nothing yet.
    pub fn new(roots: Roots) -> Self {
        Self { roots, control: None, left_over: None }
    }

    /// Reads everything once.
    pub fn kernel(&mut self) -> KernelView {
        let mut gaps = Vec::new();
        let mut sessions = sysfs::sessions(&self.roots, &mut gaps);
        users::fill(&self.roots, &mut sessions, &mut gaps);
        let dm = self.dm(&mut gaps);
        let partial = dm.is_none();
        let dm = dm.unwrap_or_default();
        let pv_links = pv_links(&self.roots, &mut gaps);
        let iscsid = process::iscsid(&self.roots).unwrap_or_else(|e| {
            gaps.push(e.to_string());
            None
        });
        // While it cannot be seen who is at work, assume that somebody is: resuming under a running command is worse.
        let lvm_running = dm.iter().any(|d| d.suspended)
            && process::lvm_running(&self.roots).unwrap_or_else(|e| {
                gaps.push(e.to_string());
                true
            });
        let left_over = self.left_over(&mut gaps);
        let node = text::read(&self.roots.proc.join("sys/kernel/hostname")).map(Name::from).unwrap_or_else(|e| {
            gaps.push(e.to_string());
            Name::default()
        });
        KernelView { sessions, dm, pv_links, iscsid, lvm_running, left_over, node, partial, gaps }
    }

    fn left_over(&mut self, gaps: &mut Vec<String>) -> Vec<String> {
        let found = self.left_over.take().map_or_else(|| LeftOver::find(&self.roots), Ok);
        let mut found = found.unwrap_or_else(|e| {
            gaps.push(e.to_string());
            LeftOver::default()
        });
        let at_work = found.look(&self.roots);
        self.left_over = Some(found);
        at_work
    }

    /// Every dm device; `None` when they could not be listed, which is not the same as none.
    fn dm(&mut self, gaps: &mut Vec<String>) -> Option<Vec<DmObs>> {
        let control = match self.control.take().map_or_else(|| Control::open(&self.roots), Ok) {
            Ok(control) => control,
            Err(Error::Absent { .. }) => return Some(Vec::new()),
            Err(e) => {
                gaps.push(e.to_string());
                return None;
            }
        };
        match control.devices() {
            Ok(devices) => {
                self.control = Some(control);
                Some(devices)
            }
            // Dropped, so that the next reading opens it anew.
            Err(e) => {
                gaps.push(e.to_string());
                None
            }
        }
    }
}

/// udev's `lvm-pv-uuid-*` links. A link whose device is gone already is left out: it is only a hint.
fn pv_links(roots: &Roots, gaps: &mut Vec<String>) -> BTreeMap<PvUuid, PvLink> {
    let names = text::names(&roots.dev.join("disk/by-id")).unwrap_or_else(|e| {
        gaps.push(e.to_string());
        Vec::new()
    });
    let mut links = BTreeMap::new();
    for name in names.iter().filter(|n| n.starts_with(PV_LINK)) {
        match pv_link(roots, name) {
            Ok((pv, link)) => drop(links.insert(pv, link)),
            Err(Error::Absent { .. }) => {}
            Err(e) => gaps.push(e.to_string()),
        }
    }
    links
}

const PV_LINK: &str = "lvm-pv-uuid-";

fn pv_link(roots: &Roots, name: &str) -> Result<(PvUuid, PvLink)> {
    let path = roots.dev.join("disk/by-id").join(name);
    let bad = |e: &dyn ToString| Error::malformed(path.display().to_string(), e.to_string());
    let pv = LvmUuid::parse(name.strip_prefix(PV_LINK).unwrap_or(name)).map_err(|e| bad(&e))?;
    let target = fs::read_link(&path).map_err(|e| Error::io(format!("read link {}", path.display()), e))?;
    let name = target.file_name().and_then(|n| n.to_str()).ok_or_else(|| bad(&"points to no device"))?;
    Ok((pv, PvLink { name: name.into(), dev: sysfs::block_number(roots, name)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use mirrorkeeper_core::ids::DevNo;

    #[test]
    fn an_empty_machine_is_idle_and_has_no_gaps() {
        let dir = TempDir::new();
        dir.write("proc/sys/kernel/hostname", "client\n");
        let idle = KernelView { node: "client".into(), ..KernelView::default() };
        assert_eq!(Observer::new(Roots::under(dir.path())).kernel(), idle);
    }

    #[test]
    fn pv_links_lead_to_numbers() {
        let dir = TempDir::new();
        let uuid = "NkXull-Ejyz-AJ8b-BJGh-MLe4-dxuA-dWqJhq";
        dir.write("sys/class/block/sda1/dev", "8:1\n");
        let by_id = dir.path().join("dev/disk/by-id");
        fs::create_dir_all(&by_id).unwrap();
        let link = |name: &str, to: &str| std::os::unix::fs::symlink(to, by_id.join(name)).unwrap();
        link(&format!("lvm-pv-uuid-{uuid}"), "../../sda1");
        link("lvm-pv-uuid-HrTEV7-tKro-3vY6-2Zj3-lp3x-A5m3-7vL3HV", "../../gone");
        link("lvm-pv-uuid-nonsense", "../../sda1");
        link("wwn-0x6000", "../../sda1");
        let mut gaps = Vec::new();
        let links = pv_links(&Roots::under(dir.path()), &mut gaps);
        let wanted = PvLink { name: "sda1".into(), dev: DevNo { major: 8, minor: 1 } };
        assert_eq!(links, BTreeMap::from([(LvmUuid::parse(uuid).unwrap(), wanted)]));
        assert_eq!(gaps.len(), 1);
        assert!(gaps[0].contains("lvm-pv-uuid-nonsense"), "{gaps:?}");
    }
}
