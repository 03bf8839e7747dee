//! Operations of the daemon: how long they take, how they go wrong, what they do to the machine; and the promises that are
//! looked at when one is begun. Facts: `facts/lab.md` A, 10, 11, head.

use super::clock::{Happening, SECOND};
use super::content::{Kind, Label};
use super::lvm::Answer;
use super::session::{Scsi, State, Way};
use super::truth_keeper::Actor;
use super::volume::{Action, Health, Live};
use super::world::World;
use mirrorkeeper_core::ids::{OpId, PvUuid};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::ledger::Trust;
use mirrorkeeper_core::observation::{ProbedIdentity, ProbedSuperblock, Registration};
use mirrorkeeper_core::op::{LogKind, LvRef, OnDeadline, Op, OpResult};

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It does nothing and exits with that code.
    Exit(i32),
    /// It does everything and exits with that code all the same.
    Lies(i32),
    /// It does the first of several volumes and exits with 5.
    Partial,
    /// It cannot be run.
    Fail,
    /// It takes that many seconds more.
    Slow(u64),
    /// It is killed after the first suspend.
    KilledSuspended,
}

/// An operation under way.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) number: u32,
    pub(super) run: u32,
    pub(super) id: OpId,
    pub(super) op: Op,
    pub(super) trouble: Option<Trouble>,
    pub(super) begun: u64,
    /// It waits for a disk.
    pub(super) waits: bool,
}

/// Words that no command line may hold.
const NEVER: &[&str] = &[
    "--force",
    "-f",
    "-ff",
    "-yf",
    "--removemissing",
    "--resync",
    "--devices",
    "--logout",
    "partial",
    "pvcreate",
    "pvremove",
    "vgcfgrestore",
    "vgremove",
    "lvremove",
    "vgreduce",
];

fn exit(answer: Answer) -> OpResult {
    match answer {
        Ok(()) => OpResult::Exit { code: 0, last_line: String::new() },
        Err(line) => OpResult::Exit { code: 5, last_line: line.to_owned() },
    }
}

impl World {
    pub(super) fn start(&mut self, id: OpId, op: Op) {
        self.note(|_| format!("> {}", op.command_line()));
        self.look_at_start(&op);
        self.look_at_roles(&op);
        let named = self.daemon.faults.iter().position(|(code, _)| *code == op.code());
        let trouble = named.and_then(|i| self.daemon.faults.remove(i)).map(|(_, trouble)| trouble);
        let trouble = trouble.or_else(|| self.some_trouble(&op));
        if trouble.is_some() {
            self.daemon.troubled_at = Some(self.now);
            self.note(|_| format!("  goes wrong: {trouble:?}"));
        }
        let mut takes = match &op {
            Op::Fence { .. } => self.rng.between(300, 700) * SECOND / 1000,
            Op::SetRecoveryTmo { .. }
            | Op::SetDetect { .. }
            | Op::SampleSocket { .. }
            | Op::DestroySocket { .. }
            | Op::ReadDirect { .. }
            | Op::ClearConnection { .. }
            | Op::SetOffline { .. }
            | Op::SetRunning { .. }
            | Op::Rescan { .. } => SECOND / 1000,
            Op::Knock { .. } => SECOND / 10,
            Op::Login { .. } | Op::StartIscsid => SECOND,
            op if op.writes_vg().is_some() => self.rng.between(800, 2000) * SECOND / 1000,
            _ => self.rng.between(100, 400) * SECOND / 1000,
        };
        if let Some(Trouble::Slow(seconds)) = trouble {
            takes += seconds * SECOND;
        }
        let number = self.daemon.next_job;
        self.daemon.next_job += 1;
        let deadline = u64::try_from(op.deadline().as_micros()).unwrap_or(u64::MAX);
        self.queue.at(self.now + takes, Happening::OpEnds { job: number });
        self.queue.at(self.now.saturating_add(deadline), Happening::Deadline { job: number });
        if self.daemon.record {
            self.daemon.ran.push(super::daemon::Ran { at: self.now, op: op.clone() });
        }
        let (run, begun) = (self.daemon.run, self.now);
        self.daemon.jobs.push(Job { number, run, id, op, trouble, begun, waits: false });
    }

