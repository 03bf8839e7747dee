//! A scenario: of what the simulated machine is made, and the story that is told with it. Read from a file in TOML, in
//! full or not at all; what is wrong is told with file, line and key.

use super::deed::{Deed, FAULTS, LONGEST_LEAP, SWAPS, server_named};
use super::table::{Source, Table};
use crate::config::{Place, Problem};
use mirrorkeeper_sys::sim::content::Kind;
use std::path::Path;
use std::time::Duration;
use toml::de::DeTable;

/// The story that is told when no other is asked for. It shows the format, too.
const BUILT_IN: &str = include_str!("story.toml");

/// Mirrors of a scenario at most: more than any desktop shows; one instruction stream models them all.
const MOST_MIRRORS: usize = 100;

/// VGs at most; the model numbers them by one digit.
const MOST_VGS: usize = 10;

/// Servers of a scenario. One would mirror nothing; LVM's `mirror` knows eight legs, nobody has more than four.
const SERVERS: std::ops::RangeInclusive<i64> = 2..=4;

/// What does not take a server and what does, for people.
const DEEDS: &str = "cut, power-off, refuse, hang, return, swap, use-elsewhere, enter-maintenance, leave-maintenance, \
                     resolve, check, reboot-client, kill-daemon, advance";

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Storage servers; every VG has a PV on each.
    pub servers: usize,
    /// Mirrors by the number of their VG.
    pub vgs: Vec<Vec<(String, Kind)>>,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What happens, in order of time since the story began.
    pub story: Vec<(Duration, Deed)>,
    /// The story begins again when it has ended.
    pub repeat: bool,
}

impl Scenario {
    /// The built-in one.
    ///
    /// # Errors
    /// Never; a test reads it.
    pub fn built_in() -> Result<Self, Problem> {
        Self::parse(Path::new("story.toml"), BUILT_IN)
    }

