//! `mirrorkeeper status` as text: a tree of servers, targets, disks and the legs on them, then a line for each mirror.
//!
//! Pure: a status in, a string out. Plain characters without colour, so that it reads the same in a terminal, a pipe and a
//! mail.

use crate::evidence::{self, value_text};
use crate::text::{bytes, duration, fit, percent, plain, wrap};
use mirrorkeeper_client::{Leg, Mirror, PlannedStep, Status, Target, hold};
use std::collections::BTreeMap;

/// A line with what belongs under it.
struct Node {
    line: String,
    below: Vec<Node>,
}

/// A leg with the mirror it is of.
type LegOf<'s> = (&'s Mirror, &'s Leg);

/// The whole text, each line cut to `width` characters if there is one. `warnings` come before the sum; `now` is in
/// microseconds since 1970.
pub fn status(status: &Status, warnings: &[String], now: u64, width: Option<usize>) -> String {
    let mut lines = Vec::new();
    for server in servers(status) {
        draw(&server, "", "", &mut lines);
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(status.mirrors.values().flat_map(|shown| mirror(shown, status, now)));
    if !warnings.is_empty() {
        lines.push("Mounts that would spoil a boot with a server down (README, section Boot):".to_owned());
        lines.extend(warnings.iter().map(|warning| format!("  {warning}")));
    }
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
fn mirror(mirror: &Mirror, status: &Status, now: u64) -> Vec<String> {
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
        lines.extend(details.map(|(key, value)| format!("    {key}: {}", value_text(value))));
        lines.extend(advice(mirror, status, now).into_iter().map(|line| format!("  {line}")));
    }
    if !mirror.managed {
        lines.push(format!("  not managed: {}", mirror.unmanaged_reason));
    }
    lines
}

/// What a hold means and what ends it, with the evidence where a person has to choose a leg.
fn advice(mirror: &Mirror, status: &Status, now: u64) -> Vec<String> {
    let Some(known) = hold::find(&mirror.hold) else { return Vec::new() };
    let mut lines = wrap(known.text);
    // Held for the sake of another volume on the same PV: that one is to be decided on.
    if let Some(other) = mirror.hold_details.get("held-by") {
        lines.push(format!("held by {}", value_text(other)));
        return lines;
    }
    if known.is_for_a_person() {
        lines.extend(evidence::table(mirror, status, now));
    }
    lines.extend(known.command(&mirror.name).map(|command| format!("to end it: {command}")));
    lines
}

/// What `PlanHeal` answered.
pub fn plan(steps: &[PlannedStep]) -> String {
    if steps.is_empty() {
        return "nothing to do\n".to_owned();
    }
    let mut lines = Vec::new();
    for step in steps {
        lines.push(format!("{}: {}", step.code, step.why));
        if !step.argv.is_empty() {
            lines.push(format!("  {}", step.argv.join(" ")));
        }
    }
    lines.iter().map(|line| plain(line) + "\n").collect()
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
