//! What is known of each leg, side by side, for whoever has to choose one. Pure.

use crate::text::{duration, plain};
use mirrorkeeper_client::{Mirror, Status, Value};

/// The facts shown, by their names in a leg's details.
const FACTS: [&str; 12] = [
    "in-use",
    "events",
    "events-at-loss",
    "failed-devices",
    "vg-seqno",
    "vg-seqno-at-loss",
    "stamp",
    "stale-since",
    "continuity",
    "cause",
    "write-cache",
    "unverified",
];

/// Widest column of a fact; the two usual legs then fit 80 columns.
const WIDTH: usize = 24;

/// The legs with their places, then a table of facts with a column a leg. `now` in microseconds since 1970.
pub fn table(mirror: &Mirror, status: &Status, now: u64) -> Vec<String> {
    let mut lines: Vec<String> = mirror
        .legs
        .iter()
        .enumerate()
        .map(|(index, leg)| {
            let device = if leg.device.is_empty() { "no device" } else { &leg.device };
            let target = status.targets.get(leg.target.as_str());
            let target = target.map_or("no known target".to_owned(), |t| format!("{} at {}", t.iqn, t.portal));
            format!("leg {}  {}  {}, {}", index + 1, plain(&leg.pv), plain(device), plain(&target))
        })
        .collect();
    lines.push(String::new());
    let row = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("  {cell:WIDTH$}")).collect();
        format!("{name:16}{cells}").trim_end().to_owned()
    };
    lines.push(row("", (1..=mirror.legs.len()).map(|number| format!("leg {number}")).collect()));
    lines.push(row("state", mirror.legs.iter().map(|leg| plain(&leg.state)).collect()));
    for name in FACTS {
        let cells: Vec<_> = mirror.legs.iter().map(|leg| leg.details.get(name).map(|v| fact(name, v, now))).collect();
        if cells.iter().any(Option::is_some) {
            lines.push(row(name, cells.into_iter().map(|cell| cell.unwrap_or("-".to_owned())).collect()));
        }
    }
    lines
}

fn fact(name: &str, value: &Value, now: u64) -> String {
    match (name, value) {
        // One bit a leg that this one holds to have failed.
        ("failed-devices", Value::Uint(bits)) => format!("{bits:#x}"),
        ("stale-since", Value::Uint(at)) => format!("{} ago", duration(now.saturating_sub(*at))),
        _ => value_text(value),
    }
}

/// A value of a details map, for people.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => plain(text),
        Value::Texts(texts) => plain(&texts.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorkeeper_client::{Leg, Target};

    #[test]
    fn the_facts_of_a_split_brain_stand_side_by_side() {
        let leg = |pv: &str, device: &str, target: &str, state: &str, facts: &[(&str, Value)]| Leg {
            pv: pv.to_owned(),
            device: device.to_owned(),
            target: target.try_into().unwrap(),
            state: state.to_owned(),
            details: facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            ..Leg::default()
        };
        let uint = |name: &'static str, n: u64| (name, Value::Uint(n));
        let a = [uint("events", 29), uint("failed-devices", 2), uint("vg-seqno", 8)];
        let lost = uint("stale-since", 1_000_000);
        let b = [uint("events", 32), uint("failed-devices", 1), lost, ("continuity", Value::Text("broken".to_owned()))];
        let mirror = Mirror {
            legs: vec![
                leg("aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa", "/dev/sda", "/t/a", "in-sync", &a),
                leg("bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb", "", "/", "stale", &b),
            ],
            ..Mirror::default()
        };
        let target = Target { iqn: "iqn.x:a".to_owned(), portal: "10.0.0.1:3260".to_owned(), ..Target::default() };
        let status = Status { targets: [("/t/a".to_owned(), target)].into(), ..Status::default() };
        assert_eq!(
            table(&mirror, &status, 12_001_000_000).join("\n"),
            "\
leg 1  aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa  /dev/sda, iqn.x:a at 10.0.0.1:3260
leg 2  bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb  no device, no known target

                  leg 1                     leg 2
state             in-sync                   stale
events            29                        32
failed-devices    0x2                       0x1
vg-seqno          8                         -
stale-since       -                         3 h 20 min ago
continuity        -                         broken"
        );
    }
}
