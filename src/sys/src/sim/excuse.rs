//! What excuses a volume from being mended, or a leg from being told apart: the bookkeeping behind the exemptions that head
//! `truth_keeper.rs`. Excuses are for what no daemon could know, or was told to leave alone; they end as soon as the
//! volume is whole again.

use super::clock::SECOND;
use super::content::{Kind, Text};
use super::session::{Session, State};
use super::truth_keeper::Actor;
use super::volume::{Health, Live};
use super::world::World;
use mirrorkeeper_core::ledger::{Ledger, Mark, Trust};
use mirrorkeeper_core::plan;
use mirrorkeeper_core::snapshot::MirrorView;

/// How long after one server went another one's restart may have cost what only the first one has: longer than any cache is
/// held back.
const BOTH: u64 = 300 * SECOND;

/// By when a lost leg is flagged: settle and back-off times of what goes first, and room.
pub const FLAGGED: u64 = 120 * SECOND;

/// By when the keys of a mirror that was activated are noted anew: a report and a look.
const NOTED: u64 = 20 * SECOND;

/// Losses that belong to one story: a server that reboots slowly is back within that.
const STORY: u64 = 30 * SECOND;

impl World {
    /// A server's connections broke: who was in use there is in doubt, unless its key will prove that nothing was lost.
    pub fn doubt_server(&mut self, server: usize) {
        for lun in 0..self.luns.len() {
            // Somebody else's key, or one that outlives a power loss, proves nothing.
            let ours = !self.quirks.foreign_keys && self.luns[lun].keys.keys.len() == 1;
            let provable = self.luns[lun].keys.supported && !self.luns[lun].keys.persists && ours;
            if self.luns[lun].server != server {
                continue;
            }
            self.went_away(lun, false);
            let vg = self.luns[lun].vg;
            for n in 0..self.vgs[vg].volumes.len() {
                let volume = self.vgs[vg].volumes[n];
                self.volumes[volume].unnoted |= self.unwatched(volume);
                // After a clean stop, and after the copy at the activation of a mirror, keys are noted anew. And whatever the
                // kernel tells of while both are away, like the end of its copy, may be a flush that failed on either.
                let (v, pv) = (&self.volumes[volume], self.luns[lun].pv);
                let both = self.vgs[vg].luns.iter().all(|lun| self.is_away(self.luns[*lun].server));
                let settled = self.able_since.is_some_and(|since| self.now >= v.activated_at.max(since) + NOTED);
                if !settled && v.activated_at > 0 && (v.kind == Kind::Mirror || !self.noted(volume, pv)) {
                    self.doubt_leg(volume, pv);
                } else if v.kind == Kind::Mirror && both {
                    (0..self.vgs[vg].luns.len()).for_each(|pv| self.doubt_leg(volume, pv));
                }
            }
            if !provable {
                self.doubt_lun(lun);
            }
        }
    }

    /// Whether the ledger on disk has a key noted for a leg that it trusts.
    fn noted(&self, volume: usize, pv: usize) -> bool {
        let v = &self.volumes[volume];
        let record = self.daemon.ledger().and_then(|ledger| ledger.mirrors.get(&v.names.uuid));
        let leg = record.and_then(|record| record.legs.get(&self.vgs[v.vg].pvs[pv]));
        leg.is_some_and(|known| known.registered.is_some() && known.trust == Trust::Trusted)
    }

    /// Nothing proves that a server lived on whose keys nobody could write down.
    pub(super) fn doubt_unnoted(&mut self, server: usize) {
        for volume in 0..self.volumes.len() {
            let legs = self.vgs[self.volumes[volume].vg].luns.clone().into_iter().enumerate();
            for (pv, _) in legs.filter(|(_, lun)| self.luns[*lun].server == server).collect::<Vec<_>>() {
                if !self.noted(volume, pv) {
                    self.doubt_leg(volume, pv);
                }
            }
        }
    }

    fn is_away(&self, server: usize) -> bool {
        self.sessions[server].as_ref().is_none_or(|session| session.state != State::LoggedIn)
    }

    /// A server went while another one did too, and one of them restarted: the one in use may lack what the other has, and
    /// the daemon may leave that to a person.
    pub fn went_away(&mut self, lun: usize, restarted: bool) {
        let (vg, pv, now) = (self.luns[lun].vg, self.luns[lun].pv, self.now);
        let unseen = restarted && self.is_away(self.luns[lun].server);
        for n in 0..self.vgs[vg].volumes.len() {
            let v = &mut self.volumes[self.vgs[vg].volumes[n]];
            // Of one that restarted while it was away nobody knows when.
            let went = v.away.iter().rev().find(|(own, ..)| unseen && *own == pv).map_or(now, |(_, at, _)| *at);
            let near = |(other, at, so): &(usize, u64, bool)| *other != pv && went < at + BOTH && (*so || restarted);
            v.excused |= v.away.iter().any(near);
            v.away.push((pv, now, restarted));
        }
    }

