//! Calm: a server that comes and goes is not healed each time, and copies over one link wait for each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::{DmStatus, Guest};
use crate::signals;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage, name};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// How long the server stays between two losses, in seconds: longer than the settle time at first, 10 s, shorter than what
/// it grows to.
const STAY: u32 = 15;

/// Five losses in a row cost two copies at most, the settle time is shown, and in the end all is redundant. Each costs
/// the legs, unless they were not back yet.
pub fn five_flaps(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    for flap in 1..=5_u64 {
        Fault::Cut.strike(stage.guest(), Server::B)?;
        wait_for_server(stage, "down")?;
        let counted = stage.guest().server_b("FlapCount")?;
        ensure!(counted == flap, "loss {flap} is counted as {counted}");
        // Each costs the legs, or has cost them before.
        super::quick::lose(stage)?;
        Fault::Cut.undo(stage.guest(), Server::B)?;
        wait_for_server(stage, "up")?;
        let held = held_for(stage.guest())?;
        stage.step(&format!("flap {flap}: settles for {held:.0} s more"));
        if flap < 5 {
            // It is well for a while: what a flapping server does.
            stage.guest().sh(&format!("sleep {STAY}"))?;
        } else {
            ensure!(held > 100.0, "after five losses it settles for {held:.0} s only");
            stage.figure(format!("settles for {held:.0} s after the fifth loss"));
        }
    }
    wait_until("the server to have settled", HEAL_LIMIT, || {
        let until = stage.guest().server_b("HeldUntilAtUSec")?;
        Ok(if until == 0 { Look::Done(()) } else { Look::NotYet(format!("held until {until}")) })
    })?;
    stage.wait_for_redundancy("it had settled")?;
    ensure!(stage.events("server-flapping")? > 0, "that the server flaps was never told");
    for volume in VOLUMES {
        let told = signals::read(stage.guest())?;
        // What the comparison finds is mended by a resync of its own.
        let mended = signals::of(&told, "mismatch-found", volume);
        let copies = signals::of(&told, "resync-started", volume) - mended;
        ensure!(copies <= 2, "{volume} was copied {copies} times");
        stage.figure(format!("{}: {copies} resyncs, {mended} mendings", name(volume)));
    }
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

impl Guest {
    /// A number that server b's object shows.
    fn server_b(&self, property: &str) -> Result<u64> {
        self.property(&Server::B.object(), "Server", property)?
            .as_u64()
            .with_context(|| format!("{property} is no number"))
    }
}

fn wait_for_server(stage: &Stage<'_>, wanted: &str) -> Result<()> {
    wait_until(&format!("server b to be {wanted}"), LOSS_LIMIT, || {
        let state = stage.guest().property(&Server::B.object(), "Server", "State")?;
        Ok(if state == wanted { Look::Done(()) } else { Look::NotYet(state.to_string()) })
    })
}

/// `HeldUntilAtUSec`, in seconds from now.
fn held_for(guest: &Guest) -> Result<f64> {
    let until = guest.server_b("HeldUntilAtUSec")?;
    Ok(until.saturating_sub(guest.clock()?) as f64 / 1e6)
}

/// A second mirror that needs a full copy as well.
const SECOND: &str = "vg0/second";

/// All devices, ten times a second, a line each time.
const SAMPLER: &str = "while :; do echo $(dmsetup status --noflush vg0-r1)\\;$(dmsetup status --noflush vg0-testlv)\\;\
$(dmsetup status --noflush vg0-second); sleep 0.1; done";

/// Two mirrors lost their legs on b, and `r1` its in-sync state: never are two of the three copied or compared at once, and
/// who waits says so.
pub fn in_turn(stage: &mut Stage<'_>) -> Result<()> {
    add_second(stage)?;
    stage.start_writers()?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    // Without a write nobody would miss the leg.
    stage.guest().sh("dd if=/dev/zero of=/dev/vg0/second bs=4k count=1 oflag=direct status=none")?;
    for volume in VOLUMES.into_iter().chain([SECOND]) {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    for volume in ["vg0/testlv", SECOND] {
        stage.wait_for_dm(volume, "to be linear", |status| status.target == "linear")?;
    }
    stage.guest().sh(&format!(
        "systemd-run --quiet --unit=lab-sampler -p StandardOutput=file:/root/samples sh -c '{}'",
        SAMPLER.replace('$', "$$")
    ))?;
    Fault::Kill.undo(stage.guest(), Server::B)?;
    stage.wait_for_state(SECOND, &["redundant"], HEAL_LIMIT)?;
    stage.wait_for_redundancy("its return")?;
    stage.guest().sh("systemctl stop lab-sampler")?;
    one_at_a_time(stage)?;
    let messages = signals::read(stage.guest())?;
    let queued = |volume: &&str| signals::values(&messages, volume, "Hold").iter().any(|hold| hold == "queued");
    let waited: Vec<&str> = VOLUMES.into_iter().chain([SECOND]).filter(queued).collect();
    ensure!(waited.len() >= 2, "only {waited:?} said that they wait");
    stage.figure(format!("queued were {}", waited.join(" and ")));
    stage.guest().sh("lvremove -y -q vg0/second")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

fn add_second(stage: &Stage<'_>) -> Result<()> {
    let (a, b) = (stage.guest().disk_of('a')?, stage.guest().disk_of('b')?);
    let make = "lvcreate -y --type mirror --mirrorlog core -m1 -L 64M -n second vg0";
    stage.guest().sh_within(&format!("{make} /dev/{a} /dev/{b}"), Duration::from_secs(180))?;
    stage.wait_for_state(SECOND, &["redundant"], HEAL_LIMIT).map(drop)
}

/// In every sample at most one device is at work; in some each of them is.
fn one_at_a_time(stage: &mut Stage<'_>) -> Result<()> {
    let text = stage.guest().sh("cat /root/samples")?;
    let mut seen = [0_u32; 3];
    for line in text.lines() {
        let at_work: Vec<usize> = line
            .split(';')
            .enumerate()
            .filter(|(_, status)| DmStatus::parse(status).is_some_and(|status| works(&status)))
            .map(|(i, _)| i)
            .collect();
        ensure!(at_work.len() <= 1, "two were at work at once: {line}");
        at_work.into_iter().for_each(|i| seen[i] += 1);
    }
    ensure!(
        !seen.contains(&0),
        "in {} samples r1, testlv and second were seen at work {seen:?} times",
        text.lines().count()
    );
    stage.figure(format!("at work in {seen:?} of {} samples, never two at once", text.lines().count()));
    Ok(())
}

fn works(status: &DmStatus) -> bool {
    match status.target.as_str() {
        "raid" => !matches!(status.action.as_str(), "idle" | "frozen"),
        "mirror" => status.sync.0 < status.sync.1,
        _ => false,
    }
}
