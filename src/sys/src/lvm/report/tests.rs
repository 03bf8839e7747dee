use super::*;
use crate::testing::{each_fixture, fixture_text};
use proptest::prelude::*;

fn recorded(fixture: &str) -> VgObs {
    let view = parse(&fixture_text(fixture, "fullreport.json")).unwrap();
    assert_eq!(view.gaps, [""; 0], "{fixture}");
    view.vgs.into_iter().next().unwrap()
}

fn lv<'a>(vg: &'a VgObs, name: &str) -> &'a LvObs {
    vg.lvs.iter().find(|lv| lv.name == name).unwrap()
}

#[test]
fn every_recorded_report_reads_without_gaps() {
    for (fixture, text) in each_fixture("fullreport.json") {
        let view = parse(&text).unwrap_or_else(|e| panic!("{fixture}: {e}"));
        assert_eq!(view.gaps, [""; 0], "{fixture}");
        // With both servers gone LVM says nothing, and exits with 0.
        assert_eq!(view.vgs.len(), usize::from(fixture != "both-down"), "{fixture}");
    }
}

#[test]
fn a_leg_on_probation_reads_in_full() {
    let vg = recorded("deb13-on-probation");
    assert_eq!((vg.name.as_str(), vg.seqno, vg.extent_size, vg.writeable), ("vg0", 8, 4_194_304, true));
    assert_eq!((vg.exported, vg.system_id.as_str(), vg.lock_type.as_str()), (false, "", ""));
    assert_eq!(vg.tags, ["mirrorkeeper.epoch.2"]);
    assert_eq!(vg.pvs.len(), 2);
    assert_eq!(
        (vg.pvs[0].device.as_deref(), vg.pvs[0].missing, vg.pvs[0].dev_size),
        (Some("/dev/sda"), false, 419_430_400)
    );
    let r1 = lv(&vg, "r1");
    assert_eq!(
        (r1.layout.as_slice(), r1.role.as_slice()),
        (&["raid".to_owned(), "raid1".into()][..], &["public".to_owned()][..])
    );
    assert_eq!((r1.active, r1.converting, r1.size, r1.parent.as_str()), (true, false, 134_217_728, ""));
    let [seg] = &r1.segs[..] else { panic!("{:?}", r1.segs) };
    assert_eq!((seg.segtype.as_str(), seg.monitor.as_str()), ("raid1", "monitored"));
    assert_eq!(seg.devices, ["r1_rimage_0", "r1_rimage_1"]);
    assert_eq!(seg.metadata_devices, ["r1_rmeta_0", "r1_rmeta_1"]);
    let image = lv(&vg, "r1_rimage_1");
    assert_eq!(
        (image.parent.as_str(), image.health.as_str(), image.attr.as_str()),
        ("r1", "writemostly", "iwi-aor-w-")
    );
    assert_eq!(image.segs[0].devices, ["/dev/sda"]);
    let run = ExtentRun { pv: vg.pvs[0].uuid.clone(), start: 17, len: 32 };
    assert_eq!(image.extents, [run]);
}

#[test]
fn active_is_read_from_words_and_from_digits() {
    assert!(lv(&recorded("healthy"), "r1").active, "a word on 2.03.16");
    assert!(lv(&recorded("deb13-healthy"), "r1").active, "a digit on 2.03.31");
    assert!(!lv(&recorded("inactive-at-boot-one-server-down"), "r1").active);
    assert!(!lv(&recorded("deb13-rolled-back-while-off"), "r1").active);
}

#[test]
fn autoactivation_is_on_unless_the_report_says_otherwise() {
    assert!(recorded("healthy").lvs.iter().all(|lv| lv.autoactivation), "a report without the column");
    for (value, wanted) in [("1", true), ("0", false)] {
        let view = parse(&small(|s| s["lv"][0]["lv_autoactivation"] = value.into())).unwrap();
        assert_eq!(view.vgs[0].lvs[0].autoactivation, wanted);
    }
    let unclear = parse(&small(|s| s["lv"][0]["lv_autoactivation"] = "later".into())).unwrap();
    assert_eq!(unclear.gaps, ["LVM report of VG \"v\": column lv_autoactivation: \"later\" is neither 0 nor 1"]);
}

