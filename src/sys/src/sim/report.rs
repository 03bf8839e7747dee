//! `lvm fullreport`: the merged view of the metadata joined with what is active.

use super::content::{Kind, LvText, Text};
use super::view::{EXTENT, SECTORS, disk_name, first_extent, segtype};
use super::volume::{Live, Part, Volume};
use super::world::World;
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::{ExtentRun, LvObs, LvmView, PvObs, SegObs, VgObs};
use mirrorkeeper_core::op::STAMP;

impl World {
    /// The report. A VG of which no PV is found is not in it, and nothing says so (`facts/lab.md` 0.8).
    pub fn lvm_view(&self) -> LvmView {
        let vgs = (0..self.vgs.len()).filter_map(|vg| Some(self.vg_obs(vg, &*self.merged(vg)?)));
        LvmView { vgs: vgs.collect(), ..LvmView::default() }
    }

    fn vg_obs(&self, n: usize, text: &Text) -> VgObs {
        let vg = &self.vgs[n];
        let missing = self.missing(n, text);
        let mut lvs = Vec::new();
        for (lv, text) in text.lvs.iter().enumerate() {
            self.lv_obs(n, &self.volumes[vg.volumes[lv]], text, missing, &mut lvs);
        }
        let pv = |(pv, lun): (usize, &usize)| {
            let label = super::content::Label::Pv(*lun);
            let found: Vec<u32> = self
                .disks()
                .filter(|d| {
                    self.luns[d.lun].cached.label == label && self.way(Some(d.id)) == super::session::Way::Works
                })
                .map(|d| d.id)
                .collect();
            let size = found.first().and_then(|id| self.disk(*id)).map_or(0, |(_, disk)| disk.size);
            PvObs {
                uuid: vg.pvs[pv].clone(),
                device: found.first().map(|id| format!("/dev/{}", disk_name(*id))),
                missing: missing >> pv & 1 == 1,
                duplicate: found.len() > 1,
                dev_size: size,
            }
        };
        VgObs {
            uuid: vg.uuid.clone(),
            name: vg.name.clone(),
            seqno: text.seqno,
            exported: false,
            system_id: String::new(),
            lock_type: String::new(),
            writeable: true,
            extent_size: EXTENT,
            tags: text.stamps.iter().map(|stamp| format!("{STAMP}{stamp}")).collect(),
            pvs: vg.luns.iter().enumerate().map(pv).collect(),
            lvs,
        }
    }

    fn lv_obs(&self, vg: usize, v: &Volume, text: &LvText, missing: u32, lvs: &mut Vec<LvObs>) {
        let pv = |pv: usize| self.vgs[vg].pvs[pv].clone();
        let start = first_extent(v.lv);
        let active = v.live != Live::Inactive;
        let names = |parts: &[Part]| parts.iter().take(text.legs.len()).map(|part| part.lv.clone()).collect();
        let mut top = lv(v.names.lv.clone(), v.names.uuid.clone(), segtype(text.kind));
        (top.active, top.autoactivation, top.size) = (active, text.autoactivation, SECTORS * 512);
        if text.legs.iter().any(|pv| missing >> pv & 1 == 1) {
            "partial".clone_into(&mut top.health);
        }
        let seg = &mut top.segs[0];
        match text.kind {
            Kind::Raid1 => (seg.devices, seg.metadata_devices) = (names(&v.names.rimage), names(&v.names.rmeta)),
            Kind::Mirror => seg.devices = names(&v.names.mimage),
            Kind::Linear => {
                top.extents =
                    text.legs.iter().map(|leg| ExtentRun { pv: pv(*leg), start: start + 1, len: 32 }).collect();
            }
        }
        if text.kind == Kind::Mirror && !v.monitored {
            "not monitored".clone_into(&mut seg.monitor);
        }
        lvs.push(top);
        for (leg, n) in text.legs.iter().enumerate() {
            match text.kind {
                Kind::Raid1 => {
                    lvs.push(part(
                        v,
                        &v.names.rmeta[leg],
                        &["private", "raid", "metadata"],
                        pv(*n),
                        (start, 1),
                        active,
                    ));
                    lvs.push(part(
                        v,
                        &v.names.rimage[leg],
                        &["private", "raid", "image"],
                        pv(*n),
                        (start + 1, 32),
                        active,
                    ));
                }
                Kind::Mirror => {
                    lvs.push(part(
                        v,
                        &v.names.mimage[leg],
                        &["private", "mirror", "image"],
                        pv(*n),
                        (start + 1, 32),
                        active,
                    ));
                }
                Kind::Linear => {}
            }
        }
    }
}

fn lv(name: Name, uuid: mirrorkeeper_core::ids::LvUuid, segtype: &str) -> LvObs {
    LvObs {
        uuid,
        name,
        parent: String::new(),
        role: vec!["public".to_owned()],
        layout: vec![segtype.to_owned()],
        attr: String::new(),
        size: 0,
        active: false,
        converting: false,
        move_pv: String::new(),
        mirror_log: String::new(),
        health: String::new(),
        segs: vec![SegObs {
            segtype: segtype.to_owned(),
            devices: Vec::new(),
            metadata_devices: Vec::new(),
            monitor: if segtype == "linear" { String::new() } else { "monitored".to_owned() },
        }],
        extents: Vec::new(),
        autoactivation: true,
    }
}

fn part(v: &Volume, names: &Part, role: &[&str], pv: PvUuid, run: (u64, u64), active: bool) -> LvObs {
    let mut part = lv(names.lv.clone(), names.uuid.clone(), "linear");
    v.names.lv.as_str().clone_into(&mut part.parent);
    part.role = role.iter().map(|word| (*word).to_owned()).collect();
    part.extents = vec![ExtentRun { pv, start: run.0, len: run.1 }];
    (part.active, part.size) = (active, run.1 * EXTENT);
    part
}
