//! What each operation does to the machine, and what it answers. Exit codes lie as the real ones do: several say 0 and
//! have done nothing useful.

use super::dm_mirror::DmMirror;
use super::machine::{A, B, Machine, Session};
use super::raid::Raid;
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::observation::{Detect, LegHealth, ScsiState, SessionState, SyncAction};
use mirrorkeeper_core::op::{LvRef, Op, OpResult};

fn exit(code: i32, line: &str) -> OpResult {
    OpResult::Exit { code, last_line: line.to_owned() }
}

impl Machine {
    /// Carries out an operation.
    pub fn execute(&mut self, op: &Op) -> OpResult {
        match op {
            Op::Login { target } => {
                let Some(server) = [A, B].into_iter().find(|s| Self::target(*s) == *target) else {
                    return exit(21, "no records found");
                };
                let code = self.servers[server].login_code;
                match (self.servers[server].up.0, code) {
                    (false, _) => return OpResult::NoAnswer("connection timed out".into()),
                    (true, 0) if self.sessions[server].is_none() => self.login(server),
                    _ => {}
                }
                exit(code, if code == 0 { "" } else { "login failed" })
            }
            Op::SetRecoveryTmo { sid, seconds, .. } => {
                match self.sessions.iter_mut().flatten().find(|s| s.sid == *sid) {
                    Some(session) if session.state.0 == SessionState::LoggedIn => {
                        session.tmo = *seconds;
                        OpResult::Wrote
                    }
                    _ => OpResult::Failed("EBUSY".into()),
                }
            }
            Op::SetDetect { millis, .. } => OpResult::Detect(match self.unreachable {
                true => Detect::Unavailable("pidfd_getfd: Operation not permitted".to_owned()),
                false => Detect::InForce(*millis),
            }),
            Op::SampleSocket { sid, .. } => match self.unwatchable {
                true => OpResult::Failed("destroy sockets: Operation not permitted".to_owned()),
                false => OpResult::Sampled(self.backlog(*sid)),
            },
            Op::DestroySocket { sid, seen, .. } if self.backlog(*sid) == Some(*seen) => {
                let server = self.sessions.iter().position(|s| s.as_ref().is_some_and(|s| s.sid == *sid));
                server.into_iter().for_each(|server| self.down(server, true));
                OpResult::Wrote
            }
            Op::DestroySocket { sid, .. } => OpResult::Sampled(self.backlog(*sid)),
            Op::ReadDirect { disk, .. } => {
                let here = |s: &Option<Session>| {
                    s.as_ref().is_some_and(|s| s.disk == **disk && s.disk_state == ScsiState::Running)
                };
                let server = self.sessions.iter().position(here);
                match server.filter(|server| self.servers[*server].up.0) {
                    Some(_) => OpResult::Answered(500),
                    None => OpResult::TimedOut,
                }
            }
            Op::Knock { target, .. } => {
                let server = [A, B].into_iter().find(|s| Self::target(*s) == *target);
                match server.filter(|server| self.servers[*server].up.0) {
                    Some(_) => OpResult::Answered(500),
                    None => OpResult::NoAnswer("connection timed out".into()),
                }
            }
            Op::ClearConnection { sid, .. } => {
                let server = self.sessions.iter().position(|s| s.as_ref().is_some_and(|s| s.sid == *sid));
                server.into_iter().for_each(|server| self.servers[server].trapped = false);
                OpResult::Wrote
            }
            Op::Fence { sid, .. } => {
                let up = |s: &Session| s.sid == *sid && s.state.0 == SessionState::LoggedIn;
                let server = self.sessions.iter().position(|s| s.as_ref().is_some_and(|s| s.sid == *sid));
                if let Some(server) = server {
                    // One that is back by now is logged out in good order.
                    match self.sessions[server].as_ref().is_some_and(up) {
                        true => self.logout(server),
                        false => self.lose_session(server),
                    }
                }
                exit(0, "")
            }
            Op::UpdateNode { target, seconds } => {
                for server in [A, B].into_iter().filter(|s| Self::target(*s) == *target) {
                    self.records[server] = i32::try_from(*seconds).ok();
                }
                exit(0, "")
            }
            Op::Rescan { disk } => {
                let sizes = [self.servers[A].size, self.servers[B].size];
                for (session, size) in self.sessions.iter_mut().zip(sizes) {
                    session.iter_mut().filter(|s| s.disk == **disk).for_each(|s| s.size = size);
                }
                OpResult::Wrote
            }
            Op::SetOffline { disk } => {
                let session = self.sessions.iter_mut().flatten().find(|s| s.disk == **disk);
                session.into_iter().for_each(|s| s.disk_state = ScsiState::Offline);
                OpResult::Wrote
            }
            Op::SetRunning { disk } => {
                // The kernel takes it back only with its session.
                let up = |s: &&mut Session| s.disk == **disk && s.state.0 == SessionState::LoggedIn;
                self.sessions.iter_mut().flatten().find(up).into_iter().for_each(|s| s.disk_state = ScsiState::Running);
                self.news.push(mirrorkeeper_core::input::Input::Tick);
                OpResult::Wrote
            }
            Op::ReadThrottle { throttle } => OpResult::Throttle(self.throttles[throttle]),
            Op::SetThrottle { throttle, value } => {
                self.throttles.insert(*throttle, *value);
                OpResult::Throttle(*value)
            }
            Op::StartIscsid => {
                self.restart_iscsid();
                exit(0, "")
            }
            Op::Probe { targets, .. } => {
                OpResult::Probed(targets.iter().map(|t| (t.pv.clone(), self.probe(t))).collect())
            }
            _ => self.lvm(op),
        }
    }

