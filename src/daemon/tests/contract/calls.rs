//! Method calls: who may, what the loop is asked, what comes back, and what a flood does to others.

use crate::support::*;
use mirrorkeeper_client::{Client, Error};
use mirrorkeeper_core::ids::{JobId, LvUuid, PvUuid};
use mirrorkeeper_core::input::{Command, PlannedStep, Refusal, Reply};
use mirrorkeeper_core::snapshot::{JobView, Object};
use mirrorkeeper_core::words::{JobState, Operation};
use mirrorkeeperd::bus::auth::{Authority, RootOnly, Verdict};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zbus::Connection;
use zbus::message::Header;

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
    assert_eq!((done.unwrap(), command), ((), Command::SetReplacementTimeout { target: key(1), seconds: 86_400 }));

    let refusal = Err(Refusal::Busy("a conversion is going on".to_owned()));
    let (refused, _) = tokio::join!(target.reconnect(), service.answer(refusal));
    assert_eq!(refusal_code(refused), "Busy");
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
    ] {
        let why = format!("{code}, since it is so");
        let (refused, _) = tokio::join!(mirror.resolve(PV), service.answer(Err(refusal(why.clone()))));
        let as_told = matches!(&refused, Err(Error::Refused { code: c, message }) if c == code && *message == why);
        assert!(as_told, "{code}: {refused:?}");
    }
}

#[tokio::test]
async fn the_bus_says_who_the_caller_is() {
    let mut service = Service::start_for(world(), Arc::new(RootOnly)).await;
    let manager = client(&service).await.manager().await.unwrap();
    if nix::unistd::getuid().is_root() {
        let (done, _) = tokio::join!(manager.rescan(), service.answer(Ok(Reply::Done)));
        done.unwrap();
    } else {
        let refused = manager.rescan().await;
        assert!(matches!(refused, Err(Error::AccessDenied(_))), "{refused:?}");
    }
}

/// Allows everything, but not before it is told to.
struct Undecided(watch::Sender<bool>);

impl Authority for Undecided {
    fn allow<'a>(&'a self, _: &'a Connection, _: &'a Header<'a>) -> Verdict<'a> {
        Box::pin(async move {
            self.0.subscribe().wait_for(|decided| *decided).await.unwrap();
            Ok(0)
        })
    }
}

#[tokio::test]
async fn a_flood_is_turned_away_and_stalls_no_reader() {
    const FLOOD: usize = 1000;
    let decided = watch::Sender::new(false);
    let mut service = Service::start_for(world(), Arc::new(Undecided(decided.clone()))).await;
    let flooder = client(&service).await;
    let mirror = flooder.mirror(mirror_path()).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..FLOOD {
        let mirror = mirror.clone();
        calls.spawn(async move { mirror.heal().await });
    }
    // The calls that got in hang at the authority, as they would while a person types a password.
    let mut refused = 0;
    while refused < FLOOD - 64 {
        let code = refusal_code(soon(calls.join_next()).await.unwrap().unwrap());
        assert_eq!(code, "LimitsExceeded");
        refused += 1;
    }
    let reader = client(&service).await;
    let status = soon(reader.status()).await.unwrap();
    assert_eq!(status.manager.state, "redundant", "read while 64 calls hang");

    decided.send_replace(true);
    for _ in 0..64 {
        service.answer(Err(Refusal::Held("settling".to_owned()))).await;
    }
    while let Some(call) = soon(calls.join_next()).await {
        assert_eq!(refusal_code(call.unwrap()), "Held");
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
