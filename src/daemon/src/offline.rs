//! What is done in the daemon's place while it does not run: by the fallback unit at boot, and by the package's scripts.
//!
//! Nothing here judges legs, so nothing here may do more than stock LVM would: volumes are activated complete or not at
//! all, and what this daemon left behind is taken away. Never beside a running daemon (the lock on the state directory
//! tells), never for long, and each task may be repeated. Of the ledger only names are read, so that one of another
//! version will do.

mod host;
mod timeouts;

pub use host::{Host, disk_below};

use crate::ledgerfile::{self, Locked};
use mirrorkeeper_core::continuity;
use mirrorkeeper_core::ids::VgUuid;
use mirrorkeeper_core::observation::{LvmView, SessionObs, VgObs};
use mirrorkeeper_core::op::{OnDeadline, Op, VgRef, stamp_of};
use mirrorkeeper_sys::child::Ended;
use mirrorkeeper_sys::lvm;
use mirrorkeeper_sys::probe::Verb;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Say which mirrors LVM does not activate because of us.
    Gated,
    /// Activate these mirrors, complete only.
    Fallback,
    /// Have LVM activate them again by itself.
    Ungate,
    /// That, put the timeouts of sessions back, and take our tags and registrations off the disks.
    Purge,
}

/// How it went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Names, or what was done and what was not.
    pub lines: Vec<String>,
    /// Something is left undone.
    pub failed: bool,
}

impl Report {
    fn done(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], failed: false }
    }

    fn failed(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], failed: true }
    }

    fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        Self { failed: self.failed || other.failed, ..self }
    }
}

/// Commands, within the time that is left for all of them.
pub trait Tools {
    /// Runs one to its end; an error says why there is none, or what came back when it failed.
    fn run(&mut self, argv: Vec<String>, late: OnDeadline) -> impl Future<Output = Result<Ended, String>>;
    /// Kernel name of the SCSI disk that a PV's device is on, if it is on one.
    fn disk(&self, device: &str) -> Option<String>;
    /// The iSCSI sessions that there are.
    fn sessions(&self) -> Vec<SessionObs>;
    /// Writes `recovery_tmo` of a session, in seconds; an error says what came back.
    fn set_recovery_tmo(&mut self, sid: u32, seconds: u32) -> Result<(), String>;
    /// `/etc/machine-id`; empty when it cannot be read.
    fn machine_id(&self) -> String;
}

/// The part of the ledger that is needed here.
#[derive(Debug, Default, Deserialize)]
struct Ledger {
    vgs: BTreeMap<VgUuid, serde::de::IgnoredAny>,
    mirrors: BTreeMap<String, Record>,
    #[serde(default)]
    targets: BTreeMap<String, timeouts::Found>,
}

#[derive(Debug, Deserialize)]
struct Record {
    name: String,
    #[serde(default)]
    gated: bool,
}

impl Ledger {
    fn read(dir: &Path) -> Result<Self, String> {
        let path = dir.join("ledger.json");
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("read {}: {error}", path.display())),
        }
    }

    fn gated(&self) -> Vec<String> {
        self.mirrors.values().filter(|record| record.gated).map(|record| record.name.clone()).collect()
    }
}

/// Does the task with what is remembered in `state_dir`.
pub async fn run(task: Task, state_dir: &Path, tools: &mut impl Tools) -> Report {
    let ledger = Ledger::read(state_dir);
    if task == Task::Gated {
        return match ledger {
            Ok(ledger) => Report { lines: ledger.gated(), failed: false },
            Err(why) => Report::failed(why),
        };
    }
    let _lock = match ledgerfile::lock(state_dir) {
        Ok(Locked::Taken) => {
            let line = format!("a mirrorkeeperd uses {}; nothing is done beside it", state_dir.display());
            return Report { lines: vec![line], failed: task != Task::Fallback };
        }
        Ok(Locked::Ours(lock)) => Some(lock),
        // A disk that cannot hold the lock cannot hold a daemon either.
        Err(_) => None,
    };
    match task {
        Task::Gated => Report::default(),
        Task::Fallback => fallback(ledger, tools).await,
        Task::Ungate => ungate(ledger.as_ref(), tools).await,
        Task::Purge => {
            let gate = ungate(ledger.as_ref(), tools).await;
            let ledger = ledger.unwrap_or_default();
            // First, since it does not wait for storage.
            let timeouts = timeouts::restore(&ledger.targets, tools).await;
            gate.and(timeouts).and(clean(&ledger, tools).await)
        }
    }
}