    /// A leg went, however.
    pub fn leg_went_away(&mut self, volume: usize, leg: usize) {
        let v = &self.volumes[volume];
        self.went_away(self.vgs[v.vg].luns[v.legs[leg].pv], false);
    }

    /// Nobody can prove any more that a LUN has all it acknowledged.
    pub fn doubt_lun(&mut self, lun: usize) {
        let (vg, pv) = (self.luns[lun].vg, self.luns[lun].pv);
        for n in 0..self.vgs[vg].volumes.len() {
            self.doubt_leg(self.vgs[vg].volumes[n], pv);
        }
    }

    /// The same of a leg.
    pub fn doubt_leg(&mut self, volume: usize, pv: usize) {
        let all = (1_u32 << self.vgs[self.volumes[volume].vg].luns.len()) - 1;
        let redundant = self.shown(volume).is_some_and(|m| m.state == super::schedule::REDUNDANT);
        let v = &mut self.volumes[volume];
        if redundant && self.now > v.doubted_at + STORY {
            v.doubted = 0;
        }
        (v.doubted, v.doubted_at) = (v.doubted | 1 << pv, self.now);
        if v.doubted == all && !v.excused {
            v.excused = true;
            self.note(|w| format!("  {}: every leg is in doubt", w.volumes[volume].names.full));
        }
    }

    /// Nobody can tell which of these legs is right: each of them was out of reach and none can prove that its server lived
    /// on. One bit for each PV.
    pub fn all_in_doubt(&self, volume: usize, pvs: u32) -> bool {
        self.volumes[volume].doubted & pvs == pvs
    }

    /// PVs of the legs in use, one bit each.
    pub fn pvs_in_use(&self, volume: usize) -> u32 {
        let v = &self.volumes[volume];
        v.alive().fold(0, |mask, leg| mask | 1 << v.legs[leg].pv)
    }

    /// The device of the last leg was taken away, or every leg of a mirror failed: LVM has no way back while it is open.
    pub fn excuse_stranded(&mut self) {
        for volume in 0..self.volumes.len() {
            let v = &self.volumes[volume];
            let gone = v.alive().all(|leg| v.legs[leg].disk.is_none_or(|id| self.disk(id).is_none()));
            if v.live != Live::Inactive && gone {
                self.volumes[volume].excused = true;
            }
        }
    }

    /// Something else was put in the place of every leg since the volume was whole, or of one while a command was at work already:
    /// no look can tell what is right.
    pub(super) fn unknowable(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        let changed = |lun: &usize| self.luns[*lun].changed_at;
        let luns = &self.vgs[v.vg].luns;
        luns.iter().all(|lun| changed(lun).is_some_and(|at| at > v.whole_at))
            || luns.iter().any(|lun| changed(lun).is_some_and(|at| at > self.daemon.acting))
    }

    /// Whether a session broke or came, or a LUN changed, since the command began that has its effect now.
    pub(super) fn overtaken(&self) -> bool {
        let acting = self.daemon.acting;
        self.sessions.iter().flatten().any(|session| session.since > acting)
            || self.luns.iter().any(|lun| lun.changed_at.is_some_and(|at| at > acting))
    }

    /// More than one leg of a mirror of three failed: given back one by one by hand, so far.
    pub fn excuse_two_dead(&mut self, volume: usize) {
        let dead = self.volumes[volume].legs.iter().filter(|leg| leg.health == Health::Dead).count();
        self.volumes[volume].excused |= dead > 1;
    }

    /// A person does something to the disks of a server, and may leave it so.
    pub fn excuse_server(&mut self, server: usize) {
        for volume in 0..self.volumes.len() {
            let luns = &self.vgs[self.volumes[volume].vg].luns;
            self.volumes[volume].excused |= luns.iter().any(|lun| self.luns[*lun].server == server);
        }
    }

    /// Reads come from legs that cannot prove to have everything: where the others differ from them a person has to choose.
    pub fn unproven(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        let read = v.alive().filter(|leg| !v.legs[*leg].flag).fold(0, |mask, leg| mask | 1 << v.legs[leg].pv);
        read != 0 && self.all_in_doubt(volume, read)
    }

    /// One held volume holds all on its PV.
    pub fn excused(&self, volume: usize) -> bool {
        // Writes to a last leg that failed leave an array that only another table revives.
        let excused = |v: &super::volume::Volume| v.excused || v.unnoted || v.spoiled;
        self.vgs[self.volumes[volume].vg].volumes.iter().any(|v| excused(&self.volumes[*v]))
    }

