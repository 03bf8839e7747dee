//! Files in, settings or complaints out.

use super::*;
use mirrorkeeper_core::settings::{ServerPolicy, Verify};
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
        scrub_interval = 86400
        [boot]
        gate = true
        activation_grace = 90
        [timeouts]
        wait_timeout = 1_200
        quick_timeout = 8
        detect_timeout = 0
        fence = false
        [resync]
        limit = 1_000_000
        parallel = 2
        window = '22:00-06:30'
        inhibit_shutdown = true
        stall_after = 600
        [servers.nas1]
        portals = ['10.0.0.1:3260', '[fe80::1]:3260', 'fe80::2', 'nas1.example', 'nas1:860']
        [mirrors.'vg0/lv']
        verify = 'never'
        [mirrors.'vg0/other']
        exclude = true
        [mirrors.'vg0/last']
        priority = -5
        ",
        &[],
    );
    assert_eq!(config.problems, []);
    let portals = ["10.0.0.1:3260", "[fe80::1]:3260", "fe80::2", "nas1.example", "nas1:860"].map(String::from).to_vec();
    let policy = |verify, exclude| MirrorPolicy { verify, exclude, ..MirrorPolicy::default() };
    let expected = Settings {
        settle: Duration::from_secs(11),
        dmeventd_grace: Duration::from_secs(32),
        verify: Verify::Always,
        stamp_interval: Duration::ZERO,
        gate: true,
        activation_grace: Duration::from_secs(90),
        wait_timeout: 1200,
        quick_timeout: 8,
        detect_timeout: Duration::ZERO,
        fence: false,
        scrub_interval: Duration::from_secs(86_400),
        resync_limit: 1_000_000,
        parallel: 2,
        window: mirrorkeeper_core::window::Window::parse("22:00-06:30"),
        inhibit_shutdown: true,
        stall_after: Duration::from_secs(600),
        servers: [("nas1".to_owned(), ServerPolicy { portals })].into(),
        mirrors: [
            ("vg0/lv".to_owned(), policy(Some(Verify::Never), false)),
            ("vg0/other".to_owned(), policy(None, true)),
            ("vg0/last".to_owned(), MirrorPolicy { priority: -5, ..MirrorPolicy::default() }),
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
    let policy = MirrorPolicy { verify: Some(Verify::Always), exclude: true, ..MirrorPolicy::default() };
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
    let (_dir, config) = load(
        "[resync]\nwindow = \"22:00-06:00\"\n[boot]\ngate = true\n[mirrors.\"a/b\"]\nexclude = true\nverify = \"never\"\n[servers.\"a:1\"]\nportals = [\"b\", \"c\"]\n",
        &[],
    );
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
        (
            "[timeouts]\nwait_timeout = 60",
            "mirrorkeeper.toml:2: wait_timeout: accepted are seconds: 120 to 86400: the leg that waits would give up before a \
             server has restarted, and no leg would be left",
        ),
        ("[timeouts]\nquick_timeout = 0", "mirrorkeeper.toml:2: quick_timeout: accepted are seconds: 1 to 60"),
        ("[timeouts]\nquick_timeout = 61", "mirrorkeeper.toml:2: quick_timeout: accepted are seconds: 1 to 60"),
        (
            "[timeouts]\ndetect_timeout = 61",
            "mirrorkeeper.toml:2: detect_timeout: accepted are seconds: 1 to 60, or 0 for never",
        ),
        ("[timeouts]\nfence = 1", "mirrorkeeper.toml:2: fence: accepted are true or false"),
        ("[resync]\nparallel = 0", "mirrorkeeper.toml:2: parallel: accepted are copies at a time: 1 to 16"),
        (
            "[resync]\nwindow = '22-6'",
            "mirrorkeeper.toml:2: window: accepted are hours of the day such as \"22:00-06:00\"",
        ),
        ("[resync]\nwindow = '22:00-24:00'", "mirrorkeeper.toml:2: window: accepted are hours of the day"),
        ("[resync]\nwindow = '06:00-06:00'", "mirrorkeeper.toml:2: window: accepted are hours of the day"),
        ("[resync]\nwindow = false", "mirrorkeeper.toml:2: window: accepted are hours of the day"),
        ("[mirrors.'a/b']\npriority = -101", "mirrorkeeper.toml:2: priority: accepted are whole numbers: -100 to 100"),
        ("[boot]\nfoo = 1", "mirrorkeeper.toml:2: foo: no such key; [boot] has gate, activation_grace"),
        ("\n[mirror]\n", "mirrorkeeper.toml:2: [mirror]: no such table; there are [heal], [resync]"),
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

/// Or the legs that have to wait would fail before the quick ones.
#[test]
fn no_quick_timeout_reaches_a_wait_timeout() {
    let range = |name: &str| {
        let key = super::key::SETTINGS.iter().find(|key| key.name == name).unwrap();
        let super::key::Accepts::Seconds { least, most, or_never: false } = key.accepts else { panic!("{name}") };
        (least, most)
    };
    assert!(range("quick_timeout").1 < range("wait_timeout").0);
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
    let left = MirrorPolicy { exclude: true, ..MirrorPolicy::default() };
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
    let servers = config.settings.servers.clone();
    assert_eq!(servers["nas1"].portals.len(), 2);
    assert_eq!(config.settings, Settings { mirrors: policies.clone(), servers, ..Settings::default() });
    assert!(POLICY.iter().all(|key| policies.values().any(|policy| (key.get)(policy).is_some())), "{shown}");
}

#[test]
fn fragments_of_three_directories_are_one_list_in_which_the_administrator_has_the_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = ["lib", "run", "etc"].iter().map(|name| dir.path().join(name)).collect();
    let write = |dir: usize, name: &str, text: &str| {
        std::fs::create_dir_all(&dirs[dir]).unwrap();
        std::fs::write(dirs[dir].join(name), text).unwrap();
    };
    let main = dir.path().join("mirrorkeeper.toml");
    std::fs::write(&main, "[heal]\nsettle = 1\ngrace = 1").unwrap();
    let settle = || Config::load_from(&main, &dirs).settings.settle.as_secs();
    assert_eq!(settle(), 1, "no directory at all");
    write(0, "50-package.toml", "[heal]\nsettle = 2");
    assert_eq!(settle(), 2, "after the main file");
    write(1, "40-until-boot.toml", "[heal]\nsettle = 3");
    assert_eq!(settle(), 2, "by name, not by directory");
    write(2, "60-own.toml", "[heal]\nsettle = 4");
    assert_eq!(settle(), 4);
    write(2, "50-package.toml", "");
    std::fs::remove_file(dirs[2].join("60-own.toml")).unwrap();
    assert_eq!(settle(), 3, "an empty file of the same name puts the package's away");
    write(1, "50-package.toml", "nonsense");
    assert_eq!(Config::load_from(&main, &dirs).complaint(), "", "a file that is put away is not even read");
    write(2, "70-bad.toml", "[heal]\nsettle = 0\n[boot]\ngates = true");
    let said = Config::load_from(&main, &dirs).complaint().replace(&format!("{}/", dirs[2].display()), "");
    let gates = "gates: no such key; [boot] has gate, activation_grace";
    assert_eq!(said, format!("70-bad.toml:2: settle: accepted are seconds: 1 to 600; 70-bad.toml:4: {gates}"));
}

#[test]
fn a_server_has_portals_of_its_own() {
    let accepted = "portals: accepted are a list of \"ADDR:PORT\" or \"ADDR\", IPv6 with a port as \"[ADDR]:PORT\"";
    for portals in ["[]", "'10.0.0.1'", "[1]", "['']", "['10.0.0.1:0']", "['a:b']", "['fe80::1]:3260']", "['nas 1']"] {
        let said = complaints(&format!("[servers.nas1]\nportals = {portals}"));
        assert_eq!(said, [format!("mirrorkeeper.toml:2: {accepted}")], "{portals}");
    }
    let twice = "[servers.a]\nportals = ['10.0.0.1']\n[servers.b]\nportals = ['10.0.0.2', '10.0.0.1']\n";
    assert_eq!(complaints(twice), ["mirrorkeeper.toml:3: portals: 10.0.0.1 is given to a too"]);
    assert_eq!(complaints("[servers.'nas 1']").len(), 1);
}
