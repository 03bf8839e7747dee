//! Failure domains: which targets are on one storage server, and so are lost together.
//!
//! What the administrator named comes first. Otherwise portals that export the same target are one server, and each address
//! is one. Where that is in doubt two become one: a server taken for two would let a mirror lose both its legs at once.

use crate::ids::TargetKey;
use crate::name::Name;
use crate::plan::Situation;
use crate::session::Targets;
use crate::settings::ServerPolicy;
use crate::time::Mono;
use crate::topology::{Leg, Mirror};
use std::collections::{BTreeMap, BTreeSet};

/// Losses within an hour from which a server is said to flap. Two can be a reboot after an update; three are a pattern.
pub const FLAPPING: usize = 3;

/// The port of a portal that was named without one (RFC 7143).
const PORT: &str = "3260";

/// A storage server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `addr:port`.
    pub portals: BTreeSet<String>,
    /// What it exports.
    pub targets: BTreeSet<TargetKey>,
    /// The administrator named it.
    pub named: bool,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers {
    all: BTreeMap<Name, Server>,
    of: BTreeMap<Name, Name>,
    flaps: BTreeMap<Name, usize>,
}

/// Whether a portal is meant by what the administrator wrote.
fn meant(written: &str, key: &TargetKey) -> bool {
    // A bare IPv6 address.
    let bare = written.matches(':').count() > 1 && !written.starts_with('[');
    let host = key.host().trim_start_matches('[').trim_end_matches(']');
    written == key.portal || written == key.host() || (bare && written == host)
}

/// Sorts targets into servers.
pub fn domains<'a>(
    targets: impl Iterator<Item = &'a TargetKey>,
    configured: &BTreeMap<String, ServerPolicy>,
) -> Servers {
    let named = |key: &TargetKey| {
        let here = |(_, policy): &(&String, &ServerPolicy)| policy.portals.iter().any(|written| meant(written, key));
        configured.iter().find(here).map(|(name, _)| name.as_str())
    };
    let keys: Vec<(&TargetKey, Option<&str>)> = targets.map(|key| (key, named(key))).collect();
    // Each address begins as a server of its own and takes the least label among those that export the same; a name of the
    // administrator's (`false`) is less than any address.
    let unnamed = || keys.iter().filter(|(_, name)| name.is_none()).map(|(key, _)| *key);
    let mut labels: BTreeMap<&str, (bool, &str)> = unnamed().map(|key| (key.host(), (true, key.host()))).collect();
    let mut exports: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (key, name) in &keys {
        let (names, hosts) = exports.entry(&key.iqn).or_default();
        match name {
            Some(name) => names.insert(*name),
            None => hosts.insert(key.host()),
        };
    }
    let mut moved = true;
    while moved {
        moved = false;
        for (names, hosts) in exports.values() {
            // On two named servers: nobody knows which.
            let name = names.first().filter(|_| names.len() == 1).map(|name| (false, *name));
            let least = hosts.iter().filter_map(|host| labels.get(host).copied()).chain(name).min();
            for label in hosts.iter().filter_map(|host| least.zip(Some(*host))) {
                moved |= labels.insert(label.1, label.0) != Some(label.0);
            }
        }
    }
    let mut servers = Servers::default();
    for (name, policy) in configured {
        let with_port = |written: &String| match written.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) && written.matches(':').count() == 1 => {
                written.clone()
            }
            Some(_) if written.starts_with('[') && !written.ends_with(']') => written.clone(),
            Some(_) if !written.starts_with('[') => format!("[{written}]:{PORT}"),
            _ => format!("{written}:{PORT}"),
        };
        let unseen = policy.portals.iter().filter(|written| !keys.iter().any(|(key, _)| meant(written, key)));
        let portals = unseen.map(with_port).collect();
        servers.all.insert(name.as_str().into(), Server { portals, named: true, ..Server::default() });
    }
    for (key, name) in keys {
        let Some(name) = name.or_else(|| labels.get(key.host()).map(|(_, label)| *label)) else { continue };
        let server = servers.all.entry(name.into()).or_default();
        server.portals.insert(key.portal.clone());
        server.targets.insert(key.clone());
        servers.of.insert(key.name.clone(), name.into());
    }
    servers
}

impl Servers {
    /// The server that a target is on, by the target's name on the bus.
    pub fn of(&self, target: &str) -> Option<&Name> {
        self.of.get(target)
    }

    /// A server by its name.
    pub fn get(&self, name: &str) -> Option<&Server> {
        self.all.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Server)> {
        self.all.iter()
    }

    /// Whether these are all there are.
    pub fn cover(&self, targets: &Targets) -> bool {
        self.of.len() == targets.all.len()
    }

    /// Takes in how often targets were lost. One outage is a loss of each target of its server.
    pub fn count(&mut self, targets: &Targets) {
        self.flaps.clear();
        for (key, target) in targets.all.iter().filter(|(_, target)| target.flaps() > 0) {
            let Some(server) = self.of.get(&key.name) else { continue };
            let most = self.flaps.entry(server.clone()).or_default();
            *most = target.flaps().max(*most);
        }
    }

