//! What a daemon makes of a machine that it has not watched all the time, or that somebody else has a hand in.

use super::*;
use crate::sim::Plan;
use crate::sim::hand::Swap;
use crate::sim::server::Fault;
use crate::sim::session::State;
use crate::sim::truth_keeper::Actor;

/// Volumes with legs on two servers, looked after for a minute.
fn settled(plan: &Plan) -> World {
    let mut w = World::new(plan, 1);
    w.start_daemon();
    w.run_for(60 * SECOND);
    w.daemon.record = true;
    w
}

/// Targets without registrations: nothing proves that a server lived on.
fn keyless(raids: &[&'static str], mirrors: &[&'static str]) -> Plan {
    let mut plan = Plan::lab(raids, mirrors);
    plan.quirks.no_registrations = true;
    plan
}

fn stop(w: &mut World) {
    w.daemon.restart_after = None;
    w.kill_daemon();
}

fn forget(w: &mut World) {
    stop(w);
    w.daemon.file = File::Absent;
    w.volumes.iter_mut().for_each(|v| v.forgotten = true);
}

fn codes(w: &World) -> Vec<&'static str> {
    w.daemon.ran.iter().map(|ran| ran.op.code()).collect()
}

fn whole(w: &World) -> bool {
    (0..w.volumes.len()).all(|v| w.shown(v).is_some_and(|m| m.state == crate::sim::schedule::REDUNDANT))
}

#[test]
fn a_key_that_only_the_other_leg_has_tells_of_a_restart_although_the_notes_are_lost() {
    let mut w = settled(&Plan::lab(&["r1", "r2"], &["m1"]));
    forget(&mut w);
    w.down(1, Fault::Power);
    w.run_for(SECOND);
    w.up(1);
    w.run_for(30 * SECOND);
    w.start_daemon();
    w.run_for(60 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    let checked = w.daemon.ran.iter().filter(|ran| ran.op.code() == "check").flat_map(|ran| ran.op.lvs()).count();
    assert_eq!(checked, 2, "each volume on the PV is compared: {:?}", codes(&w));
    assert!(codes(&w).contains(&"drop-leg") && codes(&w).contains(&"readd-leg"), "{:?}", codes(&w));
}

#[test]
fn what_breaks_before_lvm_has_reported_is_in_doubt_although_nothing_is_remembered() {
    let mut w = settled(&keyless(&["r1"], &["m1"]));
    forget(&mut w);
    // I/O waits already, and LVM with it, when the daemon begins to look.
    w.down(0, Fault::Power);
    w.run_for(2 * SECOND);
    w.start_daemon();
    w.run_until(30 * SECOND, |w| w.blocked().is_some());
    w.up(0);
    w.run_for(60 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(codes(&w).contains(&"check"), "r1 is compared: {:?}", codes(&w));
    assert!(!codes(&w).contains(&"drop-leg"), "nobody knows which leg of m1 has more: {:?}", codes(&w));
}

#[test]
fn a_lun_that_was_exchanged_under_a_session_that_never_broke_is_kept_out() {
    let mut w = settled(&Plan::lab(&["r1"], &[]));
    stop(&mut w);
    let blank = crate::sim::content::Image { label: crate::sim::content::Label::Blank, ..w.luns[0].cached.clone() };
    w.swap(0, &blank);
    w.start_daemon();
    // Its look before the stamp at the start finds it.
    w.run_for(60 * SECOND);
    assert!(codes(&w).contains(&"set-offline"), "{:?}", codes(&w));
    assert!(!codes(&w).contains(&"fence"), "{:?}", codes(&w));
}

#[test]
fn what_is_no_mirror_any_more_is_activated_by_lvm_again() {
    let mut plan = Plan::lab(&["r1"], &["m1"]);
    plan.settings.gate = true;
    let mut w = settled(&plan);
    let automatic = |w: &World| w.merged(0).map(|text| text.lvs.iter().map(|lv| lv.autoactivation).collect::<Vec<_>>());
    assert_eq!(automatic(&w), Some(vec![false, false]));
    for volume in 0..2 {
        w.volumes[volume].reshaped = true;
        w.convert_down(volume, 0, Actor::Admin).unwrap();
    }
    w.run_for(60 * SECOND);
    assert_eq!(automatic(&w), Some(vec![true, true]), "{:?}", codes(&w));
    assert!(w.daemon.ledger().unwrap().mirrors.is_empty(), "and forgotten afterwards");
}

#[test]
fn a_leg_that_fails_between_the_boot_and_the_first_look_is_healed() {
    let mut w = settled(&Plan::lab(&["r1"], &[]));
    assert!(w.run_until(60 * SECOND, |w| w.volumes[0].bitmap != 0));
    w.client_power_loss();
    w.queue.drop_if(|what| matches!(what, super::super::clock::Happening::DaemonStarts { .. }));
    // md mends what the crash left, which raises `events` on both legs.
    assert!(w.run_until(60 * SECOND, |w| w.active(0) && w.volumes[0].idle()) && !w.daemon.alive());
    // Written to when it fails, which leaves it one more.
    assert!(w.run_until(60 * SECOND, |w| w.volumes[0].bitmap != 0));
    w.down(1, Fault::Refused);
    assert!(w.run_until(200 * SECOND, |w| w.volumes[0].alive().count() == 1));
    w.start_daemon();
    w.run_for(5 * SECOND);
    w.up(1);
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(whole(&w), "{:?} {:?}", w.shown(0).map(|m| (m.hold, m.hold_details.clone())), codes(&w));
}

#[test]
fn reads_are_not_left_to_a_leg_in_doubt_when_the_other_one_is_flagged_as_well() {
    let mut w = settled(&keyless(&["r1"], &[]));
    w.down(0, Fault::Power);
    w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 1);
    w.up(0);
    w.run_until(120 * SECOND, |w| w.volumes[0].legs[0].flag && w.volumes[0].alive().count() == 2);
    w.write_mostly(0, 0b10, 0, Actor::Admin).unwrap();
    assert!(w.run_until(20 * SECOND, |w| w.volumes[0].legs[0].flag && !w.volumes[0].legs[1].flag), "{:?}", codes(&w));
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(whole(&w), "{:?}", codes(&w));
    assert!(!w.volumes[0].legs[0].flag && w.volumes[0].legs[1].flag, "his flag is put back");
}

#[test]
fn a_leg_that_a_table_load_left_out_is_compared_although_its_server_lived_on() {
    let mut w = settled(&Plan::lab(&["r1"], &[]));
    w.down(0, Fault::Cut);
    w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 1);
    stop(&mut w);
    // Somebody has another table loaded while its disk fails its I/O.
    w.load_table(0, 0, None, Actor::Admin);
    assert!(w.volumes[0].legs[0].dropped);
    w.start_daemon();
    w.up(0);
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(whole(&w) && codes(&w).contains(&"check"), "{:?}", codes(&w));
}

