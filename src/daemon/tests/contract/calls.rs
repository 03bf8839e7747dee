//! Method calls: what the loop is asked, and what comes back.

use crate::support::*;
use mirrorkeeper_client::{Client, Error};
use mirrorkeeper_core::ids::{JobId, LvUuid, PvUuid};
use mirrorkeeper_core::input::{Command, PlannedStep, Refusal, Reply};
use mirrorkeeper_core::snapshot::{Details, Finding, JobView, Object, Value};
use mirrorkeeper_core::words::{Concern, JobState, Obstacle, Operation};
use std::sync::Arc;

async fn client(service: &Service) -> Client {
    Client::connect(Some(&service.bus.address())).await.unwrap()
}

fn refusal_code<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Refused { code, .. }) => code,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn names_lead_to_objects() {
    let service = Service::start(world()).await;
    let manager = client(&service).await.manager().await.unwrap();
    assert_eq!(manager.get_mirror("vg0/lv").await.unwrap().as_str(), MIRROR);
    assert_eq!(manager.get_target("iqn.2026-01.org.example:disk").await.unwrap().as_str(), TARGET);
    let second = manager.get_target(&key(2).to_string()).await.unwrap();
    assert_eq!(second.as_str(), TARGET.replace("2e1_3a", "2e2_3a"));
    for name in ["vg0/other", "", "vg0", "\u{7f}"] {
        assert_eq!(refusal_code(manager.get_mirror(name).await), "NoSuchObject", "{name:?}");
        assert_eq!(refusal_code(manager.get_target(name).await), "NoSuchObject", "{name:?}");
    }
}

#[tokio::test]
async fn requests_reach_the_loop_and_its_answers_the_caller() {
    let mut service = Service::start(world()).await;
    let client = client(&service).await;
    let (manager, target) = (client.manager().await.unwrap(), client.target(key_path()).await.unwrap());

    let (done, command) = tokio::join!(manager.rescan(), service.answer(Ok(Reply::Done)));
    assert_eq!((done.unwrap(), command), ((), Command::Rescan));

    let (done, command) = tokio::join!(target.set_replacement_timeout(86_400), service.answer(Ok(Reply::Done)));
    assert_eq!(
        (done.unwrap(), command),
        ((), Command::SetReplacementTimeout { target: key(1), seconds: 86_400, uid: 0 })
    );

    let refusal = Err(Refusal::Busy("a conversion is going on".to_owned()));
    let (refused, _) = tokio::join!(target.reconnect(), service.answer(refusal));
    assert_eq!(refusal_code(refused), "Busy");
}

#[tokio::test]
async fn each_wish_reaches_the_loop_with_who_had_it() {
    let mut snapshot = world();
    let entering = JobView { operation: Operation::EnterMaintenance, ..job(JobState::Running) };
    snapshot.jobs.insert(JobId(2), JobView { object: Object::Server("10.0.0.1".into()), ..entering });
    let mut service = Service::start(snapshot).await;
    let client = client(&service).await;
    let (manager, mirror) = (client.manager().await.unwrap(), client.mirror(mirror_path()).await.unwrap());
    let server = client.server(manager.get_server("10.0.0.1").await.unwrap()).await.unwrap();
    let done = || Ok(Reply::Done);
    let (uid, reason) = (0, "new switch".to_owned());

    let (told, command) = tokio::join!(manager.pause(&reason), service.answer(done()));
    assert_eq!((told.unwrap(), command), ((), Command::Pause { reason, uid }));
    let (told, command) = tokio::join!(manager.resume(), service.answer(done()));
    assert_eq!((told.unwrap(), command), ((), Command::Resume { uid }));
    let (told, command) = tokio::join!(mirror.set_resync_limit(u64::MAX), service.answer(done()));
    assert_eq!((told.unwrap(), command), ((), Command::SetResyncLimit { mirror: lv(), bytes: u64::MAX, uid }));

    let (path, command) = tokio::join!(mirror.check(), service.answer(Ok(Reply::Job(JobId(1)))));
    assert_eq!((path.unwrap().as_str(), command), (JOB, Command::Check { mirror: lv(), uid }));
    let (path, command) = tokio::join!(server.enter_maintenance(), service.answer(Ok(Reply::Job(JobId(2)))));
    assert_eq!(command, Command::EnterMaintenance { server: "10.0.0.1".into(), uid });
    let shown = client.read_job(&path.unwrap()).await.unwrap();
    assert_eq!((shown.operation.as_str(), shown.object.as_str()), ("enter-maintenance", SERVER));
    let job = client.job(zbus::ObjectPath::try_from("/org/mirrorkeeper1/job/2").unwrap()).await.unwrap();
    let (told, command) = tokio::join!(job.cancel(), service.answer(done()));
    assert_eq!((told.unwrap(), command), ((), Command::Cancel { job: JobId(2), uid }));
    let refusal = Err(Refusal::WouldLoseRedundancy("vg0/lv has its last trusted leg there".to_owned()));
    let (refused, command) = tokio::join!(server.leave_maintenance(), service.answer(refusal));
    assert_eq!(command, Command::LeaveMaintenance { server: "10.0.0.1".into(), uid });
    assert_eq!(refusal_code(refused), "WouldLoseRedundancy");
}

