//! What people ask for: healing switched off, comparisons, limits, an end to a job, and what could be better.

use crate::bench::machine::{A, B, Machine};
use crate::bench::{Bench, settings};
use mirrorkeeper_core::input::{Command, Input, Refusal, Reply};
use mirrorkeeper_core::op::{Op, Throttle};
use mirrorkeeper_core::settings::{MirrorPolicy, ServerPolicy, Settings};
use mirrorkeeper_core::snapshot::{Finding, JobView, Object, Value};
use mirrorkeeper_core::words::{Concern, EventCode as E, Hold, JobState, LegState, MirrorState, Operation};
use std::time::Duration;

fn pause(bench: &mut Bench, reason: &str) {
    assert_eq!(bench.command(Command::Pause { reason: reason.into(), uid: 7 }), Ok(Reply::Done));
}

fn resume(bench: &mut Bench) {
    assert_eq!(bench.command(Command::Resume { uid: 7 }), Ok(Reply::Done));
}

fn job(bench: &Bench, operation: Operation) -> &JobView {
    bench.engine().snapshot().jobs.values().rev().find(|job| job.operation == operation).expect("a job")
}

fn check(bench: &mut Bench, lv: &str) -> Result<Reply, Refusal> {
    bench.command(Command::Check { mirror: Bench::uuid(lv), uid: 7 })
}

fn set(bench: &mut Bench, settings: Settings) {
    bench.feed(Input::Settings(Box::new(settings)));
}

fn told(bench: &Bench, code: E) -> usize {
    bench.codes().iter().filter(|c| **c == code).count()
}

#[test]
fn nothing_is_healed_while_paused_and_survivors_are_raised_all_the_same() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    pause(&mut bench, "moving house");
    bench.machine.down(B, true);
    bench.run_for(200);
    assert_eq!(bench.tmo(A), Some(600), "{}", bench.story());
    bench.machine.back(B);
    bench.run_for(120);
    bench.restart_daemon();
    bench.run_for(120);
    assert!(bench.writes().is_empty(), "{}", bench.story());
    assert_eq!(bench.engine().snapshot().paused.as_deref(), Some("moving house"));
    for lv in ["r1", "testlv"] {
        assert_eq!(bench.mirror(lv).hold, Some(Hold::Paused), "{}", bench.story());
    }
    assert!(told(&bench, E::LegLost) > 0 && told(&bench, E::Paused) == 1);
    for command in [
        Command::Heal { mirror: Bench::uuid("r1"), uid: 7 },
        Command::Check { mirror: Bench::uuid("r1"), uid: 7 },
        Command::Resolve { mirror: Bench::uuid("r1"), keep: Machine::pv(A), uid: 7 },
    ] {
        let reply = bench.command(command);
        assert!(matches!(reply, Err(Refusal::Paused(_))), "{reply:?}");
    }
    resume(&mut bench);
    bench.run_until_redundant(120);
    assert_eq!((told(&bench, E::Resumed), bench.engine().snapshot().paused.clone()), (1, None));
    assert!(bench.anomalies.is_empty(), "{:?}", bench.anomalies);
}

#[test]
fn a_suspended_volume_is_resumed_while_paused() {
    let mut bench = Bench::settled(&["r1"], &[]);
    pause(&mut bench, "");
    bench.machine.raids[0].suspended = true;
    bench.run_until(60, "resumed", |b| !b.machine.raids[0].suspended);
    assert_eq!(bench.writes(), ["resume"]);
}

#[test]
fn a_pause_of_nothing_ends_without_a_word() {
    let mut bench = Bench::settled(&["r1"], &[]);
    resume(&mut bench);
    pause(&mut bench, "one");
    pause(&mut bench, "two");
    bench.run_for(5);
    assert_eq!(bench.engine().snapshot().paused.as_deref(), Some("two"));
    assert_eq!(bench.mirror("r1").hold, None, "nothing is wrong, so nothing is held");
    resume(&mut bench);
    bench.run_for(5);
    assert_eq!(told(&bench, E::Resumed), 1);
}

#[test]
fn resume_ends_forget() {
    let mut bench = Bench::settled(&["r1"], &[]);
    assert!(bench.command(Command::Forget { vg: "vg0".into(), uid: 0 }).is_ok());
    bench.run_for(30);
    assert!(bench.mirror("r1").unmanaged.is_some());
    resume(&mut bench);
    bench.run_for(30);
    assert!(bench.mirror("r1").unmanaged.is_none());
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until_redundant(120);
}

