//! The first promise, looked at after every change: no acknowledged write is lost or older for a reader of a mounted
//! volume, and nothing commanded by the daemon spreads or destroys. Every exemption is here, with its reason:
//!
//! * *Time to react.* A leg that went bad in use (a server lost its cache within the recovery timeout, LVM activated it) may
//!   be read for [`GRACE`] while the daemon is able to act: alive, no disk blocked, no tool hung or made to fail.
//! * *No better leg.* When every other leg is dead or gone the kernel serves what it has. The volume then has a second
//!   history (a fork); the first one stays protected for as long as any leg holds it.
//! * *The last copy destroyed by the nemesis itself* (cache of the last holder lost, power of all servers lost together,
//!   LUN put back from an image): what the legs that were in use hold from then on is the truth.
//! * *Invisible.* A LUN put back, or a cache lost, while nothing was active or so shortly before the client went down that
//!   nobody could note it, with the very label, sequence number and superblocks that it had: nobody can tell the legs
//!   apart, so either content will do.
//! * *Nobody can tell.* A leg is in doubt when its connection broke or its target restarted and no registration can prove that
//!   it lived on (`excuse.rs`). When every leg in use is in doubt, and so is every leg that has more, the kernel's choice
//!   stands, and a hold is as good as a heal. The volume is excused once all its legs are in doubt, until it is redundant.
//! * *Not written down.* A leg lost, or the service stopped, while the ledger could not be written: nobody remembers.
//! * *Held for a neighbour.* One held volume holds all on its PV. Two dead legs of three, a last leg whose device was taken
//!   away, a disk that a person set offline, a dm mirror without a living leg, a restart within five minutes of another
//!   loss: held, with evidence.
//! * *Two devices call themselves the same PV*: LVM refuses the VG, and the daemon leaves it alone.
//! * *Tampered with everywhere.* Something else was put in the place of every leg since the volume was whole, or of one while a
//!   command was already at work.
//! * *A person's own command* (admin, `Resolve`) may choose, overwrite and fork.

use super::clock::{Happening, SECOND};
use super::content::{BLOCKS, Label};
use super::session::Way;
use super::truth::History;
use super::volume::{Health, Live};
use super::world::World;

/// Who caused a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Kernel, servers, LVM's own activation.
    Nature,
    /// A person at a shell.
    Admin,
    /// The daemon under test.
    Daemon,
}

/// How long a leg may serve old blocks while the daemon is able to flag it: two looks a second apart, a report, a probe
/// and a command, each of which may take some seconds.
pub const GRACE: u64 = 20 * SECOND;

impl World {
    /// Whether any LUN holds a history of a volume.
    pub fn holder(&self, volume: usize, history: &History) -> Option<usize> {
        let luns = &self.vgs[self.volumes[volume].vg].luns;
        luns.iter().position(|lun| self.held_on(*lun, volume, history))
    }

    /// Looks at what readers of a volume may get now.
    pub fn reconcile(&mut self, volume: usize, actor: Actor) {
        let v = &self.volumes[volume];
        if v.live == Live::Inactive || v.suspended {
            self.volumes[volume].bad_since = None;
            return;
        }
        let readers = v.readers();
        let resyncing = v.sync.as_ref().filter(|s| s.action == super::volume::Action::Resync);
        let (mut bad, mut good) = (0_u32, false);
        let mut first = true;
        for leg in 0..v.legs.len() {
            let way = self.leg_way(volume, leg);
            if v.legs[leg].health != Health::Alive || way == Way::Fails {
                continue;
            }
            let Some(lun) = self.lun_of(v.legs[leg].disk) else { continue };
            let mut wrong = v.truth.wrong(&self.luns[lun].cached.areas[v.lv].blocks);
            // While a crash is repaired reads come from the first leg where the others may differ.
            if let Some(sync) = resyncing.filter(|_| !first) {
                wrong &= !sync.mask;
            }
            first = false;
            if wrong == 0 {
                good = true;
            } else if readers >> leg & 1 == 1 && way == Way::Works {
                bad |= 1 << leg;
            }
        }
        if bad == 0 {
            self.volumes[volume].bad_since = None;
        } else if !good {
            self.fork(volume, bad, actor);
        } else if self.volumes[volume].bad_since.is_none() {
            self.volumes[volume].bad_since = Some(self.now);
            self.note(|w| format!("  {}: old blocks are served by {bad:#b}", w.volumes[volume].names.full));
            self.queue.at(self.now + GRACE, Happening::Grace { volume });
        }
    }

