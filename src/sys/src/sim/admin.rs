//! An administrator at a shell: sensible commands, hasty ones, and the ones that lose data. What he does is his own
//! responsibility; the daemon has to see it and go on from there.

use super::session::{Scsi, State};
use super::truth_keeper::Actor;
use super::volume::{Action, Live};
use super::world::World;

impl World {
    /// Types a command at random.
    pub fn admin(&mut self) {
        if self.any_waits() {
            // Whatever he types hangs; he goes for coffee.
            return;
        }
        let volume = self.rng.index(self.volumes.len());
        let vg = self.volumes[volume].vg;
        let pv = self.rng.index(self.vgs[vg].luns.len());
        let server = self.rng.index(self.servers.len());
        let verb = self.rng.below(15);
        self.note(|w| format!("# admin: verb {verb} on {} pv {pv} server {server}", w.volumes[volume].names.full));
        let admin = Actor::Admin;
        let _answer = match verb {
            0 => self.refresh(volume, admin),
            1 => self.restore_missing(vg, pv),
            2 => {
                // What he writes without a PV is newer than what stands there, and tells another history.
                let away = self.vgs[vg].luns.iter().any(|lun| self.pv_disk(*lun).is_none());
                self.vgs[vg].volumes.clone().into_iter().for_each(|v| self.volumes[v].excused |= away);
                self.write_text(vg, |_| {});
                Ok(())
            }
            3 => self.sync_action(volume, Action::Check, admin),
            4 => {
                self.volumes[volume].open = false;
                let done = self.deactivate(volume);
                self.volumes[volume].excused = true;
                done
            }
            5 => {
                self.volumes[volume].excused = true;
                self.activate(volume, true, admin)
            }
            6 => {
                self.logout(server, admin);
                Ok(())
            }
            7 => {
                self.admin_login(server);
                Ok(())
            }
            8 => {
                self.set_disk(server, Scsi::Offline);
                self.excuse_server(server);
                Ok(())
            }
            9 => {
                self.set_disk(server, Scsi::Running);
                Ok(())
            }
            10 => {
                self.dmeventd = false;
                Ok(())
            }
            11 => {
                let v = &mut self.volumes[volume];
                (v.monitored, v.handle_errors) = (v.live != Live::Mirror, v.live != Live::Mirror);
                self.poke();
                Ok(())
            }
            12 => self.admin_flag(volume, pv),
            13 => {
                self.share(server);
                Ok(())
            }
            _ => self.admin_converts(volume, pv),
        };
    }

    /// Logs in, if the server lets him.
    pub fn admin_login(&mut self, server: usize) {
        let host = &self.servers[server];
        if host.answers() && !host.target_gone && host.login_code == 0 {
            self.login(server);
        }
    }

    /// Writes to `device/state` of a server's disks.
    pub fn set_disk(&mut self, server: usize, state: Scsi) {
        let Some(session) = self.sessions[server].as_mut().filter(|s| s.state == State::LoggedIn) else { return };
        session.disks.iter_mut().for_each(|disk| disk.state = state);
        self.servers[server].offline_by_hand = state == Scsi::Offline;
        self.poke();
        self.paths_changed(Actor::Admin);
    }

    /// A slow leg is to serve no reads.
    fn admin_flag(&mut self, volume: usize, pv: usize) -> super::lvm::Answer {
        let bit = 1 << pv;
        if self.rng.chance(50) {
            self.write_mostly(volume, bit, 0, Actor::Admin)
        } else {
            self.write_mostly(volume, 0, bit, Actor::Admin)
        }
    }

    /// He takes a leg out, or gives one back.
    fn admin_converts(&mut self, volume: usize, pv: usize) -> super::lvm::Answer {
        self.volumes[volume].excused = true;
        self.volumes[volume].reshaped = true;
        if self.volumes[volume].live == Live::Linear {
            let kind = self.volumes[volume].kind;
            return self.convert_up(volume, pv, kind, Actor::Admin);
        }
        self.convert_down(volume, pv, Actor::Admin)
    }
}