    /// A volume is said to be redundant again: what excused it before is over, if it is true.
    pub fn whole_again(&mut self, volume: usize) {
        let v = &self.volumes[volume];
        let right = |leg: usize| {
            let lun = self.lun_of(v.legs[leg].disk);
            lun.is_some_and(|lun| v.truth.held_by(&self.luns[lun].cached.areas[v.lv].blocks))
        };
        // Whoever has lost its keys is still to be told by them.
        let untold = |leg: &super::volume::Leg| {
            let keys = &self.luns[self.vgs[v.vg].luns[leg.pv]].keys;
            keys.supported && keys.keys.is_empty()
        };
        // What it says may be a moment old.
        let away = |leg: &super::volume::Leg| self.is_away(self.luns[self.vgs[v.vg].luns[leg.pv]].server);
        // So is whoever has other metadata.
        let text = |leg: &super::volume::Leg| &self.luns[self.vgs[v.vg].luns[leg.pv]].cached.text;
        // What a daemon says in its first moments is what it was told by its ledger.
        let looked = self.now >= self.daemon.started + NOTED;
        let whole = looked
            && v.legs.len() > 1
            && !v.legs.iter().any(|leg| untold(leg) || away(leg))
            && v.legs.iter().all(|leg| text(leg) == text(&v.legs[0]))
            && (0..v.legs.len()).all(|leg| v.legs[leg].health == Health::Alive && right(leg));
        let v = &mut self.volumes[volume];
        v.resolving = None;
        if whole {
            v.whole_at = self.now;
            (v.doubted, v.excused) = (0, v.forgotten);
            v.away.clear();
            v.unnoted = false;
        }
    }

    /// The daemon dies: what happened within the last moments it had no time to write down, and on a disk that takes no writes
    /// it left nothing at all. Connections that iscsid made anew look like new servers then.
    pub fn excuse_last_moments(&mut self) {
        let now = self.now;
        self.volumes.iter_mut().for_each(|v| v.excused |= !self.daemon.ledger_ok);
        let fresh = |v: &&mut super::volume::Volume| v.died_at.is_some_and(|at| now < at + 2 * SECOND);
        self.volumes.iter_mut().filter(fresh).for_each(|v| v.unnoted = true);
    }

    /// The client goes down while servers are away and nobody has noticed yet.
    pub fn doubt_silent_servers(&mut self) {
        for server in 0..self.servers.len() {
            let unnoticed = self.sessions[server].as_ref().is_some_and(|s| s.state == State::LoggedIn);
            if unnoticed && !self.servers[server].answers() {
                self.doubt_server(server);
            }
        }
    }

    /// Notes since when the daemon is able to act. A disk that is blocked, or a server that is silent, makes every look and
    /// command wait.
    pub(super) fn measure_ability(&mut self) {
        let silent = |(server, session): (usize, &Option<Session>)| {
            session.as_ref().is_some_and(|s| s.state == State::LoggedIn) && !self.servers[server].answers()
        };
        let waits = self.blocked().is_some() || self.sessions.iter().enumerate().any(silent);
        let able = !waits && self.daemon_able();
        self.able_since = if able { self.able_since.or(Some(self.now)) } else { None };
    }

    /// A PV that is lost is to be called missing by the metadata that goes on, so that nobody takes it for the newer one,
    /// unless something is held: a write would wipe the evidence.
    pub fn look_at_flags(&mut self, volume: usize) {
        let v = &self.volumes[volume];
        let (vg, name) = (v.vg, v.names.full.clone());
        let since = self.able_since.map(|since| since.max(v.died_at.unwrap_or(0)));
        let able = since.is_some_and(|since| self.now > since + FLAGGED);
        let held = |v: &usize| self.shown(*v).is_none_or(|m| m.hold.is_some());
        let quiet = able && v.live == Live::Raid && !self.vgs[vg].volumes.iter().any(held) && !self.left_alone(volume);
        let Some(text) = self.merged(vg).filter(|_| quiet) else { return };
        let luns = &self.vgs[vg].luns;
        let gone = |pv: usize| self.pv_disk(luns[pv]).is_none() && text.missing >> pv & 1 == 0;
        let legs = || v.legs.iter().filter(|leg| leg.health == Health::Dead && gone(leg.pv));
        // Whoever goes on can only say so if it is written to.
        let written = v.alive().any(|leg| self.pv_disk(luns[v.legs[leg].pv]).is_some());
        if written && legs().next().is_some() && !self.excused(volume) {
            self.violate(format!("{name}: a lost leg is not flagged by the metadata that goes on"));
        }
    }

