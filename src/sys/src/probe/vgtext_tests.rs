use super::*;
use proptest::prelude::*;
use std::fmt::Write;

/// What lvm2 2.03.16 wrote; testdata/README says how.
const STAYED: &str = include_str!("../../testdata/vg-missing.txt");
const RETURNED: &str = include_str!("../../testdata/vg-returned.txt");

fn id(text: &str) -> LvmUuid {
    LvmUuid::parse(text).unwrap()
}

fn uuids(texts: &[&str]) -> BTreeSet<LvmUuid> {
    texts.iter().map(|text| id(text)).collect()
}

#[test]
fn the_pv_that_stayed_accuses_the_one_that_was_away() {
    let vg = id("wijaOH-uy73-Urvp-WKWW-YQvU-2BP1-jPzVLT");
    let away = uuids(&["TqNobh-dvXw-nx7n-Z5SL-odSR-BQ53-eAQARh"]);
    let host = Name::from("example");
    let stayed = VgText { vg: vg.clone(), seqno: 12, missing: away, stamps: [7, 8, 13].into(), host: host.clone() };
    assert_eq!(read(STAYED), Ok(stayed));
    let returned = VgText { vg, seqno: 11, missing: BTreeSet::new(), stamps: [7, 8, 12].into(), host };
    assert_eq!(read(RETURNED), Ok(returned), "an LV called MISSING is no flag, nor is the tag flags=MISSING");
}

const VG: &str = "ImOQMl-sYe8-09u1-UxfS-8srV-yCcN-naeJUC";
const PV: &str = "NkXull-Ejyz-AJ8b-BJGh-MLe4-dxuA-dWqJhq";

/// A VG of one PV, with these lines of its own and of its PV.
fn text(vg: &str, pv: &str) -> String {
    format!("v {{\n{vg}\nphysical_volumes {{\npv0 {{\n{pv}\n}}\n}}\nlogical_volumes {{\n}}\n}}\n")
}

fn head() -> String {
    format!("id = \"{VG}\"\nseqno = 3")
}

fn pv() -> String {
    format!("id = \"{PV}\"")
}

#[test]
fn the_flag_counts_in_either_list_and_nowhere_else() {
    for (lines, missing) in [
        ("flags = [\"MISSING\"]", true),
        ("status = [\"ALLOCATABLE\", \"MISSING\"]", true),
        ("flags = \"MISSING\"", true),
        ("flags = []\nstatus = [\"MISSING\"]", true),
        ("flags = [\"NOT_MISSING\", \"missing\"]", false),
        ("tags = [\"MISSING\"]\ndevice = \"MISSING\"", false),
        ("sub {\nflags = [\"MISSING\"]\nid = \"other\"\n}", false),
    ] {
        let found = read(&text(&head(), &format!("{}\n{lines}", pv()))).unwrap();
        assert_eq!(found.missing, if missing { uuids(&[PV]) } else { BTreeSet::new() }, "{lines}");
    }
}

#[test]
fn only_the_tags_of_the_vg_are_stamps() {
    let lines = format!("{}\ntags = [\"mirrorkeeper.epoch.1\", \"x.mirrorkeeper.epoch.2\"]", head());
    let deep = "tags = [\"mirrorkeeper.epoch.3\"]\ntags { tags = [\"mirrorkeeper.epoch.4\"] }";
    assert_eq!(read(&text(&lines, &format!("{}\n{deep}", pv()))).unwrap().stamps, [1].into());
    assert_eq!(read(&text(&head(), &pv())).unwrap().stamps, BTreeSet::new());
    let single = format!("{}\ntags = \"mirrorkeeper.epoch.5\"", head());
    assert_eq!(read(&text(&single, &pv())).unwrap().stamps, [5].into());
}

