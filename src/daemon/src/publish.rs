//! The life of the bus connection: connect, export everything, own the name, announce what changes, and begin again when
//! the bus is gone. The rest of the daemon never notices: it leaves snapshots and events at the [`Link`] and goes on.
//!
//! [`spawn`] is all the shell calls. It gets back a [`Status`] to show; `READY=1` waits for [`Link::set_owned`], which is
//! called here too. Only this module adds and removes objects. Order, always: objects first, then the name, so that who
//! sees the name sees everything (zbus facts: objects first, then the name, then ready).
//!
//! Per snapshot, objects are added and removed, and each changed object sends one `PropertiesChanged`; then come the
//! events of that moment. What happens while there is no bus is in the journal; nobody could have heard it.

mod family;

use crate::bus::auth::Authority;
use crate::bus::gate::Gate;
use crate::bus::job::Job;
use crate::bus::manager::Manager;
use crate::bus::mirror::Mirror;
use crate::bus::objects::Objects;
use crate::bus::server::Server;
use crate::bus::target::Target;
use crate::bus::wire::WireDetails;
use crate::bus::{NAME, path};
use crate::link::Link;
use family::Family;
use mirrorkeeper_core::ids::JobId;
use mirrorkeeper_core::snapshot::{Event, JobView, Snapshot};
use mirrorkeeper_core::words::JobState;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;
use zbus::object_server::SignalEmitter;

/// Pause before the bus is tried again: short, because a bus that restarts is back within a second; then longer, because
/// one that does not come back is somebody else's emergency.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Longest wait for the bus daemon itself, whose answers take microseconds.
const BUS_ANSWER: Duration = Duration::from_secs(5);

/// Which bus to publish on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bus {
    /// The system bus, or what `DBUS_SYSTEM_BUS_ADDRESS` names.
    System,
    /// A D-Bus address.
    Address(String),
}

impl Bus {
    /// A connection to it that is still to be made.
    pub fn builder(&self) -> Builder<'_> {
        match self {
            Self::System => Builder::system(),
            Self::Address(address) => Builder::address(address.as_str()),
        }
    }
}

/// How publishing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Connecting for the first time.
    Connecting,
    /// Everything is exported and the name is ours.
    Owned,
    /// There is no bus, and why; it is tried again.
    NoBus(String),
    /// Somebody else owns the name, so another instance is running. Final: publishing has ended.
    NameTaken,
}

/// Puts more on a connection than the contract has, before the name is taken. Only a simulation has more.
pub trait Annex: Send + Sync {
    /// Serves it on `connection`, which lives for as long as anything holds it.
    fn serve<'a>(&'a self, connection: &'a Connection) -> Pin<Box<dyn Future<Output = zbus::Result<()>> + Send + 'a>>;
}

/// What is published, and where.
pub struct Offer {
    /// Which bus.
    pub bus: Bus,
    /// To and from the loop.
    pub link: Link,
    /// Who may change something.
    pub authority: Arc<dyn Authority>,
    /// What else is on the bus.
    pub annex: Option<Arc<dyn Annex>>,
}

/// Publishes until the loop's end of the link is gone or the name is somebody else's.
pub fn spawn(bus: Bus, link: Link, authority: Arc<dyn Authority>) -> watch::Receiver<Status> {
    Offer { bus, link, authority, annex: None }.spawn()
}

impl Offer {
    /// The same as [`spawn`].
    pub fn spawn(self) -> watch::Receiver<Status> {
        let (status, shown) = watch::channel(Status::Connecting);
        tokio::spawn(async move { run(self, status).await });
        shown
    }
}

/// Why a session on the bus ended.
enum End {
    /// The loop is gone.
    Stopping,
    /// The connection is gone, or never came.
    Lost(String),
    NameTaken,
}