    /// Somebody had its VG forgotten: nobody looks after it until the next start.
    fn left_alone(&self, volume: usize) -> bool {
        let vg = &self.vgs[self.volumes[volume].vg].uuid;
        self.daemon.ledger().and_then(|ledger| ledger.vgs.get(vg)).is_some_and(|vg| vg.forgotten)
    }

    /// The ledger cannot be written, the service ended while the volume was open, or was told to leave it alone: nobody
    /// remembers what becomes of it.
    pub fn unwatched(&self, volume: usize) -> bool {
        let left = |ledger: &Ledger| {
            let unseen = ledger.mirrors.get(&self.volumes[volume].names.uuid).is_some_and(|record| record.unseen);
            unseen || !self.daemon.alive() && ledger.mark == Mark::Left
        };
        !self.daemon.ledger_ok || self.left_alone(volume) || self.daemon.ledger().is_none_or(left)
    }

    /// A person has taken one of its disks away, or its legs.
    pub fn by_hand(&self, volume: usize) -> bool {
        let luns = &self.vgs[self.volumes[volume].vg].luns;
        let offline = |lun: &usize| self.servers[self.luns[*lun].server].offline_by_hand;
        self.volumes[volume].reshaped && self.volumes[volume].legs.len() < 2 || luns.iter().any(offline)
    }

    /// Whether what a leg holds may be served although another leg has more: nobody can tell which, or a person's choice is
    /// being carried out.
    pub fn undecidable(&mut self, volume: usize) -> bool {
        let untouchable = self.doubled(volume) || self.partial(volume) || self.crowded(volume);
        let choice = |m: &MirrorView| m.hold.is_some_and(|hold| plan::RESOLVABLE.contains(&hold));
        let left_to_people = self.volumes[volume].excused || self.unproven(volume);
        let untouchable = untouchable || left_to_people && self.shown(volume).is_some_and(choice);
        if self.volumes[volume].resolving.is_some() || self.left_alone(volume) || untouchable {
            return true;
        }
        let used = self.pvs_in_use(volume);
        // Without its ledger it does not know what went away before it looked.
        let v = &self.volumes[volume];
        if used == 0 || !(v.forgotten || v.unnoted || self.all_in_doubt(volume, used)) {
            return false;
        }
        self.fork_quietly(volume);
        true
    }

    /// LVM neither flags a leg of a raid1 while another one is missing, nor drops one of a `mirror` while any PV is.
    pub(super) fn partial(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        let Some(text) = self.merged(v.vg) else { return false };
        let missing = self.missing(v.vg, &text);
        match v.kind {
            Kind::Mirror => missing != 0,
            _ => v.legs.iter().any(|leg| missing >> leg.pv & 1 == 1),
        }
    }

    /// Writes of metadata that a server lost with its cache: the last one was made once more, with the same number, without the
    /// leg that has the first; or what is left calls another one missing that has been given back since.
    pub(super) fn two_texts(&self, volume: usize) -> bool {
        let luns = &self.vgs[self.volumes[volume].vg].luns;
        let texts = || luns.iter().filter_map(|lun| self.luns[*lun].cached.text.as_ref());
        let apart = |one: &Text, other: &Text| one.seqno == other.seqno && one != other;
        let older = |one: &Text, other: &Text| one.seqno < other.seqno && one.missing & !other.missing != 0;
        texts().any(|one| texts().any(|other| apart(one, other) || older(one, other)))
    }

    /// The metadata went back, and the table in use is none that LVM would make: only a person can have another one loaded.
    pub(super) fn crossed(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        let Some(text) = self.merged(v.vg) else { return false };
        let told = text.lvs.get(v.lv).map(|lv| lv.legs.as_slice()).unwrap_or_default();
        v.live != Live::Inactive && !v.legs.iter().map(|leg| leg.pv).eq(told.iter().copied())
    }

    /// A table load would revive another failed leg with the one it is for: left to a person so far.
    fn crowded(&self, volume: usize) -> bool {
        let v = &self.volumes[volume];
        v.legs.len() > 2 && v.legs.iter().any(|leg| leg.health == Health::Dead)
    }

    /// Two LUNs of its VG carry one label.
    fn doubled(&self, volume: usize) -> bool {
        let labels = || self.vgs[self.volumes[volume].vg].luns.iter().map(|lun| self.luns[*lun].cached.label);
        labels().enumerate().any(|(n, label)| labels().skip(n + 1).any(|other| other == label))
    }

    fn fork_quietly(&mut self, volume: usize) {
        let legs = self.volumes[volume].alive().fold(0_u32, |mask, leg| mask | 1 << leg);
        self.adopt(volume, legs);
        self.reconcile(volume, Actor::Nature);
    }
}
