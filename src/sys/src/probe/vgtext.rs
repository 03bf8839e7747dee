//! What the metadata text of a VG says: which VG, how new, whom it misses, our stamps, and which machine wrote it.
//!
//! Only the VG's own keys count, and those of its PVs: an LV may be called `flags`, and tags of PVs and LVs are not the
//! VG's. A text that leaves anything of this open is refused as a whole. Written by lvm2 `lib/format_text/export.c`.

use crate::lvm::config::{Item, Items};
use mirrorkeeper_core::ids::{LvmUuid, PvUuid, VgUuid};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::VgText;
use mirrorkeeper_core::op::stamp_of;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Section of the PVs within that of the VG; one section each, named `pv0`, `pv1`, ….
const PVS: &str = "physical_volumes";
/// Flag of a PV that was away when the text was written.
const MISSING: &str = "MISSING";

/// Reads the first section of a text, which is the VG.
///
/// # Errors
/// When it is no such text, ends early, says something twice, or does not say it at all; what.
pub fn read(text: &str) -> Result<VgText, String> {
    let mut reading = Reading::default();
    // Sections open, outermost first. Those inside neither the VG nor its PVs are counted and not looked at.
    let (mut depth, mut in_pvs) = (0_usize, false);
    let mut items = Items::new(text);
    while let Some(item) = items.next() {
        match (item?, depth) {
            (Item::Open(name), 1) => {
                in_pvs = name == PVS;
                reading.pvs_seen |= in_pvs;
                depth = 2;
            }
            (Item::Open(_), _) => {
                depth += 1;
                if depth == 3 && in_pvs {
                    reading.pv = PvReading::default();
                }
            }
            (Item::Close, 0) => return Err("a section is closed that was not opened".to_owned()),
            (Item::Close, 1) => return reading.end(writer(items)),
            (Item::Close, _) => {
                depth -= 1;
                if depth == 2 && in_pvs {
                    reading.end_of_pv()?;
                }
            }
            (Item::Set(key, values), 1) => reading.of_vg(&key, values)?,
            (Item::Set(key, values), 3) if in_pvs => reading.pv.set(&key, values)?,
            (Item::Set(..), _) => {}
        }
    }
    Err("the text ends before its VG does".to_owned())
}

/// The machine that wrote a text, which stands behind its VG. It decides nothing that the rest does not, so a text that is
/// not well formed there is taken for one that does not tell.
fn writer(items: Items<'_>) -> Name {
    let mut depth = 0_usize;
    for item in items {
        match (item, depth) {
            (Err(_), _) => break,
            (Ok(Item::Open(_)), _) => depth += 1,
            (Ok(Item::Close), _) => depth = depth.saturating_sub(1),
            (Ok(Item::Set(key, values)), 0) if key == "creation_host" => {
                return single(&values).map(Name::from).unwrap_or_default();
            }
            (Ok(Item::Set(..)), _) => {}
        }
    }
    Name::default()
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    id: Option<VgUuid>,
    seqno: Option<u64>,
    tags: Option<BTreeSet<u64>>,
    pvs_seen: bool,
    pv: PvReading,
    missing: BTreeSet<PvUuid>,
}

/// What was read of one PV.
#[derive(Default)]
struct PvReading {
    id: Option<PvUuid>,
    missing: bool,
}

impl Reading {
    fn of_vg(&mut self, key: &str, values: Vec<Cow<str>>) -> Result<(), String> {
        match key {
            "id" => once(&mut self.id, key, uuid(&values)?),
            "seqno" => {
                let number = single(&values).and_then(|v| v.parse().ok());
                once(&mut self.seqno, key, number.ok_or_else(|| format!("seqno {values:?} is no number"))?)
            }
            "tags" => once(&mut self.tags, key, values.iter().filter_map(|tag| stamp_of(tag)).collect()),
            _ => Ok(()),
        }
    }

    fn end_of_pv(&mut self) -> Result<(), String> {
        let PvReading { id, missing } = std::mem::take(&mut self.pv);
        let id = id.ok_or("a PV without id")?;
        if missing {
            self.missing.insert(id);
        }
        Ok(())
    }

    fn end(self, host: Name) -> Result<VgText, String> {
        if !self.pvs_seen {
            return Err("the VG names no PVs".to_owned());
        }
        Ok(VgText {
            vg: self.id.ok_or("the VG has no id")?,
            seqno: self.seqno.ok_or("the VG has no seqno")?,
            missing: self.missing,
            // A VG without tags has no such line.
            stamps: self.tags.unwrap_or_default(),
            host,
        })
    }
}

impl PvReading {
    /// LVM reads the flag from either list (`lib/format_text/flags.c`).
    fn set(&mut self, key: &str, values: Vec<Cow<str>>) -> Result<(), String> {
        match key {
            "id" => once(&mut self.id, key, uuid(&values)?)?,
            "flags" | "status" => self.missing |= values.iter().any(|flag| flag == MISSING),
            _ => {}
        }
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} is said twice")),
    }
}

fn uuid(values: &[Cow<str>]) -> Result<LvmUuid, String> {
    LvmUuid::parse(single(values).unwrap_or_default()).map_err(|e| format!("id: {e}"))
}

fn single<'a>(values: &'a [Cow<str>]) -> Option<&'a str> {
    match values {
        [value] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
#[path = "vgtext_tests.rs"]
mod tests;
