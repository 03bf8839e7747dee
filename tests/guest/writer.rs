//! Writers: what an application does to a mirrored volume while the lab breaks servers under it.
//!
//! `write` is the honest application: record, fsync, then and only then a line in the ledger on the root disk.
//! `burst` is the treacherous one: in-place O_DIRECT writes whose completion is believed although nothing flushed
//! them to the servers' disks. That is legal up to the next fsync, which the lab issues as a step of its own (`sync`).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use serde_json::{Value, json};

use crate::blocks::{Aligned, open_read, open_write};
use crate::record;

/// Slots of the honest writer's file: 8 MiB, so that overwriting begins after some minutes.
const SLOTS: u64 = 2048;

/// Pause after an error, so that a dead volume does not fill the ledger's disk.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_: nix::libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// Writes until SIGTERM; the result counts what was acknowledged and tells the longest wait.
pub fn write(file: &Path, ledger: &Path, interval: Duration) -> Result<Value> {
    // Restart: a write that a signal cuts short would look like an error of the volume.
    let action = SigAction::new(SigHandler::Handler(stop), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
    unsafe { sigaction(Signal::SIGTERM, &action) }.context("handling SIGTERM")?;

    let volume = open_write(file, false)?;
    let mut book = OpenOptions::new().create(true).append(true).open(ledger).context("opening the ledger")?;
    let mut block = vec![0; record::SIZE];
    let (mut acked, mut errors, mut longest) = (0_u64, 0_u64, Duration::ZERO);
    let mut first_error = None;
    let mut seq = 1 + record::acknowledged(ledger)?.values().max().copied().unwrap_or(0);
    while !STOP.load(Ordering::Relaxed) {
        let slot = seq % SLOTS;
        record::fill(&mut block, slot, seq);
        let start = Instant::now();
        let result = volume.write_all_at(&block, slot * record::SIZE as u64).and_then(|()| volume.sync_data());
        let took = start.elapsed();
        longest = longest.max(took);
        match result {
            Ok(()) => {
                acked += 1;
                writeln!(book, "{seq} {slot} {} {}", unix_micros(), took.as_micros())?;
            }
            Err(e) => {
                errors += 1;
                first_error.get_or_insert_with(|| e.to_string());
                std::thread::sleep(ERROR_PAUSE);
            }
        }
        seq += 1;
        std::thread::sleep(interval);
    }
    Ok(json!({ "acked": acked, "longest_stall_ms": longest.as_millis(), "errors": errors, "first_error": first_error }))
}

/// Fills `slots` slots and flushes them, so that a later burst writes in place, over blocks that exist on both legs.
pub fn prepare(file: &Path, slots: u64) -> Result<Value> {
    let volume = open_write(file, false)?;
    let mut block = vec![0; record::SIZE];
    for slot in 0..slots {
        record::fill(&mut block, slot, 1);
        volume.write_all_at(&block, slot * record::SIZE as u64)?;
    }
    volume.sync_all()?;
    Ok(json!({ "slots": slots }))
}

/// Writes `count` different slots of a prepared file in random order with O_DIRECT and never flushes.
pub fn burst(file: &Path, ledger: &Path, slots: u64, count: u64) -> Result<Value> {
    let volume = open_write(file, true)?;
    let mut order: Vec<u64> = (0..slots).collect();
    let mut state = u64::try_from(unix_micros()).unwrap_or(1) | 1;
    for i in (1..order.len()).rev() {
        state = record::next(state);
        order.swap(i, usize::try_from(state % (i as u64 + 1))?);
    }
    let mut lines = String::new();
    let mut block = Aligned::new(record::SIZE);
    let mut longest = Duration::ZERO;
    for (seq, slot) in (2..).zip(order.into_iter().take(usize::try_from(count)?)) {
        record::fill(block.bytes_mut(), slot, seq);
        let start = Instant::now();
        volume.write_all_at(block.bytes(), slot * record::SIZE as u64)?;
        longest = longest.max(start.elapsed());
        lines += &format!("{seq} {slot} {} 0\n", unix_micros());
    }
    File::create(ledger)?.write_all(lines.as_bytes())?;
    Ok(json!({ "written": count, "longest_stall_ms": longest.as_millis() }))
}

/// The fsync that the application's promise rests on.
pub fn sync(file: &Path) -> Result<Value> {
    let start = Instant::now();
    open_read(file, false)?.sync_all().context("fsync")?;
    Ok(json!({ "ms": start.elapsed().as_millis() }))
}

fn unix_micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros())
}
