//! `--simulate`: the engine and the whole bus side of the daemon over a simulated machine, in real time. Only sensors and
//! executor are replaced, by [`World`]; a story or calls of `org.mirrorkeeper1.Simulator` say what goes wrong.
//!
//! Nothing of the real machine is read or touched but its clock, the bus and a directory for the history. The world keeps
//! the engine, since it also kills and reboots it; while the simulated daemon is dead its name is gone from the bus, as
//! with a real one.

pub mod deed;
mod face;
pub mod interface;
pub mod pace;
pub mod scenario;
mod scratch;
mod stage;
pub mod table;

use crate::cli::{Simulation, Tale};
use crate::config::{Config, Problem};
use crate::daemon::DaemonError;
use crate::history::History;
use deed::server_name;
use face::{Heard, hear};
use mirrorkeeper_core::settings::{ServerPolicy, Settings};
use mirrorkeeper_sys::sim::World;
use mirrorkeeper_sys::sim::world::{Plan, Quirks, VgPlan};
use scenario::Scenario;
use scratch::Scratch;
use stage::Stage;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep_until;

/// How many times longer than in the lab copies take: a comparison 24 s, give or take a half, for somebody to watch.
const COPYING: u64 = 3;

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scenario is no good.
    #[error("scenario refused: {0}")]
    Scenario(#[from] Problem),
    /// The settings are no good.
    #[error("configuration refused: {0}")]
    Config(String),
    /// As with a real one.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// There is no place for the history.
    #[error("making a directory for the history: {0}")]
    Scratch(std::io::Error),
}

/// Simulates until a signal says stop.
///
/// # Errors
/// When what was asked for is no good, or somebody else has the name.
pub async fn run(wish: Simulation) -> Result<(), SimulateError> {
    let scenario = match &wish.scenario {
        Tale::BuiltIn => Scenario::built_in()?,
        Tale::None => Scenario::without_story()?,
        Tale::File(file) => Scenario::load(file)?,
    };
    let settings = settings(wish.config.as_ref(), scenario.servers).map_err(SimulateError::Config)?;
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return Err(DaemonError::Signals(error).into()),
    };
    let scratch = Scratch::new().map_err(SimulateError::Scratch)?;
    let mut stage = Stage::new(wish, scenario, settings, History::start(scratch.path().to_owned()));
    tracing::info!("mirrorkeeperd {} simulates", env!("CARGO_PKG_VERSION"));
    stage.world.start_daemon();
    loop {
        stage.catch_up().await;
        let due = stage.pace.when(stage.next_at().unwrap_or(u64::MAX));
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            heard = hear(&mut stage.face) => match heard {
                Heard::Request(request) => stage.request(request),
                Heard::Reload(asker) => stage.reload(asker),
                Heard::NameTaken => return Err(DaemonError::NameInUse.into()),
            },
            Some(order) = stage.orders.recv() => stage.order(order).await,
            () = sleep_until(due) => {}
        }
    }
}

/// Settings of the simulated daemon. Its servers have names unless the file names some.
fn settings(file: Option<&PathBuf>, servers: usize) -> Result<Settings, String> {
    let config = file.map(|file| Config::load(file)).unwrap_or_default();
    if !config.problems.is_empty() {
        return Err(config.complaint());
    }
    let mut settings = config.settings;
    if settings.servers.is_empty() {
        let named = |n| (server_name(n), ServerPolicy { portals: vec![format!("10.0.0.{}", n + 1)] });
        settings.servers = (0..servers).map(named).collect();
    }
    Ok(settings)
}

/// A world as a scenario wants it.
fn world(scenario: &Scenario, settings: Settings) -> World {
    let vg = |lvs: &Vec<(String, _)>| VgPlan {
        servers: (0..scenario.servers).collect(),
        // Names live as long as the world, and the world as long as the process.
        volumes: lvs.iter().map(|(lv, kind)| (&*lv.clone().leak(), *kind)).collect(),
    };
    let plan = Plan {
        servers: scenario.servers,
        vgs: scenario.vgs.iter().map(vg).collect(),
        replacement_timeout: 120,
        quirks: Quirks::default(),
        settings,
    };
    let mut world = World::new(&plan, scenario.seed);
    world.copying = COPYING;
    world.daemon.record = true;
    world.keep_images();
    if tracing::enabled!(tracing::Level::DEBUG) {
        world.keep_trace();
    }
    world
}
