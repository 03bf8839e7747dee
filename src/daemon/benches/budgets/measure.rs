//! Somebody on the bus with a watch in his hand.

use crate::keeper::{COMPARE, CONNECTION, PREPARED, ROLE};
use crate::support::{Ear, PrivateBus, changed, line, soon};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use zbus::{Connection, Message};

/// Events of each kind: the worst three of these are above the 99th percentile.
const EVENTS: usize = 300;

/// Calls of `GetManagedObjects`.
const CALLS: usize = 200;

/// Pause between two events, and what is added at most: no multiple of any pause of the daemon's.
const PAUSE: (u64, u64) = (40, 37);

/// How long the daemon is left alone after its start, with whatever it still has to find out.
const SETTLING: Duration = Duration::from_secs(5);

const NAME: &str = "org.mirrorkeeper1";
const ROOT: &str = "/org/mirrorkeeper1";
const MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// What was measured with one number of mirrors.
pub struct Figures {
    /// From the start of the daemon, its machine being there, to READY=1.
    pub start: Duration,
    /// A call of `GetManagedObjects`.
    pub objects: Spread,
    /// From an event of one mirror to its `PropertiesChanged`.
    pub property: Spread,
    /// From an event of one session to the signal `Event`.
    pub event: Spread,
    /// PSS of the daemon's process in KiB, at the end.
    pub memory: u64,
    /// The same before the daemon began: the simulated machine and the code that was needed for it.
    pub before: u64,
}

/// The middle of many times, and what one in a hundred exceeds.
pub struct Spread {
    /// Median.
    pub median: Duration,
    /// 99th percentile.
    pub p99: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        Self { median: at(50), p99: at(99) }
    }
}

/// Measures everything with so many mirrors.
pub async fn all(mirrors: usize) -> Figures {
    let bus = PrivateBus::start();
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::prepare(mirrors, &bus.address(), state.path());
    let before = daemon.pss();
    let start = daemon.start();
    tokio::time::sleep(SETTLING).await;
    let client = bus.client().await;
    let objects = objects(&client).await;
    let mut ear = Ear::listen(&client).await;
    let compare = |n: usize| format!("{COMPARE} {}", n / 2 * 7 % mirrors);
    let property = latency(&mut daemon, &mut ear, compare, |heard| {
        is(heard, "PropertiesChanged") && changed(heard).contains_key("SyncAction")
    });
    let property = property.await;
    let told = |heard: &Message| ["/ Event target-lost", "/ Event target-returned"].contains(&&*line(heard));
    let event = latency(&mut daemon, &mut ear, |_| CONNECTION.to_owned(), told).await;
    Figures { start, objects, property, event, memory: daemon.pss(), before }
}

/// Calls until an answer is there; what a client makes of it is its own affair.
async fn objects(client: &Connection) -> Spread {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        soon(client.call_method(Some(NAME), ROOT, Some(MANAGER), "GetManagedObjects", &())).await.unwrap();
        times.push(began.elapsed());
    }
    Spread::of(times)
}

/// Gives one order after the other, and hears what comes of each.
async fn latency(
    daemon: &mut Daemon,
    ear: &mut Ear,
    order: impl Fn(usize) -> String,
    wanted: impl Fn(&Message) -> bool,
) -> Spread {
    let mut times = Vec::with_capacity(EVENTS);
    for n in 0..EVENTS {
        tokio::time::sleep(Duration::from_millis(PAUSE.0 + n as u64 * 13 % PAUSE.1)).await;
        let began = Instant::now();
        daemon.order(&order(n));
        while !wanted(&ear.next().await) {}
        times.push(began.elapsed());
    }
    Spread::of(times)
}

fn is(message: &Message, member: &str) -> bool {
    message.header().member().is_some_and(|name| name == member)
}

/// The process that is measured.
struct Daemon {
    child: Child,
    orders: ChildStdin,
    told: UnixDatagram,
}

impl Daemon {
    /// Its machine is there when this returns, the daemon not yet.
    fn prepare(mirrors: usize, address: &str, state: &Path) -> Self {
        let socket = state.join("notify");
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(crate::support::SOON)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([ROLE, &mirrors.to_string(), address, state.to_str().unwrap()])
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), PREPARED);
        let orders = child.stdin.take().unwrap();
        Self { child, orders, told }
    }

    /// Starts it, and waits until it is ready.
    fn start(&mut self) -> Duration {
        let began = Instant::now();
        self.order("");
        let mut datagram = [0; 4096];
        loop {
            let length = self.told.recv(&mut datagram).unwrap();
            if String::from_utf8_lossy(&datagram[..length]).lines().any(|line| line == "READY=1") {
                return began.elapsed();
            }
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// In KiB.
    fn pss(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
