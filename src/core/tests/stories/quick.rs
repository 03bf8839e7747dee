//! Quick legs and one anchor: who fails fast, who waits, and what becomes of an anchor that dies.

use crate::bench::machine::{A, B, Machine, SECOND};
use crate::bench::{Bench, Fault};
use mirrorkeeper_core::input::{Command, Input, Reply};
use mirrorkeeper_core::observation::LegHealth;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::snapshot::Value;
use mirrorkeeper_core::words::{EventCode, MirrorState, TargetState, TimeoutReason};
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
fn a_dead_anchor_is_given_up_although_lvm_cannot_be_asked_meanwhile() {
    let mut bench = bench(&["r1"], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_until(20, "a lost connection", |b| b.target(B).state == TargetState::Blocked);
    bench.command(Command::Rescan).expect("looking is always allowed");
    bench.run_for(10);
    assert!(bench.codes().contains(&EventCode::TargetFenced), "{}", bench.story());
}

#[test]
fn an_anchor_that_returns_into_its_own_fence_is_logged_in_again() {
    let mut bench = bench(&["r1"], &["testlv"]);
    bench.faults.push_back(("fence", Fault::Slow(4)));
    bench.machine.down(B, true);
    bench.run_until(20, "a fence", |b| !b.times("fence").is_empty());
    bench.machine.back(B);
    bench.run_until(10, "its return", |b| b.target(B).state == TargetState::LoggedIn);
    bench.run_until(10, "its logout", |b| b.target(B).state == TargetState::LoggedOut);
    bench.run_until_redundant(240);
}

/// Its file systems are unmounted meanwhile, and wait.
#[test]
fn a_dead_anchor_is_given_up_although_the_system_is_stopping() {
    let mut bench = bench(&["r1"], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_until(20, "a lost connection", |b| b.target(B).state == TargetState::Blocked);
    bench.feed(Input::SystemStopping(true));
    bench.feed(Input::Stopping);
    bench.run_for(10);
    assert!(bench.codes().contains(&EventCode::TargetFenced), "{}", bench.story());
    assert_eq!(bench.machine.raids[0].legs[B].health, LegHealth::Dead, "{}", bench.story());
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
fn what_a_mirror_is_copied_to_is_quick() {
    let mut bench = bench(&[], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(120, "the copy", |b| b.mirror("testlv").state == MirrorState::Resyncing);
    bench.run_until(5, "roles", |b| b.tmo(B) == Some(4) && b.mirror("testlv").state == MirrorState::Resyncing);
    assert_eq!(roles(&bench), [TimeoutReason::Resyncing, TimeoutReason::Quick], "{}", bench.story());
    bench.run_until_redundant(120);
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

/// Where iscsid's sockets take no limit from us.
fn out_of_reach(unwatchable: bool) -> Bench {
    let mut machine = Machine::new(&["r1"], &["testlv"]);
    (machine.unreachable, machine.unwatchable) = (true, unwatchable);
    let mut bench = Bench::on(machine);
    bench.feed(Input::Settings(Box::new(Settings { stamp_interval: Duration::ZERO, ..Settings::default() })));
    bench.run_for(60);
    bench.forget();
    bench
}

/// The seconds after its silent death at which the connection to a server under load is found broken.
#[track_caller]
fn noticed(bench: &mut Bench, server: usize) -> u64 {
    bench.machine.writing = true;
    bench.run_for(45);
    let dead = bench.machine.now / SECOND;
    bench.machine.down(server, false);
    bench.run_until(15, "its end", |b| b.target(server).state != TargetState::LoggedIn);
    bench.machine.now / SECOND - dead
}

#[test]
fn a_socket_that_takes_no_limit_is_watched_while_it_is_busy_and_destroyed_when_it_stays_silent() {
    for server in [A, B] {
        let mut bench = out_of_reach(false);
        let took = noticed(&mut bench, server);
        assert!((3..=4).contains(&took), "after {took} s\n{}", bench.story());
        let codes: Vec<&str> = bench.ran.iter().map(|ran| ran.op.code()).collect();
        let read = codes.iter().position(|code| *code == "read-direct");
        let destroyed = codes.iter().position(|code| *code == "destroy-socket");
        assert!(read < destroyed, "the other leg answers first: {codes:?}");
        bench.run_for(20);
        assert_eq!(bench.times("destroy-socket").len(), 1, "{}", bench.story());
        assert_eq!(bench.machine.raids[0].legs[server].health, LegHealth::Dead, "{}", bench.story());
    }
}

#[test]
fn what_a_watched_socket_promises_is_what_it_keeps() {
    let mut bench = out_of_reach(false);
    let estimate = |bench: &Bench| bench.target(A).stall_estimate.unwrap();
    assert_eq!(bench.target(A).detect_timeout, None);
    assert_eq!(estimate(&bench), Duration::from_secs(10 + 4), "idle: NOPs find it");
    bench.machine.writing = true;
    bench.run_for(45);
    assert_eq!(estimate(&bench), Duration::from_secs(3 + 1 + 4), "watched");
    bench.machine.writing = false;
    bench.run_for(60);
    assert_eq!(estimate(&bench), Duration::from_secs(10 + 4));
}

#[test]
fn idle_sockets_are_not_watched() {
    let mut bench = out_of_reach(false);
    bench.run_for(600);
    assert!(bench.wakes <= 40, "{} wake-ups in ten minutes", bench.wakes);
    assert!(bench.ran.is_empty(), "{}", bench.story());
}

#[test]
fn a_socket_that_has_to_wait_after_all_is_not_watched_any_more() {
    let mut bench = out_of_reach(false);
    bench.machine.writing = true;
    bench.run_for(45);
    bench.machine.users = [true; 2];
    bench.run_for(45);
    assert_eq!(roles(&bench), [TimeoutReason::Shared; 2], "{}", bench.story());
    bench.forget();
    bench.run_for(600);
    assert!(bench.wakes <= 40, "{} wake-ups in ten minutes", bench.wakes);
    assert!(bench.ran.is_empty(), "{}", bench.story());
}

#[test]
fn no_socket_is_destroyed_while_nobody_answers() {
    let mut bench = out_of_reach(false);
    bench.machine.writing = true;
    bench.run_for(45);
    bench.machine.down(A, false);
    bench.machine.down(B, false);
    bench.run_for(60);
    assert!(bench.times("destroy-socket").is_empty(), "{}", bench.story());
    bench.machine.back(A);
    bench.machine.back(B);
    bench.run_until_redundant(300);
}

#[test]
fn nobody_breaks_the_last_good_copy() {
    let mut bench = out_of_reach(false);
    bench.machine.down(A, true);
    bench.run_for(60);
    bench.forget();
    bench.machine.writing = true;
    bench.run_for(30);
    bench.machine.down(B, false);
    bench.run_for(60);
    assert!(bench.times("sample-socket").is_empty() && bench.times("destroy-socket").is_empty(), "{}", bench.story());
}

#[test]
fn where_a_socket_can_be_neither_limited_nor_watched_nops_are_reckoned_with_and_said() {
    let mut bench = out_of_reach(true);
    assert_eq!(noticed(&mut bench, A), 10, "{}", bench.story());
    let mut bench = out_of_reach(true);
    bench.machine.writing = true;
    bench.run_for(60);
    let target = bench.target(A);
    assert_eq!((target.detect_timeout, target.stall_estimate), (None, Some(Duration::from_secs(10 + 4))));
    let Ok(Reply::Findings(findings)) = bench.command(Command::Diagnose) else { panic!("{}", bench.story()) };
    let said: Vec<_> = findings.iter().filter(|finding| finding.code == "detected-late").collect();
    assert_eq!(said.len(), 2, "{findings:?}");
    assert_eq!(said[0].details["reason"], Value::from("pidfd_getfd: Operation not permitted"));
    assert_eq!(said[0].details["not-watched"], Value::from("destroy sockets: Operation not permitted"));
}

/// Both servers away for a moment must fail nothing; who fixes short values for all legs has it otherwise, and is told.
#[test]
fn fixed_values_that_leave_no_leg_waiting_are_allowed_and_found() {
    let mut bench = bench(&["r1"], &[]);
    let found = |bench: &mut Bench| {
        let Ok(Reply::Findings(findings)) = bench.command(Command::Diagnose) else { panic!("{}", bench.story()) };
        findings.into_iter().any(|finding| finding.code == "no-leg-waits")
    };
    for (server, none_waits) in [(A, false), (B, true)] {
        let target = Machine::target(server);
        let reply = bench.command(Command::SetReplacementTimeout { target, seconds: 10, uid: 0 });
        assert_eq!(reply, Ok(Reply::Done));
        bench.run_for(5);
        assert_eq!(bench.tmo(server), Some(10), "{}", bench.story());
        assert_eq!(found(&mut bench), none_waits, "{}", bench.story());
    }
}
