//! Files in, settings or complaints out.

use super::*;
use mirrorkeeper_core::settings::Verify;
use std::time::Duration;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/mirrorkeeper.toml"));

/// A configuration of `mirrorkeeper.toml` and of fragments by name.
fn load(main: &str, fragments: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mirrorkeeper.toml");
    std::fs::write(&file, main).unwrap();
    std::fs::create_dir(dir.path().join("mirrorkeeper.toml.d")).unwrap();
    for (name, text) in fragments {
        std::fs::write(dir.path().join("mirrorkeeper.toml.d").join(name), text).unwrap();
    }
    let config = Config::load(&file);
    (dir, config)
}

/// The complaints, without the directory.
fn complaints(main: &str) -> Vec<String> {
    let (dir, config) = load(main, &[]);
    let built_in = Settings { mirrors: config.settings.mirrors.clone(), ..Settings::default() };
    assert_eq!(config.settings, built_in, "{main}: nothing of a refused configuration is used");
    config.problems.iter().map(|p| p.to_string().replace(&format!("{}/", dir.path().display()), "")).collect()
}

#[test]
fn without_files_everything_is_built_in() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::load(&dir.path().join("mirrorkeeper.toml"));
    assert_eq!(config, Config::default());
    assert_eq!(config.render().matches("# built in").count(), SETTINGS.len());
}

#[test]
fn every_key_reaches_its_setting() {
    let (_dir, config) = load(
        "
        [heal]
        settle = 11
        grace = 0x20
        verify = 'always'
        stamp_interval = 0
        [boot]
        gate = true
        activation_grace = 90
        [timeouts]
        wait_timeout = 1_200
        [mirrors.'vg0/lv']
        verify = 'never'
        [mirrors.'vg0/other']
        exclude = true
        ",
        &[],
    );
    assert_eq!(config.problems, []);
    let policy = |verify, exclude| MirrorPolicy { verify, exclude };
    let expected = Settings {
        settle: Duration::from_secs(11),
        dmeventd_grace: Duration::from_secs(32),
        verify: Verify::Always,
        stamp_interval: Duration::ZERO,
        gate: true,
        activation_grace: Duration::from_secs(90),
        last_leg_timeout: 1200,
        mirrors: [
            ("vg0/lv".to_owned(), policy(Some(Verify::Never), false)),
            ("vg0/other".to_owned(), policy(None, true)),
        ]
        .into(),
        ..Settings::default()
    };
    assert_eq!(config.settings, expected);
}

