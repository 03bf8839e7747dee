//! The bus while storage hangs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// Asks the bus itself, and the daemon for every object; prints how many milliseconds each took.
const ASK: &str = "ask() {
s=$(date +%s%N)
busctl --timeout=30 -j call \"$@\" >/dev/null || exit
echo $(( ($(date +%s%N) - s) / 1000000 ))
}
ask org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId
ask org.mirrorkeeper1 /org/mirrorkeeper1 org.freedesktop.DBus.ObjectManager GetManagedObjects";

/// Beyond what the bus itself takes, which is busctl's start in the emulator beside everything else that goes on there, an
/// answer may take this long. Whoever waited for a blocked disk would take several seconds.
pub const LIMIT_MS: u64 = 1000;

/// From the cut until the leg is lost, the bus is asked again and again. On a machine so busy that answers are
/// slow while all is well, twice as long as then is allowed.
pub fn answers_while_blocked(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    let mut healthy = 0;
    for _ in 0..10 {
        healthy = healthy.max(ask(stage)?);
    }
    let limit = LIMIT_MS.max(2 * healthy);
    let disk = stage.guest().disk_of('b')?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    let start = Instant::now();
    let (mut longest, mut asked, mut blocked) = (0, 0, 0);
    loop {
        let state = stage.guest().sh(&format!("cat /sys/block/{disk}/device/state || echo fenced"))?;
        let took = ask(stage)?;
        longest = longest.max(took);
        asked += 1;
        let waits = state.trim() == "blocked";
        blocked += u32::from(waits);
        ensure!(took < limit, "the daemon took {took} ms to answer, disk {}", state.trim());
        if !waits && stage.guest().dm_status("vg0/r1")?.health.contains('D') {
            break;
        }
        ensure!(start.elapsed() < LOSS_LIMIT + Duration::from_secs(30), "the leg was never lost");
    }
    ensure!(blocked > 0, "the disk was never seen blocked: nothing proven");
    stage.figure(format!("{asked} answers ({blocked} while blocked), slowest {longest} ms, {healthy} ms in health"));
    Fault::Cut.undo(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded", "resyncing", "verifying", "redundant"], LOSS_LIMIT)?;
    }
    stage.wait_for_redundancy("its return")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Milliseconds that the daemon took to answer, beyond what the bus itself took just before.
pub fn ask(stage: &Stage<'_>) -> Result<u64> {
    let told = stage.guest().sh(ASK)?;
    let took: Result<Vec<u64>, _> = told.split_whitespace().map(str::parse).collect();
    let took = took.context("date's arithmetic")?;
    let &[bus, daemon] = took.as_slice() else { bail!("two answers wanted: {told}") };
    Ok(daemon.saturating_sub(bus))
}
