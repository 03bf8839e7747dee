//! The never-list: whatever a planner might come up with, these operations do not leave the engine.

mod offline;

use crate::bench::machine::{A, B, LUN, Machine, SECOND, uuid};
use mirrorkeeper_core::ids::{LvUuid, PvUuid, TargetKey, VgUuid};
use mirrorkeeper_core::ledger::{Cause, Ledger, Loss, Stage, TargetRecord, Trust};
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::notes::Looks;
use mirrorkeeper_core::observation::{KernelView, LegHealth, ScsiState, VgObs};
use mirrorkeeper_core::op::{LogKind, LvRef, Op, ProbeTarget, VgRef};
use mirrorkeeper_core::plan::{self, ProbeRun, Situation};
use mirrorkeeper_core::safety;
use mirrorkeeper_core::session::Targets;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::stamp::Stamps;
use mirrorkeeper_core::time::{Mono, Now, Wall};
use mirrorkeeper_core::topology::{self, Mirror};
use mirrorkeeper_core::trust::{self, Evidence};
use std::collections::{BTreeMap, BTreeSet};

/// Everything the check looks at, owned.
struct Stand {
    machine: Machine,
    ledger: Ledger,
    probe_age: u64,
    reported: bool,
    doctor: fn(&mut KernelView, &mut VgObs),
}

impl Stand {
    /// Healthy, adopted, and just probed.
    fn new() -> Self {
        let machine = Machine::new(&["r1"], &["testlv"]);
        let mut ledger = Ledger::empty("boot");
        let (kernel, vgs) = (machine.kernel_view(false), vgs(&machine));
        let mirrors = topology::join(&kernel, &vgs, &ledger);
        let (none, nobody) = (BTreeSet::new(), BTreeSet::new());
        let evidence = Evidence {
            mirrors: &mirrors,
            broken: &nobody,
            broke: &nobody,
            watched: &none,
            steady: &none,
            reported: true,
            vgs: &vgs,
            events: &BTreeMap::new(),
            settings: &Settings::default(),
            at: Wall(1),
        };
        trust::judge(&mut ledger, evidence);
        assert_eq!(ledger.mirrors.len(), 2);
        Self { machine, ledger, probe_age: 0, reported: true, doctor: |_, _| {} }
    }

    /// A leg is in doubt.
    fn doubt(mut self, lv: &str, server: usize, stage: Stage) -> Self {
        let record = self.ledger.mirrors.get_mut(&uuid(lv)).unwrap();
        let trust = Trust::Suspect { cause: Cause::Lost, since: Wall(1), stage, loss: Loss::default() };
        record.legs.get_mut(&Machine::pv(server)).unwrap().trust = trust;
        self
    }

