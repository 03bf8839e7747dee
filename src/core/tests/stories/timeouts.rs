//! recovery_tmo by redundancy: the last good copy waits, and gets back what it had.

use crate::bench::Bench;
use crate::bench::machine::{A, B, Machine};
use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeper_core::words::TimeoutReason;

#[test]
fn the_survivor_is_raised_with_the_loss_and_put_back_with_redundancy() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(1);
    assert_eq!(bench.tmo(A), Some(600), "{}", bench.story());
    assert_eq!(bench.target(A).timeout_reason, TimeoutReason::LastGoodLeg);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until_redundant(90);
    bench.run_for(2);
    let now = [A, B].map(|server| bench.machine.session(server).tmo);
    assert_eq!(now, [Some(120), Some(120)], "{}", bench.story());
    assert_eq!(bench.times("set-recovery-tmo").len(), 2, "up and down, once each\n{}", bench.story());
}

#[test]
fn a_longer_value_of_the_administrators_is_left_alone() {
    let mut bench = Bench::settled(&["r1"], &[]);
    for value in [Some(900), None] {
        bench.machine.session(A).tmo = value;
        bench.machine.down(B, true);
        bench.run_for(200);
        bench.machine.back(B);
        bench.run_until_redundant(90);
        bench.run_for(5);
        assert_eq!(bench.tmo(A), value, "{}", bench.story());
    }
}

#[test]
fn a_value_the_administrator_sets_meanwhile_is_the_one_that_stays() {
    for value in [300, 900] {
        let mut bench = Bench::settled(&["r1"], &[]);
        bench.machine.down(B, true);
        bench.run_for(100);
        bench.machine.session(A).tmo = Some(value);
        bench.run_for(100);
        bench.machine.back(B);
        bench.run_until_redundant(90);
        bench.run_for(5);
        assert_eq!(bench.tmo(A), Some(value), "{}", bench.story());
    }
}

#[test]
fn what_was_raised_is_put_back_by_a_restarted_daemon() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.restart_daemon();
    bench.run_for(60);
    bench.machine.back(B);
    bench.run_until_redundant(90);
    bench.run_for(5);
    assert_eq!(bench.tmo(A), Some(120), "{}", bench.story());
}

#[test]
fn the_timeout_stays_long_while_the_partner_is_on_probation() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(60, "a check", |b| b.writes().contains(&"check"));
    bench.run_for(2);
    assert_eq!(bench.tmo(A), Some(600));
    assert!(matches!(bench.target(A).timeout_reason, TimeoutReason::Probation | TimeoutReason::Resyncing));
}

#[test]
fn a_fixed_value_is_kept_until_it_is_taken_back() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let set = |bench: &mut Bench, seconds| {
        let reply = bench.command(Command::SetReplacementTimeout { target: Machine::target(B), seconds, uid: 0 });
        assert_eq!(reply, Ok(Reply::Done));
        bench.run_for(5);
        (bench.machine.session(B).tmo, bench.machine.records[B], bench.target(B).timeout_reason)
    };
    assert_eq!(set(&mut bench, 45), (Some(45), Some(45), TimeoutReason::Override), "{}", bench.story());
    bench.machine.logout(B);
    bench.machine.login(B);
    bench.run_until_redundant(120);
    assert_eq!(bench.tmo(B), Some(45), "kept over a new login");
    bench.restart_daemon();
    bench.run_for(30);
    assert_eq!(bench.tmo(B), Some(45));
    assert_eq!(set(&mut bench, 60), (Some(60), Some(60), TimeoutReason::Override));
    assert_eq!(set(&mut bench, 0), (Some(120), Some(120), TimeoutReason::Configured), "{}", bench.story());
}

#[test]
fn a_fixed_value_out_of_range_or_for_nobody_is_refused() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let too_long =
        bench.command(Command::SetReplacementTimeout { target: Machine::target(B), seconds: 86_401, uid: 0 });
    assert!(matches!(too_long, Err(Refusal::InvalidArgument(_))), "{too_long:?}");
    let nobody = TargetKey::new("iqn.2024.x:nobody", "10.0.0.2", 3260, "default");
    let unknown = bench.command(Command::SetReplacementTimeout { target: nobody, seconds: 30, uid: 0 });
    assert!(matches!(unknown, Err(Refusal::NoSuchObject(_))), "{unknown:?}");
}

#[test]
fn sessions_without_mirrors_are_left_as_they_are() {
    let mut bench = Bench::settled(&[], &[]);
    bench.machine.session(A).tmo = Some(7);
    bench.machine.down(B, true);
    bench.run_for(300);
    assert!(bench.ran.is_empty(), "{}", bench.story());
    assert_eq!(bench.target(A).timeout_reason, TimeoutReason::Unmanaged);
}
