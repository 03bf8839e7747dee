//! The engine: one owner of everything that is believed, one function that turns an input into effects.

use crate::input::{Effect, Input};
use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::time::Now;

/// How the ledger file was found at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerFound {
    /// Read.
    Good(Box<Ledger>),
    /// There is none: first start.
    Absent,
    /// There is one that cannot be used; why, and where it was put aside.
    Damaged(String),
}

/// Everything believed, and what is being done about it.
#[derive(Debug)]
pub struct Engine {
    snapshot: Snapshot,
}

impl Engine {
    /// Begins with what was remembered. `boot_id` is the kernel's, to tell this boot's notes from the last one's.
    pub fn new(_settings: Settings, _ledger: LedgerFound, _boot_id: &str) -> Self {
        Self { snapshot: Snapshot::default() }
    }

    /// Takes in one input and says what to do.
    pub fn step(&mut self, _now: Now, _input: Input) -> Vec<Effect> {
        Vec::new()
    }

    /// The read model after the last step.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}