    /// The promises about what is begun.
    fn look_at_start(&mut self, op: &Op) {
        let Some(vg) = op.writes_vg() else { return };
        let code = op.code();
        // What the kernel said before the daemon last looked.
        let seen = |s: &super::session::Session| s.state == State::Failed && s.since < self.daemon.looked_at;
        let blocked = self.sessions.iter().flatten().filter(|s| seen(s)).flat_map(|s| &s.disks);
        let blocked = blocked.filter(|disk| disk.state == Scsi::Blocked).count();
        let run = self.daemon.run;
        let second = self.daemon.jobs.iter().any(|job| job.run == run && job.op.writes_vg() == Some(vg));
        let line = op.command_line();
        // An activation writes no metadata.
        let hides = |word: &str| word == "--devices" && matches!(op, Op::Activate { .. });
        let never = NEVER.iter().find(|word| line.split(' ').any(|w| w == **word) && !hides(word));
        let on_raid = matches!(op, Op::DropDeadLeg { .. })
            && op
                .lvs()
                .iter()
                .filter_map(|lv| self.volume_by_uuid(&lv.uuid))
                .any(|v| self.volumes[v].live == Live::Raid);
        let live = |v: usize, pv: &PvUuid| {
            let pv = self.local_pv(pv).map(|(_, pv)| pv);
            let leg = self.volumes[v].legs.iter().find(|leg| Some(leg.pv) == pv);
            leg.is_some_and(|leg| leg.health == Health::Alive)
        };
        let on_dead = match op {
            Op::Rebuild { lv, pv, .. } => self.volume_by_uuid(&lv.uuid).is_some_and(|v| !live(v, pv)),
            _ => false,
        };
        let unjustified = self.unjustified(op);
        let on_disk = self.daemon.ledger().map(|ledger| ledger.generation);
        let unsaved = self.daemon.asked_to_save.is_some_and(|asked| Some(asked) != on_disk);
        if blocked > 0 {
            self.violate(format!("{code}: an LVM command is begun while a disk is blocked"));
        }
        if second {
            self.violate(format!("{code}: a second writer in one VG"));
        }
        if let Some(word) = never {
            self.violate(format!("{code}: `{word}` is on the never-list"));
        }
        if on_raid {
            self.violate(format!("{code}: lvconvert --repair on a raid volume"));
        }
        if on_dead {
            self.violate(format!("{code}: rebuild of a leg that is not live"));
        }
        if unsaved {
            self.violate(format!("{code}: begun before the ledger that was to be saved is on disk"));
        }
        if let Some(name) = unjustified {
            self.violate(format!("{code}: the ledger on disk does not say why {name} needs it"));
        }
    }

    /// A leg that is to be revived, filled or dropped without the ledger on disk doubting it.
    fn unjustified(&self, op: &Op) -> Option<String> {
        let pv = match op {
            Op::Quarantine { pv, .. } | Op::Rebuild { pv, .. } | Op::ReaddLeg { pv, .. } | Op::DropLeg { pv, .. } => pv,
            _ => return None,
        };
        let doubted = |lv: &LvRef| {
            let leg = self.daemon.ledger()?.mirrors.get(&lv.uuid)?.legs.get(pv)?;
            Some(leg.trust != Trust::Trusted)
        };
        op.lvs().iter().find(|lv| doubted(lv) != Some(true)).map(|lv| lv.name.to_string())
    }

    /// Commands that wait for a disk look again.
    pub(super) fn wake_waiting(&mut self) {
        if self.daemon.jobs.iter().all(|job| !job.waits) {
            return;
        }
        for n in 0..self.daemon.jobs.len() {
            if self.daemon.jobs[n].waits && !self.must_wait(&self.daemon.jobs[n].op) {
                self.daemon.jobs[n].waits = false;
                let job = self.daemon.jobs[n].number;
                self.queue.at(self.now + SECOND / 4, Happening::OpEnds { job });
            }
        }
    }

    fn must_wait(&self, op: &Op) -> bool {
        let waits = |name: &str| self.disks().any(|disk| *disk.name == *name && self.way(Some(disk.id)) == Way::Waits);
        match op {
            Op::Probe { targets, .. } => targets.iter().any(|target| waits(&target.device)),
            Op::Flush { devices, .. } => devices.iter().any(|device| waits(device)),
            Op::Register { disk, .. }
            | Op::Unregister { disk, .. }
            | Op::ReadDirect { disk, .. }
            | Op::Rescan { disk } => waits(disk),
            op => op.writes_vg().is_some() && self.any_waits(),
        }
    }

    pub(super) fn deadline(&mut self, number: u32) {
        let Some(n) = self.daemon.jobs.iter().position(|job| job.number == number) else { return };
        let job = &self.daemon.jobs[n];
        let (run, id) = (job.run, job.id);
        if job.op.on_deadline() == OnDeadline::Kill {
            self.daemon.jobs.swap_remove(n);
        }
        self.answer(run, id, OpResult::TimedOut);
    }

