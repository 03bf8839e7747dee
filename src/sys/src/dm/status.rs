//! Status and table lines of the targets we care for. Parsers only report; what a line means is the core's business.
//!
//! Fields are taken by count, unknown trailing ones ignored: dm-raid has grown its status line four times
//! (`facts/lvm.md` 1.1). A line of ours that cannot be understood becomes `Unreadable`, which means hold.

use super::wire::Line;
use crate::error::{Error, Result};
use mirrorkeeper_core::ids::DevNo;
use mirrorkeeper_core::observation::{DmTarget, LegHealth, MirrorLog, MirrorStatus, RaidStatus, RaidTable, SyncAction};

/// Whether table and status were taken of the same table.
pub fn same_shape(table: &[Line], info: &[Line]) -> bool {
    let shape = |l: &Line| (l.start, l.length, l.kind.clone());
    table.iter().map(shape).eq(info.iter().map(shape))
}

/// Joins table lines with their status lines.
pub fn targets(table: &[Line], info: &[Line]) -> Vec<DmTarget> {
    if same_shape(table, info) {
        return table.iter().zip(info).map(|(t, i)| target(&t.kind, &t.params, &i.params)).collect();
    }
    let why = "table and status differ in shape: the table is being swapped".to_owned();
    table.iter().map(|t| DmTarget::Unreadable { kind: t.kind.clone(), why: why.clone() }).collect()
}

/// One target from its type, the rest of its table line and the rest of its status line.
pub fn target(kind: &str, table: &str, info: &str) -> DmTarget {
    let read = match kind {
        "raid" => raid_table(table).and_then(|table| Ok(DmTarget::Raid { table, status: raid_status(info)? })),
        "mirror" => mirror_table(table).and_then(|(handle_errors, nosync)| {
            Ok(DmTarget::Mirror { handle_errors, nosync, status: mirror_status(info)? })
        }),
        "linear" => linear(table),
        "error" => Ok(DmTarget::Error),
        other => Ok(DmTarget::Other(other.to_owned())),
    };
    read.unwrap_or_else(|e| DmTarget::Unreadable { kind: kind.to_owned(), why: e.to_string() })
}

/// `raid1 2 AA 262144/262144 idle 0 0 -`: `type legs health ratio [action mismatches [data_offset [journal]]]`.
///
/// # Errors
/// When one of the first four fields is missing or no number where one belongs, or the action has no count.
pub fn raid_status(line: &str) -> Result<RaidStatus> {
    let mut words = Words::new("raid status", line);
    words.next("raid type")?;
    let devices = words.number::<usize>("number of legs")?;
    // Legs removed during the first sync leave fewer letters than devices (libdm-targets.c). More letters than
    // devices mean a line this program does not know.
    let health: Vec<_> = words.next("health")?.chars().map(leg_health).collect();
    if health.len() > devices {
        return Err(words.bad("more health letters than legs"));
    }
    let (done, total) = words.ratio()?;
    let (action, mismatches) = match words.maybe() {
        Some(action) => (sync_action(action), words.number("mismatch count")?),
        None => (SyncAction::Other(String::new()), 0),
    };
    Ok(RaidStatus { health, done, total, action, mismatches })
}

/// `raid1 5 0 write_mostly 1 region_size 4096 2 253:3 253:4 253:5 253:6`: type, count, parameters, legs, pairs.
///
/// The legs are the devices at the end of the line. The count of parameters is not relied upon: it includes words of
/// kernels to come, and it was printed wrong before.
///
/// # Errors
/// When the number of devices is odd, or not what the line says, or a write-mostly leg is no number.
pub fn raid_table(line: &str) -> Result<RaidTable> {
    let bad = |why: &str| malformed("raid table", line, why);
    let words: Vec<&str> = line.split_whitespace().collect();
    let (Some(raid_type), Some(_count)) = (words.first(), words.get(1)) else { return Err(bad("too short")) };
    let is_device = |word: &&&str| **word == "-" || DevNo::parse(word).is_ok();
    let devices = words.iter().skip(2).rev().take_while(is_device).count();
    let (head, legs) = words.split_at(words.len() - devices);
    let (Some((said, params)), true) = (head.get(2..).and_then(<[&str]>::split_last), devices > 0) else {
        return Err(bad("no legs at its end"));
    };
    if devices % 2 != 0 || said.parse() != Ok(devices / 2) {
        return Err(bad("number of legs and devices differ"));
    }
    let legs = legs.chunks_exact(2).map(|pair| (DevNo::parse(pair[0]).ok(), DevNo::parse(pair[1]).ok())).collect();
    let write_mostly = params.windows(2).filter(|pair| pair[0] == "write_mostly").map(|pair| pair[1].parse());
    let write_mostly = write_mostly.collect::<Result<_, _>>().map_err(|_| bad("write_mostly without a leg"))?;
    Ok(RaidTable { raid_type: (*raid_type).to_owned(), legs, write_mostly })
}

