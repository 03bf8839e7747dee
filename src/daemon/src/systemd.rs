//! What the service manager hears from us, and when.
//!
//! READY=1 comes when the first observation is done and the bus name is owned, or five seconds after start without a bus:
//! healing needs none. The watchdog is fed by the loop after a turn, never by a timer of its own, so that a stuck loop is
//! a dead daemon. Children must not inherit `NOTIFY_SOCKET`; the runner clears their environment.

use mirrorkeeper_core::snapshot::Snapshot;
use mirrorkeeper_core::words::MirrorState;
use sd_notify::NotifyState;
use std::time::Duration;

/// How long READY=1 waits for the bus. At boot we start before the bus does, and remote mounts wait for us.
pub const BUS_GRACE: Duration = Duration::from_secs(5);

/// A loop that turns a hundred times a second does not say so a hundred times.
const FEED_GAP: Duration = Duration::from_secs(1);

/// Where notifications go; replaced in tests.
type Sink = Box<dyn FnMut(&[NotifyState<'_>]) + Send>;

/// Tells the service manager what changed since it was last told.
pub struct Notifier {
    send: Sink,
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
        let send = |states: &[NotifyState<'_>]| {
            if let Err(error) = sd_notify::notify(states) {
                tracing::warn!(%error, "the service manager could not be told {states:?}");
            }
        };
        Self::with(Box::new(send), sd_notify::watchdog_enabled().is_some())
    }

    fn with(send: Sink, watchdog: bool) -> Self {
        Self { send, watchdog, fed_at: None, observed: false, ready: false, status: String::new(), note: "" }
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
        if self.watchdog && self.fed_at.is_none_or(|at| since_start >= at + FEED_GAP) {
            self.fed_at = Some(since_start);
            (self.send)(&[NotifyState::Watchdog]);
        }
        if !self.ready && self.observed && (bus || since_start >= BUS_GRACE) {
            self.ready = true;
            (self.send)(&[NotifyState::Ready]);
        }
        let mut status = status_line(snapshot);
        if self.ready && !bus {
            status.push_str(" (no bus)");
        }
        if !self.note.is_empty() {
            status.push_str(&format!(" ({})", self.note));
        }
        if self.ready && status != self.status {
            (self.send)(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The configuration is being read again. Nothing is said before READY=1, which a reload would bring too early.
    pub fn reloading(&mut self) {
        if !self.ready {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => (self.send)(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "CLOCK_MONOTONIC could not be read"),
        }
    }

    /// It is in force, or refused.
    pub fn reloaded(&mut self) {
        if self.ready {
            (self.send)(&[NotifyState::Ready]);
        }
    }

    /// We are going.
    pub fn stopping(&mut self) {
        (self.send)(&[NotifyState::Stopping]);
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
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
