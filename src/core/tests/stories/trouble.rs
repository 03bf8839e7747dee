//! Tools that fail, hang or lie; a ledger that cannot be written; volumes left suspended; people who are in a hurry.

use crate::bench::machine::{A, B, SECOND, Way};
use crate::bench::{Bench, Fault};
use mirrorkeeper_core::input::{Command, Input, Reply};
use mirrorkeeper_core::observation::{LegHealth, LvmView, ScsiState, SessionState};
use mirrorkeeper_core::words::{EventCode as E, Hold, JobState, LegState, MirrorState};

fn lost_and_back(bench: &mut Bench) {
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.forget();
    bench.machine.back(B);
}

#[test]
fn an_operation_that_keeps_failing_is_tried_with_growing_pauses() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.faults.extend((0..8).map(|_| ("quarantine", Fault::Exit(5))));
    lost_and_back(&mut bench);
    bench.run_until(120, "back-off", |b| b.mirror("r1").hold == Some(Hold::BackOff));
    bench.run_until_redundant(1500);
    let times = bench.times("quarantine");
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(times.len(), 9, "{}", bench.story());
    assert!(pauses[7] >= 150 && pauses[2] < pauses[4] && pauses[4] < pauses[6], "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 320), "{pauses:?}");
}

#[test]
fn a_command_beyond_its_deadline_keeps_its_vg_and_says_so() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.faults.push_back(("quarantine", Fault::Slow(600)));
    lost_and_back(&mut bench);
    bench.run_until(60, "quarantine", |b| !b.times("quarantine").is_empty());
    bench.run_for(300);
    assert_eq!(bench.writes(), ["quarantine"], "{}", bench.story());
    assert_eq!(bench.mirror("r1").hold, Some(Hold::VgBusy), "{}", bench.story());
    bench.run_until_redundant(600);
}

#[test]
fn old_metadata_is_compared_once_where_no_command_of_ours_renews_it() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let leg = &mut bench.machine.raids[0].legs[B];
    // The administrator's flag stays, so nothing is released.
    (leg.flagged, leg.table_flag) = (true, true);
    bench.run_for(60);
    bench.machine.servers[B].written_elsewhere = Some(bench.machine.seqno - 2);
    bench.restart_daemon();
    bench.run_for(3000);
    assert_eq!(bench.times("check").len(), 1, "{}", bench.story());
    assert_eq!(bench.mirror("r1").state, MirrorState::Redundant, "{}", bench.story());
}

#[test]
fn a_report_that_comes_late_is_looked_at_twice_like_any_other() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    lost_and_back(&mut bench);
    bench.run_until(300, "readd-leg", |b| !b.times("readd-leg").is_empty());
    // The copy ends and nothing else happens until LVM answers again.
    bench.report_ok = false;
    bench.run_for(300);
    bench.report_ok = true;
    bench.run_until_redundant(60);
}

#[test]
fn a_command_that_outlives_the_daemon_is_waited_for() {
    let mut bench = Bench::settled(&["r1"], &[]);
    lost_and_back(&mut bench);
    bench.machine.left_over = vec!["lvm lvconvert -y -m 0 vg0/testlv".into()];
    bench.restart_daemon();
    bench.run_for(300);
    assert_eq!(bench.mirror("r1").hold, Some(Hold::VgBusy), "{}", bench.story());
    assert!(bench.writes().is_empty(), "{}", bench.story());
    bench.machine.left_over.clear();
    bench.run_until_redundant(120);
}

#[test]
fn a_ledger_that_cannot_be_written_stops_every_write_to_storage() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.ledger_ok = false;
    lost_and_back(&mut bench);
    bench.run_until_held(120, "r1", Hold::LedgerUnwritable);
    assert!(bench.writes().is_empty(), "{}", bench.story());
    assert_eq!(bench.tmo(A), Some(600), "raising a timeout waits for nothing");
    let plan = bench.command(Command::PlanHeal { mirror: Bench::uuid("r1") });
    let Ok(Reply::Plan(steps)) = plan else { panic!("{plan:?}") };
    assert!(!steps.is_empty() && steps.iter().all(|step| step.argv.is_empty()), "{steps:?}");
    bench.ledger_ok = true;
    bench.run_until_redundant(120);
}

#[test]
fn a_ledger_that_cannot_be_written_is_told_once() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.ledger_ok = false;
    bench.machine.down(B, true);
    bench.run_for(600);
    assert_eq!(bench.codes().iter().filter(|code| **code == E::LedgerDamaged).count(), 1, "{}", bench.story());
}

