//! A private bus, a service on it, and a client that hears everything the service says.

use futures_util::StreamExt;
use mirrorkeeper_core::ids::{JobId, TargetKey};
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeper_core::snapshot::*;
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::*;
use mirrorkeeperd::bus::auth::{Action, Authority, Verdict};
use mirrorkeeperd::bus::error::CallError;
use mirrorkeeperd::history::History;
use mirrorkeeperd::link::{self, LoopEnd, Reload, Request};
use mirrorkeeperd::publish::{self, Bus, Status};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use zbus::message::{Header, Type};
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant};

/// Longest wait for anything that must happen. Far above what it takes, so that a busy machine fails nothing.
pub const SOON: Duration = Duration::from_secs(30);

/// A bus daemon of our own. Its address stays the same over a restart.
pub struct PrivateBus {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl PrivateBus {
    pub fn start() -> Self {
        let mut bus = Self { dir: tempfile::tempdir().unwrap(), daemon: None };
        bus.restart();
        bus
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    pub fn restart(&mut self) {
        self.stop();
        let (config, log) = (self.dir.path().join("bus.conf"), self.dir.path().join("log"));
        std::fs::write(&config, config_text(&self.dir.path().join("bus"))).unwrap();
        let mut daemon = std::process::Command::new("dbus-daemon")
            .args(["--nofork", "--print-address"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("dbus-daemon must be installed (package dbus or dbus-daemon)");
        let mut ready = String::new();
        BufReader::new(daemon.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("unix:"), "dbus-daemon: {}", std::fs::read_to_string(&log).unwrap());
        self.daemon = Some(daemon);
    }

    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
            let _ = std::fs::remove_file(self.dir.path().join("bus"));
        }
    }

    pub async fn client(&self) -> Connection {
        zbus::connection::Builder::address(self.address().as_str()).method_timeout(SOON).build().await.unwrap()
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A bus like the system bus as far as names and calls go, with room for a flood from one connection.
fn config_text(socket: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}</listen>
  <policy context="default">
    <allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/>
  </policy>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>"#,
        socket.display()
    )
}

/// Says who the caller is instead of asking the bus, and lets only root through.
pub struct CallerIs(pub u32);

impl Authority for CallerIs {
    fn allow<'a>(&'a self, _: &'a Connection, _: &'a Header<'a>, _: Action) -> Verdict<'a> {
        let denied = || CallError::access_denied(format!("uid {} is not root", self.0));
        Box::pin(async move { if self.0 == 0 { Ok(0) } else { Err(denied()) } })
    }
}

/// The published service with the loop's end of it in the test's hand.
pub struct Service {
    pub bus: PrivateBus,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub events: broadcast::Sender<Event>,
    pub requests: mpsc::Receiver<Request>,
    pub reloads: mpsc::Receiver<Reload>,
    pub owned: watch::Receiver<bool>,
    pub status: watch::Receiver<Status>,
    pub history: History,
    _state: tempfile::TempDir,
}

impl Service {
    /// Starts with `snapshot`, with root as every caller, and waits for the name.
    pub async fn start(snapshot: Snapshot) -> Self {
        Self::start_for(snapshot, Arc::new(CallerIs(0))).await
    }

    pub async fn start_for(snapshot: Snapshot, authority: Arc<dyn Authority>) -> Self {
        let bus = PrivateBus::start();
        let (LoopEnd { snapshots, events, requests, reloads, owned }, link) = link::pair();
        snapshots.send_replace(Arc::new(snapshot));
        let state = tempfile::tempdir().unwrap();
        let history = History::start(state.path().to_owned());
        let link = link.with_history(history.clone());
        let status = publish::spawn(Bus::Address(bus.address()), link, authority);
        let mut service = Self { bus, snapshots, events, requests, reloads, owned, status, history, _state: state };
        service.wait_for(|status| *status == Status::Owned).await;
        service
    }

    pub async fn wait_for(&mut self, wanted: impl FnMut(&Status) -> bool) {
        soon(self.status.wait_for(wanted)).await.unwrap();
    }

    pub fn show(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Lets an event through, behind everything shown before.
    pub fn mark(&self) {
        let mark = Event {
            at: Wall(1),
            code: EventCode::LvResumed,
            severity: Severity::Info,
            object: Object::Manager,
            details: Details::new(),
        };
        self.events.send(mark).unwrap();
    }

    /// Answers the next request.
    pub async fn answer(&mut self, answer: Result<Reply, Refusal>) -> Command {
        let request = soon(self.requests.recv()).await.unwrap();
        request.reply.send(answer).unwrap();
        request.command
    }
}

/// Everything the service says, in order.
pub struct Ear {
    stream: MessageStream,
}

impl Ear {
    pub async fn listen(connection: &Connection) -> Self {
        let rule = MatchRule::builder().msg_type(Type::Signal).path_namespace("/org/mirrorkeeper1").build().unwrap();
        let queue = std::num::NonZero::new(1024);
        Self { stream: MessageStream::for_match_rule(rule, connection, queue).await.unwrap() }
    }

    pub async fn next(&mut self) -> Message {
        soon(self.stream.next()).await.unwrap().unwrap()
    }

