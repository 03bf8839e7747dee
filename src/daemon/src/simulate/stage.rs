//! What is played: the world, the story told with it, the orders from the bus, and what of all that is shown.

use super::deed::Deed;
use super::face::Face;
use super::interface::{Order, Shown, Simulator};
use super::pace::Pace;
use super::scenario::Scenario;
use super::{settings, world};
use crate::audience::Audience;
use crate::bus::auth::{Authority, Polkit, Terms};
use crate::cli::Simulation;
use crate::clock;
use crate::config::Config;
use crate::history::History;
use crate::hooks::Hooks;
use crate::link::{self, Reload, Request};
use crate::publish::Bus;
use mirrorkeeper_core::input::Refusal;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::snapshot::Event;
use mirrorkeeper_sys::sim::{SECOND, World};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// How far the wall clock on the bus may be off the real one, in microseconds: leaps of virtual time do not show on it, and
/// what is computed from it does not jitter.
const WALL_OFF: u64 = SECOND;

/// Orders that may wait.
const ORDERS: usize = 16;

/// Everything of a simulation.
pub struct Stage {
    /// The machine.
    pub world: World,
    /// Its clock.
    pub pace: Pace,
    began: u64,
    scenario: Scenario,
    config: Option<PathBuf>,
    /// When the story began, and its next step.
    story: (u64, usize),
    told: String,
    /// The daemon on the bus, while it runs.
    pub face: Option<Face>,
    bus: Bus,
    authority: Arc<dyn Authority>,
    uid: u32,
    history: History,
    audience: Audience,
    order_here: mpsc::Sender<Order>,
    /// From the simulator's interface.
    pub orders: mpsc::Receiver<Order>,
}

impl Stage {
    /// Everything is up, and the daemon not started yet.
    pub fn new(wish: Simulation, scenario: Scenario, settings: Settings, history: History) -> Self {
        let world = world(&scenario, settings);
        let uid = nix::unistd::geteuid().as_raw();
        // Whoever has a bus of his own may do on it what he likes; the system bus belongs to everybody.
        let root = if wish.bus == Bus::System { Terms::default().root } else { uid };
        let (order_here, orders) = mpsc::channel(ORDERS);
        Self {
            pace: Pace::new(world.now, wish.speed),
            began: world.now,
            story: (world.now, 0),
            world,
            scenario,
            config: wish.config,
            told: String::new(),
            face: None,
            bus: wish.bus,
            authority: Arc::new(Polkit::new(Terms { root, ..Terms::default() })),
            uid,
            audience: Audience::new(history.clone(), Hooks::none()),
            history,
            order_here,
            orders,
        }
    }

    /// When the next thing happens, of itself or in the story.
    pub fn next_at(&self) -> Option<u64> {
        self.world.next_at().into_iter().chain(self.next_step()).min()
    }

    fn next_step(&self) -> Option<u64> {
        let (began, next) = self.story;
        self.scenario.story.get(next).map(|(at, _)| began + at.as_secs() * SECOND)
    }

    /// Lets everything happen that is due by now.
    pub async fn catch_up(&mut self) {
        self.publish().await;
        while let Some(at) = self.next_at().filter(|at| *at <= self.pace.now()) {
            self.world.now = self.world.now.max(at);
            self.set_wall();
            if self.next_step() == Some(at) && self.world.next_at().is_none_or(|next| next >= at) {
                self.tell_on();
            } else {
                self.world.step(at);
            }
            self.publish().await;
        }
        self.world.now = self.world.now.max(self.pace.now());
        self.set_wall();
    }

    /// The next step of the story.
    fn tell_on(&mut self) {
        let Some((_, deed)) = self.scenario.story.get(self.story.1).cloned() else { return };
        self.story.1 += 1;
        self.told = deed.to_string();
        tracing::info!("the story: {deed}");
        if let Err(refusal) = self.perform(&deed) {
            tracing::info!("the story goes on without: {refusal}");
        }
        if self.scenario.repeat && self.story.1 == self.scenario.story.len() {
            self.story = (self.pace.now(), 0);
        }
    }

