//! The SCSI disks below a session.

use super::number;
use crate::error::{Error, Result};
use crate::text;
use mirrorkeeper_core::ids::DevNo;
use mirrorkeeper_core::observation::{DiskObs, ScsiState};
use std::path::{Path, PathBuf};

/// Bytes of the sector that sysfs counts in, whatever the device's own is.
const SECTOR: u64 = 512;

/// The disks under `hostH/sessionS/targetH:0:T/H:0:T:L/block/sdX`. LUNs without a disk (controllers) have no `block`.
pub fn disks(session: &Path, gaps: &mut Vec<String>) -> Vec<DiskObs> {
    let mut found = Vec::new();
    for target in below(session, gaps, |n| n.starts_with("target")) {
        for lun in below(&target, gaps, |n| n.split(':').count() == 4) {
            for block in below(&lun.join("block"), gaps, |_| true) {
                match disk(&lun, &block) {
                    Ok(disk) => found.push(disk),
                    // Going away while we look.
                    Err(_) if !block.exists() => {}
                    Err(e) => gaps.push(e.to_string()),
                }
            }
        }
    }
    found
}

fn disk(lun: &Path, block: &Path) -> Result<DiskObs> {
    let sectors: u64 = text::parsed(&block.join("size"), |t| t.parse().ok(), "a number of sectors")?;
    Ok(DiskObs {
        name: name(block).into(),
        dev: number(block)?,
        state: state(&text::read(&lun.join("state"))?),
        size: sectors.saturating_mul(SECTOR),
        // Reading it fails with EINVAL on a LUN that has none.
        wwid: text::optional(&lun.join("wwid")).ok().flatten().unwrap_or_default().into(),
        sectors_written: sectors_written(&block.join("stat"))?,
        partitions: partitions(block)?,
        write_cache: text::optional(&block.join("queue/write_cache")).ok().flatten().unwrap_or_default().into(),
        // Told by other tables, for all disks at once.
        users: Vec::new(),
    })
}

fn state(word: &str) -> ScsiState {
    match word {
        "running" => ScsiState::Running,
        "blocked" => ScsiState::Blocked,
        "transport-offline" => ScsiState::TransportOffline,
        "offline" => ScsiState::Offline,
        other => ScsiState::Other(other.to_owned()),
    }
}

/// Seventh field of `stat` (`Documentation/block/stat.rst`); 0 when there is no such file.
fn sectors_written(path: &Path) -> Result<u64> {
    let Some(stat) = text::optional(path)? else { return Ok(0) };
    let field = stat.split_whitespace().nth(6).and_then(|f| f.parse().ok());
    field.ok_or_else(|| text::not(path, &stat, "block statistics"))
}

/// A partition that goes away meanwhile is left out.
fn partitions(block: &Path) -> Result<Vec<(String, DevNo)>> {
    let mut found = Vec::new();
    for dir in text::names(block)?.into_iter().map(|n| block.join(n)).filter(|d| d.join("partition").exists()) {
        match number(&dir) {
            Ok(dev) => found.push((name(&dir), dev)),
            Err(Error::Absent { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn below(dir: &Path, gaps: &mut Vec<String>, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let names = text::names(dir).unwrap_or_else(|e| {
        gaps.push(e.to_string());
        Vec::new()
    });
    names.into_iter().filter(|n| wanted(n)).map(|n| dir.join(n)).collect()
}

fn name(dir: &Path) -> String {
    dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