    /// Leg `server` of r1 has failed in an honest way.
    fn dead(mut self, server: usize) -> Self {
        let raid = &mut self.machine.raids[0];
        raid.legs[server].health = LegHealth::Dead;
        raid.legs[1 - server].failed = 1 << server;
        raid.legs[1 - server].events += 4;
        self.doubt("r1", server, Stage::Unverified)
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn check(&self, op: &Op) -> Result<(), String> {
        let mut kernel = self.machine.kernel_view(false);
        let mut all = vgs(&self.machine);
        (self.doctor)(&mut kernel, all.get_mut(&Machine::vg()).unwrap());
        let mut ledger = self.ledger.clone();
        let now = Now { mono: Mono(self.machine.now), wall: Wall(self.machine.now), east: 0 };
        let mut targets = Targets::default();
        targets.records(self.machine.nodes(), now);
        targets.observe(&kernel, &mut ledger, &Settings::default(), now);
        let mirrors: BTreeMap<LvUuid, Mirror> = topology::join(&kernel, &all, &ledger);
        let order = plan::probe_order(&mirrors, &Machine::vg());
        let legs = [A, B].map(|server| {
            let pv = Machine::pv(server);
            let offset = |lv: &LvUuid| mirrors[lv].leg(&pv)?.superblock;
            let superblocks = order.get(&pv).into_iter().flatten().filter_map(offset).collect();
            let device = kernel.pv_links.get(&pv).map_or_else(Name::default, |link| link.name.clone());
            (pv.clone(), self.machine.probe(&ProbeTarget { pv, device, superblocks, disk: Name::default() }))
        });
        let at = Mono(self.machine.now - self.probe_age * SECOND);
        let probes: BTreeMap<VgUuid, ProbeRun> = [(
            Machine::vg(),
            ProbeRun { at, order, event_nrs: BTreeMap::new(), connections: BTreeMap::new(), legs: legs.into() },
        )]
        .into();
        let steady: BTreeSet<LvUuid> = mirrors.keys().cloned().collect();
        let servers = mirrorkeeper_core::servers::domains(targets.all.keys(), &BTreeMap::new());
        safety::check(
            op,
            &Situation {
                now,
                settings: &Settings::default(),
                kernel: &kernel,
                vgs: &all,
                reported: self.reported,
                ledger: &ledger,
                targets: &targets,
                servers: &servers,
                mirrors: &mirrors,
                steady: &steady,
                stuck_since: &BTreeMap::new(),
                keeping: &BTreeSet::new(),
                scrubs: &BTreeMap::new(),
                probes: &probes,
                hurry: &BTreeSet::new(),
                asked: &BTreeSet::new(),
                checks: &BTreeMap::new(),
                cancelled: &BTreeSet::new(),
                refused: &BTreeSet::new(),
                looks: &Looks::default(),
                stamps: &Stamps::default(),
                stamping: &BTreeMap::new(),
                answers: &BTreeMap::new(),
                machine_id: "machine",
            },
        )
    }

    #[track_caller]
    fn allows(&self, op: &Op) {
        assert_eq!(self.check(op), Ok(()), "{}", op.command_line());
    }

    #[track_caller]
    fn refuses(&self, op: &Op, rule: &str) {
        let verdict = self.check(op);
        assert!(verdict.as_ref().is_err_and(|why| why.contains(rule)), "{}: {verdict:?}", op.command_line());
    }
}

fn vgs(machine: &Machine) -> BTreeMap<VgUuid, VgObs> {
    machine.lvm_view().vgs.into_iter().map(|vg| (vg.uuid.clone(), vg)).collect()
}

fn vg() -> VgRef {
    VgRef { uuid: Machine::vg(), name: "vg0".into() }
}

fn lv(name: &str) -> LvRef {
    LvRef { uuid: uuid(name), name: name.into() }
}

fn quarantine(server: usize) -> Op {
    Op::Quarantine { vg: vg(), pv: Machine::pv(server), lvs: vec![lv("r1")], also: vec![], unflag: vec![] }
}

fn release(server: usize, reflag: Vec<PvUuid>) -> Op {
    Op::Release { vg: vg(), pv: Machine::pv(server), lvs: vec![lv("r1")], reflag }
}

fn rebuild(server: usize) -> Op {
    Op::Rebuild { vg: vg(), lv: lv("r1"), pv: Machine::pv(server) }
}

fn repair() -> Op {
    Op::Repair { vg: vg(), lv: lv("r1") }
}

fn restore() -> Op {
    Op::RestoreMissing { vg: vg(), pv: Machine::pv(B) }
}

fn readd(server: usize) -> Op {
    Op::ReaddLeg { vg: vg(), lv: lv("testlv"), pv: Machine::pv(server), log: LogKind::Core, log_pv: None, legs: 2 }
}

fn drop_leg(server: usize) -> Op {
    Op::DropLeg { vg: vg(), lv: lv("testlv"), pv: Machine::pv(server), legs: 1 }
}

fn tmo(seconds: Option<u32>) -> Op {
    Op::SetRecoveryTmo { sid: 1, target: Machine::target(A), seconds }
}

#[test]
fn no_lvm_command_while_a_device_is_blocked_or_another_one_is_at_work() {
    let busy = Stand::new().dead(B).with(|s| s.machine.left_over = vec!["lvm lvconvert".into()]);
    let stand = Stand::new().dead(B);
    stand.allows(&quarantine(B));
    let blocked = stand.with(|s| s.machine.session(A).disk_state = ScsiState::Blocked);
    for op in [quarantine(B), release(B, vec![]), repair(), rebuild(B), restore(), readd(B), drop_leg(B)] {
        blocked.refuses(&op, "blocked");
        busy.refuses(&op, "earlier run");
    }
}

#[test]
fn no_lvm_command_on_an_old_report() {
    let stand = Stand::new().dead(B).with(|s| s.reported = false);
    stand.refuses(&quarantine(B), "report");
}

#[test]
fn no_table_is_loaded_on_an_old_look_at_the_superblocks() {
    let stand = Stand::new().dead(B);
    let aged = stand.with(|s| s.probe_age = 11);
    aged.refuses(&quarantine(B), "not read just before");
    aged.refuses(&restore(), "not read just before");
}

#[test]
fn no_table_is_loaded_where_the_superblocks_disagree() {
    let mutual = Stand::new().dead(B).with(|s| s.machine.raids[0].legs[B].failed = 1);
    mutual.refuses(&quarantine(B), "split-brain");
    let elsewhere = Stand::new().dead(B).with(|s| s.machine.raids[0].legs[B].events = 99);
    elsewhere.refuses(&quarantine(B), "split-brain");
    let stale = Stand::new().dead(B).with(|s| {
        (s.machine.raids[0].legs[A].failed, s.machine.raids[0].legs[B].failed) = (0, 1);
    });
    stale.refuses(&quarantine(B), "stale-leg");
    let accused = Stand::new().doubt("r1", B, Stage::Verified).with(|s| s.machine.raids[0].legs[A].failed = 2);
    accused.refuses(&release(B, vec![]), "split-brain");
    accused.refuses(&rebuild(B), "split-brain");
    let resumed = Stand::new().dead(B).with(|s| {
        s.machine.raids[0].legs[B].failed = 1;
        s.machine.raids[0].suspended = true;
    });
    resumed.refuses(&Op::Resume { vg: vg(), lv: lv("r1") }, "split-brain");
}

#[test]
fn a_leg_of_a_held_raid_is_not_taken_back_for_somebody_else() {
    let mutual = Stand::new().dead(B).with(|s| s.machine.raids[0].legs[B].failed = 1);
    mutual.refuses(&restore(), "split-brain");
}

#[test]
fn the_last_readable_leg_is_never_flagged() {
    let last = Stand::new().dead(B).doubt("r1", A, Stage::Unverified);
    last.refuses(&quarantine(A), "would revive");
    let flagged = Stand::new().doubt("r1", A, Stage::Unverified).with(|s| {
        (s.machine.raids[0].legs[B].flagged, s.machine.raids[0].legs[B].table_flag) = (true, true);
    });
    flagged.refuses(&quarantine(A), "left to read from");
}

#[test]
fn a_trusted_leg_is_never_flagged() {
    Stand::new().refuses(&quarantine(B), "no suspect leg");
}

#[test]
fn a_leg_is_released_only_when_verified() {
    for stage in [Stage::Unverified, Stage::Mismatched] {
        Stand::new().doubt("r1", B, stage).refuses(&release(B, vec![]), "not verified");
    }
    Stand::new().doubt("r1", B, Stage::Verified).allows(&release(B, vec![]));
    Stand::new().refuses(&release(B, vec![]), "not verified");
}

#[test]
fn repair_never_copies_from_a_leg_in_doubt() {
    Stand::new().doubt("r1", B, Stage::Mismatched).allows(&repair());
    Stand::new().doubt("r1", A, Stage::Mismatched).refuses(&repair(), "copy from a suspect leg");
    Stand::new().doubt("r1", A, Stage::Mismatched).doubt("r1", B, Stage::Mismatched).refuses(&repair(), "suspect");
}

#[test]
fn rebuild_needs_a_live_leg_in_doubt_and_a_good_one() {
    Stand::new().doubt("r1", A, Stage::Mismatched).allows(&rebuild(A));
    Stand::new().dead(B).refuses(&rebuild(B), "not live");
    Stand::new().refuses(&rebuild(B), "no better leg");
    Stand::new().doubt("r1", A, Stage::Mismatched).doubt("r1", B, Stage::Mismatched).refuses(&rebuild(B), "no better");
}

#[test]
fn a_check_needs_a_steady_array() {
    Stand::new().dead(B).refuses(&Op::Check { vg: vg(), lvs: vec![lv("r1")] }, "not steady");
}

#[test]
fn lvconvert_repair_is_for_mirrors_with_a_dead_leg_only() {
    let drop_dead = |name| Op::DropDeadLeg { vg: vg(), lv: lv(name) };
    Stand::new().dead(B).refuses(&drop_dead("r1"), "mirror");
    Stand::new().refuses(&drop_dead("testlv"), "dead leg");
    Stand::new().with(|s| s.machine.mirrors[0].legs[B].dead = true).allows(&drop_dead("testlv"));
    let both = Stand::new().with(|s| s.machine.mirrors[0].legs.iter_mut().for_each(|leg| leg.dead = true));
    both.refuses(&drop_dead("testlv"), "dead leg");
}

#[test]
fn a_mirror_is_given_only_a_leg_that_it_lost() {
    Stand::new().refuses(&readd(B), "not a leg that");
    let lost =
        || Stand::new().doubt("testlv", B, Stage::Mismatched).with(|s| s.machine.mirrors[0].drop_leg(B, &mut vec![]));
    lost().allows(&readd(B));
    lost()
        .with(|s| s.machine.servers[B].content = crate::bench::machine::Content::Foreign)
        .refuses(&readd(B), "unreadable");
    lost().with(|s| s.probe_age = 11).refuses(&readd(B), "just before");
}

#[test]
fn a_mirror_never_drops_what_may_be_its_best_leg() {
    Stand::new().refuses(&drop_leg(B), "best");
    Stand::new()
        .doubt("testlv", A, Stage::Unverified)
        .doubt("testlv", B, Stage::Unverified)
        .refuses(&drop_leg(B), "best");
    let doubted = || Stand::new().doubt("testlv", B, Stage::Unverified);
    doubted().allows(&drop_leg(B));
    doubted().with(|s| s.probe_age = 11).refuses(&drop_leg(B), "just before");
}

#[test]
fn only_a_suspended_volume_is_resumed() {
    Stand::new().refuses(&Op::Resume { vg: vg(), lv: lv("r1") }, "not suspended");
}

#[test]
fn a_throttle_is_set_only_when_what_it_was_is_noted() {
    use mirrorkeeper_core::op::Throttle;
    let set = |throttle, value| Op::SetThrottle { throttle, value };
    Stand::new().refuses(&set(Throttle::Raid, 1000), "what it was before");
    let noted = Stand::new().with(|s| {
        let was = mirrorkeeper_core::wishes::Throttled { from: 200_000, set: 1000, earlier: 200_000 };
        s.ledger.wishes.throttles = [(Throttle::Raid, was), (Throttle::Mirror, was)].into();
    });
    noted.allows(&set(Throttle::Raid, 1000));
    noted.allows(&set(Throttle::Mirror, 1));
    for (throttle, value) in [(Throttle::Raid, 0), (Throttle::Mirror, 0), (Throttle::Mirror, 101)] {
        noted.refuses(&set(throttle, value), "stop copies");
    }
}

#[test]
fn the_timeout_of_a_last_good_copy_is_never_lowered() {
    let stand = Stand::new().dead(B).doubt("testlv", B, Stage::Unverified);
    stand.allows(&tmo(Some(600)));
    stand.refuses(&tmo(Some(5)), "no other leg that waits");
    let asked = stand.with(|s| {
        let fixed = TargetRecord { override_seconds: Some(5), ..TargetRecord::default() };
        s.ledger.targets.insert(Machine::target(B).name.clone(), fixed);
    });
    asked.refuses(&tmo(Some(5)), "last good copy");
    let nobody_proven = Stand::new().dead(B).doubt("r1", A, Stage::Unverified).doubt("testlv", B, Stage::Unverified);
    nobody_proven.refuses(&tmo(Some(5)), "last good copy");
}

#[test]
fn no_timeout_of_zero_and_none_of_a_session_that_is_gone() {
    Stand::new().refuses(&tmo(Some(0)), "0 fails");
    Stand::new().refuses(&Op::UpdateNode { target: Machine::target(A), seconds: 0 }, "0 fails");
    Stand::new().refuses(&Op::SetRecoveryTmo { sid: 99, target: Machine::target(A), seconds: Some(600) }, "session");
    Stand::new().with(|s| s.machine.lose_session(A)).refuses(&tmo(Some(600)), "session");
}

#[test]
fn no_login_where_a_session_is() {
    let login = Op::Login { target: Machine::target(A) };
    Stand::new().refuses(&login, "has a session");
    Stand::new().with(|s| s.machine.lose_session(A)).allows(&login);
}

#[test]
fn no_connection_is_cleared_that_iscsid_may_have_back() {
    let clear = |s: &Stand| Op::ClearConnection {
        sid: s.machine.sessions[B].as_ref().map_or(9, |s| s.sid),
        target: Machine::target(B),
    };
    let up = Stand::new();
    up.refuses(&clear(&up), "iscsid's business");
    let down = Stand::new().with(|s| s.machine.down(B, true));
    down.refuses(&clear(&down), "iscsid's business");
}

#[test]
fn no_leg_is_revived_on_a_lun_of_another_size() {
    let stand = Stand::new().dead(B).with(|s| s.machine.servers[B].size = LUN * 2);
    stand.refuses(&quarantine(B), "identity-mismatch");
    stand.refuses(&restore(), "identity-mismatch");
}

#[test]
fn nothing_that_goes_by_another_name_or_is_not_ours() {
    let stand = Stand::new().dead(B);
    let renamed = Op::Quarantine {
        vg: vg(),
        pv: Machine::pv(B),
        lvs: vec![LvRef { uuid: uuid("r1"), name: "r2".into() }],
        also: vec![],
        unflag: vec![],
    };
    stand.refuses(&renamed, "another name");
    let vg_renamed = VgRef { name: "vg9".into(), ..vg() };
    let op = Op::Quarantine {
        vg: vg_renamed.clone(),
        pv: Machine::pv(B),
        lvs: vec![lv("r1")],
        also: vec![],
        unflag: vec![],
    };
    stand.refuses(&op, "another name");
    stand.refuses(&Op::RestoreMissing { vg: vg_renamed, pv: Machine::pv(B) }, "another name");
    let unknown = Op::Check { vg: vg(), lvs: vec![lv("nobody")] };
    stand.refuses(&unknown, "not known");
    stand.refuses(&Op::RestoreMissing { vg: vg(), pv: uuid("pvx") }, "no leg of ours");
    let unmanaged = Stand::new().dead(B).with(|s| s.doctor = |_, vg| vg.exported = true);
    unmanaged.refuses(&quarantine(B), "not ours");
    unmanaged.refuses(&restore(), "not ours");
}

#[test]
fn no_name_with_a_control_character_reaches_a_command_line() {
    for evil in ["iqn.x\nnode.startup", "iqn.\u{0}x", "iqn.\u{1b}[2J"] {
        let target = TargetKey::new(evil, "10.0.0.1", 3260, "default");
        Stand::new().refuses(&Op::Login { target }, "control character");
    }
}

#[test]
fn no_name_that_reads_as_an_option() {
    let target = TargetKey::new("--logout", "10.0.0.1", 3260, "default");
    Stand::new().refuses(&Op::Login { target }, "never-list");
    let evil = VgRef { name: "--force".into(), ..vg() };
    Stand::new().refuses(&Op::RestoreMissing { vg: evil, pv: Machine::pv(B) }, "never-list");
}