    fn answer(&mut self, run: u32, id: OpId, result: OpResult) {
        if run == self.daemon.run && self.daemon.engine.is_some() {
            self.daemon.inputs.push_back(Input::OpEnded(id, result));
        }
    }

    pub(super) fn op_ends(&mut self, number: u32) {
        let Some(n) = self.daemon.jobs.iter().position(|job| job.number == number) else { return };
        if self.must_wait(&self.daemon.jobs[n].op) {
            self.daemon.jobs[n].waits = true;
            return;
        }
        let job = self.daemon.jobs.swap_remove(n);
        self.daemon.acting = job.begun;
        let result = match job.trouble {
            Some(Trouble::Exit(code)) => OpResult::Exit { code, last_line: "injected".to_owned() },
            Some(Trouble::Fail) => OpResult::Failed("injected".to_owned()),
            Some(Trouble::Lies(code)) => {
                let _done = self.perform(&job.op, usize::MAX);
                OpResult::Exit { code, last_line: "injected".to_owned() }
            }
            Some(Trouble::Partial) => {
                let _done = self.perform(&job.op, 1);
                OpResult::Exit { code: 5, last_line: "injected".to_owned() }
            }
            Some(Trouble::KilledSuspended) => {
                self.killed_suspended(&job.op);
                OpResult::Exit { code: 137, last_line: "killed".to_owned() }
            }
            Some(Trouble::Slow(_)) | None => self.perform(&job.op, usize::MAX),
        };
        self.note(|w| format!("  {} → {}", job.op.code(), w.told(&result)));
        self.answer(job.run, job.id, result);
    }

