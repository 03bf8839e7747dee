//! The storage servers, and what the network and the power do to them. A server that does not answer looks the same
//! from outside whatever the reason; what differs is how soon that is noticed, and what it still knows afterwards.
//! Facts: `facts/lab.md` A, D, E, F, 13.

use super::clock::{Happening, SECOND};
use super::truth::History;
use super::world::World;

/// Why a server does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The network swallows everything.
    Cut,
    /// The target process is gone: resets at once, and registrations are lost.
    Refused,
    /// The target process stands still: TCP answers, NOPs do not.
    Hung,
    /// The power is off: cache and registrations are lost.
    Power,
}

/// A storage server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Why it does not answer; `None` = it does.
    pub fault: Option<Fault>,
    /// Counts its ups and downs.
    pub epoch: u32,
    /// Connections from before do not exist any more for it.
    pub restarted: bool,
    /// The target does not exist there: the portal answers, a login does not end.
    pub target_gone: bool,
    /// Exit code of a login.
    pub login_code: i32,
    /// `replacement_timeout` of the node record.
    pub record: u32,
    /// A person has set its disks offline and not taken that back.
    pub offline_by_hand: bool,
    /// `node.startup` is automatic.
    pub automatic: bool,
    /// Something else than mirrors is mounted from it.
    pub shared: bool,
}

impl Server {
    /// One that is up.
    pub fn new(record: u32) -> Self {
        Self {
            fault: None,
            epoch: 0,
            restarted: false,
            target_gone: false,
            login_code: 0,
            record,
            offline_by_hand: false,
            automatic: true,
            shared: false,
        }
    }

    /// I/O and logins get an answer.
    pub fn answers(&self) -> bool {
        self.fault.is_none()
    }
}

impl World {
    /// A server goes. One that is down already may only get worse.
    pub fn down(&mut self, server: usize, fault: Fault) {
        if self.servers[server].fault.is_some() && fault != Fault::Power {
            return;
        }
        self.note(|_| format!("# server {server} goes: {fault:?}"));
        let host = &mut self.servers[server];
        let was_up = host.answers();
        (host.fault, host.epoch) = (Some(fault), host.epoch + 1);
        if matches!(fault, Fault::Refused | Fault::Power) {
            host.restarted = true;
            for lun in (0..self.luns.len()).filter(|lun| self.luns[*lun].server == server).collect::<Vec<_>>() {
                self.luns[lun].forget_keys();
                self.doubt_lun(lun);
                self.went_away(lun, true);
            }
        }
        if fault == Fault::Power {
            self.lose_cache(server);
        }
        if fault != Fault::Refused {
            self.foresee_silence(server);
        }
        if !was_up {
            return;
        }
        self.outages += 1;
        if fault == Fault::Refused {
            self.break_connection(server, 1020);
        }
        self.paths_changed(super::truth_keeper::Actor::Nature);
    }

    /// A server answers again.
    pub fn up(&mut self, server: usize) {
        if self.servers[server].answers() {
            return;
        }
        self.note(|_| format!("# server {server} answers"));
        let host = &mut self.servers[server];
        (host.fault, host.epoch) = (None, host.epoch + 1);
        if std::mem::take(&mut host.restarted) {
            self.break_connection(server, 1020);
        }
        self.foresee_relogin(server);
        self.paths_changed(super::truth_keeper::Actor::Nature);
        self.complete();
    }

    /// A server without power is switched on and answers some time later.
    pub fn switch_on(&mut self, server: usize) {
        let epoch = self.servers[server].epoch;
        // As quick as a small server boots, up to one with a slow BIOS.
        let boots = self.rng.between(8, 60) * SECOND;
        self.queue.at(self.now + boots, Happening::Booted { server, epoch });
    }

    /// What a server had acknowledged and not written is gone, all of it or some.
    pub fn lose_cache(&mut self, server: usize) {
        for lun in 0..self.luns.len() {
            if self.luns[lun].server != server {
                continue;
            }
            self.luns[lun].lost_at = Some(self.now);
            if !self.luns[lun].dirty {
                continue;
            }
            let all = self.rng.chance(70);
            let keep = if all { 0 } else { self.rng.bits() };
            let lun = &mut self.luns[lun];
            for (n, (durable, cached)) in lun.durable.areas.iter_mut().zip(&lun.cached.areas).enumerate() {
                for (block, (old, new)) in durable.blocks.iter_mut().zip(&cached.blocks).enumerate() {
                    if keep >> ((8 * n + block) % 64) & 1 == 1 {
                        *old = *new;
                    }
                }
            }
            if keep & (1 << 63) != 0 {
                lun.durable.text.clone_from(&lun.cached.text);
            }
            let quiet = self.vgs[lun.vg].volumes.iter().all(|v| self.volumes[*v].live == super::volume::Live::Inactive);
            lun.unseen |= quiet;
            lun.cached.copy_from(&lun.durable);
            lun.dirty = false;
        }
        for volume in 0..self.volumes.len() {
            self.content_lost(volume);
        }
    }

    /// A server writes its cache out by and by.
    pub fn write_back(&mut self, lun: usize) {
        self.luns[lun].write_back = false;
        self.luns[lun].flush();
    }

    /// Something was written to a LUN and is only cached there.
    pub fn dirtied(&mut self, lun: usize) {
        self.luns[lun].dirty = true;
        if !self.luns[lun].write_back {
            self.luns[lun].write_back = true;
            let due = self.rng.between(5, 30) * SECOND;
            self.queue.at(self.now + due, Happening::WriteBack { lun });
        }
    }

    /// The history of a volume's blocks on one LUN, whatever stands there.
    pub fn held_on(&self, lun: usize, volume: usize, history: &History) -> bool {
        let lv = self.volumes[volume].lv;
        let holds = |image: &super::content::Image| {
            image.label == super::content::Label::Pv(self.vgs[self.volumes[volume].vg].luns[self.luns[lun].pv])
                && image.areas.get(lv).is_some_and(|area| history.held_by(&area.blocks))
        };
        holds(&self.luns[lun].cached) || self.luns[lun].away.as_ref().is_some_and(holds)
    }
}
