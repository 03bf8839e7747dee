//! What the service tells of the past and of what could be better, as text.
//!
//! Pure: entries in, a string out; one line an entry, so that `grep` works on it.

use crate::evidence::value_text;
use crate::text::{plain, utc};
use mirrorkeeper_client::{Entry, Finding, Value, path};
use std::collections::BTreeMap;

/// `2026-11-23 03:12:41Z error    leg-lost vg0/lv: leg=…, reason=…`
pub fn history(entries: &[Entry]) -> String {
    let line = |entry: &Entry| {
        let severity = &entry.severity;
        let object = object(entry.object.as_str());
        format!("{} {severity:8} {}{object}{}", utc(entry.at), entry.code, facts(&entry.details))
    };
    entries.iter().map(|entry| plain(&line(entry)) + "\n").collect()
}

/// A line for each, with what a person can do below it.
pub fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing was found that could be better\n".to_owned();
    }
    let mut text = String::new();
    for finding in findings {
        let mut details = finding.details.clone();
        let fixes = match details.remove("fix") {
            Some(Value::Texts(fixes)) => fixes,
            Some(other) => vec![value_text(&other)],
            None => Vec::new(),
        };
        let object = object(finding.object.as_str());
        text += &plain(&format!("{}: {}{object}{}", finding.severity, finding.code, facts(&details)));
        text.push('\n');
        fixes.iter().for_each(|fix| text += &format!("  {}\n", plain(fix)));
    }
    text
}

/// Whether a server may be switched off, and which mirrors are in the way.
pub fn safety(server: &str, safe: bool, reasons: &[(String, String)]) -> String {
    if safe {
        return format!("{server} may be switched off: every mirror has another trusted copy\n");
    }
    let lines = reasons.iter().map(|(mirror, reason)| plain(&format!("  {mirror}: {reason}")) + "\n");
    format!("{server} must not be switched off now:\n{}", lines.collect::<String>())
}

fn object(path: &str) -> String {
    path::name(path).map(|name| format!(" {name}")).unwrap_or_default()
}

fn facts(details: &BTreeMap<String, Value>) -> String {
    // The object says these already.
    let told = |name: &str| matches!(name, "mirror" | "iqn" | "portal" | "server");
    let facts = details.iter().filter(|(name, _)| !told(name));
    let facts: Vec<_> = facts.map(|(name, value)| format!("{name}={}", value_text(value))).collect();
    if facts.is_empty() { String::new() } else { format!(": {}", facts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorkeeper_client::OwnedObjectPath;

    fn object_path(path: &str) -> OwnedObjectPath {
        OwnedObjectPath::try_from(path.to_owned()).unwrap()
    }

    fn details(facts: &[(&str, Value)]) -> BTreeMap<String, Value> {
        facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn an_entry_is_one_line_whatever_it_says() {
        let entry = |object: &str, facts: &[(&str, Value)]| Entry {
            at: 1_700_000_000_123_456,
            code: "leg-lost".to_owned(),
            severity: "error".to_owned(),
            object: object_path(object),
            details: details(facts),
        };
        let facts = [("leg", text("pv\n1")), ("mirror", text("vg0/lv")), ("copies-in-sync", Value::Uint(1))];
        let told = history(&[entry("/org/mirrorkeeper1/mirror/vg0_2flv", &facts), entry("/org/mirrorkeeper1", &[])]);
        let expected = "2023-11-14 22:13:20Z error    leg-lost vg0/lv: copies-in-sync=1, leg=pv?1\n\
                        2023-11-14 22:13:20Z error    leg-lost\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_finding_says_what_to_do() {
        let finding = Finding {
            code: "not-monitored".to_owned(),
            severity: "warning".to_owned(),
            object: object_path("/org/mirrorkeeper1/mirror/vg0_2flv"),
            details: details(&[("fix", Value::Texts(vec!["lvchange --monitor y vg0/lv".to_owned()]))]),
        };
        assert_eq!(findings(&[finding]), "warning: not-monitored vg0/lv\n  lvchange --monitor y vg0/lv\n");
        assert!(findings(&[]).contains("nothing"));
    }

    #[test]
    fn a_server_that_is_needed_is_said_to_be() {
        let reasons = [("vg0/lv".to_owned(), "last-good-leg".to_owned())];
        assert_eq!(safety("nas1", false, &reasons), "nas1 must not be switched off now:\n  vg0/lv: last-good-leg\n");
        assert!(safety("nas1", true, &[]).contains("may be switched off"));
    }
}
