//! LVM: the metadata as it stands on each PV, the merged view of it, and what every command does and refuses. Exit codes
//! lie as the real ones do. Facts: `facts/lab.md` A–C, 0.4, 0.8, 1, 4–7; `facts/lvm.md` 3.

use super::content::{Kind, LvText, Text};
use super::session::Way;
use super::truth_keeper::Actor;
use super::volume::{Action, Health, Leg, Live};
use super::world::World;
use std::rc::Rc;

/// Exit code and last line.
pub type Answer = Result<(), &'static str>;

impl World {
    /// The metadata that LVM believes: of all copies it can read the one with the highest number, of two with the same
    /// number the first.
    pub fn merged(&self, vg: usize) -> Option<Rc<Text>> {
        let mut best: Option<&Rc<Text>> = None;
        for pv in &self.vgs[vg].luns {
            let lun = self.pv_disk(*pv).and_then(|disk| self.lun_of(Some(disk)));
            let text = lun.and_then(|lun| self.luns[lun].cached.text.as_ref());
            if text.is_some_and(|text| best.is_none_or(|best| text.seqno > best.seqno)) {
                best = text;
            }
        }
        best.cloned()
    }

    /// PVs of a VG that LVM finds, one bit each.
    pub fn visible(&self, vg: usize) -> u32 {
        let luns = self.vgs[vg].luns.iter().enumerate();
        luns.filter(|(_, pv)| self.pv_disk(**pv).is_some()).fold(0, |mask, (pv, _)| mask | 1 << pv)
    }

    /// PVs that LVM calls missing: flagged, or not found.
    pub fn missing(&self, vg: usize, text: &Text) -> u32 {
        let all = (1_u32 << self.vgs[vg].luns.len()) - 1;
        (text.missing | !self.visible(vg)) & all
    }

    /// Writes the metadata to every PV it can and may, flags those that are not there, and takes the flag from a PV that
    /// is back and carries nothing (`facts/lab.md` 0.4).
    pub fn write_text(&mut self, vg: usize, change: impl FnOnce(&mut Text)) {
        let Some(old) = self.merged(vg) else { return };
        let mut text = Text::clone(&old);
        let visible = self.visible(vg);
        (text.seqno, text.foreign) = (text.seqno + 1, false);
        change(&mut text);
        let all = (1_u32 << self.vgs[vg].luns.len()) - 1;
        let used = text.lvs.iter().flat_map(|lv| &lv.legs).fold(0_u32, |mask, pv| mask | 1 << pv);
        text.missing = (text.missing & !(visible & !used)) | (!visible & all);
        let text = Rc::new(text);
        for pv in 0..self.vgs[vg].luns.len() {
            let disk = self.pv_disk(self.vgs[vg].luns[pv]);
            if let Some(lun) = self.lun_of(disk).filter(|_| text.missing >> pv & 1 == 0) {
                self.luns[lun].cached.text = Some(Rc::clone(&text));
                self.dirtied(lun);
                self.wrote(lun, 8);
            }
        }
        self.note(|w| format!("  {} seqno {} missing {:#b}", w.vgs[vg].name, text.seqno, text.missing));
    }

