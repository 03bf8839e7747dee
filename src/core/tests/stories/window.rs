//! Quiet hours: what waits for them, until when, and what does not.

use crate::bench::machine::{A, B, SECOND};
use crate::bench::{Bench, Fault, settings};
use mirrorkeeper_core::input::{Command, Input, Reply};
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::snapshot::Value;
use mirrorkeeper_core::window::Window;
use mirrorkeeper_core::words::{EventCode as E, Hold, LegState, MirrorState};
use std::time::Duration;

/// Seconds since 1970 at the bench's boot: 22:13:20 in UTC.
const BOOT: u64 = 1_700_000_000;

/// Seconds from boot to a quarter past eleven.
const QUARTER_PAST: u64 = 3700;

/// A settled machine with quiet hours.
fn with_hours(hours: &str, raids: &[&str], mirrors: &[&str], scrub_interval: u64) -> Bench {
    let mut bench = Bench::settled(raids, mirrors);
    let scrub_interval = Duration::from_secs(scrub_interval);
    let window = Some(Window::parse(hours).expect("hours"));
    bench.feed(Input::Settings(Box::new(Settings { window, scrub_interval, ..settings() })));
    bench
}

/// B was cut, is back and in sync, and the hours have not begun.
fn on_probation(raids: &[&str], mirrors: &[&str]) -> Bench {
    let mut bench = with_hours("23:15-23:45", raids, mirrors, 0);
    bench.machine.down(B, false);
    bench.run_for(200);
    bench.machine.back(B);
    bench.run_until(120, "queued", |b| b.mirror(raids[0]).hold == Some(Hold::Queued));
    bench
}

fn run_to(bench: &mut Bench, seconds: u64) {
    bench.run_for(seconds - bench.machine.now / SECOND);
}

#[test]
fn a_leg_on_probation_is_compared_as_soon_as_the_hours_begin() {
    let mut bench = on_probation(&["r1"], &[]);
    let mirror = bench.mirror("r1");
    assert_eq!(mirror.hold_details.get("until"), Some(&Value::U64((BOOT + QUARTER_PAST) * SECOND)));
    assert_eq!(mirror.hold_details.get("window"), Some(&"23:15-23:45".into()));
    assert_eq!((mirror.state, mirror.legs[B].state), (MirrorState::Verifying, LegState::Probation));
    run_to(&mut bench, QUARTER_PAST - 1);
    assert_eq!(bench.writes(), ["quarantine"], "{}", bench.story());
    assert_eq!(bench.mirror("r1").hold, Some(Hold::Queued));
    bench.run_until_redundant(60);
    assert_eq!(bench.times("check"), [QUARTER_PAST], "{}", bench.story());
    assert!(!bench.codes().contains(&E::Held), "a matter of routine");
}

#[test]
fn what_brings_data_to_a_leg_waits_for_no_hour() {
    let mut bench = on_probation(&["r1"], &["testlv"]);
    assert_eq!(bench.times("quarantine").len(), 1, "{}", bench.story());
    bench.run_until(120, "copied", |b| b.mirror("testlv").state == MirrorState::Redundant);
    assert!(bench.writes().contains(&"readd-leg") && !bench.writes().contains(&"check"), "{}", bench.story());
    assert!(bench.machine.now < QUARTER_PAST * SECOND);
}

#[test]
fn what_was_begun_in_time_is_ended_and_mended_after_them() {
    let mut bench = with_hours("22:00-23:15", &["r1"], &[], 0);
    bench.machine.lose_cache(B);
    bench.machine.down(B, false);
    run_to(&mut bench, QUARTER_PAST - 22);
    bench.machine.back(B);
    bench.run_until_redundant(120);
    assert_eq!(bench.writes(), ["quarantine", "check", "repair", "release"], "{}", bench.story());
    let (check, repair) = (bench.times("check")[0], bench.times("repair")[0]);
    assert!(check < QUARTER_PAST && repair > QUARTER_PAST, "{check} {repair}\n{}", bench.story());
}

#[test]
fn a_leg_that_serves_reads_is_compared_at_any_hour() {
    let mut bench = with_hours("23:15-23:45", &["r1"], &[], 0);
    bench.machine.power_cycle(A);
    bench.machine.power_cycle(B);
    bench.run_until(120, "compared", |b| !b.times("check").is_empty());
    assert!(bench.machine.now < QUARTER_PAST * SECOND, "{}", bench.story());
}

#[test]
fn whoever_asks_does_not_wait() {
    let mut bench = on_probation(&["r1"], &[]);
    let heal = Command::Heal { mirror: Bench::uuid("r1"), uid: 7 };
    assert!(matches!(bench.command(heal), Ok(Reply::Job(_))));
    bench.run_until_redundant(60);
    bench.forget();
    let check = Command::Check { mirror: Bench::uuid("r1"), uid: 7 };
    assert!(matches!(bench.command(check), Ok(Reply::Job(_))));
    bench.run_until(60, "compared", |b| b.codes().contains(&E::CheckFinished));
    assert!(bench.machine.now < QUARTER_PAST * SECOND);
}

#[test]
fn the_calendar_keeps_the_hours_and_goes_on_the_next_day() {
    // A minute is enough to begin one slow comparison, and not for the one after it.
    let mut bench = with_hours("23:15-23:16", &["r1", "r2"], &[], 86_400);
    run_to(&mut bench, QUARTER_PAST - 1);
    assert!(bench.ran.is_empty() && bench.engine().snapshot().jobs.is_empty(), "{}", bench.story());
    assert!(["r1", "r2"].iter().all(|lv| bench.mirror(lv).hold.is_none()));
    bench.faults.push_back(("check", Fault::Slow(70)));
    run_to(&mut bench, QUARTER_PAST + 65);
    assert_eq!(bench.times("check"), [QUARTER_PAST], "{}", bench.story());
    run_to(&mut bench, QUARTER_PAST + 300);
    let tomorrow = QUARTER_PAST + 86_400;
    let waits = |b: &Bench, lv| b.mirror(lv).hold_details.get("until") == Some(&Value::U64((BOOT + tomorrow) * SECOND));
    let waiting: Vec<_> = ["r1", "r2"].into_iter().filter(|lv| waits(&bench, *lv)).collect();
    assert_eq!(waiting.len(), 1, "{}", bench.story());
    run_to(&mut bench, tomorrow + 60);
    assert_eq!(bench.times("check")[1], tomorrow, "{}", bench.story());
}

#[test]
fn a_clock_that_is_set_and_another_local_time_are_noticed() {
    let mut bench = with_hours("23:15-23:45", &["r1"], &[], 86_400);
    bench.run_for(600);
    assert!(bench.ran.is_empty());
    // An hour ahead of UTC it is half past eleven.
    bench.east = 3600;
    bench.run_until(40, "compared", |b| !b.times("check").is_empty());
}
