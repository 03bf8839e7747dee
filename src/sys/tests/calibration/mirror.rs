//! 6 and 0.4: the core-log mirror and dmeventd.

use crate::lab::{A, B, both, differing, fill, give_back, lose, pass, text, write};
use mirrorkeeper_core::observation::{DmTarget, MirrorStatus};
use mirrorkeeper_sys::sim::World;
use mirrorkeeper_sys::sim::content::Kind;
use mirrorkeeper_sys::sim::truth_keeper::Actor::Admin;
use mirrorkeeper_sys::sim::volume::Live;

const TESTLV: usize = 1;

fn status(w: &World) -> Option<MirrorStatus> {
    let name = &w.volumes[TESTLV].names.dm;
    w.kernel_view().dm.into_iter().find(|dm| dm.name == *name).and_then(|dm| match &dm.targets[..] {
        [DmTarget::Mirror { status, .. }] => Some(status.clone()),
        _ => None,
    })
}

#[test]
fn dmeventd_drops_a_dead_leg_half_a_second_after_the_timeout_and_flags_the_pv() {
    let mut w = both();
    lose(&mut w, B);
    assert_eq!(w.volumes[TESTLV].live, Live::Linear, "fixture one-leg-offline");
    assert!(text(&w, A).0 > 5 && text(&w, A).1 == 0b10, "PV b is flagged MISSING");
    give_back(&mut w, B);
    assert_eq!(text(&w, B), (5, 0), "fixture missing-pv-flagged: an older seqno on the returned PV");
}

#[test]
fn without_dmeventd_writers_wait_until_somebody_repairs() {
    let mut w = both();
    w.dmeventd = false;
    lose(&mut w, B);
    write(&mut w, TESTLV, 1);
    let acknowledged = |w: &World| w.luns[A].cached.areas[TESTLV].blocks[0];
    assert_eq!((w.volumes[TESTLV].live, acknowledged(&w)), (Live::Mirror, 0), "handle_errors holds them");
    assert!(w.drop_dead(TESTLV, Admin), "lvconvert --repair --use-policies");
    write(&mut w, TESTLV, 1);
    assert!(w.volumes[TESTLV].live == Live::Linear && acknowledged(&w) > 0);
}

#[test]
fn unmonitored_writers_go_on_without_the_dead_leg() {
    let mut w = both();
    (w.volumes[TESTLV].monitored, w.volumes[TESTLV].handle_errors) = (false, false);
    lose(&mut w, B);
    write(&mut w, TESTLV, 1);
    assert_eq!(status(&w).map(|s| s.health), Some(vec!['A', 'D']), "28/32 1 AD, nobody acts");
    assert!(w.luns[A].cached.areas[TESTLV].blocks[0] > 0);
}

#[test]
fn a_leg_given_back_is_copied_in_full_and_its_letters_lie() {
    let mut w = both();
    fill(&mut w, TESTLV);
    lose(&mut w, B);
    write(&mut w, TESTLV, 0b1);
    give_back(&mut w, B);
    assert!(w.convert_up(TESTLV, B, Kind::Mirror, Admin).is_err(), "r1 keeps the flag on the PV");
    assert_eq!(w.restore_missing(0, B), Ok(()));
    assert_eq!(w.convert_up(TESTLV, B, Kind::Mirror, Admin), Ok(()));
    let begun = status(&w).expect("a mirror");
    assert_eq!((begun.health, begun.in_sync), (vec!['A', 'A'], 0), "fixture resyncing");
    pass(&mut w, 20);
    let done = status(&w).expect("a mirror");
    assert_eq!((done.in_sync, differing(&w, TESTLV)), (done.total, 0));
}

#[test]
fn a_pv_that_carries_nothing_any_more_loses_its_flag_by_itself() {
    let mut w = World::new(&mirrorkeeper_sys::sim::Plan::lab(&[], &["testlv"]), 1);
    lose(&mut w, B);
    assert_eq!(text(&w, A).1, 0b10);
    give_back(&mut w, B);
    w.write_text(0, |_| {});
    assert_eq!((text(&w, A).1, text(&w, A).0), (0, text(&w, B).0), "0.4: unused reappeared PV");
}

#[test]
fn a_logout_costs_the_mirror_its_leg() {
    let mut w = both();
    w.logout(B, Admin);
    pass(&mut w, 2);
    assert_eq!(w.volumes[TESTLV].live, Live::Linear, "F");
}
