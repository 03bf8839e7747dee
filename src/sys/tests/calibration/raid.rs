//! A (probation), 0–4 (losses, returns, double failures) and 11 (killed commands) for raid1.

use crate::lab::{
    A, B, R1, differing, fill, flags, give_back, keep_image, letters, lose, pass, r1, r1_on_6_12, raid_status,
    reads_right, status, superblock, text, write,
};
use mirrorkeeper_core::observation::SyncAction;
use mirrorkeeper_sys::sim::server::Fault;
use mirrorkeeper_sys::sim::truth_keeper::Actor::Admin;
use mirrorkeeper_sys::sim::volume::Action;

const ON_B: u32 = 1 << B;

#[test]
fn events_do_not_count_writes_and_rise_on_a_failure() {
    let mut w = r1();
    let before = (superblock(&w, R1, A), superblock(&w, R1, B));
    fill(&mut w, R1);
    assert_eq!((superblock(&w, R1, A), superblock(&w, R1, B)), before, "0.1");
    lose(&mut w, B);
    let (events, failed) = superblock(&w, R1, A);
    assert!(events >= before.0.0 + 3 && failed == 0b10, "survivor 26-31 failed 0x2, returned 22: {events} {failed:#x}");
    assert_eq!(superblock(&w, R1, B), before.1);
}

#[test]
fn a_lost_leg_is_d_after_the_timeout_and_not_before() {
    let mut w = r1();
    w.down(B, Fault::Refused);
    pass(&mut w, 4);
    assert_eq!(status(&w, R1), ("AA".into(), SyncAction::Idle), "fixture one-leg-cut-blocked");
    pass(&mut w, 2);
    assert_eq!(status(&w, R1), ("AD".into(), SyncAction::Idle), "fixture one-leg-offline");
}

#[test]
fn a_refresh_copies_the_dirty_regions_and_no_more() {
    let mut w = r1();
    fill(&mut w, R1);
    lose(&mut w, B);
    write(&mut w, R1, 0b11);
    give_back(&mut w, B);
    assert_eq!(letters(&w, R1), "AD", "fixture returned-not-healed");
    assert_eq!(text(&w, B).1, 0, "without a metadata write nobody is flagged (1)");
    assert_eq!(w.refresh(R1, Admin), Ok(()));
    assert_eq!(letters(&w, R1), "Aa", "fixture recovering");
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), differing(&w, R1)), ("AA", 0));
}

#[test]
fn write_mostly_revives_and_quarantines_in_one_command() {
    let mut w = r1();
    fill(&mut w, R1);
    lose(&mut w, B);
    write(&mut w, R1, 0b111);
    give_back(&mut w, B);
    assert_eq!(w.write_mostly(R1, ON_B, 0, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), flags(&w, R1)), ("AA", vec![1]), "fixture deb13-on-probation");
    assert_eq!((differing(&w, R1), w.volumes[R1].readers()), (0, 0b01), "not one sector is read from it");
}

#[test]
fn a_rolled_back_lun_is_served_after_a_refresh_and_not_on_probation() {
    for probation in [false, true] {
        let mut w = r1();
        keep_image(&mut w, B);
        fill(&mut w, R1);
        lose(&mut w, B);
        write(&mut w, R1, 1);
        w.roll_back(B);
        give_back(&mut w, B);
        let done = if probation { w.write_mostly(R1, ON_B, 0, Admin) } else { w.refresh(R1, Admin) };
        assert_eq!(done, Ok(()));
        pass(&mut w, 20);
        assert_eq!(letters(&w, R1), "AA");
        assert!(differing(&w, R1) > 0, "the bitmap knows nothing of it");
        assert_eq!(reads_right(&w, R1), probation, "A, 2");
        assert_eq!(w.sync_action(R1, Action::Check, Admin), Ok(()));
        pass(&mut w, 20);
        assert!(raid_status(&w, R1).mismatches > 0, "only a check finds it");
    }
}

#[test]
fn a_rebuild_of_a_live_leg_copies_everything_and_keeps_its_flag() {
    let mut w = r1();
    keep_image(&mut w, B);
    fill(&mut w, R1);
    lose(&mut w, B);
    w.roll_back(B);
    give_back(&mut w, B);
    assert_eq!(w.write_mostly(R1, ON_B, 0, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!(w.rebuild(R1, B, Admin), Ok(()));
    assert_eq!(status(&w, R1), ("Aa".into(), SyncAction::Recover), "fixture deb13-rebuilding-live-leg");
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), flags(&w, R1), differing(&w, R1)), ("AA", vec![1], 0));
}

#[test]
fn a_rebuild_of_a_dead_leg_is_a_full_copy_when_the_superblocks_are_clear() {
    let mut w = r1();
    keep_image(&mut w, B);
    fill(&mut w, R1);
    lose(&mut w, B);
    w.roll_back(B);
    give_back(&mut w, B);
    assert_eq!(w.rebuild(R1, B, Admin), Ok(()), "3");
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), differing(&w, R1)), ("AA", 0));
}

#[test]
fn repair_copies_from_the_lowest_leg_whoever_is_right() {
    for old in [A, B] {
        let mut w = r1();
        keep_image(&mut w, old);
        fill(&mut w, R1);
        lose(&mut w, old);
        w.roll_back(old);
        give_back(&mut w, old);
        assert_eq!(w.write_mostly(R1, 1 << old, 0, Admin), Ok(()));
        pass(&mut w, 20);
        assert_eq!(w.sync_action(R1, Action::Repair, Admin), Ok(()));
        pass(&mut w, 20);
        assert_eq!((differing(&w, R1), raid_status(&w, R1).mismatches), (0, 0));
        let lun = w.vgs[0].luns[1 - old];
        let right = w.volumes[R1].lost.is_empty() && w.volumes[R1].truth.held_by(&w.luns[lun].cached.areas[0].blocks);
        assert_eq!(right && !w.luns[lun].cached.areas[0].blocks.contains(&0), old == B, "leg {old} was rolled back");
    }
}