#[tokio::test]
async fn what_is_known_of_servers_and_settings_is_told_in_the_words_of_the_contract() {
    let mut service = Service::start_for(world(), Arc::new(CallerIs(1000))).await;
    let manager = client(&service).await.manager().await.unwrap();
    let found = vec![("vg0/lv".into(), Obstacle::SourceOfResync)];
    let (safe, command) = tokio::join!(manager.safe_to_take_down("nas1"), service.answer(Ok(Reply::Obstacles(found))));
    assert_eq!(command, Command::SafeToTakeDown { server: "nas1".into() });
    assert_eq!(safe.unwrap(), (false, vec![("vg0/lv".to_owned(), "source-of-resync".to_owned())]));
    let none = Ok(Reply::Obstacles(Vec::new()));
    let (safe, _) = tokio::join!(manager.safe_to_take_down("nas1"), service.answer(none));
    assert_eq!(safe.unwrap(), (true, vec![]));

    let details = Details::from([("fix", Value::Strs(vec!["lvchange --monitor y vg0/lv".to_owned()]))]);
    let object = Object::Mirror("vg0/lv".into());
    let finding = Finding { code: "not-monitored", concern: Concern::Warning, object, details };
    let (found, command) = tokio::join!(manager.diagnose(), service.answer(Ok(Reply::Findings(vec![finding]))));
    assert_eq!(command, Command::Diagnose);
    let found = &found.unwrap()[0];
    assert_eq!(
        (found.code.as_str(), found.severity.as_str(), found.object.as_str()),
        ("not-monitored", "warning", MIRROR)
    );
    let fix = mirrorkeeper_client::Value::Texts(vec!["lvchange --monitor y vg0/lv".to_owned()]);
    assert_eq!(found.details["fix"], fix);
}