#[test]
fn flagged_and_absent_are_told_apart() {
    let flagged = recorded("missing-pv-flagged");
    assert!(flagged.pvs.iter().any(|pv| pv.missing && pv.device.is_some()), "{:?}", flagged.pvs);
    let absent = recorded("one-leg-offline");
    assert!(absent.pvs.iter().any(|pv| pv.missing && pv.device.is_none()), "{:?}", absent.pvs);
    assert!(absent.pvs.iter().any(|pv| !pv.missing));
}

#[test]
fn both_dialects_say_the_same() {
    let json = fixture_text("deb13-healthy", "fullreport.json");
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let lists = ["vg_tags", "lv_role", "lv_layout", "devices", "metadata_devices"];
    for section in value["report"].as_array_mut().unwrap() {
        for row in section.as_object_mut().unwrap().values_mut().flat_map(|rows| rows.as_array_mut().unwrap()) {
            for (column, cell) in row.as_object_mut().unwrap() {
                let text = cell.as_str().unwrap().to_owned();
                *cell = if lists.contains(&column.as_str()) {
                    text.split(',').filter(|w| !w.is_empty()).map(serde_json::Value::from).collect()
                } else if let Ok(number) = text.parse::<u64>() {
                    number.into()
                } else if text.is_empty() {
                    serde_json::Value::Null
                } else {
                    text.into()
                };
            }
        }
    }
    assert_eq!(parse(&value.to_string()).unwrap(), parse(&json).unwrap());
}

#[test]
fn the_command_asks_for_every_column_that_is_read() {
    let columns: Vec<&str> = ARGV.iter().flat_map(|word| word.split(',')).collect();
    for (_, text) in each_fixture("fullreport.json") {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        for section in value["report"].as_array_mut().unwrap() {
            for row in section.as_object_mut().unwrap().values_mut().flat_map(|rows| rows.as_array_mut().unwrap()) {
                row.as_object_mut().unwrap().retain(|column, _| columns.contains(&column.as_str()));
            }
        }
        assert_eq!(parse(&value.to_string()).unwrap(), parse(&text).unwrap());
    }
    assert_eq!(ARGV.iter().filter(|w| **w == "--configreport").count(), 5);
    assert_eq!(ARGV.iter().filter(|w| **w == "-o").count(), 5);
    assert!(ARGV.iter().all(|w| !w.contains(' ')));
}

/// A report of one VG with one LV and one row of each kind; `edit` may break it.
fn small(edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let (vg, pv, lv) = (
        "ImOQMl-sYe8-09u1-UxfS-8srV-yCcN-naeJUC",
        "NkXull-Ejyz-AJ8b-BJGh-MLe4-dxuA-dWqJhq",
        "yA6Ghe-2XpY-QAwN-Dmi6-kbYs-IuaR-6noMxZ",
    );
    let mut section = serde_json::json!({
        "vg": [{"vg_uuid": vg, "vg_name": "v", "vg_seqno": "1", "vg_exported": "0", "vg_systemid": "",
                "vg_lock_type": "none", "vg_permissions": "read-only", "vg_extent_size": "4194304", "vg_tags": "a,b"}],
        "pv": [{"pv_uuid": pv, "pv_name": "[unknown]", "pv_missing": "0", "pv_duplicate": "0", "dev_size": "0"}],
        "lv": [{"lv_uuid": lv, "lv_name": "[l]", "lv_parent": "[p]", "lv_role": "private", "lv_layout": "linear",
                "lv_attr": "-wi", "lv_size": "8", "lv_active": "-1", "lv_converting": "0", "move_pv": "",
                "mirror_log": "[l_mlog]", "lv_health_status": "partial"}],
        "pvseg": [{"pv_uuid": pv, "lv_uuid": "", "pvseg_start": "0", "pvseg_size": "9"}],
        "seg": [{"lv_uuid": lv, "seg_start": "8", "segtype": "linear", "seg_monitor": "",
                 "devices": "[unknown](17)", "metadata_devices": ""},
                {"lv_uuid": lv, "seg_start": "0", "segtype": "error", "seg_monitor": "",
                 "devices": "", "metadata_devices": ""}],
    });
    edit(&mut section);
    serde_json::json!({"report": [section]}).to_string()
}

