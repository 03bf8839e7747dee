//! Quick legs and one anchor: who fails fast, who waits, and what becomes of an anchor that dies.

use crate::bench::Bench;
use crate::bench::machine::{A, B};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::observation::LegHealth;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::words::{EventCode, TimeoutReason};
use std::time::Duration;

fn bench(raids: &[&'static str], mirrors: &[&'static str]) -> Bench {
    let settings = Settings { stamp_interval: Duration::ZERO, ..Settings::default() };
    let mut bench = Bench::settled(raids, mirrors);
    bench.feed(Input::Settings(Box::new(settings)));
    bench.run_for(10);
    bench
}

fn roles(bench: &Bench) -> [TimeoutReason; 2] {
    [A, B].map(|server| bench.target(server).timeout_reason)
}

#[test]
fn the_leg_with_the_highest_index_waits_and_the_other_is_quick() {
    let bench = bench(&["r1"], &["testlv"]);
    assert_eq!(roles(&bench), [TimeoutReason::Quick, TimeoutReason::Anchor], "{}", bench.story());
    assert_eq!([A, B].map(|server| bench.tmo(server)), [Some(4), Some(600)], "{}", bench.story());
    let writes: Vec<String> =
        bench.ran.iter().filter(|r| r.op.code() == "set-recovery-tmo").map(|r| r.op.command_line()).collect();
    assert!(writes[0].contains("600"), "waiting comes before being quick: {writes:?}");
    for server in [A, B] {
        let view = bench.target(server);
        assert_eq!(view.detect_timeout, Some(Duration::from_secs(3)));
        assert!(view.stall_estimate.is_some_and(|stall| stall <= Duration::from_secs(10)), "{:?}", view.stall_estimate);
    }
    assert_eq!(bench.machine.records, [Some(120), Some(120)], "a node record never holds a quick value");
}

#[test]
fn the_last_good_copy_waits_however_quick_it_was() {
    let mut bench = bench(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(1);
    assert_eq!(bench.tmo(A), Some(600), "raised in the turn that sees the loss\n{}", bench.story());
    assert_eq!(roles(&bench)[A], TimeoutReason::LastGoodLeg);
    assert_eq!(bench.target(A).detect_timeout, None, "nobody is to break what has to wait");
}

#[test]
fn an_anchor_that_dies_is_given_up_when_the_other_leg_answers() {
    let mut bench = bench(&["r1"], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_for(30);
    assert!(bench.codes().contains(&EventCode::TargetFenced), "{}", bench.story());
    assert_eq!(bench.machine.raids[0].legs[B].health, LegHealth::Dead, "{}", bench.story());
    let codes = bench.ran.iter().map(|r| r.op.code());
    let order: Vec<&str> = codes.filter(|code| ["read-direct", "fence"].contains(code)).collect();
    assert_eq!(order, ["read-direct", "fence"], "{}", bench.story());
    bench.machine.back(B);
    bench.run_until_redundant(240);
    bench.run_for(30);
    assert_eq!(roles(&bench), [TimeoutReason::Quick, TimeoutReason::Anchor], "{}", bench.story());
}

#[test]
fn nobody_is_given_up_while_nobody_answers() {
    let mut bench = bench(&["r1"], &["testlv"]);
    bench.machine.down(A, true);
    bench.machine.down(B, true);
    bench.run_for(120);
    assert!(!bench.codes().contains(&EventCode::TargetFenced), "{}", bench.story());
    bench.machine.back(A);
    bench.machine.back(B);
    bench.run_until_redundant(300);
}

#[test]
fn an_anchor_waits_while_the_other_leg_is_on_probation() {
    let mut bench = bench(&["r1"], &[]);
    bench.machine.down(A, true);
    bench.run_for(30);
    bench.machine.back(A);
    bench.run_until(60, "a check", |b| b.writes().contains(&"check"));
    bench.machine.down(B, true);
    bench.run_for(60);
    assert!(!bench.codes().contains(&EventCode::TargetFenced), "{}", bench.story());
}

#[test]
fn a_session_with_another_user_waits_and_is_never_given_up() {
    let mut bench = bench(&["r1"], &[]);
    bench.machine.users = [true; 2];
    bench.run_for(40);
    assert_eq!(roles(&bench), [TimeoutReason::Shared; 2], "{}", bench.story());
    assert_eq!([A, B].map(|server| bench.tmo(server)), [Some(600); 2], "{}", bench.story());
    bench.machine.down(B, true);
    bench.run_for(60);
    assert!(!bench.codes().contains(&EventCode::TargetFenced), "{}", bench.story());
}
