//! When in doubt: the right hold, and no command.

use crate::bench::Bench;
use crate::bench::machine::{A, B, Content, LUN, Machine, uuid};
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeper_core::observation::{LegHealth, VgObs};
use mirrorkeeper_core::words::{Hold, LegState, UnmanagedReason};

/// Leg B is lost; then something is done to it; then it is back.
fn back_changed(raids: &[&str], mirrors: &[&str], change: impl Fn(&mut Machine)) -> Bench {
    let mut bench = Bench::settled(raids, mirrors);
    bench.machine.down(B, true);
    bench.run_for(200);
    change(&mut bench.machine);
    bench.forget();
    bench.machine.back(B);
    bench
}

#[track_caller]
fn held(hold: Hold, leg: LegState, change: impl Fn(&mut Machine)) {
    let mut bench = back_changed(&["r1"], &[], change);
    bench.run_until_held(120, "r1", hold);
    assert!(bench.writes().is_empty(), "{}", bench.story());
    assert_eq!(bench.mirror("r1").legs[B].state, leg, "{}", bench.story());
    let reply = bench.command(Command::Heal { mirror: Bench::uuid("r1"), uid: 0 });
    assert!(matches!(reply, Ok(_) | Err(Refusal::Held(_))), "{reply:?}");
    bench.run_for(60);
    assert!(bench.writes().is_empty(), "Heal() overruled the hold\n{}", bench.story());
}

#[test]
fn mutual_accusation_is_a_split_brain() {
    held(Hold::SplitBrain, LegState::Stale, |m| {
        (m.raids[0].legs[B].events, m.raids[0].legs[B].failed) = (32, 1);
    });
}

#[test]
fn a_returned_leg_that_went_on_elsewhere_is_a_split_brain() {
    held(Hold::SplitBrain, LegState::Stale, |m| m.raids[0].legs[B].events = 35);
}

#[test]
fn an_accused_survivor_is_stale() {
    held(Hold::StaleLeg, LegState::Stale, |m| {
        m.raids[0].legs[0].failed = 0;
        m.raids[0].legs[B].failed = 1;
    });
}

#[test]
fn nobody_accusing_anybody_is_no_history() {
    held(Hold::NoHistory, LegState::Stale, |m| m.raids[0].legs[0].failed = 0);
}

#[test]
fn metadata_of_another_machine_on_the_survivor_is_a_split_brain() {
    held(Hold::SplitBrain, LegState::Stale, |m| m.servers[A].written_elsewhere = Some(m.seqno + 2));
}

#[test]
fn metadata_written_under_an_earlier_name_is_our_own() {
    let mut bench = back_changed(&["r1"], &[], |_| {});
    bench.machine.node = "renamed";
    bench.run_until_redundant(120);
}

#[test]
fn zeros_are_a_blank_device() {
    held(Hold::BlankDevice, LegState::Foreign, |m| m.servers[B].content = Content::Blank);
}

#[test]
fn other_content_is_an_identity_mismatch() {
    held(Hold::IdentityMismatch, LegState::Foreign, |m| m.servers[B].content = Content::Foreign);
    held(Hold::IdentityMismatch, LegState::Foreign, |m| m.servers[B].content = Content::OtherPv);
}

#[test]
fn another_size_is_an_identity_mismatch() {
    held(Hold::IdentityMismatch, LegState::Foreign, |m| m.servers[B].size = LUN / 2);
    held(Hold::IdentityMismatch, LegState::Foreign, |m| m.servers[B].size = LUN * 2);
}

#[test]
fn a_leg_in_use_on_a_lun_of_another_size_is_kept_from_reads() {
    let cases = [("r1", "quarantine", Hold::IdentityMismatch), ("testlv", "set-offline", Hold::NeedsOperator)];
    for (lv, code, hold) in cases {
        let raids: &[&str] = if lv == "r1" { &["r1"] } else { &[] };
        let mirrors: &[&str] = if lv == "r1" { &[] } else { &["testlv"] };
        let mut bench = Bench::settled(raids, mirrors);
        // Back before the leg is given up.
        bench.machine.down(B, true);
        bench.machine.servers[B].size = LUN * 2;
        bench.forget();
        bench.machine.back(B);
        bench.run_until(60, code, |b| !b.times(code).is_empty());
        bench.run_for(300);
        assert_eq!(bench.times(code).len(), 1, "{}", bench.story());
        let all = ["quarantine", "set-offline", "drop-leg", "check", "release"];
        assert_eq!(all.iter().map(|code| bench.times(code).len()).sum::<usize>(), 1, "{}", bench.story());
        assert_eq!(bench.mirror(lv).hold, Some(hold), "{}", bench.story());
    }
}

#[test]
fn no_other_leg_is_revived_beside_one_that_is_kept_from_reads() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    bench.machine.down(B, true);
    bench.machine.servers[B].size = LUN * 2;
    let raid = &mut bench.machine.raids[0];
    (raid.legs[B].health, raid.legs[A].failed) = (LegHealth::Dead, 1 << B);
    raid.legs[A].events += 4;
    bench.run_for(2);
    bench.forget();
    bench.machine.back(B);
    bench.run_until(60, "quarantine", |b| !b.times("quarantine").is_empty());
    bench.run_for(300);
    let dead = bench.machine.raids[0].legs[B].health == LegHealth::Dead;
    assert!(dead && !bench.machine.raids[0].legs[B].flagged, "{}", bench.story());
    assert!(bench.machine.raids[1].legs[B].flagged, "{}", bench.story());
}

#[test]
fn a_held_volume_holds_the_others_on_its_pv() {
    let mut bench = back_changed(&["r1", "r2"], &[], |m| {
        (m.raids[0].legs[B].events, m.raids[0].legs[B].failed) = (32, 1);
    });
    bench.run_until_held(120, "r2", Hold::SplitBrain);
    assert!(bench.writes().is_empty(), "{}", bench.story());
}