#[test]
fn a_disk_is_rescanned_before_its_leg_is_compared() {
    let mut w = settled(&keyless(&["r1"], &[]));
    for server in 0..2 {
        w.down(server, Fault::Cut);
    }
    w.run_until(60 * SECOND, |w| (0..2).all(|s| w.sessions[s].as_ref().is_some_and(|s| s.state != State::LoggedIn)));
    stop(&mut w);
    for server in 0..2 {
        w.keep_images();
        w.exchange(server, Swap::Smaller);
        w.up(server);
    }
    w.run_for(30 * SECOND);
    w.start_daemon();
    w.run_for(120 * SECOND);
    let codes = codes(&w);
    assert!(codes.contains(&"rescan") && !codes.contains(&"check"), "{codes:?}");
}

#[test]
fn a_superblock_that_went_back_under_a_leg_in_use_tells_of_an_old_image() {
    let mut w = settled(&keyless(&["r1"], &[]));
    stop(&mut w);
    let area = &mut w.luns[0].cached.areas[0];
    area.sb.as_mut().unwrap().events -= 2;
    area.blocks = Default::default();
    w.start_daemon();
    w.run_for(120 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert_eq!(codes(&w).iter().filter(|code| ["quarantine", "release"].contains(code)).count(), 2, "{:?}", codes(&w));
    assert!(whole(&w));
}

#[test]
fn a_leg_that_only_old_metadata_has_is_not_believed() {
    let mut plan = keyless(&[], &["m1"]);
    plan.servers = 3;
    plan.vgs[0].servers.push(2);
    let mut w = settled(&plan);
    // Dropped while nobody looks: the notes begin without it.
    forget(&mut w);
    w.down(1, Fault::Cut);
    assert!(w.run_until(60 * SECOND, |w| w.volumes[0].legs.len() == 2));
    w.start_daemon();
    w.run_for(60 * SECOND);
    let known = |w: &World| w.daemon.ledger().unwrap().mirrors.values().map(|record| record.legs.len()).sum::<usize>();
    assert_eq!(known(&w), 2);
    w.down(0, Fault::Cut);
    w.down(2, Fault::Cut);
    w.client_power_loss();
    w.up(1);
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(!w.active(0) && w.shown(0).is_some_and(|m| m.hold.is_some()), "{:?}", codes(&w));
}

#[test]
fn who_turns_up_while_a_volume_is_activated_without_him_has_no_say_in_it() {
    let mut w = settled(&keyless(&["r1"], &[]));
    // Leg 0 is lost, and goes on alone somewhere else.
    w.down(0, Fault::Cut);
    w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 1);
    w.run_for(30 * SECOND);
    w.client_power_loss();
    let sb = w.luns[0].cached.areas[0].sb.as_mut().unwrap();
    (sb.events, sb.failed) = (sb.events + 20, 0b10);
    let activates = |w: &World| w.daemon.jobs.iter().any(|job| job.op.code() == "activate");
    assert!(w.run_until(300 * SECOND, activates), "{:?}", w.shown(0));
    w.servers[0].automatic = true;
    w.up(0);
    w.admin_login(0);
    w.run_for(120 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert_eq!(w.volumes[0].alive().map(|leg| w.volumes[0].legs[leg].pv).collect::<Vec<_>>(), [1], "{:?}", codes(&w));
}
