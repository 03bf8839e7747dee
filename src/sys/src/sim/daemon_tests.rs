//! What a daemon makes of a machine that it has not watched all the time, or that somebody else has a hand in.

use super::*;
use crate::sim::Plan;
use crate::sim::hand::Swap;
use crate::sim::server::Fault;
use crate::sim::session::State;
use crate::sim::truth_keeper::Actor;
use mirrorkeeper_core::ledger::Trust;
use mirrorkeeper_core::words::Hold;

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
    is_held_after_a_boot_with_server_1(w);
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

fn is_held_after_a_boot_with_server_1(mut w: World) {
    w.client_power_loss();
    w.up(1);
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(!w.active(0) && w.shown(0).is_some_and(|m| m.hold.is_some()), "{:?}", codes(&w));
}

/// Server 1 is away while the client boots, so the mirror is reduced to its leg on server 0.
fn reduced_at_boot(plan: &Plan) -> World {
    let mut w = settled(plan);
    w.down(1, Fault::Cut);
    w.client_power_loss();
    assert!(w.run_until(120 * SECOND, |w| codes(w).contains(&"drop-dead-leg") && w.daemon.jobs.is_empty()));
    w
}

fn trusted(w: &World, volume: usize, pv: usize) -> bool {
    let record = &w.daemon.ledger().unwrap().mirrors[&w.volumes[volume].names.uuid];
    record.legs[&w.vgs[0].pvs[pv]].trust == Trust::Trusted
}

#[test]
fn a_table_that_was_loaded_without_a_leg_tells_so_before_lvm_has_reported() {
    let mut w = reduced_at_boot(&keyless(&["r1"], &["m1"]));
    stop(&mut w);
    w.up(1);
    // Leg 1 is flagged missing by now: LVM activates r1 without it.
    w.client_power_loss();
    w.daemon.report_ok = false;
    assert!(w.run_until(60 * SECOND, |w| w.active(0)));
    w.start_daemon();
    w.run_for(5 * SECOND);
    assert!(trusted(&w, 0, 0) && !trusted(&w, 0, 1));
}

#[test]
fn what_a_mirror_was_reduced_to_is_what_it_goes_on_with() {
    let mut w = reduced_at_boot(&keyless(&[], &["m1"]));
    // LVM has reported what is left.
    w.run_for(3 * SECOND);
    w.down(0, Fault::Cut);
    is_held_after_a_boot_with_server_1(w);
}

#[test]
fn a_lost_leg_that_somebody_else_revived_is_compared_although_its_server_lived_on() {
    let mut w = settled(&Plan::lab(&["r1"], &[]));
    w.down(0, Fault::Cut);
    w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 1);
    w.run_for(2 * SECOND);
    stop(&mut w);
    w.up(0);
    assert!(w.run_until(60 * SECOND, |w| w.sessions[0].as_ref().is_some_and(|s| s.state == State::LoggedIn)));
    w.load_table(0, 0, None, Actor::Admin);
    w.start_daemon();
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(whole(&w) && codes(&w).contains(&"check"), "{:?}", codes(&w));
}

#[test]
fn a_leg_of_unknown_past_is_not_mended_from_one_that_may_have_been_copied_from_it() {
    let mut w = settled(&keyless(&["r1"], &[]));
    forget(&mut w);
    w.down(0, Fault::Cut);
    assert!(w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 1));
    w.start_daemon();
    w.run_for(10 * SECOND);
    stop(&mut w);
    w.up(0);
    assert!(w.run_until(60 * SECOND, |w| w.sessions[0].as_ref().is_some_and(|s| s.state == State::LoggedIn)));
    w.load_table(0, 0, None, Actor::Admin);
    assert!(w.run_until(60 * SECOND, |w| w.volumes[0].idle()));
    w.luns[0].cached.areas[0].blocks = Default::default();
    w.start_daemon();
    w.run_for(300 * SECOND);
    let codes = codes(&w);
    assert!(codes.contains(&"check") && !codes.contains(&"repair") && !codes.contains(&"rebuild"), "{codes:?}");
    assert_eq!(w.shown(0).and_then(|m| m.hold), Some(Hold::NoHistory));
}

