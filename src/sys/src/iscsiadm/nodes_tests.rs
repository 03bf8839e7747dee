use super::*;
use crate::testing::each_fixture;
use proptest::prelude::*;

fn record(fields: &[(&str, &str)]) -> String {
    let mut fields = fields.to_vec();
    for default in [("node.name", "iqn.x:a"), ("node.conn[0].address", "10.0.0.1"), ("node.conn[0].port", "3260")] {
        if !fields.iter().any(|(key, _)| *key == default.0) {
            fields.push(default);
        }
    }
    let lines: String = fields.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("# BEGIN RECORD 2.1.8\n{lines}# END RECORD\n")
}

fn one(fields: &[(&str, &str)]) -> NodeObs {
    let found = parse_nodes(&record(fields));
    assert_eq!((found.nodes.len(), found.gaps.len()), (1, 0), "{found:?}");
    found.nodes[0].clone()
}

#[test]
fn every_recorded_database_reads_without_gaps() {
    for (fixture, text) in each_fixture("iscsiadm-node.txt") {
        let found = parse_nodes(&text);
        assert_eq!(found.gaps, [""; 0], "{fixture}");
        assert_eq!(found.nodes.len(), text.matches("# BEGIN RECORD").count(), "{fixture}");
        assert!(!found.nodes.is_empty(), "{fixture}");
    }
}

#[test]
fn a_record_gives_who_when_and_how_long() {
    let (_, text) = each_fixture("iscsiadm-node.txt").into_iter().find(|(f, _)| f == "deb13-on-probation").unwrap();
    let found = parse_nodes(&text);
    let a = &found.nodes[0];
    assert_eq!(a.target.to_string(), "iqn.2006-01.com.openfiler:linuxtest1lv-a,10.10.1.2:3260");
    assert_eq!(a.startup, Startup::Automatic);
    assert!(a.replacement_timeout.is_some());
}

#[test]
fn the_stronger_startup_wins() {
    let table = [
        ("manual", "manual", Startup::Manual),
        ("manual", "automatic", Startup::Automatic),
        ("automatic", "manual", Startup::Automatic),
        ("onboot", "manual", Startup::Onboot),
        ("onboot", "automatic", Startup::Automatic),
        ("<empty>", "onboot", Startup::Onboot),
    ];
    for (node, connection, wanted) in table {
        let record = one(&[("node.startup", node), ("node.conn[0].startup", connection)]);
        assert_eq!(record.startup, wanted, "{node} {connection}");
    }
    assert_eq!(one(&[]).startup, Startup::Manual);
}

#[test]
fn odd_but_right_records_are_read() {
    let long = format!("iqn.2006-01.com.example:{}", "x".repeat(276));
    let record = one(&[
        ("node.name", &long),
        ("node.conn[0].address", "fe80::1"),
        ("iface.iscsi_ifacename", "eth1"),
        ("node.session.timeo.replacement_timeout", "-1"),
    ]);
    assert_eq!((record.target.iqn.len(), record.target.portal.as_str()), (300, "[fe80::1]:3260"));
    assert_eq!((record.target.iface.as_str(), record.replacement_timeout), ("eth1", Some(-1)));
}

#[test]
fn one_bad_record_costs_itself_only() {
    let bad = record(&[("node.name", "iqn.x:bad"), ("node.conn[0].port", "many")]);
    let cut = "# BEGIN RECORD 2.1.8\nnode.name = iqn.x:cut\n";
    let text = format!("noise\n{bad}{}{cut}{}{cut}", record(&[]), record(&[("node.startup", "sometimes")]));
    let found = parse_nodes(&text);
    assert_eq!(found.nodes.len(), 1);
    assert_eq!(
        found.gaps,
        [
            "node record \"iqn.x:bad\": node.conn[0].port: \"many\" is no number",
            "node record \"iqn.x:cut\": ends without # END RECORD",
            "node record \"iqn.x:a\": startup: \"sometimes\" is no mode",
            "node record \"iqn.x:cut\": ends without # END RECORD",
        ]
    );
}

#[test]
fn no_records_are_no_gaps() {
    assert_eq!(parse_nodes(""), Nodes::default());
    assert_eq!(parse_nodes("iscsiadm: No records found\n"), Nodes::default());
}

proptest! {
    #[test]
    fn no_text_panics(text in "(# BEGIN RECORD|# END RECORD|node\\.name|node\\.conn\\[0\\]\\.port| = |\n|.){0,60}") {
        parse_nodes(&text);
    }

    #[test]
    fn secrets_never_come_out(secret in "[!-~]{12,40}", key in "username|password|username_in|password_in", port in "3260|x") {
        let auth = format!("node.session.auth.{key}");
        let found = parse_nodes(&record(&[(&auth, &secret), ("node.conn[0].port", &port)]));
        let told = format!("{:?}", found);
        prop_assert!(!told.contains(&secret));
    }
}