    /// The built-in world, in which nothing happens by itself.
    ///
    /// # Errors
    /// As [`Self::built_in`].
    pub fn without_story() -> Result<Self, Problem> {
        Ok(Self { story: Vec::new(), repeat: false, ..Self::built_in()? })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// At the first thing that is not understood.
    pub fn load(file: &Path) -> Result<Self, Problem> {
        let unreadable = |error| Problem {
            place: Place { file: file.to_owned(), line: None },
            why: format!("cannot be read: {error}"),
        };
        Self::parse(file, &std::fs::read_to_string(file).map_err(unreadable)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// At the first thing that is not understood.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let source = Source { file, text };
        let document = DeTable::parse(text).map_err(|error| source.problem(error.span(), error.message()))?;
        let top = Table::top(source, document.get_ref());
        top.only(&["loop", "world", "step"])?;
        let (servers, seed, vgs) = world(&top)?;
        let mut story = Vec::new();
        for step in top.tables("step")? {
            let (at, deed) = self::step(&step, servers, &vgs)?;
            if story.last().is_some_and(|(before, _)| *before > at) {
                return Err(step.wrong("at", "a step stands before one that comes earlier; sort them by time"));
            }
            story.push((at, deed));
        }
        let repeat = top.flag("loop")?.unwrap_or(false);
        if repeat && story.last().is_none_or(|(at, _)| at.is_zero()) {
            return Err(top.wrong("loop", "there is no story that takes time"));
        }
        Ok(Self { servers, vgs, seed, story, repeat })
    }
}

type World = (usize, u64, Vec<Vec<(String, Kind)>>);

fn world(top: &Table<'_, '_>) -> Result<World, Problem> {
    let Some(world) = top.table("world")? else { return Ok((2, 1, default_volumes())) };
    world.only(&["servers", "seed", "raid1", "mirror"])?;
    let servers = world.number("servers", SERVERS)?.unwrap_or(2);
    let seed = world.number("seed", 0..=i64::MAX)?.unwrap_or(1);
    let mut vgs: Vec<Vec<(String, Kind)>> = Vec::new();
    let mut count = 0;
    for (key, kind) in [("raid1", Kind::Raid1), ("mirror", Kind::Mirror)] {
        for name in world.words(key)? {
            let digit =
                |vg: &str| vg.strip_prefix("vg").and_then(|n| n.parse::<usize>().ok()).filter(|n| *n < MOST_VGS);
            let split = name.split_once('/').and_then(|(vg, lv)| Some((digit(vg)?, lv)));
            let Some((vg, lv)) = split.filter(|(_, lv)| is_lv(lv)) else {
                return Err(world.wrong(key, &format!("{name:?}: mirrors are named vg0/NAME to vg9/NAME")));
            };
            vgs.resize(vgs.len().max(vg + 1), Vec::new());
            if vgs[vg].iter().any(|(known, _)| known == lv) {
                return Err(world.wrong(key, &format!("{name:?} is there twice")));
            }
            vgs[vg].push((lv.to_owned(), kind));
            count += 1;
        }
    }
    if count > MOST_MIRRORS {
        let key = if world.words("raid1")?.is_empty() { "mirror" } else { "raid1" };
        return Err(world.wrong(key, &format!("{count} mirrors; at most {MOST_MIRRORS}")));
    }
    if let Some(empty) = vgs.iter().position(Vec::is_empty) {
        return Err(world.wrong("raid1", &format!("there is no mirror in vg{empty}; VGs are numbered without gaps")));
    }
    let vgs = if vgs.is_empty() { default_volumes() } else { vgs };
    Ok((usize::try_from(servers).unwrap_or(2), u64::try_from(seed).unwrap_or(1), vgs))
}

/// As in the lab, and one more.
fn default_volumes() -> Vec<Vec<(String, Kind)>> {
    vec![vec![("r1".into(), Kind::Raid1), ("r2".into(), Kind::Raid1), ("testlv".into(), Kind::Mirror)]]
}

/// What LVM allows, less what needs escaping in the names of devices.
fn is_lv(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+_.".contains(&b))
}

/// One step and when it is taken.
fn step(step: &Table<'_, '_>, servers: usize, vgs: &[Vec<(String, Kind)>]) -> Result<(Duration, Deed), Problem> {
    let at = Duration::from_secs(step.span_of_time("at", LONGEST_LEAP)?);
    let server = || {
        let name = step.must("server", step.word("server")?)?;
        let wrong = || step.wrong("server", &format!("{name:?}: there are {servers}, named a, b and so on"));
        server_named(name, servers).ok_or_else(wrong)
    };
    let mirror = || {
        let Some(name) = step.word("mirror")? else { return Ok(None) };
        let known = |name: &str| {
            let mut all = vgs.iter().enumerate().flat_map(|(n, lvs)| lvs.iter().map(move |(lv, _)| (n, lv)));
            all.any(|(n, lv)| format!("vg{n}/{lv}") == name)
        };
        let wrong = || step.wrong("mirror", &format!("{name:?}: no such mirror in [world]"));
        known(name).then(|| Some(name.to_owned())).ok_or_else(wrong)
    };
    let verb = step.must("do", step.word("do")?)?;
    let (deed, takes): (Deed, &[&str]) = match verb {
        "return" => (Deed::Return(server()?), &["server"]),
        "swap" => (Deed::Swap(server()?, step.one_of("with", &SWAPS)?), &["server", "with"]),
        "use-elsewhere" => (Deed::UseElsewhere(server()?), &["server"]),
        "enter-maintenance" => (Deed::EnterMaintenance(server()?), &["server"]),
        "leave-maintenance" => (Deed::LeaveMaintenance(server()?), &["server"]),
        "resolve" => (Deed::Resolve(server()?, mirror()?), &["server", "mirror"]),
        "check" => (Deed::Check(step.must("mirror", mirror()?)?), &["mirror"]),
        "reboot-client" => (Deed::RebootClient, &[]),
        "kill-daemon" => (Deed::KillDaemon, &[]),
        "advance" => (Deed::Advance(step.span_of_time("by", LONGEST_LEAP)?), &["by"]),
        other => match FAULTS.iter().find(|(word, _)| *word == other) {
            Some((_, fault)) => (Deed::Strike(server()?, *fault), &["server"]),
            None => return Err(step.wrong("do", &format!("{other:?}: accepted are {DEEDS}"))),
        },
    };
    step.only(&[&["at", "do"], takes].concat())?;
    Ok((at, deed))
}

#[cfg(test)]
mod tests;
