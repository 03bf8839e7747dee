//! Node records from `iscsiadm -m node -o show`.

use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::observation::{NodeObs, Startup};

/// What was found among the node records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Records understood, in the order of the tool.
    pub nodes: Vec<NodeObs>,
    /// One line for each record that was not, naming the field.
    pub gaps: Vec<String>,
}

/// The command line; without records it ends with 21 ([`super::Exit::NoObjects`]).
pub fn nodes_argv() -> Vec<String> {
    ["iscsiadm", "-m", "node", "-o", "show"].map(str::to_owned).to_vec()
}

/// Reads all records. One that cannot be understood, or is cut short, costs that record only. No line of the input
/// is ever repeated in a gap but the value of the field it names, none of which is secret.
pub fn parse_nodes(text: &str) -> Nodes {
    let mut found = Nodes::default();
    let mut open: Option<Record> = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with("# BEGIN RECORD") {
            found.close(open.replace(Record::default()), false);
        } else if line.starts_with("# END RECORD") {
            found.close(open.take(), true);
        } else if let (Some(record), Some((key, value))) = (open.as_mut(), line.split_once(" = ")) {
            record.put(key.trim(), value.trim());
        }
    }
    found.close(open, false);
    found
}

impl Nodes {
    fn close(&mut self, record: Option<Record>, complete: bool) {
        let Some(record) = record else { return };
        let node = if complete { record.node() } else { Err("ends without # END RECORD".to_owned()) };
        match node {
            Ok(node) => self.nodes.push(node),
            Err(why) => self.gaps.push(format!("node record {:?}: {why}", record.name.unwrap_or("without a name"))),
        }
    }
}

/// The fields of one record that are of use, by name: nothing else is ever taken.
#[derive(Default, Clone, Copy)]
struct Record<'a> {
    name: Option<&'a str>,
    startup: Option<&'a str>,
    connection_startup: Option<&'a str>,
    address: Option<&'a str>,
    port: Option<&'a str>,
    iface: Option<&'a str>,
    replacement_timeout: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn put(&mut self, key: &str, value: &'a str) {
        let field = match key {
            "node.name" => &mut self.name,
            "node.startup" => &mut self.startup,
            "node.conn[0].startup" => &mut self.connection_startup,
            "node.conn[0].address" => &mut self.address,
            "node.conn[0].port" => &mut self.port,
            "iface.iscsi_ifacename" => &mut self.iface,
            "node.session.timeo.replacement_timeout" => &mut self.replacement_timeout,
            _ => return,
        };
        *field = Some(value).filter(|v| *v != "<empty>" && !v.is_empty());
    }

    fn node(&self) -> Result<NodeObs, String> {
        let need = |field: Option<&'a str>, key| field.ok_or_else(|| format!("{key} is missing"));
        let number = |text: &str, key| format!("{key}: {:?} is no number", text.chars().take(20).collect::<String>());
        let name = need(self.name, "node.name")?;
        let address = need(self.address, "node.conn[0].address")?;
        let port = need(self.port, "node.conn[0].port")?;
        let port = port.parse().map_err(|_| number(port, "node.conn[0].port"))?;
        let timeout = self.replacement_timeout;
        let timeout = timeout.map(|t| t.parse().map_err(|_| number(t, "replacement_timeout"))).transpose()?;
        let words = [self.startup, self.connection_startup];
        let modes = words.into_iter().flatten().map(startup).collect::<Result<Vec<_>, _>>()?;
        Ok(NodeObs {
            target: TargetKey::new(name, address, port, self.iface.unwrap_or("default")),
            startup: modes.into_iter().max_by_key(strength).unwrap_or(Startup::Manual),
            replacement_timeout: timeout,
        })
    }
}

fn startup(word: &str) -> Result<Startup, String> {
    match word {
        "automatic" => Ok(Startup::Automatic),
        "manual" => Ok(Startup::Manual),
        "onboot" => Ok(Startup::Onboot),
        other => Err(format!("startup: {:?} is no mode", other.chars().take(20).collect::<String>())),
    }
}

/// `--loginall=automatic` takes a record if either field says so (open-iscsi `match_startup_mode`).
fn strength(mode: &Startup) -> u8 {
    match mode {
        Startup::Manual => 0,
        Startup::Onboot => 1,
        Startup::Automatic => 2,
    }
}

#[cfg(test)]
#[path = "nodes_tests.rs"]
mod tests;
