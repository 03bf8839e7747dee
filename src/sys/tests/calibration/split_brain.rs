//! B and F: two legs written apart. Every table load trusts the higher `events`; a resume lets the active leg win.

use crate::lab::{
    A, B, R1, differing, fill, give_back, letters, lose, pass, r1, r1_on_6_12, status, superblock, write,
};
use mirrorkeeper_core::observation::SyncAction;
use mirrorkeeper_sys::sim::World;
use mirrorkeeper_sys::sim::content::Kind;
use mirrorkeeper_sys::sim::truth_keeper::Actor::Admin;

/// Leg b is lost, newer data goes to a, the client reboots with b alone and somebody activates it, `times` times.
fn split(w: &mut World, times: u64) {
    fill(w, R1);
    lose(w, B);
    write(w, R1, 0b1);
    w.client_power_loss();
    w.down(A, mirrorkeeper_sys::sim::server::Fault::Refused);
    w.up(B);
    pass(w, 60);
    for _ in 0..times {
        assert_eq!(w.activate(R1, true, Admin), Ok(()));
        write(w, R1, 0b10);
        w.volumes[R1].open = false;
        assert_eq!(w.deactivate(R1), Ok(()));
    }
}

/// From there a is activated alone, and b comes back.
fn with_a_active(w: &mut World, times: u64) {
    split(w, times);
    w.down(B, mirrorkeeper_sys::sim::server::Fault::Refused);
    pass(w, 10);
    w.up(A);
    pass(w, 10);
    w.admin_login(A);
    assert_eq!(w.activate(R1, true, Admin), Ok(()));
    write(w, R1, 0b100);
    give_back(w, B);
    assert_eq!(letters(w, R1), "AD");
}

#[test]
fn both_accuse_each_other() {
    let mut w = r1();
    split(&mut w, 1);
    assert_eq!((superblock(&w, R1, A).1, superblock(&w, R1, B).1), (0b10, 0b01));
}

#[test]
fn a_table_load_overwrites_the_live_leg_when_the_other_has_more_events() {
    let mut w = r1();
    with_a_active(&mut w, 5);
    assert!(superblock(&w, R1, B).0 > superblock(&w, R1, A).0 + 1, "b was activated more often");
    assert_eq!(w.write_mostly(R1, 1 << B, 0, Admin), Ok(()));
    assert_eq!(w.write_mostly(R1, 0, 1 << B, Admin), Ok(()), "b:y only points the leg at its device");
    assert_eq!(status(&w, R1), ("aA".into(), SyncAction::Recover), "the live leg is the target");
}

#[test]
fn a_refresh_lets_the_active_leg_win() {
    let mut w = r1();
    with_a_active(&mut w, 5);
    assert_eq!(w.refresh(R1, Admin), Ok(()));
    assert_eq!(status(&w, R1), ("Aa".into(), SyncAction::Recover));
}

#[test]
fn with_b_active_a_refresh_overwrites_the_newer_leg() {
    let mut w = r1();
    split(&mut w, 1);
    assert_eq!(w.activate(R1, true, Admin), Ok(()));
    w.up(A);
    pass(&mut w, 10);
    w.admin_login(A);
    assert_eq!(w.refresh(R1, Admin), Ok(()), "F: rc 0");
    assert_eq!(letters(&w, R1), "aA");
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AA");
}

#[test]
fn on_6_12_a_leg_activated_alone_twice_accuses_nobody_but_has_grown() {
    let mut w = r1_on_6_12(1);
    let noted = superblock(&w, R1, B).0;
    split(&mut w, 2);
    let (events, failed) = superblock(&w, R1, B);
    assert!(failed == 0 && events > noted + 1, "events 35, failed 0x0: {events} {failed:#x}");
}

#[test]
fn dropping_and_adding_the_loser_is_a_full_copy_whatever_the_superblocks_say() {
    let mut w = r1();
    with_a_active(&mut w, 5);
    assert_eq!(w.convert_down(R1, B, Admin), Ok(()));
    assert_eq!(w.convert_up(R1, B, Kind::Raid1, Admin), Ok(()));
    assert_eq!(status(&w, R1), ("Aa".into(), SyncAction::Recover));
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), differing(&w, R1)), ("AA", 0));
    assert!(w.volumes[R1].truth.held_by(&w.luns[A].cached.areas[0].blocks), "the kept text is read");
}
