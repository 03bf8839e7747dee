//! Both servers: lost together, lost one after the other, and which leg may then be believed.

use crate::bench::Bench;
use crate::bench::machine::{A, B};
use mirrorkeeper_core::words::{EventCode as E, Hold, LegState, MirrorState};

#[test]
fn both_servers_lost_one_after_the_other_heal_in_either_order() {
    for (first, second) in [(A, B), (B, A)] {
        for (back_first, back_second) in [(first, second), (second, first)] {
            let mut bench = Bench::settled(&["r1"], &[]);
            bench.machine.down(first, true);
            bench.run_for(200);
            bench.machine.down(second, true);
            bench.run_for(650);
            assert_eq!(bench.mirror("r1").state, MirrorState::Failed, "{}", bench.story());
            assert!(bench.codes().contains(&E::AllServersLost));
            bench.machine.back(back_first);
            bench.run_for(60);
            assert!(bench.writes().is_empty(), "one leg is not enough\n{}", bench.story());
            bench.machine.back(back_second);
            bench.run_until_redundant(200);
        }
    }
}

#[test]
fn a_blip_of_both_is_checked_without_flagging_the_last_readable_leg() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(A, false);
    bench.machine.down(B, false);
    bench.run_for(20);
    bench.machine.back(A);
    bench.machine.back(B);
    bench.run_until_redundant(90);
    assert_eq!(bench.writes(), ["check"], "{}", bench.story());
}

#[test]
fn legs_that_differ_after_a_blip_of_both_wait_for_a_person() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.power_cycle(A);
    bench.machine.power_cycle(B);
    bench.run_until_held(120, "r1", Hold::NoHistory);
    assert_eq!(bench.writes(), ["check"], "{}", bench.story());
}

/// The daemon's first sight of r1 is with a failed leg, whose server then comes back.
fn found_failed() -> Bench {
    let mut machine = crate::bench::machine::Machine::new(&["r1"], &[]);
    machine.down(B, true);
    for _ in 0..2000 {
        machine.advance(100_000);
    }
    let mut bench = Bench::on(machine);
    bench.run_for(60);
    bench.machine.back(B);
    bench.run_until_held(120, "r1", Hold::NoHistory);
    bench
}

#[test]
fn a_leg_failed_at_first_sight_is_left_alone() {
    let bench = found_failed();
    assert!(bench.writes().is_empty(), "{}", bench.story());
    assert_eq!(bench.mirror("r1").legs[B].state, LegState::Stale);
}

#[test]
fn a_leg_failed_at_first_sight_and_healed_by_hand_is_verified_like_any_other() {
    let mut bench = found_failed();
    let paths = bench.machine.paths();
    bench.machine.raids[0].refresh(&paths);
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "release"], "{}", bench.story());
}

#[test]
fn the_last_good_leg_failing_keeps_the_unproven_one_serving_and_says_so() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.down(A, true);
    bench.run_for(10);
    assert!(bench.writes().is_empty());
    assert!(matches!(bench.mirror("r1").state, MirrorState::Degraded | MirrorState::Failed), "{}", bench.story());
}
