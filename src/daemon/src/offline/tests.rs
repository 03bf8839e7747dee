//! Which commands are run for which ledger, and what is said when they fail.

use super::*;
use mirrorkeeper_core::ids::{PvUuid, TargetKey};
use mirrorkeeper_core::observation::SessionState;
use mirrorkeeper_sys::Roots;
use std::collections::VecDeque;

/// A VG with a mirror, as LVM 2.03.16 reports it.
const REPORT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/healthy/fullreport.json"));

/// Says what it was asked to run, and what it was told to answer.
struct Script {
    ran: Vec<String>,
    answers: VecDeque<Result<&'static str, &'static str>>,
    sessions: Vec<SessionObs>,
    wrote: Vec<(u32, u32)>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Result<&'static str, &'static str>>) -> Self {
        Self { ran: Vec::new(), answers: answers.into_iter().collect(), sessions: Vec::new(), wrote: Vec::new() }
    }
}

impl Tools for Script {
    async fn run(&mut self, argv: Vec<String>, late: OnDeadline) -> Result<Ended, String> {
        let writes = argv[1] != "fullreport" && argv != mirrorkeeper_sys::iscsiadm::nodes_argv();
        assert_eq!(late == OnDeadline::TermAndWait, writes, "{argv:?}: only a reader may be killed");
        self.ran.push(argv.join(" "));
        let stdout = self.answers.pop_front().unwrap_or(Ok(""))?;
        Ok(Ended { code: 0, stdout: stdout.into(), truncated: false, stderr: Vec::new() })
    }

    fn disk(&self, device: &str) -> Option<String> {
        device.strip_prefix("/dev/").filter(|name| !name.starts_with("mapper")).map(str::to_owned)
    }

    fn sessions(&self) -> Vec<SessionObs> {
        self.sessions.clone()
    }

    fn set_recovery_tmo(&mut self, sid: u32, seconds: u32) -> Result<(), String> {
        self.wrote.push((sid, seconds));
        if sid == 9 { Err("EINVAL".to_owned()) } else { Ok(()) }
    }

    fn machine_id(&self) -> String {
        "0123".to_owned()
    }
}

fn state(ledger: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    if let Some(text) = ledger {
        std::fs::write(dir.path().join("ledger.json"), text).unwrap();
    }
    dir
}

/// Of another version, with more in it than is known here.
const GATED: &str = r#"{"version":99,"new":{},"vgs":{},"mirrors":{
    "a":{"name":"vg0/r1","gated":true,"more":1},"b":{"name":"vg0/free"},"c":{"name":"vg1/lv","gated":true}}}"#;

async fn run_with(task: Task, ledger: Option<&str>, script: &mut Script) -> Report {
    run(task, state(ledger).path(), script).await
}

#[tokio::test]
async fn gated_mirrors_are_named_and_nothing_is_run() {
    let mut script = Script::new([]);
    let report = run_with(Task::Gated, Some(GATED), &mut script).await;
    assert_eq!(report, Report { lines: vec!["vg0/r1".into(), "vg1/lv".into()], failed: false });
    assert_eq!(run_with(Task::Gated, None, &mut script).await, Report::default());
    assert!(run_with(Task::Gated, Some("{"), &mut script).await.failed);
    assert!(script.ran.is_empty());
}

#[tokio::test]
async fn the_fallback_activates_what_is_gated_complete_or_not_at_all() {
    let mut script = Script::new([]);
    assert!(!run_with(Task::Fallback, Some(GATED), &mut script).await.failed);
    assert_eq!(script.ran, ["lvm lvchange -ay --activationmode complete vg0/r1 vg1/lv"]);
}

#[tokio::test]
async fn the_fallback_activates_everything_when_it_cannot_tell_what() {
    for ledger in ["", "{", "{}", "[]", r#"{"vgs":{},"mirrors":{"a":{}}}"#] {
        let mut script = Script::new([]);
        let report = run_with(Task::Fallback, Some(ledger), &mut script).await;
        assert_eq!(script.ran, ["lvm vgchange -ay --activationmode complete"], "{ledger:?}");
        assert!(!report.failed && report.lines[0].contains("ledger.json"), "{report:?}");
    }
}

