//! Who may run now: one operation at a time on a VG, a target, a disk; and the same one again only after a growing pause.
//!
//! Success is never asked of the tool. If after an operation the plan is still the same operation, it did not work.

use crate::ids::{OpId, TargetKey, VgUuid};
use crate::name::Name;
use crate::op::{Op, OpResult, Throttle};
use crate::session::pause;
use crate::settings::Settings;
use crate::time::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

/// What an operation occupies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Its metadata and tables.
    Vg(VgUuid),
    /// Its session.
    Target(TargetKey),
    /// Its SCSI device.
    Disk(Name),
    /// Its socket.
    Socket(TargetKey),
    /// A read, or a knock, that tells whether its server answers.
    Reach(TargetKey),
    /// Its end: must not wait behind a login or a write to the same session.
    Fence(TargetKey),
    /// The iSCSI daemon.
    Iscsid,
    /// A throttle.
    Throttle(Throttle),
}

/// An operation under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Its number.
    pub id: OpId,
    /// What it does.
    pub op: Op,
    /// Since when.
    pub since: Mono,
    /// It has outlived its deadline and is still not gone.
    pub overdue: bool,
}

/// The last operation of a kind in a slot.
#[derive(Debug, Clone)]
struct Last {
    op: Op,
    ended: Mono,
    /// How often it ran in a row.
    times: u32,
}

/// Why an operation may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Something runs in its slot.
    Occupied,
    /// It ran already and changed nothing; due again then.
    Until(Mono),
}

/// Operations under way and what came before them.
#[derive(Debug, Default)]
pub struct Arbiter {
    running: BTreeMap<Slot, Running>,
    last: BTreeMap<(Slot, &'static str), Last>,
    next_id: u64,
}

/// Code of [`Op::Probe`].
const PROBE: &str = "probe";

/// First and longest pause between tries of an operation.
fn backoff(op: &Op, settings: &Settings) -> (Duration, Duration) {
    match op {
        Op::Login { .. } | Op::Knock { .. } => settings.login_backoff,
        // Writers hang meanwhile.
        Op::Fence { .. } | Op::ReadDirect { .. } | Op::DestroySocket { .. } => {
            (Duration::from_secs(1), Duration::from_secs(1))
        }
        // It paces itself.
        Op::SampleSocket { .. } => (Duration::ZERO, Duration::ZERO),
        _ => settings.heal_backoff,
    }
}

/// The slot of an operation.
pub fn slot(op: &Op) -> Slot {
    match op {
        Op::Probe { vg, .. } | Op::Flush { vg, .. } => Slot::Vg(vg.clone()),
        Op::Login { target } | Op::SetRecoveryTmo { target, .. } | Op::UpdateNode { target, .. } => {
            Slot::Target(target.clone())
        }
        Op::SetDetect { target, .. }
        | Op::SampleSocket { target, .. }
        | Op::DestroySocket { target, .. }
        | Op::ClearConnection { target, .. } => Slot::Socket(target.clone()),
        Op::ReadDirect { target, .. } | Op::Knock { target, .. } => Slot::Reach(target.clone()),
        Op::Fence { target, .. } => Slot::Fence(target.clone()),
        Op::Rescan { disk }
        | Op::SetOffline { disk }
        | Op::SetRunning { disk }
        | Op::Announce { disk }
        | Op::Register { disk, .. }
        | Op::Unregister { disk, .. } => Slot::Disk(disk.clone()),
        Op::StartIscsid => Slot::Iscsid,
        Op::ReadThrottle { throttle } | Op::SetThrottle { throttle, .. } => Slot::Throttle(*throttle),
        _ => op.writes_vg().map_or(Slot::Iscsid, |vg| Slot::Vg(vg.clone())),
    }
}

impl Arbiter {
    /// Whether an operation may start now. The second try comes at once: the first `--writemostly` after a new device name
    /// only points the leg at its device (`facts/lab.md` A). From the third on the pause doubles.
    ///
    /// # Errors
    /// Why not.
    pub fn may_start(&self, op: &Op, now: Mono, settings: &Settings) -> Result<(), Refused> {
        let backoff = backoff(op, settings);
        let slot = slot(op);
        if self.running.contains_key(&slot) {
            return Err(Refused::Occupied);
        }
        match self.last.get(&(slot, op.code())) {
            Some(last) if last.op.is_again(op) && last.times >= 2 => {
                let due = last.ended.after(pause(backoff.0, backoff.1, last.times - 1, op.code()));
                if due <= now { Ok(()) } else { Err(Refused::Until(due)) }
            }
            _ => Ok(()),
        }
    }

    /// Notes the start of an operation and numbers it.
    pub fn start(&mut self, op: &Op, now: Mono) -> OpId {
        self.next_id += 1;
        let id = OpId(self.next_id);
        self.running.insert(slot(op), Running { id, op: op.clone(), since: now, overdue: false });
        id
    }

    /// Notes the end of an operation and returns it. A writer that outlived its deadline keeps its slot until it is gone.
    pub fn ended(&mut self, id: OpId, result: &OpResult, now: Mono) -> Option<Op> {
        let (slot, running) = self.running.iter_mut().find(|(_, running)| running.id == id)?;
        if *result == OpResult::TimedOut && running.op.writes_vg().is_some() && !running.overdue {
            running.overdue = true;
            return None;
        }
        let slot = slot.clone();
        let running = self.running.remove(&slot)?;
        // Each step looks anew; only looking again without having done anything in between is looking in vain.
        if running.op.writes_vg().is_some() {
            self.last.retain(|(other, code), _| *other != slot || *code != PROBE);
        }
        let kind = (slot, running.op.code());
        let times = self.last.get(&kind).filter(|last| last.op.is_again(&running.op)).map_or(1, |last| last.times + 1);
        self.last.insert(kind, Last { op: running.op.clone(), ended: now, times });
        Some(running.op)
    }

    /// When operations that are held back may be tried again.
    pub fn due(&self, settings: &Settings) -> impl Iterator<Item = Mono> {
        let again = |((_, code), last): (&(Slot, &'static str), &Last)| {
            let (first, longest) = backoff(&last.op, settings);
            (last.times >= 2).then(|| last.ended.after(pause(first, longest, last.times - 1, code)))
        };
        self.last.iter().filter_map(again)
    }

    /// Operations under way.
    pub fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// The operation under way in a slot.
    pub fn occupied(&self, slot: &Slot) -> Option<&Running> {
        self.running.get(slot)
    }

    /// Forgets what ran before in all slots: the facts have changed, or a person asks for another try.
    pub fn fresh_start(&mut self) {
        self.last.clear();
    }
}