    fn lvm(&mut self, op: &Op) -> OpResult {
        if !self.visible(A) && !self.visible(B) {
            return exit(5, "Volume group \"vg0\" not found");
        }
        let partial = [A, B].into_iter().any(|s| self.missing[s] || !self.visible(s));
        let server = |pv: &PvUuid| [A, B].into_iter().find(|s| Self::pv(*s) == *pv).unwrap();
        match op {
            Op::RestoreMissing { pv, .. } => {
                if !self.visible(server(pv)) {
                    return exit(5, "PV not found");
                }
                self.missing[server(pv)] = false;
                self.seqno += 1;
                exit(0, "")
            }
            Op::Quarantine { pv, lvs, also, unflag, .. } => {
                let on: Vec<usize> = also.iter().chain([pv]).map(server).collect();
                let off: Vec<usize> = unflag.iter().map(server).collect();
                self.write_mostly(lvs, &on, &off, partial)
            }
            Op::Release { pv, lvs, reflag, .. } => {
                let off = [server(pv)];
                let on: Vec<usize> = reflag.iter().map(server).collect();
                self.write_mostly(lvs, &on, &off, partial)
            }
            Op::Check { lvs, .. } => self.scrub(lvs, SyncAction::Check, None, partial),
            Op::Repair { lv, .. } => self.scrub(std::slice::from_ref(lv), SyncAction::Repair, None, partial),
            Op::Rebuild { lv, pv, .. } => {
                self.scrub(std::slice::from_ref(lv), SyncAction::Recover, Some(server(pv)), partial)
            }
            Op::Resume { lv, .. } | Op::Requeue { lv, .. } => {
                let paths = self.paths();
                let Some(raid) = self.raids.iter_mut().find(|r| r.uuid == lv.uuid) else {
                    let mirror = self.mirrors.iter_mut().find(|m| m.uuid == lv.uuid);
                    mirror.into_iter().for_each(DmMirror::resume);
                    return exit(0, "");
                };
                if partial && !raid.suspended {
                    return exit(5, "Refusing refresh of partial LV");
                }
                raid.refresh(&paths);
                exit(0, "")
            }
            Op::ReaddLeg { lv, pv, .. } => {
                let (server, paths) = (server(pv), self.paths());
                let Some(mirror) = self.mirrors.iter_mut().find(|m| m.uuid == lv.uuid) else { return exit(5, "no LV") };
                let there = mirror.legs.iter().any(|leg| leg.server == server);
                match paths.dev(server) {
                    Some(dev) if !partial && !there => {
                        for leg in &mut mirror.legs {
                            leg.dev = paths.dev(leg.server).unwrap_or(leg.dev);
                        }
                        mirror.add_leg(server, dev);
                    }
                    _ => return exit(5, "Cannot add mirror image"),
                }
                self.write_metadata();
                exit(0, "")
            }
            Op::DropLeg { lv, pv, .. } => self.drop_legs(lv, &[server(pv)]),
            Op::DropDeadLeg { lv, .. } => {
                let legs = self.mirrors.iter().find(|m| m.uuid == lv.uuid).map(|m| m.legs.clone()).unwrap_or_default();
                // A PV that is flagged missing counts as failed, however well its disk does.
                let failed = legs.iter().filter(|leg| leg.dead || self.missing[leg.server]);
                let dead: Vec<usize> = failed.map(|leg| leg.server).collect();
                self.dmeventd = true;
                self.drop_legs(lv, &dead)
            }
            Op::Monitor { lv, .. } => {
                self.dmeventd = true;
                for mirror in self.mirrors.iter_mut().filter(|m| m.uuid == lv.uuid) {
                    (mirror.monitored, mirror.handle_errors) = (true, true);
                }
                self.news.push(mirrorkeeper_core::input::Input::Tick);
                exit(0, "")
            }
            _ => exit(3, "unknown command"),
        }
    }

