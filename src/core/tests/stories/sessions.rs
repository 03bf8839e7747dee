//! Sessions: what is excused, what is not, and the endless login.

use crate::bench::machine::{A, B, Machine, SECOND};
use crate::bench::{Bench, Fault};
use mirrorkeeper_core::input::{Command, Input, IscsiHint, Reply};
use mirrorkeeper_core::words::{EventCode as E, JobState, TargetState};

#[test]
fn a_bounce_by_a_restarted_iscsid_is_excused() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    bench.machine.restart_iscsid();
    bench.run_for(120);
    assert!(bench.redundant() && bench.writes().is_empty(), "{}", bench.story());
    // And the new connection is the known one from now on.
    bench.restart_daemon();
    bench.run_for(60);
    assert!(bench.redundant() && bench.writes().is_empty(), "{}", bench.story());
}

#[test]
fn a_broken_connection_during_a_restart_of_iscsid_is_not_excused() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.restart_iscsid();
    bench.run_for(1);
    let sid = bench.machine.session(B).sid;
    bench.machine.lose_cache(B);
    bench.feed(Input::Iscsi(IscsiHint::ConnError { sid, code: 1020 }));
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "repair", "release"], "{}", bench.story());
}

#[test]
fn lost_messages_during_a_restart_of_iscsid_excuse_nothing() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.feed(Input::Iscsi(IscsiHint::Overrun));
    bench.machine.restart_iscsid();
    bench.run_for(60);
    bench.run_until_redundant(120);
    assert!(bench.writes().contains(&"check"), "{}", bench.story());
}

#[test]
fn a_missing_iscsid_is_started_and_told() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.iscsid.0 = None;
    bench.run_for(60);
    assert_eq!(bench.times("start-iscsid").len(), 1, "{}", bench.story());
    assert!(bench.codes().contains(&E::IscsidDown));
    bench.run_until_redundant(120);
}

/// Pauses between login attempts.
fn pauses(bench: &Bench) -> Vec<u64> {
    let times = bench.times("login");
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn logins_are_tried_for_ever_with_pauses_from_two_seconds_to_a_minute() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.machine.lose_session(B);
    bench.run_for(1800);
    let pauses = pauses(&bench);
    assert!((1..=4).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 63), "{pauses:?}");
    assert!(pauses.iter().rev().take(5).all(|pause| *pause >= 45), "{pauses:?}");
    assert_eq!(bench.codes().iter().filter(|code| **code == E::TargetLoginFailed).count(), 1, "told once");
    bench.machine.back(B);
    bench.run_until_redundant(200);
}

#[test]
fn a_target_that_refuses_our_credentials_is_asked_every_ten_minutes() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.servers[B].login_code = 24;
    bench.machine.lose_session(B);
    bench.run_for(3600);
    let pauses = pauses(&bench);
    assert!(!pauses.is_empty() && pauses.iter().all(|pause| *pause >= 600), "{pauses:?}");
    assert_eq!(bench.target(B).state, TargetState::AuthFailed);
    bench.machine.servers[B].login_code = 0;
    bench.run_until_redundant(700);
}

#[test]
fn an_unknown_target_is_shown_as_not_found() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.servers[B].login_code = 19;
    bench.machine.lose_session(B);
    bench.run_for(30);
    assert_eq!(bench.target(B).state, TargetState::NotFound);
}

#[test]
fn a_deliberate_logout_is_respected_until_asked() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.logout(B);
    bench.run_for(1800);
    assert!(bench.times("login").is_empty(), "{}", bench.story());
    bench.restart_daemon();
    bench.run_for(120);
    assert!(bench.times("login").is_empty(), "forgotten over a restart\n{}", bench.story());
    let reply = bench.command(Command::Reconnect { target: Machine::target(B), uid: 0 });
    let Ok(Reply::Job(job)) = reply else { panic!("{reply:?}") };
    bench.run_for(5);
    assert_eq!(bench.engine().snapshot().jobs[&job].state, JobState::Succeeded, "{}", bench.story());
    bench.run_until_redundant(120);
}

#[test]
fn a_logout_is_known_even_when_its_answer_is_heard_late() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let sid = bench.machine.sessions[B].as_ref().map(|s| s.sid).unwrap();
    // All of a logout takes some 5 ms: the session may be seen gone before the messages are read.
    bench.machine.lose_session(B);
    bench.run_for(1);
    bench.feed(Input::Iscsi(IscsiHint::LogoutResponse { sid }));
    bench.run_for(600);
    assert!(bench.times("login").is_empty(), "{}", bench.story());
}

