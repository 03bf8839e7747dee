//! What the service manager hears from us, and when.
//!
//! READY=1 comes when the first observation is done and the bus name is owned, or five seconds after start without a bus:
//! healing needs none. The watchdog is fed by the loop after a turn, never by a timer of its own, so that a stuck loop is
//! a dead daemon. Children must not inherit `NOTIFY_SOCKET`; the runner clears their environment.
//!
//! The socket takes about ten messages that nobody has read yet (`net.unix.max_dgram_qlen`), and whoever sends one more
//! waits. The loop must not: what is not taken is kept, and said again with a later turn.

use mirrorkeeper_core::snapshot::Snapshot;
use mirrorkeeper_core::words::MirrorState;
use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// How long READY=1 waits for the bus. At boot we start before the bus does, and remote mounts wait for us.
pub const BUS_GRACE: Duration = Duration::from_secs(5);

/// A loop that turns a hundred times a second does not say so a hundred times.
const FEED_GAP: Duration = Duration::from_secs(1);

/// How soon the service manager is tried again after it took no more.
pub const RETRY: Duration = Duration::from_secs(1);

/// Where a notification goes, and whether it was taken; replaced in tests. It must not wait.
type Sink = Box<dyn FnMut(&str) -> bool + Send>;

/// Tells the service manager what changed since it was last told.
pub struct Notifier {
    send: Sink,
    /// What was not taken yet, oldest first.
    owed: VecDeque<String>,
    watchdog: bool,
    fed_at: Option<Duration>,
    observed: bool,
    ready: bool,
    status: String,
    note: &'static str,
}

impl Notifier {
    /// Talks to the service manager that started us, if any.
    pub fn new() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET");
        let send = move |message: &str| socket.as_ref().is_none_or(|socket| send(Path::new(socket), message));
        Self::with(Box::new(send), sd_notify::watchdog_enabled().is_some())
    }

    fn with(send: Sink, watchdog: bool) -> Self {
        let (owed, status) = (VecDeque::new(), String::new());
        Self { send, owed, watchdog, fed_at: None, observed: false, ready: false, status, note: "" }
    }

    /// Says it once everything before it was taken.
    fn say(&mut self, states: &[NotifyState<'_>]) {
        self.owed.push_back(states.iter().map(|state| format!("{state}\n")).collect());
        self.pay();
    }

    /// The same, in place of an older one of its kind that was not taken yet.
    fn renew(&mut self, state: &NotifyState<'_>) {
        let message = format!("{state}\n");
        self.owed.retain(|owed| owed.split('=').next() != message.split('=').next());
        self.owed.push_back(message);
        self.pay();
    }

    fn pay(&mut self) {
        while self.owed.front().is_some_and(|message| (self.send)(message)) {
            self.owed.pop_front();
        }
    }

    /// Whether something was not taken yet and a turn is wanted to say it again.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Adds something to every status line from now on.
    pub fn set_note(&mut self, note: &'static str) {
        self.note = note;
    }

    /// The kernel was read for the first time.
    pub fn observed(&mut self) {
        self.observed = true;
    }

    /// Whether READY=1 was sent.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// After a turn of the loop: feeds the watchdog, and says what is new. `since_start` decides whether the bus is still
    /// waited for.
    pub fn turned(&mut self, snapshot: &Snapshot, bus: bool, since_start: Duration) {
        self.pay();
        if self.watchdog && self.fed_at.is_none_or(|at| since_start >= at + FEED_GAP) {
            self.fed_at = Some(since_start);
            self.renew(&NotifyState::Watchdog);
        }
        if !self.ready && self.observed && (bus || since_start >= BUS_GRACE) {
            self.ready = true;
            self.say(&[NotifyState::Ready]);
        }
        let mut status = status_line(snapshot);
        if self.ready && !bus {
            status.push_str(" (no bus)");
        }
        if !self.note.is_empty() {
            status.push_str(&format!(" ({})", self.note));
        }
        if self.ready && status != self.status {
            self.renew(&NotifyState::Status(&status));
            self.status = status;
        }
    }

    /// The configuration is being read again. Nothing is said before READY=1, which a reload would bring too early.
    pub fn reloading(&mut self) {
        if !self.ready {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "CLOCK_MONOTONIC could not be read"),
        }
    }

    /// It is in force, or refused.
    pub fn reloaded(&mut self) {
        if self.ready {
            self.say(&[NotifyState::Ready]);
        }
    }

    /// We are going.
    pub fn stopping(&mut self) {
        self.say(&[NotifyState::Stopping]);
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

/// Hands a message to the service manager's socket, and says whether to be done with it.
fn send(manager: &Path, message: &str) -> bool {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(message.as_bytes(), manager)
    });
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
        Err(error) => tracing::warn!(%error, "the service manager could not be told {message:?}"),
        Ok(_) => {}
    }
    true
}

/// One line for `systemctl status`. One mirror is named with its legs; of several the healthy are counted and the worst is
/// named.
pub fn status_line(snapshot: &Snapshot) -> String {
    let managed: Vec<_> = snapshot.mirrors.values().filter(|m| m.unmanaged.is_none()).collect();
    let up = snapshot.targets.values().filter(|t| t.state == mirrorkeeper_core::words::TargetState::LoggedIn).count();
    let targets = format!("{up} of {} targets", snapshot.targets.len());
    let paused = if snapshot.paused.is_some() { ", healing paused" } else { "" };
    let doing = |mirror: &mirrorkeeper_core::snapshot::MirrorView| match (mirror.state, mirror.hold) {
        (MirrorState::Redundant, _) => String::new(),
        (state, Some(hold)) => format!(", {state}, held: {hold}"),
        (state @ (MirrorState::Resyncing | MirrorState::Verifying), None) => {
            format!(", {state} {:.0} %", (mirror.ratio * 100.0).floor())
        }
        (state, None) => format!(", {state}"),
    };
    let legs = |mirror: &mirrorkeeper_core::snapshot::MirrorView| {
        format!("{} of {} legs", mirror.copies_in_sync, mirror.copies_wanted)
    };
    match managed.as_slice() {
        [] => format!("no mirrors, {targets}{paused}"),
        [only] => format!("{} on {}{}, {targets}{paused}", only.name, legs(only), doing(only)),
        many => {
            let redundant = many.iter().filter(|m| m.state == MirrorState::Redundant).count();
            let worst = many.iter().max_by_key(|m| m.state).filter(|m| m.state != MirrorState::Redundant);
            let worst = worst.map(|m| format!("; {} on {}{}", m.name, legs(m), doing(m))).unwrap_or_default();
            format!("{redundant} of {} mirrors redundant{worst}, {targets}{paused}", many.len())
        }
    }
}

#[cfg(test)]
mod tests;
