//! What `mirrorkeeper status` prints, whole.

use super::*;
use mirrorkeeper_client::{Manager, Value};

fn target_on(host: u8, state: &str, disks: &[&str]) -> (String, Target) {
    let target = Target {
        iqn: format!("iqn.2026-01.org.example:{host}"),
        portal: format!("10.0.0.{host}:3260"),
        state: state.to_owned(),
        disks: disks.iter().map(|disk| (*disk).to_owned()).collect(),
        managed: true,
        replacement_timeout_sec: if disks.is_empty() { -2 } else { 10 },
        timeout_reason: "quick".to_owned(),
        ..Target::default()
    };
    (path(host), target)
}

fn path(host: u8) -> String {
    format!("/org/mirrorkeeper1/target/{host}")
}

fn leg_on(target: &str, device: &str, state: &str, ratio: f64) -> Leg {
    let target = target.try_into().unwrap();
    Leg { target, device: device.to_owned(), state: state.to_owned(), ratio, ..Leg::default() }
}

fn raid1(name: &str, legs: Vec<Leg>) -> (String, Mirror) {
    let mirror = Mirror {
        name: name.to_owned(),
        kind: "raid1".to_owned(),
        size_bytes: 10 << 30,
        state: "redundant".to_owned(),
        copies_wanted: 2,
        copies_in_sync: 2,
        sync_action: "idle".to_owned(),
        sync_ratio: 1.0,
        managed: true,
        legs,
        ..Mirror::default()
    };
    (name.to_owned(), mirror)
}

fn healthy() -> Status {
    let legs = || vec![leg_on(&path(1), "/dev/sda1", "in-sync", 1.0), leg_on(&path(2), "/dev/sdb", "in-sync", 1.0)];
    Status {
        manager: Manager {
            state: "redundant".to_owned(),
            mirrors: 2,
            mirrors_redundant: 2,
            targets: 2,
            targets_logged_in: 2,
            ..Manager::default()
        },
        targets: [target_on(1, "logged-in", &["/dev/sda"]), target_on(2, "logged-in", &["/dev/sdb", "/dev/sdc"])]
            .into(),
        mirrors: [raid1("vg0/a", legs()), raid1("vg0/b", legs())].into(),
        ..Status::default()
    }
}

#[test]
fn all_is_well() {
    assert_eq!(
        status(&healthy(), &[], 0, Some(80)),
        "\
10.0.0.1
└─ iqn.2026-01.org.example:1  logged-in, timeout 10 s (quick)
   └─ /dev/sda
      ├─ vg0/a  in-sync
      └─ vg0/b  in-sync
10.0.0.2
└─ iqn.2026-01.org.example:2  logged-in, timeout 10 s (quick)
   ├─ /dev/sdb
   │  ├─ vg0/a  in-sync
   │  └─ vg0/b  in-sync
   └─ /dev/sdc

vg0/a  raid1 10.0 GiB: redundant, 2 of 2 copies in sync
vg0/b  raid1 10.0 GiB: redundant, 2 of 2 copies in sync
2 of 2 mirrors redundant, 2 of 2 targets logged in.
"
    );
}

