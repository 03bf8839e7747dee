//! What to do next in one VG. Level-triggered: the answer follows from what is seen and remembered, never from what was
//! done last, so a lost event, a restart and a half-done step are all the same case.
//!
//! Several steps may be proposed; one command a VG is started. Everything that is wrong and yet left alone comes out as a hold with its evidence.

mod keep;
mod run;

pub use keep::forget;
pub use run::ProbeRun;

use crate::fence::Answers;
use crate::ids::{DevNo, LvUuid, PvUuid, VgUuid};
use crate::ledger::{Kind, Ledger, MirrorRecord, Trust};
use crate::notes::Looks;
use crate::observation::{DmObs, KernelView, LegHealth, LvObs, ScsiState, SessionState, VgObs};
use crate::op::{Op, ProbeTarget, VgRef};
use crate::roles::Ground;
use crate::scrub::By;
use crate::servers::{FLAPPING, Servers};
use crate::session::Targets;
use crate::settings::Settings;
use crate::snapshot::{Details, Value};
use crate::stamp::{self, Stamps};
use crate::time::{Mono, Now};
use crate::topology::{Leg, Mirror, Place};
use crate::witness::{self, Objection};
use crate::words::Hold;
use crate::{boot, cancel, maintenance, mirror, pause, raid1, resolve, scrub};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Holds that a choice between legs ends.
pub const RESOLVABLE: [Hold; 4] = [Hold::SplitBrain, Hold::StaleLeg, Hold::RolledBackLeg, Hold::NoHistory];

/// A scrub that the kernel is working on for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrub {
    /// What it is.
    pub kind: ScrubKind,
    /// When its command ended.
    pub since: Mono,
    /// dm event number before its command: the end of a scrub raises it (`facts/lvm.md` 2).
    pub event_nr: u32,
    /// Metadata sequence number then: a table loaded meanwhile would have cut the scrub short. `None` until the report
    /// after a command of our own on other volumes of the VG.
    pub seqno: Option<u64>,
    /// It was seen at work.
    pub seen: bool,
}

/// Kinds of scrub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScrubKind {
    /// Comparing.
    Check,
    /// Mending in place.
    Repair,
    /// Copying a leg in full, with the sectors written to its disk before.
    Rebuild {
        /// The leg's PV.
        pv: PvUuid,
        /// Written before.
        sectors_before: u64,
    },
}

/// What is waived for a leg before it is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// Nothing.
    None,
    /// It is in doubt and serves reads: the settle time; and one of another size is given all the same, beside the hold.
    Doubted,
    /// It is to be kept from serving them: the rescan too, where the size seems to be right.
    Flag,
}

/// Everything a plan rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Now.
    pub now: Now,
    /// Settings.
    pub settings: &'a Settings,
    /// sysfs and dm.
    pub kernel: &'a KernelView,
    /// VGs by the last report.
    pub vgs: &'a BTreeMap<VgUuid, VgObs>,
    /// The report is newer than the last structural change.
    pub reported: bool,
    /// Ledger.
    pub ledger: &'a Ledger,
    /// Targets.
    pub targets: &'a Targets,
    /// Storage servers.
    pub servers: &'a Servers,
    /// Mirrors.
    pub mirrors: &'a BTreeMap<LvUuid, Mirror>,
    /// Mirrors steady for two samples.
    pub steady: &'a BTreeSet<LvUuid>,
    /// Since when a mirror has been seen suspended with no LVM command alive, with a dead leg that dmeventd should have
    /// dropped, or with a leg that nothing copies.
    pub stuck_since: &'a BTreeMap<LvUuid, Mono>,
    /// Volumes of type `mirror` that may keep writes although no leg is dead.
    pub keeping: &'a BTreeSet<LvUuid>,
    /// Scrubs under way.
    pub scrubs: &'a BTreeMap<LvUuid, Scrub>,
    /// Last probe of each VG.
    pub probes: &'a BTreeMap<VgUuid, ProbeRun>,
    /// Mirrors whose settle time is waived.
    pub hurry: &'a BTreeSet<LvUuid>,
    /// Inactive mirrors that somebody asked to be activated.
    pub asked: &'a BTreeSet<LvUuid>,
    /// Mirrors that are to be compared although they are redundant.
    pub checks: &'a BTreeMap<LvUuid, By>,
    /// Mirrors whose healing was cancelled by a person, until somebody asks for it again.
    pub cancelled: &'a BTreeSet<LvUuid>,
    /// Mirrors with a step that the safety check refused in the last turn.
    pub refused: &'a BTreeSet<LvUuid>,
    /// What was learnt about the devices in this run.
    pub looks: &'a Looks,
    /// Stamps of this run.
    pub stamps: &'a Stamps,
    /// Numbers of stamps whose command has not ended yet.
    pub stamping: &'a BTreeMap<VgUuid, u64>,
    /// Disks that answered a direct read.
    pub answers: &'a Answers,
    /// Our keys are made from it.
    pub machine_id: &'a str,
}

