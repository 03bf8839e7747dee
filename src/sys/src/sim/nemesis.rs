//! Chooses what goes wrong, and when. A schedule is some rounds of blows and pauses; afterwards everything that was put
//! wrong from outside is put right, and what remains is the daemon's.

use super::clock::SECOND;
use super::content::{Area, BLOCKS, Image, Kind, Label, Text};
use super::daemon::File;
use super::server::Fault;
use super::truth::History;
use super::truth_keeper::Actor;
use super::volume::{Health, Live};
use super::world::{LUN, World};
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::ledger::Trust;
use std::rc::Rc;

impl World {
    /// One round: a blow or two, then time for them to work.
    pub fn round(&mut self) {
        for _ in 0..self.rng.between(1, 2) {
            self.blow();
        }
        let pause = match self.rng.below(10) {
            0..=2 => self.rng.between(100, 8_000),
            3..=5 => self.rng.between(8_000, 40_000),
            6..=8 => self.rng.between(40_000, 150_000),
            _ => self.rng.between(150_000, 700_000),
        };
        self.run_for(pause * SECOND / 1000);
    }

    fn blow(&mut self) {
        if self.rng.chance(8) {
            self.somebody_asks();
            return;
        }
        let server = self.rng.index(self.servers.len());
        match self.rng.below(100) {
            0..=34 => self.strike(server),
            35..=54 => self.give_back(server),
            55..=59 => {
                (0..self.servers.len()).for_each(|server| self.give_back(server));
            }
            60..=63 => {
                let fault = if self.rng.chance(50) { Fault::Cut } else { Fault::Power };
                (0..self.servers.len()).for_each(|server| self.down(server, fault));
            }
            64..=66 => self.kill_daemon(),
            67..=71 => self.daemon.crash_at = Some(self.daemon.effects + self.rng.between(1, 40)),
            72..=74 => self.daemon.trouble = if self.daemon.trouble == 0 { 30 } else { 0 },
            75 => self.daemon.ledger_ok = !self.daemon.ledger_ok,
            76 => self.daemon.report_ok = !self.daemon.report_ok,
            77..=78 => self.spoil_ledger(),
            79..=84 => self.admin(),
            85..=86 => self.restart_iscsid(),
            87 => self.lose_session(server),
            88 => self.dmeventd = !self.dmeventd,
            89 => self.servers[server].login_code = if self.servers[server].login_code == 0 { 24 } else { 0 },
            90 => self.servers[server].target_gone = !self.servers[server].target_gone,
            91 => {
                let jump = i64::try_from(self.rng.below(200_000)).unwrap_or(0) - 100_000;
                self.wall_jump = jump * 1_000_000;
            }
            92 => {
                let lun = self.rng.index(self.luns.len());
                self.luns[lun].gone = !self.luns[lun].gone;
                self.paths_changed(Actor::Nature);
            }
            93 => {
                let volume = self.rng.index(self.volumes.len());
                self.volumes[volume].busy = !self.volumes[volume].busy;
            }
            94..=96 => self.client_power_loss(),
            _ => {
                let first = self.rng.chance(50);
                if first && self.rng.chance(30) {
                    // A leg is lost after the daemon's stop, with nobody to see.
                    self.stop_service();
                    self.down(server, Fault::Cut);
                    let unmounting = self.rng.between(10, 90);
                    self.run_for(unmounting * SECOND);
                }
                self.reboot(first);
            }
        }
    }

    fn strike(&mut self, server: usize) {
        self.take_images();
        let fault = match self.rng.below(10) {
            0..=3 => Fault::Cut,
            4..=5 => Fault::Refused,
            6 => Fault::Hung,
            _ => Fault::Power,
        };
        self.down(server, fault);
        if self.rng.chance(40) {
            // A flap.
            let gone = self.rng.between(200, 20_000);
            self.run_for(gone * SECOND / 1000);
            self.give_back(server);
        }
    }

    fn give_back(&mut self, server: usize) {
        if self.servers[server].answers() {
            return;
        }
        if self.rng.chance(12) {
            self.tamper(server);
        }
        if self.servers[server].fault == Some(Fault::Power) {
            self.switch_on(server);
        } else {
            self.up(server);
        }
    }

