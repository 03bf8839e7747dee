//! Servers: taken out of service and put back, switched off by whom it is safe, and those that come and go.

use crate::bench::Bench;
use crate::bench::machine::{A, B, Machine};
use mirrorkeeper_core::input::{Command, Input, Refusal, Reply};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::ScsiState;
use mirrorkeeper_core::snapshot::{JobView, Object, ServerView};
use mirrorkeeper_core::words::{EventCode as E, Hold, JobState, MirrorState, Obstacle, Operation, ServerState};

const SERVER: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

fn enter(bench: &mut Bench, server: usize) -> Result<Reply, Refusal> {
    bench.command(Command::EnterMaintenance { server: SERVER[server].into(), uid: 7 })
}

fn leave(bench: &mut Bench, server: usize) -> Result<Reply, Refusal> {
    bench.command(Command::LeaveMaintenance { server: SERVER[server].into(), uid: 7 })
}

/// State of B's disk.
fn disk(bench: &Bench) -> ScsiState {
    bench.machine.sessions[B].as_ref().expect("a session").disk_state.clone()
}

fn shown(bench: &Bench, server: usize) -> &ServerView {
    &bench.engine().snapshot().servers[SERVER[server]]
}

fn job(bench: &Bench, operation: Operation) -> &JobView {
    bench.engine().snapshot().jobs.values().rev().find(|job| job.operation == operation).expect("a job")
}

fn obstacles(bench: &mut Bench, server: usize) -> Vec<(Name, Obstacle)> {
    match bench.command(Command::SafeToTakeDown { server: SERVER[server].into() }) {
        Ok(Reply::Obstacles(list)) => list,
        other => panic!("{other:?}"),
    }
}

/// B is out of service, and both volumes go on without it.
fn entered(raids: &[&str], mirrors: &[&str]) -> Bench {
    let mut bench = Bench::settled(raids, mirrors);
    assert!(matches!(enter(&mut bench, B), Ok(Reply::Job(_))));
    bench.run_until(30, "entered", |b| b.codes().contains(&E::MaintenanceEntered));
    bench
}

#[test]
fn entering_raises_the_survivor_and_then_fails_the_disks() {
    let mut bench = entered(&["r1"], &["testlv"]);
    assert_eq!(disk(&bench), ScsiState::Offline, "{}", bench.story());
    assert_eq!(bench.tmo(A), Some(600));
    let order: Vec<_> = bench.ran.iter().map(|ran| ran.op.code()).collect();
    let at = |code| order.iter().position(|c| *c == code).unwrap_or_else(|| panic!("{code}\n{}", bench.story()));
    assert!(at("set-recovery-tmo") < at("set-offline"), "{order:?}");
    bench.run_for(60);
    assert_eq!(job(&bench, Operation::EnterMaintenance).state, JobState::Succeeded);
    assert_eq!(job(&bench, Operation::EnterMaintenance).steps.len(), 1);
    for lv in ["r1", "testlv"] {
        assert_eq!((bench.mirror(lv).state, bench.mirror(lv).hold), (MirrorState::Degraded, Some(Hold::Maintenance)));
    }
    let view = shown(&bench, B);
    assert!(view.maintenance && view.state == ServerState::Maintenance && view.mirrors.len() == 2, "{view:?}");
    assert_eq!(bench.codes().iter().filter(|c| **c == E::MaintenanceEntered).count(), 1);
    assert!(bench.anomalies.is_empty(), "{:?}", bench.anomalies);
}

#[test]
fn nothing_is_healed_through_restarts_of_everything_until_it_is_left() {
    let mut bench = entered(&["r1"], &["testlv"]);
    bench.forget();
    for _ in 0..3 {
        bench.machine.power_cycle(B);
        bench.run_for(60);
        assert_eq!(disk(&bench), ScsiState::Offline, "{}", bench.story());
        bench.restart_daemon();
        bench.run_for(30);
    }
    assert!(bench.writes().is_empty(), "{}", bench.story());
    assert_eq!(bench.mirror("r1").hold, Some(Hold::Maintenance), "{}", bench.story());
    assert_eq!(shown(&bench, B).flap_count, 0);
    assert!(matches!(leave(&mut bench, B), Ok(Reply::Job(_))));
    bench.run_until_redundant(200);
    bench.run_for(10);
    assert!(!shown(&bench, B).maintenance);
    let job = job(&bench, Operation::LeaveMaintenance);
    assert_eq!(job.state, JobState::Succeeded, "{}\n{}", job.error, bench.story());
    assert_eq!(bench.codes().iter().filter(|c| **c == E::MaintenanceLeft).count(), 1);
    assert!(bench.anomalies.is_empty(), "{:?}", bench.anomalies);
}

