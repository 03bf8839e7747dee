//! The daemon that is measured, over a simulated machine that is at rest. Orders on standard input change one thing of it,
//! and the daemon is woken as the kernel would wake it.

use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::observation::KernelView;
use mirrorkeeper_core::op::{Op, OpResult};
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::time::{Mono, Now};
use mirrorkeeper_sys::sim::content::Kind;
use mirrorkeeper_sys::sim::session::State;
use mirrorkeeper_sys::sim::truth_keeper::Actor;
use mirrorkeeper_sys::sim::volume::{Action, Sync};
use mirrorkeeper_sys::sim::world::{Plan, Quirks, VgPlan};
use mirrorkeeper_sys::sim::{SECOND, World};
use mirrorkeeperd::cli::Cli;
use mirrorkeeperd::clock::{self, Timer};
use mirrorkeeperd::config::Config;
use mirrorkeeperd::daemon::{self, DaemonError, Ways};
use mirrorkeeperd::ledgerfile::Saver;
use mirrorkeeperd::publish::Bus;
use mirrorkeeperd::reactor::{Machine, WakeUp, Work};
use mirrorkeeperd::{identity, journal, survive};
use nix::libc;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::level_filters::LevelFilter;

/// First argument of such a process.
pub const ROLE: &str = "keeper";

/// Said on standard output when the machine is there; the daemon starts with the next line on standard input.
pub const PREPARED: &str = "prepared";

/// The order that begins or ends a comparison of a mirror, with its number.
pub const COMPARE: &str = "compare";

/// The order that breaks or mends the connection to the server without mirrors.
pub const CONNECTION: &str = "connection";

/// Servers with a leg of every mirror.
const WITH_LEGS: usize = 2;

/// VGs at most; the model numbers them by one digit.
const MOST_VGS: usize = 10;

/// How long the machine is looked after before it is measured: until all is settled, noted and saved.
const SETTLING: u64 = 120 * SECOND;

/// Here it is a terminal that is logged to, and not the journal.
const LOG: LevelFilter = LevelFilter::ERROR;

/// The configuration: without the stamp of a start, which this machine would have to write.
const CONFIG: &str = "mirrorkeeper.toml";

/// Is the daemon.
pub fn run(mirrors: usize, address: &str, state_dir: PathBuf) {
    let world = at_rest(mirrors, &state_dir);
    // SAFETY: gives memory that nobody uses back to the kernel and touches nothing else.
    unsafe { libc::malloc_trim(0) };
    println!("{PREPARED}");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    // As `main` does it.
    drop(survive::prepare());
    let log = journal::Log::start(LOG).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cli = Cli { bus: Bus::Address(address.to_owned()), config: state_dir.join(CONFIG), state_dir, log: LOG };
    let ended = runtime.block_on(daemon::run_on(cli, |cli, ways| Model::new(world, cli, ways)));
    runtime.shutdown_background();
    log.flush();
    ended.unwrap();
}

/// A machine that has been looked after for a while, with the ledger of that time in `state_dir`.
fn at_rest(mirrors: usize, state_dir: &Path) -> World {
    // Of one length: the model fills up names to UUIDs with zeros, and `lv7` would be `lv70` too.
    let names: Vec<&'static str> = (0..mirrors).map(|n| &*format!("lv{n:04}").leak()).collect();
    let vg = |names: &[&'static str]| VgPlan {
        servers: (0..WITH_LEGS).collect(),
        volumes: names.iter().map(|name| (*name, Kind::Raid1)).collect(),
    };
    let plan = Plan {
        servers: WITH_LEGS + 1,
        vgs: names.chunks(mirrors.div_ceil(MOST_VGS)).map(vg).collect(),
        replacement_timeout: 120,
        // The keys of the daemon below would be other ones.
        quirks: Quirks { no_registrations: true, ..Quirks::default() },
        settings: Settings { stamp_interval: Duration::ZERO, ..Settings::default() },
    };
    let mut world = World::new(&plan, 1);
    // Nobody writes: what is measured is the daemon.
    world.queue.drop_if(|_| true);
    world.start_daemon();
    world.run_for(SETTLING);
    assert!(world.violations.is_empty() && world.anomalies.is_empty(), "{:?} {:?}", world.violations, world.anomalies);
    let ledger = serde_json::to_string(world.daemon.ledger().unwrap()).unwrap();
    let ledger = ledger.replace("\"boot-1\"", &format!("{:?}", identity::boot_id()));
    std::fs::write(state_dir.join("ledger.json"), ledger).unwrap();
    std::fs::write(state_dir.join(CONFIG), "[heal]\nstamp_interval = 0\n").unwrap();
    world.daemon.restart_after = None;
    world.kill_daemon();
    world
}

