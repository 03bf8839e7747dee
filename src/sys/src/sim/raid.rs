//! dm-raid: what a table load does, what a resume does, what copies and checks do. Facts: `facts/lab.md` A, B, 0, 1–4.

use super::clock::{Happening, SECOND};
use super::content::{ALL, Mask, Super};
use super::session::Way;
use super::truth_keeper::{Actor, GRACE};
use super::volume::{Action, Health, Live, Sync};
use super::world::World;

/// How long a full copy or check of a volume takes; a test volume of the lab needed 8–11 s.
const FULL: u64 = 8 * SECOND;

impl World {
    fn super_of(&self, volume: usize, leg: usize) -> Option<Super> {
        let v = &self.volumes[volume];
        self.luns[self.lun_of(v.legs[leg].disk)?].cached.areas[v.lv].sb
    }

    /// The kernel builds the array anew from the superblocks it can read: who has most events is right, even against a leg
    /// that is active. `rebuild` is a leg to be copied in full.
    pub fn load_table(&mut self, volume: usize, flags: u32, rebuild: Option<usize>, actor: Actor) {
        let was_live = self.volumes[volume].live != Live::Inactive;
        let was_alive: Vec<usize> = if was_live { self.volumes[volume].alive().collect() } else { Vec::new() };
        let count = self.volumes[volume].legs.len();
        let readable: Vec<usize> = (0..count).filter(|leg| self.leg_way(volume, *leg) == Way::Works).collect();
        let supers: Vec<Option<Super>> =
            (0..count).map(|leg| self.super_of(volume, leg).filter(|_| readable.contains(&leg))).collect();
        let best = (0..count)
            .filter_map(|leg| Some((leg, supers[leg]?)))
            .max_by_key(|(leg, sb)| (sb.events, std::cmp::Reverse(*leg)));
        let v = &mut self.volumes[volume];
        v.stop_sync();
        (v.suspended, v.spoiled, v.live) = (false, false, Live::Raid);
        v.event_nr += 1;
        let Some((best, top)) = best else {
            // Nothing can be read: the load fails and the old table stays.
            return;
        };
        let lv = self.volumes[volume].lv;
        let bitmap =
            self.lun_of(self.volumes[volume].legs[best].disk).map_or(ALL, |lun| self.luns[lun].cached.areas[lv].bitmap);
        let (mut targets, mut mask, mut dropped) = (0_u32, 0, 0_u64);
        for (leg, sb) in supers.iter().enumerate() {
            let pv = self.volumes[volume].legs[leg].pv;
            let shallow = self.quirks.shallow_recovery && self.volumes[volume].legs[leg].rough && self.rng.chance(50);
            let entry = &mut self.volumes[volume].legs[leg];
            entry.dropped = !readable.contains(&leg);
            entry.flag = flags >> pv & 1 == 1 && !entry.dropped;
            if entry.dropped {
                (entry.health, entry.rough) = (Health::Dead, true);
                dropped |= 1 << leg;
                continue;
            }
            entry.rough = false;
            let behind = |sb: &Super| top.failed >> leg & 1 == 1 || sb.events + 1 < top.events;
            let copy: Option<Mask> = match sb {
                Some(_) if rebuild == Some(leg) && best != leg => Some(ALL),
                None => Some(ALL),
                Some(sb) if !sb.complete => Some(ALL),
                Some(sb) if leg != best && behind(sb) => Some(if shallow { 0 } else { bitmap }),
                Some(_) => None,
            };
            entry.health = if copy.is_some() { Health::Syncing } else { Health::Alive };
            targets |= if copy.is_some() { 1 << leg } else { 0 };
            mask |= copy.unwrap_or(0);
        }
        // A rebuild of the leg with most events turns round (`facts/lab.md` B).
        if rebuild == Some(best) && count > 1 {
            (targets, mask) = self.rebuild_best(volume, best, top);
        }
        let right = |leg: usize| {
            let v = &self.volumes[volume];
            self.lun_of(v.legs[leg].disk).is_some_and(|l| v.truth.held_by(&self.luns[l].cached.areas[v.lv].blocks))
        };
        // One that was put back from an image is behind by its superblock, and copying over it is what it needs.
        let over = |leg: &usize| targets >> leg & 1 == 1 && rebuild != Some(*leg) && right(*leg) && !right(best);
        let victim = was_alive.into_iter().find(over);
        let used = self.pvs_in_use(volume);
        let known = !self.unknowable(volume) && !self.all_in_doubt(volume, used);
        if let Some(leg) = victim.filter(|_| actor == Actor::Daemon && known) {
            let name = self.volumes[volume].names.full.clone();
            self.violate(format!("{name}: a table load of the daemon's overwrites live leg {leg}"));
        }
        for leg in (0..count).filter(|leg| mask == ALL && targets >> leg & 1 == 1) {
            self.write_super(volume, leg, |sb| sb.complete = false);
        }
        let grown = u64::from(dropped != 0);
        for leg in 0..count {
            if self.volumes[volume].legs[leg].health == Health::Alive {
                self.write_super(volume, leg, |sb| {
                    (sb.events, sb.failed) = (top.events + grown, top.failed | dropped);
                });
            }
        }
        for leg in (0..count).filter(|leg| !was_live && dropped >> leg & 1 == 1) {
            self.leg_went_away(volume, leg);
        }
        self.excuse_two_dead(volume);
        self.volumes[volume].bitmap = bitmap;
        if targets != 0 {
            let part = if mask == ALL { FULL } else { FULL / 4 };
            self.begin(volume, Sync { action: Action::Recover, targets, mask, begun: 0, ends: part, actor });
        } else if !was_live && bitmap != 0 && dropped == 0 {
            self.begin(
                volume,
                Sync {
                    action: Action::Resync,
                    targets: 0,
                    mask: bitmap,
                    begun: 0,
                    ends: FULL / 4,
                    actor: Actor::Nature,
                },
            );
        }
        self.poke();
    }

