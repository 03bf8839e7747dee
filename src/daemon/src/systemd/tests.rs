//! The status line from tables, and the order of notifications.

use super::*;
use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::snapshot::{MirrorView, TargetView};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{Hold, TargetState, TimeoutReason, UnmanagedReason};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn mirror(name: &str, state: MirrorState, copies: (u32, u32), ratio: f64) -> MirrorView {
    MirrorView {
        name: name.into(),
        uuid: String::new(),
        kind: "raid1",
        log: "bitmap",
        size: 0,
        state,
        copies_in_sync: copies.0,
        copies_wanted: copies.1,
        action: None,
        ratio,
        rate: 0,
        remaining: None,
        legs: Vec::new(),
        mismatches: 0,
        last_check: Wall(0),
        degraded_since: Wall(0),
        hold: None,
        hold_details: Default::default(),
        unmanaged: None,
    }
}

fn target(state: TargetState) -> TargetView {
    TargetView {
        server: "".into(),
        detect_timeout: None,
        state,
        since: Wall(0),
        sid: None,
        disks: Vec::new(),
        startup: None,
        managed: true,
        replacement_timeout: None,
        configured_timeout: None,
        timeout_reason: TimeoutReason::Configured,
        stall_estimate: None,
        last_error: String::new(),
        next_attempt: None,
        attempts: 0,
    }
}

fn snapshot(mirrors: Vec<MirrorView>, up: u16, down: u16) -> Snapshot {
    let key = |port| TargetKey::new("iqn.x:a", "10.0.0.1", port, "default");
    let up_ones = (0..up).map(|n| (key(n), target(TargetState::LoggedIn)));
    let down_ones = (up..up + down).map(|n| (key(n), target(TargetState::Blocked)));
    Snapshot {
        targets: up_ones.chain(down_ones).collect(),
        mirrors: mirrors.into_iter().map(|m| (m.name.clone(), m.into())).collect(),
        ..Snapshot::default()
    }
}

#[test]
fn the_status_line_says_what_a_person_wants_to_know() {
    use MirrorState::*;
    let held = MirrorView { hold: Some(Hold::SplitBrain), ..mirror("vg0/b", Degraded, (1, 2), 1.0) };
    let foreign = MirrorView { unmanaged: Some(UnmanagedReason::ForeignVg), ..mirror("vg9/x", Failed, (0, 2), 1.0) };
    let good = |name| mirror(name, Redundant, (2, 2), 1.0);
    let paused = Snapshot { paused: Some("work".into()), ..snapshot(vec![good("vg0/a")], 2, 0) };
    let cases = [
        (Snapshot::default(), "no mirrors, 0 of 0 targets"),
        (snapshot(vec![good("vg0/testlv")], 2, 0), "vg0/testlv on 2 of 2 legs, 2 of 2 targets"),
        (paused, "vg0/a on 2 of 2 legs, 2 of 2 targets, healing paused"),
        (
            snapshot(vec![mirror("vg0/a", Resyncing, (1, 2), 0.439)], 2, 0),
            "vg0/a on 1 of 2 legs, resyncing 43 %, 2 of 2 targets",
        ),
        (snapshot(vec![held.clone()], 1, 1), "vg0/b on 1 of 2 legs, degraded, held: split-brain, 1 of 2 targets"),
        (
            snapshot(vec![good("vg0/a"), held, good("vg0/c")], 2, 0),
            "2 of 3 mirrors redundant; vg0/b on 1 of 2 legs, degraded, held: split-brain, 2 of 2 targets",
        ),
        (snapshot(vec![good("vg0/a"), good("vg0/b")], 2, 0), "2 of 2 mirrors redundant, 2 of 2 targets"),
        (snapshot(vec![foreign], 0, 0), "no mirrors, 0 of 0 targets"),
    ];
    for (snapshot, line) in cases {
        assert_eq!(status_line(&snapshot), line);
    }
}

fn recorded(watchdog: bool) -> (Notifier, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&said);
    let send = move |message: &str| {
        into.lock().unwrap().push(message.trim_end().replace('\n', " "));
        true
    };
    (Notifier::with(Box::new(send), watchdog), said)
}

