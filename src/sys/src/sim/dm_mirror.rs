//! dm-mirror with a core log, and dmeventd, which drops a dead leg and makes the volume linear. Facts: `facts/lab.md` 6,
//! 0.4, 0.5.

use super::clock::{Happening, SECOND};
use super::content::{ALL, Kind};
use super::truth_keeper::Actor;
use super::volume::{Action, Health, Leg, Live, Sync};
use super::world::World;

/// How long a full copy takes (64 MiB in 4–8 s).
const FULL: u64 = 6 * SECOND;

impl World {
    /// A core log keeps nothing: every activation, and every leg given back, is a full copy from the first leg. The letters
    /// say `AA` from the first moment.
    pub fn start_mirror(&mut self, volume: usize, actor: Actor) {
        let v = &mut self.volumes[volume];
        (v.live, v.handle_errors, v.monitored, v.suspended) = (Live::Mirror, true, true, false);
        (v.event_nr, v.keeps) = (v.event_nr + 1, false);
        let mut targets = 0;
        for (leg, entry) in v.legs.iter_mut().enumerate() {
            entry.health = if leg == 0 { Health::Alive } else { Health::Syncing };
            entry.passed_over = false;
            targets |= u32::from(leg > 0) << leg;
        }
        self.begin(volume, Sync { action: Action::Recover, targets, mask: ALL, begun: 0, ends: FULL, actor });
    }

    /// A copy that lost its source stands still until the table is suspended and resumed.
    pub fn resume_copy(&mut self, volume: usize) {
        let v = &self.volumes[volume];
        let targets = (0..v.legs.len()).filter(|leg| v.legs[*leg].health == Health::Syncing);
        let targets = targets.fold(0, |mask, leg| mask | 1_u32 << leg);
        let works = |leg| self.leg_way(volume, leg) == super::session::Way::Works;
        if v.live == Live::Mirror && v.sync.is_none() && targets != 0 && (0..v.legs.len()).all(works) {
            let actor = Actor::Nature;
            self.begin(volume, Sync { action: Action::Recover, targets, mask: ALL, begun: 0, ends: FULL, actor });
        }
    }

    /// dmeventd's turn.
    pub fn dmeventd(&mut self, volume: usize) {
        self.volumes[volume].dmeventd_due = false;
        let v = &self.volumes[volume];
        if v.live != Live::Mirror || !v.monitored || !self.dmeventd || v.suspended {
            return;
        }
        if self.any_waits() {
            // Its command scans every disk.
            self.volumes[volume].dmeventd_due = true;
            self.queue.at(self.now + SECOND, Happening::Dmeventd { volume });
            return;
        }
        if !self.revive_quietly(volume) {
            self.drop_dead(volume, Actor::Nature);
        }
    }

    /// A flush that failed makes no region out of sync: with the next write the kernel calls the leg alive again, keeps the
    /// flush, and writes to the other legs alone from then on. Returns whether it was one that failed, and the leg's disk is
    /// back.
    fn revive_quietly(&mut self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        let works = |leg: usize| self.leg_way(volume, leg) == super::session::Way::Works;
        let whole = v.sync.is_none() && v.legs.iter().all(|leg| leg.health != Health::Syncing);
        if !v.handle_errors || !whole || !(0..v.legs.len()).all(works) || !self.rng.chance(50) {
            return false;
        }
        self.note(|w| format!("  {}: all legs are called alive again, a flush waits", w.volumes[volume].names.full));
        let v = &mut self.volumes[volume];
        for leg in &mut v.legs {
            (leg.passed_over, leg.health) = (leg.passed_over || leg.health == Health::Dead, Health::Alive);
        }
        (v.event_nr, v.keeps) = (v.event_nr + 1, true);
        self.volumes[volume].unnoted |= self.unwatched(volume);
        self.poke();
        true
    }

    /// `lvconvert --repair --use-policies`: drops the legs that failed or whose PV is flagged missing. Returns whether there
    /// was something to do.
    pub fn drop_dead(&mut self, volume: usize, actor: Actor) -> bool {
        let v = &self.volumes[volume];
        let vg = v.vg;
        let Some(text) = self.merged(vg) else { return false };
        let Some(lv) = text.lvs.get(v.lv).filter(|lv| lv.kind == Kind::Mirror) else { return false };
        let gone = |pv: &usize| {
            let dead = v.legs.iter().any(|leg| leg.pv == *pv && leg.health == Health::Dead);
            dead || text.missing >> pv & 1 == 1 || self.pv_disk(self.vgs[vg].luns[*pv]).is_none()
        };
        let gone: Vec<usize> = lv.legs.iter().copied().filter(gone).collect();
        if gone.is_empty() || gone.len() == lv.legs.len() {
            return false;
        }
        self.drop_legs(volume, &gone, actor);
        true
    }