/// `2 253:0 253:1 32/32 1 AA 1 core`: legs, devices, ratio, 1, health, log arguments, log type and for a disk device and letter.
///
/// # Errors
/// When a field is missing or does not parse.
pub fn mirror_status(line: &str) -> Result<MirrorStatus> {
    let mut words = Words::new("mirror status", line);
    let count = words.number::<usize>("number of legs")?;
    // Collected one by one: the count is not trusted for an allocation.
    let legs = (0..count).map(|_| words.device()).collect::<Result<Vec<_>>>()?;
    let (in_sync, total) = words.ratio()?;
    let health = match words.number::<usize>("number of health fields")? {
        0 => Vec::new(),
        _ => words.next("health")?.chars().collect(),
    };
    words.next("number of log arguments")?;
    let log = match words.next("log type")? {
        "core" => MirrorLog::Core,
        "disk" => MirrorLog::Disk(words.device()?, words.letter("log health")?),
        other => MirrorLog::Other(other.to_owned()),
    };
    Ok(MirrorStatus { legs, in_sync, total, health, log })
}

/// Whether `core 2 4096 nosync 2 253:0 0 253:1 0 1 handle_errors` says `handle_errors`, and `nosync`: log type, arguments,
/// legs, features.
///
/// # Errors
/// When it ends before the legs do.
pub fn mirror_table(line: &str) -> Result<(bool, bool)> {
    let mut words = Words::new("mirror table", line);
    words.next("log type")?;
    let mut nosync = false;
    for _ in 0..words.number::<usize>("number of log arguments")? {
        nosync |= words.next("log argument")? == "nosync";
    }
    for _ in 0..words.number::<usize>("number of legs")? {
        words.next("leg")?;
        words.next("offset")?;
    }
    Ok((words.rest.any(|word| word == "handle_errors"), nosync))
}

/// `8:16 141312`: device and first sector on it.
fn linear(line: &str) -> Result<DmTarget> {
    let mut words = Words::new("linear table", line);
    Ok(DmTarget::Linear { dev: words.device()?, offset: words.number("offset")? })
}

fn leg_health(letter: char) -> LegHealth {
    match letter {
        'A' => LegHealth::InSync,
        'a' => LegHealth::Syncing,
        'D' => LegHealth::Dead,
        '-' => LegHealth::Absent,
        other => LegHealth::Other(other),
    }
}

fn sync_action(word: &str) -> SyncAction {
    match word {
        "idle" => SyncAction::Idle,
        "resync" => SyncAction::Resync,
        "recover" => SyncAction::Recover,
        "check" => SyncAction::Check,
        "repair" => SyncAction::Repair,
        "frozen" => SyncAction::Frozen,
        other => SyncAction::Other(other.to_owned()),
    }
}

fn malformed(what: &str, line: &str, why: &str) -> Error {
    let line: String = line.chars().take(200).collect();
    Error::malformed(format!("{what} {line:?}"), why)
}

/// The words of a line, taken one after the other.
struct Words<'a> {
    what: &'static str,
    line: &'a str,
    rest: std::str::SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn new(what: &'static str, line: &'a str) -> Self {
        Self { what, line, rest: line.split_whitespace() }
    }

    fn bad(&self, why: &str) -> Error {
        malformed(self.what, self.line, why)
    }

    fn maybe(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    fn next(&mut self, name: &str) -> Result<&'a str> {
        self.maybe().ok_or_else(|| self.bad(&format!("{name} is missing")))
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<T> {
        self.next(name)?.parse().map_err(|_| self.bad(&format!("{name} is no number")))
    }

    fn device(&mut self) -> Result<DevNo> {
        DevNo::parse(self.next("device")?).map_err(|e| self.bad(&e.to_string()))
    }

    fn letter(&mut self, name: &str) -> Result<char> {
        self.next(name)?.chars().next().ok_or_else(|| self.bad(&format!("{name} is missing")))
    }

    fn ratio(&mut self) -> Result<(u64, u64)> {
        let bad = |words: &Self| words.bad("ratio is not done/total");
        let (done, total) = self.next("ratio")?.split_once('/').ok_or_else(|| bad(self))?;
        Ok((done.parse().map_err(|_| bad(self))?, total.parse().map_err(|_| bad(self))?))
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
