//! What is kept up beside the healing: notes from looks at the disks, registrations, stamps, intentions that must stand in
//! the ledger before their command runs, and an orderly end.

use crate::engine::Engine;
use crate::ids::{OpId, PvUuid, VgUuid};
use crate::input::Effect;
use crate::ledger::{Connection, Mark, Noted, Trust};
use crate::notes::{self, Looks, Reading};
use crate::observation::Registration;
use crate::op::{Op, OpResult};
use crate::plan::ProbeRun;
use crate::settings::Settings;
use crate::snapshot::{Details, Object};
use crate::stamp::{self, Stamps};
use crate::time::{Mono, Now};
use crate::topology::{Leg, Live, Mirror, Place};
use crate::words::{EventCode, Severity};
use crate::{continuity, plan};
use std::collections::{BTreeMap, BTreeSet};

/// What is kept up in this run.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// What was learnt about the devices.
    pub(crate) looks: Looks,
    /// Stamps.
    pub(crate) stamps: Stamps,
    /// Keys read back after a registration, under the connection it was begun on. Noted when the next look at the kernel
    /// still shows that connection: a server that restarted meanwhile has the key and lost its cache all the same.
    registered: Vec<(PvUuid, Option<Connection>, Registration)>,
    /// Connections under which registrations were begun.
    registering: BTreeMap<OpId, (PvUuid, Option<Connection>)>,
    /// Numbers of stamps that are in the ledger and whose command has not ended yet. A number is never used twice.
    pub(crate) stamping: BTreeMap<VgUuid, u64>,
    /// What probes under way were asked, and what things were like then.
    pub(crate) probing: BTreeMap<OpId, ProbeRun>,
    /// Answers that wait for the next look at the kernel: what changed meanwhile voids them.
    pub(crate) answered: Vec<(VgUuid, ProbeRun)>,
    /// VGs whose last answer did not fit the LVM report.
    torn: BTreeSet<VgUuid>,
    /// What a flush under way makes last.
    flushing: BTreeMap<OpId, Noted>,
    /// VGs of which every mirror was redundant at the last look.
    redundant: BTreeSet<VgUuid>,
}

impl Upkeep {
    /// Keys are not read while they are made, nor made while they are read: an answer from before would say that the key,
    /// known from after, was lost with a restart of its server.
    pub(crate) fn crosses(&self, op: &Op) -> bool {
        match op {
            Op::Probe { targets, .. } => {
                let made = self.registering.values().map(|(pv, _)| pv);
                let mut made = made.chain(self.registered.iter().map(|(pv, ..)| pv));
                made.any(|pv| targets.iter().any(|target| target.pv == *pv))
            }
            Op::Register { pv, .. } => {
                let runs = self.probing.values().chain(self.answered.iter().map(|(_, run)| run));
                runs.into_iter().any(|run| run.order.contains_key(pv))
            }
            _ => false,
        }
    }
}

/// The service is stopping.
#[derive(Debug)]
pub(crate) struct Stopping {
    since: Mono,
    /// Stamps begun, by VG, with the number that the metadata gets by them, and whether they were written.
    stamps: BTreeMap<VgUuid, (Noted, bool)>,
    /// The ledger has the mark.
    marked: bool,
    told: bool,
}

impl Stopping {
    /// From that moment on.
    pub(crate) fn since(since: Mono) -> Self {
        Self { since, stamps: BTreeMap::new(), marked: false, told: false }
    }

    /// Whether the last word is in the ledger.
    pub(crate) fn marked(&self) -> bool {
        self.marked
    }

    /// When stamps are waited for no longer.
    pub(crate) fn by(&self, settings: &Settings) -> Mono {
        self.since.after(settings.stop_grace)
    }
}

