//! What a daemon makes of a machine that it knows nothing of any more.

use super::*;
use crate::sim::Plan;
use crate::sim::server::Fault;

/// Volumes with legs on two servers, looked after for a minute; then the daemon dies, its ledger is gone, and so is the power of
/// the second server, for a moment.
fn world(raids: &[&'static str], mirrors: &[&'static str]) -> World {
    let mut w = World::new(&Plan::lab(raids, mirrors), 1);
    w.start_daemon();
    w.run_for(60 * SECOND);
    w.daemon.restart_after = None;
    w.kill_daemon();
    w.daemon.file = File::Absent;
    w.volumes.iter_mut().for_each(|v| v.forgotten = true);
    w.down(1, Fault::Power);
    w.run_for(SECOND);
    w.up(1);
    w.run_for(30 * SECOND);
    w.daemon.record = true;
    w.start_daemon();
    w.run_for(60 * SECOND);
    assert_eq!(w.violations, [""; 0]);
    w
}

#[test]
fn a_key_that_only_the_other_leg_has_tells_of_a_restart_although_the_notes_are_lost() {
    let w = world(&["r1", "r2"], &["m1"]);
    let codes: Vec<&str> = w.daemon.ran.iter().map(|ran| ran.op.code()).collect();
    let checked = w.daemon.ran.iter().filter(|ran| ran.op.code() == "check").flat_map(|ran| ran.op.lvs()).count();
    assert_eq!(checked, 2, "each volume on the PV is compared: {codes:?}");
    assert!(codes.contains(&"drop-leg") && codes.contains(&"readd-leg"), "{codes:?}");
}