#[test]
fn after_a_double_failure_a_refresh_does_nothing_and_a_table_load_heals() {
    let mut w = r1();
    fill(&mut w, R1);
    lose(&mut w, B);
    write(&mut w, R1, 0b1100);
    lose(&mut w, A);
    assert_eq!((letters(&w, R1).as_str(), raid_status(&w, R1).done), ("AD", 0), "fixture both-down");
    assert!(w.lvm_view().vgs.is_empty(), "an empty report, exit 0 (0.8)");
    give_back(&mut w, A);
    give_back(&mut w, B);
    assert_eq!(w.refresh(R1, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AD", "4: says 0 and stays AD");
    assert_eq!(w.write_mostly(R1, ON_B, 0, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), differing(&w, R1)), ("AA", 0));
}

#[test]
fn with_only_the_stale_leg_back_nothing_is_read_or_written() {
    let mut w = r1();
    fill(&mut w, R1);
    lose(&mut w, B);
    write(&mut w, R1, 0b1);
    lose(&mut w, A);
    give_back(&mut w, B);
    assert_eq!((letters(&w, R1).as_str(), w.volumes[R1].readers()), ("AD", 0b01), "4: the stale leg is not used");
    assert!(w.refresh(R1, Admin).is_err(), "partial");
}

#[test]
fn a_new_device_name_takes_two_table_loads() {
    let mut w = r1();
    fill(&mut w, R1);
    w.logout(B, Admin);
    assert_eq!(letters(&w, R1), "AD", "fixture deb13-logged-out: at once");
    write(&mut w, R1, 0b1);
    w.admin_login(B);
    assert_eq!(w.write_mostly(R1, ON_B, 0, Admin), Ok(()));
    assert_eq!(
        (letters(&w, R1).as_str(), flags(&w, R1)),
        ("AD", vec![-1]),
        "fixture deb13-new-name-dropped-by-table-load"
    );
    assert_eq!(w.write_mostly(R1, ON_B, 0, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), flags(&w, R1), differing(&w, R1)), ("AA", vec![1], 0));
}

#[test]
fn a_refresh_repoints_a_new_device_name_at_once() {
    let mut w = r1();
    fill(&mut w, R1);
    w.logout(B, Admin);
    write(&mut w, R1, 0b1);
    w.admin_login(B);
    assert_eq!(w.refresh(R1, Admin), Ok(()), "8");
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), differing(&w, R1)), ("AA", 0));
}

#[test]
fn on_6_12_the_heal_over_a_new_name_may_copy_next_to_nothing() {
    let incomplete = (0..40).filter(|seed| {
        let mut w = r1_on_6_12(*seed);
        fill(&mut w, R1);
        w.logout(B, Admin);
        write(&mut w, R1, 0b1111);
        w.admin_login(B);
        for _ in 0..2 {
            assert_eq!(w.write_mostly(R1, ON_B, 0, Admin), Ok(()));
            pass(&mut w, 20);
        }
        assert_eq!(letters(&w, R1), "AA");
        differing(&w, R1) > 0
    });
    let incomplete = incomplete.count();
    assert!((8..=32).contains(&incomplete), "7 of 14 in the lab; here {incomplete} of 40");
}

#[test]
fn write_mostly_is_refused_while_something_runs_or_hangs() {
    let mut w = r1();
    assert_eq!(w.sync_action(R1, Action::Check, Admin), Ok(()));
    assert_eq!(status(&w, R1).1, SyncAction::Check, "fixture deb13-checking");
    assert!(w.write_mostly(R1, ON_B, 0, Admin).is_err());
    assert!(w.rebuild(R1, B, Admin).is_err(), "refused during a check");
    pass(&mut w, 20);
    w.volumes[R1].suspended = true;
    assert!(w.write_mostly(R1, ON_B, 0, Admin).is_err());
}

#[test]
fn a_refresh_resumes_what_a_killed_command_left_suspended() {
    let mut w = r1();
    fill(&mut w, R1);
    lose(&mut w, B);
    write(&mut w, R1, 0b1);
    give_back(&mut w, B);
    w.volumes[R1].suspended = true;
    assert_eq!(status(&w, R1), ("AD".into(), SyncAction::Frozen), "fixture deb13-suspended-by-killed-command");
    assert_eq!(w.refresh(R1, Admin), Ok(()), "11, A");
    pass(&mut w, 20);
    assert_eq!((status(&w, R1), differing(&w, R1)), (("AA".into(), SyncAction::Idle), 0));
}

#[test]
fn a_power_cut_within_the_recovery_timeout_leaves_no_trace_but_old_blocks() {
    let differs = (0..20).any(|_| {
        let mut w = r1();
        fill(&mut w, R1);
        w.write(R1, 0b1111_0000, false);
        w.down(B, Fault::Power);
        pass(&mut w, 2);
        w.up(B);
        pass(&mut w, 5);
        assert_eq!(status(&w, R1), ("AA".into(), SyncAction::Idle), "never D, not one line");
        differing(&w, R1) > 0
    });
    assert!(differs, "A: acknowledged, cached, gone");
}
