//! The promises themselves: what breaks one is seen, and what does not is let be.

use super::*;
use crate::sim::Plan;
use crate::sim::daemon::File;
use crate::sim::world::Quirks;
use mirrorkeeper_core::ids::OpId;

/// `r1` with a leg on each of two servers, looked after for a minute; then the daemon sleeps, and sessions have these
/// `recovery_tmo`.
fn world(tmo: [u32; 2]) -> World {
    let mut w = World::new(&Plan::lab(&["r1"], &[]), 1);
    w.start_daemon();
    w.run_for(60 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    w.daemon.wake_at = u64::MAX;
    for (server, tmo) in tmo.into_iter().enumerate() {
        w.sessions[server].as_mut().unwrap().tmo = Some(tmo);
        let name = w.sessions[server].as_ref().unwrap().disks[0].name.clone();
        assert_eq!(w.read_direct(&name), OpResult::Answered(500));
    }
    w
}

fn begun(mut w: World, op: Op) -> Vec<String> {
    w.start(OpId(u64::MAX), op);
    w.violations
}

fn fence(w: World, server: usize) -> Vec<String> {
    let (sid, target) = (w.sessions[server].as_ref().unwrap().sid, w.targets[server].clone());
    begun(w, Op::Fence { sid, target })
}

#[test]
fn a_fence_needs_a_partner_that_is_in_sync_and_up_and_waits() {
    assert_eq!(fence(world([600, 600]), 0), [""; 0]);
    assert!(fence(world([600, 4]), 0)[0].contains("no other leg in sync that waits"));
    let mut silent = world([600, 600]);
    silent.sessions[1].as_mut().unwrap().answered = None;
    assert_eq!(fence(silent, 0).len(), 1);
    let mut dead = world([600, 600]);
    dead.volumes[0].legs[1].health = Health::Dead;
    assert_eq!(fence(dead, 0).len(), 1);
    let mut down = world([600, 600]);
    (down.sessions[1].as_mut().unwrap().state, down.sessions[1].as_mut().unwrap().since) = (State::Failed, 0);
    assert_eq!(fence(down, 0).len(), 1);
    // On probation, whatever its letter says; a flag on a leg that the ledger trusts is the administrator's.
    let mut flagged = world([600, 600]);
    flagged.volumes[0].legs[1].flag = true;
    assert_eq!(fence(flagged, 0), [""; 0]);
    let mut probation = world([600, 600]);
    probation.volumes[0].legs[1].flag = true;
    probation.daemon.file = File::Absent;
    assert_eq!(fence(probation, 0).len(), 1);
}

#[test]
fn a_socket_is_destroyed_only_while_another_leg_has_just_answered() {
    let destroy = |w: World| {
        let (sid, target) = (w.sessions[0].as_ref().unwrap().sid, w.targets[0].clone());
        let seen = w.backlog(sid).unwrap();
        begun(w, Op::DestroySocket { sid, target, seen })
    };
    assert_eq!(destroy(world([4, 600])), [""; 0]);
    assert_eq!(destroy(world([4, 4])).len(), 1);
    // An anchor goes on waiting.
    assert_eq!(destroy(world([600, 4])), [""; 0]);
    let mut silent = world([600, 600]);
    silent.sessions[1].as_mut().unwrap().answered = None;
    assert!(destroy(silent)[0].contains("has just answered"));
}

/// How long a connection stays up whose server has gone while `r1` is written to, in seconds; its socket takes no limit.
fn noticed(server: usize, quirks: Quirks) -> u64 {
    let mut plan = Plan::lab(&["r1"], &[]);
    plan.quirks = Quirks { no_detect: true, ..quirks };
    let mut w = World::new(&plan, 1);
    w.start_daemon();
    w.run_for(60 * SECOND);
    let write = |w: &mut World| {
        w.write(0, 1, true);
        w.run_for(SECOND / 10);
    };
    (0..400).for_each(|_| write(&mut w));
    w.down(server, Fault::Cut);
    let begun = w.now;
    while w.sessions[server].as_ref().is_some_and(|s| s.state == State::LoggedIn) {
        write(&mut w);
    }
    assert_eq!(w.violations, [""; 0]);
    (w.now - begun) / SECOND
}

#[test]
fn a_socket_that_takes_no_limit_is_watched_and_destroyed() {
    for server in [0, 1] {
        assert!((3..=5).contains(&noticed(server, Quirks::default())), "{}", noticed(server, Quirks::default()));
        // Where that is not possible either, NOPs are all there is.
        assert!(noticed(server, Quirks { no_destroy: true, ..Quirks::default() }) >= 8);
    }
}

#[test]
fn another_user_is_never_fenced_nor_left_on_a_quick_session() {
    let mut w = world([600, 600]);
    w.servers[0].shared = true;
    assert!(fence(w, 0)[0].contains("another user"));
    let mut w = world([4, 600]);
    w.servers[0].shared = true;
    w.run_for(60 * SECOND);
    assert_eq!(w.violations.len(), 1);
}

#[test]
fn nobody_is_made_quick_before_another_waits() {
    let lower = |w: World| {
        let (sid, target) = (w.sessions[0].as_ref().unwrap().sid, w.targets[0].clone());
        begun(w, Op::SetRecoveryTmo { sid, target, seconds: Some(4) })
    };
    assert_eq!(lower(world([600, 600])), [""; 0]);
    assert!(lower(world([600, 4]))[0].contains("no other leg in sync that waits"));
}

#[test]
fn two_quick_legs_are_seen_as_long_as_somebody_could_change_that() {
    let after = |tmo: [u32; 2], change: fn(&mut World)| {
        let mut w = world(tmo);
        change(&mut w);
        w.run_for(60 * SECOND);
        w.violations
    };
    assert!(after([4, 4], |_| {})[0].contains("a session that has to wait is quick"));
    assert_eq!(after([4, 600], |_| {}), [""; 0]);
    // Its tools do not work, or it is dead.
    assert_eq!(after([4, 4], |w| w.daemon.report_ok = false), [""; 0]);
    assert_eq!(after([4, 4], |w| w.daemon.engine = None), [""; 0]);
}
