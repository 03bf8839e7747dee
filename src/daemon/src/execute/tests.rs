//! Against real children and sockets of this machine; nothing here needs storage.

use super::*;
use mirrorkeeper_core::ids::{LvmUuid, TargetKey};
use mirrorkeeper_core::observation::{Backlog, Registration};
use mirrorkeeper_core::op::{LvRef, VgRef};
use tokio::net::{TcpListener, TcpSocket};

fn executor() -> (Executor, mpsc::Receiver<Input>) {
    let (results, inputs) = mpsc::channel(8);
    let nowhere = std::env::temp_dir().join("mirrorkeeper-no-such-root");
    (Executor::new(Roots::under(&nowhere), results), inputs)
}

fn target(portal: &str, iface: &str) -> TargetKey {
    let (addr, port) = portal.rsplit_once(':').unwrap();
    TargetKey::new("iqn.x:a", addr, port.parse().unwrap(), iface)
}

/// A port that is taken and not listened on: a free one might be somebody's before it is tried.
fn dead_portal() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let portal = socket.local_addr().unwrap().to_string();
    (socket, portal)
}

#[tokio::test]
async fn a_portal_that_refuses_is_no_answer_and_one_that_listens_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let portal = listener.local_addr().unwrap().to_string();
    assert_eq!(portal_answers(&target(&portal, "default")).await, Ok(()));
    let (_taken, portal) = dead_portal();
    let why = portal_answers(&target(&portal, "default")).await.unwrap_err();
    assert!(why.starts_with(&format!("connect to {portal}: ")), "{why}");
    assert_eq!(portal_answers(&target(&portal, "eth7")).await, Ok(()));
}

#[tokio::test]
async fn a_login_to_a_dead_portal_runs_no_command() {
    let (_taken, portal) = dead_portal();
    let (executor, mut inputs) = executor();
    executor.start(OpId(1), Op::Login { target: target(&portal, "default") });
    let Some(Input::OpEnded(OpId(1), OpResult::NoAnswer(why))) = inputs.recv().await else {
        panic!("no answer wanted")
    };
    assert!(why.contains(&portal), "{why}");
}

#[tokio::test]
async fn a_knock_tells_whether_somebody_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_taken, dead) = dead_portal();
    let (executor, mut inputs) = executor();
    for (portal, there) in [(listener.local_addr().unwrap().to_string(), true), (dead, false)] {
        executor.start(OpId(3), Op::Knock { target: target(&portal, "default"), again: false });
        let Some(Input::OpEnded(OpId(3), said)) = inputs.recv().await else { panic!("an end wanted") };
        assert!(matches!(said, OpResult::Answered(_)) == there, "{said:?}");
        assert!(matches!(said, OpResult::NoAnswer(_)) != there, "{said:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_gone_is_not_cleared() {
    let (executor, mut inputs) = executor();
    executor.start(OpId(4), Op::ClearConnection { sid: 9, target: target("10.0.0.1:3260", "default") });
    let Some(Input::OpEnded(OpId(4), OpResult::Failed(why))) = inputs.recv().await else { panic!("a failure wanted") };
    assert!(why.contains("connection9:0/state"), "{why}");
}

#[tokio::test]
async fn a_sysfs_write_to_a_session_that_is_gone_says_so() {
    let (executor, mut inputs) = executor();
    let op = Op::SetRecoveryTmo { sid: 9, target: target("10.0.0.1:3260", "default"), seconds: Some(600) };
    executor.start(OpId(2), op);
    let Some(Input::OpEnded(OpId(2), OpResult::Failed(why))) = inputs.recv().await else { panic!("a failure wanted") };
    assert!(why.contains("session9/recovery_tmo"), "{why}");
}

#[tokio::test]
async fn a_session_without_a_socket_has_nothing_to_set() {
    let (executor, mut inputs) = executor();
    executor.start(OpId(6), Op::SetDetect { sid: 9, target: target("10.0.0.1:3260", "default"), millis: 3000 });
    assert_eq!(inputs.recv().await, Some(Input::OpEnded(OpId(6), OpResult::Detect(Detect::NoSocket))));
}

#[tokio::test]
async fn a_session_without_a_socket_has_nothing_to_look_at_or_to_destroy() {
    let (executor, mut inputs) = executor();
    let target = || target("10.0.0.1:3260", "default");
    let seen = Backlog { local_port: 40_000, unacked: 1, acked: 1 };
    for op in [Op::SampleSocket { sid: 9, target: target() }, Op::DestroySocket { sid: 9, target: target(), seen }] {
        executor.start(OpId(7), op);
        assert_eq!(inputs.recv().await, Some(Input::OpEnded(OpId(7), OpResult::Sampled(None))));
    }
}

#[tokio::test]
async fn a_session_that_is_logged_in_again_is_not_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("sys/class/iscsi_session/session9");
    std::fs::create_dir_all(&session).unwrap();
    std::fs::write(session.join("state"), "LOGGED_IN\n").unwrap();
    let (results, mut inputs) = mpsc::channel(4);
    let executor = Executor::new(Roots::under(dir.path()), results);
    executor.start(OpId(8), Op::Fence { sid: 9, target: target("10.0.0.1:3260", "default") });
    let Some(Input::OpEnded(OpId(8), OpResult::Failed(why))) = inputs.recv().await else { panic!("a refusal wanted") };
    assert!(why.contains("logged in again"), "{why}");
}