#[test]
fn a_deliberate_logout_ends_with_the_boot() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.logout(B);
    bench.run_for(60);
    bench.restart_in("boot-2");
    bench.run_for(60);
    assert_eq!(bench.times("login").len(), 1, "{}", bench.story());
}

#[test]
fn a_server_down_at_boot_is_logged_in_to_when_it_comes() {
    let mut machine = Machine::new(&["r1"], &[]);
    machine.lose_session(B);
    machine.servers[B].up = (false, machine.now);
    machine.raids[0].active = false;
    let mut bench = Bench::on(machine);
    bench.run_for(600);
    assert!(bench.times("login").len() > 5 && bench.writes().is_empty(), "{}", bench.story());
    bench.machine.back(B);
    bench.run_until(70, "logged in", |b| b.target(B).state == TargetState::LoggedIn);
    // The volumes come up by LVM's event activation; both legs, nothing to heal.
    let paths = bench.machine.paths();
    bench.machine.raids[0].repoint(&paths);
    bench.machine.raids[0].active = true;
    bench.run_until_redundant(120);
    assert!(bench.writes().is_empty(), "{}", bench.story());
}

#[test]
fn reconnect_skips_the_pause() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.machine.lose_session(B);
    bench.run_for(900);
    bench.machine.back(B);
    bench.forget();
    bench.command(Command::Reconnect { target: Machine::target(B), uid: 0 }).unwrap();
    bench.run_for(3);
    assert_eq!(bench.times("login").len(), 1, "{}", bench.story());
}

#[test]
fn a_login_that_hangs_is_given_up_and_tried_again() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.faults.push_back(("login", Fault::Fail));
    bench.machine.lose_session(B);
    bench.run_until_redundant(200);
    assert_eq!(bench.times("login").len(), 2, "{}", bench.story());
}

#[test]
fn no_login_where_a_session_exists() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(600);
    bench.machine.down(A, true);
    bench.run_for(600);
    assert!(bench.times("login").is_empty(), "iscsid reconnects what it has\n{}", bench.story());
    assert!(bench.machine.now > SECOND);
}

#[test]
fn a_session_that_iscsid_can_never_have_back_is_let_go() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    bench.machine.servers[B].trapped = true;
    bench.machine.down(B, true);
    bench.run_for(60);
    assert!(bench.times("clear-connection").is_empty(), "nobody answers\n{}", bench.story());
    let back = bench.machine.now / SECOND;
    bench.machine.back(B);
    bench.run_until_redundant(300);
    let cleared = bench.times("clear-connection");
    assert_eq!(cleared.len(), 1, "{}", bench.story());
    // The pause between knocks, and twice what an iscsid that is free needs.
    assert!((15..=90).contains(&(cleared[0] - back)), "{cleared:?} {back}\n{}", bench.story());
    assert!(bench.times("login").is_empty() && bench.times("fence").is_empty(), "{}", bench.story());
}

#[test]
fn writers_who_wait_for_a_trapped_session_are_served() {
    let mut bench = Bench::settled(&["r1"], &[]);
    for server in [A, B] {
        bench.machine.servers[server].trapped = true;
        bench.machine.down(server, true);
    }
    bench.run_for(5);
    bench.machine.back(A);
    bench.machine.back(B);
    bench.run_until_redundant(300);
    let (a, b) = (bench.machine.session(A).sid, bench.machine.session(B).sid);
    assert_eq!(bench.times("clear-connection").len(), 2, "{}", bench.story());
    assert!(a <= 2 && b <= 2, "nobody was logged out: {a} {b}\n{}", bench.story());
}

#[test]
fn what_keeps_a_session_away_else_is_left_to_iscsid() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(3600);
    assert!(bench.times("clear-connection").is_empty(), "{}", bench.story());
    let knocks = bench.times("knock");
    assert!((50..=120).contains(&knocks.len()), "one a minute at most, for ever: {knocks:?}");
    bench.command(Command::Pause { reason: "test".into(), uid: 0 }).unwrap();
    bench.machine.servers[B].trapped = true;
    bench.machine.back(B);
    bench.run_for(300);
    assert!(bench.times("clear-connection").is_empty(), "{}", bench.story());
    bench.command(Command::Resume { uid: 0 }).unwrap();
    bench.run_until_redundant(300);
}
