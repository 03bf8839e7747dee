//! The application's writes, and what device-mapper does when a leg's device fails: which leg dies, who is accused of it,
//! who waits. Facts: `facts/lab.md` A, B, D, 0, 1, 4, 6.

use super::clock::{Happening, SECOND};
use super::content::{BLOCKS, Mask, Super};
use super::session::Way;
use super::truth_keeper::Actor;
use super::volume::{Health, Live};
use super::world::World;

/// When dirty bits are cleared after the last write (`facts/lab.md` A: 5–10 s).
const CLEAN_AFTER: u64 = 5 * SECOND;

/// dmeventd's reaction (`facts/lab.md` 6: event to table linear).
const DMEVENTD: u64 = SECOND / 2;

impl World {
    /// How I/O to a leg goes.
    pub fn leg_way(&self, volume: usize, leg: usize) -> Way {
        self.way(self.volumes[volume].legs[leg].disk)
    }

    /// Something about the disks changed: whoever waited goes on or fails.
    pub fn paths_changed(&mut self, actor: Actor) {
        for volume in 0..self.volumes.len() {
            if self.volumes[volume].live == Live::Inactive || self.volumes[volume].suspended {
                continue;
            }
            self.write_owed(volume);
            // A write under way meets the error, whoever is quiet notices later.
            let writing = self.volumes[volume].busy || !self.volumes[volume].inflight.is_empty();
            if self.volumes[volume].open && writing {
                self.fail_legs(volume);
            }
            self.settle_writes(volume);
            self.stop_orphaned_sync(volume);
            self.reconcile(volume, actor);
        }
        self.wake_waiting();
    }

    /// Legs that are written to and whose device fails die, but for the last one.
    pub fn fail_legs(&mut self, volume: usize) {
        for leg in 0..self.volumes[volume].legs.len() {
            let v = &self.volumes[volume];
            if !v.takes_writes(leg) || self.leg_way(volume, leg) != Way::Fails {
                continue;
            }
            let others = v.alive().any(|other| other != leg && self.leg_way(volume, other) != Way::Fails);
            match v.live {
                Live::Raid if others => self.raid_leg_dies(volume, leg),
                Live::Raid => self.volumes[volume].spoiled = true,
                Live::Mirror => self.mirror_leg_dies(volume, leg),
                Live::Linear | Live::Inactive => {}
            }
        }
    }

    fn raid_leg_dies(&mut self, volume: usize, leg: usize) {
        self.clean(volume);
        let v = &mut self.volumes[volume];
        v.legs[leg].health = Health::Dead;
        let copy = v.sync.clone().filter(|sync| sync.action == super::volume::Action::Recover);
        v.stop_sync();
        v.event_nr += 1;
        self.note(|w| format!("  {}: leg {leg} dies", w.volumes[volume].names.full));
        self.excuse_two_dead(volume);
        // Left alone before it was proven: it may lack what the dead one has, and goes on without it.
        let v = &mut self.volumes[volume];
        let unproven = v.alive().all(|leg| v.legs[leg].flag);
        v.excused |= unproven;
        self.leg_went_away(volume, leg);
        self.volumes[volume].died_at = Some(self.now);
        self.volumes[volume].unnoted |= self.unwatched(volume);
        self.queue.at(self.now + super::excuse::FLAGGED, Happening::Flagged { volume });
        let rise = self.rng.between(3, 5);
        for survivor in 0..self.volumes[volume].legs.len() {
            if self.volumes[volume].legs[survivor].health == Health::Alive {
                self.write_super(volume, survivor, |sb| {
                    sb.failed |= 1 << leg;
                    sb.events += rise;
                });
            }
        }
        // Others are still to be brought up to date: md goes on from who is left (`md_check_recovery`;
        // from its source, not measured).
        let left = |sync: super::volume::Sync| super::volume::Sync {
            targets: sync.targets & !(1 << leg),
            ends: sync.ends - sync.begun,
            ..sync
        };
        if let Some(rest) = copy.map(left).filter(|rest| rest.targets != 0) {
            self.begin(volume, rest);
        }
        self.poke();
    }

    fn mirror_leg_dies(&mut self, volume: usize, leg: usize) {
        // It is called alive again without a word of what it missed.
        self.doubt_leg(volume, self.volumes[volume].legs[leg].pv);
        let v = &mut self.volumes[volume];
        v.legs[leg].health = Health::Dead;
        v.stop_sync();
        v.event_nr += 1;
        self.note(|w| format!("  {}: leg {leg} dies", w.volumes[volume].names.full));
        self.excuse_stranded();
        self.leg_went_away(volume, leg);
        self.volumes[volume].died_at = Some(self.now);
        self.volumes[volume].unnoted |= self.unwatched(volume);
        self.poke();
        self.foresee_dmeventd(volume);
    }

