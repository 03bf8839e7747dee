//! Against real children and sockets of this machine; nothing here needs storage.

use super::*;
use mirrorkeeper_core::ids::{LvmUuid, TargetKey};
use tokio::net::TcpListener;

fn executor() -> (Executor, mpsc::Receiver<Input>) {
    let (results, inputs) = mpsc::channel(8);
    let nowhere = std::env::temp_dir().join("mirrorkeeper-no-such-root");
    (Executor::new(Roots::under(&nowhere), results), inputs)
}

fn target(portal: &str, iface: &str) -> TargetKey {
    TargetKey { iqn: "iqn.x:a".into(), portal: portal.into(), iface: iface.into() }
}

#[tokio::test]
async fn a_portal_that_refuses_is_no_answer_and_one_that_listens_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let portal = listener.local_addr().unwrap().to_string();
    assert_eq!(portal_answers(&target(&portal, "default")).await, Ok(()));
    drop(listener);
    let why = portal_answers(&target(&portal, "default")).await.unwrap_err();
    assert!(why.starts_with(&format!("connect to {portal}: ")), "{why}");
    assert_eq!(portal_answers(&target(&portal, "eth7")).await, Ok(()));
}

#[tokio::test]
async fn a_login_to_a_dead_portal_runs_no_command() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let portal = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (executor, mut inputs) = executor();
    executor.start(OpId(1), Op::Login { target: target(&portal, "default") });
    let Some(Input::OpEnded(OpId(1), OpResult::NoAnswer(why))) = inputs.recv().await else {
        panic!("no answer wanted")
    };
    assert!(why.contains(&portal), "{why}");
}

#[tokio::test]
async fn a_sysfs_write_to_a_session_that_is_gone_says_so() {
    let (executor, mut inputs) = executor();
    let op = Op::SetRecoveryTmo { sid: 9, target: target("10.0.0.1:3260", "default"), seconds: Some(600) };
    executor.start(OpId(2), op);
    let Some(Input::OpEnded(OpId(2), OpResult::Failed(why))) = inputs.recv().await else { panic!("a failure wanted") };
    assert!(why.contains("session9/recovery_tmo"), "{why}");
}

/// What is run does not come from the operation here, so that a test needs no LVM; what is done with it does.
#[tokio::test(start_paused = true)]
async fn a_writer_past_its_deadline_reports_twice_and_a_reader_once() {
    let vg = mirrorkeeper_core::op::VgRef {
        uuid: LvmUuid::parse("pDpQc6-octx-75S3-6nXa-Ix8T-bW8b-67gg1n").unwrap(),
        name: "vg0".into(),
    };
    let lv = mirrorkeeper_core::op::LvRef { uuid: vg.uuid.clone(), name: "r1".into() };
    let argv = ["sleep", "1000"].map(String::from).to_vec();
    let (executor, mut inputs) = executor();
    executor.run(OpId(3), &Op::Resume { vg, lv }, argv.clone(), None).await;
    assert_eq!(inputs.recv().await, Some(Input::OpEnded(OpId(3), OpResult::TimedOut)));
    let end = OpResult::Exit { code: 128 + 15, last_line: String::new() };
    assert_eq!(inputs.recv().await, Some(Input::OpEnded(OpId(3), end)));
    executor.run(OpId(4), &Op::Rescan { disk: "sda".into() }, argv, None).await;
    assert_eq!(inputs.recv().await, Some(Input::OpEnded(OpId(4), OpResult::TimedOut)));
    assert!(inputs.try_recv().is_err());
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_a_failure_with_its_name() {
    let (executor, mut inputs) = executor();
    let argv = vec!["mirrorkeeper-no-such-tool".to_owned()];
    executor.run(OpId(5), &Op::StartIscsid, argv, None).await;
    let Some(Input::OpEnded(OpId(5), OpResult::Failed(why))) = inputs.recv().await else { panic!("a failure wanted") };
    assert!(why.contains("mirrorkeeper-no-such-tool"), "{why}");
}
