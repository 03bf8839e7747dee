//! A raid1 leg was lost, its server is back: probation, check, mend if need be, release.

use crate::bench::machine::{A, B, SECOND};
use crate::bench::{Bench, Fault, settings};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::ledger::Trust;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::words::{EventCode as E, Hold, LegState, MirrorState};

/// A server is cut until its leg is `D`, and comes back.
fn cut_and_return(bench: &mut Bench, server: usize) {
    bench.machine.down(server, false);
    bench.run_for(200);
    bench.machine.back(server);
}

#[test]
fn a_leg_back_under_its_old_name_is_quarantined_checked_and_released() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(90);
    assert_eq!(bench.writes(), ["quarantine", "check", "release"], "{}", bench.story());
    assert!(bench.anomalies.is_empty(), "{}", bench.story());
    let record = &bench.ledger().mirrors[&Bench::uuid("r1")];
    assert!(record.legs.values().all(|leg| leg.trust == Trust::Trusted) && record.degraded_since.is_none());
    assert_eq!(record.last_check.map(|(sectors, _)| sectors), Some(0));
}

#[test]
fn the_events_of_an_outage_come_in_the_order_of_their_causes() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(90);
    let told = bench.codes();
    let expected = [
        E::TargetLost,
        E::LegLost,
        E::MirrorDegraded,
        E::TimeoutChanged,
        E::TargetOffline,
        E::TargetReturned,
        E::LegReturned,
        E::ResyncStarted,
        E::ResyncFinished,
        E::VerifyStarted,
        E::LegVerified,
        E::MirrorRedundant,
        E::TimeoutChanged,
    ];
    assert_eq!(told, expected, "{}", bench.story());
}

#[test]
fn a_flagged_pv_is_taken_back_into_the_vg_first() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(150);
    bench.machine.write_metadata();
    bench.machine.back(B);
    bench.run_until_redundant(90);
    assert_eq!(bench.writes(), ["restore-missing", "quarantine", "check", "release"], "{}", bench.story());
}

#[test]
fn a_leg_under_a_new_device_name_is_quarantined_twice() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.logout(B);
    bench.run_for(30);
    bench.machine.login(B);
    bench.run_until_redundant(90);
    assert_eq!(bench.writes(), ["quarantine", "quarantine", "check", "release"], "{}", bench.story());
}

#[test]
fn nothing_is_touched_before_the_return_has_settled() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until(10, "logged in", |b| b.machine.paths().dev(B).is_some());
    let returned = bench.machine.now / SECOND;
    bench.run_until_redundant(90);
    let first = bench.times("quarantine")[0];
    assert!((returned + 10..returned + 15).contains(&first), "returned at {returned}, touched at {first}");
}

#[test]
fn a_server_that_comes_and_goes_has_to_stay_longer_each_time() {
    let mut bench = Bench::settled(&["r1"], &[]);
    for _ in 0..3 {
        bench.machine.down(B, true);
        bench.run_for(130);
        bench.machine.back(B);
        bench.run_for(6);
    }
    bench.run_until(10, "logged in", |b| b.machine.paths().dev(B).is_some());
    let returned = bench.machine.now / SECOND;
    bench.run_until_redundant(200);
    let waited = bench.times("quarantine")[0] - returned;
    assert!((30..=45).contains(&waited), "third loss within the hour: {waited} s");
}

#[test]
fn a_difference_is_repaired_in_place_when_a_lower_leg_is_right() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.lose_cache(B);
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "repair", "release"], "{}", bench.story());
    assert!(bench.codes().contains(&E::MismatchFound));
}

#[test]
fn a_difference_on_the_lowest_leg_is_mended_by_a_full_rebuild() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.lose_cache(A);
    cut_and_return(&mut bench, A);
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "rebuild", "release"], "{}", bench.story());
}

#[test]
fn a_leg_that_stayed_alive_while_its_server_was_power_cycled_is_judged_too() {
    for lost in [A, B] {
        let mut bench = Bench::settled(&["r1"], &[]);
        bench.machine.power_cycle(lost);
        bench.run_until_redundant(120);
        let mend = if lost == A { "rebuild" } else { "repair" };
        assert_eq!(bench.writes(), ["quarantine", "check", mend, "release"], "{}", bench.story());
        assert!(!bench.codes().contains(&E::ResyncStarted) || lost == A || bench.writes().contains(&"repair"));
    }
}

#[test]
fn a_leg_that_stayed_alive_is_flagged_as_soon_as_it_answers() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.power_cycle(B);
    bench.run_until(30, "logged in", |b| b.machine.paths().dev(B).is_some());
    let back = bench.machine.now / SECOND;
    bench.run_until_redundant(120);
    let flagged = bench.times("quarantine")[0];
    // Every read until then may be an old block: no settle time for a leg that is in use.
    assert!(flagged <= back + 6, "answers since {back}, flagged at {flagged}\n{}", bench.story());
}

#[test]
fn a_power_cycle_that_nobody_watched_is_known_by_the_local_port() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let mut engine_asleep = std::mem::replace(&mut bench.machine, crate::bench::machine::Machine::new(&["r1"], &[]));
    // The machine goes on without a daemon for a minute.
    engine_asleep.power_cycle(B);
    for _ in 0..600 {
        engine_asleep.advance(SECOND / 10);
    }
    engine_asleep.news.clear();
    bench.machine = engine_asleep;
    bench.restart_daemon();
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "repair", "release"], "{}", bench.story());
}

