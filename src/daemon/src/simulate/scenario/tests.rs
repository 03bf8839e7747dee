use super::super::table::seconds;
use super::*;
use mirrorkeeper_sys::sim::hand::Swap;
use mirrorkeeper_sys::sim::server::Fault;

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse(Path::new("s.toml"), text).map_err(|problem| problem.to_string())
}

#[test]
fn the_built_in_story_is_read_and_ends() {
    let scenario = Scenario::built_in().unwrap();
    assert!(scenario.repeat);
    assert_eq!((scenario.servers, scenario.vgs), (2, default_volumes()));
    assert_eq!(scenario.story.first(), Some(&(Duration::from_secs(20), Deed::Strike(1, Fault::Cut))));
    assert_eq!(scenario.story.last(), Some(&(Duration::from_secs(720), Deed::Advance(3600))));
    assert_eq!(Scenario::without_story().unwrap().story, []);
}

#[test]
fn every_word_has_its_deed() {
    let cases = [
        ("do = \"cut\"\nserver = \"a\"", Deed::Strike(0, Fault::Cut)),
        ("do = \"power-off\"\nserver = \"c\"", Deed::Strike(2, Fault::Power)),
        ("do = \"refuse\"\nserver = \"a\"", Deed::Strike(0, Fault::Refused)),
        ("do = \"hang\"\nserver = \"a\"", Deed::Strike(0, Fault::Hung)),
        ("do = \"return\"\nserver = \"b\"", Deed::Return(1)),
        ("do = \"swap\"\nserver = \"b\"\nwith = \"rolled-back\"", Deed::Swap(1, Swap::RolledBack)),
        ("do = \"use-elsewhere\"\nserver = \"b\"", Deed::UseElsewhere(1)),
        ("do = \"enter-maintenance\"\nserver = \"b\"", Deed::EnterMaintenance(1)),
        ("do = \"leave-maintenance\"\nserver = \"b\"", Deed::LeaveMaintenance(1)),
        ("do = \"resolve\"\nserver = \"b\"", Deed::Resolve(1, None)),
        ("do = \"resolve\"\nserver = \"b\"\nmirror = \"vg1/m\"", Deed::Resolve(1, Some("vg1/m".into()))),
        ("do = \"check\"\nmirror = \"vg0/x\"", Deed::Check("vg0/x".into())),
        ("do = \"reboot-client\"", Deed::RebootClient),
        ("do = \"kill-daemon\"", Deed::KillDaemon),
        ("do = \"advance\"\nby = \"2h\"", Deed::Advance(7200)),
    ];
    let world = "[world]\nservers = 3\nseed = 7\nraid1 = [\"vg0/x\"]\nmirror = [\"vg1/m\"]\n";
    for (step, deed) in cases {
        let scenario = parse(&format!("{world}[[step]]\nat = \"1m\"\n{step}\n")).unwrap();
        assert_eq!(scenario.story, [(Duration::from_secs(60), deed.clone())]);
        assert!(DEEDS.contains(deed.to_string().split(' ').next().unwrap()), "{deed}");
        assert_eq!((scenario.servers, scenario.seed, scenario.repeat), (3, 7, false));
        assert_eq!(scenario.vgs, [vec![("x".into(), Kind::Raid1)], vec![("m".into(), Kind::Mirror)]]);
    }
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_key() {
    let cases = [
        ("loop = 1", "s.toml:1: loop: accepted are true and false"),
        ("loop = true", "s.toml:1: loop: there is no story that takes time"),
        ("\nlop = true", "s.toml:2: lop: no such key; the file has loop, world, step"),
        ("world = 3", "s.toml:1: world: write it as a table"),
        ("step = 3", "s.toml:1: step: write [[step]] before each"),
        ("step = [3]", "s.toml:1: step: write [[step]] before each"),
        ("[world]\nservers = 1", "s.toml:2: servers: accepted are whole numbers, 2 to 4"),
        ("[world]\nseed = \"x\"", "s.toml:2: seed: accepted are whole numbers, 0 to"),
        ("[world]\nraid1 = \"vg0/x\"", "s.toml:2: raid1: accepted is a list of texts in quotes"),
        ("[world]\n\nraid1 = [\"vg10/x\"]", "s.toml:3: raid1: \"vg10/x\": mirrors are named vg0/NAME to vg9/NAME"),
        ("[world]\nraid1 = [\"vg0/\"]", "s.toml:2: raid1: \"vg0/\": mirrors are named"),
        ("[world]\nraid1 = [\"vg0/x\"]\nmirror = [\"vg0/x\"]", "s.toml:3: mirror: \"vg0/x\" is there twice"),
        ("[world]\nraid1 = [\"vg1/x\"]", "s.toml:2: raid1: there is no mirror in vg0"),
        ("[[step]]\ndo = \"kill-daemon\"", "s.toml:1: at: is missing"),
        ("[[step]]\nat = \"20\"", "s.toml:1: do: is missing"),
        ("[[step]]\nat = 20", "s.toml:2: at: accepted is a text in quotes"),
        ("[[step]]\nat = \"soon\"", "s.toml:2: at: \"soon\": accepted are times such as \"20s\""),
        ("[[step]]\nat = \"25h\"", "s.toml:2: at: \"25h\": accepted are times such as \"20s\""),
        ("[[step]]\nat = \"1s\"\ndo = \"burn\"", "s.toml:3: do: \"burn\": accepted are cut, power-off"),
        ("[[step]]\nat = \"1s\"\ndo = \"cut\"\nserver = \"c\"", "s.toml:4: server: \"c\": there are 2, named a, b"),
        ("[[step]]\nat = \"1s\"\ndo = \"cut\"", "s.toml:1: server: is missing"),
        (
            "[[step]]\nat = \"1s\"\ndo = \"kill-daemon\"\nserver = \"a\"",
            "s.toml:4: server: no such key; step has at, do",
        ),
        ("[[step]]\nat = \"1s\"\ndo = \"check\"\nmirror = \"vg0/y\"", "s.toml:4: mirror: \"vg0/y\": no such mirror"),
        (
            "[[step]]\nat = \"1s\"\ndo = \"swap\"\nserver = \"a\"\nwith = \"gold\"",
            "s.toml:5: with: \"gold\": accepted are blank",
        ),
        (
            "step = [{ at = \"2s\", do = \"kill-daemon\" }, { at = \"1s\", do = \"kill-daemon\" }]",
            "s.toml:1: at: a step stands",
        ),
        ("= 3", "s.toml:1: "),
    ];
    for (text, said) in cases {
        let problem = parse(text).unwrap_err();
        assert!(problem.starts_with(said), "{text}\nsaid:   {problem}\nwanted: {said}");
    }
    let many: Vec<String> = (0..=MOST_MIRRORS).map(|n| format!("\"vg0/v{n}\"")).collect();
    let problem = parse(&format!("[world]\nmirror = [{}]", many.join(", "))).unwrap_err();
    assert_eq!(problem, "s.toml:2: mirror: 101 mirrors; at most 100");
}

#[test]
fn a_file_that_is_not_there_is_refused_by_name() {
    let said = Scenario::load(Path::new("/nowhere/s.toml")).unwrap_err().to_string();
    assert!(said.starts_with("/nowhere/s.toml: cannot be read: "), "{said}");
}

#[test]
fn times_have_units() {
    for (text, seconds_of) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("0s", 0)] {
        assert_eq!(seconds(text), Some(seconds_of), "{text}");
    }
    for text in ["", "s", "1d", "-1s", "1.5m", "1 m", "99999999999999999999s", "9999999999999999999h", "é"] {
        assert_eq!(seconds(text), None, "{text}");
    }
}