#[test]
fn a_comparison_is_done_and_told() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    assert!(matches!(check(&mut bench, "r1"), Ok(Reply::Job(_))));
    bench.run_until(30, "compared", |b| {
        b.mirror("r1").action == Some(mirrorkeeper_core::observation::SyncAction::Check)
    });
    assert_eq!(
        (job(&bench, Operation::Check).state, bench.mirror("r1").state),
        (JobState::Running, MirrorState::Redundant)
    );
    let again = check(&mut bench, "r1");
    assert!(matches!(again, Ok(Reply::Job(_))), "the same job: {again:?}");
    bench.run_until(60, "finished", |b| told(b, E::CheckFinished) == 1);
    bench.run_for(60);
    assert_eq!((job(&bench, Operation::Check).state, bench.mirror("r1").mismatches), (JobState::Succeeded, 0));
    assert_eq!((bench.writes(), told(&bench, E::MismatchFound)), (vec!["check"], 0), "{}", bench.story());
    let other = check(&mut bench, "testlv");
    assert!(matches!(other, Err(Refusal::InvalidArgument(_))), "{other:?}");
}

#[test]
fn legs_that_differ_are_told_and_nothing_is_mended() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.raids[0].legs[B].stale = true;
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_until(60, "finished", |b| told(b, E::CheckFinished) == 1);
    bench.run_for(30);
    assert_eq!((bench.writes(), told(&bench, E::MismatchFound)), (vec!["check"], 1), "{}", bench.story());
    assert!(bench.mirror("r1").mismatches > 0);
    assert!(findings(&mut bench).iter().any(|f| f.code == "mismatches"));
}

#[test]
fn only_what_is_redundant_is_compared() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    let reply = check(&mut bench, "r1");
    assert!(matches!(&reply, Err(Refusal::Held(why)) if why.contains("degraded")), "{reply:?}");
    bench.machine.back(B);
    bench.run_until_redundant(120);
    assert!(bench.command(Command::EnterMaintenance { server: "10.0.0.2".into(), uid: 0 }).is_ok());
    let reply = check(&mut bench, "r1");
    assert!(matches!(reply, Err(Refusal::InMaintenance(_))), "{reply:?}");
}

#[test]
fn a_leg_lost_meanwhile_ends_the_comparison() {
    let mut bench = Bench::settled(&["r1"], &[]);
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_for(4);
    bench.machine.logout(B);
    bench.run_for(30);
    let job = job(&bench, Operation::Check);
    assert_eq!((job.state, told(&bench, E::CheckFinished)), (JobState::Failed, 0), "{}", bench.story());
    assert!(job.error.contains("degraded"), "{}", job.error);
}

#[test]
fn the_calendar_compares_one_after_the_other_and_not_too_often() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    let policy = MirrorPolicy { priority: 5, ..MirrorPolicy::default() };
    let mirrors = [("vg0/r2".to_owned(), policy)].into();
    set(&mut bench, Settings { scrub_interval: Duration::from_secs(7 * 86_400), mirrors, ..settings() });
    bench.run_until(300, "both compared", |b| told(b, E::CheckFinished) == 2);
    let lvs: Vec<_> = bench.ran.iter().filter_map(|ran| ran.op.lvs().first().map(|lv| lv.name.clone())).collect();
    assert_eq!(lvs, ["r2", "r1"], "the more important first, one at a time");
    let times = bench.times("check");
    assert!(times[1] - times[0] >= 8, "one after the other: {times:?}");
    bench.run_for(3 * 3600);
    assert_eq!(bench.times("check").len(), 2);
    assert_eq!(job_count(&bench), 0, "jobs are forgotten in time");
}

fn job_count(bench: &Bench) -> usize {
    bench.engine().snapshot().jobs.len()
}

#[test]
fn a_limit_holds_while_a_copy_runs_and_is_taken_back() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let limit = |bench: &mut Bench, bytes| {
        let reply = bench.command(Command::SetResyncLimit { mirror: Bench::uuid("r1"), bytes, uid: 0 });
        assert_eq!(reply, Ok(Reply::Done));
    };
    limit(&mut bench, 10 << 20);
    bench.run_for(30);
    assert_eq!(bench.machine.throttles[&Throttle::Raid], 200_000, "nothing is copied");
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_until(30, "limited", |b| b.machine.throttles[&Throttle::Raid] == 10 << 10);
    bench.restart_daemon();
    bench.run_until(60, "over", |b| b.machine.throttles[&Throttle::Raid] == 200_000);
    bench.run_for(30);
    assert!(bench.ledger().wishes.throttles.is_empty());
    // What somebody else sets meanwhile stays.
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_until(30, "limited", |b| b.machine.throttles[&Throttle::Raid] == 10 << 10);
    bench.machine.throttles.insert(Throttle::Raid, 77);
    bench.run_for(60);
    assert_eq!(bench.machine.throttles[&Throttle::Raid], 77, "{}", bench.story());
    assert!(bench.ledger().wishes.throttles.is_empty());
    limit(&mut bench, 0);
    assert!(check(&mut bench, "r1").is_ok());
    bench.forget();
    bench.run_for(60);
    assert!(!bench.ran.iter().any(|ran| matches!(ran.op, Op::SetThrottle { .. })), "{}", bench.story());
    assert!(bench.anomalies.is_empty(), "{:?}", bench.anomalies);
    let unknown = bench.command(Command::SetResyncLimit { mirror: Bench::uuid("nobody"), bytes: 1, uid: 0 });
    assert!(matches!(unknown, Err(Refusal::NoSuchObject(_))), "{unknown:?}");
}