    /// `--rebuild` of the leg that the superblocks call right: a bitmap copy that says it was more, or a copy the other way.
    fn rebuild_best(&mut self, volume: usize, best: usize, top: Super) -> (u32, Mask) {
        let honest = (0..self.volumes[volume].legs.len()).filter(|leg| *leg != best).any(|leg| {
            self.super_of(volume, leg).is_some_and(|sb| sb.events == top.events && sb.failed == 0 && sb.complete)
        });
        if honest && top.failed == 0 {
            self.volumes[volume].legs[best].health = Health::Syncing;
            return (1 << best, ALL);
        }
        if self.rng.chance(50) {
            return (0, 0);
        }
        let mut targets = 0;
        for leg in (0..self.volumes[volume].legs.len()).filter(|leg| *leg != best) {
            if !self.volumes[volume].legs[leg].dropped {
                self.volumes[volume].legs[leg].health = Health::Syncing;
                targets |= 1 << leg;
            }
        }
        (targets, ALL)
    }

    /// `lvchange --refresh`: resumes and revives; no table is loaded, so the active leg wins. After writes to the last leg
    /// failed it says that it revives and does not (`facts/lab.md` 4).
    pub fn resume_raid(&mut self, volume: usize, actor: Actor) {
        let v = &mut self.volumes[volume];
        v.suspended = false;
        let spoiled = v.spoiled;
        let (mut targets, mut mask) = (0_u32, self.volumes[volume].bitmap);
        for leg in 0..self.volumes[volume].legs.len() {
            let idle = self.volumes[volume].sync.is_none();
            let dead = match self.volumes[volume].legs[leg].health {
                Health::Dead => !spoiled,
                Health::Syncing => idle,
                Health::Alive => false,
            };
            if dead && self.leg_way(volume, leg) == Way::Works {
                if self.super_of(volume, leg).is_none_or(|sb| !sb.complete) {
                    mask = ALL;
                }
                let entry = &mut self.volumes[volume].legs[leg];
                (entry.health, entry.dropped, entry.rough) = (Health::Syncing, false, false);
                targets |= 1 << leg;
            }
        }
        if targets != 0 {
            self.volumes[volume].stop_sync();
            self.begin(volume, Sync { action: Action::Recover, targets, mask, begun: 0, ends: FULL / 4, actor });
        }
    }

    /// Starts a sync; `ends` is its length.
    pub fn begin(&mut self, volume: usize, mut sync: Sync) {
        // From an idle server to a busy one.
        let length = self.copying * sync.ends * self.rng.between(50, 150) / 100;
        // Whatever a server lost while the command was at work already.
        let vg = &self.vgs[self.volumes[volume].vg];
        let lost = vg.luns.iter().any(|lun| self.luns[*lun].lost_at.is_some_and(|at| at > self.daemon.acting));
        if lost || self.unknowable(volume) {
            sync.actor = Actor::Nature;
        }
        (sync.begun, sync.ends) = (self.now, self.now + length);
        let v = &mut self.volumes[volume];
        v.sync_epoch += 1;
        let epoch = v.sync_epoch;
        self.queue.at(sync.ends, Happening::SyncDone { volume, epoch });
        self.note(|w| format!("  {}: {:?} of {:#b} begins", w.volumes[volume].names.full, sync.action, sync.targets));
        self.volumes[volume].sync = Some(sync);
        self.poke();
    }

    /// Starts a check or a repair.
    pub fn scrub(&mut self, volume: usize, action: Action, actor: Actor) {
        self.begin(volume, Sync { action, targets: 0, mask: ALL, begun: 0, ends: FULL, actor });
    }

