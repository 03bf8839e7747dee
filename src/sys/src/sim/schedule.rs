//! A whole schedule of a seed: a world, some rounds of blows, calm, and the last promise: whatever can be redundant is so
//! within a bound, and everything else says why it is not.

use super::clock::SECOND;
use super::content::{Kind, Label};
use super::rng::Rng;
use super::volume::{Health, Live};
use super::world::{Plan, Quirks, VgPlan, World};
use mirrorkeeper_core::at_a_loss;
use mirrorkeeper_core::op::Op;
use mirrorkeeper_core::plan::RESOLVABLE;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::snapshot::MirrorView;
use mirrorkeeper_core::words::{Hold, MirrorState};
use std::time::Duration;

/// How long everything may take after the faults stop: settle times grow to ten minutes, and several returns, checks and
/// copies follow one after the other.
const BOUND: u64 = 45 * 60 * SECOND;

/// The state that is worked for.
pub(super) const REDUNDANT: MirrorState = MirrorState::Redundant;

/// What became of a schedule.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Broken promises.
    pub violations: Vec<String>,
    /// Plans that the daemon's own safety check stopped.
    pub anomalies: Vec<String>,
    /// Outage cycles.
    pub outages: u64,
    /// Engine steps.
    pub steps: u64,
    /// Virtual time in seconds.
    pub seconds: u64,
    /// Volumes that ended redundant, and those that ended in a hold.
    pub ended: (u64, u64),
    /// What happened, when asked for.
    pub trace: Vec<String>,
}

