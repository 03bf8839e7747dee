//! A raid1 LV as dm-raid treats it: health letters, superblocks, write-mostly, syncs over time, and what a table load does.
//! Only what the daemon can cause or see is here. Facts: `facts/lab.md` A and B.

use super::machine::{Paths, Way};
use mirrorkeeper_core::ids::{DevNo, LvUuid};
use mirrorkeeper_core::observation::{LegHealth, SyncAction};

/// Sectors a virtual second at which a sync goes on: 16 MiB/s, so that a full copy of a small LV is seen in several samples.
const RATE: u64 = 32_768;

/// Seconds in which a leg has to be flagged again: a look, two samples and a command.
const GRACE: f64 = 15.0;

/// One leg.
#[derive(Debug, Clone)]
pub struct RaidLeg {
    /// Server whose LUN it is on.
    pub server: usize,
    /// Letter in the status line.
    pub health: LegHealth,
    /// Write-mostly in the metadata.
    pub flagged: bool,
    /// Write-mostly in the live table.
    pub table_flag: bool,
    /// A table load dropped it: the kernel prints write_mostly −1.
    pub dropped: bool,
    /// The disk its sub-LVs point at.
    pub dev: DevNo,
    /// Superblock.
    pub events: u64,
    /// Superblock.
    pub failed: u64,
    /// Holds older blocks than were acknowledged, and no bitmap knows.
    pub stale: bool,
    /// Was on probation since it became stale: from then on nobody may read it.
    pub judged: bool,
}

/// A sync under way.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Which.
    pub action: SyncAction,
    /// Sectors done.
    pub done: u64,
    /// Leg written to by a recovery, and whether in full.
    pub target: Option<(usize, bool)>,
}

/// The LV.
#[derive(Debug, Clone)]
pub struct Raid {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: LvUuid,
    /// Sectors.
    pub sectors: u64,
    /// Legs in order.
    pub legs: Vec<RaidLeg>,
    /// What runs.
    pub sync: Option<Sync>,
    /// Of the last check.
    pub mismatches: u64,
    /// dm event number.
    pub event_nr: u32,
    /// Left suspended.
    pub suspended: bool,
    /// Somebody writes to it all the time.
    pub written: bool,
    /// Active.
    pub active: bool,
    /// Seconds for which a leg that was judged has been serving old blocks.
    serving_old: f64,
}

impl Raid {
    /// Two legs on the two servers, in sync.
    pub fn new(name: &str, uuid: LvUuid, devs: [DevNo; 2]) -> Self {
        let leg = |server: usize| RaidLeg {
            server,
            health: LegHealth::InSync,
            flagged: false,
            table_flag: false,
            dropped: false,
            dev: devs[server],
            events: 22,
            failed: 0,
            stale: false,
            judged: false,
        };
        let legs = vec![leg(0), leg(1)];
        let name = name.to_owned();
        let (sync, mismatches, event_nr, suspended, written, active) = (None, 0, 3, false, true, true);
        Self {
            name,
            uuid,
            sectors: 262_144,
            legs,
            sync,
            mismatches,
            event_nr,
            suspended,
            written,
            active,
            serving_old: 0.0,
        }
    }

    fn way(&self, leg: usize, paths: &Paths) -> Way {
        paths.way(self.legs[leg].server, self.legs[leg].dev)
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        self.legs.iter().enumerate().filter(|(_, l)| l.health == LegHealth::InSync).map(|(i, _)| i)
    }

    /// Legs that serve reads: the unflagged ones in sync, or the lowest if all are flagged.
    pub fn readers(&self) -> Vec<usize> {
        let open: Vec<usize> = self.alive().filter(|i| !self.legs[*i].table_flag).collect();
        if open.is_empty() { self.alive().take(1).collect() } else { open }
    }

    /// Nothing runs and nothing hangs.
    pub fn idle(&self) -> bool {
        self.sync.is_none() && !self.suspended
    }