/// The simulated machine as the loop sees it.
struct Model {
    world: World,
    timer: Timer,
    orders: UnboundedReceiver<String>,
    saver: Saver,
    /// Answers on their way to the loop, which takes them in turns like those of real children.
    answers: UnboundedSender<Input>,
    ways: Ways,
    config: PathBuf,
}

impl Model {
    fn new(world: World, cli: &Cli, ways: Ways) -> Result<Self, DaemonError> {
        let (orders_in, orders) = unbounded_channel();
        std::thread::spawn(move || {
            let lines = std::io::stdin().lock().lines();
            lines.map_while(Result::ok).try_for_each(|line| orders_in.send(line))
        });
        let (answers, mut given) = unbounded_channel();
        let results = ways.results.clone();
        tokio::spawn(async move {
            while let Some(answer) = given.recv().await {
                let _ = results.send(answer).await;
            }
        });
        let timer = Timer::new().map_err(DaemonError::Timer)?;
        let saver = Saver::start(cli.state_dir.clone(), ways.results.clone());
        Ok(Self { world, timer, orders, saver, answers, ways, config: cli.config.clone() })
    }

    fn obey(&mut self, order: &str) {
        match order.split_once(' ') {
            Some((COMPARE, n)) => {
                let volume = &mut self.world.volumes[n.parse::<usize>().unwrap()];
                volume.event_nr += 1;
                let (action, actor) = (Action::Check, Actor::Nature);
                let (begun, ends) = (self.world.now, self.world.now + 3600 * SECOND);
                let check = Sync { action, targets: 0, mask: 0, begun, ends, actor };
                volume.sync = if volume.sync.is_none() { Some(check) } else { None };
            }
            _ if order == CONNECTION => {
                let session = self.world.sessions[WITH_LEGS].as_mut().unwrap();
                session.state = if session.state == State::LoggedIn { State::Failed } else { State::LoggedIn };
            }
            _ => panic!("no such order: {order}"),
        }
    }

    /// What an operation comes to. A machine at rest needs no others.
    fn perform(&mut self, op: &Op) -> OpResult {
        match op {
            Op::Probe { targets, .. } => {
                OpResult::Probed(targets.iter().map(|target| (target.pv.clone(), self.world.probe(target))).collect())
            }
            Op::SetDetect { sid, millis, .. } => OpResult::Detect(self.world.set_detect(*sid, *millis)),
            other => panic!("this machine should be at rest: {}", other.command_line()),
        }
    }
}

impl Machine for Model {
    fn now(&self) -> Now {
        clock::now()
    }

    async fn wake_up(&mut self, by: Mono) -> WakeUp {
        tokio::select! {
            Some(order) = self.orders.recv() => {
                self.obey(&order);
                WakeUp::Look
            }
            time = self.timer.until(by) => {
                time.unwrap();
                WakeUp::Time
            }
        }
    }

    fn observe(&mut self) -> KernelView {
        self.world.kernel_view()
    }

    fn begin(&mut self, work: Work) {
        let answer = match work {
            Work::Op(id, op) => Input::OpEnded(id, self.perform(&op)),
            Work::Lvm => Input::Lvm(Ok(self.world.lvm_view())),
            Work::Nodes => Input::Nodes(Ok(self.world.node_records())),
            Work::AskSystem => Input::SystemStopping(false),
            Work::Save(ledger) => return self.saver.save(ledger),
            Work::Config => {
                let (file, configs) = (self.config.clone(), self.ways.configs.clone());
                tokio::task::spawn_blocking(move || drop(configs.blocking_send(Config::load(&file))));
                return;
            }
        };
        let _ = self.answers.send(answer);
    }
}