    /// The volume goes on from legs that are not what they should be: another history begins.
    fn fork(&mut self, volume: usize, legs: u32, actor: Actor) {
        self.note(|w| format!("  {}: goes on from old legs {legs:#b} ({actor:?})", w.volumes[volume].names.full));
        let old = self.volumes[volume].truth;
        let holder = self.holder(volume, &old).filter(|lun| {
            let pvs = self.pvs_in_use(volume) | 1 << self.luns[*lun].pv;
            !self.all_in_doubt(volume, pvs) && !self.volumes[volume].unnoted
        });
        // Nobody can call a command back whose ground changed while it was at work.
        let overtaken = self.overtaken();
        self.volumes[volume].unnoted |= actor == Actor::Daemon && overtaken;
        if actor == Actor::Daemon && holder.is_some() && self.volumes[volume].resolving.is_none() && !overtaken {
            let name = self.volumes[volume].names.full.clone();
            self.violate(format!("{name}: the daemon made an old leg serve while a newer one exists"));
        }
        if holder.is_some() && actor != Actor::Admin && !self.volumes[volume].lost.contains(&old) {
            self.volumes[volume].lost.push(old);
        }
        self.adopt(volume, legs);
        self.volumes[volume].bad_since = None;
    }

    /// What these legs hold is the truth from now on.
    pub(super) fn adopt(&mut self, volume: usize, legs: u32) {
        let lv = self.volumes[volume].lv;
        let mut truth: Option<History> = None;
        for leg in 0..self.volumes[volume].legs.len() {
            let Some(lun) = self.lun_of(self.volumes[volume].legs[leg].disk).filter(|_| legs >> leg & 1 == 1) else {
                continue;
            };
            let blocks = self.luns[lun].cached.areas[lv].blocks;
            match &mut truth {
                None => truth = Some(History::of(&blocks)),
                Some(truth) => blocks.iter().enumerate().for_each(|(block, id)| truth.widen(block, *id)),
            }
        }
        let v = &mut self.volumes[volume];
        v.truth = truth.unwrap_or(v.truth);
        for (block, id) in &v.inflight {
            v.truth.widen(*block, *id);
        }
        let truth = v.truth;
        v.lost.retain(|history| !history.within(&truth));
        v.excused = true;
    }

    /// Old blocks may have been served for too long.
    pub fn grace_over(&mut self, volume: usize) {
        let Some(since) = self.volumes[volume].bad_since else { return };
        let Some(able) = self.able_since.filter(|_| self.volumes[volume].idle()) else {
            self.queue.at(self.now + GRACE / 4, Happening::Grace { volume });
            return;
        };
        let since = since.max(able).max(self.volumes[volume].sync_ended);
        if self.now < since + GRACE {
            self.queue.at(since + GRACE, Happening::Grace { volume });
            return;
        }
        if self.undecidable(volume) {
            return;
        }
        let name = self.volumes[volume].names.full.clone();
        self.violate(format!("{name}: old blocks are served although a better leg is there"));
    }

    /// A leg is copied over another, block by block.
    pub fn copied(&mut self, volume: usize, source: usize, target: usize, mask: u8, actor: Actor) {
        let v = &self.volumes[volume];
        let lv = v.lv;
        let (Some(from), Some(to)) = (self.lun_of(v.legs[source].disk), self.lun_of(v.legs[target].disk)) else {
            return;
        };
        let blocks = self.luns[from].cached.areas[lv].blocks;
        let before = self.luns[to].cached.areas[lv].blocks;
        let mut changed = 0;
        for (block, id) in blocks.iter().enumerate().filter(|(block, _)| mask >> block & 1 == 1) {
            changed += u64::from(before[block] != *id);
            self.luns[to].cached.areas[lv].blocks[block] = *id;
            let v = &self.volumes[volume];
            let spoiled = !v.truth.allows(block, *id) && v.truth.allows(block, before[block]);
            if actor == Actor::Daemon && spoiled && !v.unnoted && !self.unknowable(volume) {
                let name = v.names.full.clone();
                self.violate(format!("{name}: an old leg {source} was copied over leg {target}"));
            }
        }
        // md copies from whatever stands there, and nothing afterwards tells what it was.
        self.volumes[volume].unnoted |= actor == Actor::Nature && self.luns[from].cached.label != Label::Pv(from);
        self.wrote(to, u64::from(mask.count_ones()) * super::view::SECTORS / BLOCKS as u64);
        if changed > 0 {
            self.dirtied(to);
        }
        self.destroyed(volume, actor);
    }

