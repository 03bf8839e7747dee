//! Faults by hand, and what is heard of them.

use crate::program::*;
use crate::support::soon;
use futures_util::StreamExt;
use std::time::{SystemTime, UNIX_EPOCH};
use zbus::fdo::DBusProxy;

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

#[tokio::test]
async fn a_server_goes_and_comes_and_everything_is_told_in_order() {
    let mut program = Program::without_story().await;
    let began = now();
    program.simulate("Cut", &"b").await.unwrap();
    program.advance(60).await;
    let status = program.until(|status| status.mirrors[R1].state == "degraded").await;
    assert_eq!((status.manager.state.as_str(), status.manager.targets_logged_in), ("degraded", 1));
    assert_eq!(status.servers[B].state, "down");

    program.simulate("Return", &"b").await.unwrap();
    program.advance(600).await;
    program.until_told("mirror-redundant", R1).await;
    program.until(|status| status.manager.state == "redundant").await;
    let target = program.client.manager().await.unwrap().get_target("iqn.2024.x:b").await.unwrap();
    let told = program.codes(&[R1, &target]);
    let wanted = [
        "target-lost",
        "leg-lost",
        "mirror-degraded",
        "target-returned",
        "leg-returned",
        "resync-started",
        "resync-finished",
        "leg-verified",
        "mirror-redundant",
    ];
    assert!(in_order(&told, &wanted), "{told:?}");

    // Eleven minutes have passed in seconds. The times on the bus are those of the clock on the wall.
    let until = now();
    let slack = 2_000_000;
    for told in program.told.iter().filter(|told| told.code != "timeout-changed") {
        assert!((began - slack..until + slack).contains(&told.at), "{told:?}: {began} to {until}");
    }
    let history = program.client.manager().await.unwrap().history(0, 0).await.unwrap();
    let kept: Vec<&str> = history.iter().filter(|e| e.object.as_str() == R1).map(|e| e.code.as_str()).collect();
    assert!(in_order(&kept, &wanted[1..3]) && in_order(&kept, &wanted[4..]), "{kept:?}");
    let elapsed = elapsed(&program).await;
    assert!(elapsed > 660_000_000, "{elapsed}");
}

async fn elapsed(program: &Program) -> u64 {
    let properties = Some("org.freedesktop.DBus.Properties");
    let body = (SIMULATOR, "ElapsedUSec");
    let reply = program.connection().call_method(Some(NAME), ROOT, properties, "Get", &body).await.unwrap();
    reply.body().deserialize::<zbus::OwnedVariant>().unwrap().try_into().unwrap()
}

#[tokio::test]
async fn two_truths_are_held_until_somebody_chooses() {
    let mut program = Program::without_story().await;
    let early = program.simulate("UseElsewhere", &"b").await.unwrap_err();
    assert_eq!(name_of(&early), "org.mirrorkeeper1.Error.Busy");
    program.simulate("PowerOff", &"b").await.unwrap();
    let early = program.simulate("UseElsewhere", &"b").await.unwrap_err();
    assert_eq!(name_of(&early), "org.mirrorkeeper1.Error.Busy", "not lost yet");
    program.advance(60).await;
    program.until(|status| status.mirrors[R1].state == "degraded").await;
    program.simulate("UseElsewhere", &"b").await.unwrap();
    program.simulate("Return", &"b").await.unwrap();
    program.advance(120).await;
    let status = program.until(|status| status.mirrors[R1].hold == "split-brain").await;
    program.until_told("split-brain", R1).await;

    // Nothing moves by itself. Somebody chooses the leg that is in use.
    program.advance(600).await;
    let mirror = program.mirror(R1).await;
    assert_eq!((mirror.state.as_str(), mirror.hold.as_str()), ("degraded", "split-brain"));
    let keep = &status.mirrors[R1].legs.iter().find(|leg| leg.state == "in-sync").unwrap().pv;
    let job = program.client.mirror(path(R1)).await.unwrap().resolve(keep).await.unwrap();
    program.advance(600).await;
    let status = program.until(|status| status.manager.state == "redundant").await;
    assert_eq!(status.mirrors[R1].hold, "");
    program.advance(1).await;
    let job = program.client.read_job(&job).await;
    assert!(job.is_err() || job.unwrap().state == "succeeded", "kept five minutes, which have passed");
}

#[tokio::test]
async fn what_stands_on_other_luns_is_not_taken_for_ours() {
    let mut program = Program::without_story().await;
    for (what, hold) in [("blank", "blank-device"), ("foreign", "identity-mismatch")] {
        program.simulate("Refuse", &"b").await.unwrap();
        program.advance(60).await;
        program.until(|status| status.mirrors[R1].state == "degraded").await;
        program.simulate("Swap", &("b", what)).await.unwrap();
        program.simulate("Return", &"b").await.unwrap();
        program.advance(300).await;
        program.until(|status| status.mirrors[R1].hold == hold).await;
        program.simulate("Hang", &"b").await.unwrap();
        program.advance(60).await;
        program.simulate("Swap", &("b", "original")).await.unwrap();
        program.simulate("Return", &"b").await.unwrap();
        program.advance(3600).await;
        program.until(|status| status.manager.state == "redundant").await;
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_the_names_of_the_contract() {
    let program = Program::without_story().await;
    for (method, error) in [("Cut", "NoSuchObject"), ("Return", "NoSuchObject"), ("UseElsewhere", "NoSuchObject")] {
        let refused = program.simulate(method, &"z").await.unwrap_err();
        assert_eq!(name_of(&refused), format!("org.mirrorkeeper1.Error.{error}"), "{method}");
    }
    let refused = program.simulate("Swap", &("b", "gold")).await.unwrap_err();
    assert_eq!(name_of(&refused), "org.mirrorkeeper1.Error.InvalidArgument");
    let refused = program.simulate("Swap", &("b", "blank")).await.unwrap_err();
    assert_eq!(name_of(&refused), "org.mirrorkeeper1.Error.Busy", "it answers");
    let refused = program.simulate("Advance", &86_401_u32).await.unwrap_err();
    assert_eq!(name_of(&refused), "org.mirrorkeeper1.Error.InvalidArgument");
}

#[tokio::test]
async fn a_daemon_that_dies_and_a_client_that_reboots_are_gone_from_the_bus_and_come_back() {
    let mut program = Program::start(&["--scenario", "none", "--speed", "20"]).await;
    let connection = program.connection().clone();
    let bus = DBusProxy::new(&connection).await.unwrap();
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, NAME)]).await.unwrap();
    for method in ["KillDaemon", "RebootClient"] {
        program.simulate(method, &()).await.unwrap();
        let gone = soon(owners.next()).await.unwrap();
        assert!(gone.args().unwrap().new_owner().is_none(), "{method}: the name goes");
        let back = soon(owners.next()).await.unwrap();
        assert!(back.args().unwrap().new_owner().is_some(), "{method}: the name comes back");
        program.until(|status| status.manager.mirrors == 3 && status.manager.state == "redundant").await;
    }
}
