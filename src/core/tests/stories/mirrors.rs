//! Core-log mirrors: dmeventd drops, the daemon gives back; and what an administrator does is his.

use crate::bench::machine::{A, B};
use crate::bench::{Bench, Fault};
use mirrorkeeper_core::op::Op;
use mirrorkeeper_core::words::{EventCode as E, Hold, MirrorState};

#[test]
fn a_leg_dropped_by_dmeventd_is_given_back_with_a_full_copy() {
    for lost in [A, B] {
        let mut bench = Bench::settled(&[], &["testlv"]);
        bench.machine.lose_cache(lost);
        bench.machine.down(lost, true);
        bench.run_for(200);
        assert_eq!(bench.machine.mirrors[0].legs.len(), 1);
        assert_eq!(bench.mirror("testlv").state, MirrorState::Degraded, "{}", bench.story());
        bench.machine.back(lost);
        bench.run_until_redundant(90);
        assert_eq!(bench.writes(), ["restore-missing", "readd-leg"], "{}", bench.story());
        let readd = bench.ran.iter().map(|ran| &ran.op).find(|op| op.code() == "readd-leg").unwrap();
        assert!(matches!(readd, Op::ReaddLeg { legs: 2, log_pv: None, .. }), "{}", readd.command_line());
    }
}

/// The report that tells of it has to wait meanwhile, since a disk is blocked.
#[test]
fn a_leg_that_is_back_before_its_drop_is_known_was_not_taken_out_by_a_person() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.down(B, true);
    bench.restart_in("boot-2");
    bench.run_for(2);
    bench.machine.logout(B);
    bench.run_until(20, "dropped", |b| b.machine.mirrors[0].legs.len() == 1);
    bench.machine.down(A, true);
    bench.machine.back(B);
    bench.machine.login(B);
    bench.run_for(3);
    bench.machine.back(A);
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["restore-missing", "readd-leg"], "{}", bench.story());
}

#[test]
fn raid_and_mirror_on_one_pv_heal_together() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until_redundant(200);
    let writes = bench.writes();
    assert_eq!(writes[0], "restore-missing", "{}", bench.story());
    assert!(writes.contains(&"quarantine") && writes.contains(&"readd-leg"), "{}", bench.story());
}

#[test]
fn a_mirror_leg_whose_server_was_power_cycled_is_dropped_and_copied_anew() {
    for lost in [A, B] {
        let mut bench = Bench::settled(&[], &["testlv"]);
        bench.machine.power_cycle(lost);
        bench.run_until_redundant(120);
        assert_eq!(bench.writes(), ["drop-leg", "readd-leg"], "{}", bench.story());
    }
}

#[test]
fn a_server_power_cycled_during_the_copy_starts_it_anew() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.power_cycle(B);
    bench.run_until(90, "copying", |b| b.writes().contains(&"readd-leg"));
    bench.run_for(4);
    bench.machine.power_cycle(B);
    bench.run_until_redundant(200);
    assert_eq!(bench.writes(), ["drop-leg", "readd-leg", "drop-leg", "readd-leg"], "{}", bench.story());
}

#[test]
fn two_doubtful_mirror_legs_wait_for_a_person() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.power_cycle(A);
    bench.machine.power_cycle(B);
    bench.run_until_held(120, "testlv", Hold::NoHistory);
    assert!(bench.writes().is_empty(), "{}", bench.story());
}

#[test]
fn a_core_log_mirror_is_copied_anew_by_its_activation() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.power_cycle(A);
    bench.machine.power_cycle(B);
    bench.run_until_held(120, "testlv", Hold::NoHistory);
    // After a boot the kernel copies from the first leg to the others: there is nothing left to tell them apart.
    bench.machine.mirrors[0].activate();
    bench.restart_in("boot-2");
    bench.run_until_redundant(120);
    assert!(bench.writes().is_empty(), "{}", bench.story());
}

#[test]
fn an_idle_mirror_lets_go_of_a_pv_that_another_volume_had_flagged() {
    let mut bench = Bench::settled(&["r1"], &["busy", "idle"]);
    // Nothing is written to it, so its leg stays alive; the other one is dropped, which flags the PV of both.
    bench.machine.mirrors[1].written = false;
    bench.machine.down(B, false);
    bench.run_until(200, "the PV is flagged", |b| b.machine.missing[B]);
    bench.machine.back(B);
    bench.run_until_redundant(300);
    assert!(bench.writes().contains(&"drop-leg"), "{}", bench.story());
}

#[test]
fn a_mirror_converted_by_the_administrator_stays_linear() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    let mut broken = Vec::new();
    bench.machine.mirrors[0].drop_leg(B, &mut broken);
    bench.machine.write_metadata();
    bench.run_for(300);
    assert!(bench.writes().is_empty(), "{}", bench.story());
    assert_eq!(bench.machine.mirrors[0].legs.len(), 1);
}