    /// Somebody keeps an image of a LUN.
    fn take_images(&mut self) {
        if self.rng.chance(25) {
            let lun = self.rng.index(self.luns.len());
            if self.luns[lun].away.is_none() && self.luns[lun].images.len() < 2 {
                let image = self.luns[lun].cached.clone();
                self.luns[lun].images.push(image);
                self.note(|_| format!("# an image of lun {lun} is kept"));
            }
        }
    }

    fn spoil_ledger(&mut self) {
        self.kill_daemon();
        self.daemon.file = if self.rng.chance(50) { File::Absent } else { File::Torn };
        self.volumes.iter_mut().for_each(|volume| (volume.excused, volume.forgotten) = (true, true));
        // With it goes what was in doubt: legs that differ all look the same in use.
        self.volumes.iter_mut().for_each(|volume| volume.unnoted |= volume.doubted != 0);
        self.note(|w| format!("# the ledger is lost: {}", matches!(w.daemon.file, File::Absent)));
    }

    /// A server that is down comes back with something else on one of its LUNs.
    fn tamper(&mut self, server: usize) {
        let luns: Vec<usize> = (0..self.luns.len()).filter(|lun| self.luns[*lun].server == server).collect();
        let Some(lun) = luns.get(self.rng.index(luns.len())).copied() else { return };
        if self.luns[lun].away.is_some() {
            self.restore(lun);
            self.servers[server].restarted = true;
            return;
        }
        if self.rng.chance(35) && self.activated_elsewhere(lun) {
            self.luns[lun].changed_at = Some(self.now);
            self.excuse(lun);
            return;
        }
        let what = self.rng.below(8);
        self.note(|_| format!("# lun {lun} is tampered with: {what}"));
        let areas = self.luns[lun].cached.areas.len();
        let other = |label| Image { label, size: LUN, text: None, areas: vec![Area::default(); areas] };
        match what {
            0..=2 => self.roll_back(lun),
            3 => self.swap(lun, &other(Label::Blank)),
            4 => self.swap(lun, &other(Label::Foreign)),
            5 => self.swap(lun, &other(Label::Garbage)),
            6 => {
                let image = Image { size: LUN / 2, ..self.luns[lun].cached.clone() };
                self.swap(lun, &image);
            }
            _ => {
                let vg = &self.vgs[self.luns[lun].vg].luns;
                let twin = vg.iter().copied().find(|twin| *twin != lun).unwrap_or(lun);
                self.luns[lun].wwid_of = Some(twin);
                if self.rng.chance(50) {
                    let image = self.luns[twin].cached.clone();
                    self.swap(lun, &image);
                    // Each is what the other is.
                    self.luns[twin].changed_at = Some(self.now);
                }
            }
        }
        // No target lives through that.
        self.servers[server].restarted = true;
        self.luns[lun].changed_at = Some(self.now);
        self.luns[lun].forget_keys();
        self.doubt_lun(lun);
        self.excuse(lun);
    }

    /// Volumes of a LUN may end in a hold.
    pub(super) fn excuse(&mut self, lun: usize) {
        for n in 0..self.vgs[self.luns[lun].vg].volumes.len() {
            let volume = self.vgs[self.luns[lun].vg].volumes[n];
            self.volumes[volume].excused = true;
            self.content_lost(volume);
        }
    }