    /// Lets time pass. Returns sectors written by server, what happened worth a wake-up, and broken promises.
    pub fn advance(&mut self, seconds: f64, paths: &Paths, broken: &mut Vec<String>) -> ([u64; 2], bool) {
        let mut written = [0, 0];
        if !self.active || self.suspended {
            return (written, false);
        }
        let before = self.event_nr;
        self.fail_dead_paths(paths);
        // With nobody left to read from, a sync is given up; its leg stays `a`.
        let sources: Vec<usize> = self.alive().collect();
        if sources.iter().all(|i| self.way(*i, paths) == Way::Fails) {
            self.sync = None;
        }
        let total = self.sectors;
        let may_go_on = self
            .legs
            .iter()
            .enumerate()
            .all(|(i, leg)| matches!(leg.health, LegHealth::Dead) || self.way(i, paths) == Way::Works);
        if let Some(sync) = self.sync.as_mut().filter(|_| may_go_on) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let step = (seconds * RATE as f64) as u64;
            let step = step.min(total - sync.done);
            sync.done += step;
            if let Some((target, _)) = sync.target {
                written[self.legs[target].server] += step;
            }
            if sync.done == total {
                self.finish(broken);
            }
        }
        let alive: Vec<usize> = self.alive().collect();
        for (i, leg) in self.legs.iter_mut().enumerate() {
            // Whoever had to serve alone is the truth from then on, however stale: no daemon can help it.
            leg.judged = leg.stale && (leg.judged || leg.table_flag) && alive != [i];
        }
        // Old blocks are served while a better leg is there. A command that was under way may unflag a leg that went bad
        // meanwhile; then it has to be flagged again soon.
        let better = self.alive().any(|i| !self.legs[i].stale);
        let wrong = self.readers().into_iter().find(|i| better && self.legs[*i].judged);
        self.serving_old = wrong.map_or(0.0, |_| self.serving_old + seconds);
        if let Some(leg) = wrong.filter(|_| self.serving_old > GRACE) {
            broken.push(format!("{}: reads come from leg {leg}, which is stale and was judged", self.name));
        }
        (written, self.event_nr != before)
    }

    /// A write to a leg whose path fails makes it `D`, unless it is the last one.
    fn fail_dead_paths(&mut self, paths: &Paths) {
        for i in 0..self.legs.len() {
            let at_work = self.written || self.sync.as_ref().is_some_and(|s| s.target.is_some_and(|(t, _)| t == i));
            let live = matches!(self.legs[i].health, LegHealth::InSync | LegHealth::Syncing);
            if !live || !at_work || self.way(i, paths) != Way::Fails {
                continue;
            }
            let others: Vec<usize> = self.alive().filter(|o| *o != i && self.way(*o, paths) != Way::Fails).collect();
            if others.is_empty() {
                continue;
            }
            self.legs[i].health = LegHealth::Dead;
            for other in others {
                self.legs[other].failed |= 1 << i;
                self.legs[other].events += 4;
            }
            self.sync = None;
            self.event_nr += 1;
        }
    }

    fn finish(&mut self, broken: &mut Vec<String>) {
        let Some(sync) = self.sync.take() else { return };
        self.event_nr += 1;
        self.mismatches = 0;
        let source = self.alive().find(|i| sync.target.is_none_or(|(t, _)| t != *i));
        let stale_source = source.is_some_and(|i| self.legs[i].stale);
        match (sync.action, sync.target) {
            (SyncAction::Recover, Some((target, full))) => {
                let leg = &mut self.legs[target];
                leg.health = LegHealth::InSync;
                if full {
                    if stale_source && !leg.stale {
                        broken.push(format!("{}: a stale leg was copied over leg {target}", self.name));
                    }
                    leg.stale = stale_source;
                } else {
                    // Whoever was dead has to come back flagged; `GRACE` for a command that outlived a loss.
                    leg.judged |= leg.stale;
                }
                let whole = self.legs.iter().all(|l| l.health == LegHealth::InSync);
                let events = self.legs.iter().map(|l| l.events).max().unwrap_or(0) + 2;
                for leg in self.legs.iter_mut().filter(|_| whole) {
                    (leg.events, leg.failed) = (events, 0);
                }
            }
            (SyncAction::Check, _) if self.alive().any(|i| self.legs[i].stale) => self.mismatches = 2176,
            (SyncAction::Repair, _) => {
                for leg in &mut self.legs {
                    if stale_source && !leg.stale {
                        broken.push(format!("{}: repair copied from a stale leg", self.name));
                    }
                    leg.stale = stale_source;
                }
            }
            _ => {}
        }
    }

    /// The kernel builds the array anew from the superblocks: who has most events is right.
    pub fn load(&mut self, paths: &Paths, broken: &mut Vec<String>) {
        let readable: Vec<usize> = (0..self.legs.len()).filter(|i| self.way(*i, paths) == Way::Works).collect();
        let Some(best) = readable.iter().copied().max_by_key(|i| self.legs[*i].events) else { return };
        let (top, accused) = (self.legs[best].events, self.legs[best].failed);
        for (i, leg) in self.legs.iter_mut().enumerate() {
            let was = leg.health;
            leg.dropped = !readable.contains(&i);
            leg.table_flag = leg.flagged && !leg.dropped;
            leg.health = if leg.dropped {
                LegHealth::Dead
            } else if i != best && (accused & (1 << i) != 0 || leg.events + 1 < top) {
                if was == LegHealth::InSync {
                    broken.push(format!("{}: a table load overwrites live leg {i}", self.name));
                }
                self.sync =
                    Some(Sync { action: SyncAction::Recover, done: self.sectors / 4 * 3, target: Some((i, false)) });
                LegHealth::Syncing
            } else {
                LegHealth::InSync
            };
            leg.judged |= leg.stale && leg.table_flag;
        }
        for i in 0..self.legs.len() {
            if self.legs[i].dropped {
                self.legs[best].failed |= 1 << i;
                self.legs[best].events += 1;
            }
        }
        self.suspended = false;
    }

    /// The sub-LVs are pointed at where the PVs are now.
    pub fn repoint(&mut self, paths: &Paths) {
        for leg in &mut self.legs {
            leg.dev = paths.dev(leg.server).unwrap_or(leg.dev);
        }
    }

    /// `lvchange --refresh`: resumes, re-points, revives; loads no new table, so the active leg wins.
    pub fn refresh(&mut self, paths: &Paths) {
        self.suspended = false;
        self.repoint(paths);
        let dead =
            (0..self.legs.len()).find(|i| self.legs[*i].health == LegHealth::Dead && self.way(*i, paths) == Way::Works);
        if let Some(leg) = dead {
            self.legs[leg].health = LegHealth::Syncing;
            self.legs[leg].dropped = false;
            self.sync =
                Some(Sync { action: SyncAction::Recover, done: self.sectors / 4 * 3, target: Some((leg, false)) });
        }
    }

    /// Starts a scrub or a rebuild.
    pub fn begin(&mut self, action: SyncAction, rebuild: Option<usize>) {
        if let Some(leg) = rebuild {
            self.legs[leg].health = LegHealth::Syncing;
        }
        self.sync = Some(Sync { action, done: 0, target: rebuild.map(|leg| (leg, true)) });
    }
}