    /// dmeventd has something to do.
    pub fn foresee_dmeventd(&mut self, volume: usize) {
        let v = &mut self.volumes[volume];
        let dead = v.live == Live::Mirror && v.legs.iter().any(|leg| leg.health == Health::Dead);
        if dead && v.monitored && self.dmeventd && !v.dmeventd_due {
            v.dmeventd_due = true;
            self.queue.at(self.now + DMEVENTD, Happening::Dmeventd { volume });
        }
    }

    /// Changes a leg's superblock. The kernel has it flushed, and with it all that the server had cached.
    pub fn write_super(&mut self, volume: usize, leg: usize, change: impl FnOnce(&mut Super)) {
        let way = self.leg_way(volume, leg);
        let (lv, entry) = (self.volumes[volume].lv, &self.volumes[volume].legs[leg]);
        let Some(lun) = self.lun_of(entry.disk).filter(|_| way != Way::Fails) else { return };
        let mut owed = entry.owed.or(self.luns[lun].cached.areas[lv].sb);
        if let Some(superblock) = &mut owed {
            change(superblock);
        }
        self.volumes[volume].legs[leg].owed = owed;
        self.write_owed(volume);
    }

    /// Superblocks are written as soon as their devices answer; those of devices that fail are not.
    fn write_owed(&mut self, volume: usize) {
        for leg in 0..self.volumes[volume].legs.len() {
            let way = self.leg_way(volume, leg);
            let (lv, entry) = (self.volumes[volume].lv, &mut self.volumes[volume].legs[leg]);
            let Some(owed) = entry.owed.take_if(|_| way != Way::Waits) else { continue };
            let Some(lun) = self.lun_of(self.volumes[volume].legs[leg].disk).filter(|_| way == Way::Works) else {
                continue;
            };
            let lun = &mut self.luns[lun];
            (lun.cached.areas[lv].sb, lun.dirty) = (Some(owed), true);
            lun.flush();
        }
    }

    /// Dirty bits go some seconds after the last write, as long as every leg has it.
    pub fn clean(&mut self, volume: usize) {
        let v = &self.volumes[volume];
        let whole = v.legs.iter().all(|leg| leg.health == Health::Alive);
        if v.bitmap != 0 && whole && v.inflight.is_empty() && self.now >= v.last_write + CLEAN_AFTER {
            self.set_bitmap(volume, 0);
        }
    }

    /// Writes the bitmap to every living leg. It is on the disk before the data that it tells of.
    pub fn set_bitmap(&mut self, volume: usize, bitmap: Mask) {
        self.volumes[volume].bitmap = bitmap;
        let lv = self.volumes[volume].lv;
        for leg in 0..self.volumes[volume].legs.len() {
            if self.volumes[volume].legs[leg].health == Health::Alive
                && self.leg_way(volume, leg) == Way::Works
                && let Some(lun) = self.lun_of(self.volumes[volume].legs[leg].disk)
            {
                let lun = &mut self.luns[lun];
                (lun.cached.areas[lv].bitmap, lun.durable.areas[lv].bitmap) = (bitmap, bitmap);
            }
        }
    }

    /// The application writes to some blocks, and often waits until they are safe.
    pub fn burst(&mut self, volume: usize) {
        let first = self.rng.index(BLOCKS);
        let count = self.rng.index(3) + 1;
        let blocks = (first..(first + count).min(BLOCKS)).fold(0, |mask: Mask, block| mask | 1 << block);
        let safe = self.rng.chance(40);
        self.write(volume, blocks, safe);
    }

    /// The application writes to these blocks; `safe` = with fsync. One that already waits writes nothing more.
    pub fn write(&mut self, volume: usize, blocks: Mask, safe: bool) {
        let v = &self.volumes[volume];
        if v.live == Live::Inactive || !v.open || v.suspended || !v.inflight.is_empty() {
            return;
        }
        self.fail_legs(volume);
        let v = &self.volumes[volume];
        // Without anybody alive it gets an error; a mirror with a dead leg that dmeventd is to drop makes it wait.
        let dead = v.legs.iter().any(|leg| leg.health == Health::Dead);
        let alive = v.alive().any(|leg| self.leg_way(volume, leg) != Way::Fails);
        if !alive || (v.live == Live::Mirror && dead && v.handle_errors) {
            return;
        }
        self.clean(volume);
        for block in (0..BLOCKS).filter(|block| blocks >> block & 1 == 1) {
            self.next_write += 1;
            self.volumes[volume].inflight.push((block, self.next_write));
            self.volumes[volume].truth.widen(block, self.next_write);
        }
        (self.volumes[volume].inflight_on, self.volumes[volume].last_write) = (0, self.now);
        if self.volumes[volume].live == Live::Raid {
            let bitmap = self.volumes[volume].bitmap | blocks;
            self.set_bitmap(volume, bitmap);
        }
        self.settle_writes(volume);
        if safe && self.volumes[volume].inflight.is_empty() {
            self.flush_legs(volume);
        }
    }