impl Engine {
    /// After every look at the kernel: registrations that held, and VGs that became redundant.
    pub(crate) fn keep_up(&mut self, now: Now) {
        if !self.outdated {
            for (pv, connection, keys) in std::mem::take(&mut self.upkeep.registered) {
                if self.connection_of(&pv) == connection {
                    self.note_keys(&pv, &keys);
                }
            }
            for (vg, run) in std::mem::take(&mut self.upkeep.answered) {
                self.believe(now, vg, run);
            }
        }
        let whole = |vg: &VgUuid| {
            let here = self.ledger.mirrors.values().filter(|record| record.vg == *vg);
            here.flat_map(|record| record.legs.values()).all(|leg| leg.trust == Trust::Trusted)
        };
        let vgs: BTreeSet<VgUuid> = self.mirrors.values().map(|m| m.vg.uuid.clone()).collect();
        let redundant: BTreeSet<VgUuid> = vgs.into_iter().filter(whole).collect();
        self.upkeep.stamps.due.extend(redundant.difference(&self.upkeep.redundant).cloned());
        self.upkeep.redundant = redundant;
    }

    /// Takes an answer for true if nothing came in between: no new connection, and no metadata written by somebody else
    /// while the devices were read one after the other.
    fn believe(&mut self, now: Now, vg: VgUuid, run: ProbeRun) {
        if !self.situation(now, |s| s.same_connections(&run)) {
            return;
        }
        let newest = run.texts().values().map(|text| text.seqno).max();
        let reported = self.world.vgs.get(&vg).filter(|_| self.world.reported).map(|vg| vg.seqno);
        // A report that never fits must not stop everything.
        if newest.is_some() && newest != reported && self.upkeep.torn.insert(vg.clone()) {
            self.world.distrust_report();
            return;
        }
        self.upkeep.torn.remove(&vg);
        self.take_notes(now, &vg, &run);
        self.probes.insert(vg, run);
    }

    fn connection_of(&self, pv: &PvUuid) -> Option<Connection> {
        self.targets.connection_to(&self.mirrors, pv)
    }

    fn note_keys(&mut self, pv: &PvUuid, keys: &Registration) {
        let ours = continuity::ours(keys, continuity::key(&self.host.machine_id, pv));
        self.upkeep.looks.registrations.insert(pv.clone(), keys.clone());
        for known in self.ledger.mirrors.values_mut().filter_map(|record| record.legs.get_mut(pv)) {
            if known.trust == Trust::Trusted {
                known.registered = ours;
            }
        }
    }

    /// What a look at the disks teaches.
    pub(crate) fn take_notes(&mut self, now: Now, vg: &VgUuid, run: &ProbeRun) {
        let reading = Reading {
            vg,
            run,
            mirrors: &self.mirrors,
            steady: &self.watch.steady,
            targets: &self.targets,
            machine_id: &self.host.machine_id,
            events: &self.watch.events,
            seqno: self.world.vgs.get(vg).map(|vg| vg.seqno),
            at: now.wall,
        };
        let rolled_back = notes::take(&mut self.ledger, &mut self.upkeep.looks, reading);
        for (lv, pv) in rolled_back {
            let Some(name) = self.mirrors.get(&lv).map(|m| m.name.clone()) else { continue };
            let details = Details::from([
                ("mirror", name.as_str().into()),
                ("leg", pv.as_str().into()),
                ("reason", "its metadata is older than that of the other legs".into()),
            ]);
            self.tell(now, EventCode::StaleLegActive, Severity::Critical, Object::Mirror(name), details);
        }
    }

