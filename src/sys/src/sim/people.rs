//! People at the bus: they ask what would be done, choose a leg, activate, and have a VG forgotten, at good moments and at
//! bad ones. What must be refused is refused; what is accepted is the truth from then on.

use super::clock::SECOND;
use super::truth::History;
use super::volume::Live;
use super::world::World;
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeper_core::snapshot::MirrorView;
use mirrorkeeper_core::words::MirrorState;

/// How long the ledger may take to be on disk: two writes of 50 ms, and room.
const SAVED: u64 = SECOND / 2;

/// Who asks.
const UID: u32 = 1000;

type Answer = Option<Result<Reply, Refusal>>;

impl World {
    /// Somebody asks for something.
    pub fn somebody_asks(&mut self) {
        let volume = self.rng.index(self.volumes.len());
        let mirror = self.volumes[volume].names.uuid.clone();
        // Never more than an answer.
        let _plan = self.command(Command::PlanHeal { mirror: mirror.clone() });
        match self.rng.below(8) {
            0..=3 => {
                let pv = self.rng.index(self.vgs[self.volumes[volume].vg].luns.len());
                let _answer = self.resolve(volume, pv);
            }
            4..=5 => {
                let answer = self.command(Command::Activate { mirror, uid: UID });
                let live = self.volumes[volume].live != Live::Inactive && self.daemon.looked_at == self.now;
                self.expect_refusal(live, &answer, "Activate of an active volume");
            }
            6 => {
                let answer = self.command(Command::Heal { mirror, uid: UID });
                drop(answer);
            }
            _ => self.forget(volume),
        }
    }

    fn forget(&mut self, volume: usize) {
        let n = self.volumes[volume].vg;
        let vg = self.vgs[n].name.clone();
        if let Some(Ok(_)) = self.command(Command::Forget { vg: vg.to_string(), uid: UID }) {
            for n in self.vgs[n].volumes.clone() {
                (self.volumes[n].excused, self.volumes[n].unnoted) = (true, true);
            }
        }
    }

    /// A VG is forgotten until the next start.
    pub fn end_forgetting(&mut self) {
        if self.daemon.ledger().is_some_and(|ledger| ledger.vgs.values().any(|vg| vg.forgotten)) {
            self.kill_daemon();
        }
    }

    fn expect_refusal(&mut self, when: bool, answer: &Answer, what: &str) {
        if when && matches!(answer, Some(Ok(_))) {
            self.violate(format!("{what} was accepted"));
        }
    }

    /// `Resolve`: the leg on that PV is the truth, if the daemon takes the order.
    pub fn resolve(&mut self, volume: usize, pv: usize) -> bool {
        let shown = self.shown(volume).map(|m: &MirrorView| (m.state, m.hold));
        let (mirror, vg) = (self.volumes[volume].names.uuid.clone(), self.volumes[volume].vg);
        let keep = self.vgs[vg].pvs[pv].clone();
        let answer = self.command(Command::Resolve { mirror, keep: keep.clone(), uid: UID });
        let well = matches!(shown, Some((MirrorState::Redundant, _)) | None);
        self.expect_refusal(well, &answer, "Resolve of a volume that is not held");
        if !matches!(answer, Some(Ok(_))) {
            return false;
        }
        // Nothing is done about it before it is on disk.
        let run = self.daemon.run;
        let saved = self.run_until(SAVED, |w| w.kept(volume).as_ref() == Some(&keep));
        let mut chosen: Vec<usize> =
            self.vgs[vg].volumes.iter().copied().filter(|n| self.kept(*n).as_ref() == Some(&keep)).collect();
        // Taken, and written down as soon as that is possible.
        chosen.extend([volume].into_iter().filter(|_| !saved && !self.daemon.ledger_ok));
        let able = self.daemon.alive() && self.daemon.run == run && self.daemon.ledger_ok;
        if !saved && able && self.violations.is_empty() {
            self.violate("Resolve does not keep the leg that was chosen".to_owned());
        }
        chosen.into_iter().for_each(|n| self.choose(n, pv));
        true
    }

    /// `Resolve` of a leg at random; of the next one if that is not to be had.
    pub fn resolve_any(&mut self, volume: usize, legs: usize) -> bool {
        let first = self.rng.index(legs);
        (0..legs).any(|n| self.resolve(volume, (first + n) % legs))
    }

    /// The leg that the ledger on disk says was chosen.
    pub(super) fn kept(&self, volume: usize) -> Option<PvUuid> {
        self.daemon.ledger()?.mirrors.get(&self.volumes[volume].names.uuid)?.kept.clone()
    }

    pub(super) fn choose(&mut self, volume: usize, pv: usize) {
        let lv = self.volumes[volume].lv;
        let lun = self.vgs[self.volumes[volume].vg].luns[pv];
        let blocks = self.luns[lun].cached.areas[lv].blocks;
        let v = &mut self.volumes[volume];
        v.truth = History::of(&blocks);
        for (block, id) in &v.inflight {
            v.truth.widen(*block, *id);
        }
        v.lost.clear();
        v.bad_since = None;
        v.resolving = Some(pv);
        self.note(|w| format!("# {}: the leg on pv {pv} is chosen", w.volumes[volume].names.full));
    }
}