/// What came out for one VG.
#[derive(Debug, Default)]
pub struct Plan {
    /// What could be done next and why, the most urgent first. The first that may start has the VG.
    pub steps: Vec<(Op, String)>,
    /// Why mirrors are left alone.
    pub holds: BTreeMap<LvUuid, Vec<Objection>>,
    /// Mirrors that have a hold of their own which a choice between their legs would end.
    pub resolvable: BTreeSet<LvUuid>,
    /// PVs that a raid leg is held on: nothing else is taken back from them either.
    pub held: BTreeMap<PvUuid, Objection>,
}

impl Plan {
    /// Notes an objection against a mirror itself.
    pub fn hold(&mut self, mirror: &Mirror, objection: Objection) {
        self.own(&mirror.lv.uuid, &objection);
        self.hold_with(mirror, objection);
    }

    /// Notes whose objection it is.
    pub fn own(&mut self, lv: &LvUuid, objection: &Objection) {
        if RESOLVABLE.contains(&objection.hold) {
            self.resolvable.insert(lv.clone());
        }
    }

    /// Notes an objection against another mirror on the same PV, which holds this one too.
    pub fn hold_with(&mut self, mirror: &Mirror, objection: Objection) {
        let holds = self.holds.entry(mirror.lv.uuid.clone()).or_default();
        if !holds.contains(&objection) {
            holds.push(objection);
        }
    }

    /// Adds a proposal, behind those made before it.
    pub fn propose(&mut self, step: Option<(Op, String)>) {
        self.steps.extend(step);
    }
}

/// Plans the next step in a VG: what hangs comes first, then what a person chose, activation, raid1 legs, mirror
/// legs, and last of all what is only kept up: looks, registrations, stamps. What people do not want now is taken out.
pub fn plan(s: &Situation<'_>, vg: &VgUuid) -> Plan {
    let mut plan = Plan::default();
    let mut mirrors: Vec<&Mirror> = s.mirrors.values().filter(|m| m.vg.uuid == *vg && m.unmanaged.is_none()).collect();
    mirrors.sort_by_key(|m| Reverse(s.settings.priority(&m.name)));
    unrestrained(s, vg, &mirrors, &mut plan);
    maintenance::restrain(s, &mirrors, &mut plan);
    cancel::restrain(s, &mirrors, &mut plan);
    pause::restrain(s, &mirrors, &mut plan);
    if boot::kept_out(s, vg).next().is_none() {
        keep::orphans(s, &mirrors, &mut plan);
    }
    plan
}

fn unrestrained(s: &Situation<'_>, vg: &VgUuid, mirrors: &[&Mirror], plan: &mut Plan) {
    raid1::resume(s, mirrors, plan);
    let suspended = !plan.steps.is_empty();
    mirror::let_go(s, mirrors, plan);
    if !suspended {
        resolve::plan(s, mirrors, plan);
        boot::plan(s, mirrors, plan);
        boot::let_in(s, vg, plan);
        // Metadata written while a disk is kept out would fork it.
        if boot::kept_out(s, vg).next().is_some() {
            return;
        }
        raid1::plan(s, mirrors, plan);
    }
    mirror::plan(s, mirrors, plan);
    // What serves reads unproven does not wait until another volume is compared.
    if plan.steps.iter().any(|(op, _)| matches!(op, Op::DropLeg { .. })) {
        plan.steps.sort_by_key(|(op, _)| matches!(op, Op::Check { .. }));
    }
    keep::rejoin(s, mirrors, plan);
    let step = keep::look(s, mirrors);
    plan.propose(step);
    scrub::plan(s, mirrors, plan);
    keep::register(s, mirrors, plan);
    boot::gate(s, mirrors, plan);
    stamp::plan(s, mirrors, plan);
}