    /// Another machine has used a leg that we had lost, alone: its superblock accuses the others, or has forgotten to
    /// (`facts/lab.md` B), its blocks and maybe its metadata went on. Returns whether it is out of our use, so that this
    /// can be.
    pub(super) fn activated_elsewhere(&mut self, lun: usize) -> bool {
        let (vg, pv) = (self.luns[lun].vg, self.luns[lun].pv);
        let used = |v: &usize| {
            let v = &self.volumes[*v];
            v.legs.iter().any(|leg| leg.pv == pv && leg.health != Health::Dead)
        };
        // Without superblocks nobody can tell it from what LVM did here while the service was down.
        let blind = |v: &usize| self.volumes[*v].kind == Kind::Mirror && self.volumes[*v].live == Live::Inactive;
        if self.vgs[vg].volumes.iter().any(|v| used(v) || blind(v))
            || !matches!(self.luns[lun].cached.label, Label::Pv(_))
        {
            return false;
        }
        self.note(|_| format!("# lun {lun} is used by another machine"));
        let others = ((1_u32 << self.vgs[vg].luns.len()) - 1) & !(1 << pv);
        let forgets = self.quirks.shallow_recovery && self.rng.chance(40);
        // From one activation to several: fewer, as many or more than ours have grown by. Who failed is forgotten by a second one.
        let rise = self.rng.between(if forgets { 5 } else { 2 }, 8);
        let mut traceless = Vec::new();
        for n in 0..self.vgs[vg].volumes.len() {
            let volume = self.vgs[vg].volumes[n];
            let text = self.luns[lun].cached.text.as_ref();
            if !text.is_some_and(|text| text.lvs[n].legs.contains(&pv)) {
                continue;
            }
            let block = self.rng.index(BLOCKS);
            self.next_write += 1;
            let truth = self.volumes[volume].truth;
            let alone = truth.held_by(&self.luns[lun].cached.areas[n].blocks)
                && !self.vgs[vg].luns.iter().any(|other| *other != lun && self.held_on(*other, volume, &truth));
            let whole = truth.held_by(&self.luns[lun].cached.areas[n].blocks);
            let area = &mut self.luns[lun].cached.areas[n];
            area.blocks[block] = self.next_write;
            area.bitmap |= 1 << block;
            if let Some(sb) = area.sb.as_mut() {
                let accused = (0..sb.devices).filter(|place| *place != sb.position);
                let failed = if forgets { 0 } else { accused.fold(0, |mask, place| mask | 1 << place) };
                traceless.extend(Some(volume).filter(|_| forgets || failed == sb.failed));
                sb.failed = failed;
                sb.events += rise;
            }
            let history = History::of(&area.blocks);
            // Who goes on with a leg that has everything loses nothing; and nobody who was off, or asked to look away, can tell
            // it from what this machine did at the end.
            self.volumes[volume].unnoted |= whole || !self.powered || self.unwatched(volume);
            // Whoever went on with the newest leg went on with the one history there is.
            if alone {
                self.volumes[volume].truth = history;
            } else {
                self.volumes[volume].lost.push(history);
            }
        }
        let mirrors = self.vgs[vg].volumes.iter().any(|v| self.volumes[*v].kind == Kind::Mirror);
        // LVM there had to write that the others are missing, to activate a mirror without them.
        if mirrors || self.rng.chance(50) {
            let text = self.luns[lun].cached.text.as_ref().map(|text| {
                let mut text = Text::clone(text);
                (text.seqno, text.missing, text.foreign) = (text.seqno + 2, text.missing | others, true);
                Rc::new(text)
            });
            self.luns[lun].cached.text = text;
        } else {
            // A leg whose superblock could not be noted before shows no trace of it, if that accuses nobody whom it did not.
            traceless.retain(|volume| self.events_unknown(*volume, &self.pvs[lun]));
            traceless.into_iter().for_each(|volume| self.volumes[volume].unnoted = true);
        }
        self.luns[lun].dirty = true;
        self.luns[lun].flush();
        // No look can tell what happens while a command is at work.
        if self.daemon.jobs.iter().any(|job| job.op.writes_vg() == Some(&self.vgs[vg].uuid)) {
            self.luns[lun].changed_at = Some(self.now);
        }
        true
    }

    fn events_unknown(&self, volume: usize, pv: &PvUuid) -> bool {
        let record = self.daemon.ledger().and_then(|ledger| ledger.mirrors.get(&self.volumes[volume].names.uuid));
        record.and_then(|record| record.legs.get(pv)).is_none_or(|known| match &known.trust {
            Trust::Suspect { loss, .. } => loss.events.is_none(),
            _ => known.healthy.is_none(),
        })
    }