    fn chosen<'a>(raids: &'a mut [Raid], lvs: &'a [LvRef]) -> impl Iterator<Item = &'a mut Raid> {
        raids.iter_mut().filter(|r| lvs.iter().any(|lv| lv.uuid == r.uuid))
    }

    fn write_mostly(&mut self, lvs: &[LvRef], on: &[usize], off: &[usize], partial: bool) -> OpResult {
        let paths = self.paths();
        if partial {
            return exit(5, "Cannot change partial LV");
        }
        if Self::chosen(&mut self.raids, lvs).any(|raid| !raid.idle()) {
            return exit(5, "Unable to change writemostly while it is not in-sync");
        }
        for raid in Self::chosen(&mut self.raids, lvs) {
            for leg in &mut raid.legs {
                leg.flagged = (leg.flagged || on.contains(&leg.server)) && !off.contains(&leg.server);
            }
            // The table is loaded before the sub-LVs are pointed at a new device (`facts/lab.md` A).
            raid.load(&paths, &mut self.broken);
            raid.repoint(&paths);
        }
        self.seqno += 1;
        exit(0, "")
    }

    fn scrub(&mut self, lvs: &[LvRef], action: SyncAction, rebuild: Option<usize>, partial: bool) -> OpResult {
        if partial {
            return exit(5, "Refusing on partial LV");
        }
        for raid in Self::chosen(&mut self.raids, lvs) {
            if !raid.idle() || raid.legs.iter().any(|l| l.health != LegHealth::InSync) {
                return exit(5, "Unable while it is not in-sync");
            }
            let leg = rebuild.and_then(|server| raid.legs.iter().position(|l| l.server == server));
            raid.begin(action.clone(), leg);
        }
        self.seqno += u64::from(rebuild.is_some());
        exit(0, "")
    }

    fn drop_legs(&mut self, lv: &LvRef, servers: &[usize]) -> OpResult {
        let Some(mirror) = self.mirrors.iter_mut().find(|m| m.uuid == lv.uuid) else { return exit(5, "no LV") };
        if servers.len() >= mirror.legs.len() {
            return exit(5, "Cannot remove all legs");
        }
        for server in servers {
            mirror.drop_leg(*server, &mut self.broken);
        }
        self.write_metadata();
        exit(0, "")
    }
}
