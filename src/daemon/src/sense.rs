//! What wakes the loop: iSCSI events, device-mapper events, uevents, and the time. They say when to look, not what is there.
//!
//! The kernel's own socket buffers are the bounded queues; an overrun means looking at everything. A source that is not
//! there (module not loaded, no privilege) is tried again with each observation, so nothing polls for it.

use crate::clock::Timer;
use crate::reactor::WakeUp;
use mirrorkeeper_core::input::IscsiHint;
use mirrorkeeper_core::time::Mono;
use mirrorkeeper_sys::dm;
use mirrorkeeper_sys::netlink::{iscsi, uevent};
use mirrorkeeper_sys::{Error, Roots};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::future::pending;
use std::io;
use std::time::Duration;

/// Pause of a loop whose timer does not work.
const TIMER_BROKEN: Duration = Duration::from_secs(1);

/// All sources.
pub struct Sensors {
    roots: Roots,
    timer: Timer,
    dm: Option<dm::Events>,
    iscsi: Option<iscsi::Listener>,
    uevents: Option<uevent::Listener>,
    /// Of one datagram with several messages: those not handed out yet.
    waiting: VecDeque<IscsiHint>,
    /// Last complaint about each source, so that each is made once.
    complaints: BTreeMap<&'static str, String>,
}

impl Sensors {
    /// No source but the timer is open yet; see [`Self::open`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no timer to be had: nothing would work without.
    pub fn new(roots: Roots) -> io::Result<Self> {
        let (dm, iscsi, uevents) = (None, None, None);
        let timer = Timer::new()?;
        Ok(Self { roots, timer, dm, iscsi, uevents, waiting: VecDeque::new(), complaints: BTreeMap::new() })
    }

    /// Opens what is not open and arms device-mapper's. To be called before each reading of the kernel: what happens
    /// between arming and reading is then seen twice rather than never.
    pub fn open(&mut self) {
        if self.iscsi.is_none() {
            let opened = iscsi::Listener::open();
            self.iscsi = self.judged("iSCSI events", opened);
        }
        if self.uevents.is_none() {
            let opened = uevent::Listener::open(&self.roots);
            self.uevents = self.judged("uevents", opened);
        }
        if let Some(Err(error)) = self.dm.as_ref().map(dm::Events::arm) {
            self.lost("device-mapper events", error);
            self.dm = None;
        }
        if self.dm.is_none() {
            let opened = dm::Events::open(&self.roots);
            self.dm = self.judged("device-mapper events", opened);
        }
    }

    /// Waits for the next wake-up, or until `by`. Dropping the future loses none.
    pub async fn next(&mut self, by: Mono) -> WakeUp {
        if let Some(hint) = self.waiting.pop_front() {
            return WakeUp::Iscsi(hint);
        }
        let broken = tokio::select! {
            notices = listen(self.iscsi.as_mut(), async |l| l.next().await) => match notices {
                Ok(notices) => {
                    self.waiting.extend(notices.into_iter().filter_map(|notice| match notice {
                        iscsi::Notice::Hint(hint) => Some(hint),
                        iscsi::Notice::Wake => None,
                    }));
                    return self.waiting.pop_front().map_or(WakeUp::Look, WakeUp::Iscsi);
                }
                Err(error) => {
                    self.iscsi = None;
                    ("iSCSI events", error)
                }
            },
            time = self.timer.until(by) => match time {
                Ok(()) => return WakeUp::Time,
                // Cannot happen to a valid timer, and must not turn into a loop without a pause.
                Err(error) => {
                    tokio::time::sleep(TIMER_BROKEN).await;
                    ("the timer", error)
                }
            },
            woken = listen(self.uevents.as_mut(), async |l| l.next().await) => match woken {
                Ok(()) => return WakeUp::Look,
                Err(error) => {
                    self.uevents = None;
                    ("uevents", error)
                }
            },
            // Not armed again here but before the reading that follows.
            ready = listen(self.dm.as_mut(), async |dm| dm.next().await) => {
                match ready {
                    Ok(()) => return WakeUp::Look,
                    Err(error) => {
                        self.dm = None;
                        ("device-mapper events", error)
                    }
                }
            }
        };
        self.lost(broken.0, broken.1);
        match broken.0 {
            "the timer" => WakeUp::Time,
            // The order of events is lost with it.
            "iSCSI events" => WakeUp::Iscsi(IscsiHint::Overrun),
            _ => WakeUp::Look,
        }
    }

    fn judged<T>(&mut self, source: &'static str, opened: Result<T, Error>) -> Option<T> {
        match opened {
            Ok(source_of_events) => {
                self.complaints.remove(source);
                Some(source_of_events)
            }
            Err(error) => {
                self.complain(source, error.is_absent(), error.to_string());
                None
            }
        }
    }

    /// Absence is a quiet machine; anything else is worth a warning. Either once.
    fn complain(&mut self, source: &'static str, absent: bool, why: String) {
        if self.complaints.get(source) == Some(&why) {
            return;
        }
        match absent {
            true => tracing::info!("no {source} yet: {why}"),
            false => tracing::warn!("no {source}, changes are noticed by looking only: {why}"),
        }
        self.complaints.insert(source, why);
    }

    fn lost(&mut self, source: &'static str, why: impl Display) {
        tracing::warn!("{source} broke and will be opened again: {why}");
    }
}

/// A source that is not there stays silent.
async fn listen<S, T>(source: Option<&mut S>, next: impl AsyncFnOnce(&mut S) -> io::Result<T>) -> io::Result<T> {
    match source {
        Some(source) => next(source).await,
        None => pending().await,
    }
}
