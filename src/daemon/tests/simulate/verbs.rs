//! The contract's own methods, against the engine.

use crate::program::*;
use mirrorkeeper_client::Error;
use std::os::unix::fs::MetadataExt;

#[tokio::test]
async fn healing_is_planned_paused_resumed_and_pressed_on() {
    let mut program = Program::without_story().await;
    let (manager, mirror) = (program.client.manager().await.unwrap(), program.client.mirror(path(R1)).await.unwrap());
    assert_eq!(mirror.plan_heal().await.unwrap().len(), 0);
    manager.pause("the cable is in my hand").await.unwrap();
    program.simulate("Cut", &"b").await.unwrap();
    program.advance(60).await;
    program.simulate("Return", &"b").await.unwrap();
    program.advance(300).await;
    let status = program.until(|status| status.mirrors[R1].hold == "paused").await;
    assert_eq!((status.manager.paused, status.manager.pause_reason.as_str()), (true, "the cable is in my hand"));
    assert_eq!(refused(mirror.heal().await), "Paused");

    manager.resume().await.unwrap();
    assert!(!mirror.plan_heal().await.unwrap().is_empty());
    let job = mirror.heal().await.unwrap();
    assert!(job.as_str().starts_with("/org/mirrorkeeper1/job/"), "{job}");
    program.advance(120).await;
    program.until(|status| status.mirrors[R1].state == "redundant").await;
    let done = program.client.read_job(&job).await.unwrap();
    assert_eq!((done.operation.as_str(), done.state.as_str(), done.object.as_str()), ("heal", "succeeded", R1));
    assert!(!done.steps.is_empty());
    assert_eq!(done.started_by_uid, uid());
}

/// Who we are: the owner of our own process.
fn uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

/// The code of a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused { code, .. }) => code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_is_taken_out_and_put_back() {
    let mut program = Program::without_story().await;
    let manager = program.client.manager().await.unwrap();
    let server = program.client.server(path(A)).await.unwrap();
    assert_eq!(manager.safe_to_take_down("a").await.unwrap(), (true, Vec::new()));
    let job = server.enter_maintenance().await.unwrap();
    program.advance(60).await;
    let status = program.until(|status| status.servers[A].state == "maintenance").await;
    assert!(status.servers[A].maintenance);
    assert_eq!((status.mirrors[R1].state.as_str(), status.mirrors[R1].hold.as_str()), ("degraded", "maintenance"));
    assert_eq!(program.client.read_job(&job).await.unwrap().state, "succeeded");

    let (safe, why) = manager.safe_to_take_down("b").await.unwrap();
    assert!(!safe && why.iter().any(|(mirror, _)| mirror == "vg0/r1"), "{why:?}");
    let other = program.client.server(path(B)).await.unwrap().enter_maintenance().await;
    assert_eq!(refused(other), "WouldLoseRedundancy");

    server.leave_maintenance().await.unwrap();
    program.advance(600).await;
    program.until(|status| status.manager.state == "redundant").await;
    program.until_told("maintenance-left", A).await;
}

#[tokio::test]
async fn daily_verbs_are_taken() {
    let mut program = Program::without_story().await;
    let manager = program.client.manager().await.unwrap();
    manager.rescan().await.unwrap();
    manager.reload().await.unwrap();
    manager.diagnose().await.unwrap();
    let target = manager.get_target("iqn.2024.x:b").await.unwrap();
    program.client.target(path(&target)).await.unwrap().set_replacement_timeout(300).await.unwrap();
    program.advance(10).await;
    program.until(|status| status.targets[target.as_str()].replacement_timeout_sec == 300).await;

    let check = program.client.mirror(path(R1)).await.unwrap().check().await.unwrap();
    program.advance(120).await;
    program.until_told("check-finished", R1).await;
    assert_eq!(program.client.read_job(&check).await.unwrap().state, "succeeded");
    assert!(program.mirror(R1).await.last_check_at_usec > 0);
}