/// A machine where session 1 has a socket, and nobody who could hold it.
#[test]
fn what_may_come_is_told_from_what_never_will() {
    let dir = tempfile::tempdir().unwrap();
    let connection = dir.path().join("sys/class/iscsi_connection/connection1:0");
    std::fs::create_dir_all(&connection).unwrap();
    std::fs::create_dir_all(dir.path().join("proc")).unwrap();
    for (file, value) in [("address", "10.0.0.1"), ("port", "3260"), ("local_port", "40000")] {
        std::fs::write(connection.join(file), value).unwrap();
    }
    assert_eq!(detect(&Roots::under(dir.path()), 1, 3000), Detect::NoSocket);
    let endpoint = tcp::Endpoint { peer: "10.0.0.1".parse().unwrap(), peer_port: 3260, local_port: 40_000 };
    assert_eq!(missed(&Miss::NoSocket { pid: 7, endpoint }), Detect::NoSocket);
    let error = || sysfs::set_offline(&Roots::under(dir.path()), "a/b").unwrap_err();
    for miss in [Miss::NotPermitted(error()), Miss::Unsupported(error()), Miss::Failed(error())] {
        assert_eq!(missed(&miss), Detect::Unavailable(error().to_string()));
    }
}

fn uuid() -> LvmUuid {
    LvmUuid::parse("pDpQc6-octx-75S3-6nXa-Ix8T-bW8b-67gg1n").unwrap()
}

fn vg() -> VgRef {
    VgRef { uuid: uuid(), name: "vg0".into() }
}

fn ended(code: i32, stdout: &[u8]) -> Ended {
    Ended { code, stdout: stdout.into(), truncated: false, stderr: b"mirrorkeeperd: probe: why\n".into() }
}

#[test]
fn only_what_is_put_on_record_or_looked_at_is_begun_while_the_system_stops() {
    let (disk, key, seconds) = (|| "sda", 1, 5);
    let lv = LvRef { uuid: uuid(), name: "r1".into() };
    let begun = [
        Op::Stamp { vg: vg(), add: 2, drop: vec![1] },
        Op::Flush { vg: uuid(), devices: vec![disk().into()] },
        Op::Probe { vg: uuid(), targets: Vec::new() },
        Op::SetOffline { disk: disk().into() },
        Op::SetRecoveryTmo { sid: 1, target: target("10.0.0.1:3260", "default"), seconds: Some(seconds) },
        Op::SetDetect { sid: 1, target: target("10.0.0.1:3260", "default"), millis: 3000 },
        Op::ReadDirect { target: target("10.0.0.1:3260", "default"), disk: disk().into() },
        Op::Rescan { disk: disk().into() },
        Op::Announce { disk: disk().into() },
        Op::Fence { sid: 1, target: target("10.0.0.1:3260", "default") },
    ];
    let not_begun = [
        Op::Unstamp { vg: vg(), drop: vec![1] },
        Op::RestoreMissing { vg: vg(), pv: uuid() },
        Op::Activate { vg: vg(), lv: lv.clone(), on: vec![uuid()] },
        Op::SetAutoactivation { vg: vg(), lvs: vec![lv.clone()], on: true },
        Op::Resume { vg: vg(), lv },
        Op::Register { pv: uuid(), disk: disk().into(), key },
        Op::Unregister { pv: uuid(), disk: disk().into(), key },
        Op::SetRunning { disk: disk().into() },
        Op::Login { target: target("10.0.0.1:3260", "default") },
        Op::StartIscsid,
    ];
    begun.iter().for_each(|op| assert!(!begins_something(op), "{op:?}"));
    not_begun.iter().for_each(|op| assert!(begins_something(op), "{op:?}"));
}