    /// Notes what is about to be done, where a death in the middle must find it. Returns whether there was anything to note
    /// that was not noted before.
    pub(crate) fn intend(&mut self, op: &Op) -> bool {
        match op {
            Op::Stamp { vg, add, .. } => {
                let record = self.ledger.vgs.entry(vg.uuid.clone()).or_default();
                let noted = record.stamp >= *add;
                record.stamp = record.stamp.max(*add);
                self.upkeep.stamping.insert(vg.uuid.clone(), *add);
                !noted
            }
            Op::SetOffline { disk } => {
                let mut news = self.intend_rest(disk);
                let resting = |p: &Place| p.target.as_ref().is_some_and(|key| self.ledger.resting(&key.name));
                let disks = |l: &&Leg| l.place.as_ref().is_some_and(|p| p.disk == *disk && !resting(p));
                let mut kept_out = Vec::new();
                for mirror in self.mirrors.values().filter(|m| m.live == Live::Inactive) {
                    let legs = mirror.legs.iter().filter(disks);
                    kept_out.extend(legs.map(|leg| (mirror.lv.uuid.clone(), leg.pv.clone())));
                }
                for (lv, pv) in kept_out {
                    let record = self.ledger.mirrors.get_mut(&lv);
                    let Some(known) = record.and_then(|record| record.legs.get_mut(&pv)) else { continue };
                    news |= !known.kept_out;
                    known.kept_out = true;
                }
                news
            }
            // It raises `events`. Whoever dies right after it must not take that for another machine's doing.
            Op::Activate { lv, .. } => {
                let record = self.ledger.mirrors.get_mut(&lv.uuid);
                let legs = record.into_iter().flat_map(|record| record.legs.values_mut());
                legs.filter_map(|known| known.healthy.take()).count() > 0
            }
            Op::SetAutoactivation { lvs, on: false, .. } => {
                let mut news = false;
                for lv in lvs {
                    let Some(record) = self.ledger.mirrors.get_mut(&lv.uuid) else { continue };
                    news |= !record.gated;
                    record.gated = true;
                }
                news
            }
            _ => false,
        }
    }

    /// Notes what must be known from before an operation.
    pub(crate) fn upkeep_begins(&mut self, now: Now, id: OpId, op: &Op) {
        match op {
            Op::Probe { vg, .. } => {
                let here = || self.mirrors.iter().filter(|(_, m)| m.vg.uuid == *vg);
                let legs = here().flat_map(|(_, m)| &m.legs);
                let asked = ProbeRun {
                    at: now.mono,
                    order: plan::probe_order(&self.mirrors, vg),
                    event_nrs: here().map(|(lv, m)| (lv.clone(), m.event())).collect(),
                    connections: legs.map(|leg| (leg.pv.clone(), self.connection_of(&leg.pv))).collect(),
                    legs: BTreeMap::new(),
                };
                self.upkeep.probing.insert(id, asked);
            }
            Op::Register { pv, .. } => {
                self.upkeep.registering.insert(id, (pv.clone(), self.connection_of(pv)));
            }
            Op::Stamp { vg, add, .. } => {
                let seqno = self.world.vgs.get(&vg.uuid).map_or(0, |vg| vg.seqno + 1);
                if let Some(stopping) = &mut self.stopping {
                    stopping.stamps.insert(vg.uuid.clone(), (Noted { stamp: *add, seqno }, false));
                }
            }
            Op::Flush { vg, .. } => {
                let closing = self.stopping.as_ref().and_then(|s| s.stamps.get(vg)).map(|(noted, _)| *noted);
                let noted = closing.or_else(|| self.world.vgs.get(vg).and_then(stamp::noted));
                self.upkeep.flushing.extend(noted.map(|noted| (id, noted)));
            }
            _ => {}
        }
    }

    /// Follows up on its end.
    pub(crate) fn upkeep_ends(&mut self, now: Now, id: OpId, op: &Op, result: &OpResult) {
        match (op, result) {
            (Op::Register { .. }, OpResult::Registered(keys)) => {
                if let Some((pv, connection)) = self.upkeep.registering.remove(&id) {
                    self.upkeep.registered.push((pv, connection, keys.clone()));
                }
            }
            (Op::Stamp { vg, .. }, result) => {
                self.upkeep.stamping.remove(&vg.uuid);
                let stopping = self.stopping.as_mut().and_then(|stopping| stopping.stamps.get_mut(&vg.uuid));
                if let Some((_, written)) = stopping {
                    *written = matches!(result, OpResult::Exit { code: 0, .. });
                }
            }
            (Op::Unregister { pv, .. }, OpResult::Registered(keys)) => {
                self.upkeep.looks.registrations.insert(pv.clone(), keys.clone());
                let legs = self.ledger.mirrors.values_mut().filter_map(|record| record.legs.get_mut(pv));
                legs.for_each(|known| known.registered = None);
            }
            (Op::Flush { vg, .. }, OpResult::Exit { code: 0, .. }) => {
                let Some(noted) = self.upkeep.flushing.remove(&id) else { return };
                self.ledger.vgs.entry(vg.clone()).or_default().noted = Some(noted);
                self.upkeep.stamps.flushed.insert(vg.clone(), noted.stamp);
                self.upkeep.stamps.done.insert(vg.clone(), now.mono);
                self.upkeep.stamps.due.remove(vg);
            }
            _ => {}
        }
        self.upkeep.registering.remove(&id);
        self.upkeep.flushing.remove(&id);
    }

