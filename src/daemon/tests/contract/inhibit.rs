//! The delay of a shutdown, asked of a logind of our own on the private bus.

use crate::support::*;
use mirrorkeeper_core::snapshot::{MirrorView, Snapshot};
use mirrorkeeper_core::words::MirrorState;
use mirrorkeeperd::inhibit;
use mirrorkeeperd::publish::Bus;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use zbus::{Connection, fdo, interface};

/// Long enough that no test waits for it.
const NEVER: Duration = Duration::from_secs(3600);

/// What somebody wanted: what, who, why, mode; and our end of the lock.
type Asked = ([String; 4], UnixStream);

struct FakeLogind {
    asked: mpsc::UnboundedSender<Asked>,
    refuses: Arc<AtomicBool>,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl FakeLogind {
    fn inhibit(&self, what: String, who: String, why: String, mode: String) -> fdo::Result<zbus::OwnedFd> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        self.asked.send(([what, who, why, mode], UnixStream::from_std(ours).unwrap())).unwrap();
        if self.refuses.load(Ordering::Relaxed) {
            return Err(fdo::Error::Failed("the operation is in progress".to_owned()));
        }
        Ok(OwnedFd::from(theirs).into())
    }
}

struct Logind {
    asked: mpsc::UnboundedReceiver<Asked>,
    refuses: Arc<AtomicBool>,
    _connection: Connection,
}

impl Logind {
    async fn start(bus: &PrivateBus) -> Self {
        let (asked_in, asked) = mpsc::unbounded_channel();
        let refuses = Arc::new(AtomicBool::new(false));
        let fake = FakeLogind { asked: asked_in, refuses: Arc::clone(&refuses) };
        let logind = zbus::connection::Builder::address(bus.address().as_str())
            .serve_at("/org/freedesktop/login1", fake)
            .name("org.freedesktop.login1");
        Self { asked, refuses, _connection: logind.build().await.unwrap() }
    }

    async fn asked(&mut self) -> Asked {
        soon(self.asked.recv()).await.unwrap()
    }
}

/// Whether the lock at the other end is held still.
fn held(lock: &UnixStream) -> bool {
    matches!(lock.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn released(lock: &UnixStream) {
    while held(lock) {
        soon(lock.ready(Interest::READABLE)).await.unwrap();
    }
}

/// These are being copied.
fn copying(names: &[&str]) -> Arc<Snapshot> {
    let one = |name: &&str| {
        ((*name).into(), MirrorView { name: (*name).into(), state: MirrorState::Resyncing, ..mirror() }.into())
    };
    Arc::new(Snapshot { mirrors: names.iter().map(one).collect(), delays_shutdown: !names.is_empty(), ..world() })
}

fn spawn(bus: &PrivateBus, retry: Duration) -> watch::Sender<Arc<Snapshot>> {
    let (shows, shown) = watch::channel(copying(&[]));
    inhibit::spawn(Bus::Address(bus.address()), shown, retry);
    shows
}

#[tokio::test]
async fn a_shutdown_is_delayed_for_as_long_as_is_wanted() {
    let bus = PrivateBus::start();
    let mut logind = Logind::start(&bus).await;
    let shows = spawn(&bus, NEVER);
    shows.send_replace(copying(&["vg0/a"]));
    let (wanted, lock) = logind.asked().await;
    assert_eq!(wanted, ["shutdown", "mirrorkeeper", "vg0/a is being copied", "delay"]);
    shows.send_replace(copying(&["vg0/a", "vg0/b"]));
    shows.send_replace(copying(&[]));
    released(&lock).await;
    shows.send_replace(copying(&["vg0/a", "vg0/b"]));
    let (wanted, lock) = logind.asked().await;
    assert_eq!(wanted[2], "2 mirrors are being copied");
    assert!(logind.asked.try_recv().is_err(), "one lock at a time");
    // The loop has ended.
    drop(shows);
    released(&lock).await;
}

#[tokio::test]
async fn without_logind_nothing_is_delayed_and_it_is_asked_again() {
    let bus = PrivateBus::start();
    let shows = spawn(&bus, Duration::from_millis(10));
    shows.send_replace(copying(&["vg0/a"]));
    let mut logind = Logind::start(&bus).await;
    logind.refuses.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        logind.asked().await;
    }
    logind.refuses.store(false, Ordering::Relaxed);
    let lock = loop {
        let (_, lock) = logind.asked().await;
        // The last refusals may be on their way still.
        if logind.asked.is_empty() && held(&lock) {
            break lock;
        }
    };
    shows.send_replace(copying(&[]));
    released(&lock).await;
}

#[tokio::test]
async fn a_lock_outlives_the_bus_and_a_bus_that_is_gone_harms_nobody() {
    let mut bus = PrivateBus::start();
    let mut logind = Logind::start(&bus).await;
    let shows = spawn(&bus, Duration::from_millis(10));
    shows.send_replace(copying(&["vg0/a"]));
    let (_, lock) = logind.asked().await;
    bus.stop();
    assert!(held(&lock));
    shows.send_replace(copying(&[]));
    released(&lock).await;
    shows.send_replace(copying(&["vg0/a"]));
    bus.restart();
    let mut logind = Logind::start(&bus).await;
    let (_, lock) = logind.asked().await;
    drop(shows);
    released(&lock).await;
}
