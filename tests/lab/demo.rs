//! The main job, for whoever wants to see it: a server is taken away under two mounted mirrors and comes back.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::install::{self, UNIT};
use crate::lab::Lab;
use crate::progress;
use crate::signals;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// Tells the story with times.
pub fn demo(deb: &Path) -> Result<()> {
    let mut lab = Lab::start("demo", false)?;
    progress("a client with two iSCSI servers; vg0/r1 is a raid1, vg0/testlv a core-log mirror, both mounted");
    install::install(&lab.vm.guest, deb)?;
    let mut stage = Stage::new(&mut lab);
    signals::record(stage.guest())?;
    show(&stage, "mirrorkeeper status")?;
    stage.start_writers()?;

    progress("server b's cable is pulled");
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    show(&stage, "mirrorkeeper status")?;
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 20)?;
    }
    progress("the writers go on; now the cable is plugged in again and nobody does anything");
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("the cable was plugged in")?;
    show(&stage, "mirrorkeeper status")?;

    progress("what was said on the bus");
    let messages = signals::read(stage.guest())?;
    for volume in VOLUMES {
        println!("    {volume}: redundant -> {}", signals::states(&messages, volume).join(" -> "));
    }
    progress("what the journal says");
    show(&stage, &format!("journalctl -b --no-pager -o short-precise -u {UNIT} | tail -n 40"))?;
    progress("what became of every acknowledged write");
    final_check(&mut stage, Errors::Forbidden)?;
    progress(&format!("verdict: {}", stage.figures.join(", ")));
    Ok(())
}

fn show(stage: &Stage<'_>, command: &str) -> Result<()> {
    println!("    # {command}");
    let exit = stage.guest().agent().exec(&["sh", "-c", command], None, Duration::from_secs(60))?;
    for line in (exit.stdout + &exit.stderr).lines() {
        println!("    {line}");
    }
    Ok(())
}