    /// The metadata of a volume, and whether a PV of it is missing.
    fn lv_text(&self, volume: usize) -> Result<(LvText, bool), &'static str> {
        let (vg, lv) = (self.volumes[volume].vg, self.volumes[volume].lv);
        let text = self.merged(vg).ok_or("Volume group not found")?;
        let missing = self.missing(vg, &text);
        let lv = text.lvs.get(lv).cloned().ok_or("Failed to find logical volume")?;
        let partial = lv.legs.iter().any(|pv| missing >> pv & 1 == 1);
        Ok((lv, partial))
    }

    /// A PV, numbered within the VG, is taken back: `vgextend --restoremissing`.
    pub fn restore_missing(&mut self, vg: usize, pv: usize) -> Answer {
        let text = self.merged(vg).ok_or("Volume group not found")?;
        if self.visible(vg) >> pv & 1 == 0 {
            return Err("PV not found");
        }
        if text.missing >> pv & 1 == 0 {
            return Err("PV was not missing");
        }
        self.write_text(vg, |text| text.missing &= !(1 << pv));
        // Only now can anything be done about a leg that serves old blocks.
        for n in 0..self.vgs[vg].volumes.len() {
            let volume = self.vgs[vg].volumes[n];
            self.volumes[volume].bad_since = self.volumes[volume].bad_since.map(|_| self.now);
        }
        Ok(())
    }

    /// `lvchange --writemostly`, of one volume.
    pub fn write_mostly(&mut self, volume: usize, on: u32, off: u32, actor: Actor) -> Answer {
        let (lv, partial) = self.lv_text(volume)?;
        if lv.kind != Kind::Raid1 {
            return Err("not a raid1");
        }
        if partial {
            return Err("Cannot change partial LV");
        }
        if !self.volumes[volume].idle() || self.stalled(volume) {
            return Err("Unable to change writemostly while it is not in-sync");
        }
        let flags = (lv.write_mostly | on) & !off;
        let (vg, n) = (self.volumes[volume].vg, self.volumes[volume].lv);
        self.write_text(vg, |text| text.lvs[n].write_mostly = flags);
        if self.volumes[volume].live == Live::Raid {
            self.reload(volume, flags, actor);
        }
        Ok(())
    }

    /// A leg that nothing copies.
    fn stalled(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        v.live == Live::Raid && v.legs.iter().any(|leg| leg.health == Health::Syncing)
    }

    /// A table that differs is loaded, and only then the sub-LVs are pointed at where the PVs are now (`facts/lab.md` A); an
    /// identical one is only resumed.
    fn reload(&mut self, volume: usize, flags: u32, actor: Actor) {
        let differs = self.volumes[volume].legs.iter().any(|leg| leg.dropped || leg.flag != (flags >> leg.pv & 1 == 1));
        if differs {
            self.load_table(volume, flags, None, actor);
            self.repoint(volume);
        } else {
            self.repoint(volume);
            self.resume_raid(volume, actor);
        }
        self.settle_writes(volume);
        self.reconcile(volume, actor);
    }

    /// The sub-LVs are pointed at where the PVs are now.
    pub fn repoint(&mut self, volume: usize) {
        let vg = self.volumes[volume].vg;
        for leg in 0..self.volumes[volume].legs.len() {
            let pv = self.vgs[vg].luns[self.volumes[volume].legs[leg].pv];
            let disk = self.pv_disk(pv);
            let entry = &mut self.volumes[volume].legs[leg];
            entry.disk = disk.or(entry.disk);
        }
    }

    /// `lvchange --refresh`.
    pub fn refresh(&mut self, volume: usize, actor: Actor) -> Answer {
        let (lv, partial) = self.lv_text(volume)?;
        if partial && !self.volumes[volume].suspended {
            return Err("Refusing refresh of partial LV");
        }
        if self.volumes[volume].live == Live::Inactive {
            return Ok(());
        }
        self.repoint(volume);
        if self.volumes[volume].live == Live::Raid {
            // A command killed inside the suspend window has left its table to be resumed.
            let pending = self.volumes[volume].suspended
                && self.volumes[volume].legs.iter().any(|leg| leg.flag != (lv.write_mostly >> leg.pv & 1 == 1));
            if pending {
                self.load_table(volume, lv.write_mostly, None, actor);
            } else {
                self.resume_raid(volume, actor);
            }
        }
        let v = &mut self.volumes[volume];
        (v.suspended, v.keeps) = (false, false);
        self.resume_copy(volume);
        self.fail_legs(volume);
        self.settle_writes(volume);
        self.reconcile(volume, actor);
        self.poke();
        Ok(())
    }

    /// `lvchange --syncaction`.
    pub fn sync_action(&mut self, volume: usize, action: Action, actor: Actor) -> Answer {
        let (_, partial) = self.lv_text(volume)?;
        let v = &self.volumes[volume];
        let whole = v.live == Live::Raid && v.legs.iter().all(|leg| leg.health == Health::Alive);
        if partial || !v.idle() || !whole {
            return Err("Unable to send message while it is not in-sync");
        }
        self.scrub(volume, action, actor);
        Ok(())
    }

    /// `lvchange --rebuild`.
    pub fn rebuild(&mut self, volume: usize, pv: usize, actor: Actor) -> Answer {
        let (lv, partial) = self.lv_text(volume)?;
        let v = &self.volumes[volume];
        if partial || !v.idle() || v.live != Live::Raid {
            return Err("Unable to replace devices while it is not in-sync");
        }
        let leg = v.legs.iter().position(|leg| leg.pv == pv).ok_or("not a leg")?;
        let vg = self.volumes[volume].vg;
        self.write_text(vg, |_| {});
        self.load_table(volume, lv.write_mostly, Some(leg), actor);
        self.repoint(volume);
        self.reconcile(volume, actor);
        Ok(())
    }

    /// `lvconvert -m +1 VG/LV PV`.
    pub fn convert_up(&mut self, volume: usize, pv: usize, kind: Kind, actor: Actor) -> Answer {
        let (lv, _) = self.lv_text(volume)?;
        let vg = self.volumes[volume].vg;
        let text = self.merged(vg).ok_or("Volume group not found")?;
        let v = &self.volumes[volume];
        let refused = lv.legs.contains(&pv) || v.legs.is_empty() || !v.idle() || v.live == Live::Inactive;
        if self.missing(vg, &text) != 0 || refused {
            return Err("Cannot add mirror image");
        }
        // The table is made anew from the metadata: the legs that are there are found where they are now.
        self.repoint(volume);
        if self.leg_way(volume, 0) != Way::Works {
            return Err("Input/output error");
        }
        self.add_leg(volume, pv, kind, actor);
        Ok(())
    }

    /// `lvconvert -m -1 VG/LV PV`.
    pub fn convert_down(&mut self, volume: usize, pv: usize, actor: Actor) -> Answer {
        let (lv, partial) = self.lv_text(volume)?;
        if partial || !lv.legs.contains(&pv) || lv.legs.len() < 2 || self.volumes[volume].suspended {
            return Err("Cannot remove mirror image");
        }
        self.drop_legs(volume, &[pv], actor);
        Ok(())
    }

    /// `lvchange -ay`.
    pub fn activate(&mut self, volume: usize, degraded: bool, actor: Actor) -> Answer {
        if self.volumes[volume].live != Live::Inactive {
            return Ok(());
        }
        let (lv, partial) = self.lv_text(volume)?;
        let vg = self.volumes[volume].vg;
        let text = self.merged(vg).ok_or("Volume group not found")?;
        let missing = self.missing(vg, &text);
        let there = lv.legs.iter().any(|pv| missing >> pv & 1 == 0);
        if partial && (lv.kind != Kind::Raid1 || !degraded || !there) {
            return Err("Refusing activation of partial LV");
        }
        let disk = |pv: &usize| self.pv_disk(self.vgs[vg].luns[*pv]).filter(|_| missing >> pv & 1 == 0);
        let legs = lv.legs.iter().map(|pv| Leg {
            pv: *pv,
            disk: disk(pv),
            health: Health::Alive,
            flag: false,
            passed_over: false,
            dropped: false,
            owed: None,
            rough: false,
        });
        let legs: Vec<Leg> = legs.collect();
        let v = &mut self.volumes[volume];
        v.legs = legs;
        v.event_nr = 0;
        (v.suspended, v.inflight_on) = (false, 0);
        match lv.kind {
            Kind::Raid1 => {
                let accused = self.accused(volume);
                self.load_table(volume, lv.write_mostly, None, actor);
                self.grow_if_alone(volume, accused);
            }
            Kind::Mirror => self.start_mirror(volume, actor),
            Kind::Linear => v.live = Live::Linear,
        }
        self.volumes[volume].open = true;
        self.volumes[volume].activated_at = self.now;
        self.note(|w| format!("  {}: activated", w.volumes[volume].names.full));
        self.blend(volume);
        self.reconcile(volume, actor);
        self.poke();
        Ok(())
    }

    /// Legs that the readable superblocks accuse.
    fn accused(&self, volume: usize) -> u64 {
        let v = &self.volumes[volume];
        let supers = v.legs.iter().filter_map(|leg| self.luns[self.lun_of(leg.disk)?].cached.areas[v.lv].sb);
        supers.fold(0, |all, sb| all | sb.failed)
    }

    /// Activated without some legs, the superblocks grow; activated so once more, 6.12 forgets whom it accused (`facts/lab.md`
    /// B).
    fn grow_if_alone(&mut self, volume: usize, accused: u64) {
        let legs = self.volumes[volume].legs.iter().enumerate();
        let dead = legs.filter(|(_, leg)| leg.health == Health::Dead).fold(0_u64, |mask, (leg, _)| mask | 1 << leg);
        if dead == 0 {
            return;
        }
        let forgets = self.quirks.shallow_recovery && accused & dead != 0;
        self.volumes[volume].excused |= forgets;
        for leg in 0..self.volumes[volume].legs.len() {
            if self.volumes[volume].legs[leg].health == Health::Alive {
                self.write_super(volume, leg, |sb| {
                    sb.events += 2;
                    sb.failed &= if forgets { !dead } else { u64::MAX };
                });
            }
        }
    }

    /// `lvchange -an`.
    pub fn deactivate(&mut self, volume: usize) -> Answer {
        if self.volumes[volume].open {
            return Err("Logical volume in use");
        }
        self.take_down(volume);
        Ok(())
    }

    /// The table goes, in good order: md leaves clean bitmaps, and everything is flushed.
    pub fn take_down(&mut self, volume: usize) {
        let whole = self.volumes[volume].alive().count() == self.volumes[volume].legs.len();
        if whole && self.volumes[volume].inflight.is_empty() && self.volumes[volume].sync.is_none() {
            self.set_bitmap(volume, 0);
        }
        if self.volumes[volume].live == Live::Raid {
            self.stop_raid(volume);
        }
        self.flush_legs(volume);
        let v = &mut self.volumes[volume];
        v.stop_sync();
        (v.live, v.open, v.suspended, v.bad_since) = (Live::Inactive, false, false, None);
        v.legs.clear();
        v.inflight.clear();
        v.keeps = false;
        self.poke();
    }

    /// LVM activates what is complete (`pvscan --cache -aay` by udev): a VG whose PVs are all there, flagged or not.
    pub fn complete(&mut self) {
        for vg in 0..self.vgs.len() {
            if !self.vgs[vg].event_activation || self.visible(vg) != (1 << self.vgs[vg].luns.len()) - 1 {
                continue;
            }
            self.vgs[vg].event_activation = false;
            for n in 0..self.vgs[vg].volumes.len() {
                let volume = self.vgs[vg].volumes[n];
                let wanted = self.lv_text(volume).is_ok_and(|(lv, _)| lv.autoactivation);
                if wanted {
                    // The default mode is `degraded`. What cannot be activated stays down.
                    let _refused = self.activate(volume, true, Actor::Nature);
                }
            }
        }
    }
}
