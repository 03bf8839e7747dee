//! Putting the parts together, once.

use crate::audience::Audience;
use crate::bus::auth::{Polkit, Terms};
use crate::cli::Cli;
use crate::clock;
use crate::config::{self, Config};
use crate::execute::{Executor, Readers};
use crate::history::History;
use crate::hooks::{self, Hooks};
use crate::identity;
use crate::inhibit;
use crate::ledgerfile::{self, Locked, Saver};
use crate::link;
use crate::publish::{self, Status};
use crate::reactor::{Ends, Machine, Reactor, Signal, WakeUp, Work};
use crate::sense::Sensors;
use crate::systemd::Notifier;
use mirrorkeeper_core::engine::{self, Engine};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::observation::KernelView;
use mirrorkeeper_core::time::{Mono, Now};
use mirrorkeeper_sys::Roots;
use mirrorkeeper_sys::observe::Observer;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Results that may wait for the loop. There are never more than operations under way; whoever has one more waits.
const RESULTS: usize = 64;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Two that heal the same mirrors would each undo the other's safety.
    #[error("another mirrorkeeperd uses {}; two must not run", .0.display())]
    StateInUse(PathBuf),
    /// As above, by the name on the bus.
    #[error("another mirrorkeeperd owns {}; two must not run", crate::bus::NAME)]
    NameInUse,
    /// There is no timer.
    #[error("making a timer: {0}")]
    Timer(io::Error),
    /// Signals cannot be received.
    #[error("watching for signals: {0}")]
    Signals(io::Error),
}

/// Where a machine leaves what its work has come to.
pub struct Ways {
    /// To [`Ends::results`].
    pub results: mpsc::Sender<Input>,
    /// To [`Ends::configs`].
    pub configs: mpsc::Sender<Config>,
}

/// Runs until a signal says stop.
///
/// # Errors
/// When it cannot start, or another instance runs. All else is lived with.
pub async fn run(cli: Cli) -> Result<(), DaemonError> {
    run_on(cli, Host::new).await
}

/// The same on a machine that need not be this one.
///
/// # Errors
/// As [`run`], and those of `machine`.
pub async fn run_on<M: Machine>(
    cli: Cli,
    machine: impl FnOnce(&Cli, Ways) -> Result<M, DaemonError>,
) -> Result<(), DaemonError> {
    if !nix::unistd::geteuid().is_root() {
        tracing::warn!("not root: only what everybody may see is observed, and no operation will succeed");
    }
    let _lock = match ledgerfile::lock(&cli.state_dir) {
        Ok(Locked::Ours(lock)) => Some(lock),
        Ok(Locked::Taken) => return Err(DaemonError::StateInUse(cli.state_dir)),
        Err(error) => {
            tracing::error!("{error}; nothing can be remembered, so nothing will be healed");
            None
        }
    };
    let found = ledgerfile::load(&cli.state_dir, clock::now().wall);
    let config = Config::load(&cli.config);
    let mut notifier = Notifier::new();
    let this = engine::Host { boot_id: identity::boot_id(), machine_id: identity::machine_id() };
    let engine = Engine::new(config.settings.clone(), found, this);
    let (ours, theirs) = link::pair();
    let history = History::start(cli.state_dir.clone());
    let theirs = theirs.with_history(history.clone());
    inhibit::spawn(cli.bus.clone(), theirs.snapshots(), inhibit::RETRY);
    let published = publish::spawn(cli.bus.clone(), theirs, Arc::new(Polkit::new(Terms::default())));
    let (results_in, results) = mpsc::channel(RESULTS);
    let (configs_in, configs) = mpsc::channel(1);
    let machine = machine(&cli, Ways { results: results_in, configs: configs_in })?;
    let signals = signals(published.clone()).map_err(DaemonError::Signals)?;
    tracing::info!("mirrorkeeperd {} starts", env!("CARGO_PKG_VERSION"));
    let audience = Audience::new(history, Hooks::start(hooks::DIR.into()));
    if let Some(refusal) = config.refusal(clock::now().wall) {
        notifier.set_note(config::REFUSED);
        audience.tell(&refusal);
    }
    let ends = Ends { bus: ours, signals, results, configs, notifier, audience };
    Reactor::new(engine, machine, ends).run().await;
    let status = published.borrow().clone();
    if status == Status::NameTaken { Err(DaemonError::NameInUse) } else { Ok(()) }
}

/// The real machine.
struct Host {
    observer: Observer,
    sensors: Sensors,
    executor: Executor,
    readers: Readers,
    saver: Saver,
    config: PathBuf,
    configs: mpsc::Sender<Config>,
}

impl Host {
    fn new(cli: &Cli, ways: Ways) -> Result<Self, DaemonError> {
        let roots = Roots::default();
        Ok(Self {
            observer: Observer::new(roots.clone()),
            sensors: Sensors::new(roots.clone()).map_err(DaemonError::Timer)?,
            executor: Executor::new(roots, ways.results.clone()),
            readers: Readers::start(&ways.results),
            saver: Saver::start(cli.state_dir.clone(), ways.results),
            config: cli.config.clone(),
            configs: ways.configs,
        })
    }
}

impl Machine for Host {
    fn now(&self) -> Now {
        clock::now()
    }

    fn wake_up(&mut self, by: Mono) -> impl Future<Output = WakeUp> {
        self.sensors.next(by)
    }

    fn observe(&mut self) -> KernelView {
        self.sensors.open();
        self.observer.kernel()
    }

    fn begin(&mut self, work: Work) {
        match work {
            Work::Op(id, op) => self.executor.start(id, op),
            Work::Lvm => self.readers.lvm(),
            Work::Nodes => self.readers.nodes(),
            Work::Save(ledger) => self.saver.save(ledger),
            Work::AskSystem => self.executor.ask_system(),
            Work::Config => {
                let (file, configs) = (self.config.clone(), self.configs.clone());
                // The root disk may be slow, and the loop waits for no disk.
                tokio::task::spawn_blocking(move || drop(configs.blocking_send(Config::load(&file))));
            }
        }
    }
}

/// Signals as the loop wants them. A name taken by somebody else is a stop too.
fn signals(mut published: watch::Receiver<Status>) -> io::Result<mpsc::Receiver<Signal>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hup = signal(SignalKind::hangup())?;
    let (to_loop, signals) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let told = tokio::select! {
                _ = term.recv() => Signal::Stop,
                _ = int.recv() => Signal::Stop,
                _ = hup.recv() => Signal::Reload,
                Ok(_) = published.wait_for(|status| *status == Status::NameTaken) => Signal::Stop,
            };
            if to_loop.send(told).await.is_err() || told == Signal::Stop {
                return;
            }
        }
    });
    Ok(signals)
}