#[test]
fn a_service_that_stops_leaves_no_limit_behind() {
    let mut bench = Bench::settled(&["r1"], &[]);
    assert!(bench.command(Command::SetResyncLimit { mirror: Bench::uuid("r1"), bytes: 10 << 20, uid: 0 }).is_ok());
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_until(30, "limited", |b| b.machine.throttles[&Throttle::Raid] == 10 << 10);
    bench.feed(Input::SystemStopping(false));
    bench.feed(Input::Stopping);
    bench.run_until(10, "stopped", |b| b.stopped);
    assert_eq!(bench.machine.throttles[&Throttle::Raid], 200_000, "{}", bench.story());
    assert!(bench.ledger().wishes.throttles.is_empty());
}

#[test]
fn the_copy_of_a_mirror_is_slowed_by_shares_of_time() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    assert!(bench.command(Command::SetResyncLimit { mirror: Bench::uuid("testlv"), bytes: 1, uid: 0 }).is_ok());
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(60, "resyncing", |b| b.mirror("testlv").state == MirrorState::Resyncing);
    // The model knows no throttle: a region now and then keeps the copy from its end until the first share is set.
    for _ in 0..15 {
        bench.run_for(1);
        let regions = &mut bench.machine.mirrors[0].in_sync;
        *regions = (*regions).saturating_sub(14);
    }
    assert!((1..100).contains(&bench.machine.throttles[&Throttle::Mirror]), "{}", bench.story());
    bench.run_until_redundant(60);
    bench.run_for(30);
    assert_eq!(bench.machine.throttles[&Throttle::Mirror], 100, "{}", bench.story());
}

#[test]
fn a_copy_that_stands_still_is_told_once() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.session(B).tmo = Some(2000);
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_for(4);
    bench.machine.down(B, true);
    bench.run_for(280);
    assert_eq!(told(&bench, E::ResyncStalled), 0, "{}", bench.story());
    bench.run_for(900);
    assert_eq!(told(&bench, E::ResyncStalled), 1, "{}", bench.story());
    let event = bench.events.iter().find(|event| event.code == E::ResyncStalled).unwrap();
    assert_eq!(event.object, Object::Mirror("vg0/r1".into()));
}

#[test]
fn a_cancelled_heal_stays_cancelled_until_it_is_asked_for() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(60, "probation", |b| b.mirror("r1").legs[B].state == LegState::Probation);
    let id = *bench.engine().snapshot().jobs.keys().next_back().expect("a job");
    bench.forget();
    assert_eq!(bench.command(Command::Cancel { job: id, uid: 0 }), Ok(Reply::Done));
    bench.run_for(120);
    assert_eq!(job(&bench, Operation::Heal).state, JobState::Cancelled);
    assert_eq!(bench.mirror("r1").hold, Some(Hold::NeedsOperator), "{}", bench.story());
    assert!(!bench.writes().contains(&"release"), "{}", bench.story());
    let ended = bench.command(Command::Cancel { job: id, uid: 0 });
    assert!(matches!(ended, Err(Refusal::Busy(_))), "{ended:?}");
    let unknown = bench.command(Command::Cancel { job: mirrorkeeper_core::ids::JobId(999), uid: 0 });
    assert!(matches!(unknown, Err(Refusal::NoSuchObject(_))), "{unknown:?}");
    assert!(bench.command(Command::Heal { mirror: Bench::uuid("r1"), uid: 0 }).is_ok());
    bench.run_until_redundant(120);
}