    /// A LUN is put back from an image.
    pub fn roll_back(&mut self, lun: usize) {
        let count = self.luns[lun].images.len();
        if count == 0 {
            return;
        }
        let image = self.luns[lun].images[self.rng.index(count)].clone();
        let quiet = self.vgs[self.luns[lun].vg].volumes.iter().all(|v| self.volumes[*v].live == Live::Inactive);
        let now = &self.luns[lun].cached;
        let same_text = image.text.as_ref().map(|t| t.seqno) == now.text.as_ref().map(|t| t.seqno);
        let same_supers = image.areas.iter().zip(&now.areas).all(alike);
        let unseen = quiet && same_text && same_supers;
        self.luns[lun].replace(&image);
        self.luns[lun].unseen |= unseen;
        self.note(|_| format!("# lun {lun} is rolled back, visibly: {}", !unseen));
        self.excuse(lun);
    }

    /// Something else stands where a LUN was; what was there is put away.
    pub fn swap(&mut self, lun: usize, image: &Image) {
        let old = self.luns[lun].cached.clone();
        self.luns[lun].away = Some(old);
        self.luns[lun].replace(image);
    }

    /// The right LUN is put back.
    pub fn restore(&mut self, lun: usize) {
        if let Some(image) = self.luns[lun].away.take() {
            self.luns[lun].unseen |= self.passes_for_new(lun, &image);
            self.luns[lun].replace(&image);
            self.luns[lun].forget_keys();
        }
        self.luns[lun].wwid_of = None;
        // A history that went away with it is back.
        for n in 0..self.vgs[self.luns[lun].vg].volumes.len() {
            let volume = self.vgs[self.luns[lun].vg].volumes[n];
            let back = self.volumes[volume].lost.iter().position(|history| self.held_on(lun, volume, history));
            if let Some(back) = back {
                self.volumes[volume].truth = self.volumes[volume].lost.swap_remove(back);
            }
        }
        self.excuse(lun);
    }

    /// Whether what somebody puts back while nothing is active says the same of itself as another leg does.
    fn passes_for_new(&self, lun: usize, image: &Image) -> bool {
        let vg = &self.vgs[self.luns[lun].vg];
        let quiet = vg.volumes.iter().all(|v| self.volumes[*v].live == Live::Inactive);
        let seqno = |image: &Image| image.text.as_ref().map(|text| text.seqno);
        let others = vg.luns.iter().filter(|other| **other != lun).map(|other| &self.luns[*other].cached);
        let same = |other: &Image| seqno(other) == seqno(image) && other.areas.iter().zip(&image.areas).all(alike);
        quiet && others.into_iter().any(same)
    }

    /// Everything that was put wrong from outside is put right.
    pub fn calm(&mut self) {
        self.note(|_| "# calm".to_owned());
        for lun in 0..self.luns.len() {
            self.luns[lun].gone = false;
            if self.luns[lun].away.is_some() || self.luns[lun].wwid_of.is_some() {
                let server = self.luns[lun].server;
                self.down(server, Fault::Refused);
                self.servers[server].restarted = true;
                self.restore(lun);
            }
        }
        let d = &mut self.daemon;
        (d.trouble, d.ledger_ok, d.report_ok, d.crash_at) = (0, true, true, None);
        d.faults.clear();
        for server in 0..self.servers.len() {
            (self.servers[server].login_code, self.servers[server].target_gone) = (0, false);
            if self.servers[server].fault == Some(Fault::Power) {
                self.switch_on(server);
            } else {
                self.up(server);
            }
        }
        self.paths_changed(Actor::Nature);
        // The slowest one has booted by then.
        self.run_for(61 * SECOND);
        // What a person took away on purpose he gives back.
        for server in 0..self.servers.len() {
            self.admin_login(server);
            let offline =
                |s: &super::session::Session| s.disks.iter().any(|d| d.state == super::session::Scsi::Offline);
            if self.sessions[server].as_ref().is_some_and(offline) {
                if self.rng.chance(50) {
                    self.set_disk(server, super::session::Scsi::Running);
                } else {
                    self.excuse_server(server);
                }
            }
        }
        self.end_forgetting();
        self.start_daemon();
    }
}

/// Whether two legs have the same superblock. One more is what md takes for the same.
fn alike((one, other): (&Area, &Area)) -> bool {
    match (one.sb, other.sb) {
        (Some(one), Some(other)) => one.failed == other.failed && one.events.abs_diff(other.events) <= 1,
        _ => one.sb == other.sb,
    }
}
