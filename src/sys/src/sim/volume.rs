//! An active volume as device-mapper has it: legs with their health, the copy or check under way, writes under way.

use super::content::{Kind, Mask};
use super::truth::History;
use super::truth_keeper::Actor;
use mirrorkeeper_core::ids::LvUuid;
use mirrorkeeper_core::name::Name;

/// What is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// Nothing.
    Inactive,
    /// `linear`.
    Linear,
    /// `raid`.
    Raid,
    /// `mirror`.
    Mirror,
}

/// Health of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `A`.
    Alive,
    /// `a`.
    Syncing,
    /// `D`.
    Dead,
}

/// One leg of the live table.
#[derive(Debug, Clone)]
pub struct Leg {
    /// PV, numbered within the VG.
    pub pv: usize,
    /// Disk its sub-LVs point at; `None` = LVM's error device.
    pub disk: Option<u32>,
    /// Health.
    pub health: Health,
    /// Write-mostly in the live table.
    pub flag: bool,
    /// Called alive again after a flush had failed on it: it is written to no more until another table is loaded.
    pub passed_over: bool,
    /// A table load dropped it: the kernel prints write_mostly −1.
    pub dropped: bool,
    /// A superblock that waits for its device.
    pub owed: Option<super::content::Super>,
    /// The next table load takes it in and may copy next to nothing (`facts/lab.md` A, 6.12).
    pub rough: bool,
}

/// What a sync does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Bring the legs of a crash to one state.
    Resync,
    /// Bring some legs up to date.
    Recover,
    /// Compare.
    Check,
    /// Mend.
    Repair,
}

/// A copy or a check under way.
#[derive(Debug, Clone)]
pub struct Sync {
    /// What.
    pub action: Action,
    /// Legs written to, one bit each.
    pub targets: u32,
    /// Blocks copied.
    pub mask: Mask,
    /// When it began.
    pub begun: u64,
    /// When it ends.
    pub ends: u64,
    /// Who wanted it.
    pub actor: Actor,
}

/// Names of a hidden part of a volume.
#[derive(Debug, Clone)]
pub struct Part {
    /// Of the LV.
    pub lv: Name,
    /// LV UUID.
    pub uuid: LvUuid,
    /// Of the dm device.
    pub dm: Name,
    /// Its dm uuid.
    pub dm_uuid: Name,
}

/// Names of a volume, made once.
#[derive(Debug, Clone)]
pub struct Names {
    /// Of the LV.
    pub lv: Name,
    /// `vg/lv`.
    pub full: String,
    /// Of the dm device.
    pub dm: Name,
    /// Its dm uuid.
    pub dm_uuid: Name,
    /// LV UUID.
    pub uuid: LvUuid,
    /// Its hidden parts as a raid1: data by leg.
    pub rimage: Vec<Part>,
    /// Metadata by leg.
    pub rmeta: Vec<Part>,
    /// Its hidden parts as a mirror, by leg.
    pub mimage: Vec<Part>,
}

/// A volume.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Its VG.
    pub vg: usize,
    /// Its number within the VG.
    pub lv: usize,
    /// Names.
    pub names: Names,
    /// Kind it was made as.
    pub kind: Kind,
    /// What is loaded.
    pub live: Live,
    /// I/O waits for a resume.
    pub suspended: bool,
    /// Mounted.
    pub open: bool,
    /// Somebody writes all the time while it is open; else only now and then.
    pub busy: bool,
    /// dm event number.
    pub event_nr: u32,
    /// Legs of the live table.
    pub legs: Vec<Leg>,
    /// Write-intent bitmap in memory.
    pub bitmap: Mask,
    /// When it was written last.
    pub last_write: u64,
    /// What runs.
    pub sync: Option<Sync>,
    /// When the last one ended.
    pub sync_ended: u64,
    /// Counts syncs.
    pub sync_epoch: u32,
    /// Sectors found different by the last check.
    pub mismatches: u64,
    /// Writes to the last leg failed: a resume alone revives nobody (`facts/lab.md` 4).
    pub spoiled: bool,
    /// Failed writes to a mirror wait for dmeventd.
    pub handle_errors: bool,
    /// dmeventd has it on its list.
    pub monitored: bool,
    /// dmeventd was told.
    pub dmeventd_due: bool,
    /// A leg failed on a flush and is called alive again: what is under way waits until the table is suspended.
    pub keeps: bool,
    /// Writes under way, not acknowledged.
    pub inflight: Vec<(usize, u32)>,
    /// Legs that have them already, one bit each.
    pub inflight_on: u32,
    /// What readers must get.
    pub truth: History,
    /// Histories that only some leg still holds.
    pub lost: Vec<History>,
    /// Since when readers may get something else although they need not.
    pub bad_since: Option<u64>,
    /// PV whose leg a person chose to keep.
    pub resolving: Option<usize>,
    /// Things happened after which it may stay unmended, as long as it says why.
    pub excused: bool,
    /// PVs whose leg cannot prove any more that it has everything, one bit each.
    pub doubted: u32,
    /// When that was last said of one.
    pub doubted_at: u64,
    /// The ledger could not be written when a leg was lost.
    pub unnoted: bool,
    /// When a leg died last.
    pub died_at: Option<u64>,
    /// When it was activated last.
    pub activated_at: u64,
    /// When it was whole last.
    pub whole_at: u64,
    /// Since it was last whole: PVs that went away, when, and whether their target is known to have restarted.
    pub away: Vec<(usize, u64, bool)>,
    /// The ledger was lost: nobody may know any more that it was a mirror.
    pub forgotten: bool,
    /// A person changed its legs.
    pub reshaped: bool,
}

impl Volume {
    /// Legs that hold current data by what the kernel believes.
    pub fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        self.legs.iter().enumerate().filter(|(_, leg)| leg.health == Health::Alive).map(|(i, _)| i)
    }

    /// Whether a leg gets writes.
    pub fn takes_writes(&self, leg: usize) -> bool {
        match self.legs[leg].health {
            Health::Alive => !self.legs[leg].passed_over,
            Health::Syncing => {
                self.live == Live::Mirror || self.sync.as_ref().is_some_and(|s| s.targets >> leg & 1 == 1)
            }
            Health::Dead => false,
        }
    }

    /// Nothing runs and nothing hangs.
    pub fn idle(&self) -> bool {
        self.sync.is_none() && !self.suspended
    }

    /// Stops what runs.
    pub fn stop_sync(&mut self) {
        if self.sync.take().is_some() {
            self.sync_epoch += 1;
        }
    }

    /// Legs that a read may come from, one bit each: the unflagged ones that are alive, or the lowest if all are flagged. A
    /// dm mirror reads from its default leg, the first that did not fail (`choose_mirror` in `dm-raid1.c`).
    pub fn readers(&self) -> u32 {
        let readable = |leg: &usize| !self.legs[*leg].passed_over;
        let mask = |open: bool| {
            let legs = self.alive().filter(readable).filter(|i| !open || !self.legs[*i].flag);
            legs.fold(0_u32, |mask, leg| mask | 1 << leg)
        };
        match (self.live, mask(true)) {
            (Live::Inactive, _) => 0,
            (Live::Raid, 0) | (Live::Mirror, _) => {
                let all = mask(false);
                all & all.wrapping_neg()
            }
            (_, open) => open,
        }
    }
}