    /// All signals up to the mark, as `path member` with sorted names of changed properties.
    pub async fn until_mark(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let message = self.next().await;
            let line = line(&message);
            if line == "/ Event lv-resumed" {
                return heard;
            }
            heard.push(line);
        }
    }
}

/// One signal in short.
pub fn line(message: &Message) -> String {
    let header = message.header();
    let path = header.path().unwrap().as_str().trim_start_matches("/org/mirrorkeeper1");
    let member = header.member().unwrap().as_str().to_owned();
    let path = if path.is_empty() { "/" } else { path };
    match member.as_str() {
        "PropertiesChanged" => {
            let mut names: Vec<String> = changed(message).into_keys().collect();
            names.sort();
            format!("{path} {}", names.join(" "))
        }
        "Event" => {
            let (_, code, ..): (u64, String, String, zbus::OwnedObjectPath, HashMap<String, OwnedVariant>) =
                message.body().deserialize().unwrap();
            format!("{path} Event {code}")
        }
        _ => format!("{path} {member}"),
    }
}

/// Changed properties of a `PropertiesChanged`; it never only invalidates.
pub fn changed(message: &Message) -> HashMap<String, OwnedVariant> {
    let (interface, changed, invalidated): (String, HashMap<String, OwnedVariant>, Vec<String>) =
        message.body().deserialize().unwrap();
    assert!(interface.starts_with("org.mirrorkeeper1."), "{interface}");
    assert!(invalidated.is_empty(), "{invalidated:?}");
    changed
}

/// Waits for what must come soon.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing happened for 30 s")
}

pub fn key(host: u8) -> TargetKey {
    TargetKey::new("iqn.2026-01.org.example:disk", &format!("10.0.0.{host}"), 3260, "default")
}

pub fn target() -> TargetView {
    TargetView {
        server: "10.0.0.1".into(),
        detect_timeout: None,
        state: TargetState::LoggedIn,
        since: Wall(5),
        sid: Some(1),
        disks: vec!["/dev/sda".to_owned()],
        startup: None,
        managed: true,
        replacement_timeout: Some(10),
        configured_timeout: None,
        timeout_reason: TimeoutReason::Quick,
        stall_estimate: None,
        last_error: String::new(),
        next_attempt: None,
        attempts: 0,
    }
}

pub fn server() -> ServerView {
    ServerView {
        portals: vec!["10.0.0.1:3260".to_owned()],
        state: ServerState::Up,
        targets: vec![key(1)],
        mirrors: vec!["vg0/lv".into()],
        maintenance: false,
        flap_count: 0,
        held_until: None,
        since: Wall(5),
    }
}

pub fn mirror() -> MirrorView {
    let leg = |host| LegView {
        pv: format!("pv{host}"),
        device: "/dev/sda".to_owned(),
        target: Some(key(host)),
        state: LegState::InSync,
        ratio: 1.0,
        details: Details::from([("events", Value::U64(7))]),
    };
    MirrorView {
        name: "vg0/lv".into(),
        uuid: "pDpQc6-octx-75S3-6nXa-Ix8T-bW8b-67gg1n".to_owned(),
        kind: "raid1",
        log: "bitmap",
        size: 1 << 30,
        state: MirrorState::Redundant,
        copies_wanted: 2,
        copies_in_sync: 2,
        action: None,
        ratio: 1.0,
        rate: 0,
        remaining: Some(Duration::ZERO),
        legs: vec![leg(1), leg(2)],
        mismatches: 0,
        last_check: Wall(0),
        degraded_since: Wall(0),
        hold: None,
        hold_details: Details::new(),
        unmanaged: None,
    }
}

pub fn job(state: JobState) -> JobView {
    JobView {
        operation: Operation::Heal,
        object: Object::Mirror("vg0/lv".into()),
        state,
        progress: None,
        rate: 0,
        started: Wall(3),
        expected_end: Wall(0),
        uid: 0,
        steps: vec![StepView {
            code: "check",
            why: "leg on probation".to_owned(),
            command: "lvchange --syncaction check vg0/lv".to_owned(),
            exit: -1,
            result: "running",
        }],
        error: String::new(),
    }
}

/// Two targets, one of them on a server, a mirror over them, and a job.
pub fn world() -> Snapshot {
    Snapshot {
        observed_at: Wall(9),
        paused: None,
        targets: [(key(1), target()), (key(2), target())].into(),
        mirrors: [("vg0/lv".into(), mirror().into())].into(),
        jobs: [(JobId(1), job(JobState::Running))].into(),
        servers: [("10.0.0.1".into(), server())].into(),
        delays_shutdown: false,
    }
}

/// The paths in [`world`].
pub const MIRROR: &str = "/org/mirrorkeeper1/mirror/vg0_2flv";
pub const SERVER: &str = "/org/mirrorkeeper1/server/_310_2e0_2e0_2e1";
pub const JOB: &str = "/org/mirrorkeeper1/job/1";
pub const TARGET: &str = "/org/mirrorkeeper1/target/iqn_2e2026_2d01_2eorg_2eexample_3adisk_2c10_2e0_2e0_2e1_3a3260";