    /// The last things to do: one stamp where nothing is in doubt, made to last. Nothing else is begun.
    pub(crate) fn closing(&mut self, now: Now) -> Vec<(Op, String)> {
        let Some(stopping) = self.stopping.as_ref().filter(|s| !s.marked && now.mono < s.by(&self.settings)) else {
            return Vec::new();
        };
        if self.ledger.paused() {
            return Vec::new();
        }
        let mut vgs: BTreeMap<&VgUuid, Vec<&Mirror>> = BTreeMap::new();
        for mirror in self.mirrors.values().filter(|m| m.unmanaged.is_none()) {
            vgs.entry(&mirror.vg.uuid).or_default().push(mirror);
        }
        let ops = vgs.into_iter().filter_map(|(vg, mirrors)| match stopping.stamps.get(vg) {
            None => self.situation(now, |s| stamp::closing(s, vg, &mirrors)),
            Some((noted, true)) if self.upkeep.stamps.flushed.get(vg) != Some(&noted.stamp) => {
                Some(Op::Flush { vg: vg.clone(), devices: stamp::devices(&mirrors) })
            }
            Some(_) => None,
        });
        ops.map(|op| (op, "the service stops".to_owned())).collect()
    }

    /// Sets the mark once there is nothing left to wait for, and keeps it true until the end: mounts may go after us.
    pub(crate) fn mark_end(&mut self, now: Now, wishes: &[(Op, String)]) {
        let stamping = |op: &Op| matches!(op, Op::Stamp { .. } | Op::Flush { .. });
        // Without knowing the metadata as it is now no stamp can be made: whoever deactivated a volume a moment ago has changed
        // it.
        let known = self.system_stopping.is_some() && !self.report_is_wanted();
        let idle = known && wishes.is_empty() && !self.arbiter.running().any(|running| stamping(&running.op));
        let Some(stopping) = &mut self.stopping else { return };
        stopping.marked |= idle || now.mono >= stopping.by(&self.settings);
        if stopping.marked {
            // Where the machine goes down nothing is opened any more; else whatever is active may be, with nobody to see.
            let system = self.system_stopping == Some(true);
            let open = |m: &Mirror| m.unmanaged.is_none() && m.live != Live::Inactive && (m.open || !system);
            self.ledger.mark = if self.mirrors.values().any(open) { Mark::Left } else { Mark::Closed };
            self.void_registrations();
        }
    }

    /// What was flushed after the last volume was closed is safe from any restart: there is nothing left that a registration
    /// would have to prove.
    fn void_registrations(&mut self) {
        let Some(stopping) = self.stopping.as_ref().filter(|_| self.ledger.mark == Mark::Closed) else { return };
        let flushed = |(vg, (noted, written)): (&VgUuid, &(Noted, bool))| {
            (*written && self.upkeep.stamps.flushed.get(vg) == Some(&noted.stamp)).then(|| vg.clone())
        };
        let flushed: BTreeSet<VgUuid> = stopping.stamps.iter().filter_map(flushed).collect();
        let records = self.ledger.mirrors.values_mut().filter(|record| flushed.contains(&record.vg));
        let trusted = records.flat_map(|r| r.legs.values_mut()).filter(|leg| leg.trust == Trust::Trusted);
        trusted.for_each(|leg| leg.registered = None);
    }

    /// Tells the shell once everything is remembered.
    pub(crate) fn finish_stopping(&mut self, effects: &mut Vec<Effect>) {
        let saved = self.saved.generation == self.ledger.generation;
        if let Some(stopping) = self.stopping.as_mut().filter(|s| s.marked && saved && !s.told) {
            stopping.told = true;
            effects.push(Effect::Stopped);
        }
    }
}
