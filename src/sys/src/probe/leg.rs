//! Puts together what the bytes of a device say: label, metadata, superblocks, from anything that can be read at an offset.

use super::label::{self, Area, Found, Label};
use super::metadata;
use super::superblock;
use mirrorkeeper_core::observation::{ProbedIdentity, ProbedSuperblock, VgText};

/// Something of a known size that can be read.
pub trait Source {
    /// Its capacity in bytes.
    fn size(&self) -> u64;
    /// Exactly `length` bytes from `offset`, or why not.
    ///
    /// # Errors
    /// The reason, as a line for people.
    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, String>;
}

/// Reads whose PV it is, and one superblock per offset (in bytes from the start of its data area), in that order.
pub fn inspect(source: &mut impl Source, superblocks: &[u64]) -> (ProbedIdentity, Vec<ProbedSuperblock>) {
    let found = match source.read(0, label::SECTORS * label::SECTOR) {
        Ok(head) => label::find(&head),
        Err(why) => Found::Damaged(why),
    };
    let (identity, data) = match found {
        Found::Label(label) => (identity(source, &label), label.data.first().copied()),
        Found::Blank => (ProbedIdentity::Blank, None),
        Found::Foreign => (ProbedIdentity::Foreign, None),
        Found::Damaged(why) => (ProbedIdentity::Unreadable(why), None),
    };
    let superblocks = superblocks.iter().map(|offset| superblock_at(source, data, *offset)).collect();
    (identity, superblocks)
}

/// The newest metadata of all areas. One damaged area is no matter while another can be read.
fn identity(source: &mut impl Source, label: &Label) -> ProbedIdentity {
    let texts: Vec<_> = label.metadata.iter().map(|area| vg_text(source, *area)).collect();
    let newest = texts.iter().flatten().flatten().max_by_key(|text| text.seqno);
    match (newest, texts.iter().find_map(|text| text.as_ref().err())) {
        (None, Some(why)) => ProbedIdentity::Unreadable(why.clone()),
        (newest, _) => ProbedIdentity::Pv { pv: label.pv.clone(), metadata: newest.cloned() },
    }
}

fn vg_text(source: &mut impl Source, area: Area) -> Result<Option<VgText>, String> {
    let header = source.read(area.offset, metadata::HEADER)?;
    let Some(place) = metadata::place(&header, area)? else { return Ok(None) };
    let mut text = Vec::new();
    for run in &place.runs {
        let length = usize::try_from(run.size).map_err(|e| e.to_string())?;
        text.extend(source.read(run.offset, length)?);
    }
    metadata::read(&text, place.checksum).map(Some)
}

fn superblock_at(source: &mut impl Source, data: Option<Area>, offset: u64) -> ProbedSuperblock {
    let Some(at) = data.and_then(|data| data.offset.checked_add(offset)) else {
        return ProbedSuperblock::Unreadable("where the data area begins is not known".to_owned());
    };
    source.read(at, superblock::SIZE).map_or_else(ProbedSuperblock::Unreadable, |bytes| superblock::parse(&bytes))
}
