//! What the daemon said on the bus while a scenario ran, recorded by `busctl monitor` in the guest.

use serde_json::Value;

use anyhow::Result;

use crate::guest::{BUS, Guest, mirror_path};

/// Where the recording lies in the guest.
pub const FILE: &str = "/root/signals.jsonl";

/// Starts recording and waits until the monitor is on the bus (it prints a line then).
pub fn record(guest: &Guest) -> Result<()> {
    guest
        .sh(&format!(
            "rm -f {FILE} /root/monitor.err
             systemd-run --quiet --unit=lab-signals -p StandardOutput=file:{FILE} -p StandardError=file:/root/monitor.err \
                 busctl monitor --json=short {BUS}
             until grep -q -s Monitoring /root/monitor.err {FILE}; do systemctl is-active -q lab-signals; done"
        ))
        .map(drop)
}

/// The recording so far.
pub fn read(guest: &Guest) -> Result<Vec<Value>> {
    let text = guest.sh(&format!("cat {FILE}"))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The values that `State` of a mirror took, in order.
pub fn states(messages: &[Value], mirror: &str) -> Vec<String> {
    values(messages, mirror, "State")
}

/// The values that a mirror's property, a string, took, in order.
pub fn values(messages: &[Value], mirror: &str, property: &str) -> Vec<String> {
    let path = mirror_path(mirror);
    messages
        .iter()
        .filter(|m| m["type"] == "signal" && m["member"] == "PropertiesChanged" && m["path"] == path.as_str())
        .filter(|m| m["payload"]["data"][0] == "org.mirrorkeeper1.Mirror")
        .filter_map(|m| m["payload"]["data"][1][property]["data"].as_str().map(str::to_owned))
        .collect()
}

/// The codes of the events that were announced, in order.
pub fn events(messages: &[Value]) -> Vec<String> {
    messages
        .iter()
        .filter(|m| m["type"] == "signal" && m["member"] == "Event")
        .filter_map(|m| m["payload"]["data"][1].as_str().map(str::to_owned))
        .collect()
}

/// How often an event about a mirror was announced.
pub fn of(messages: &[Value], code: &str, mirror: &str) -> usize {
    let path = mirror_path(mirror);
    let events = messages.iter().filter(|m| m["type"] == "signal" && m["member"] == "Event");
    events.filter(|m| m["payload"]["data"][1] == code && m["payload"]["data"][3] == path.as_str()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn states_are_found_among_other_messages() {
        let change = |path: &str, data: Value| {
            json!({"type": "signal", "path": path, "interface": "org.freedesktop.DBus.Properties",
                   "member": "PropertiesChanged", "payload": {"type": "sa{sv}as", "data": data}})
        };
        let mirror = "/org/mirrorkeeper1/mirror/vg0_2fr1";
        let messages = [
            change(mirror, json!(["org.mirrorkeeper1.Mirror", {"State": {"type": "s", "data": "degraded"}}, []])),
            change(mirror, json!(["org.mirrorkeeper1.Mirror", {"CopiesInSync": {"type": "u", "data": 1}}, []])),
            change(
                "/org/mirrorkeeper1",
                json!(["org.mirrorkeeper1.Manager", {"State": {"type": "s", "data": "x"}}, []]),
            ),
            change(mirror, json!(["org.mirrorkeeper1.Mirror", {"State": {"type": "s", "data": "redundant"}}, []])),
        ];
        assert_eq!(states(&messages, "vg0/r1"), ["degraded", "redundant"]);
        assert!(states(&messages, "vg0/testlv").is_empty());
        assert!(events(&messages).is_empty());
    }

    #[test]
    fn events_are_told_by_their_codes() {
        let event = json!({"type": "signal", "path": "/org/mirrorkeeper1", "interface": "org.mirrorkeeper1.Manager",
            "member": "Event", "payload": {"type": "tssoa{sv}", "data": [1, "leg-lost", "error", "/", {}]}});
        assert_eq!(events(std::slice::from_ref(&event)), ["leg-lost"]);
        assert_eq!(of(std::slice::from_ref(&event), "leg-lost", "vg0/r1"), 0);
        let mut of_mirror = event;
        of_mirror["payload"]["data"][3] = json!("/org/mirrorkeeper1/mirror/vg0_2fr1");
        assert_eq!(of(&[of_mirror], "leg-lost", "vg0/r1"), 1);
    }
}