#[test]
fn nothing_is_activated_beside_a_leg_that_was_in_use_alone_and_does_not_tell() {
    let mut plan = keyless(&["r1"], &[]);
    plan.settings.gate = true;
    let mut w = settled(&plan);
    w.down(1, Fault::Power);
    w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 1);
    w.up(1);
    assert!(w.run_until(120 * SECOND, |w| w.volumes[0].legs[1].flag && w.volumes[0].alive().count() == 2));
    // Before it was compared the other one goes.
    w.lose_session(0);
    assert!(w.run_until(30 * SECOND, |w| w.volumes[0].alive().map(|leg| w.volumes[0].legs[leg].pv).eq([1])));
    w.run_for(60 * SECOND);
    w.client_power_loss();
    // Both sessions are back, and one disk cannot be read.
    assert!(w.run_until(60 * SECOND, |w| w.sessions.iter().all(Option::is_some)));
    w.luns[1].gone = true;
    w.run_for(60 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(!w.active(0) && w.shown(0).is_some_and(|m| m.hold.is_some()), "{:?}", codes(&w));
}

#[test]
fn a_pv_that_was_taken_back_is_flagged_by_another_number_the_next_time() {
    let mut w = settled(&keyless(&["r1"], &["m1"]));
    w.lose_session(1);
    let restored = |w: &World| w.daemon.ran.iter().any(|ran| ran.op.code() == "restore-missing");
    assert!(w.run_until(120 * SECOND, |w| w.daemon.jobs.iter().any(|job| job.op.code() == "restore-missing")));
    let flagged = |w: &World| {
        let legs = w.daemon.ledger().unwrap().mirrors.values().flat_map(|record| record.legs.values());
        legs.filter(|leg| matches!(&leg.trust, Trust::Suspect { loss, .. } if loss.flagged.is_some())).count()
    };
    assert_eq!(flagged(&w), 2);
    // The report that would tell does not come.
    w.daemon.report_ok = false;
    assert!(w.run_until(30 * SECOND, |w| restored(w) && w.daemon.jobs.is_empty()));
    w.run_for(2 * SECOND);
    assert_eq!(flagged(&w), 0);
}

#[test]
fn a_leg_that_serves_reads_in_doubt_is_dropped_before_another_volume_is_compared() {
    let mut w = World::new(&keyless(&["r1"], &["m1"]), 1);
    let image = w.luns[0].cached.clone();
    w.start_daemon();
    w.run_for(60 * SECOND);
    stop(&mut w);
    (w.luns[0].cached, w.luns[0].durable) = (image.clone(), image);
    w.daemon.record = true;
    w.start_daemon();
    w.run_for(120 * SECOND);
    let codes = codes(&w);
    let at = |code| codes.iter().position(|other| *other == code);
    assert!(at("drop-leg").is_some() && at("drop-leg") < at("check"), "{codes:?}");
}

#[test]
fn while_a_mirror_is_copied_only_its_source_is_a_partner() {
    let mut plan = keyless(&["r1"], &["m1"]);
    plan.servers = 3;
    plan.vgs[0].servers = vec![2, 1, 0];
    plan.quirks.no_detect = true;
    let mut w = settled(&plan);
    w.lose_session(2);
    // Copied anew, all of them: the leg on server 0 as well.
    assert!(
        w.run_until(200 * SECOND, |w| codes(w).contains(&"readd-leg") && w.volumes[1].sync.is_some()),
        "{:?}",
        codes(&w)
    );
    w.run_for(2 * SECOND);
    w.down(2, Fault::Cut);
    w.write(0, 1, false);
    w.run_for(60 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(codes(&w).contains(&"destroy-socket"), "{:?}", codes(&w));
}

#[test]
fn a_leg_of_three_that_fails_while_another_is_copied_is_taken_back() {
    let mut plan = keyless(&["r1"], &[]);
    plan.servers = 3;
    plan.vgs[0].servers = vec![0, 1, 2];
    let mut w = settled(&plan);
    w.down(1, Fault::Cut);
    assert!(w.run_until(60 * SECOND, |w| w.volumes[0].alive().count() == 2));
    w.up(1);
    assert!(w.run_until(120 * SECOND, |w| w.volumes[0].sync.is_some()));
    // It calls leg 1 failed, and is called failed by it later.
    w.lose_session(0);
    assert!(w.volumes[0].alive().map(|leg| w.volumes[0].legs[leg].pv).eq([2]));
    w.run_for(300 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    assert!(whole(&w), "{:?} {:?}", w.shown(0).map(|m| (m.hold, m.hold_details.clone())), codes(&w));
}