#[test]
fn a_socket_that_shows_no_port_any_more_is_no_new_connection() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let port = |bench: &mut Bench, port| {
        let session = bench.machine.sessions[B].as_mut().expect("logged in");
        std::mem::replace(&mut session.port, port)
    };
    let before = port(&mut bench, 0);
    bench.run_for(70);
    port(&mut bench, before);
    bench.run_for(70);
    assert!(bench.writes().is_empty() && bench.codes().is_empty(), "{}", bench.story());
    // The same, and the session does fail: one loss, not a loss, a return and another loss.
    port(&mut bench, 0);
    bench.run_for(70);
    bench.machine.down(B, true);
    bench.run_for(10);
    let flaps: Vec<u32> = bench.engine().snapshot().servers.values().map(|server| server.flap_count).collect();
    assert_eq!(flaps.iter().sum::<u32>(), 1, "{flaps:?}\n{}", bench.story());
}

#[test]
fn a_leg_lost_again_on_probation_is_checked_again() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until(60, "a check", |b| b.writes().contains(&"check"));
    bench.run_for(3);
    bench.machine.down(B, true);
    bench.run_for(150);
    bench.machine.lose_cache(B);
    bench.machine.back(B);
    bench.run_until_redundant(200);
    assert_eq!(
        bench.writes(),
        ["quarantine", "check", "quarantine", "check", "repair", "release"],
        "{}",
        bench.story()
    );
}

#[test]
fn a_leg_that_served_alone_on_probation_waits_for_a_person() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until(60, "a check", |b| b.writes().contains(&"check"));
    bench.machine.down(A, true);
    // It may lack what its server had lost, and the other one lacks what was written since.
    bench.run_until(700, "only it serves", |b| b.mirror("r1").hold == Some(Hold::UnverifiedOnly));
    bench.machine.back(A);
    bench.run_until_held(300, "r1", Hold::SplitBrain);
}

#[test]
fn a_leg_on_probation_does_not_count() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until(60, "a check", |b| b.writes().contains(&"check"));
    bench.run_for(2);
    let shown = bench.mirror("r1");
    assert_eq!((shown.state, shown.copies_in_sync, shown.copies_wanted), (MirrorState::Verifying, 1, 2));
    assert_eq!(shown.legs[B].state, LegState::Probation);
    bench.run_until_redundant(60);
    assert_eq!(bench.mirror("r1").copies_in_sync, 2);
}

#[test]
fn all_volumes_of_a_pv_go_through_each_step_in_one_command() {
    let mut bench = Bench::settled(&["r1", "r2", "r3"], &[]);
    // As far as they may be compared at once.
    bench.feed(Input::Settings(Box::new(Settings { parallel: 3, ..settings() })));
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "release"], "{}", bench.story());
    for ran in bench.ran.iter().filter(|ran| ran.op.writes_vg().is_some()) {
        assert_eq!(ran.op.lvs().len(), 3, "{}", ran.op.command_line());
    }
}

#[test]
fn an_idle_volume_is_judged_with_the_ones_that_noticed() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    bench.machine.raids[1].written = false;
    bench.machine.lose_cache(B);
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(200);
    assert!(
        bench.ran.iter().filter(|r| r.op.code() == "quarantine").any(|r| r.op.lvs().iter().any(|lv| lv.name == "r2"))
    );
}

#[test]
fn the_administrators_flag_on_the_survivor_is_lifted_for_the_probation_only() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let survivor = &mut bench.machine.raids[0].legs[A];
    (survivor.flagged, survivor.table_flag) = (true, true);
    bench.run_for(60);
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(120);
    let flags = bench.machine.raids[0].legs.iter().map(|leg| leg.flagged).collect::<Vec<_>>();
    assert_eq!(flags, [true, false], "{}", bench.story());
}

#[test]
fn a_flag_the_administrator_took_off_is_not_put_back() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let set = |bench: &mut Bench, on: bool| {
        (bench.machine.raids[0].legs[A].flagged, bench.machine.raids[0].legs[A].table_flag) = (on, on);
        bench.run_for(60);
    };
    set(&mut bench, true);
    set(&mut bench, false);
    cut_and_return(&mut bench, B);
    bench.run_until_redundant(120);
    assert!(!bench.machine.raids[0].legs[A].flagged, "{}", bench.story());
}

#[test]
fn a_rebuild_that_copied_next_to_nothing_is_not_believed() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.lose_cache(A);
    bench.faults.push_back(("rebuild", Fault::Exit(0)));
    cut_and_return(&mut bench, A);
    bench.run_until_redundant(300);
    assert_eq!(bench.times("rebuild").len(), 2, "{}", bench.story());
}

#[test]
fn a_lun_that_was_deleted_under_a_live_session_is_healed_when_it_is_back() {
    // `D` with a perfect session (`facts/lab.md` 13).
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.servers[B].lun_gone = true;
    bench.run_for(60);
    assert_eq!(bench.mirror("r1").state, MirrorState::Degraded, "{}", bench.story());
    assert!(bench.writes().is_empty(), "{}", bench.story());
    bench.machine.servers[B].lun_gone = false;
    bench.run_until_redundant(400);
    assert_eq!(bench.writes(), ["quarantine", "check", "release"], "{}", bench.story());
}

#[test]
fn a_check_is_repeated_when_somebody_changed_the_vg_meanwhile() {
    let mut bench = Bench::settled(&["r1"], &[]);
    cut_and_return(&mut bench, B);
    bench.run_until(120, "the check runs", |b| !b.times("check").is_empty());
    // A table loaded in the middle cuts a check short, and the kernel calls it done.
    bench.machine.write_metadata();
    bench.run_until_redundant(200);
    assert_eq!(bench.times("check").len(), 2, "{}", bench.story());
}