#[test]
fn a_later_file_wins_key_by_key() {
    let main = "[heal]\nsettle = 20\ngrace = 20\n[mirrors.\"vg0/lv\"]\nexclude = true\n";
    let fragments = [
        ("20-late.toml", "heal.settle = 40\n[mirrors.\"vg0/lv\"]\nverify = \"always\"\n"),
        ("10-early.toml", "heal.settle = 30\n"),
        ("30-off.toml.off", "heal.settle = 50\n"),
        (".40-hidden.toml", "heal.settle = 60\n"),
    ];
    let (dir, config) = load(main, &fragments);
    assert_eq!(config.problems, []);
    assert_eq!(config.settings.settle, Duration::from_secs(40));
    assert_eq!(config.settings.dmeventd_grace, Duration::from_secs(20));
    let policy = MirrorPolicy { verify: Some(Verify::Always), exclude: true };
    assert_eq!(config.settings.mirrors["vg0/lv"], policy);

    let printed = config.render().replace(&format!("{}/", dir.path().display()), "");
    for line in [
        "settle = 40                  # mirrorkeeper.toml.d/20-late.toml:1",
        "grace = 20                   # mirrorkeeper.toml:3",
        "verify = \"auto\"              # built in",
        "[mirrors.\"vg0/lv\"]",
        "exclude = true               # mirrorkeeper.toml:5",
    ] {
        assert!(printed.lines().any(|l| l == line), "{line:?} in\n{printed}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let (_dir, config) = load("[boot]\ngate = true\n[mirrors.\"a/b\"]\nexclude = true\nverify = \"never\"\n", &[]);
    let (_dir, again) = load(&config.render(), &[]);
    assert_eq!((again.settings, again.problems), (config.settings, Vec::new()));
}

#[test]
fn a_problem_is_told_with_file_line_key_and_what_is_accepted() {
    let range = "mirrorkeeper.toml:2: settle: accepted are seconds: 1 to 600";
    for (text, told) in [
        ("[heal]\nsettle = 0", range),
        ("[heal]\nsettle = 601", range),
        ("[heal]\nsettle = -1", range),
        ("[heal]\nsettle = 99999999999999999999999", range),
        ("[heal]\nsettle = 1.5", range),
        ("[heal]\nsettle = \"10\"", range),
        ("[heal]\n\nverify = true", "mirrorkeeper.toml:3: verify: accepted are \"auto\", \"always\" or \"never\""),
        ("[heal]\nverify = \"Auto\"", "mirrorkeeper.toml:2: verify: accepted are \"auto\", \"always\" or \"never\""),
        (
            "[heal]\nstamp_interval = 59",
            "mirrorkeeper.toml:2: stamp_interval: accepted are seconds: 60 to 604800, or 0 for never",
        ),
        ("[boot]\ngate = \"yes\"", "mirrorkeeper.toml:2: gate: accepted are true or false"),
        ("[timeouts]\nwait_timeout = 60", "mirrorkeeper.toml:2: wait_timeout: accepted are seconds: 120 to 86400"),
        ("[boot]\nfoo = 1", "mirrorkeeper.toml:2: foo: no such key; [boot] has gate, activation_grace"),
        ("\n[mirror]\n", "mirrorkeeper.toml:2: [mirror]: no such table; there are [heal], [boot], [timeouts] and"),
        ("gate = true", "mirrorkeeper.toml:1: gate: keys stand in tables; there are [heal]"),
        ("[mirrors.lv]\nexclude = true", "mirrorkeeper.toml:1: mirrors.\"lv\": write [mirrors.\"VG/LV\"]"),
        ("[mirrors.vg0.lv]\nexclude = true", "mirrorkeeper.toml:1: mirrors.\"vg0\": write [mirrors.\"VG/LV\"]"),
        ("mirrors.\"vg0/lv\" = 1", "mirrorkeeper.toml:1: mirrors.\"vg0/lv\": write"),
        ("[heal]\nsettle = 10\nsettle = 10", "mirrorkeeper.toml:3: "),
        ("[heal\n", "mirrorkeeper.toml:1: "),
    ] {
        let said = complaints(text);
        assert!(said.len() == 1 && said[0].starts_with(told), "{text:?}: {said:?}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let told = complaints("[heal]\nsettle = 0\ngrace = 0\nfoo = 0\n[boot]\ngate = 0\n");
    let lines: Vec<_> = told.iter().map(|said| said.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "3", "4", "6"], "in the order of the file: {told:?}");
}

#[test]
fn one_bad_fragment_refuses_everything_but_exclusions() {
    let main = "[heal]\nsettle = 20\n[boot]\ngate = true\n[mirrors.\"a/b\"]\nexclude = true\nverify = \"never\"\n";
    let (_dir, config) = load(main, &[("x.toml", "[heal]\nsettle = 0\n[mirrors.\"c/d\"]\nverify = \"never\"\n")]);
    assert_eq!(config.problems.len(), 1);
    let left = MirrorPolicy { verify: None, exclude: true };
    let expected = Settings { mirrors: [("a/b".to_owned(), left)].into(), ..Settings::default() };
    assert_eq!(config.settings, expected);
    assert!(!config.render().contains("settle = 20"));
    assert_eq!(config.render().matches("mirrorkeeper.toml:").count(), 1, "only the exclusion has an origin");
}

#[test]
fn what_is_no_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mirrorkeeper.toml");
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert!(Config::load(&file).problems[0].to_string().contains("cannot be read"));
    std::fs::write(&file, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
    assert!(Config::load(&file).problems[0].to_string().contains("longer than"));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(Config::load(&file).problems[0].to_string().contains("cannot be read"));
}

/// The packaged example shows every key, commented out, with its built-in value.
#[test]
fn the_example_says_nothing_and_uncommented_it_says_what_is_built_in() {
    let (_dir, config) = load(EXAMPLE, &[]);
    assert_eq!(config, Config::default());
    let shown: String = EXAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    let (_dir, config) = load(&shown, &[]);
    assert_eq!(config.problems, []);
    let given = SETTINGS.iter().filter(|key| config.origins.contains_key(&(key.table.to_owned(), key.name)));
    assert_eq!(given.count(), SETTINGS.len(), "{shown}");
    let policies = config.settings.mirrors.clone();
    assert_eq!(config.settings, Settings { mirrors: policies.clone(), ..Settings::default() });
    assert!(POLICY.iter().all(|key| policies.values().any(|policy| (key.get)(policy).is_some())), "{shown}");
}