/// A leg that is behind cannot be told from a good one here, as it cannot by LVM: but a machine that is healthy must boot.
async fn fallback(ledger: Result<Ledger, String>, tools: &mut impl Tools) -> Report {
    let activate = |command: &str| ["lvm", command, "-ay", "--activationmode", "complete"].map(String::from).to_vec();
    match ledger.map(|ledger| ledger.gated()) {
        Ok(gated) if gated.is_empty() => Report::done("LVM activates everything by itself; nothing to do"),
        Ok(gated) => attempt([activate("lvchange"), gated].concat(), tools).await,
        // Which ones is not known, so all of them.
        Err(why) => Report::done(why).and(attempt(activate("vgchange"), tools).await),
    }
}

async fn ungate(ledger: Result<&Ledger, &String>, tools: &mut impl Tools) -> Report {
    let gated = match ledger {
        Ok(ledger) => ledger.gated(),
        Err(why) => {
            return Report::failed(format!("{why}; see `lvs -o+autoactivation` for what LVM does not activate"));
        }
    };
    if gated.is_empty() {
        return Report::done("LVM activates everything by itself; nothing to put back");
    }
    let argv = ["lvm", "lvchange", "--setautoactivation", "y"].map(String::from).to_vec();
    attempt([argv, gated].concat(), tools).await
}

/// Takes our tags and registrations away, from every VG that has a tag of ours or that the ledger knows.
async fn clean(ledger: &Ledger, tools: &mut impl Tools) -> Report {
    let view = match vgs(tools).await {
        Ok(view) => view,
        Err(why) => return Report::failed(format!("the volume groups cannot be listed: {why}")),
    };
    let mut report = Report::default();
    for vg in &view.vgs {
        let stamps: Vec<u64> = vg.tags.iter().filter_map(|tag| stamp_of(tag)).collect();
        if stamps.is_empty() && !ledger.vgs.contains_key(&vg.uuid) {
            continue;
        }
        if !stamps.is_empty() {
            let vg = VgRef { uuid: vg.uuid.clone(), name: vg.name.clone() };
            let argv = Op::Unstamp { vg, drop: stamps }.argv().unwrap_or_default();
            report = report.and(attempt(argv, tools).await);
        }
        for verb in registrations(vg, tools) {
            report = report.and(attempt(verb.argv(), tools).await);
        }
    }
    report
}

/// A child that takes away a key touches nothing where it is not ours.
fn registrations(vg: &VgObs, tools: &impl Tools) -> Vec<Verb> {
    let machine = tools.machine_id();
    let disk = |device: &Option<String>| tools.disk(device.as_deref()?);
    let pvs = vg.pvs.iter().filter(|_| !machine.is_empty());
    pvs.filter_map(|pv| Some(Verb::Unregister(disk(&pv.device)?, continuity::key(&machine, &pv.uuid)))).collect()
}

async fn vgs(tools: &mut impl Tools) -> Result<LvmView, String> {
    let ended = tools.run(lvm::report::argv(), OnDeadline::Kill).await?;
    lvm::report::parse(&String::from_utf8_lossy(&ended.stdout)).map_err(|e| e.to_string())
}

async fn attempt(argv: Vec<String>, tools: &mut impl Tools) -> Report {
    let line = argv.join(" ");
    match tools.run(argv, OnDeadline::TermAndWait).await {
        Ok(_) => Report::done(line),
        Err(why) => Report::failed(format!("{line}: {why}")),
    }
}

#[cfg(test)]
mod tests;