#[tokio::test]
async fn the_fallback_leaves_alone_what_was_never_gated() {
    for ledger in [None, Some(r#"{"vgs":{},"mirrors":{"b":{"name":"vg0/free"}}}"#)] {
        let mut script = Script::new([]);
        assert!(!run_with(Task::Fallback, ledger, &mut script).await.failed);
        assert!(script.ran.is_empty(), "{ledger:?}: {:?}", script.ran);
    }
}

#[tokio::test]
async fn nothing_is_done_beside_a_daemon() {
    let dir = state(Some(GATED));
    let Ok(Locked::Ours(_daemon)) = ledgerfile::lock(dir.path()) else { panic!("the directory is fresh") };
    for (task, failed) in [(Task::Fallback, false), (Task::Ungate, true), (Task::Purge, true)] {
        let mut script = Script::new([]);
        let report = run(task, dir.path(), &mut script).await;
        assert!(script.ran.is_empty() && report.failed == failed, "{task:?}: {report:?}");
    }
}

#[tokio::test]
async fn ungating_puts_autoactivation_back_and_says_when_it_cannot() {
    let mut script = Script::new([Err("exit 5: Volume group \"vg1\" not found")]);
    let report = run_with(Task::Ungate, Some(GATED), &mut script).await;
    assert_eq!(script.ran, ["lvm lvchange --setautoactivation y vg0/r1 vg1/lv"]);
    assert!(report.failed && report.lines[0].contains("not found"), "{report:?}");
    assert!(run_with(Task::Ungate, Some("{"), &mut Script::new([])).await.failed);
}

#[tokio::test]
async fn purging_takes_away_our_tags_and_keys_and_only_ours() {
    let view = lvm::report::parse(REPORT).unwrap();
    let vg = &view.vgs[0];
    let tagged =
        REPORT.replacen("\"vg_tags\":\"\"", "\"vg_tags\":\"mine,mirrorkeeper.epoch.7,mirrorkeeper.epoch.8\"", 1);
    assert_ne!(tagged, REPORT, "the fixture has the column");
    let mut script = Script::new([Ok(&*tagged.leak())]);
    let report = run_with(Task::Purge, None, &mut script).await;
    assert!(!report.failed, "{report:?}");

    let untag = Op::Unstamp { vg: VgRef { uuid: vg.uuid.clone(), name: vg.name.clone() }, drop: vec![7, 8] };
    assert_eq!(script.ran[1], untag.argv().unwrap().join(" "));
    assert!(!script.ran[1].contains("mine"), "{:?}", script.ran);
    let keys: Vec<_> = script.ran[2..].iter().map(|line| line.split(' ').skip(2).collect::<Vec<_>>()).collect();
    let expected: Vec<_> = vg.pvs.iter().filter_map(|pv| Some((pv.device.clone()?, pv.uuid.clone()))).collect();
    assert_eq!(keys.len(), expected.len());
    for (words, (device, pv)) in keys.iter().zip(&expected) {
        let key = format!("{:016x}", continuity::key("0123", &PvUuid::parse(pv.as_str()).unwrap()));
        assert_eq!(words[..], ["unregister", device.trim_start_matches("/dev/"), &key]);
    }
}

#[tokio::test]
async fn purging_touches_no_vg_that_was_never_ours_and_none_twice() {
    let mut script = Script::new([Ok(REPORT)]);
    let report = run_with(Task::Purge, None, &mut script).await;
    assert!(!report.failed && script.ran.len() == 1, "{:?}", script.ran);
}

#[tokio::test]
async fn a_vg_without_tags_is_cleaned_when_the_ledger_knows_it() {
    let view = lvm::report::parse(REPORT).unwrap();
    let ledger = format!(r#"{{"vgs":{{"{}":{{"stamp":3}}}},"mirrors":{{}}}}"#, view.vgs[0].uuid);
    let mut script = Script::new([Ok(REPORT)]);
    run_with(Task::Purge, Some(&ledger), &mut script).await;
    assert!(
        script.ran.len() > 1 && script.ran[1..].iter().all(|line| line.contains(" unregister ")),
        "{:?}",
        script.ran
    );
}

#[tokio::test]
async fn a_report_that_does_not_come_is_told() {
    let report = run_with(Task::Purge, Some(GATED), &mut Script::new([Ok(""), Err("not done after 40 s")])).await;
    assert!(report.failed && report.lines[1].contains("not done after 40 s"), "{report:?}");
}

fn session(sid: u32, target: &TargetKey, state: SessionState, seconds: u32) -> SessionObs {
    SessionObs {
        sid,
        target: target.clone(),
        state,
        local_port: None,
        recovery_tmo: Some(seconds),
        noop: None,
        disks: Vec::new(),
    }
}

/// The two node records as open-iscsi prints them.
const NODES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/healthy/iscsiadm-node.txt"));

#[tokio::test]
async fn purging_puts_the_timeouts_back_that_were_found() {
    let nodes = mirrorkeeper_sys::iscsiadm::parse_nodes(NODES).nodes;
    let [a, b] = &nodes[..] else { panic!("{nodes:?}") };
    let ledger = format!(
        r#"{{"vgs":{{}},"mirrors":{{}},"targets":{{
            "{}":{{"raised_from":15,"node_from":15,"carries_leg":true}},
            "{}":{{"raised_from":30,"override_seconds":7,"override_from":40}},
            "iqn.x:gone,10.0.0.9:3260":{{"raised_from":5}}}}}}"#,
        a.target, b.target
    );
    let other = TargetKey::new("iqn.x:other", "10.0.0.8", 3260, "default");
    let up = SessionState::LoggedIn;
    let mut script = Script::new([Ok(NODES), Ok(""), Ok(""), Ok(r#"{"report":[]}"#)]);
    script.sessions = vec![
        session(1, &a.target, up.clone(), 120),
        session(2, &b.target, up.clone(), 30),
        session(3, &other, up, 600),
    ];
    let report = run_with(Task::Purge, Some(&ledger), &mut script).await;
    assert!(!report.failed, "{report:?}");
    assert_eq!(script.wrote, [(1, 15)], "the second has it already, the third was never ours");
    let update = |target: &TargetKey, seconds| Op::UpdateNode { target: target.clone(), seconds };
    let lines = [update(&a.target, 15), update(&b.target, 40)].map(|op| op.argv().unwrap().join(" "));
    assert_eq!(script.ran[1..3], lines);
}

#[tokio::test]
async fn a_timeout_that_stays_is_told_and_keeps_nothing_else_from_being_done() {
    let (down, odd) = (TargetKey::new("x", "1", 1, "default"), TargetKey::new("y", "1", 1, "default"));
    let ledger = format!(
        r#"{{"vgs":{{}},"mirrors":{{}},"targets":{{"{down}":{{"raised_from":15}},"{odd}":{{"raised_from":15,"node_from":9}}}}}}"#
    );
    let mut script = Script::new([Err("exit 6: iscsiadm: db locked"), Ok(r#"{"report":[]}"#)]);
    script.sessions = vec![session(1, &down, SessionState::Failed, 600), session(9, &odd, SessionState::LoggedIn, 600)];
    let report = run_with(Task::Purge, Some(&ledger), &mut script).await;
    assert!(report.failed && script.ran.len() == 2, "{report:?}");
    for told in ["x,1:1, session 1: 15 s: the session is down", "session 9: 15 s: EINVAL", "db locked"] {
        assert!(report.lines.iter().any(|line| line.contains(told)), "{told}: {report:?}");
    }
}

#[test]
fn the_disk_below_a_partition_is_found_without_opening_it() {
    let dir = tempfile::tempdir().unwrap();
    let roots = Roots::under(dir.path());
    let scsi = dir.path().join("sys/devices/host2/block");
    for made in ["sda/sda1/partition", "sda/device/scsi_device", "../../virtual/block/dm-1"] {
        std::fs::create_dir_all(scsi.join(made)).unwrap();
    }
    std::fs::create_dir_all(dir.path().join("sys/class/block")).unwrap();
    std::fs::create_dir_all(dir.path().join("dev/mapper")).unwrap();
    for (name, at) in [("sda", "host2/block/sda"), ("sda1", "host2/block/sda/sda1"), ("dm-1", "../virtual/block/dm-1")]
    {
        std::fs::write(dir.path().join("dev").join(name), "").unwrap();
        let at = dir.path().join("sys/devices").join(at);
        std::os::unix::fs::symlink(at, dir.path().join("sys/class/block").join(name)).unwrap();
    }
    std::os::unix::fs::symlink("../dm-1", dir.path().join("dev/mapper/mpath")).unwrap();
    let cases = [
        ("/dev/sda", Some("sda")),
        ("/dev/sda1", Some("sda")),
        ("/dev/mapper/mpath", None),
        ("/dev/sdz", None),
        ("sda", None),
    ];
    for (device, disk) in cases {
        assert_eq!(disk_below(&roots, device).as_deref(), disk, "{device}");
    }
}
