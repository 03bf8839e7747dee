//! The daemon dies between any two effects of a heal and is started again with the ledger as it was saved.

use crate::bench::machine::{A, B, Machine};
use crate::bench::{Bench, settings};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::ledger::Trust;
use mirrorkeeper_core::observation::LegHealth;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::words::{EventCode as E, Hold};
use std::time::Duration;

/// Kills the daemon before every effect of a story in turn; each must end redundant with every promise kept.
fn killed_everywhere(story: impl Fn(&mut Bench), raids: &[&str], mirrors: &[&str]) {
    // A minute of idling before each of some hundred deaths would be most of the test.
    let fresh = || {
        let mut bench = Bench::new(raids, mirrors);
        for server in [A, B] {
            bench.machine.session(server).tmo = Some(5);
        }
        bench.run_for(5);
        bench
    };
    let mut whole = fresh();
    let first = whole.effects;
    story(&mut whole);
    whole.run_until_redundant(300);
    for k in first + 1..=whole.effects {
        let mut bench = fresh();
        bench.crash_at = Some(k);
        story(&mut bench);
        bench.run_until_redundant(900);
    }
}

#[test]
fn killed_anywhere_while_a_lost_leg_heals() {
    let story = |bench: &mut Bench| {
        bench.machine.lose_cache(B);
        bench.machine.down(B, true);
        bench.run_for(7);
        bench.machine.write_metadata();
        bench.machine.back(B);
    };
    killed_everywhere(story, &["r1"], &[]);
}

#[test]
fn killed_anywhere_while_the_lowest_leg_heals_under_a_new_name() {
    let story = |bench: &mut Bench| {
        bench.machine.lose_cache(A);
        bench.machine.logout(A);
        bench.run_for(5);
        bench.machine.login(A);
    };
    killed_everywhere(story, &["r1"], &[]);
}

#[test]
fn killed_anywhere_while_a_living_leg_is_judged() {
    killed_everywhere(|bench| bench.machine.power_cycle(B), &["r1", "r2"], &[]);
}

#[test]
fn killed_anywhere_while_a_mirror_leg_is_given_back() {
    let story = |bench: &mut Bench| {
        bench.machine.down(B, true);
        bench.run_for(7);
        bench.machine.back(B);
    };
    killed_everywhere(story, &[], &["testlv"]);
}

#[test]
fn killed_anywhere_while_a_living_mirror_leg_is_copied_anew() {
    killed_everywhere(|bench| bench.machine.power_cycle(B), &[], &["testlv"]);
}

#[test]
fn a_stopping_daemon_begins_nothing_and_still_remembers_losses() {
    let mut bench = Bench::settled(&["r1"], &[]);
    bench.feed(Input::Stopping);
    bench.machine.down(B, true);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_for(60);
    assert!(bench.ran.is_empty(), "{}", bench.story());
    assert!(bench.codes().contains(&E::LegLost));
    assert!(bench.ledger().mirrors[&Bench::uuid("r1")].degraded_since.is_some());
    bench.restart_daemon();
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "release"], "{}", bench.story());
}

#[test]
fn a_volume_that_was_deactivated_is_not_taken_for_one_used_elsewhere() {
    let mut bench = Bench::settled(&["r1", "r2"], &[]);
    bench.feed(Input::Settings(Box::new(Settings { stamp_interval: Duration::from_secs(3600), ..settings() })));
    // Unmounted, deactivated, and the service stopped, all within a second; md's last word raises `events` by up to two.
    for raid in &mut bench.machine.raids {
        raid.active = false;
        raid.legs.iter_mut().for_each(|leg| leg.events += 2);
    }
    bench.run_for(1);
    bench.forget();
    bench.feed(Input::SystemStopping(false));
    bench.feed(Input::Stopping);
    bench.run_for(10);
    assert_eq!(bench.times("stamp").len(), 1, "the closing one\n{}", bench.story());
    let mut legs = bench.ledger().mirrors.values().flat_map(|record| record.legs.values());
    assert!(legs.all(|known| known.trust == Trust::Trusted), "{}", bench.story());
}

/// The disk was away when the other volume's leg failed, and a `mirror` does not say what it missed then.
#[test]
fn without_a_ledger_a_leg_beside_a_failed_one_is_in_doubt() {
    let mut machine = Machine::new(&["r1"], &["testlv"]);
    let raid = &mut machine.raids[0];
    raid.legs[B].health = LegHealth::Dead;
    (raid.legs[A].failed, raid.legs[A].events) = (1 << B, raid.legs[A].events + 4);
    let mut bench = Bench::on(machine);
    bench.run_for(120);
    let held = ["r1", "testlv"].map(|lv| bench.mirror(lv).hold);
    assert_eq!(held, [Some(Hold::NoHistory); 2], "{}", bench.story());
    let causes: Vec<_> = bench.mirror("testlv").legs.iter().map(|leg| leg.details.get("cause").cloned()).collect();
    assert_eq!(causes, [None, Some("session-down".into())], "{}", bench.story());
    // What a flush that failed may keep is issued anew; nothing else is done.
    assert_eq!(bench.writes(), ["requeue"], "{}", bench.story());
}