#[tokio::test]
async fn a_bad_configuration_is_refused_with_the_place_of_the_mistake() {
    let mut service = Service::start(world()).await;
    let manager = client(&service).await.manager().await.unwrap();
    let mut answer = async |answer: Result<(), String>| {
        soon(service.reloads.recv()).await.unwrap().send(answer).unwrap();
    };
    let (good, ()) = tokio::join!(manager.reload(), answer(Ok(())));
    good.unwrap();
    let place = "/etc/mirrorkeeper.toml:3: settle: accepted are seconds: 1 to 600";
    match tokio::join!(manager.reload(), answer(Err(place.to_owned()))).0 {
        Err(Error::Refused { code, message }) => assert_eq!((code.as_str(), message.as_str()), ("BadConfig", place)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reason_that_is_a_novel_is_refused_before_the_loop_hears_of_it() {
    let mut service = Service::start(world()).await;
    let manager = client(&service).await.manager().await.unwrap();
    assert_eq!(refusal_code(manager.pause(&"x".repeat(1025)).await), "InvalidArgument");
    assert!(service.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_value_out_of_range_is_refused_before_the_loop_hears_of_it() {
    let mut service = Service::start(world()).await;
    let target = client(&service).await.target(key_path()).await.unwrap();
    for seconds in [86_401, u32::MAX] {
        assert_eq!(refusal_code(target.set_replacement_timeout(seconds).await), "InvalidArgument");
    }
    assert!(service.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_job_is_on_the_bus_before_its_path_is_returned() {
    let mut service = Service::start(world()).await;
    let mirror = client(&service).await.mirror(mirror_path()).await.unwrap();
    let healing = tokio::spawn(async move { mirror.heal().await.unwrap() });
    assert_eq!(service.answer(Ok(Reply::Job(JobId(2)))).await, Command::Heal { mirror: lv(), uid: 0 });
    client(&service).await.status().await.unwrap();
    assert!(!healing.is_finished(), "the loop has answered, the bus has been read, and the path is kept back");
    let mut snapshot = world();
    snapshot.jobs.insert(JobId(2), job(JobState::Queued));
    service.show(snapshot);
    let job = soon(healing).await.unwrap();
    assert_eq!(job.as_str(), "/org/mirrorkeeper1/job/2");
    assert_eq!(client(&service).await.job(job).await.unwrap().state().await.unwrap(), "queued");
}

#[tokio::test]
async fn who_is_not_root_may_read_but_change_nothing() {
    let mut service = Service::start_for(world(), Arc::new(CallerIs(1000))).await;
    let client = client(&service).await;
    let (manager, target) = (client.manager().await.unwrap(), client.target(key_path()).await.unwrap());
    let mirror = client.mirror(mirror_path()).await.unwrap();
    let denied = |result: Result<(), Error>| assert!(matches!(result, Err(Error::AccessDenied(_))), "{result:?}");
    denied(manager.rescan().await);
    denied(target.reconnect().await.map(drop));
    denied(target.set_replacement_timeout(10).await);
    denied(mirror.heal().await.map(drop));
    denied(mirror.resolve(PV).await.map(drop));
    denied(mirror.resolve("no uuid").await.map(drop));
    denied(mirror.activate().await.map(drop));
    denied(manager.forget("vg0").await.map(drop));
    assert!(service.requests.try_recv().is_err());
    assert_eq!(manager.state().await.unwrap(), "redundant");
    assert!(manager.get_mirror("vg0/lv").await.is_ok());
}

#[tokio::test]
async fn anybody_may_see_what_would_be_done_and_why_not() {
    let mut service = Service::start_for(world(), Arc::new(CallerIs(1000))).await;
    let mirror = client(&service).await.mirror(mirror_path()).await.unwrap();
    let argv = ["lvm", "vgextend", "--restoremissing", "vg0", "/dev/x"].map(String::from).to_vec();
    let plan = vec![
        PlannedStep { code: "hold", why: "split-brain".to_owned(), argv: Vec::new() },
        PlannedStep { code: "restore-missing", why: "its PV is flagged\0".to_owned(), argv: argv.clone() },
    ];
    let (steps, command) = tokio::join!(mirror.plan_heal(), service.answer(Ok(Reply::Plan(plan))));
    assert_eq!(command, Command::PlanHeal { mirror: lv() });
    let steps = steps.unwrap();
    assert_eq!((steps[0].code.as_str(), steps[0].argv.len()), ("hold", 0));
    assert_eq!((steps[1].why.as_str(), &steps[1].argv), ("its PV is flagged\u{fffd}", &argv));

    let (steps, _) = tokio::join!(mirror.plan_heal(), service.answer(Ok(Reply::Plan(Vec::new()))));
    assert_eq!(steps.unwrap(), [], "empty when redundant");
    let unmanaged = Err(Refusal::NotManaged("pvmove".to_owned()));
    let (refused, _) = tokio::join!(mirror.plan_heal(), service.answer(unmanaged));
    assert_eq!(refusal_code(refused), "NotManaged");
}

#[tokio::test]
async fn decisions_of_a_person_become_jobs() {
    let mut snapshot = world();
    snapshot.jobs.insert(JobId(2), JobView { operation: Operation::Resolve, ..job(JobState::Running) });
    let forgetting = JobView { operation: Operation::Forget, object: Object::Manager, ..job(JobState::Running) };
    snapshot.jobs.insert(JobId(3), forgetting);
    let mut service = Service::start(snapshot).await;
    let client = client(&service).await;
    let (manager, mirror) = (client.manager().await.unwrap(), client.mirror(mirror_path()).await.unwrap());

    let (path, command) = tokio::join!(mirror.resolve(PV), service.answer(Ok(Reply::Job(JobId(2)))));
    assert_eq!(command, Command::Resolve { mirror: lv(), keep: PvUuid::parse(PV).unwrap(), uid: 0 });
    let shown = client.read_job(&path.unwrap()).await.unwrap();
    assert_eq!((shown.operation.as_str(), shown.object.as_str()), ("resolve", MIRROR));

    let (path, command) = tokio::join!(mirror.activate(), service.answer(Ok(Reply::Job(JobId(1)))));
    assert_eq!((path.unwrap().as_str(), command), (JOB, Command::Activate { mirror: lv(), uid: 0 }));

    let (path, command) = tokio::join!(manager.forget("vg0"), service.answer(Ok(Reply::Job(JobId(3)))));
    assert_eq!(command, Command::Forget { vg: "vg0".to_owned(), uid: 0 });
    let shown = client.read_job(&path.unwrap()).await.unwrap();
    assert_eq!((shown.operation.as_str(), shown.object.as_str()), ("forget", "/org/mirrorkeeper1"));
}

#[tokio::test]
async fn what_is_no_pv_uuid_is_refused_before_the_loop_hears_of_it() {
    let mut service = Service::start(world()).await;
    let mirror = client(&service).await.mirror(mirror_path()).await.unwrap();
    for text in ["", "/dev/sda", "pDpQc6-octx", &"x".repeat(4000)] {
        match mirror.resolve(text).await {
            Err(Error::Refused { code, message }) => {
                assert_eq!(code, "InvalidArgument");
                assert!(message.contains("no PV UUID"), "{message}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    assert!(service.requests.try_recv().is_err());
}

#[tokio::test]
async fn every_refusal_reaches_the_caller_by_its_name() {
    let mut service = Service::start(world()).await;
    let mirror = client(&service).await.mirror(mirror_path()).await.unwrap();
    for (refusal, code) in [
        (Refusal::NotHeld as fn(String) -> Refusal, "NotHeld"),
        (Refusal::LegMissing, "LegMissing"),
        (Refusal::NotInactive, "NotInactive"),
        (Refusal::Held, "Held"),
        (Refusal::Busy, "Busy"),
        (Refusal::NotManaged, "NotManaged"),
        (Refusal::InvalidArgument, "InvalidArgument"),
        (Refusal::WouldLoseRedundancy, "WouldLoseRedundancy"),
        (Refusal::LegMismatch, "LegMismatch"),
        (Refusal::InMaintenance, "InMaintenance"),
        (Refusal::Paused, "Paused"),
        (Refusal::ToolFailed, "ToolFailed"),
    ] {
        let why = format!("{code}, since it is so");
        let (refused, _) = tokio::join!(mirror.resolve(PV), service.answer(Err(refusal(why.clone()))));
        let as_told = matches!(&refused, Err(Error::Refused { code: c, message }) if c == code && *message == why);
        assert!(as_told, "{code}: {refused:?}");
    }
}

/// A PV UUID.
const PV: &str = "HCFMtb-9fTl-9bBP-Xe3Y-pNsV-SkRL-eXm1cJ";

fn lv() -> LvUuid {
    LvUuid::parse(&crate::support::mirror().uuid).unwrap()
}

fn key_path() -> zbus::ObjectPath<'static> {
    TARGET.try_into().unwrap()
}

fn mirror_path() -> zbus::ObjectPath<'static> {
    MIRROR.try_into().unwrap()
}