#[test]
fn a_removed_volume_is_forgotten() {
    let mut bench = Bench::settled(&["r1", "r2"], &["testlv"]);
    bench.machine.raids.remove(1);
    bench.machine.mirrors.clear();
    bench.machine.write_metadata();
    bench.run_for(120);
    let known: Vec<_> = bench.ledger().mirrors.values().map(|m| m.name.as_str()).collect();
    assert_eq!(known, ["vg0/r1"], "{}", bench.story());
    assert!(bench.writes().is_empty());
}

#[test]
fn a_removed_vg_is_forgotten() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    bench.machine.raids.clear();
    bench.machine.mirrors.clear();
    bench.machine.doctor = Some(Box::new(|view| {
        view.orphans.extend(view.vgs.drain(..).flat_map(|vg| vg.pvs).map(|pv| pv.uuid));
    }));
    bench.run_for(120);
    assert!(bench.ledger().mirrors.is_empty(), "{}", bench.story());
    assert!(bench.engine().snapshot().mirrors.is_empty());
}

/// Inactive, every session is there, and no label can be read: LVM shows nothing.
#[test]
fn a_vg_whose_disks_cannot_be_read_is_not_removed() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    bench.machine.raids.clear();
    bench.machine.mirrors.clear();
    bench.machine.doctor = Some(Box::new(|view| view.vgs.clear()));
    bench.run_for(120);
    assert_eq!(bench.ledger().mirrors.len(), 2, "{}", bench.story());
}

#[test]
fn an_empty_report_with_both_servers_away_is_not_a_removed_vg() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.down(A, true);
    bench.run_for(700);
    assert_eq!(bench.ledger().mirrors.len(), 2, "{}", bench.story());
    bench.restart_daemon();
    bench.run_for(60);
    assert_eq!(bench.ledger().mirrors.len(), 2, "{}", bench.story());
    assert_eq!(bench.engine().snapshot().mirrors.len(), 2, "{}", bench.story());
}

#[test]
fn a_silent_dmeventd_is_relieved_after_its_grace() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.dmeventd = false;
    bench.machine.down(B, true);
    bench.run_for(120);
    bench.run_until(60, "dropped", |b| b.machine.mirrors[0].legs.len() == 1);
    assert_eq!(bench.writes(), ["drop-dead-leg"], "{}", bench.story());
    bench.machine.back(B);
    bench.run_until_redundant(120);
}

#[test]
fn an_unwatched_mirror_is_watched_again() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.mirrors[0].monitored = false;
    bench.machine.mirrors[0].handle_errors = false;
    bench.run_for(60);
    assert_eq!(bench.writes(), ["monitor"], "{}", bench.story());
    assert!(bench.codes().contains(&E::MonitoringMissing));
    assert!(bench.machine.mirrors[0].monitored);
}

#[test]
fn a_mirror_left_suspended_is_resumed() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.power_cycle(B);
    bench.faults.push_back(("drop-leg", Fault::KilledSuspended));
    bench.run_until_redundant(200);
    assert!(bench.writes().contains(&"resume"), "{}", bench.story());
    assert!(bench.codes().contains(&E::LvResumed));
}

/// The kernel called the leg alive again before anybody looked: dmeventd finds nothing to repair, and the flush that failed
/// would wait for ever.
#[test]
fn a_flush_that_failed_on_a_leg_that_is_alive_again_is_issued_anew() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.mirrors[0].fail_a_flush();
    bench.run_for(60);
    assert_eq!(bench.writes(), ["requeue"], "{}", bench.story());
    assert!(!bench.machine.mirrors[0].keeps_flush);
    bench.run_for(600);
    assert_eq!(bench.writes(), ["requeue"], "{}", bench.story());
}

#[test]
fn a_copy_that_stands_still_is_set_going() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.power_cycle(B);
    bench.run_until(90, "copying", |b| b.writes().contains(&"readd-leg"));
    bench.machine.mirrors[0].stands = true;
    bench.run_until_redundant(90);
    assert_eq!(bench.writes(), ["drop-leg", "readd-leg", "requeue"], "{}", bench.story());
}

#[test]
fn a_leg_on_which_a_flush_failed_while_its_session_was_away_is_copied_anew() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_for(5);
    bench.machine.mirrors[0].fail_a_flush();
    bench.machine.back(B);
    bench.run_until_redundant(120);
    let writes = bench.writes();
    assert!(writes.contains(&"drop-leg") && writes.contains(&"readd-leg"), "{}", bench.story());
    assert!(!bench.machine.mirrors[0].keeps_flush);
}
