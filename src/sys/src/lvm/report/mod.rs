//! `lvm fullreport` as JSON: one pass over all metadata, consistent within each VG.
//!
//! Both dialects are read: `json`, where every value is a string, and `json_std` (2.03.17 and later), where numbers
//! are numbers and lists are arrays. Exit code 5 can come with a complete report, so parsing knows nothing of exit
//! codes. Columns and their oddities: `facts/lvm.md` 3.

mod row;

use crate::error::{Error, Result};
use mirrorkeeper_core::ids::{LvmUuid, PvUuid};
use mirrorkeeper_core::observation::{ExtentRun, LvObs, LvmView, PvObs, SegObs, VgObs};
use row::Row;
use serde::Deserialize;

/// The command line of the report; the columns are those that [`parse`] reads.
pub const ARGV: &[&str] = &[
    "lvm",
    "fullreport",
    "-a",
    "--reportformat",
    "json",
    "--units",
    "b",
    "--nosuffix",
    "--binary",
    "--configreport",
    "vg",
    "-o",
    "vg_uuid,vg_name,vg_seqno,vg_exported,vg_systemid,vg_lock_type,vg_permissions,vg_extent_size,vg_tags",
    "--configreport",
    "pv",
    "-o",
    "pv_uuid,pv_name,pv_missing,pv_duplicate,dev_size",
    "--configreport",
    "lv",
    "-o",
    "lv_uuid,lv_name,lv_parent,lv_role,lv_layout,lv_attr,lv_size,lv_active,lv_converting,move_pv,mirror_log,\
     lv_health_status,lv_autoactivation",
    "--configreport",
    "pvseg",
    "-o",
    "pv_uuid,lv_uuid,pvseg_start,pvseg_size",
    "--configreport",
    "seg",
    "-o",
    "lv_uuid,seg_start,segtype,seg_monitor,devices,metadata_devices",
];

/// [`ARGV`] as [`crate::child`] takes it.
pub fn argv() -> Vec<String> {
    ARGV.iter().map(|word| (*word).to_owned()).collect()
}

/// Reads a report. A VG of which anything cannot be understood is left out whole and named in `gaps`: half a VG could
/// look like one whose disks nobody else uses. PVs without a VG are left out without a word.
///
/// # Errors
/// When the text is not a report at all, for example cut short.
pub fn parse(text: &str) -> Result<LvmView> {
    let report: Report = serde_json::from_str(text).map_err(|e| Error::malformed("LVM report", e))?;
    let mut view = LvmView::default();
    for section in report.report {
        // PVs that belong to no VG come in a section without one, or under one without uuid.
        if section.vg.iter().all(|vg| vg.text("vg_uuid").is_ok_and(|uuid| uuid.is_empty())) {
            view.orphans.extend(section.pv.iter().filter_map(|pv| pv.uuid("pv_uuid").ok()));
            continue;
        }
        for vg in &section.vg {
            match volume_group(vg, &section) {
                Ok(vg) => view.vgs.push(vg),
                Err(why) => {
                    let name = vg.text("vg_name").unwrap_or_default();
                    view.gaps.push(format!("LVM report of VG {name:?}: {why}"));
                }
            }
        }
    }
    Ok(view)
}

/// `{"report": [{"vg": […], "pv": […], "lv": […], "pvseg": […], "seg": […]}, …]}`, one element a VG.
#[derive(Deserialize)]
struct Report {
    report: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Section {
    vg: Vec<Row>,
    pv: Vec<Row>,
    lv: Vec<Row>,
    pvseg: Vec<Row>,
    seg: Vec<Row>,
}

/// Why a row could not be understood.
type Why<T> = std::result::Result<T, String>;

fn volume_group(vg: &Row, section: &Section) -> Why<VgObs> {
    if section.vg.len() != 1 {
        return Err("shares its section with another VG".to_owned());
    }
    Ok(VgObs {
        uuid: vg.uuid("vg_uuid")?,
        name: vg.text("vg_name")?.into(),
        seqno: vg.number("vg_seqno")?,
        exported: vg.flag("vg_exported")?,
        system_id: vg.text("vg_systemid")?,
        lock_type: vg.text("vg_lock_type")?,
        writeable: vg.text("vg_permissions")? == "writeable",
        extent_size: vg.number("vg_extent_size")?,
        tags: vg.list("vg_tags")?,
        pvs: section.pv.iter().map(physical_volume).collect::<Why<_>>()?,
        lvs: section.lv.iter().map(|lv| logical_volume(lv, section)).collect::<Why<_>>()?,
    })
}

fn physical_volume(pv: &Row) -> Why<PvObs> {
    // "[unknown]" when LVM cannot find it.
    let device = Some(pv.text("pv_name")?).filter(|name| name.starts_with('/'));
    Ok(PvObs {
        uuid: pv.uuid("pv_uuid")?,
        missing: pv.flag("pv_missing")? || device.is_none(),
        device,
        duplicate: pv.flag("pv_duplicate")?,
        dev_size: pv.number("dev_size")?,
    })
}

fn logical_volume(lv: &Row, section: &Section) -> Why<LvObs> {
    let uuid: LvmUuid = lv.uuid("lv_uuid")?;
    let of_it = |row: &&Row| row.text("lv_uuid").is_ok_and(|u| u == uuid.as_str());
    let mut segs: Vec<&Row> = section.seg.iter().filter(of_it).collect();
    // Sorted by start where the report has it; a stable sort keeps LVM's own order else.
    segs.sort_by_key(|seg| seg.number("seg_start").unwrap_or_default());
    Ok(LvObs {
        name: plain(&lv.text("lv_name")?).into(),
        parent: plain(&lv.text("lv_parent")?),
        role: lv.list("lv_role")?,
        layout: lv.list("lv_layout")?,
        attr: lv.text("lv_attr")?,
        size: lv.number("lv_size")?,
        active: lv.flag("lv_active")?,
        converting: lv.flag("lv_converting")?,
        move_pv: plain(&lv.text("move_pv")?),
        mirror_log: plain(&lv.text("mirror_log")?),
        health: lv.text("lv_health_status")?,
        autoactivation: lv.flag_or("lv_autoactivation", true)?,
        segs: segs.into_iter().map(segment).collect::<Why<_>>()?,
        extents: section.pvseg.iter().filter(of_it).map(extents).collect::<Why<_>>()?,
        uuid,
    })
}

fn segment(seg: &Row) -> Why<SegObs> {
    let devices = |column| Ok::<_, String>(seg.list(column)?.iter().map(|d| device(d).into()).collect());
    Ok(SegObs {
        segtype: seg.text("segtype")?,
        devices: devices("devices")?,
        metadata_devices: devices("metadata_devices")?,
        monitor: seg.text("seg_monitor")?,
    })
}

fn extents(run: &Row) -> Why<ExtentRun> {
    let pv: PvUuid = run.uuid("pv_uuid")?;
    Ok(ExtentRun { pv, start: run.number("pvseg_start")?, len: run.number("pvseg_size")? })
}

/// A name without the brackets that mark hidden LVs and PVs that cannot be found. (LVM allows neither in a name.)
fn plain(name: &str) -> String {
    name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name).to_owned()
}

/// `r1_rimage_0(0)` → `r1_rimage_0`; a PV that cannot be found stays `[unknown]`, lest it pass for an LV's name.
fn device(text: &str) -> String {
    let name = text.strip_suffix(')').and_then(|t| t.rsplit_once('(')).map_or(text, |(name, _)| name);
    if name == "[unknown]" { name.to_owned() } else { plain(name) }
}

#[cfg(test)]
mod tests;
