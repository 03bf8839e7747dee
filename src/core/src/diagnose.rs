//! What could be better, and what a person can do about it: `Diagnose`. From memory alone; nothing is looked at for it.

use crate::ids::TargetKey;
use crate::ledger::Trust;
use crate::name::Name;
use crate::observation::{Registration, Startup};
use crate::plan::Situation;
use crate::servers::FLAPPING;
use crate::session::Target;
use crate::snapshot::{Details, Finding, Object, Snapshot, Value};
use crate::topology::{Leg, Mirror};
use crate::words::{Concern, Hold};
use crate::{detect, roles, silence};
use std::collections::{BTreeMap, BTreeSet};

/// Everything worth saying, the service first, then servers, targets and mirrors.
pub fn findings(s: &Situation<'_>, shown: &Snapshot, unsaved: Option<&str>) -> Vec<Finding> {
    let mut list = Vec::new();
    service(s, unsaved, &mut list);
    for (name, server) in &shown.servers {
        servers(s, name, server.maintenance, &mut list);
    }
    for (key, target) in &s.targets.all {
        targets(s, key, target, &mut list);
    }
    for mirror in s.mirrors.values() {
        mirrors(s, mirror, shown, &mut list);
    }
    list
}

/// A finding with its facts, and lines for a person to type or to write into the configuration.
fn finding<const N: usize>(
    (code, concern): (&'static str, Concern),
    object: Object,
    facts: [(&'static str, Value); N],
    fix: &[String],
) -> Finding {
    let mut details = Details::from(facts);
    details.insert("fix", Value::Strs(fix.to_vec()));
    Finding { code, concern, object, details }
}

fn service(s: &Situation<'_>, unsaved: Option<&str>, list: &mut Vec<Finding>) {
    let manager = || Object::Manager;
    if let Some(why) = unsaved {
        let fix = ["df /var/lib/mirrorkeeper".to_owned()];
        list.push(finding(("ledger-unwritable", Concern::Error), manager(), [("reason", why.into())], &fix));
    }
    if s.targets.iscsid_missing_since.is_some() {
        let fix = ["systemctl start iscsid.service".to_owned()];
        list.push(finding(("iscsid-missing", Concern::Error), manager(), [], &fix));
    }
    if let Some(paused) = &s.ledger.wishes.paused {
        let facts = [("reason", paused.reason.as_str().into()), ("since", paused.since.0.into())];
        list.push(finding(("paused", Concern::Warning), manager(), facts, &["mirrorkeeper resume".to_owned()]));
    }
    if s.settings.stamp_interval.is_zero() {
        let fix = ["[heal]".to_owned(), "stamp_interval = 3600".to_owned()];
        list.push(finding(("stamps-off", Concern::Hint), manager(), [], &fix));
    }
    if s.machine_id.is_empty() {
        let fix = ["systemd-machine-id-setup".to_owned()];
        list.push(finding(("no-machine-id", Concern::Warning), manager(), [], &fix));
    }
}

fn servers(s: &Situation<'_>, name: &Name, maintenance: bool, list: &mut Vec<Finding>) {
    let object = || Object::Server(name.clone());
    if maintenance {
        let fix = [format!("mirrorkeeper maintenance leave {name}")];
        list.push(finding(("maintenance", Concern::Hint), object(), [], &fix));
    }
    let flaps = s.servers.flaps(name);
    if flaps >= FLAPPING {
        list.push(finding(("server-flapping", Concern::Warning), object(), [("losses", (flaps as u64).into())], &[]));
    }
}

fn node(key: &TargetKey, rest: &str) -> String {
    format!("iscsiadm -m node -T {} -p {} -I {} {rest}", key.iqn, key.portal, key.iface)
}

fn targets(s: &Situation<'_>, key: &TargetKey, target: &Target, list: &mut Vec<Finding>) {
    let object = || Object::Target(key.clone());
    let record = s.ledger.targets.get(&key.name);
    if !record.is_some_and(|record| record.carries_leg) {
        return;
    }
    if let Some(found) = unlimited(key, target) {
        list.push(found);
    }
    let automatic = node(key, "-o update -n node.startup -v automatic");
    match target.node.as_ref().map(|node| node.startup) {
        None => {
            let fix = [node(key, "-o new"), automatic];
            list.push(finding(("no-node-record", Concern::Error), object(), [], &fix));
        }
        Some(Startup::Manual) => list.push(finding(("startup-manual", Concern::Warning), object(), [], &[automatic])),
        Some(_) => {}
    }
    if record.is_some_and(|record| record.logged_out_in_boot.is_some()) {
        let fix = [node(key, "--login")];
        list.push(finding(("logged-out", Concern::Warning), object(), [], &fix));
    } else if target.sid.is_none() && !target.last_error.is_empty() {
        let facts = [("reason", target.last_error.as_str().into())];
        list.push(finding(("login-failing", Concern::Error), object(), facts, &[]));
    }
}

/// A socket that takes no limit: how a dead server is noticed instead.
fn unlimited(key: &TargetKey, target: &Target) -> Option<Finding> {
    let reason = detect::unavailable(target)?;
    let object = Object::Target(key.clone());
    let Some(why) = silence::deaf(target) else {
        return Some(finding(("socket-watched", Concern::Hint), object, [("reason", reason.into())], &[]));
    };
    let facts = [("reason", reason.into()), ("not-watched", why.into())];
    Some(finding(("detected-late", Concern::Warning), object, facts, &[]))
}

fn mirrors(s: &Situation<'_>, mirror: &Mirror, shown: &Snapshot, list: &mut Vec<Finding>) {
    let object = || Object::Mirror(mirror.name.clone());
    if let Some(reason) = mirror.unmanaged {
        list.push(finding(("unmanaged", Concern::Hint), object(), [("reason", reason.word().into())], &[]));
        return;
    }
    if mirror.monitored == Some(false) {
        let fix = [format!("lvm lvchange --monitor y {}/{}", mirror.vg.name, mirror.lv.name)];
        list.push(finding(("not-monitored", Concern::Warning), object(), [], &fix));
    }
    layout(s, mirror, list);
    if let Some(finding) = nobody_waits(s, mirror) {
        list.push(finding);
    }
    unregistered(s, mirror, list);
    let view = shown.mirrors.get(&mirror.name);
    if let Some((view, hold)) = view.and_then(|view| Some((view, view.hold?))).filter(|(_, hold)| *hold > Hold::VgBusy)
    {
        let concern = if hold >= Hold::DeviceBlocked { Concern::Error } else { Concern::Warning };
        let keep = || mirror.legs.iter().map(|leg| format!("mirrorkeeper resolve {} {}", mirror.name, leg.pv));
        let fix: Vec<String> = if crate::plan::RESOLVABLE.contains(&hold) { keep().collect() } else { Vec::new() };
        let mut found = finding(("held", concern), object(), [("hold", hold.word().into())], &fix);
        found.details.extend(view.hold_details.clone().into_iter().filter(|(key, _)| *key != "fix"));
        list.push(found);
    }
    let Some(record) = s.record(mirror) else { return };
    if let Some((sectors, at)) = record.last_check.filter(|(sectors, _)| *sectors > 0) {
        let facts = [("sectors", sectors.into()), ("at", at.0.into())];
        list.push(finding(("mismatches", Concern::Warning), object(), facts, &[]));
    }
    for (pv, _) in record.legs.iter().filter(|(_, known)| known.unverified) {
        let fix = [format!("mirrorkeeper check {}", mirror.name)];
        list.push(finding(("unverified", Concern::Warning), object(), [("leg", pv.as_str().into())], &fix));
    }
    for (pv, _) in record.legs.iter().filter(|(_, known)| known.admin_write_mostly && known.trust == Trust::Trusted) {
        list.push(finding(("write-mostly", Concern::Hint), object(), [("leg", pv.as_str().into())], &[]));
    }
}

/// Legs that are lost together.
fn layout(s: &Situation<'_>, mirror: &Mirror, list: &mut Vec<Finding>) {
    let object = || Object::Mirror(mirror.name.clone());
    let mut on: BTreeMap<&Name, Vec<&Leg>> = BTreeMap::new();
    for leg in &mirror.legs {
        s.server_of(mirror, leg).into_iter().for_each(|server| on.entry(server).or_default().push(leg));
    }
    if let Some((server, legs)) = on.iter().find(|(_, legs)| legs.len() > 1) {
        let portals: BTreeSet<&str> =
            s.servers.get(server).into_iter().flat_map(|server| &server.portals).map(String::as_str).collect();
        let fix: Vec<String> = match portals.len() {
            0 | 1 => Vec::new(),
            // They share a target name, or were named together.
            _ => (1..)
                .zip(portals)
                .flat_map(|(n, p)| [format!("[servers.server{n}]"), format!("portals = [\"{p}\"]")])
                .collect(),
        };
        let facts = [("server", server.as_str().into()), ("legs", (legs.len() as u64).into())];
        list.push(finding(("same-server", Concern::Error), object(), facts, &fix));
        return;
    }
    let host = |leg: &Leg| Some(leg.place.as_ref()?.target.as_ref()?.host().to_owned());
    let hosts: Vec<String> = mirror.legs.iter().filter_map(host).collect();
    let distinct: BTreeSet<&String> = hosts.iter().collect();
    if let Some(host) = hosts.first().filter(|_| distinct.len() < hosts.len()) {
        list.push(finding(("same-portal-host", Concern::Warning), object(), [("address", host.as_str().into())], &[]));
    }
}

/// Fixed values that leave no leg waiting: both servers away for a moment would fail writes.
fn nobody_waits(s: &Situation<'_>, mirror: &Mirror) -> Option<Finding> {
    let short = |leg| {
        let key: &TargetKey = roles::session(leg)?;
        let fixed = s.ledger.targets.get(&key.name)?.override_seconds?;
        (fixed < s.settings.wait_timeout).then(|| (key.clone(), fixed))
    };
    let all: Option<Vec<(TargetKey, u32)>> = mirror.legs.iter().map(short).collect();
    let longest = all.filter(|all| !all.is_empty())?.into_iter().max_by_key(|(_, seconds)| *seconds)?;
    let fix = [format!("mirrorkeeper timeout {} 0", longest.0)];
    let facts = [("seconds", u64::from(longest.1).into())];
    Some(finding(("no-leg-waits", Concern::Warning), Object::Mirror(mirror.name.clone()), facts, &fix))
}

/// Targets that cannot tell whether they restarted: each return costs a comparison.
fn unregistered(s: &Situation<'_>, mirror: &Mirror, list: &mut Vec<Finding>) {
    for leg in &mirror.legs {
        let Some(target) = leg.place.as_ref().and_then(|place| place.target.clone()) else { continue };
        let why = match s.looks.registrations.get(&leg.pv) {
            Some(Registration::Unknown(why)) => why.clone(),
            Some(Registration::Keys { persists: true, .. }) => "registrations outlive a power loss there".to_owned(),
            Some(Registration::Keys { reserved: true, .. }) => "somebody holds a reservation".to_owned(),
            Some(Registration::Keys { .. }) | None => continue,
        };
        let facts = [("leg", leg.pv.as_str().into()), ("reason", why.into())];
        let found = finding(("no-registrations", Concern::Hint), Object::Target(target), facts, &[]);
        if !list.contains(&found) {
            list.push(found);
        }
    }
}