fn take(said: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut said.lock().unwrap())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn ready_waits_for_the_first_observation_and_for_the_bus() {
    let (mut notifier, said) = recorded(false);
    let empty = Snapshot::default();
    notifier.turned(&empty, true, SECOND);
    assert!(take(&said).is_empty(), "nothing was observed yet");
    notifier.observed();
    notifier.turned(&empty, false, SECOND);
    assert!(take(&said).is_empty(), "the bus may still come");
    notifier.turned(&empty, true, SECOND);
    assert_eq!(take(&said), ["READY=1", "STATUS=no mirrors, 0 of 0 targets"]);
    notifier.turned(&empty, true, SECOND * 2);
    assert!(take(&said).is_empty(), "nothing is new");
    notifier.turned(&empty, false, SECOND * 3);
    assert_eq!(take(&said), ["STATUS=no mirrors, 0 of 0 targets (no bus)"]);
}

#[test]
fn ready_comes_without_a_bus_after_its_grace_and_says_so() {
    let (mut notifier, said) = recorded(false);
    notifier.observed();
    notifier.turned(&Snapshot::default(), false, BUS_GRACE);
    assert_eq!(take(&said), ["READY=1", "STATUS=no mirrors, 0 of 0 targets (no bus)"]);
}

#[test]
fn a_note_stands_behind_every_status_line() {
    let (mut notifier, said) = recorded(false);
    notifier.set_note("configuration refused");
    notifier.observed();
    notifier.turned(&Snapshot::default(), true, SECOND);
    notifier.turned(&Snapshot::default(), false, SECOND);
    notifier.set_note("");
    notifier.turned(&Snapshot::default(), true, SECOND);
    let line = "STATUS=no mirrors, 0 of 0 targets";
    let refused = "(configuration refused)";
    let lines = [format!("{line} {refused}"), format!("{line} (no bus) {refused}"), line.to_owned()];
    assert_eq!(take(&said), [&["READY=1".to_owned()][..], &lines].concat());
}

#[test]
fn the_watchdog_is_fed_by_turns_but_not_by_each() {
    let (mut notifier, said) = recorded(true);
    let mut turned = |millis| notifier.turned(&Snapshot::default(), true, Duration::from_millis(millis));
    (0..2500).step_by(10).for_each(&mut turned);
    assert_eq!(take(&said), ["WATCHDOG=1"; 3]);
}

#[test]
fn a_reload_names_its_moment_makes_nothing_ready_and_a_stop_is_announced() {
    let (mut notifier, said) = recorded(false);
    notifier.reloading();
    notifier.reloaded();
    assert_eq!(take(&said), Vec::<String>::new(), "not ready yet");
    notifier.observed();
    notifier.turned(&Snapshot::default(), true, SECOND);
    take(&said);
    notifier.reloading();
    let lines = take(&said);
    assert!(lines.len() == 1 && lines[0].starts_with("RELOADING=1 MONOTONIC_USEC="), "{lines:?}");
    notifier.reloaded();
    assert_eq!(take(&said), ["READY=1"]);
    notifier.stopping();
    assert_eq!(take(&said), ["STOPPING=1"]);
}

#[test]
fn what_is_not_taken_is_said_later_in_order_and_only_the_newest_status() {
    let (said, full) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let (into, refuses) = (Arc::clone(&said), Arc::clone(&full));
    let send = move |message: &str| {
        let taken = !refuses.load(Ordering::Relaxed);
        into.lock().unwrap().extend(taken.then(|| message.trim_end().to_owned()));
        taken
    };
    let mut notifier = Notifier::with(Box::new(send), true);
    notifier.observed();
    notifier.turned(&Snapshot::default(), true, Duration::ZERO);
    notifier.turned(&Snapshot::default(), false, Duration::ZERO);
    assert!(notifier.is_ready() && notifier.owes());
    assert_eq!(take(&said), Vec::<String>::new());
    full.store(false, Ordering::Relaxed);
    notifier.turned(&Snapshot::default(), false, SECOND * 2);
    assert_eq!(take(&said), ["WATCHDOG=1", "READY=1", "STATUS=no mirrors, 0 of 0 targets (no bus)", "WATCHDOG=1"]);
    assert!(!notifier.owes());
}

#[test]
fn a_service_manager_that_does_not_read_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let taken = (0..).take_while(|_| send(&socket, "WATCHDOG=1\n")).count();
    assert!(taken > 0);
    let mut read = [0; 64];
    assert_eq!(manager.recv(&mut read).unwrap(), "WATCHDOG=1\n".len());
    assert!(send(&socket, "WATCHDOG=1\n"), "there is room again");
    drop(manager);
    assert!(send(&socket, "WATCHDOG=1\n"), "nobody will ever read it: not kept");
}