#[test]
fn a_lost_and_a_rebuilding_leg_and_one_that_is_on_no_target() {
    let mut world = healthy();
    world.targets.insert(path(2), target_on(2, "blocked", &[]).1);
    let a = world.mirrors.get_mut("vg0/a").unwrap();
    (a.state, a.copies_in_sync, a.hold) = ("degraded".to_owned(), 1, "vg-incomplete".to_owned());
    a.hold_details.insert("events".to_owned(), Value::Uint(32));
    a.hold_details.insert("until".to_owned(), Value::Uint(1));
    a.legs[1] = leg_on(&path(2), "", "missing", 1.0);
    let b = world.mirrors.get_mut("vg0/b").unwrap();
    (b.state, b.copies_in_sync, b.sync_action) = ("resyncing".to_owned(), 1, "recover".to_owned());
    (b.sync_ratio, b.sync_rate_bytes, b.sync_remaining_usec) = (0.4319, 20 << 20, 700_000_000);
    b.legs[1] = leg_on("/", "/dev/nvme0n1", "rebuilding", 0.4319);
    (world.manager.mirrors_redundant, world.manager.targets_logged_in) = (0, 1);
    (world.manager.paused, world.manager.pause_reason) = (true, "disk swap".to_owned());
    assert_eq!(
        status(&world, &[], 0, Some(80)),
        "\
10.0.0.1
└─ iqn.2026-01.org.example:1  logged-in, timeout 10 s (quick)
   └─ /dev/sda
      ├─ vg0/a  in-sync
      └─ vg0/b  in-sync
10.0.0.2
└─ iqn.2026-01.org.example:2  blocked
   └─ vg0/a  missing
on no known target
└─ vg0/b  rebuilding 43.1 % on /dev/nvme0n1

vg0/a  raid1 10.0 GiB: degraded, 1 of 2 copies in sync
  held: vg-incomplete
    events: 32
  Another PV of the volume group is missing, and LVM refuses the step until it
  is back. Bring back its server.
vg0/b  raid1 10.0 GiB: resyncing, 1 of 2 copies in sync
  recover 43.1 %, 20.0 MiB/s, 12 min left
0 of 2 mirrors redundant, 1 of 2 targets logged in.
Healing is paused: disk swap
"
    );
}

#[test]
fn nothing_there() {
    assert_eq!(status(&Status::default(), &[], 0, Some(80)), "No mirrored volumes.\n");
}

#[test]
fn a_terminal_gets_no_long_lines_and_no_control_characters() {
    let mut world = healthy();
    let target = world.targets.get_mut(&path(1)).unwrap();
    (target.iqn, target.last_error) = (format!("iqn.{}", "x".repeat(300)), "\x1b[2J".to_owned());
    let terminal = status(&world, &[], 0, Some(80));
    assert!(terminal.lines().all(|line| line.chars().count() <= 80), "{terminal}");
    let pipe = status(&world, &[], 0, None);
    assert!(pipe.contains(&"x".repeat(300)), "a pipe gets the whole name");
    assert!(!pipe.contains('\x1b'));
}

#[test]
fn only_partitions_of_a_disk_are_on_it() {
    let cases = [("/dev/sda", true), ("/dev/sda1", true), ("/dev/sdaa", false), ("/dev/sdb", false), ("", false)];
    for (device, expected) in cases {
        assert_eq!(is_on(device, "/dev/sda"), expected, "{device:?}");
    }
}

#[test]
fn a_hold_that_needs_a_person_comes_with_evidence_and_the_command_that_ends_it() {
    let mut world = healthy();
    let a = world.mirrors.get_mut("vg0/a").unwrap();
    a.hold = "split-brain".to_owned();
    a.legs[0].details.insert("events".to_owned(), Value::Uint(29));
    let text = status(&world, &[], 0, Some(80));
    let lines: Vec<_> = text.lines().collect();
    let held = lines.iter().position(|line| *line == "  held: split-brain").unwrap();
    assert!(lines[held + 1].starts_with("  Legs were written apart"), "{text}");
    assert!(text.contains("  events            29                        -\n"), "{text}");
    assert!(text.contains("  to end it: mirrorkeeper resolve vg0/a --keep PV_UUID\n"), "{text}");

    world.mirrors.get_mut("vg0/a").unwrap().hold = "a-new-word".to_owned();
    assert!(status(&world, &[], 0, None).contains("  held: a-new-word\n"));
}

#[test]
fn bad_mounts_are_named_before_the_sum() {
    let warnings = ["/etc/fstab:4: /srv is on vg0/a, without nofail".to_owned()];
    let text = status(&healthy(), &warnings, 0, Some(80));
    let end = "
Mounts that would spoil a boot with a server down (README, section Boot):
  /etc/fstab:4: /srv is on vg0/a, without nofail
2 of 2 mirrors redundant, 2 of 2 targets logged in.
";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_plan_shows_why_not_and_what() {
    let step = |code: &str, why: &str, argv: &[&str]| PlannedStep {
        code: code.to_owned(),
        why: why.to_owned(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
    };
    let steps = [step("hold", "settling", &[]), step("check", "leg\non probation", &["lvm", "lvchange"])];
    assert_eq!(plan(&steps), "hold: settling\ncheck: leg?on probation\n  lvm lvchange\n");
    assert_eq!(plan(&[]), "nothing to do\n");
}