    /// Legs leave a volume, in the metadata and in the table.
    pub fn drop_legs(&mut self, volume: usize, pvs: &[usize], actor: Actor) {
        let (vg, lv) = (self.volumes[volume].vg, self.volumes[volume].lv);
        self.write_text(vg, |text| {
            let lv = &mut text.lvs[lv];
            lv.legs.retain(|pv| !pvs.contains(pv));
            pvs.iter().for_each(|pv| lv.write_mostly &= !(1 << pv));
            if lv.legs.len() == 1 {
                lv.kind = Kind::Linear;
            }
        });
        self.note(|w| format!("  {}: legs on {pvs:?} are dropped", w.volumes[volume].names.full));
        let v = &mut self.volumes[volume];
        let dead: Vec<usize> = v.legs.iter().filter(|leg| leg.health == Health::Dead).map(|leg| leg.pv).collect();
        let best_goes = pvs.iter().any(|pv| !dead.contains(pv));
        let places: Vec<usize> = (0..v.legs.len()).filter(|leg| pvs.contains(&v.legs[*leg].pv)).collect();
        if let Some(sync) = &mut v.sync {
            let stays = (0..v.legs.len()).filter(|leg| !places.contains(leg)).enumerate();
            let targets = stays.filter(|(_, old)| sync.targets >> old & 1 == 1);
            sync.targets = targets.fold(0, |mask, (new, _)| mask | 1 << new);
        }
        v.legs.retain(|leg| !pvs.contains(&leg.pv));
        v.inflight_on = 0;
        (v.event_nr, v.keeps) = (v.event_nr + 1, false);
        if v.live != Live::Inactive && v.legs.len() == 1 {
            v.stop_sync();
            v.live = Live::Linear;
            (v.legs[0].health, v.legs[0].passed_over) = (Health::Alive, false);
            (v.legs[0].flag, v.suspended) = (false, false);
        } else if v.live == Live::Raid {
            let flags = v.legs.iter().filter(|leg| leg.flag).fold(0, |mask, leg| mask | 1 << leg.pv);
            self.renumber(volume, &places);
            self.load_table(volume, flags, None, actor);
        }
        // The tables are made anew from the metadata: the legs that stay are found where they are now.
        self.repoint(volume);
        let v = &self.volumes[volume];
        if v.live == Live::Mirror && v.alive().next().is_none() {
            // What the others were copied from is gone: now it is the next one.
            self.start_mirror(volume, actor);
        }
        self.settle_writes(volume);
        self.reconcile(volume, if best_goes { actor } else { Actor::Nature });
        self.poke();
    }

    /// After legs left, the superblocks of those that stay are written with their new places, and what they say of the others
    /// moves along. `gone` are the places that are free.
    fn renumber(&mut self, volume: usize, gone: &[usize]) {
        let count = self.volumes[volume].legs.len();
        for leg in 0..count {
            self.write_super(volume, leg, |sb| {
                let stays = (0..sb.devices).filter(|place| !gone.contains(place));
                let failed = stays.enumerate().filter(|(_, old)| sb.failed >> old & 1 == 1);
                sb.failed = failed.fold(0, |mask, (new, _)| mask | 1 << new);
                (sb.position, sb.devices) = (leg, count);
            });
        }
    }

    /// `lvconvert -m +1`: a leg is added and copied to in full.
    pub fn add_leg(&mut self, volume: usize, pv: usize, kind: Kind, actor: Actor) {
        let (vg, lv) = (self.volumes[volume].vg, self.volumes[volume].lv);
        self.write_text(vg, |text| {
            let lv = &mut text.lvs[lv];
            lv.legs.push(pv);
            lv.kind = kind;
        });
        self.repoint(volume);
        let disk = self.pv_disk(self.vgs[vg].luns[pv]);
        let v = &mut self.volumes[volume];
        v.legs.push(Leg {
            pv,
            disk,
            health: Health::Syncing,
            flag: false,
            passed_over: false,
            dropped: false,
            owed: None,
            rough: false,
        });
        if kind == Kind::Mirror {
            self.start_mirror(volume, actor);
        } else {
            self.fresh_supers(volume);
            self.load_table(volume, 0, None, actor);
        }
        self.destroyed(volume, actor);
    }

    /// New superblocks: the legs that are there are in sync, the new one is to be filled.
    fn fresh_supers(&mut self, volume: usize) {
        let lv = self.volumes[volume].lv;
        let count = self.volumes[volume].legs.len();
        for leg in 0..count {
            let Some(lun) = self.lun_of(self.volumes[volume].legs[leg].disk) else { continue };
            let complete = self.volumes[volume].legs[leg].health == Health::Alive;
            let sb = super::content::Super { events: 2, failed: 0, position: leg, devices: count, complete };
            self.luns[lun].cached.areas[lv].sb = Some(sb);
            self.luns[lun].cached.areas[lv].bitmap = 0;
            self.luns[lun].dirty = true;
            self.luns[lun].flush();
        }
        self.volumes[volume].bitmap = 0;
    }
}