#[test]
fn killed_anywhere_it_is_entered_and_left_all_the_same() {
    for n in 1..60 {
        let mut bench = Bench::settled(&["r1"], &[]);
        bench.crash_at = Some(bench.effects + n);
        bench.feed(Input::Command(1, Command::EnterMaintenance { server: SERVER[B].into(), uid: 7 }));
        bench.run_for(30);
        let resting = shown(&bench, B).maintenance;
        let offline = disk(&bench) == ScsiState::Offline;
        assert_eq!(resting, offline, "killed before effect {n}\n{}", bench.story());
        // Whoever got no answer asks again.
        for _ in 0..2 {
            bench.feed(Input::Command(1, Command::LeaveMaintenance { server: SERVER[B].into(), uid: 7 }));
            bench.run_for(2);
        }
        bench.run_until_redundant(200);
    }
}

#[test]
fn left_while_the_server_is_away_it_heals_when_it_is_back() {
    let mut bench = entered(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    assert!(leave(&mut bench, B).is_ok());
    bench.run_for(30);
    assert_eq!(job(&bench, Operation::LeaveMaintenance).state, JobState::Queued);
    bench.machine.back(B);
    bench.run_until_redundant(120);
}

#[test]
fn a_quiet_volume_comes_back_without_a_copy_unless_its_server_restarted() {
    for restarted in [false, true] {
        let mut bench = Bench::settled(&["r1"], &[]);
        bench.machine.raids[0].written = false;
        assert!(enter(&mut bench, B).is_ok());
        bench.run_for(60);
        if restarted {
            bench.machine.power_cycle(B);
        }
        bench.run_for(60);
        bench.forget();
        assert!(leave(&mut bench, B).is_ok());
        bench.run_until_redundant(120);
        assert_eq!(bench.writes().contains(&"check"), restarted, "{}", bench.story());
    }
}

#[test]
fn a_disk_that_somebody_else_set_offline_stays_so() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.session(B).disk_state = ScsiState::Offline;
    bench.run_for(60);
    assert!(enter(&mut bench, B).is_ok());
    bench.run_for(30);
    assert!(leave(&mut bench, B).is_ok());
    bench.run_for(60);
    assert_eq!(disk(&bench), ScsiState::Offline, "{}", bench.story());
    assert_eq!(bench.mirror("r1").hold, Some(Hold::NeedsOperator));
}

#[test]
fn the_last_trusted_leg_is_not_taken() {
    let refused = |bench: &mut Bench, server, why: Obstacle| {
        let reply = enter(bench, server);
        assert!(matches!(reply, Err(Refusal::WouldLoseRedundancy(_))), "{reply:?}\n{}", bench.story());
        assert_eq!(obstacles(bench, server), [("vg0/r1".into(), why)], "{}", bench.story());
    };
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.machine.down(B, true);
    bench.run_for(200);
    refused(&mut bench, A, Obstacle::LastGoodLeg);
    assert!(obstacles(&mut bench, B).is_empty(), "what is lost may be switched off");
    bench.machine.back(B);
    bench.run_until(60, "settling", |b| b.mirror("r1").hold == Some(Hold::Settling));
    refused(&mut bench, A, Obstacle::NotInSync);
    bench.run_until(60, "resyncing", |b| b.mirror("r1").state == MirrorState::Resyncing);
    refused(&mut bench, A, Obstacle::SourceOfResync);
    bench.run_until(60, "verifying", |b| b.mirror("r1").state == MirrorState::Verifying);
    refused(&mut bench, A, Obstacle::OtherLegUnverified);
    assert!(obstacles(&mut bench, B).is_empty());
    bench.run_until_redundant(60);
    assert!(obstacles(&mut bench, A).is_empty() && enter(&mut bench, A).is_ok());
    bench.run_for(30);
    refused(&mut bench, B, Obstacle::LastGoodLeg);
}

#[test]
fn whatever_else_is_in_use_there_is_in_the_way() {
    let mut machine = Machine::new(&["r1"], &[]);
    machine.doctor = Some(Box::new(|view| {
        for vg in &mut view.vgs {
            let run = vg.lvs.iter().flat_map(|lv| &lv.extents).find(|run| run.pv == Machine::pv(B)).cloned();
            let Some(mut plain) = vg.lvs.first().cloned() else { continue };
            (plain.uuid, plain.name, plain.segs) = (Bench::uuid("plain"), "plain".into(), Vec::new());
            (plain.extents, plain.active, plain.role) = (run.into_iter().collect(), true, vec!["public".into()]);
            vg.lvs.push(plain);
        }
    }));
    let mut bench = Bench::on(machine);
    bench.run_for(60);
    assert_eq!(obstacles(&mut bench, B), [("vg0/plain".into(), Obstacle::OtherUser)], "{}", bench.story());
    assert!(obstacles(&mut bench, A).is_empty());
    assert!(matches!(enter(&mut bench, B), Err(Refusal::WouldLoseRedundancy(why)) if why.contains("other-user")));
}