    /// A result in a few words.
    fn told(&self, result: &OpResult) -> String {
        let leg = |probe: &mirrorkeeper_core::observation::LegProbe| {
            let who = match &probe.identity {
                ProbedIdentity::Pv { metadata: Some(text), .. } => {
                    format!("seqno {} missing {} stamps {:?}", text.seqno, text.missing.len(), text.stamps)
                }
                other => format!("{other:?}"),
            };
            let supers = probe.superblocks.iter().map(|sb| match sb {
                ProbedSuperblock::Found(sb) => format!("{}/{:#x}", sb.events, sb.failed_devices),
                other => format!("{other:?}"),
            });
            let keys = match &probe.registration {
                Registration::Keys { generation, keys, .. } => format!("{generation}/{}", keys.len()),
                Registration::Unknown(_) => "-".to_owned(),
            };
            format!("[{who} sb {} keys {keys}]", supers.collect::<Vec<_>>().join(" "))
        };
        match result {
            OpResult::Probed(legs) => {
                let legs = legs.iter().map(|(pv, probe)| format!("{} {}", &pv.as_str()[..6], leg(probe)));
                legs.collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    /// The metadata may be written, the tables are suspended.
    fn killed_suspended(&mut self, op: &Op) {
        let pv = op.pv().and_then(|pv| self.local_pv(pv)).map_or(0, |(_, pv)| 1_u32 << pv);
        for volume in op.lvs().iter().filter_map(|lv| self.volume_by_uuid(&lv.uuid)).collect::<Vec<_>>() {
            let (vg, lv) = (self.volumes[volume].vg, self.volumes[volume].lv);
            if matches!(op, Op::Quarantine { .. }) && self.rng.chance(50) {
                self.write_text(vg, |text| text.lvs[lv].write_mostly |= pv);
            }
            if matches!(self.volumes[volume].live, Live::Raid | Live::Mirror) {
                self.volumes[volume].suspended = true;
                self.note(|w| format!("  {}: left suspended", w.volumes[volume].names.full));
            }
        }
        self.poke();
    }

    /// VG and number of a PV.
    fn local_pv(&self, pv: &PvUuid) -> Option<(usize, usize)> {
        let lun = &self.luns[self.lun_by_pv(pv)?];
        Some((lun.vg, lun.pv))
    }

    fn perform(&mut self, op: &Op, most: usize) -> OpResult {
        match op {
            Op::Probe { targets, .. } => {
                OpResult::Probed(targets.iter().map(|target| (target.pv.clone(), self.probe(target))).collect())
            }
            Op::Login { target } => self.perform_login(target),
            Op::SetRecoveryTmo { sid, seconds, .. } => {
                match self.sessions.iter_mut().flatten().find(|s| s.sid == *sid) {
                    Some(session) if session.state == State::LoggedIn => {
                        (session.tmo, session.answered) = (*seconds, None);
                        self.poke();
                        OpResult::Wrote
                    }
                    _ => OpResult::Failed("EBUSY".to_owned()),
                }
            }
            Op::SetDetect { sid, millis, .. } => OpResult::Detect(self.set_detect(*sid, *millis)),
            Op::SampleSocket { sid, .. } => self.sample_socket(*sid),
            Op::DestroySocket { sid, seen, .. } => self.destroy_socket(*sid, *seen),
            Op::ReadDirect { disk, .. } => self.read_direct(disk),
            Op::Knock { target, .. } => self.knock(target),
            Op::ClearConnection { sid, .. } => self.clear_connection(*sid),
            Op::Fence { sid, .. } => self.fence(*sid),
            Op::UpdateNode { target, seconds } => {
                let server = self.targets.iter().position(|t| t == target);
                server.into_iter().for_each(|server| self.servers[server].record = *seconds);
                exit(Ok(()))
            }
            Op::Rescan { disk } | Op::Announce { disk } | Op::SetOffline { disk } | Op::SetRunning { disk } => {
                self.perform_on_disk(op, disk)
            }
            Op::StartIscsid => {
                self.restart_iscsid();
                exit(Ok(()))
            }
            Op::Flush { devices, .. } => {
                let here = |d: &&super::session::Disk| devices.contains(&d.name);
                let luns: Vec<usize> = self.disks().filter(here).map(|disk| disk.lun).collect();
                luns.into_iter().for_each(|lun| self.luns[lun].flush());
                exit(Ok(()))
            }
            Op::Register { disk, key, .. } => self.register(disk, Some(*key), *key),
            Op::Unregister { disk, key, .. } => self.register(disk, None, *key),
            op => exit(self.lvm(op, most)),
        }
    }

    fn perform_login(&mut self, target: &mirrorkeeper_core::ids::TargetKey) -> OpResult {
        let Some(server) = self.targets.iter().position(|t| t == target) else {
            return OpResult::Exit { code: 21, last_line: "no records found".to_owned() };
        };
        let host = &self.servers[server];
        let code = match (host.answers(), host.target_gone, host.login_code) {
            (false, ..) => return OpResult::NoAnswer("connection timed out".to_owned()),
            (true, true, _) => 19,
            (true, false, code) => code,
        };
        if code != 0 {
            return OpResult::Exit { code, last_line: "login failed".to_owned() };
        }
        if self.sessions[server].is_some() {
            return OpResult::Exit { code: 15, last_line: "session exists".to_owned() };
        }
        self.login(server);
        exit(Ok(()))
    }

    fn perform_on_disk(&mut self, op: &Op, name: &str) -> OpResult {
        let found = self.disks().find(|disk| *disk.name == *name).map(|disk| (disk.id, disk.lun));
        let Some((id, lun)) = found else { return OpResult::Failed("No such file or directory".to_owned()) };
        let (size, label) = (self.luns[lun].cached.size, self.luns[lun].cached.label);
        let works = self.way(Some(id)) == Way::Works;
        let up =
            self.sessions.iter().flatten().any(|s| s.state == State::LoggedIn && s.disks.iter().any(|d| d.id == id));
        let Some(disk) = self.sessions.iter_mut().flatten().flat_map(|s| &mut s.disks).find(|disk| disk.id == id)
        else {
            return OpResult::Failed("No such device".to_owned());
        };
        match op {
            Op::Rescan { .. } if works => disk.size = size,
            Op::Announce { .. } if works => {
                disk.link = match label {
                    Label::Pv(pv) => Some(pv),
                    _ => None,
                };
            }
            Op::SetOffline { .. } => disk.state = Scsi::Offline,
            Op::SetRunning { .. } if up => disk.state = Scsi::Running,
            Op::SetRunning { .. } => return OpResult::Failed("Invalid argument".to_owned()),
            _ => {}
        }
        self.poke();
        if matches!(op, Op::SetOffline { .. } | Op::SetRunning { .. }) {
            self.paths_changed(Actor::Daemon);
        }
        if matches!(op, Op::Announce { .. }) { exit(Ok(())) } else { OpResult::Wrote }
    }

    fn register(&mut self, name: &str, add: Option<u64>, key: u64) -> OpResult {
        let found = self.disks().find(|disk| *disk.name == *name);
        let Some(lun) = found.filter(|disk| self.way(Some(disk.id)) == Way::Works).map(|disk| disk.lun) else {
            return OpResult::Failed("Input/output error".to_owned());
        };
        let keys = &mut self.luns[lun].keys;
        if keys.supported {
            keys.keys.retain(|known| *known != key);
            keys.keys.extend(add);
            keys.generation += 1;
        }
        OpResult::Registered(self.registration(lun))
    }

    fn lvm(&mut self, op: &Op, most: usize) -> Answer {
        let actor = Actor::Daemon;
        let vg = op.writes_vg().and_then(|uuid| self.vgs.iter().position(|vg| vg.uuid == *uuid));
        let vg = vg.ok_or("Volume group not found")?;
        self.merged(vg).ok_or("Volume group not found")?;
        let pv = op.pv().and_then(|pv| self.local_pv(pv)).map(|(_, pv)| pv);
        let bits =
            |pvs: &[PvUuid]| pvs.iter().filter_map(|pv| self.local_pv(pv)).fold(0_u32, |mask, (_, pv)| mask | 1 << pv);
        match op {
            Op::RestoreMissing { .. } => return self.restore_missing(vg, pv.ok_or("no such PV")?),
            Op::Stamp { add, drop, .. } => {
                self.write_text(vg, |text| {
                    text.stamps.retain(|stamp| !drop.contains(stamp) && stamp != add);
                    text.stamps.push(*add);
                });
                return Ok(());
            }
            Op::Unstamp { drop, .. } => {
                self.write_text(vg, |text| text.stamps.retain(|stamp| !drop.contains(stamp)));
                return Ok(());
            }
            _ => {}
        }
        let (on, off) = match op {
            Op::Quarantine { also, unflag, .. } => (pv.map_or(0, |pv| 1 << pv) | bits(also), bits(unflag)),
            Op::Release { reflag, .. } => (bits(reflag), pv.map_or(0, |pv| 1 << pv)),
            _ => (0, 0),
        };
        let mut answer = Ok(());
        for volume in op.lvs().iter().take(most).filter_map(|lv| self.volume_by_uuid(&lv.uuid)).collect::<Vec<_>>() {
            let one = match op {
                Op::Quarantine { .. } | Op::Release { .. } => self.write_mostly(volume, on, off, actor),
                Op::Resume { .. } | Op::Requeue { .. } => self.refresh(volume, actor),
                Op::Check { .. } => self.sync_action(volume, Action::Check, actor),
                Op::Repair { .. } => self.sync_action(volume, Action::Repair, actor),
                Op::Rebuild { .. } => self.rebuild(volume, pv.ok_or("no such PV")?, actor),
                Op::ReaddLeg { log, .. } => {
                    let kind = if *log == LogKind::Bitmap { Kind::Raid1 } else { Kind::Mirror };
                    self.convert_up(volume, pv.ok_or("no such PV")?, kind, actor)
                }
                Op::DropLeg { .. } => self.convert_down(volume, pv.ok_or("no such PV")?, actor),
                Op::DropDeadLeg { .. } => {
                    self.dmeventd = true;
                    // The leg it leaves may be in doubt by now, and nothing but metadata tells the other one from it.
                    self.volumes[volume].excused |= self.overtaken();
                    if self.drop_dead(volume, actor) { Ok(()) } else { Err("nothing to repair") }
                }
                Op::Monitor { .. } => {
                    self.monitor(volume);
                    Ok(())
                }
                Op::Activate { on, .. } => {
                    let seen = on.iter().filter_map(|pv| self.lun_by_pv(pv)).fold(0_u32, |mask, lun| mask | 1 << lun);
                    self.daemon.shows = Some(seen).filter(|_| !on.is_empty());
                    let done = self.activate(volume, !on.is_empty(), actor);
                    self.daemon.shows = None;
                    done
                }
                Op::Deactivate { .. } => self.deactivate(volume),
                Op::SetAutoactivation { on, .. } => {
                    let lv = self.volumes[volume].lv;
                    self.write_text(vg, |text| text.lvs[lv].autoactivation = *on);
                    Ok(())
                }
                _ => Err("unknown command"),
            };
            answer = answer.and(one);
        }
        answer
    }

    /// `lvchange --monitor y`: dmeventd is started through its socket.
    pub(super) fn monitor(&mut self, volume: usize) {
        self.dmeventd = true;
        (self.volumes[volume].monitored, self.volumes[volume].handle_errors) = (true, true);
        self.foresee_dmeventd(volume);
        self.poke();
    }
}