    /// A sync is through.
    pub fn sync_done(&mut self, volume: usize, epoch: u32) {
        let v = &mut self.volumes[volume];
        if v.sync_epoch != epoch || v.live == Live::Inactive {
            return;
        }
        // I/O that waits keeps it waiting.
        let busy = |leg: usize| {
            let v = &self.volumes[volume];
            v.legs[leg].health != Health::Dead && self.leg_way(volume, leg) == Way::Waits
        };
        let waits = (0..self.volumes[volume].legs.len()).any(busy);
        if waits || self.volumes[volume].suspended {
            self.queue.at(self.now + SECOND, Happening::SyncDone { volume, epoch });
            return;
        }
        let Some(mut sync) = self.volumes[volume].sync.take() else { return };
        if self.changed_under(volume, sync.begun) {
            sync.actor = Actor::Nature;
        }
        (self.volumes[volume].sync_ended, self.volumes[volume].mismatches) = (self.now, 0);
        self.volumes[volume].event_nr += 1;
        let alive: Vec<usize> = self.volumes[volume].alive().collect();
        let Some(source) = alive.first().copied() else { return };
        match sync.action {
            Action::Check => self.volumes[volume].mismatches = self.mismatches(volume, &alive),
            Action::Repair | Action::Resync => {
                for target in &alive[1..] {
                    self.copied(volume, source, *target, sync.mask, sync.actor);
                }
            }
            Action::Recover => {
                let open = alive.iter().copied().find(|leg| !self.volumes[volume].legs[*leg].flag).unwrap_or(source);
                for target in (0..32).filter(|leg| sync.targets >> leg & 1 == 1) {
                    self.copied(volume, open, target, sync.mask, sync.actor);
                    self.volumes[volume].legs[target].health = Health::Alive;
                }
            }
        }
        if self.volumes[volume].live == Live::Raid && sync.action != Action::Check {
            self.agree(volume);
        }
        self.note(|w| {
            let v = &w.volumes[volume];
            format!("  {}: {:?} ends, mismatches {}", v.names.full, sync.action, v.mismatches)
        });
        self.poke();
        self.reconcile(volume, sync.actor);
    }

    /// Whether the LUN of a leg in use lost something since a copy began, and is back for so short a time that nobody could end
    /// it: what the kernel copies from then on is its own doing.
    fn changed_under(&self, volume: usize, begun: u64) -> bool {
        let v = &self.volumes[volume];
        v.alive().any(|leg| {
            let lun = &self.luns[self.vgs[v.vg].luns[v.legs[leg].pv]];
            let at = lun.changed_at.max(lun.lost_at).filter(|at| *at > begun);
            let back = self.sessions[lun.server].as_ref().map_or(0, |session| session.since);
            at.is_some_and(|at| self.now < at.max(back) + GRACE)
        })
    }

    fn mismatches(&self, volume: usize, alive: &[usize]) -> u64 {
        let lv = self.volumes[volume].lv;
        let blocks = |leg: usize| {
            self.lun_of(self.volumes[volume].legs[leg].disk).map(|lun| self.luns[lun].cached.areas[lv].blocks)
        };
        let Some(first) = alive.first().and_then(|leg| blocks(*leg)) else { return 0 };
        let others = alive[1..].iter().filter_map(|leg| blocks(*leg));
        others.map(|other| 128 * other.iter().zip(&first).filter(|(a, b)| a != b).count() as u64).sum()
    }

    /// md ends in good order, and its last word raises `events`.
    pub(super) fn stop_raid(&mut self, volume: usize) {
        for leg in self.volumes[volume].alive().collect::<Vec<_>>() {
            if self.leg_way(volume, leg) == Way::Works {
                self.write_super(volume, leg, |sb| sb.events += 1);
            }
        }
    }

    /// All legs alive: the superblocks say so, each flushed.
    fn agree(&mut self, volume: usize) {
        let count = self.volumes[volume].legs.len();
        let whole = self.volumes[volume].alive().count() == count;
        let top = (0..count).filter_map(|leg| self.super_of(volume, leg)).map(|sb| sb.events).max().unwrap_or(0);
        let failed = (0..count).filter(|leg| self.volumes[volume].legs[*leg].health == Health::Dead);
        let failed = failed.fold(0, |mask, leg| mask | 1 << leg);
        for leg in 0..count {
            if self.volumes[volume].legs[leg].health != Health::Alive {
                continue;
            }
            self.write_super(volume, leg, |sb| {
                (sb.events, sb.failed, sb.position, sb.devices, sb.complete) = (top + 2, failed, leg, count, true);
            });
        }
        if whole {
            self.clean(volume);
        }
    }
}