#[test]
fn every_operation_has_a_command_or_is_done_right_here() {
    let disk = || "sda".into();
    let of = |op: &Op| verb(op).map(|verb| verb.argv()).or_else(|| op.argv()).unwrap().join(" ");
    let probe = "/proc/self/exe --probe";
    let flush = Op::Flush { vg: uuid(), devices: vec![disk(), "sdb".into()] };
    assert_eq!(of(&flush), format!("{probe} flush sda sdb"));
    let register = Op::Register { pv: uuid(), disk: disk(), key: 0x2a };
    assert_eq!(of(&register), format!("{probe} register sda 000000000000002a"));
    let unregister = Op::Unregister { pv: uuid(), disk: disk(), key: 0x2a };
    assert_eq!(of(&unregister), format!("{probe} unregister sda 000000000000002a"));
    assert_eq!(of(&Op::SetRunning { disk: disk() }), format!("{probe} running sda"));
    assert_eq!(of(&Op::Rescan { disk: disk() }), format!("{probe} rescan sda"));
    let target = || target("10.0.0.1:3260", "default");
    assert_eq!(of(&Op::ReadDirect { target: target(), disk: disk() }), format!("{probe} read-direct sda 0"));
    assert_eq!(of(&Op::Fence { sid: 3, target: target() }), "iscsiadm -m session -r 3 --logout");
    assert!(of(&Op::Stamp { vg: vg(), add: 2, drop: vec![1] }).starts_with("lvm vgchange "));
}

#[test]
fn the_end_of_our_own_children_says_more_than_an_exit_code() {
    let register = Op::Register { pv: uuid(), disk: "sda".into(), key: 1 };
    let json = br#"{"keys":{"generation":1,"keys":[1],"reserved":false,"persists":false}}"#;
    let keys = Registration::Keys { generation: 1, keys: vec![1], reserved: false, persists: false };
    assert_eq!(result(&register, &ended(0, json)), OpResult::Registered(keys));
    assert!(matches!(result(&register, &ended(0, b"{")), OpResult::Failed(_)));
    let exit = |code| OpResult::Exit { code, last_line: "mirrorkeeperd: probe: why".into() };
    assert_eq!(result(&register, &ended(1, json)), exit(1));
    let running = Op::SetRunning { disk: "sda".into() };
    assert_eq!((result(&running, &ended(0, b"")), result(&running, &ended(1, b""))), (OpResult::Wrote, exit(1)));
    let read = Op::ReadDirect { target: target("10.0.0.1:3260", "default"), disk: "sda".into() };
    assert_eq!(result(&read, &ended(0, br#"{"answered":{"micros":812}}"#)), OpResult::Answered(812));
    let eio = br#"{"failed":{"errno":5,"why":"direct read at 0 of sda: Input/output error"}}"#;
    let why = "direct read at 0 of sda: Input/output error".to_owned();
    assert_eq!((result(&read, &ended(0, eio)), result(&read, &ended(1, eio))), (OpResult::Failed(why), exit(1)));
    let probe = Op::Probe { vg: uuid(), targets: Vec::new() };
    assert_eq!(result(&probe, &ended(0, b"{}")), OpResult::Probed(Default::default()));
    assert_eq!(result(&Op::Flush { vg: uuid(), devices: Vec::new() }, &ended(0, b"")), exit(0));
}

/// What is run does not come from the operation here, so that a test needs no LVM; what is done with it does.
#[tokio::test(start_paused = true)]
async fn a_writer_past_its_deadline_reports_twice_and_a_reader_once() {
    let (vg, lv) = (vg(), LvRef { uuid: uuid(), name: "r1".into() });
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