#[test]
fn what_leaves_anything_open_is_refused() {
    let (head, pv) = (head(), pv());
    for (text, why) in [
        (String::new(), "ends before its VG does"),
        ("v".into(), "without a section or a value"),
        (text(&head, &pv).trim_end().trim_end_matches('}').into(), "ends before its VG does"),
        (format!("}}\n{}", text(&head, &pv)), "closed that was not opened"),
        (text(&format!("id = \"{VG}\""), &pv), "no seqno"),
        (text("seqno = 3", &pv), "no id"),
        (text(&format!("{head}\nseqno = 4"), &pv), "seqno is said twice"),
        (text(&format!("{head}\nid = \"{PV}\""), &pv), "id is said twice"),
        (text(&format!("{head}\ntags = [\"a\"]\ntags = []"), &pv), "tags is said twice"),
        (text(&format!("id = \"{VG}\"\nseqno = [1, 2]"), &pv), "is no number"),
        (text(&format!("id = \"{VG}\"\nseqno = -1"), &pv), "is no number"),
        (text(&format!("id = [\"{VG}\", \"x\"]\nseqno = 1"), &pv), "not 32 characters"),
        (text(&head, "flags = [\"MISSING\"]"), "a PV without id"),
        (text(&head, &format!("{pv}\n{pv}")), "id is said twice"),
        (text(&head, "id = \"x\""), "not 32 characters"),
        (format!("v {{\n{head}\n}}"), "names no PVs"),
    ] {
        let said = read(&text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn the_deepest_nesting_is_stood() {
    let depth = 1 << 20;
    let deep = format!("v {{ {} {} }}", "a {".repeat(depth), "}".repeat(depth));
    assert_eq!(read(&deep).unwrap_err(), "the VG names no PVs");
    assert_eq!(read(&"a{".repeat(depth)).unwrap_err(), "the text ends before its VG does");
}

#[test]
fn the_largest_text_is_read_while_somebody_waits() {
    let tags: Vec<String> = (0..60_000).map(|n| format!("\"mirrorkeeper.epoch.{n}\"")).collect();
    let mut lines = format!("{}\ntags = [{}]\n", head(), tags.join(","));
    while lines.len() < 4 * 1024 * 1024 {
        lines.push_str("other = [\"} # \\\"\", 1]\n");
    }
    let started = std::time::Instant::now();
    assert_eq!(read(&text(&lines, &pv())).unwrap().stamps.len(), 60_000);
    // Some 0.1 s without optimisation; a reader that goes over the text again for each line would take minutes.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

proptest! {
    #[test]
    fn no_text_panics(text in "(v \\{|id|seqno| = |\"|[0-9]|physical_volumes \\{|flags|\\[|\\]|\n|\\}|.){0,60}") {
        let _ = read(&text);
    }

    /// A changed byte may change what it stands in, but no PV that was there becomes missing; and a text that ends
    /// somewhere is read in full or not at all, but for who wrote it, which stands behind.
    #[test]
    fn a_damaged_text_is_read_or_refused(at in 0..STAYED.len(), byte in 0_u8..128, cut in 0..STAYED.len()) {
        let mut bytes = STAYED.as_bytes().to_vec();
        bytes[at] = byte;
        let damaged = String::from_utf8(bytes).unwrap();
        if let Ok(found) = read(&damaged) {
            prop_assert!(!found.missing.contains(&id("GeSCk3-Bfsm-88r2-WWaN-C75x-XJ0T-DvQ4WD")), "{:?}", found);
        }
        if let Ok(found) = read(&STAYED[..cut]) {
            let whole = read(STAYED).unwrap();
            let host = if found.host.is_empty() { Name::default() } else { whole.host.clone() };
            prop_assert_eq!(found, VgText { host, ..whole });
        }
    }

    /// Names and tags are anybody's; what they say must not pass for structure.
    #[test]
    fn no_tag_description_or_name_fools_it(
        tags in proptest::collection::vec("(\"|\\\\|\\{|\\}|\\[|\\]|=|#|,|flags|MISSING|id|seqno|[a-z ]|\n){0,20}", 0..4),
        lv in "flags|status|MISSING|physical_volumes|pv0|id|seqno|tags|[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,20}",
        stamp: u64,
        missing: bool,
    ) {
        let all: Vec<String> = tags.iter().map(|tag| quoted(tag)).chain([format!("\"mirrorkeeper.epoch.{stamp}\"")]).collect();
        let list = format!("tags = [{}]", all.join(", "));
        let mut text = format!("{lv} {{\ndescription = {}\n{}\n{list}\n", quoted(&tags.concat()), head());
        let flag = if missing { "\"MISSING\"" } else { "" };
        write!(text, "physical_volumes {{\npv0 {{\n{}\n{list}\nflags = [{flag}]\n}}\n}}\n", pv()).unwrap();
        write!(text, "logical_volumes {{\n{lv} {{\n{}\n{list}\ncreation_host = \"lv\"\n}}\n}}\n}}\n", pv()).unwrap();
        write!(text, "description = {}\ncreation_host = \"node\"\n", quoted(&tags.concat())).unwrap();
        let wanted = VgText {
            vg: id(VG),
            seqno: 3,
            missing: if missing { uuids(&[PV]) } else { BTreeSet::new() },
            stamps: [stamp].into(),
            host: "node".into(),
        };
        prop_assert_eq!(read(&text), Ok(wanted));
    }
}
