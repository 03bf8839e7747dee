//! The client's own ups and downs: reboot in good order, power loss with open volumes, and what happens at boot before and
//! beside the daemon. Facts: `facts/lab.md` 7.

use super::clock::{Happening, SECOND};
use super::volume::Live;
use super::world::World;
use mirrorkeeper_core::observation::ProcessObs;

/// How long open-iscsi.service tries at boot before it gives up (`facts/lab.md` 7).
const LOGIN_TRIES: u64 = 80 * SECOND;

impl World {
    /// The client loses its power: what was under way may be on some legs, on none or on all.
    pub fn client_power_loss(&mut self) {
        self.note(|_| "# the client loses its power".to_owned());
        for volume in &mut self.volumes {
            volume.stop_sync();
            (volume.live, volume.open, volume.suspended, volume.bad_since) = (Live::Inactive, false, false, None);
            volume.legs.clear();
            volume.inflight.clear();
            volume.keeps = false;
        }
        self.off();
    }

    /// The client is rebooted in good order. `daemon_first`: the daemon stops while the volumes are still mounted.
    pub fn reboot(&mut self, daemon_first: bool) {
        self.note(|_| format!("# the client reboots, daemon first: {daemon_first}"));
        if daemon_first {
            self.stop_service();
        }
        self.unmount_all();
        if !daemon_first {
            self.run_for(SECOND);
            self.stop_service();
            // A boot that was still going on may have activated more.
            self.unmount_all();
        }
        self.off();
    }

    fn unmount_all(&mut self) {
        for volume in 0..self.volumes.len() {
            if self.volumes[volume].live != Live::Inactive {
                // With a leg in doubt already nobody knows, once the service has ended, which one went on to the end.
                self.volumes[volume].unnoted |= self.volumes[volume].doubted != 0 && self.unwatched(volume);
                self.volumes[volume].open = false;
                self.take_down(volume);
            }
        }
    }

    /// `systemctl stop`: the daemon has ten seconds.
    pub fn stop_service(&mut self) {
        if self.daemon.alive() {
            let unnoted = !self.daemon.ledger_ok;
            self.volumes.iter_mut().for_each(|volume| volume.unnoted |= unnoted);
            self.stop_daemon();
            self.run_until(10 * SECOND, |w| w.daemon.stopped || !w.daemon.alive());
        }
        let again = self.daemon.restart_after.take();
        self.kill_daemon();
        self.daemon.restart_after = again;
    }

    fn off(&mut self) {
        self.doubt_silent_servers();
        // A boot that the daemon never saw raises `events` like another machine's.
        let noted = self.daemon.ledger().is_some_and(|ledger| ledger.boot_id == self.boot_id());
        self.volumes.iter_mut().for_each(|volume| volume.unnoted |= !noted);
        let again = self.daemon.restart_after.take();
        self.kill_daemon();
        self.daemon.restart_after = again;
        self.daemon.jobs.clear();
        // What a server lost just before, the daemon had no time to note.
        for lun in &mut self.luns {
            lun.unseen |= lun.lost_at.is_some_and(|at| self.now < at + super::truth_keeper::GRACE);
        }
        let mine = |what: &Happening| {
            matches!(
                what,
                Happening::DaemonStarts { .. }
                    | Happening::BootLogin { .. }
                    | Happening::Dmeventd { .. }
                    | Happening::Grace { .. }
                    | Happening::Expire { .. }
                    | Happening::Relogin { .. }
            )
        };
        self.queue.drop_if(mine);
        self.sessions.iter_mut().for_each(|session| *session = None);
        self.boot += 1;
        self.boots();
    }

    /// The client boots: iscsid, logins, LVM's own activation of what is complete, the daemon.
    fn boots(&mut self) {
        let up = self.now + 15 * SECOND;
        self.booted_at = up;
        self.iscsid = Some(ProcessObs { pid: 500, start: up });
        self.dmeventd = true;
        self.volumes.iter_mut().for_each(|volume| volume.dmeventd_due = false);
        self.vgs.iter_mut().for_each(|vg| vg.event_activation = true);
        for server in 0..self.servers.len() {
            let at = up + self.rng.between(0, 3000) * SECOND / 1000;
            self.queue.at(at, Happening::BootLogin { server, boot: self.boot });
        }
        let run = self.daemon.run;
        let daemon = up + self.rng.between(500, 20_000) * SECOND / 1000;
        self.queue.at(daemon, Happening::DaemonStarts { run });
    }

    pub(super) fn boot_login(&mut self, server: usize, boot: u32) {
        let host = &self.servers[server];
        if boot != self.boot || !host.automatic || self.sessions[server].is_some() {
            return;
        }
        if host.answers() && !host.target_gone && host.login_code == 0 {
            self.login(server);
        } else if self.now < self.booted_at + LOGIN_TRIES {
            self.queue.at(self.now + 5 * SECOND, Happening::BootLogin { server, boot });
        }
    }
}