    fn perform(&mut self, deed: &Deed) -> Result<(), Refusal> {
        if let Deed::Advance(seconds) = deed {
            self.pace.reach(self.world.now + seconds * SECOND);
        }
        let done = deed.perform(&mut self.world, self.uid);
        self.pace.reach(self.world.now);
        done
    }

    /// Carries out what somebody wants.
    pub async fn order(&mut self, order: Order) {
        self.catch_up().await;
        let deed = order.deed;
        tracing::info!("by hand: {deed}");
        let answer = self.perform(&deed);
        if matches!(deed, Deed::Advance(_)) {
            self.catch_up().await;
        }
        // Whoever asked may have left.
        let _ = order.reply.send(answer);
    }

    /// Puts a command to the daemon. Without an answer it is dead, and nobody there to be told.
    pub fn request(&mut self, Request { command, reply }: Request) {
        if let Some(answer) = self.world.command(command) {
            // An object that the answer names is there first.
            self.show();
            let _ = reply.send(answer);
        }
    }

    /// Reads the settings again.
    pub fn reload(&mut self, asker: Reload) {
        let answer = match settings(self.config.as_ref(), self.scenario.servers) {
            Ok(settings) => {
                self.world.configure(settings);
                Ok(())
            }
            Err(complaint) => {
                if let Some(refusal) = self.config.as_ref().and_then(|f| Config::load(f).refusal(clock::now().wall)) {
                    self.tell(refusal);
                }
                Err(complaint)
            }
        };
        let _ = asker.send(answer);
    }

    fn set_wall(&mut self) {
        let wall = clock::now().wall;
        if self.world.wall().0.abs_diff(wall.0) > WALL_OFF {
            self.world.set_wall(wall);
        }
    }

    /// Brings the bus to what the daemon shows, or takes it off. Waits until it was heard, but not long.
    async fn publish(&mut self) {
        self.world.heed_choices();
        self.world.take_trace().iter().for_each(|line| tracing::debug!("{line}"));
        self.world.violations.drain(..).for_each(|what| tracing::error!("the model objects: {what}"));
        self.world.anomalies.drain(..).for_each(|what| tracing::error!("refused by the safety check: {what}"));
        self.world.daemon.ran.clear();
        let run = self.world.daemon.alive().then_some(self.world.daemon.run);
        if self.face.as_ref().map(|face| face.run) != run {
            if let Some(face) = self.face.take() {
                face.vanish().await;
            }
            self.face = run.map(|run| self.appear(run));
        }
        let changed = self.show();
        let events = std::mem::take(&mut self.world.daemon.events);
        if events.is_empty() {
            if changed {
                tokio::task::yield_now().await;
            }
            return;
        }
        events.into_iter().for_each(|event| self.tell(event));
        if let Some(face) = &self.face {
            face.heard().await;
        }
    }

    fn show(&self) -> bool {
        let (Some(face), Some(snapshot)) = (&self.face, self.world.daemon.snapshot()) else { return false };
        face.show(snapshot, self.shown())
    }

    fn shown(&self) -> Shown {
        Shown { pace: self.pace, began: self.began, story: self.told.clone() }
    }

    fn tell(&self, event: Event) {
        self.audience.tell(&event);
        if let Some(face) = &self.face {
            face.tell(event);
        }
    }

    fn appear(&self, run: u32) -> Face {
        let (ours, link) = link::pair();
        if let Some(snapshot) = self.world.daemon.snapshot() {
            ours.snapshots.send_replace(Arc::new(snapshot.clone()));
        }
        let (shows, shown) = watch::channel(self.shown());
        let simulator = Simulator {
            servers: self.scenario.servers,
            shown,
            orders: self.order_here.clone(),
            authority: Arc::clone(&self.authority),
        };
        Face::appear(run, self.bus.clone(), (ours, link.with_history(self.history.clone())), shows, simulator)
    }
}