impl<'a> Situation<'a> {
    /// What roles rest on.
    pub fn ground(&self) -> Ground<'a> {
        Ground {
            mirrors: self.mirrors,
            kernel: self.kernel,
            targets: self.targets,
            ledger: self.ledger,
            settings: self.settings,
            reported: self.reported,
        }
    }
}

impl Situation<'_> {
    /// What the ledger says of a mirror.
    pub fn record(&self, mirror: &Mirror) -> Option<&MirrorRecord> {
        self.ledger.mirrors.get(&mirror.lv.uuid)
    }

    /// Whether every leg of a mirror is beyond doubt.
    pub fn trusts_all(&self, mirror: &Mirror) -> bool {
        self.record(mirror).is_some_and(|record| record.legs.values().all(|leg| leg.trust == Trust::Trusted))
    }

    /// A device that every LVM command would wait for.
    pub fn blocked_device(&self) -> Option<&str> {
        self.kernel.blocked_device()
    }

    /// Whether a returned PV may be touched now: up, settled, rescanned, of its old size, and LVM will not hang.
    /// Proposes the rescan if that is what is missing. `None` means wait; holds say why if it is more than that.
    /// Not so for a leg that serves reads: see [`Haste`].
    pub fn ready<'p>(
        &self,
        mirrors: &[&Mirror],
        leg: &'p Leg,
        size: u64,
        haste: Haste,
        plan: &mut Plan,
    ) -> Option<&'p Place> {
        let place = leg.place.as_ref()?;
        if mirrors.iter().any(|m| self.resting(m, leg)) {
            return None;
        }
        let mut hold = |objection: Objection| {
            for mirror in mirrors {
                plan.hold(mirror, objection.clone());
            }
        };
        let kept_out = mirrors.iter().filter_map(|m| self.record(m)?.legs.get(&leg.pv)).any(|known| known.kept_out);
        if place.offline && !kept_out && !maintenance::leaving(self, &leg.pv) {
            hold(fails_its_io(place));
        }
        // A disk that is about to go has no size any more.
        if !place.up || place.size == 0 {
            return None;
        }
        if let Some((key, target)) = place.target.as_ref().and_then(|key| self.targets.all.get_key_value(key)) {
            // open-iscsi does not rescan: a LUN that came back smaller looks normal until then (`facts/lab.md` 5).
            let rescanned = target.rescanned.is_some() && target.rescanned == target.connection;
            let other_size = size != 0 && place.size != size;
            if !rescanned && (haste < Haste::Flag || other_size) {
                let op = Op::Rescan { disk: place.disk.clone() };
                plan.propose(Some((op, format!("{} came back; its size may have changed", place.name))));
                return None;
            }
            let hurry = haste > Haste::None || mirrors.iter().any(|m| self.hurry.contains(&m.lv.uuid));
            let settled = self.settled_at(key)?;
            if settled > self.now.mono && !hurry {
                let at = self.now.wall_of(settled).0;
                let flaps = self.flaps(key);
                hold(match flaps {
                    0..FLAPPING => Objection::new(Hold::Settling, "until", at),
                    _ => Objection::new(Hold::Flapping, "until", at).with("losses", flaps as u64),
                });
                return None;
            }
        }
        if let Err(objection) = witness::same_size(size, place.size) {
            hold(objection);
            if haste == Haste::None {
                return None;
            }
        }
        if let Some(device) = self.blocked_device() {
            hold(Objection::new(Hold::DeviceBlocked, "device", device));
            return None;
        }
        self.reported.then_some(place)
    }

    /// The last probe of a VG, while it is fresh.
    pub fn probe(&self, vg: &VgUuid) -> Option<&ProbeRun> {
        self.verdict(vg).filter(|p| self.now.mono < p.expires())
    }

    /// The last probe of a VG, however old, as long as no volume in it has changed since.
    pub fn verdict(&self, vg: &VgUuid) -> Option<&ProbeRun> {
        let same = |(lv, event_nr): (&LvUuid, &Option<u32>)| self.mirrors.get(lv).map(Mirror::event) == Some(*event_nr);
        self.probes.get(vg).filter(|probe| probe.event_nrs.iter().all(same) && self.same_connections(probe))
    }

    /// Whether every device is still, or again, under the connection that it was read under.
    pub fn same_connections(&self, probe: &ProbeRun) -> bool {
        probe.connections.iter().all(|(pv, then)| self.targets.connection_to(self.mirrors, pv) == *then)
    }

    /// Reads every leg in a VG that answers.
    pub fn probe_op(&self, vg: &VgRef) -> Op {
        let order = probe_order(self.mirrors, &vg.uuid);
        let targets = order.iter().filter_map(|(pv, lvs)| {
            // The table of one may still lie on a disk that LVM takes for another PV by now.
            let legs = self.mirrors.values().filter(|m| m.vg.uuid == vg.uuid).filter_map(|m| m.leg(pv));
            let place = legs.filter_map(|leg| leg.place.as_ref()).find(|place| place.up)?;
            let offset = |lv: &LvUuid| self.mirrors.get(lv)?.leg(pv)?.superblock;
            let superblocks = lvs.iter().filter_map(offset).collect();
            let (device, disk) = (place.name.clone(), place.disk.clone());
            Some(ProbeTarget { pv: pv.clone(), device, superblocks, disk })
        });
        Op::Probe { vg: vg.uuid.clone(), targets: targets.collect() }
    }

    /// What is missing for a device that was read and found to be the PV, but has no link to be named by.
    pub fn announce(&self, vg: &VgUuid, place: &Place) -> Option<(Op, String)> {
        let read = self.probe(vg).is_some();
        (read && !place.linked)
            .then(|| (Op::Announce { disk: place.disk.clone() }, format!("udev does not know {} yet", place.name)))
    }

    /// Takes a PV back into its VG, if nothing else on it would come to life with it: no unmirrored volume, and no leg of a
    /// `mirror` that failed and has not been dropped yet. A leg that never failed is as good as it was.
    pub fn restore_missing(&self, mirror: &Mirror, pv: &PvUuid) -> Result<(Op, String), Objection> {
        self.stands(&mirror.vg.uuid, pv)?;
        let lvs = self.vgs.get(&mirror.vg.uuid).map_or(&[][..], |vg| &vg.lvs);
        let part = |lv: &LvObs| lv.role.iter().any(|word| word == "raid" || word == "mirror");
        // What is left of a `mirror` and is in use there does not come to life: it is alive.
        let alive = |leg: &Leg| leg.health == Some(LegHealth::InSync) && leg.up() && leg.attached;
        let at_work = |lv: &LvObs| self.mirrors.get(&lv.uuid).and_then(|m| m.leg(pv)).is_some_and(alive);
        let on = |lv: &LvObs| lv.active && lv.extents.iter().any(|run| run.pv == *pv);
        let other = lvs.iter().find(|lv| on(lv) && !part(lv) && !at_work(lv));
        let dead = |m: &&Mirror| {
            let leg = m.leg(pv).filter(|leg| leg.index.is_some());
            m.kind == Kind::Mirror && leg.is_some_and(|leg| leg.health == Some(LegHealth::Dead))
        };
        let failed = self.mirrors.values().filter(|m| m.vg.uuid == mirror.vg.uuid).find(dead);
        if let Some(name) = other.map(|lv| lv.name.as_str()).or(failed.map(|m| m.lv.name.as_str())) {
            return Err(Objection::new(Hold::UnmanagedUser, "lv", name));
        }
        let op = Op::RestoreMissing { vg: mirror.vg.clone(), pv: pv.clone() };
        Ok((op, format!("PV {pv} is back and still flagged missing")))
    }

    /// Whether nothing else was found in the place of a PV when it was last read.
    pub fn stands(&self, vg: &VgUuid, pv: &PvUuid) -> Result<(), Objection> {
        self.verdict(vg).map_or(Ok(()), |probe| probe.stands(self, vg, pv))
    }

    /// The metadata of a leg told another history; if another machine wrote the newest, which one.
    pub fn other_history(&self, probe: &ProbeRun) -> Objection {
        let why = "its metadata told another history when it was read";
        let objection = Objection::new(Hold::SplitBrain, "reason", why);
        match probe.newest().filter(|text| self.ledger.foreign(&text.host)) {
            Some(text) => objection.with("written-by", text.host.as_str()),
            None => objection,
        }
    }

    /// Another PV of the VG that is missing: LVM refuses most commands then (`facts/lvm.md` 3).
    pub fn vg_complete(&self, vg: &VgUuid) -> Result<(), Objection> {
        let missing = self.vgs.get(vg).and_then(|vg| vg.pvs.iter().find(|pv| pv.missing));
        missing.map_or(Ok(()), |pv| Err(Objection::new(Hold::VgIncomplete, "missing-pv", pv.uuid.as_str())))
    }
}

