//! 7: boot with one server down.

use crate::lab::{A, B, R1, both, fill, flags, letters, pass, superblock, text};
use mirrorkeeper_core::observation::DmTarget;
use mirrorkeeper_sys::sim::World;
use mirrorkeeper_sys::sim::server::Fault;
use mirrorkeeper_sys::sim::truth_keeper::Actor::Admin;
use mirrorkeeper_sys::sim::volume::Live;

const TESTLV: usize = 1;

fn booted_without_b() -> World {
    let mut w = both();
    fill(&mut w, R1);
    w.down(B, Fault::Refused);
    w.reboot(true);
    pass(&mut w, 120);
    w
}

#[test]
fn an_incomplete_vg_is_not_activated() {
    let w = booted_without_b();
    assert!(w.sessions[A].is_some() && w.sessions[B].is_none(), "nobody retries b after 80 s");
    assert!(w.volumes.iter().all(|v| v.live == Live::Inactive), "fixture inactive-at-boot-one-server-down");
}

#[test]
fn raid_is_activated_degraded_over_an_error_device_and_complete_is_refused() {
    let mut w = booted_without_b();
    let before = superblock(&w, R1, A).0;
    assert_eq!(w.activate(R1, false, Admin), Err("Refusing activation of partial LV"));
    assert_eq!(w.activate(R1, true, Admin), Ok(()));
    assert_eq!((letters(&w, R1).as_str(), flags(&w, R1)), ("AD", vec![-1]));
    let missing = w.kernel_view().dm.iter().filter(|dm| dm.targets == [DmTarget::Error]).count();
    assert_eq!(missing, 1, "the -missing helper");
    assert!(superblock(&w, R1, A).0 > before && superblock(&w, R1, A).1 == 0b10, "failed 0x2, events 24");
}

#[test]
fn a_mirror_is_refused_until_its_leg_is_dropped() {
    let mut w = booted_without_b();
    assert_eq!(w.activate(TESTLV, true, Admin), Err("Refusing activation of partial LV"));
    assert!(w.drop_dead(TESTLV, Admin));
    assert_eq!(text(&w, A).1, 0b10, "PV b flagged");
    assert_eq!(w.activate(TESTLV, false, Admin), Ok(()));
    assert_eq!(w.volumes[TESTLV].live, Live::Linear);
}

#[test]
fn the_late_leg_is_taken_in_after_restoremissing_and_refresh() {
    let mut w = booted_without_b();
    assert!(w.drop_dead(TESTLV, Admin));
    assert_eq!(w.activate(R1, true, Admin), Ok(()));
    w.up(B);
    w.admin_login(B);
    assert!(w.refresh(R1, Admin).is_err(), "flagged");
    assert_eq!(w.restore_missing(0, B), Ok(()));
    assert_eq!(w.refresh(R1, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AA");
}

#[test]
fn a_complete_vg_is_activated_by_events() {
    let mut w = both();
    w.reboot(false);
    pass(&mut w, 60);
    assert!(w.volumes.iter().all(|v| v.live != Live::Inactive));
    assert_eq!(letters(&w, R1), "AA");
}
