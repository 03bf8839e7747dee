//! What can be done to the simulated machine: by a step of a story, or by a call. One vocabulary for both.

use mirrorkeeper_core::input::{Command, Refusal};
use mirrorkeeper_sys::sim::World;
use mirrorkeeper_sys::sim::hand::Swap;
use mirrorkeeper_sys::sim::server::Fault;
use std::fmt;

/// Something done to a server, the client or the daemon. Servers are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A server stops answering.
    Strike(usize, Fault),
    /// It answers again.
    Return(usize),
    /// Something else stands on its LUNs.
    Swap(usize, Swap),
    /// Another machine goes on with its LUNs.
    UseElsewhere(usize),
    /// The client is rebooted in good order.
    RebootClient,
    /// The daemon dies and is started again.
    KillDaemon,
    /// `EnterMaintenance()`.
    EnterMaintenance(usize),
    /// `LeaveMaintenance()`.
    LeaveMaintenance(usize),
    /// `Resolve()` of one mirror or all: that server's legs are kept.
    Resolve(usize, Option<String>),
    /// `Check()` of a mirror.
    Check(String),
    /// Time passes at once, in seconds.
    Advance(u64),
}

/// Faults by the word that a story calls them by.
pub const FAULTS: [(&str, Fault); 4] =
    [("cut", Fault::Cut), ("power-off", Fault::Power), ("refuse", Fault::Refused), ("hang", Fault::Hung)];

/// What may stand on LUNs, by its word.
pub const SWAPS: [(&str, Swap); 5] = [
    ("blank", Swap::Blank),
    ("foreign", Swap::Foreign),
    ("smaller", Swap::Smaller),
    ("rolled-back", Swap::RolledBack),
    ("original", Swap::Original),
];

/// Longest leap in seconds: a day, some ten thousand happenings, is through in seconds.
pub const LONGEST_LEAP: u64 = 86_400;

/// A server's name: letters from `a`.
pub fn server_name(server: usize) -> String {
    char::from(b'a' + u8::try_from(server % 26).unwrap_or(0)).to_string()
}

/// The server of that name, one of `count`.
pub fn server_named(name: &str, count: usize) -> Option<usize> {
    (0..count).find(|server| server_name(*server) == name)
}

fn word<T: PartialEq>(words: &[(&'static str, T)], meant: &T) -> &'static str {
    words.iter().find(|(_, thing)| thing == meant).map_or("", |(word, _)| word)
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strike(server, fault) => write!(f, "{} {}", word(&FAULTS, fault), server_name(*server)),
            Self::Return(server) => write!(f, "return {}", server_name(*server)),
            Self::Swap(server, what) => write!(f, "swap {} {}", server_name(*server), word(&SWAPS, what)),
            Self::UseElsewhere(server) => write!(f, "use-elsewhere {}", server_name(*server)),
            Self::RebootClient => f.write_str("reboot-client"),
            Self::KillDaemon => f.write_str("kill-daemon"),
            Self::EnterMaintenance(server) => write!(f, "enter-maintenance {}", server_name(*server)),
            Self::LeaveMaintenance(server) => write!(f, "leave-maintenance {}", server_name(*server)),
            Self::Resolve(server, None) => write!(f, "resolve {}", server_name(*server)),
            Self::Resolve(server, Some(mirror)) => write!(f, "resolve {} {mirror}", server_name(*server)),
            Self::Check(mirror) => write!(f, "check {mirror}"),
            Self::Advance(seconds) => write!(f, "advance {seconds}s"),
        }
    }
}

impl Deed {
    /// Does it. Time passes by itself only where the machine takes its time, in a reboot; [`Self::Advance`] is the
    /// caller's.
    ///
    /// # Errors
    /// When it cannot be done now, or the daemon refuses.
    pub fn perform(&self, world: &mut World, uid: u32) -> Result<(), Refusal> {
        match self {
            Self::Strike(server, fault) => world.down(*server, *fault),
            Self::Return(server) => world.up(*server),
            Self::Swap(server, what) => {
                gone(world, *server)?;
                world.exchange(*server, *what);
            }
            Self::UseElsewhere(server) => {
                gone(world, *server)?;
                if !world.use_elsewhere(*server) {
                    let why = format!("the legs on {} are not lost yet; wait for leg-lost", server_name(*server));
                    return Err(Refusal::Busy(why));
                }
            }
            Self::RebootClient => world.reboot(false),
            Self::KillDaemon => world.kill_daemon(),
            Self::EnterMaintenance(server) => {
                ask(world, Command::EnterMaintenance { server: server_name(*server).into(), uid })?;
            }
            Self::LeaveMaintenance(server) => {
                ask(world, Command::LeaveMaintenance { server: server_name(*server).into(), uid })?;
            }
            Self::Resolve(server, mirror) => resolve(world, *server, mirror.as_deref(), uid)?,
            Self::Check(mirror) => {
                let volume = world.volume_named(mirror);
                let volume = volume.ok_or_else(|| Refusal::NoSuchObject(format!("no mirror {mirror}")))?;
                let mirror = world.volumes[volume].names.uuid.clone();
                ask(world, Command::Check { mirror, uid })?;
            }
            Self::Advance(_) => {}
        }
        // Whoever was poked looks.
        world.run_for(0);
        Ok(())
    }
}

fn gone(world: &World, server: usize) -> Result<(), Refusal> {
    let name = server_name(server);
    let answers = world.servers[server].answers();
    if answers { Err(Refusal::Busy(format!("{name} answers; it has to be lost first"))) } else { Ok(()) }
}

fn ask(world: &mut World, command: Command) -> Result<(), Refusal> {
    match world.command(command) {
        Some(answer) => answer.map(drop),
        None => Err(Refusal::Busy("the daemon is not running".to_owned())),
    }
}

/// One order holds for all volumes of its VG, so it is enough that one of them takes it.
fn resolve(world: &mut World, server: usize, mirror: Option<&str>, uid: u32) -> Result<(), Refusal> {
    let mut last = Err(Refusal::NotHeld("no mirror waits for anybody's choice".to_owned()));
    for volume in 0..world.volumes.len() {
        let names = &world.volumes[volume].names;
        let held = world.shown(volume).is_some_and(|shown| shown.hold.is_some());
        if !held || mirror.is_some_and(|mirror| mirror != names.full) {
            continue;
        }
        let (mirror, vg) = (names.uuid.clone(), &world.vgs[world.volumes[volume].vg]);
        let place = vg.luns.iter().position(|lun| world.luns[*lun].server == server);
        let Some(keep) = place.map(|place| vg.pvs[place].clone()) else { continue };
        let answer = ask(world, Command::Resolve { mirror, keep, uid });
        last = if last.is_ok() { last } else { answer };
    }
    last
}