#[test]
fn a_comparison_is_cancelled_only_before_it_began() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    assert!(check(&mut bench, "r1").is_ok());
    bench.run_for(4);
    let Ok(Reply::Job(second)) = check(&mut bench, "r2") else { panic!("{}", bench.story()) };
    bench.run_for(1);
    assert_eq!(bench.mirror("r2").hold, Some(Hold::Queued), "one at a time");
    assert_eq!(bench.command(Command::Cancel { job: second, uid: 0 }), Ok(Reply::Done));
    let first = *bench.engine().snapshot().jobs.keys().next().expect("a job");
    let late = bench.command(Command::Cancel { job: first, uid: 0 });
    assert!(matches!(late, Err(Refusal::Busy(_))), "{late:?}");
    bench.run_for(60);
    assert_eq!(bench.times("check").len(), 1, "{}", bench.story());
}

#[test]
fn returned_volumes_are_compared_one_after_the_other_the_important_first() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    let policy = MirrorPolicy { priority: 1, ..MirrorPolicy::default() };
    set(&mut bench, Settings { mirrors: [("vg0/r2".to_owned(), policy)].into(), ..settings() });
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until_redundant(200);
    let checks: Vec<_> =
        bench.ran.iter().filter(|ran| ran.op.code() == "check").map(|ran| ran.op.lvs().to_vec()).collect();
    let names: Vec<Vec<&str>> = checks.iter().map(|lvs| lvs.iter().map(|lv| lv.name.as_str()).collect()).collect();
    assert_eq!(names, [["r2"], ["r1"]], "{}", bench.story());
    assert_eq!(bench.times("quarantine").len(), 1, "both are let in at once");
}

#[test]
fn a_shutdown_is_delayed_by_copies_alone_and_only_if_that_is_wanted() {
    for inhibit_shutdown in [false, true] {
        let mut bench = Bench::settled(&["r1"], &[]);
        set(&mut bench, Settings { inhibit_shutdown, ..settings() });
        let delays = |bench: &Bench| bench.engine().snapshot().delays_shutdown;
        bench.machine.down(B, true);
        bench.run_for(200);
        assert!(!delays(&bench), "a copy that cannot be made is not waited for");
        bench.machine.back(B);
        bench.run_until(60, "resyncing", |b| b.mirror("r1").state == MirrorState::Resyncing);
        assert_eq!(delays(&bench), inhibit_shutdown, "{}", bench.story());
        bench.run_until(60, "verifying", |b| b.mirror("r1").state == MirrorState::Verifying);
        assert!(!delays(&bench), "a comparison can be made again");
        bench.run_until_redundant(60);
        assert!(!delays(&bench));
    }
}

fn findings(bench: &mut Bench) -> Vec<Finding> {
    match bench.command(Command::Diagnose) {
        Ok(Reply::Findings(found)) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_healthy_machine_has_nothing_to_mend_but_what_was_switched_off() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    let codes = |bench: &mut Bench| findings(bench).into_iter().map(|f| f.code).collect::<Vec<_>>();
    let healthy = codes(&mut bench);
    assert!(healthy.iter().all(|code| ["stamps-off", "no-registrations"].contains(code)), "{healthy:?}");
    bench.machine.mirrors[0].monitored = false;
    pause(&mut bench, "so that nobody mends it");
    bench.machine.iscsid.0 = None;
    bench.ledger_ok = false;
    let seconds = 5;
    for server in [A, B] {
        let target = Machine::target(server);
        assert!(bench.command(Command::SetReplacementTimeout { target, seconds, uid: 0 }).is_ok());
    }
    let nas = ServerPolicy { portals: vec!["10.0.0.1".into(), "10.0.0.2".into()] };
    set(&mut bench, Settings { servers: [("nas".to_owned(), nas)].into(), ..settings() });
    bench.feed(Input::Command(1, Command::Rescan));
    bench.run_for(4);
    let found = findings(&mut bench);
    for code in ["paused", "iscsid-missing", "ledger-unwritable", "not-monitored", "same-server", "no-leg-waits"] {
        let finding = found.iter().find(|f| f.code == code).unwrap_or_else(|| panic!("no {code} in {found:#?}"));
        assert!(matches!(finding.details.get("fix"), Some(Value::Strs(_))), "{finding:?}");
    }
    assert_eq!(found.iter().find(|f| f.code == "same-server").map(|f| f.concern), Some(Concern::Error));
}

#[test]
fn a_hold_is_diagnosed_with_the_choices_that_end_it() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    (bench.machine.raids[0].legs[B].events, bench.machine.raids[0].legs[B].failed) = (32, 1);
    bench.machine.back(B);
    bench.run_until_held(120, "r1", Hold::SplitBrain);
    let found = findings(&mut bench);
    let held = found.iter().find(|f| f.code == "held").expect("it is held");
    let choices: Vec<String> = [A, B].map(|s| format!("mirrorkeeper resolve vg0/r1 {}", Machine::pv(s))).into();
    assert_eq!((held.concern, held.details.get("fix")), (Concern::Error, Some(&Value::Strs(choices))));
}