    /// Whether a history has just lost its last holder.
    pub fn destroyed(&mut self, volume: usize, actor: Actor) {
        let lost = std::mem::take(&mut self.volumes[volume].lost);
        let (kept, gone): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|history| self.holder(volume, history).is_some());
        self.volumes[volume].lost = kept;
        let v = &self.volumes[volume];
        let actor = if self.unknowable(volume) { Actor::Nature } else { actor };
        if !gone.is_empty() && actor == Actor::Daemon && v.resolving.is_none() && !v.unnoted {
            let name = self.volumes[volume].names.full.clone();
            self.violate(format!("{name}: the only copy of acknowledged writes was overwritten"));
        }
        let truth = self.volumes[volume].truth;
        if self.holder(volume, &truth).is_none() {
            let v = &self.volumes[volume];
            if actor == Actor::Daemon && v.resolving.is_none() && !v.unnoted {
                let name = self.volumes[volume].names.full.clone();
                self.violate(format!("{name}: no leg holds all acknowledged writes any more"));
            }
            self.content_lost(volume);
        }
    }

    /// A LUN lost content without the daemon's doing. When nobody holds the truth any more, whatever the legs hold that
    /// nobody could tell from it will do.
    pub fn content_lost(&mut self, volume: usize) {
        let truth = self.volumes[volume].truth;
        let lost = std::mem::take(&mut self.volumes[volume].lost);
        self.volumes[volume].lost = lost.into_iter().filter(|h| self.holder(volume, h).is_some()).collect();
        if self.holder(volume, &truth).is_none() || self.all_lost_power(volume) {
            let v = &self.volumes[volume];
            let lv = v.lv;
            // In use and not accused; or, with nothing active, whatever is there.
            let mut pvs: Vec<usize> = v.alive().filter(|leg| !v.legs[*leg].flag).map(|leg| v.legs[leg].pv).collect();
            if v.live == Live::Inactive {
                pvs = self.innocent(volume);
            }
            let luns: Vec<usize> = pvs.iter().map(|pv| self.vgs[self.volumes[volume].vg].luns[*pv]).collect();
            // What was put in the place of a leg is nobody's writes.
            for lun in luns.into_iter().filter(|lun| self.luns[*lun].cached.label == Label::Pv(*lun)) {
                let blocks = self.luns[lun].cached.areas[lv].blocks;
                let v = &mut self.volumes[volume];
                blocks.iter().enumerate().for_each(|(block, id)| v.truth.widen(block, *id));
            }
            let v = &mut self.volumes[volume];
            v.excused = true;
            let truth = v.truth;
            v.lost.retain(|history| !history.within(&truth));
            self.note(|w| format!("  {}: the last copy of some writes is gone", w.volumes[volume].names.full));
        }
        self.reconcile(volume, Actor::Nature);
    }

    /// Every leg in use lost its power within one story: what was not flushed is gone by the disks' own contract, and none
    /// of them is more right than the others.
    fn all_lost_power(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        let recent = |lun: usize| self.luns[lun].lost_at.is_some_and(|at| self.now < at + 120 * SECOND);
        let mut open =
            v.alive().filter(|leg| !v.legs[*leg].flag).filter_map(|leg| self.lun_of(v.legs[leg].disk)).peekable();
        open.peek().is_some() && open.all(recent)
    }

    /// PVs whose leg nobody accuses.
    fn innocent(&self, volume: usize) -> Vec<usize> {
        let (luns, lv) = (&self.vgs[self.volumes[volume].vg].luns, self.volumes[volume].lv);
        let accused =
            luns.iter().filter_map(|lun| self.luns[*lun].cached.areas[lv].sb).fold(0, |all, sb| all | sb.failed);
        let position = |pv: &usize| self.luns[luns[*pv]].cached.areas[lv].sb.map_or(*pv, |sb| sb.position);
        (0..luns.len()).filter(|pv| accused >> position(pv) & 1 == 0).collect()
    }

    /// Legs that nobody can tell from the right ones come into use: either content will do.
    pub fn blend(&mut self, volume: usize) {
        let v = &self.volumes[volume];
        let (lv, unseen): (usize, Vec<usize>) = (
            v.lv,
            v.alive().filter_map(|leg| self.lun_of(v.legs[leg].disk)).filter(|lun| self.luns[*lun].unseen).collect(),
        );
        for lun in unseen {
            let blocks = self.luns[lun].cached.areas[lv].blocks;
            let v = &mut self.volumes[volume];
            if !v.truth.held_by(&blocks) {
                v.excused = true;
                blocks.iter().enumerate().for_each(|(block, id)| v.truth.widen(block, *id));
            }
        }
    }
}
