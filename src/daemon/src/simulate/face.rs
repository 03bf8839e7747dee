//! The simulated daemon as the bus sees it, for one of its runs: a connection of its own, with the simulator's interface
//! beside those of the contract. A run that ends takes it off the bus.

use super::interface::{Shown, Simulator};
use crate::link::{Link, LoopEnd, Reload, Request};
use crate::publish::{Bus, Offer, Status};
use mirrorkeeper_core::snapshot::{Event, Snapshot};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long clients may take to hear of a moment before the next one comes, when time leaps.
const HEARING: Duration = Duration::from_millis(100);

/// The face of one run.
pub struct Face {
    /// Which run of the daemon.
    pub run: u32,
    bus: LoopEnd,
    status: watch::Receiver<Status>,
    shown: watch::Sender<Shown>,
}

/// What came from the bus.
pub enum Heard {
    /// A command.
    Request(Request),
    /// The settings are to be read again.
    Reload(Reload),
    /// The name is somebody else's.
    NameTaken,
}

/// What comes from the bus; nothing while there is no face. Dropping the future loses nothing.
pub async fn hear(face: &mut Option<Face>) -> Heard {
    let Some(face) = face else { return std::future::pending().await };
    let taken = async { face.status.wait_for(|status| *status == Status::NameTaken).await.is_ok() };
    tokio::select! {
        Some(request) = face.bus.requests.recv() => Heard::Request(request),
        Some(asker) = face.bus.reloads.recv() => Heard::Reload(asker),
        true = taken => Heard::NameTaken,
        else => std::future::pending().await,
    }
}

impl Face {
    /// Appears on `bus`. `ours` and `link` are the two ends of one link; `shown` is what `simulator` shows.
    pub fn appear(
        run: u32,
        bus: Bus,
        (ours, link): (LoopEnd, Link),
        shown: watch::Sender<Shown>,
        simulator: Simulator,
    ) -> Self {
        let authority = Arc::clone(&simulator.authority);
        let status = Offer { bus, link, authority, annex: Some(Arc::new(simulator)) }.spawn();
        Self { run, bus: ours, status, shown }
    }

    /// Goes from the bus, and returns when the name is free.
    pub async fn vanish(self) {
        let Self { bus, mut status, shown, .. } = self;
        drop((bus, shown));
        while status.changed().await.is_ok() {}
    }

    /// Shows what is so now. Returns whether anything of that is new.
    pub fn show(&self, snapshot: &Snapshot, now: Shown) -> bool {
        let changed = self.bus.snapshots.send_if_modified(|shown| {
            let changed = **shown != *snapshot;
            if changed {
                *shown = Arc::new(snapshot.clone());
            }
            changed
        });
        let before = self.shown.send_replace(now.clone());
        changed || before.story != now.story
    }

    /// Announces an event.
    pub fn tell(&self, event: Event) {
        // Fails only while nobody listens: no bus.
        let _ = self.bus.events.send(event);
    }

    /// Waits until the events so far are on their way, but not long.
    pub async fn heard(&self) {
        let heard = async {
            while !self.bus.events.is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(HEARING, heard).await;
    }
}
