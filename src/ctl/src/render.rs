//! `mirrorkeeper status` as text: a tree of servers, targets, disks and the legs on them, then a line for each mirror.
//!
//! Pure: a status in, a string out. Plain characters without colour, so that it reads the same in a terminal, a pipe and a
//! mail.

use crate::text::{bytes, duration, fit, percent, plain};
use mirrorkeeper_client::{Leg, Mirror, Status, Target, Value};
use std::collections::BTreeMap;

/// A line with what belongs under it.
struct Node {
    line: String,
    below: Vec<Node>,
}

/// A leg with the mirror it is of.
type LegOf<'s> = (&'s Mirror, &'s Leg);

/// The whole text, each line cut to `width` characters if there is one.
pub fn status(status: &Status, width: Option<usize>) -> String {
    let mut lines = Vec::new();
    for server in servers(status) {
        draw(&server, "", "", &mut lines);
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(status.mirrors.values().flat_map(mirror));
    lines.extend(summary(status));
    lines.iter().map(|line| fit(&plain(line), width) + "\n").collect()
}

/// One node per server, by address, and one for legs that are on no known target.
fn servers(status: &Status) -> Vec<Node> {
    let mut legs: BTreeMap<&str, Vec<LegOf<'_>>> = BTreeMap::new();
    for mirror in status.mirrors.values() {
        for leg in &mirror.legs {
            let target = Some(leg.target.as_str()).filter(|path| status.targets.contains_key(*path));
            legs.entry(target.unwrap_or_default()).or_default().push((mirror, leg));
        }
    }
    let mut servers: BTreeMap<&str, Vec<Node>> = BTreeMap::new();
    for (path, shown) in &status.targets {
        let host = shown.portal.rsplit_once(':').map_or(shown.portal.as_str(), |(host, _)| host);
        let here = legs.remove(path.as_str()).unwrap_or_default();
        servers.entry(host).or_default().push(target(shown, here));
    }
    let mut nodes: Vec<Node> = servers.into_iter().map(|(host, below)| Node { line: host.to_owned(), below }).collect();
    if let Some(elsewhere) = legs.remove("") {
        let below = elsewhere.into_iter().map(|leg| self::leg(leg, true)).collect();
        nodes.push(Node { line: "on no known target".to_owned(), below });
    }
    nodes
}

/// A target with its disks; legs whose device is not one of them, or not there, come after the disks.
fn target(target: &Target, mut legs: Vec<LegOf<'_>>) -> Node {
    let mut below = Vec::new();
    for disk in &target.disks {
        let (here, rest) = legs.into_iter().partition(|(_, leg)| is_on(&leg.device, disk));
        legs = rest;
        let on_disk: Vec<LegOf<'_>> = here;
        below.push(Node { line: disk.clone(), below: on_disk.into_iter().map(|l| leg(l, false)).collect() });
    }
    below.extend(legs.into_iter().map(|l| leg(l, true)));
    let mut line = format!("{}  {}", target.iqn, target.state);
    match target.replacement_timeout_sec {
        seconds @ 0.. => line += &format!(", timeout {seconds} s ({})", target.timeout_reason),
        -1 => line += &format!(", no timeout ({})", target.timeout_reason),
        _ => {}
    }
    if !target.managed {
        line += ", not managed";
    }
    if !target.last_error.is_empty() {
        line += &format!(": {}", target.last_error);
    }
    Node { line, below }
}

/// Whether a device is a disk or a partition of it.
fn is_on(device: &str, disk: &str) -> bool {
    device.strip_prefix(disk).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

fn leg((mirror, leg): LegOf<'_>, with_device: bool) -> Node {
    let mut line = format!("{}  {}", mirror.name, leg.state);
    if leg.state == "rebuilding" {
        line += &format!(" {}", percent(leg.ratio));
    }
    if with_device && !leg.device.is_empty() {
        line += &format!(" on {}", leg.device);
    }
    Node { line, below: Vec::new() }
}

/// One line for what a mirror is, one for what it does, one for what holds it back.
fn mirror(mirror: &Mirror) -> Vec<String> {
    let copies = format!("{} of {} copies in sync", mirror.copies_in_sync, mirror.copies_wanted);
    let size = bytes(mirror.size_bytes);
    let mut lines = vec![format!("{}  {} {size}: {}, {copies}", mirror.name, mirror.kind, mirror.state)];
    if !matches!(mirror.sync_action.as_str(), "idle" | "none") {
        let mut line = format!("  {} {}", mirror.sync_action, percent(mirror.sync_ratio));
        if mirror.sync_rate_bytes > 0 {
            line += &format!(", {}/s", bytes(mirror.sync_rate_bytes));
        }
        if (1..u64::MAX).contains(&mirror.sync_remaining_usec) {
            line += &format!(", {} left", duration(mirror.sync_remaining_usec));
        }
        lines.push(line);
    }
    if !mirror.hold.is_empty() {
        lines.push(format!("  held: {}", mirror.hold));
        // A time in microseconds is for programs.
        let details = mirror.hold_details.iter().filter(|(key, _)| *key != "until");
        lines.extend(details.map(|(key, value)| format!("    {key}: {}", evidence(value))));
    }
    if !mirror.managed {
        lines.push(format!("  not managed: {}", mirror.unmanaged_reason));
    }
    lines
}

/// A value of a details map, for people.
fn evidence(value: &Value) -> String {
    match value {
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => plain(text),
        Value::Texts(texts) => plain(&texts.join(" ")),
    }
}

fn summary(status: &Status) -> Vec<String> {
    let sum = &status.manager;
    let mut lines = Vec::new();
    if sum.mirrors == 0 {
        lines.push("No mirrored volumes.".to_owned());
    } else {
        let (redundant, mirrors) = (sum.mirrors_redundant, sum.mirrors);
        let (in_use, targets) = (sum.targets_logged_in, sum.targets);
        lines.push(format!("{redundant} of {mirrors} mirrors redundant, {in_use} of {targets} targets logged in."));
    }
    if sum.paused {
        lines.push(format!("Healing is paused: {}", sum.pause_reason));
    }
    lines
}

/// Writes a node and everything below it. `first` leads its own line, `rest` those below.
fn draw(node: &Node, first: &str, rest: &str, lines: &mut Vec<String>) {
    lines.push(format!("{first}{}", node.line));
    for (i, child) in node.below.iter().enumerate() {
        let last = i + 1 == node.below.len();
        let (branch, trunk) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{trunk}"), lines);
    }
}

#[cfg(test)]
mod tests;
