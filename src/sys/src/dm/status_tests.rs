use super::*;
use crate::testing::each_fixture;
use proptest::prelude::*;

fn dev(major: u32, minor: u32) -> DevNo {
    DevNo { major, minor }
}

/// `NAME: START LENGTH KIND PARAMS` → name, kind, params.
fn recorded(text: &str) -> Vec<(&str, &str, &str)> {
    let fields = |line| {
        let (name, rest): (&str, &str) = str::split_once(line, ": ")?;
        let mut words = rest.splitn(4, ' ');
        Some((name, words.nth(2)?, words.next().unwrap_or_default()))
    };
    text.lines().filter_map(fields).collect()
}

#[test]
fn every_recorded_line_is_understood() {
    let tables = each_fixture("dmsetup-table.txt");
    let mut seen = 0;
    for ((name, table), (_, status)) in tables.iter().zip(each_fixture("dmsetup-status.txt")) {
        for ((device, kind, table), (again, _, info)) in recorded(table).into_iter().zip(recorded(&status)) {
            assert_eq!(device, again, "{name}");
            let target = target(kind, table, info);
            let known = matches!(
                target,
                DmTarget::Raid { .. } | DmTarget::Mirror { .. } | DmTarget::Linear { .. } | DmTarget::Error
            );
            assert!(known, "{name}: {target:?}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn raid_status_by_the_number_of_its_fields() {
    let status = |line| raid_status(line).unwrap();
    let full = status("raid1 2 AD 0/262144 frozen 41088 0 -");
    assert_eq!(full.health, [LegHealth::InSync, LegHealth::Dead]);
    assert_eq!((full.done, full.total, full.action, full.mismatches), (0, 262_144, SyncAction::Frozen, 41_088));
    let old = status("raid1 2 aA 1/2");
    assert_eq!((old.health[0], old.action, old.mismatches), (LegHealth::Syncing, SyncAction::Other("".into()), 0));
    assert_eq!(status("raid1 2 AA 2/2 idle 7").mismatches, 7);
    assert_eq!(status("raid5_ls 3 AA- 2/2 check 0 0 A and words to come").health[2], LegHealth::Absent);
    assert_eq!(status("raid1 2 A? 2/2 reshape 0").action, SyncAction::Other("reshape".into()));
    assert_eq!(status("raid1 2 A? 2/2 reshape 0").health[1], LegHealth::Other('?'));
}

#[test]
fn fewer_letters_than_legs_are_as_many_as_there_are() {
    assert_eq!(raid_status("raid1 3 Aa 0/9 resync 0").unwrap().health.len(), 2);
    assert!(raid_status("raid1 1 AA 9/9 idle 0").is_err());
}

#[test]
fn broken_raid_status_is_an_error() {
    for line in [
        "",
        "raid1",
        "raid1 x AA 1/2",
        "raid1 2",
        "raid1 2 AA",
        "raid1 2 AA 12",
        "raid1 2 AA 1/x",
        "raid1 2 AA 1/2 idle",
        "raid1 2 AA -1/2 idle 0",
    ] {
        assert!(raid_status(line).is_err(), "{line}");
    }
}

#[test]
fn raid_tables_with_all_their_words() {
    let plain = raid_table("raid1 3 0 region_size 4096 2 253:3 253:4 253:5 253:6").unwrap();
    assert_eq!(plain.raid_type, "raid1");
    assert_eq!(plain.legs, [(Some(dev(253, 3)), Some(dev(253, 4))), (Some(dev(253, 5)), Some(dev(253, 6)))]);
    assert!(plain.write_mostly.is_empty());
    let table = [
        ("raid1 5 0 write_mostly -1 region_size 4096 2 253:3 253:4 253:5 253:6", vec![-1]),
        ("raid1 7 0 max_recovery_rate 1024 write_mostly 1 region_size 4096 2 253:3 253:4 253:5 253:6", vec![1]),
        ("raid1 7 0 write_mostly 0 write_mostly 1 region_size 4096 2 253:3 253:4 253:5 253:6", vec![0, 1]),
        (
            "raid1 14 0 nosync rebuild 1 daemon_sleep 100 min_recovery_rate 1 max_recovery_rate 2 write_mostly 0 \
             max_write_behind 256 region_size 4096 2 253:3 253:4 253:5 253:6",
            vec![0],
        ),
        ("raid10 8 128 sync region_size 4096 raid10_copies 2 raid10_format near 2 - 253:4 253:5 253:6", vec![]),
        ("raid5_ls 7 128 journal_dev 253:9 journal_mode writeback region_size 4096 2 253:3 253:4 253:5 253:6", vec![]),
        // A count that is off, and a parameter nobody knows yet.
        ("raid1 99 0 new_word 5 write_mostly 1 2 253:3 253:4 253:5 253:6", vec![1]),
        // Nothing between the journal device and the number of legs.
        ("raid5_ls 3 128 journal_dev 253:9 2 253:3 253:4 253:5 253:6", vec![]),
    ];
    for (line, write_mostly) in table {
        let table = raid_table(line).unwrap();
        assert_eq!((table.write_mostly, table.legs.len()), (write_mostly, 2), "{line}");
    }
}

#[test]
fn a_leg_without_devices_is_none() {
    let table = raid_table("raid1 3 0 region_size 4096 2 253:3 253:4 - -").unwrap();
    assert_eq!(table.legs[1], (None, None));
}

#[test]
fn broken_raid_tables_are_errors() {
    for line in [
        "",
        "raid1",
        "raid1 3 0",
        "raid1 3 0 region_size 4096 2",
        "raid1 1 0 2 253:3 253:4 253:5",
        "raid1 1 0 1 253:3 253:4 253:5",
        "raid1 1 0 2 253:3 253:4",
        "raid1 3 0 write_mostly x 1 253:3 253:4",
    ] {
        assert!(raid_table(line).is_err(), "{line}");
    }
}

#[test]
fn mirror_status_with_each_kind_of_log() {
    let core = mirror_status("2 253:0 253:1 28/32 1 AD 1 core").unwrap();
    assert_eq!((core.legs, core.in_sync, core.total), (vec![dev(253, 0), dev(253, 1)], 28, 32));
    assert_eq!((core.health, core.log), (vec!['A', 'D'], MirrorLog::Core));
    let disk = mirror_status("2 253:1 253:2 400/400 1 AA 3 disk 253:0 F").unwrap();
    assert_eq!(disk.log, MirrorLog::Disk(dev(253, 0), 'F'));
    let other = mirror_status("2 253:1 253:2 400/400 1 AA 3 clustered-disk 253:0 A").unwrap();
    assert_eq!(other.log, MirrorLog::Other("clustered-disk".into()));
    for line in [
        "",
        "2 253:1",
        "2 253:1 253:2 400",
        "2 253:1 253:2 4/4 1 AA 3 disk",
        "2 253:1 x 4/4 1 AA 1 core",
        "18446744073709551615 253:1",
    ] {
        assert!(mirror_status(line).is_err(), "{line}");
    }
}

#[test]
fn handle_errors_is_found_among_the_features_and_nosync_among_the_arguments_of_the_log() {
    let table = [
        ("core 1 4096 2 253:0 0 253:1 0 1 handle_errors", (true, false)),
        ("core 1 4096 2 253:0 0 253:1 0 2 handle_errors keep_log", (true, false)),
        ("core 2 4096 nosync 2 253:0 0 253:1 0 1 handle_errors", (true, true)),
        ("core 1 4096 2 253:0 0 253:1 0", (false, false)),
        ("disk 2 253:5 4096 2 253:0 0 253:1 0 1 keep_log", (false, false)),
    ];
    for (line, wanted) in table {
        assert_eq!(mirror_table(line).unwrap(), wanted, "{line}");
    }
    assert!(mirror_table("core 1 4096 2 253:0 0 253:1").is_err());
}

#[test]
fn other_targets_keep_their_type_and_broken_ones_of_ours_say_so() {
    assert_eq!(target("crypt", "secret key", "x"), DmTarget::Other("crypt".into()));
    assert_eq!(target("error", "", ""), DmTarget::Error);
    assert_eq!(target("linear", "8:16 141312", ""), DmTarget::Linear { dev: dev(8, 16), offset: 141_312 });
    let DmTarget::Unreadable { kind, why } = target("raid", "raid1 1 0 1 - -", "raid1 1 ?") else { panic!() };
    assert_eq!(kind, "raid");
    assert_eq!(why, "raid status \"raid1 1 ?\": ratio is missing");
}

#[test]
fn a_table_swapped_between_the_two_calls_is_not_joined() {
    let line = |kind: &str, length| Line { start: 0, length, kind: kind.into(), params: "8:0 0".into() };
    let targets = targets(&[line("linear", 8)], &[line("raid", 8)]);
    assert!(matches!(&targets[..], [DmTarget::Unreadable { kind, .. }] if kind == "linear"), "{targets:?}");
    assert!(!same_shape(&[line("linear", 8)], &[line("linear", 16)]));
    assert!(!same_shape(&[line("linear", 8)], &[]));
}

proptest! {
    #[test]
    fn no_line_panics(kind in "raid|mirror|linear|error|x", table in ".{0,120}", info in ".{0,120}") {
        target(&kind, &table, &info);
    }

    #[test]
    fn no_plausible_line_panics(
        kind in "raid|mirror|linear",
        table in "(raid1 |core |[0-9]{1,20} |253:[0-9] |- |write_mostly |-1 ){0,16}",
        info in "(raid1 |[0-9]{1,20} |AD |[0-9]/[0-9] |idle |disk |253:1 ){0,16}",
    ) {
        target(&kind, &table, &info);
    }
}