#[test]
fn heal_skips_the_settle_time_and_ends_with_redundancy() {
    let mut bench = Bench::settled(&["r1"], &[]);
    lost_and_back(&mut bench);
    bench.run_until(10, "logged in", |b| b.machine.paths().way(B, b.machine.raids[0].legs[B].dev) == Way::Works);
    let back = bench.machine.now / SECOND;
    let Ok(Reply::Job(job)) = bench.command(Command::Heal { mirror: Bench::uuid("r1"), uid: 1000 }) else { panic!() };
    bench.run_until_redundant(60);
    assert!(bench.times("quarantine")[0] <= back + 4, "{}", bench.story());
    let job = &bench.engine().snapshot().jobs[&job];
    assert_eq!((job.state, job.uid), (JobState::Succeeded, 1000));
    let steps: Vec<_> = job.steps.iter().map(|step| step.code).filter(|code| *code != "probe").collect();
    assert_eq!(steps, ["quarantine", "check", "release"]);
}

#[test]
fn a_report_that_fails_is_asked_for_again_ever_more_slowly() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.report_ok = false;
    lost_and_back(&mut bench);
    bench.run_for(600);
    assert!(bench.writes().is_empty(), "nothing is written on an old report\n{}", bench.story());
    bench.report_ok = true;
    bench.run_until_redundant(400);
}

#[test]
fn a_volume_left_suspended_is_resumed_and_healed() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.faults.push_back(("quarantine", Fault::KilledSuspended));
    lost_and_back(&mut bench);
    bench.run_until(60, "suspended", |b| b.machine.raids[0].suspended);
    let since = bench.machine.now / SECOND;
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "resume", "check", "release"], "{}", bench.story());
    assert!(bench.times("resume")[0] <= since + 10, "suspended at {since}: writers hang\n{}", bench.story());
    assert!(bench.codes().contains(&E::LvResumed));
}

#[test]
fn a_suspended_volume_with_ambiguous_legs_is_resumed_without_the_doubtful_one() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    (bench.machine.raids[0].legs[B].events, bench.machine.raids[0].legs[B].failed) = (50, 1);
    bench.machine.raids[0].suspended = true;
    bench.forget();
    bench.machine.back(B);
    bench.run_until(60, "resumed", |b| !b.machine.raids[0].suspended);
    assert_eq!(bench.times("set-offline").len(), 1, "{}", bench.story());
    assert_eq!(bench.writes(), ["resume"], "{}", bench.story());
    bench.run_for(60);
    assert_eq!(bench.machine.raids[0].legs[B].health, LegHealth::Dead);
    assert!(bench.mirror("r1").hold.is_some(), "kept out, and nobody is told why\n{}", bench.story());
}

/// Writers hang: what one look could not find out the next one does.
#[test]
fn a_suspended_volume_is_resumed_although_a_look_gave_no_answer() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    bench.faults.push_back(("quarantine", Fault::KilledSuspended));
    lost_and_back(&mut bench);
    bench.run_until(60, "suspended", |b| b.machine.raids[0].suspended);
    bench.faults.push_back(("probe", Fault::Exit(5)));
    bench.run_for(60);
    assert!(bench.faults.is_empty() && !bench.machine.raids[0].suspended, "{}", bench.story());
    bench.run_until_redundant(200);
}

#[test]
fn a_suspended_volume_is_left_to_the_command_that_works_on_it() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.faults.push_back(("quarantine", Fault::Slow(60)));
    lost_and_back(&mut bench);
    bench.run_until(60, "quarantine", |b| !b.times("quarantine").is_empty());
    bench.machine.raids[0].suspended = true;
    bench.run_for(50);
    assert_eq!(bench.writes(), ["quarantine"], "{}", bench.story());
}

#[test]
fn a_probe_that_cannot_be_run_is_shown() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.faults.extend((0..40).map(|_| ("probe", Fault::Fail)));
    lost_and_back(&mut bench);
    bench.run_for(120);
    assert!(bench.writes().is_empty());
    assert_eq!(bench.mirror("r1").hold, Some(Hold::Unreadable), "{}", bench.story());
}

#[test]
fn a_device_that_blocks_a_command_of_lvm_is_named() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.session(B).tmo = None;
    bench.machine.down(B, true);
    bench.run_for(300);
    assert!(bench.ran.iter().all(|ran| ran.op.writes_vg().is_none()), "{}", bench.story());
    let shown = bench.mirror("r1");
    assert_eq!((shown.state, shown.legs[B].state), (MirrorState::Degraded, LegState::Failed), "{}", bench.story());
}

#[test]
fn a_report_older_than_a_return_forgets_nothing() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.raids[0].active = false;
    bench.machine.down(A, true);
    bench.machine.down(B, true);
    bench.run_for(200);
    // A report is begun while both are away; before it ends both are back.
    bench.command(Command::Rescan).unwrap();
    for server in [A, B] {
        let session = bench.machine.session(server);
        (session.state.0, session.disk_state) = (SessionState::LoggedIn, ScsiState::Running);
    }
    bench.feed(Input::Kernel(Box::new(bench.machine.kernel_view(false))));
    bench.feed(Input::Lvm(Ok(LvmView::default())));
    bench.run_for(10);
    assert!(bench.ledger().mirrors.contains_key(&Bench::uuid("r1")), "{}", bench.story());
}
