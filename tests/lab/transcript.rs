//! What was said on the bus, a signal a line, for people: `dbus/TRANSCRIPT.md` is made of it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Announced at most once a second, and too often for a page.
const PROGRESS: &[&str] =
    &["SyncRatio", "SyncRateBytes", "SyncRemainingUSec", "Progress", "ProgressValid", "RateBytes", "ExpectedEndAtUSec"];

/// A value that is longer is left out.
const WIDTH: usize = 80;

/// Moments on the bus that differ by less than this are one moment: two announcements would be one too many.
const SAME_USEC: u64 = 100_000;

/// Every signal, with seconds since the first, but for those that only say how far a copy is or have no room here.
pub fn lines(messages: &[Value]) -> Vec<String> {
    let signals: Vec<&Value> = messages.iter().filter(|m| m["type"] == "signal").collect();
    let at = |m: &Value| m["timestamp-realtime"].as_u64().unwrap_or(0);
    let first = signals.first().map_or(0, |m| at(m));
    let told = signals.into_iter().filter_map(|signal| Some((signal, line(signal)?)));
    told.map(|(signal, text)| {
        let seconds = at(signal).saturating_sub(first) as f64 / 1e6;
        let object = tail(signal["path"].as_str().unwrap_or_default());
        format!("{seconds:>7.1}  {object}  {}", text.trim_end())
    })
    .collect()
}

/// What a signal says; nothing if it is not told.
fn line(signal: &Value) -> Option<String> {
    let data = &signal["payload"]["data"];
    let member = signal["member"].as_str().unwrap_or_default();
    match member {
        "PropertiesChanged" => {
            let changed = data[1].as_object()?;
            let told = changed.iter().filter(|(name, _)| !PROGRESS.contains(&name.as_str()));
            let told: Vec<String> = told.map(|(name, value)| format!("{name}={}", short(&value["data"]))).collect();
            told.iter().any(|text| !text.ends_with('…')).then(|| format!("changed  {}", told.join(" ")))
        }
        "Event" => {
            let object = tail(data[3].as_str().unwrap_or_default());
            let word = |i: usize| data[i].as_str().unwrap_or_default();
            let details = data[4].as_object().into_iter().flatten();
            let details: Vec<String> = details.map(|(key, value)| format!("{key}={}", short(&value["data"]))).collect();
            Some(format!("Event  {} {} {object} {}", word(1), word(2), details.join(" ")))
        }
        "InterfacesAdded" => {
            let interfaces = data[1].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let interfaces: Vec<&str> = interfaces.filter(|name| name.starts_with("org.mirrorkeeper1")).collect();
            Some(format!("{member}  {} {}", tail(data[0].as_str().unwrap_or_default()), interfaces.join(" ")))
        }
        _ => Some(format!("{member}  {}", short(data))),
    }
}

/// A path below the root object, without the middle of a long one.
fn tail(path: &str) -> String {
    let tail = path.strip_prefix("/org/mirrorkeeper1").unwrap_or(path).trim_start_matches('/');
    match (tail, tail.len()) {
        ("", _) => "/".to_owned(),
        (_, 0..=40) => tail.to_owned(),
        (_, length) => format!("{}…{}", &tail[..13], &tail[length - 24..]),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= WIDTH { text } else { "…".to_owned() }
}

/// Announcements that say nothing new: the value that was announced before, or a moment that has moved by nothing a person
/// could see.
pub fn idle_talk(messages: &[Value]) -> Vec<String> {
    let mut before: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut found = Vec::new();
    let changes = messages.iter().filter(|m| m["type"] == "signal" && m["member"] == "PropertiesChanged");
    for signal in changes {
        let path = signal["path"].as_str().unwrap_or_default();
        for (name, value) in signal["payload"]["data"][1].as_object().into_iter().flatten() {
            let value = if name == "HoldDetails" { &value["data"]["until"]["data"] } else { &value["data"] };
            let was = before.insert((path.to_owned(), name.clone()), value.clone());
            let moment = name == "HoldDetails" || name.ends_with("AtUSec");
            let near = || Some(was.as_ref()?.as_u64()?.abs_diff(value.as_u64()?) < SAME_USEC);
            if moment && near() == Some(true) {
                found.push(format!("{} {name}={value}", tail(path)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changed(at: u64, properties: Value) -> Value {
        json!({"type": "signal", "timestamp-realtime": at, "path": "/org/mirrorkeeper1/mirror/vg0_2fr1",
               "member": "PropertiesChanged", "payload": {"data": ["org.mirrorkeeper1.Mirror", properties, []]}})
    }

    #[test]
    fn progress_is_left_out_and_the_rest_is_told() {
        let messages = [
            changed(5_000_000, json!({"State": {"type": "s", "data": "resyncing"}, "SyncRatio": {"data": 0.1}})),
            changed(6_000_000, json!({"SyncRatio": {"data": 0.2}})),
            json!({"type": "method_call"}),
            json!({"type": "signal", "timestamp-realtime": 7_500_000, "path": "/org/mirrorkeeper1", "member": "Event",
                   "payload": {"data": [7, "leg-lost", "error", "/org/mirrorkeeper1/mirror/vg0_2fr1", {"n": {"data": 1}}]}}),
        ];
        let expected = [
            "    0.0  mirror/vg0_2fr1  changed  State=\"resyncing\"",
            "    2.5  /  Event  leg-lost error mirror/vg0_2fr1 n=1",
        ];
        assert_eq!(lines(&messages), expected);
    }

    #[test]
    fn a_moment_that_hardly_moves_is_idle_talk() {
        let until = |at: u64| json!({"HoldDetails": {"data": {"until": {"type": "t", "data": at}}}});
        let next = |at: u64| json!({"NextAttemptAtUSec": {"type": "t", "data": at}});
        let calm = [changed(0, until(10_000_000)), changed(1, until(20_000_000)), changed(2, next(10_000_005))];
        assert!(idle_talk(&calm).is_empty());
        let restless = [changed(0, next(10_000_000)), changed(1, next(10_000_004)), changed(2, until(7))];
        assert_eq!(idle_talk(&restless), ["mirror/vg0_2fr1 NextAttemptAtUSec=10000004"]);
    }
}
