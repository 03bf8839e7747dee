//! D: how long writes stall when a server dies silently, by what its session was told beforehand.

use crate::lab::{A, B, R1, both, give_back, letters, pass, r1, write};
use mirrorkeeper_core::observation::Detect;
use mirrorkeeper_core::op::OpResult;
use mirrorkeeper_sys::sim::server::Fault;
use mirrorkeeper_sys::sim::session::State;
use mirrorkeeper_sys::sim::world::Quirks;
use mirrorkeeper_sys::sim::{SECOND, World};

/// `recovery_tmo` in seconds and TCP_USER_TIMEOUT in milliseconds of a server's session.
fn tell(w: &mut World, server: usize, tmo: u32, limit: u32) {
    let session = w.sessions[server].as_mut().expect("a session");
    session.tmo = Some(tmo);
    let sid = session.sid;
    if limit > 0 {
        assert_eq!(w.set_detect(sid, limit), Detect::InForce(limit));
    }
}

fn state(w: &World, server: usize) -> Option<State> {
    w.sessions[server].as_ref().map(|session| session.state)
}

/// Milliseconds until a write that begins now is acknowledged.
fn stall(w: &mut World, volume: usize) -> u64 {
    write(w, volume, 1);
    let begun = w.now;
    assert!(w.run_until(300 * SECOND, |w| w.volumes[volume].inflight.is_empty()), "for ever");
    (w.now - begun) * 1000 / SECOND
}

#[test]
fn a_silent_death_stalls_for_detection_and_recovery() {
    let table = [
        // recovery_tmo, TCP_USER_TIMEOUT, least and most milliseconds; what was measured.
        (120, 0, 128_000, 131_500, "131.1 s"),
        (5, 0, 13_000, 16_500, "15.4 s"),
        (1, 2000, 3000, 4000, "3.2 s"),
        (1, 1000, 2000, 3000, "2.2 s"),
        (4, 3000, 7000, 8000, "the defaults: 7 to 8 s"),
    ];
    for (tmo, limit, least, most, measured) in table {
        let mut w = r1();
        tell(&mut w, A, 600, limit);
        tell(&mut w, B, tmo, limit);
        w.down(B, Fault::Cut);
        let took = stall(&mut w, R1);
        assert!((least..=most).contains(&took), "{measured}: {took} ms with {tmo} s and {limit} ms");
        assert_eq!((letters(&w, R1).as_str(), w.volumes[R1].spoiled), ("AD", false));
    }
}

#[test]
fn a_mirror_waits_for_dmeventd_besides() {
    let mut w = both();
    tell(&mut w, A, 600, 3000);
    tell(&mut w, B, 2, 3000);
    w.down(B, Fault::Cut);
    let took = stall(&mut w, 1);
    assert!((5500..=6500).contains(&took), "5.2 and 5.3 s: {took} ms");
}

#[test]
fn a_hung_target_still_acknowledges() {
    let mut w = r1();
    tell(&mut w, B, 1, 2000);
    w.down(B, Fault::Hung);
    pass(&mut w, 7);
    assert_eq!(state(&w, B), Some(State::LoggedIn), "NOP + recovery_tmo");
    pass(&mut w, 6);
    assert_eq!(letters(&w, R1), "AD");
    // Then its power goes: the NOP that is under way still ends it.
    let mut w = r1();
    w.down(B, Fault::Hung);
    w.down(B, Fault::Power);
    pass(&mut w, 12);
    assert_ne!(state(&w, B), Some(State::LoggedIn));
}

#[test]
fn an_anchor_that_dies_alone_is_fenced_without_an_error() {
    let mut w = r1();
    tell(&mut w, A, 600, 2000);
    tell(&mut w, B, 600, 2000);
    w.down(A, Fault::Cut);
    write(&mut w, R1, 1);
    let begun = w.now;
    assert!(w.run_until(4 * SECOND, |w| state(w, A) == Some(State::Failed)), "2.4 s");
    assert!(w.now >= begun + 2 * SECOND && !w.volumes[R1].inflight.is_empty());
    let sid = w.sessions[A].as_ref().map(|session| session.sid).expect("a session");
    let exit = |code| OpResult::Exit { code, last_line: String::new() };
    assert_eq!(w.fence(sid), exit(0));
    assert!(w.volumes[R1].inflight.is_empty() && !w.volumes[R1].spoiled, "2.9 s, no error");
    assert_eq!((letters(&w, R1).as_str(), state(&w, A)), ("DA", None));
    assert_eq!(w.fence(sid), exit(22), "iscsiadm -m session -r 99");
    // The way back is a new device, and a login that somebody has to make.
    w.up(A);
    pass(&mut w, 30);
    assert_eq!(state(&w, A), None);
}

#[test]
fn both_away_for_ten_seconds_cost_the_quick_leg_alone() {
    let mut w = r1();
    tell(&mut w, A, 600, 2000);
    tell(&mut w, B, 3, 2000);
    w.down(A, Fault::Cut);
    w.down(B, Fault::Cut);
    write(&mut w, R1, 1);
    pass(&mut w, 10);
    w.up(A);
    w.up(B);
    pass(&mut w, 5);
    assert!(w.volumes[R1].inflight.is_empty() && !w.volumes[R1].spoiled, "no error");
    assert_eq!(letters(&w, R1), "AD");
}

#[test]
fn every_new_socket_has_to_be_told_anew() {
    let mut w = r1();
    tell(&mut w, B, 120, 2000);
    w.restart_iscsid();
    pass(&mut w, 10);
    w.down(B, Fault::Cut);
    pass(&mut w, 7);
    assert_eq!(state(&w, B), Some(State::LoggedIn));
    give_back(&mut w, B);
    // On a connection that is dead already it counts from then.
    w.down(B, Fault::Cut);
    tell(&mut w, B, 120, 2000);
    pass(&mut w, 4);
    assert_eq!(state(&w, B), Some(State::Failed));
}

#[test]
fn who_may_not_or_has_no_socket_is_told_so() {
    let mut w = r1();
    let sid = w.sessions[B].as_ref().map(|session| session.sid).expect("a session");
    w.down(B, Fault::Refused);
    assert_eq!(w.set_detect(sid, 2000), Detect::NoSocket);
    assert_eq!(w.set_detect(99, 2000), Detect::NoSocket);
    w.quirks = Quirks { no_detect: true, ..w.quirks };
    assert!(matches!(w.set_detect(sid, 2000), Detect::Unavailable(_)));
}

#[test]
fn an_iscsid_restart_bounces_one_session_after_the_other_and_costs_no_quick_leg() {
    let mut w = r1();
    tell(&mut w, A, 4, 3000);
    tell(&mut w, B, 4, 3000);
    w.restart_iscsid();
    for _ in 0..100 {
        write(&mut w, R1, 1);
        w.run_for(SECOND / 10);
        let down = [A, B].into_iter().filter(|server| state(&w, *server) != Some(State::LoggedIn)).count();
        assert!(down < 2, "12: one after the other");
    }
    assert_eq!(letters(&w, R1), "AA", "12: blocked for 3.0 and 1.9 s");
}
