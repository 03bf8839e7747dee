//! D, E, 8, 10, 12, 13: sessions, registrations, blocked disks, targets in trouble.

use crate::lab::{A, B, R1, both, give_back, letters, lose, pass, r1, write};
use mirrorkeeper_sys::sim::server::Fault;
use mirrorkeeper_sys::sim::session::{Scsi, State, Way};
use mirrorkeeper_sys::sim::truth_keeper::Actor::Admin;

#[test]
fn a_registration_outlives_a_cut_and_a_relogin_but_no_restart() {
    let mut w = r1();
    (w.luns[B].keys.generation, w.luns[B].keys.keys) = (1, vec![7]);
    w.down(B, Fault::Cut);
    pass(&mut w, 30);
    give_back(&mut w, B);
    w.logout(B, Admin);
    w.admin_login(B);
    assert_eq!((w.luns[B].keys.generation, w.luns[B].keys.keys.as_slice()), (1, &[7][..]), "E");
    lose(&mut w, B);
    assert_eq!((w.luns[B].keys.generation, w.luns[B].keys.keys.len()), (0, 0), "SIGKILL of the target");
}

#[test]
fn a_silent_cut_is_noticed_after_some_ten_seconds() {
    let mut w = r1();
    w.down(B, Fault::Cut);
    pass(&mut w, 7);
    let state = |w: &mirrorkeeper_sys::sim::World| w.sessions[B].as_ref().map(|s| s.state);
    assert_eq!(state(&w), Some(State::LoggedIn));
    pass(&mut w, 5);
    assert_eq!(state(&w), Some(State::Failed), "NOP 5+5");
    pass(&mut w, 5);
    assert_eq!((state(&w), letters(&w, R1).as_str()), (Some(State::Free), "AD"));
}

#[test]
fn a_hung_target_looks_like_a_cut() {
    let mut w = r1();
    w.down(B, Fault::Hung);
    pass(&mut w, 17);
    assert_eq!(letters(&w, R1), "AD", "F: SIGSTOP, stall 15.6 s");
}

#[test]
fn offline_fails_a_leg_at_once_and_a_relogin_brings_the_disk_back_under_its_name() {
    let mut w = r1();
    let name = w.volumes[R1].legs[B].disk;
    w.set_disk(B, Scsi::Offline);
    assert_eq!(letters(&w, R1), "AD", "D: 0.1 s");
    w.down(B, Fault::Refused);
    give_back(&mut w, B);
    assert_eq!((w.way(name), w.sessions[B].as_ref().map(|s| s.disks[0].state)), (Way::Works, Some(Scsi::Running)));
}

#[test]
fn a_last_leg_that_waits_loses_nothing_and_one_that_does_not_gets_an_error() {
    for (tmo, spoiled) in [(600, false), (3, true)] {
        let mut w = r1();
        w.sessions[A].as_mut().expect("a session").tmo = Some(tmo);
        w.down(A, Fault::Refused);
        w.down(B, Fault::Refused);
        pass(&mut w, 10);
        assert_eq!(w.volumes[R1].spoiled, spoiled, "D: recovery_tmo {tmo} on the last leg");
        w.up(A);
        w.up(B);
        pass(&mut w, 10);
        assert_eq!(letters(&w, R1), if spoiled { "DA" } else { "AD" });
    }
}

#[test]
fn lvm_hangs_while_a_disk_is_blocked() {
    let mut w = both();
    w.sessions[B].as_mut().expect("a session").tmo = Some(600);
    w.down(B, Fault::Refused);
    assert!(w.any_waits() && w.blocked().is_some(), "10");
    give_back(&mut w, B);
    assert!(!w.any_waits());
}

#[test]
fn without_iscsid_nobody_reconnects_and_its_start_bounces_the_healthy_session() {
    let mut w = r1();
    w.iscsid = None;
    lose(&mut w, B);
    w.up(B);
    pass(&mut w, 30);
    let state = |w: &mirrorkeeper_sys::sim::World, server: usize| w.sessions[server].as_ref().map(|s| s.state);
    assert_eq!(state(&w, B), Some(State::Free), "12: no reconnect");
    w.restart_iscsid();
    assert_eq!(state(&w, A), Some(State::Failed), "the healthy one is bounced too");
    pass(&mut w, 10);
    assert_eq!((state(&w, A), state(&w, B)), (Some(State::LoggedIn), Some(State::LoggedIn)));
    assert_eq!(letters(&w, R1), "AD", "no leg failed by the bounce, and none healed");
}

#[test]
fn a_connection_that_breaks_while_it_is_set_up_is_never_had_back_until_the_kernel_is_told() {
    let mut w = r1();
    let sid = w.sessions[B].as_ref().map(|s| s.sid).unwrap();
    w.sessions[B].as_mut().unwrap().trapped = true;
    w.break_connection(B, 1020);
    pass(&mut w, 60);
    assert_eq!((w.sessions[B].as_ref().map(|s| s.state), letters(&w, R1)), (Some(State::Free), "AD".to_owned()));
    w.clear_connection(sid);
    pass(&mut w, 3);
    assert_eq!(w.sessions[B].as_ref().map(|s| (s.sid, s.state)), Some((sid, State::LoggedIn)), "the same session");
}

#[test]
fn a_deleted_target_answers_and_does_not_log_in_until_it_is_back() {
    let mut w = r1();
    w.servers[B].target_gone = true;
    w.break_connection(B, 1020);
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AD", "13");
    w.servers[B].target_gone = false;
    pass(&mut w, 12);
    assert_eq!(w.sessions[B].as_ref().map(|s| s.state), Some(State::LoggedIn), "7 s later, by itself");
}

#[test]
fn a_deleted_lun_is_seen_by_the_next_write_alone() {
    let mut w = r1();
    w.luns[B].gone = true;
    pass(&mut w, 5);
    assert_eq!(letters(&w, R1), "AA");
    write(&mut w, R1, 1);
    assert_eq!(
        (letters(&w, R1).as_str(), w.sessions[B].as_ref().map(|s| s.state)),
        ("AD", Some(State::LoggedIn)),
        "13"
    );
    w.luns[B].gone = false;
    assert_eq!(w.refresh(R1, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AA");
}