#[test]
fn a_held_raid_holds_the_mirror_on_its_pv() {
    let mut bench = back_changed(&["r1"], &["testlv"], |m| {
        (m.raids[0].legs[B].events, m.raids[0].legs[B].failed) = (32, 1);
    });
    assert!(bench.machine.missing[B], "dmeventd wrote the metadata without it");
    bench.run_until(120, "r1 held", |b| b.mirror("r1").hold == Some(Hold::SplitBrain));
    bench.run_for(300);
    assert!(bench.writes().is_empty(), "the MISSING flag protects r1\n{}", bench.story());
    assert_eq!(bench.mirror("testlv").hold, Some(Hold::SplitBrain));
}

#[test]
fn a_hold_is_told_once_and_its_end_too() {
    use mirrorkeeper_core::words::EventCode as E;
    let mut bench = back_changed(&["r1"], &[], |m| m.servers[B].content = Content::Blank);
    bench.run_until_held(120, "r1", Hold::BlankDevice);
    bench.run_for(600);
    assert_eq!(bench.codes().iter().filter(|c| **c == E::Held).count(), 1, "{}", bench.story());
    bench.machine.down(B, true);
    bench.run_for(150);
    bench.machine.servers[B].content = Content::Own;
    bench.machine.back(B);
    bench.run_until_redundant(200);
    assert!(bench.codes().contains(&E::Released));
}

#[test]
fn a_hold_stays_while_lvm_is_asked_anew() {
    let mut bench = back_changed(&["r1"], &[], |m| (m.raids[0].legs[B].events, m.raids[0].legs[B].failed) = (32, 1));
    bench.run_until_held(120, "r1", Hold::SplitBrain);
    bench.command(Command::Rescan).expect("looking is always allowed");
    assert_eq!(bench.mirror("r1").hold, Some(Hold::SplitBrain), "{}", bench.story());
    let plan = bench.command(Command::PlanHeal { mirror: Bench::uuid("r1") });
    let Ok(Reply::Plan(steps)) = plan else { panic!("{plan:?}") };
    assert!(steps.iter().all(|step| step.argv.is_empty()), "{steps:?}");
    let keep = bench.mirror("r1").legs[0].pv.clone();
    let keep = mirrorkeeper_core::ids::PvUuid::parse(&keep).expect("a PV UUID");
    let reply = bench.command(Command::Resolve { mirror: Bench::uuid("r1"), keep, uid: 0 });
    assert!(matches!(reply, Ok(Reply::Job(_))), "a choice may come at any moment: {reply:?}");
    assert_eq!(bench.mirror("r1").hold, None, "decided");
}

#[test]
fn an_unmanaged_volume_is_shown_with_its_reason_and_left_alone() {
    use UnmanagedReason as R;
    type Change = fn(&mut VgObs);
    let table: &[(R, Change)] = &[
        (R::SharedVg, |vg| vg.lock_type = "sanlock".into()),
        (R::Exported, |vg| vg.exported = true),
        (R::ReadOnly, |vg| vg.writeable = false),
        (R::Integrity, |vg| vg.lvs[0].layout.push("integrity".into())),
        (R::Pvmove, |vg| vg.lvs[0].move_pv = "/dev/sda".into()),
        (R::Converting, |vg| vg.lvs[0].converting = true),
        (R::Hidden, |vg| vg.lvs[0].role = vec!["private".into()]),
        (R::DuplicatePv, |vg| vg.pvs[0].duplicate = true),
        (R::Unsupported, |vg| vg.lvs.iter_mut().for_each(|lv| lv.extents.clear())),
    ];
    for (reason, change) in table {
        let change = *change;
        let mut machine = Machine::new(&["r1"], &[]);
        machine.doctor = Some(Box::new(move |view| view.vgs.iter_mut().for_each(change)));
        let mut bench = Bench::on(machine);
        bench.run_for(30);
        assert_eq!(bench.mirror("r1").unmanaged, Some(*reason), "{}", bench.story());
        bench.machine.down(B, true);
        bench.run_for(150);
        bench.machine.back(B);
        bench.run_for(60);
        assert!(bench.writes().is_empty(), "{reason}\n{}", bench.story());
        let reply = bench.command(Command::Heal { mirror: Bench::uuid("r1"), uid: 0 });
        assert!(matches!(reply, Err(Refusal::NotManaged(_))), "{reply:?}");
    }
}

#[test]
fn two_vgs_of_one_name_are_left_alone_and_others_are_served() {
    let mut machine = Machine::new(&["r1"], &[]);
    machine.doctor = Some(Box::new(|view| {
        let Some(own) = view.vgs.first().cloned() else { return };
        for tag in ["twin1", "twin2"] {
            let mut twin = own.clone();
            (twin.uuid, twin.name) = (uuid(tag), "twins".into());
            twin.lvs.iter_mut().enumerate().for_each(|(i, lv)| lv.uuid = uuid(&format!("{tag}x{i}")));
            view.vgs.push(twin);
        }
    }));
    let mut bench = Bench::on(machine);
    bench.run_for(60);
    let twins = bench.engine().snapshot().mirrors.values().filter(|m| m.name.ends_with("/r1") && m.name != "vg0/r1");
    let reasons: Vec<_> = twins.map(|m| m.unmanaged).collect();
    assert_eq!(reasons, [Some(UnmanagedReason::Unsupported); 2]);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(120, "r1 healed", |b| b.writes().contains(&"release"));
    assert!(bench.ran.iter().all(|ran| !ran.op.command_line().contains("twins")));
}
