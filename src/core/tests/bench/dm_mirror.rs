//! A core-log `mirror` LV with its dmeventd: a dead leg is dropped and the LV goes on as a linear one; a leg given back is
//! copied in full, and its letters say `AA` from the first moment. Facts: `facts/lab.md` 6.

use super::machine::{Paths, Way};
use mirrorkeeper_core::ids::{DevNo, LvUuid};

/// Regions of the LV.
pub const REGIONS: u64 = 128;

/// Regions copied a virtual second.
const RATE: u64 = 16;

/// dmeventd's reaction (`facts/lab.md` 6: event to table linear).
const DMEVENTD: u64 = 500_000;

/// One leg in the LV.
#[derive(Debug, Clone)]
pub struct MirrorLeg {
    /// Server whose LUN it is on.
    pub server: usize,
    /// The disk its image points at.
    pub dev: DevNo,
    /// `D` in the status line.
    pub dead: bool,
}

/// The LV.
#[derive(Debug, Clone)]
pub struct DmMirror {
    /// Name.
    pub name: String,
    /// UUID.
    pub uuid: LvUuid,
    /// Legs in order; one left = linear.
    pub legs: Vec<MirrorLeg>,
    /// By server: holds older blocks than were acknowledged.
    pub stale: [bool; 2],
    /// Regions in sync.
    pub in_sync: u64,
    /// dm event number.
    pub event_nr: u32,
    /// Failed writes wait for user space.
    pub handle_errors: bool,
    /// dmeventd has it on its list.
    pub monitored: bool,
    /// Left suspended.
    pub suspended: bool,
    /// A flush failed on a leg that came back at once: whoever waits for it waits until the table is suspended.
    pub keeps_flush: bool,
    /// Regions out of sync that the log does not look for any more.
    pub stands: bool,
    /// Somebody writes to it.
    pub written: bool,
    dead_since: Option<u64>,
    fraction: f64,
}

impl DmMirror {
    /// A core log keeps nothing: an activation copies anew from the first leg. What that one lost in a crash of both is
    /// what the volume is from then on; no daemon could have saved it.
    pub fn activate(&mut self) {
        self.in_sync = 0;
        if self.legs.iter().all(|leg| self.stale[leg.server]) {
            self.stale[self.legs[0].server] = false;
        }
    }

    /// Two legs on the two servers, in sync.
    pub fn new(name: &str, uuid: LvUuid, devs: [DevNo; 2]) -> Self {
        let leg = |server: usize| MirrorLeg { server, dev: devs[server], dead: false };
        Self {
            name: name.to_owned(),
            uuid,
            legs: vec![leg(0), leg(1)],
            stale: [false; 2],
            in_sync: REGIONS,
            event_nr: 1,
            handle_errors: true,
            monitored: true,
            suspended: false,
            keeps_flush: false,
            stands: false,
            written: true,
            dead_since: None,
            fraction: 0.0,
        }
    }

    /// Lets time pass. Returns the servers whose legs dmeventd drops now, and whether there is something to see.
    pub fn advance(&mut self, now: u64, seconds: f64, paths: &Paths, dmeventd: bool) -> (Vec<usize>, bool) {
        if self.suspended || self.legs.len() < 2 {
            return (Vec::new(), false);
        }
        let before = self.event_nr;
        let ways: Vec<Way> = self.legs.iter().map(|leg| paths.way(leg.server, leg.dev)).collect();
        for (leg, way) in self.legs.iter_mut().zip(&ways) {
            if self.written && *way == Way::Fails && !leg.dead {
                leg.dead = true;
                self.event_nr += 1;
            }
        }
        if ways.iter().all(|way| *way == Way::Works) && self.in_sync < REGIONS && !self.stands {
            #[expect(clippy::cast_precision_loss)]
            let rate = RATE as f64;
            self.fraction += seconds * rate;
            while self.fraction >= 1.0 && self.in_sync < REGIONS {
                self.fraction -= 1.0;
                self.in_sync += 1;
            }
            if self.in_sync == REGIONS {
                self.stale[self.legs[1].server] = self.stale[self.legs[0].server];
                self.event_nr += 1;
            }
        }
        let dead: Vec<usize> = self.legs.iter().filter(|leg| leg.dead).map(|leg| leg.server).collect();
        if dead.is_empty() || dead.len() == self.legs.len() || paths.any_waits() {
            self.dead_since = None;
            return (Vec::new(), self.event_nr != before);
        }
        let since = *self.dead_since.get_or_insert(now);
        if dmeventd && self.monitored && now >= since + DMEVENTD {
            return (dead, true);
        }
        (Vec::new(), self.event_nr != before)
    }

    /// A flush fails on a leg, which is called dead until the next write, and alive from then on.
    pub fn fail_a_flush(&mut self) {
        (self.keeps_flush, self.event_nr) = (true, self.event_nr + 2);
    }

    /// It is suspended and resumed.
    pub fn resume(&mut self) {
        (self.suspended, self.keeps_flush, self.stands) = (false, false, false);
    }

    /// Takes a leg out.
    pub fn drop_leg(&mut self, server: usize, broken: &mut Vec<String>) {
        let left = self.legs.iter().find(|leg| leg.server != server).map(|leg| leg.server);
        let gone_is_dead = self.legs.iter().any(|leg| leg.server == server && leg.dead);
        if left.is_some_and(|left| self.stale[left] && !self.stale[server] && !gone_is_dead) {
            broken.push(format!("{}: the good leg was dropped and the stale one kept", self.name));
        }
        self.legs.retain(|leg| leg.server != server);
        (self.in_sync, self.event_nr, self.dead_since) = (REGIONS, self.event_nr + 1, None);
        self.resume();
    }

    /// Gives a leg back, to be copied in full.
    pub fn add_leg(&mut self, server: usize, dev: DevNo) {
        self.legs.push(MirrorLeg { server, dev, dead: false });
        (self.in_sync, self.handle_errors, self.monitored) = (0, true, true);
    }
}