async fn run(offer: Offer, status: watch::Sender<Status>) {
    let mut pause = RETRY.0;
    loop {
        let end = session(&offer, &status).await;
        offer.link.set_owned(false);
        if *status.borrow() == Status::Owned {
            pause = RETRY.0;
        }
        match end {
            End::Stopping => return,
            End::NameTaken => {
                tracing::error!("{NAME} is owned by another process: a second instance must not run");
                status.send_replace(Status::NameTaken);
                return;
            }
            End::Lost(reason) => {
                tracing::warn!("no bus: {reason}; healing goes on, next attempt in {} s", pause.as_secs());
                status.send_replace(Status::NoBus(reason));
            }
        }
        let mut snapshots = offer.link.snapshots();
        tokio::select! {
            () = sleep(pause) => {}
            () = async { while snapshots.changed().await.is_ok() {} } => return,
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

/// One connection from its beginning to its end.
async fn session(offer: &Offer, status: &watch::Sender<Status>) -> End {
    let mut snapshots = offer.link.snapshots();
    let mut events = offer.link.events();
    let first = snapshots.borrow_and_update().clone();
    let mut exports = match timeout(BUS_ANSWER, Exports::connect(offer)).await {
        Ok(Ok(exports)) => exports,
        Ok(Err(error)) => return End::Lost(error.to_string()),
        Err(_) => return End::Lost(format!("the bus did not answer within {} s", BUS_ANSWER.as_secs())),
    };
    let connection = exports.connection.clone();
    match exports.take_name(offer, first).await {
        Ok(()) => {}
        Err(zbus::Error::NameTaken) => return End::NameTaken,
        Err(error) => return End::Lost(error.to_string()),
    }
    status.send_replace(Status::Owned);
    offer.link.set_owned(true);
    loop {
        let due = exports.due();
        // Snapshots before events: whoever hears of an object finds it.
        tokio::select! {
            biased;
            () = connection.closed() => return End::Lost("the connection was closed".to_owned()),
            changed = snapshots.changed() => {
                if changed.is_err() {
                    // Answers may still be under way on this connection; the name is free for a successor at once.
                    let _ = timeout(BUS_ANSWER, connection.release_name(NAME)).await;
                    return End::Stopping;
                }
                let snapshot = snapshots.borrow_and_update().clone();
                exports.show(snapshot).await;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => exports.announce_due().await,
            event = events.recv() => match event {
                Ok(event) => exports.event(event).await,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!("{missed} events were not announced on the bus: it does not take them fast enough");
                }
                Err(broadcast::error::RecvError::Closed) => return End::Stopping,
            },
        }
    }
}

/// Everything on one connection.
struct Exports {
    connection: Connection,
    shown: watch::Sender<Arc<Snapshot>>,
    manager: Family<Manager>,
    servers: Family<Server>,
    targets: Family<Target>,
    mirrors: Family<Mirror>,
    jobs: Family<Job>,
    shown_jobs: watch::Sender<BTreeSet<JobId>>,
}

impl Exports {
    /// A connection with no objects but their list. That is served from the start: without any object zbus starts listening
    /// late and loses first calls.
    async fn connect(offer: &Offer) -> zbus::Result<Self> {
        let (shown_jobs, jobs) = watch::channel(BTreeSet::new());
        let gate = Gate::new(offer.link.clone(), offer.authority.clone(), jobs);
        let (shown, newest) = watch::channel(Arc::default());
        let objects = Objects::new(newest, gate.clone());
        let connection = offer.bus.builder().method_timeout(BUS_ANSWER).serve_at(path::ROOT, objects).build().await?;
        Ok(Self {
            manager: Family::new(&connection, &gate),
            servers: Family::new(&connection, &gate),
            targets: Family::new(&connection, &gate),
            mirrors: Family::new(&connection, &gate),
            jobs: Family::new(&connection, &gate),
            shown,
            shown_jobs,
            connection,
        })
    }

    /// Exports everything in `snapshot`, however long that takes, and takes the name.
    async fn take_name(&mut self, offer: &Offer, snapshot: Arc<Snapshot>) -> zbus::Result<()> {
        // Jobs that had ended before there was a bus are no news.
        self.shown.send_replace(snapshot.clone());
        self.show(snapshot).await;
        if let Some(annex) = &offer.annex {
            annex.serve(&self.connection).await?;
        }
        // Without its default flags zbus would let a second daemon take the name from us, unnoticed.
        self.connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
        Ok(())
    }

    /// Brings the bus to `snapshot`. Servers come before the targets that name them and these before the mirrors that do,
    /// the sum comes last. Before any of them the list of all: whoever asks for it after a signal must not be told of values
    /// that the signal has outdated.
    async fn show(&mut self, snapshot: Arc<Snapshot>) {
        let now = Instant::now();
        let before = self.shown.send_replace(snapshot.clone());
        self.servers.show(&snapshot.servers, now).await;
        self.targets.show(&snapshot.targets, now).await;
        self.mirrors.show(&snapshot.mirrors, now).await;
        self.jobs.show(&snapshot.jobs, now).await;
        self.manager.show(&BTreeMap::from([((), snapshot.clone())]), now).await;
        self.shown_jobs.send_replace(snapshot.jobs.keys().copied().collect());
        for (id, job) in &snapshot.jobs {
            if finished(job) && !before.jobs.get(id).is_some_and(finished) {
                let emitter = SignalEmitter::from_parts(self.connection.clone(), path::job(*id).into_inner());
                log(Job::completed(&emitter, job.state == JobState::Succeeded, &job.error).await);
            }
        }
    }

    /// When progress that was held back is due, if any is.
    fn due(&self) -> Option<Instant> {
        let due = [self.manager.due(), self.servers.due(), self.targets.due(), self.mirrors.due(), self.jobs.due()];
        due.into_iter().flatten().min()
    }

    async fn announce_due(&mut self) {
        let now = Instant::now();
        self.mirrors.announce_due(now).await;
        self.jobs.announce_due(now).await;
        self.targets.announce_due(now).await;
        self.servers.announce_due(now).await;
        self.manager.announce_due(now).await;
    }

    async fn event(&self, event: Event) {
        let emitter = SignalEmitter::from_parts(self.connection.clone(), path::root().into_inner());
        let (code, severity, object) = (event.code.word(), event.severity.word(), path::object(&event.object));
        log(Manager::event(&emitter, event.at.0, code, severity, object, WireDetails(event.details)).await);
    }
}

fn finished(job: &JobView) -> bool {
    matches!(job.state, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
}

/// What could not be sent ends nothing: a lost connection is noticed by itself, and anything else concerns that one
/// object or signal.
fn log(sent: zbus::Result<()>) {
    match sent {
        Ok(()) | Err(zbus::Error::InputOutput(_)) => {}
        Err(error) => tracing::warn!("a change was not announced on the bus: {error}"),
    }
}