impl KernelView {
    /// A device-mapper device right on a disk or on one of its partitions.
    pub fn user_of(&self, disk: DevNo) -> Option<&str> {
        let disks = self.sessions.iter().flat_map(|session| &session.disks);
        let parts = disks.filter(|d| d.dev == disk).flat_map(|d| d.partitions.iter().map(|(_, dev)| *dev));
        let numbers: BTreeSet<DevNo> = parts.chain([disk]).collect();
        let on = |dm: &&DmObs| dm.deps.iter().any(|dev| numbers.contains(dev));
        self.dm.iter().find(on).map(|dm| dm.name.as_str())
    }

    /// A disk whose I/O waits: an LVM command that scans it would wait with it.
    pub fn blocked_device(&self) -> Option<&str> {
        let waits =
            |state: &ScsiState| !matches!(state, ScsiState::Running | ScsiState::TransportOffline | ScsiState::Offline);
        let of = |s: &crate::observation::SessionObs, d: &crate::observation::DiskObs| {
            waits(&d.state) || (s.state == SessionState::Failed && d.state == ScsiState::Running)
        };
        self.sessions.iter().find_map(|s| s.disks.iter().find(|d| of(s, d))).map(|d| d.name.as_str())
    }
}

/// Somebody made a disk fail its I/O.
fn fails_its_io(place: &Place) -> Objection {
    let why = "set offline by hand, by error handling, or because it was not what it should be; decide, then write \
               `running` to its device/state";
    Objection::new(Hold::NeedsOperator, "reason", why).with("disk", place.disk.as_str())
}

/// For each PV the LVs whose superblocks on it are read, in order.
pub fn probe_order(mirrors: &BTreeMap<LvUuid, Mirror>, vg: &VgUuid) -> BTreeMap<PvUuid, Vec<LvUuid>> {
    let mut order: BTreeMap<PvUuid, Vec<LvUuid>> = BTreeMap::new();
    for (uuid, mirror) in mirrors.iter().filter(|(_, m)| m.vg.uuid == *vg && m.unmanaged.is_none()) {
        for leg in &mirror.legs {
            let lvs = order.entry(leg.pv.clone()).or_default();
            if leg.superblock.is_some() {
                lvs.push(uuid.clone());
            }
        }
    }
    order
}

/// The gravest of several objections, the others named under `also`.
pub fn gravest(objections: &[Objection]) -> Option<(Hold, Details)> {
    let worst = objections.iter().max_by_key(|o| o.hold)?;
    let mut details = worst.evidence.clone();
    let also: BTreeSet<_> = objections.iter().map(|o| o.hold).filter(|h| *h != worst.hold).collect();
    if !also.is_empty() {
        details.insert("also", Value::Strs(also.iter().map(|h| h.word().to_owned()).collect()));
    }
    Some((worst.hold, details))
}