    /// fsync: every leg that takes part writes its cache out.
    pub fn flush_legs(&mut self, volume: usize) {
        for leg in 0..self.volumes[volume].legs.len() {
            let v = &self.volumes[volume];
            if v.takes_writes(leg)
                && self.leg_way(volume, leg) == Way::Works
                && let Some(lun) = self.lun_of(v.legs[leg].disk)
            {
                self.luns[lun].flush();
            }
        }
    }

    /// Writes under way reach the legs that answer; when nobody is waited for they are acknowledged.
    pub fn settle_writes(&mut self, volume: usize) {
        if self.volumes[volume].inflight.is_empty() || self.volumes[volume].keeps {
            return;
        }
        let lv = self.volumes[volume].lv;
        let (mut waits, mut alive) = (false, false);
        for leg in 0..self.volumes[volume].legs.len() {
            let v = &self.volumes[volume];
            if !v.takes_writes(leg) {
                // A mirror's dead leg makes everybody wait until it is dropped.
                waits |= v.live == Live::Mirror && v.handle_errors && v.legs[leg].health == Health::Dead;
                continue;
            }
            match self.leg_way(volume, leg) {
                Way::Waits => waits = true,
                Way::Fails => continue,
                Way::Works if v.inflight_on >> leg & 1 == 0 => {
                    let Some(lun) = self.lun_of(v.legs[leg].disk) else { continue };
                    let count = self.volumes[volume].inflight.len() as u64;
                    for (block, id) in &self.volumes[volume].inflight {
                        self.luns[lun].cached.areas[lv].blocks[*block] = *id;
                    }
                    // The bits that tell of them went there first.
                    let v = &mut self.volumes[volume];
                    if v.legs[leg].health == Health::Alive {
                        let lun = &mut self.luns[lun];
                        (lun.cached.areas[lv].bitmap, lun.durable.areas[lv].bitmap) = (v.bitmap, v.bitmap);
                    }
                    v.inflight_on |= 1 << leg;
                    self.wrote(lun, 8 * count);
                    self.dirtied(lun);
                }
                Way::Works => {}
            }
            alive |= self.volumes[volume].legs[leg].health == Health::Alive;
        }
        if !alive && !waits {
            // An error: what was not acknowledged may be there or not.
            self.volumes[volume].inflight.clear();
        } else if !waits {
            let v = &mut self.volumes[volume];
            for (block, id) in v.inflight.drain(..) {
                v.truth.acknowledge(block, id);
            }
        }
    }

    /// Counts sectors for the disk in front of a LUN.
    pub fn wrote(&mut self, lun: usize, sectors: u64) {
        let mut disks = self.sessions.iter_mut().flatten().flat_map(|session| &mut session.disks);
        if let Some(disk) = disks.find(|disk| disk.lun == lun) {
            disk.sectors += sectors;
        }
    }

    /// A copy goes on only while somebody can be read and the target written.
    fn stop_orphaned_sync(&mut self, volume: usize) {
        let v = &self.volumes[volume];
        let Some(sync) = &v.sync else { return };
        let readable = v.alive().any(|leg| self.leg_way(volume, leg) != Way::Fails);
        let writable =
            (0..v.legs.len()).all(|leg| sync.targets >> leg & 1 == 0 || self.leg_way(volume, leg) != Way::Fails);
        if !readable || !writable {
            if v.live == Live::Raid && readable {
                let failing: Vec<usize> = (0..v.legs.len())
                    .filter(|leg| v.legs[*leg].health == Health::Syncing && self.leg_way(volume, *leg) == Way::Fails)
                    .collect();
                failing.into_iter().for_each(|leg| self.raid_leg_dies(volume, leg));
            }
            self.volumes[volume].stop_sync();
            // md does not take up again by itself what its only source has failed.
            self.volumes[volume].excused |= !readable;
            self.poke();
        }
    }
}
