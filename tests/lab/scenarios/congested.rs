//! A link that is slow, lossy, full and sometimes silent is no dead server.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::roles::HEALTHY;
use crate::stage::{Stage, name};
use crate::stock::VOLUMES;

use super::quick::tune;

/// On every wire, both ways.
const LOSSY: &str = "delay 200ms loss 1% limit 10000";

/// Writers saturate both wires; one packet in a hundred is lost, each takes 200 ms a way; then nothing passes for 3 s.
pub fn link(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_roles(HEALTHY)?;
    stage.wait_for_limits(4, 3000)?;
    saturate(stage)?;
    check(stage, "loss, delay and load")?;
    silence(stage)?;
    check(stage, "3 s of silence")?;
    relieve(stage)?;
    check(stage, "the congestion")?;
    end(stage)
}

/// With the shortest useful timeouts load, loss and delay must not cost a leg either; what a pause does is a figure: it is
/// as long as a dead server is given.
pub fn tuned(stage: &mut Stage<'_>) -> Result<()> {
    tune(stage)?;
    saturate(stage)?;
    check(stage, "loss, delay and load")?;
    silence(stage)?;
    let (blocked, offline) = (stage.events("target-lost")?, stage.events("target-offline")?);
    stage.figure(format!("3 s of silence: {blocked} connections lost, {offline} sessions given up"));
    relieve(stage)?;
    end(stage)
}

fn end(stage: &mut Stage<'_>) -> Result<()> {
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Loss, delay and load for 40 s.
fn saturate(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    netem(stage, "add", LOSSY)?;
    for volume in VOLUMES {
        let n = name(volume);
        stage.guest().sh(&format!(
            "systemd-run --quiet --unit=lab-load-{n} sh -c \
             'while :; do dd if=/dev/zero of=/mnt/{n}/load bs=1M count=16 oflag=direct conv=notrunc status=none; done'"
        ))?;
    }
    stage.step("loss and delay, saturated");
    // The load is the point, for as long as this takes.
    let since = stage.guest().clock()?;
    stage.guest().sh("sleep 40")?;
    let mut text = "longest write congested".to_owned();
    for volume in VOLUMES {
        text += &format!(" {} {:.1} s", name(volume), stage.guest().longest_write(volume, since)?);
    }
    stage.figure(text);
    Ok(())
}

/// Nothing passes for 3 s, with what the commands take.
fn silence(stage: &Stage<'_>) -> Result<()> {
    stage.step("3 s of silence");
    netem(stage, "change", "loss 100%")?;
    stage.guest().sh("sleep 2.5")?;
    netem(stage, "change", LOSSY)?;
    stage.guest().sh("sleep 15").map(drop)
}

/// Ends load and congestion, and waits until all is well.
fn relieve(stage: &mut Stage<'_>) -> Result<()> {
    for volume in VOLUMES {
        let n = name(volume);
        stage.guest().sh_within(&format!("systemctl stop lab-load-{n}"), Duration::from_secs(300))?;
    }
    netem(stage, "del", "")?;
    stage.wait_for_redundancy("the congestion")?;
    stage.wait_for_roles(HEALTHY)
}

/// The same discipline on the four ends of the two wires, in one command: a pause is short.
fn netem(stage: &Stage<'_>, verb: &str, what: &str) -> Result<()> {
    let netem = if verb == "del" { "" } else { "netem" };
    let wire = |s: char| {
        format!(
            "tc qdisc {verb} dev veth-{s} root {netem} {what}
             tc -n ns{s} qdisc {verb} dev eth0 root {netem} {what}\n"
        )
    };
    stage.guest().sh(&(wire('a') + &wire('b'))).map(drop)
}

/// No leg was given up by kernel or daemon.
fn check(stage: &mut Stage<'_>, after: &str) -> Result<()> {
    for volume in VOLUMES {
        let status = stage.guest().dm_status(volume)?;
        ensure!(status.health == "AA", "{volume} lost a leg in {after}: {status:?}");
    }
    let count = |code: &str| stage.events(code);
    let (blocked, offline, fenced) = (count("target-lost")?, count("target-offline")?, count("target-fenced")?);
    ensure!(offline == 0 && fenced == 0, "{offline} sessions given up and {fenced} fenced in {after}");
    stage.figure(format!("{blocked} connections lost until after {after}"));
    Ok(())
}
