//! A LUN put back from an older image. LVM and the kernel call it in sync; only what is on the disks tells.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::Guest;
use crate::install::{self, UNIT};
use crate::lun::Image;
use crate::mirror::wait_for_mounts;
use crate::reading;
use crate::reboot::{Down, reboot};
use crate::scenarios::life;
use crate::signals;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// Leg 1, while the mirror is in use.
pub fn active_b(stage: &mut Stage<'_>) -> Result<()> {
    active(stage, Server::B)
}

/// Leg 0, from which a repair would copy.
pub fn active_a(stage: &mut Stage<'_>) -> Result<()> {
    active(stage, Server::A)
}

fn active(stage: &mut Stage<'_>, server: Server) -> Result<()> {
    reading::prepare(stage.guest())?;
    let image = Image::keep(stage.guest(), server)?;
    // The image becomes older than a stamp.
    restart(stage.guest())?;
    stage.start_writers()?;
    reading::write(stage)?;
    reading::flush(stage.guest())?;
    Fault::Kill.strike(stage.guest(), server)?;
    // A leg that was not given up serves reads as soon as it is back; see `power-cycle` for that.
    stage.wait_for_dm("vg0/r1", "to lose its leg", |status| status.health.contains('D'))?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
    }
    stage.step(&format!("{server:?} comes back with an older LUN"));
    image.put_behind(stage.guest(), server)?;
    Fault::Kill.undo(stage.guest(), server)?;
    read_to_the_end(stage)
}

/// What the leg lost is too young for any stamp, and it is back before it was given up.
pub fn last_seconds(stage: &mut Stage<'_>) -> Result<()> {
    reading::prepare(stage.guest())?;
    let image = Image::keep(stage.guest(), Server::B)?;
    reading::write(stage)?;
    reading::flush(stage.guest())?;
    Fault::Kill.strike(stage.guest(), Server::B)?;
    image.put_behind(stage.guest(), Server::B)?;
    Fault::Kill.undo(stage.guest(), Server::B)?;
    stage.step("B comes back without the last writes");
    // What is read before the return is noticed is read unjudged, see `power-cycle`.
    stage.wait_for_flag("vg0-r1")?;
    let passes = reading::until_redundant(stage)?;
    reading::last(stage, passes)?;
    mismatches_were_told(stage.guest())?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// While everything was off; activation is ours. From the first read after boot on nothing is wrong.
pub fn off_with_gate(stage: &mut Stage<'_>) -> Result<()> {
    life::close_gate(stage)?;
    roll_back_while_off(stage)?;
    wait_until("the mount after boot", LOSS_LIMIT, || {
        Ok(match stage.guest().exec(&["mountpoint", "-q", "/mnt/r1"])?.rc {
            0 => Look::Done(()),
            _ => Look::NotYet("not mounted".to_owned()),
        })
    })?;
    read_after_boot(stage)
}

/// While everything was off, and LVM activates what it finds. Nobody reads before the leg is flagged: until then any
/// program would be as blind as the kernel.
pub fn off_without_gate(stage: &mut Stage<'_>) -> Result<()> {
    stage.guest().sh("sed -i 's/_netdev,nofail/_netdev,noauto/' /etc/fstab; systemctl daemon-reload")?;
    roll_back_while_off(stage)?;
    stage.figure(format!("flagged {:.1} s after the daemon was up", flagged_after(stage.guest())?));
    wait_for_mounts(stage)?;
    read_after_boot(stage)
}

/// Seconds from the start of the service in this boot to the flag. By the journal: by the time that the guest can be asked the
/// flag may be off again.
fn flagged_after(guest: &Guest) -> Result<f64> {
    let journal =
        format!("journalctl -b -u {UNIT} -o short-monotonic --no-pager | grep -m 1 -e '--writemostly .*:y vg0/r1'");
    let line = wait_until("the leg of r1 to be flagged", HEAL_LIMIT, || {
        let line = guest.exec(&["sh", "-c", &journal])?.stdout;
        Ok(if line.is_empty() { Look::NotYet(line) } else { Look::Done(line) })
    })?;
    let flagged: f64 = line.trim_start_matches(['[', ' ']).split(']').next().unwrap_or_default().parse()?;
    let up: f64 = guest.sh(&format!("systemctl show -P ActiveEnterTimestampMonotonic {UNIT}"))?.trim().parse()?;
    Ok(flagged - up / 1e6)
}

fn roll_back_while_off(stage: &mut Stage<'_>) -> Result<()> {
    reading::prepare(stage.guest())?;
    let image = Image::keep(stage.guest(), Server::B)?;
    stage.start_writers()?;
    reading::write(stage)?;
    reading::flush(stage.guest())?;
    stage.stop_writers()?;
    image.put_behind_at_next_start(stage.guest(), Server::B)?;
    reboot(stage, Down::InOrder, None)?;
    ensure!(
        stage.guest().exec(&["test", "-e", "/srv/lab/b.img.kept"])?.rc != 0,
        "the older LUN was not put in place: nothing proven"
    );
    Ok(())
}

fn read_after_boot(stage: &mut Stage<'_>) -> Result<()> {
    let passes = reading::until_redundant(stage)?;
    reading::last(stage, passes)?;
    wait_for_mounts(stage)?;
    mismatches_were_told(stage.guest())?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

fn read_to_the_end(stage: &mut Stage<'_>) -> Result<()> {
    let passes = reading::until_redundant(stage)?;
    reading::last(stage, passes)?;
    mismatches_were_told(stage.guest())?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

fn restart(guest: &Guest) -> Result<()> {
    guest.sh(&format!("systemctl restart {UNIT}"))?;
    install::wait_for_redundancy(guest)
}

/// Somebody has to hear of a server that loses writes.
fn mismatches_were_told(guest: &Guest) -> Result<()> {
    let events = signals::events(&signals::read(guest)?);
    let told = |code: &str| events.iter().any(|event| event == code);
    ensure!(told("mismatch-found") || told("leg-rejected"), "the older blocks were mended in silence: {events:?}");
    Ok(())
}