#[test]
fn brackets_come_off_and_the_unknown_stays_unknown() {
    let view = parse(&small(|_| {})).unwrap();
    let vg = &view.vgs[0];
    assert!(!vg.writeable && vg.pvs[0].device.is_none() && vg.pvs[0].missing);
    let lv = &vg.lvs[0];
    assert_eq!((lv.name.as_str(), lv.parent.as_str(), lv.mirror_log.as_str(), lv.active), ("l", "p", "l_mlog", false));
    assert_eq!(lv.segs[0].segtype, "error", "segments in order");
    assert_eq!(lv.segs[1].devices, ["[unknown]"]);
}

#[test]
fn a_vg_with_anything_unclear_is_left_out_whole() {
    let cases: [(&str, &str, &str, &str); 4] = [
        ("vg", "vg_seqno", "many", "column vg_seqno: \"many\" is no number"),
        ("pv", "pv_missing", "perhaps", "column pv_missing: \"perhaps\" is neither 0 nor 1"),
        ("lv", "lv_uuid", "x", "column lv_uuid: LVM UUID \"x\": not 32 characters of LVM's alphabet"),
        ("lv", "lv_size", "-8", "column lv_size: \"-8\" is no number"),
    ];
    for (section, column, value, why) in cases {
        let view = parse(&small(|s| s[section][0][column] = value.into())).unwrap();
        assert_eq!(view.vgs, []);
        assert_eq!(view.gaps, [format!("LVM report of VG \"v\": {why}")]);
    }
    let view = parse(&small(|s| drop(s["lv"][0].as_object_mut().unwrap().remove("lv_attr")))).unwrap();
    assert_eq!(view.gaps, ["LVM report of VG \"v\": column lv_attr is missing"]);
}

#[test]
fn orphans_are_nobodys_and_same_names_stay_two() {
    let orphan = small(|s| {
        s["vg"][0]["vg_uuid"] = "".into();
        s["vg"][0]["vg_seqno"] = "".into();
    });
    // After `vgremove`, as lvm2 2.03.16 prints it.
    let removed = small(|s| drop(s.as_object_mut().unwrap().remove("vg")));
    for report in [orphan, removed] {
        let view = parse(&report).unwrap();
        assert_eq!((view.vgs, view.gaps, view.orphans.len()), (Vec::new(), Vec::new(), 1));
    }
    let (one, other) =
        (small(|_| {}), small(|s| s["vg"][0]["vg_uuid"] = "NkXull-Ejyz-AJ8b-BJGh-MLe4-dxuA-dWqJhq".into()));
    let mut both: serde_json::Value = serde_json::from_str(&one).unwrap();
    let other: serde_json::Value = serde_json::from_str(&other).unwrap();
    both["report"].as_array_mut().unwrap().push(other["report"][0].clone());
    let view = parse(&both.to_string()).unwrap();
    assert_eq!(view.vgs.iter().map(|vg| vg.name.as_str()).collect::<Vec<_>>(), ["v", "v"]);
    assert_ne!(view.vgs[0].uuid, view.vgs[1].uuid);
}

#[test]
fn what_is_no_report_is_an_error() {
    let whole = fixture_text("healthy", "fullreport.json");
    for text in ["", "{}", "[]", "null", "{\"report\": 1}", &whole[..whole.len() / 2]] {
        assert!(parse(text).is_err(), "{text:.40}");
    }
    assert_eq!(parse("{\"report\": []}").unwrap(), LvmView::default());
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_panics(section in "vg|pv|lv|seg|pvseg", column in "[a-z_]{1,20}|lv_name|devices|vg_tags|lv_uuid", value in ".{0,40}", list: bool) {
        let _ = parse(&small(|s| s[&section][0][&column] = if list { vec![value].into() } else { value.into() }));
    }

    #[test]
    fn every_legal_name_comes_through(name in "[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,60}", hidden: bool) {
        let shown = if hidden { format!("[{name}]") } else { name.clone() };
        let view = parse(&small(|s| {
            s["vg"][0]["vg_name"] = name.clone().into();
            s["lv"][0]["lv_name"] = shown.into();
            s["seg"][0]["devices"] = format!("{name}(0),{name}(12)").into();
        })).unwrap();
        prop_assert_eq!(&view.vgs[0].name, &name);
        prop_assert_eq!(&view.vgs[0].lvs[0].name, &name);
        prop_assert_eq!(&view.vgs[0].lvs[0].segs[1].devices, &[name.clone(), name]);
    }
}