    /// How often a server was lost within the last hour.
    pub fn flaps(&self, name: &str) -> usize {
        self.flaps.get(name).copied().unwrap_or(0)
    }
}

impl Situation<'_> {
    /// The server that a leg is, or was last seen, on.
    pub fn server_of(&self, mirror: &Mirror, leg: &Leg) -> Option<&Name> {
        let here = leg.place.as_ref().and_then(|place| place.target.as_ref()).map(|key| &key.name);
        let known = || self.record(mirror)?.legs.get(&leg.pv)?.target.as_ref();
        self.servers.of(here.or_else(known)?)
    }

    /// Whether a leg's server is out of service.
    pub fn resting(&self, mirror: &Mirror, leg: &Leg) -> bool {
        let here = leg.place.as_ref().and_then(|place| place.target.as_ref()).map(|key| &key.name);
        let known = || self.record(mirror)?.legs.get(&leg.pv)?.target.as_ref();
        here.or_else(known).is_some_and(|name| self.ledger.resting(name))
    }

    /// How often a target's server was lost within the last hour.
    pub fn flaps(&self, key: &TargetKey) -> usize {
        self.servers.of(&key.name).map_or(0, |server| self.servers.flaps(server))
    }

    /// When the present stay of a target will have lasted for the settle time of its server; `None` while it is not up.
    pub fn settled_at(&self, key: &TargetKey) -> Option<Mono> {
        self.targets.all.get(key)?.settled_at(self.settings, self.flaps(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(iqn: &str, addr: &str) -> TargetKey {
        TargetKey::new(iqn, addr, 3260, "default")
    }

    /// Server names of targets, in order.
    fn sorted(targets: &[(&str, &str)], configured: &[(&str, &[&str])]) -> Vec<String> {
        let keys: Vec<TargetKey> = targets.iter().map(|(iqn, addr)| key(iqn, addr)).collect();
        let policy = |portals: &[&str]| ServerPolicy { portals: portals.iter().map(|p| (*p).to_owned()).collect() };
        let configured = configured.iter().map(|(name, portals)| ((*name).to_owned(), policy(portals))).collect();
        let servers = domains(keys.iter(), &configured);
        keys.iter().map(|key| servers.of(&key.name).expect("every target is somewhere").to_string()).collect()
    }

    #[test]
    fn each_address_is_a_server_and_a_shared_target_makes_two_one() {
        assert_eq!(sorted(&[("a", "10.0.0.1"), ("b", "10.0.0.2")], &[]), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(sorted(&[("a", "10.0.0.1"), ("b", "10.0.0.1")], &[]), ["10.0.0.1", "10.0.0.1"]);
        assert_eq!(sorted(&[("a", "10.0.0.1"), ("a", "10.0.1.1")], &[]), ["10.0.0.1", "10.0.0.1"]);
        // Over two steps: 1 and 2 share a, 2 and 3 share b.
        let chain = [("a", "10.0.0.2"), ("a", "10.0.0.1"), ("b", "10.0.0.2"), ("b", "10.0.0.3"), ("c", "10.0.0.3")];
        assert_eq!(sorted(&chain, &[]), ["10.0.0.1"; 5]);
        assert_eq!(sorted(&[("a", "fe80::1")], &[]), ["[fe80::1]"]);
    }

    #[test]
    fn what_the_administrator_named_comes_first() {
        let two: [(&str, &[&str]); 2] = [("nas1", &["10.0.0.1"]), ("nas2", &["10.0.0.2:3260", "fe80::1"])];
        assert_eq!(sorted(&[("a", "10.0.0.1"), ("a", "10.0.0.2")], &two), ["nas1", "nas2"]);
        assert_eq!(sorted(&[("a", "fe80::1")], &two), ["nas2"]);
        // A path that was not named, to a target that is on one named server.
        assert_eq!(sorted(&[("a", "10.0.0.1"), ("a", "10.9.9.9"), ("b", "10.9.9.9")], &two), ["nas1"; 3]);
        // On both: nobody knows which.
        let both = [("a", "10.0.0.1"), ("a", "10.0.0.2"), ("a", "10.9.9.9")];
        assert_eq!(sorted(&both, &two), ["nas1", "nas2", "10.9.9.9"]);
    }

    #[test]
    fn a_named_server_is_there_before_anything_is_seen_of_it() {
        let written = ["10.0.0.1", "10.0.0.2:860", "fe80::1", "[fe80::2]", "[fe80::3]:860"];
        let policy = ServerPolicy { portals: written.map(str::to_owned).to_vec() };
        let servers = domains(std::iter::empty(), &[("nas".to_owned(), policy)].into());
        let portals: Vec<_> = servers.get("nas").expect("named").portals.iter().map(String::as_str).collect();
        assert_eq!(portals, ["10.0.0.1:3260", "10.0.0.2:860", "[fe80::1]:3260", "[fe80::2]:3260", "[fe80::3]:860"]);
    }
}
