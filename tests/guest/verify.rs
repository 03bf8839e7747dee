//! The judges: what was acknowledged must be there, whole and not older; the legs of a mirror must be alike.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::blocks::{Aligned, open_read};
use crate::record::{self, Content};

/// Bytes read at once when two devices are compared.
const CHUNK: usize = 1 << 20;

/// How many acknowledged records are not as they must be.
#[derive(Default, Clone, Copy)]
struct Faults {
    lost: u64,
    torn: u64,
    older: u64,
    unreadable: u64,
}

/// Reads every acknowledged slot `passes` times with `threads` threads.
///
/// Several threads matter: dm-raid spreads concurrent reads over the legs, and a stale leg answers only some of them.
pub fn verify(file: &Path, ledger: &Path, direct: bool, passes: u64, threads: usize) -> Result<Value> {
    let wanted = record::acknowledged(ledger)?;
    let mut wrong_per_pass = Vec::new();
    let mut sum = Faults::default();
    for _ in 0..passes {
        let found = one_pass(file, &wanted, direct, threads.max(1))?;
        wrong_per_pass.push(found.lost + found.torn + found.older + found.unreadable);
        sum = add(sum, found);
    }
    Ok(json!({
        "checked": wanted.len(), "passes": passes, "wrong_per_pass": wrong_per_pass,
        "lost": sum.lost, "torn": sum.torn, "older": sum.older, "unreadable": sum.unreadable,
    }))
}

fn one_pass(file: &Path, wanted: &BTreeMap<u64, u64>, direct: bool, threads: usize) -> Result<Faults> {
    let slots: Vec<(u64, u64)> = wanted.iter().map(|(&slot, &seq)| (slot, seq)).collect();
    let share = slots.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let readers: Vec<_> =
            slots.chunks(share).map(|part| scope.spawn(move || check_slots(file, part, direct))).collect();
        readers.into_iter().try_fold(Faults::default(), |sum, reader| {
            let found = reader.join().map_err(|_| anyhow!("a reader panicked"))??;
            Ok(add(sum, found))
        })
    })
}

fn check_slots(file: &Path, slots: &[(u64, u64)], direct: bool) -> Result<Faults> {
    let volume = open_read(file, direct)?;
    let mut block = Aligned::new(record::SIZE);
    let mut found = Faults::default();
    for &(slot, wanted) in slots {
        if volume.read_exact_at(block.bytes_mut(), slot * record::SIZE as u64).is_err() {
            found.unreadable += 1;
            continue;
        }
        match record::judge(block.bytes(), slot) {
            Content::Record(seq) if seq >= wanted => {}
            Content::Record(_) => found.older += 1,
            Content::Empty => found.lost += 1,
            Content::Misplaced | Content::Torn => found.torn += 1,
        }
    }
    Ok(found)
}

fn add(a: Faults, b: Faults) -> Faults {
    Faults {
        lost: a.lost + b.lost,
        torn: a.torn + b.torn,
        older: a.older + b.older,
        unreadable: a.unreadable + b.unreadable,
    }
}

/// Compares two block devices past every cache, from the start to the end of the smaller, or `len` bytes.
pub fn compare(a: &Path, b: &Path, offsets: (u64, u64), len: Option<u64>) -> Result<Value> {
    let (left, right) = (open_read(a, true)?, open_read(b, true)?);
    let len = match len {
        Some(len) => len,
        None => size(a)?.saturating_sub(offsets.0).min(size(b)?.saturating_sub(offsets.1)),
    };
    ensure!(len > 0 && len.is_multiple_of(4096), "{len} bytes are not a number of 4 KiB blocks");
    let (mut x, mut y) = (Aligned::new(CHUNK), Aligned::new(CHUNK));
    let (mut at, mut differing, mut first) = (0, 0_u64, None);
    while at < len {
        let n = usize::try_from((len - at).min(CHUNK as u64))?;
        left.read_exact_at(&mut x.bytes_mut()[..n], offsets.0 + at)
            .with_context(|| format!("reading {a:?} at {at}"))?;
        right
            .read_exact_at(&mut y.bytes_mut()[..n], offsets.1 + at)
            .with_context(|| format!("reading {b:?} at {at}"))?;
        for (i, (p, q)) in x.bytes()[..n].chunks(4096).zip(y.bytes()[..n].chunks(4096)).enumerate() {
            if p != q {
                differing += 1;
                first.get_or_insert(at + i as u64 * 4096);
            }
        }
        at += n as u64;
    }
    Ok(json!({ "blocks": len / 4096, "differing_4k_blocks": differing, "first_difference": first }))
}

/// Size in bytes of a block device (from sysfs, which never blocks) or a file.
fn size(path: &Path) -> Result<u64> {
    let real = path.canonicalize().with_context(|| format!("no {}", path.display()))?;
    let meta = real.metadata()?;
    if !meta.file_type().is_block_device() {
        return Ok(meta.len());
    }
    let name = real.file_name().context("a device has a name")?.to_string_lossy().into_owned();
    let sectors: u64 = std::fs::read_to_string(format!("/sys/class/block/{name}/size"))?.trim().parse()?;
    Ok(sectors * 512)
}

/// Sectors read from and written to a disk since it appeared.
pub fn diskstats(disk: &str) -> Result<Value> {
    let name = disk.trim_start_matches("/dev/");
    let text =
        std::fs::read_to_string(format!("/sys/class/block/{name}/stat")).with_context(|| format!("no disk {name}"))?;
    let field = |n: usize| text.split_whitespace().nth(n).and_then(|word| word.parse::<u64>().ok());
    Ok(json!({ "read": field(2), "written": field(6) }))
}