#[test]
fn a_mirror_that_is_copied_needs_its_source() {
    let mut bench = Bench::settled(&[], &["testlv"]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(60, "resyncing", |b| b.mirror("testlv").state == MirrorState::Resyncing);
    assert_eq!(obstacles(&mut bench, A), [("vg0/testlv".into(), Obstacle::SourceOfResync)]);
    assert!(obstacles(&mut bench, B).is_empty());
}

#[test]
fn a_survivor_lost_before_the_disks_are_failed_ends_it() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.ledger_ok = false;
    assert!(enter(&mut bench, B).is_ok());
    bench.machine.down(A, true);
    bench.run_for(20);
    bench.ledger_ok = true;
    bench.run_for(20);
    assert_eq!(disk(&bench), ScsiState::Running, "{}", bench.story());
    let job = job(&bench, Operation::EnterMaintenance);
    assert_eq!((job.state, job.object.clone()), (JobState::Failed, Object::Server(SERVER[B].into())));
    assert!(job.error.contains("last-good-leg") || job.error.contains("not-in-sync"), "{}", job.error);
    assert!(!bench.codes().contains(&E::MaintenanceEntered));
}

#[test]
fn entering_can_be_cancelled_and_unknown_servers_are_refused() {
    let mut bench = entered(&["r1"], &[]);
    let unknown = bench.command(Command::EnterMaintenance { server: "nobody".into(), uid: 0 });
    assert!(matches!(unknown, Err(Refusal::NoSuchObject(_))), "{unknown:?}");
    let unknown = bench.command(Command::LeaveMaintenance { server: "nobody".into(), uid: 0 });
    assert!(matches!(unknown, Err(Refusal::NoSuchObject(_))), "{unknown:?}");
    let unknown = bench.command(Command::SafeToTakeDown { server: "nobody".into() });
    assert!(matches!(unknown, Err(Refusal::NoSuchObject(_))), "{unknown:?}");
    assert!(leave(&mut bench, B).is_ok());
    bench.run_until_redundant(120);
    let Ok(Reply::Job(id)) = enter(&mut bench, B) else { panic!("{}", bench.story()) };
    assert_eq!(bench.command(Command::Cancel { job: id, uid: 0 }), Ok(Reply::Done));
    bench.run_for(30);
    assert_eq!(job(&bench, Operation::EnterMaintenance).state, JobState::Cancelled);
    assert!(!shown(&bench, B).maintenance && bench.redundant(), "{}", bench.story());
}

#[test]
fn a_server_that_comes_and_goes_is_let_in_ever_later_and_said_to_flap() {
    let mut bench = Bench::settled(&["r1"], &[]);
    let mut held = None;
    for n in 1..=4_u32 {
        bench.machine.power_cycle(B);
        bench.run_for(2);
        bench.run_until(90, "back", |b| b.target(B).state == mirrorkeeper_core::words::TargetState::LoggedIn);
        bench.run_for(2);
        assert_eq!(shown(&bench, B).flap_count, n);
        let hold = bench.mirror("r1").hold;
        let until = shown(&bench, B).held_until.unwrap_or_else(|| panic!("it settles\n{}", bench.story())).0;
        assert_eq!(hold == Some(Hold::Flapping), n >= 3, "{n}: {hold:?}\n{}", bench.story());
        let left = until - bench.engine().snapshot().observed_at.0;
        assert!(held.is_none_or(|before| left > before), "{n}: {left} after {held:?}");
        held = Some(left);
    }
    assert_eq!(bench.codes().iter().filter(|c| **c == E::ServerFlapping).count(), 1, "{}", bench.story());
    bench.run_until_redundant(300);
    bench.run_for(3700);
    assert_eq!((shown(&bench, B).flap_count, shown(&bench, B).held_until), (0, None));
}

#[test]
fn servers_are_shown_with_what_is_on_them() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    let view = shown(&bench, B);
    assert_eq!((view.state, view.maintenance, view.held_until), (ServerState::Up, false, None));
    assert_eq!(view.portals, ["10.0.0.2:3260"]);
    assert_eq!(view.targets, [Machine::target(B)]);
    assert_eq!(view.mirrors, ["vg0/r1", "vg0/testlv"]);
    assert_eq!(bench.target(B).server, SERVER[B]);
    bench.machine.down(B, true);
    bench.run_for(30);
    assert_eq!(shown(&bench, B).state, ServerState::Down);
    assert!(shown(&bench, B).since > shown(&bench, A).since);
}