/// The plan of a seed.
pub fn plan_of(seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ 0x706c_616e);
    let servers = if rng.chance(80) { 2 } else { 3 };
    let vg = |rng: &mut Rng, n: usize| {
        let mut hosts: Vec<usize> = (0..servers).collect();
        // Legs on all servers, or on two of three; in any order.
        if servers == 3 && rng.chance(75) {
            hosts.remove(rng.index(3));
        }
        if rng.chance(50) {
            hosts.reverse();
        }
        let all: [(&'static str, Kind); 3] = [("r1", Kind::Raid1), ("m1", Kind::Mirror), ("r2", Kind::Raid1)];
        let volumes = match (n, rng.below(10)) {
            (0, 0..=4) | (1, 0..=6) => all[..1].to_vec(),
            (_, 5..=7) => all[..2].to_vec(),
            (_, 8) => all[1..2].to_vec(),
            _ => vec![all[0], all[2]],
        };
        VgPlan { servers: hosts, volumes }
    };
    let count = if rng.chance(70) { 1 } else { 2 };
    let vgs = (0..count).map(|n| vg(&mut rng, n)).collect();
    let quirks = Quirks {
        shallow_recovery: rng.chance(40),
        no_registrations: rng.chance(25),
        persistent_registrations: rng.chance(15),
        foreign_keys: rng.chance(10),
        ..Quirks::default()
    };
    let replacement_timeout = [5, 5, 10, 30, 120][rng.index(5)];
    let gate = rng.chance(20);
    let quirks = Quirks { no_detect: rng.chance(20), ..quirks };
    let quirks = Quirks { no_destroy: quirks.no_detect && rng.chance(30), ..quirks };
    let settings = Settings {
        gate,
        quick_timeout: [4, 4, 4, 1, 20][rng.index(5)],
        detect_timeout: Duration::from_secs([3, 3, 3, 2, 0][rng.index(5)]),
        fence: rng.chance(90),
        ..Settings::default()
    };
    let quirks = Quirks { old_iscsid: rng.chance(50), ..quirks };
    Plan { servers, vgs, replacement_timeout, quirks, settings }
}

/// Runs the schedule of a seed.
pub fn run(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(&plan_of(seed), seed);
    if trace {
        world.keep_trace();
    }
    world.start_daemon();
    let first = world.rng.between(20, 60);
    world.run_for(first * SECOND);
    for _ in 0..world.rng.between(2, 10) {
        if world.violations.is_empty() {
            world.round();
        }
    }
    let mut outcome = Outcome::default();
    if world.violations.is_empty() {
        world.calm();
        world.converge();
        world.people_choose();
        for volume in 0..world.volumes.len() {
            if world.violations.is_empty() {
                world.look_at_end(volume, &mut outcome);
            }
        }
    }
    for volume in 0..world.volumes.len() {
        world.note(|w| format!("= {}: {}", w.volumes[volume].names.full, w.told_end(volume)));
    }
    outcome.outages = world.outages;
    outcome.steps = world.daemon.steps;
    outcome.seconds = world.now / SECOND - 1000;
    outcome.trace = world.trace.take().unwrap_or_default();
    outcome.violations = world.violations;
    outcome.anomalies = world.anomalies;
    outcome
}

/// A hold that ends by itself.
fn passes(hold: Hold) -> bool {
    matches!(
        hold,
        Hold::Settling
            | Hold::Queued
            | Hold::VgBusy
            | Hold::BackOff
            | Hold::Flapping
            | Hold::LastServer
            | Hold::DeviceBlocked
    )
}

impl World {
    /// A mirror as the daemon shows it.
    pub fn shown(&self, volume: usize) -> Option<&MirrorView> {
        self.daemon.snapshot()?.mirrors.get(self.volumes[volume].names.full.as_str()).map(|shown| &**shown)
    }

    /// The same in a line, for people.
    fn told_end(&self, volume: usize) -> String {
        let Some(shown) = self.shown(volume) else { return "not shown".to_owned() };
        let legs = shown.legs.iter().map(|leg| format!(" {} {} {:?}", &leg.pv[..6], leg.state, leg.details));
        let hold = shown.hold.map(|hold| format!(", held {hold} {:?}", shown.hold_details)).unwrap_or_default();
        format!("{}{hold};{}", shown.state, legs.collect::<String>())
    }

    /// Whether a volume is shown as redundant, or held with evidence.
    fn at_rest(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        match self.shown(volume) {
            Some(shown) if shown.state == MirrorState::Redundant => v.idle(),
            Some(shown) => {
                // Without an excuse a hold may still end by itself, until the time is over.
                let held = shown.hold.is_some_and(|hold| !passes(hold)) && !shown.hold_details.is_empty();
                let excused = self.excused(volume);
                excused && (held || self.by_hand(volume) || shown.state == MirrorState::Inactive)
                    || shown.unmanaged.is_some()
            }
            // Linear for a daemon without history.
            None => v.forgotten || v.reshaped,
        }
    }

    /// Waits for the end of the story and looks at it.
    fn converge(&mut self) {
        let end = self.now + BOUND;
        loop {
            self.run_until(BOUND, |w| (0..w.volumes.len()).all(|v| w.at_rest(v)));
            if !self.violations.is_empty() {
                return;
            }
            // For a moment does not count.
            self.run_for(20 * SECOND);
            if (0..self.volumes.len()).all(|v| self.at_rest(v)) || self.now > end {
                break;
            }
        }
    }

    /// In every other story a person ends the holds, keeping one leg or another: afterwards it has to be redundant.
    fn people_choose(&mut self) {
        if !self.rng.chance(50) {
            return;
        }
        let mut chosen = false;
        for volume in 0..self.volumes.len() {
            let held = self.shown(volume).is_some_and(|shown| shown.hold.is_some_and(|hold| !passes(hold)));
            let legs = self.vgs[self.volumes[volume].vg].luns.len();
            chosen |= held && self.violations.is_empty() && self.resolve_any(volume, legs);
        }
        if chosen {
            self.converge();
        }
    }

    fn look_at_end(&mut self, volume: usize, outcome: &mut Outcome) {
        let name = self.volumes[volume].names.full.clone();
        let shown = self.shown(volume).map(|shown| (shown.state, shown.hold, shown.hold_details.clone()));
        let held = |hold: Option<Hold>| hold.is_some_and(|hold| !passes(hold));
        if !self.at_rest(volume) && !shown.as_ref().is_some_and(|(_, hold, details)| held(*hold) && !details.is_empty())
        {
            self.violate(format!("{name}: neither redundant nor held long after the faults stopped: {shown:?}"));
            return;
        }
        if self.shown(volume).is_some_and(at_a_loss::admits) {
            self.violate(format!("{name}: no rule says what to do with it"));
            return;
        }
        let v = &self.volumes[volume];
        // Without its ledger a daemon does not know what came before it looked; LVM refreshes none with a PV flagged, nor one
        // whose device is gone, but loads another table; and a slow command may be at it.
        let at_it = || self.daemon.jobs.iter().any(|job| matches!(job.op, Op::Requeue { .. }));
        let gone = v.legs.iter().any(|leg| leg.disk.is_none_or(|id| self.disk(id).is_none()));
        // What waits for a dead leg must not go on where it is still to be chosen which leg goes on.
        let dead = v.legs.iter().any(|leg| leg.health == Health::Dead);
        let undecided =
            dead && shown.as_ref().is_some_and(|(_, hold, _)| hold.is_some_and(|h| RESOLVABLE.contains(&h)));
        let excused =
            v.forgotten || v.unnoted || gone || undecided || self.partial(volume) || self.crossed(volume) || at_it();
        if v.keeps && !v.inflight.is_empty() && !excused {
            self.violate(format!("{name}: writes wait for nobody"));
            return;
        }
        match shown {
            Some((MirrorState::Redundant, ..)) => {
                outcome.ended.0 += 1;
                let stale = (0..v.legs.len()).find(|leg| {
                    let lun = self.lun_of(v.legs[*leg].disk);
                    !lun.is_some_and(|lun| v.truth.held_by(&self.luns[lun].cached.areas[v.lv].blocks))
                });
                let dead = v.legs.iter().any(|leg| leg.health != Health::Alive);
                let short = v.legs.len() < 2 && !v.reshaped;
                let stale = stale.filter(|_| !self.undecidable(volume));
                if let Some(leg) = stale {
                    self.violate(format!("{name}: said to be redundant with an old leg {leg}"));
                } else if dead || short {
                    self.violate(format!("{name}: said to be redundant and is not"));
                }
            }
            Some((state, hold, details)) => {
                outcome.ended.1 += 1;
                self.excuse_stranded();
                // LVM takes the flag off a PV without legs when it writes next; nobody does.
                let vg = self.vgs[self.volumes[volume].vg].volumes.iter();
                let unused = hold == Some(Hold::VgIncomplete) && vg.copied().any(|v| self.volumes[v].reshaped);
                // Its disk cannot be kept out while another volume uses it.
                let shared = hold == Some(Hold::UnmanagedUser);
                let neighbours = || self.vgs[self.volumes[volume].vg].volumes.iter();
                let unproven =
                    hold == Some(Hold::NoHistory) && neighbours().any(|v| self.unproven(*v) || self.unwatched(*v));
                let forked = hold == Some(Hold::SplitBrain) && self.two_texts(volume);
                if !self.excused(volume) && !unused && !shared && !unproven && !forked {
                    self.violate(format!(
                        "{name}: ends {state} held {hold:?} {details:?} without a reason known to the model"
                    ));
                }
            }
            None => outcome.ended.1 += 1,
        }
    }

    /// Whether the right label stands on every LUN of a volume's VG.
    pub fn honest(&self, volume: usize) -> bool {
        let luns = &self.vgs[self.volumes[volume].vg].luns;
        luns.iter().all(|lun| self.luns[*lun].cached.label == Label::Pv(*lun))
    }

    /// Whether a volume is loaded.
    pub fn active(&self, volume: usize) -> bool {
        self.volumes[volume].live != Live::Inactive
    }
}
