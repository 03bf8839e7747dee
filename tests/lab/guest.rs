//! Commands in a guest, in the words scenarios use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::agent::Agent;
use crate::protocol::Exit;

/// Enough for any single LVM command in emulation that is not blocked.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The daemon's name on the bus, and the first part of its interfaces.
pub const BUS: &str = "org.mirrorkeeper1";

/// A guest whose agent answers.
pub struct Guest {
    agent: Agent,
}

impl Guest {
    /// Around a connection.
    pub fn new(agent: Agent) -> Self {
        Self { agent }
    }

    /// The bare connection.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// After a snapshot was loaded.
    pub fn replace(&mut self, agent: Agent) {
        self.agent = agent;
    }

    /// Runs a program; any exit status is an answer.
    pub fn exec(&self, argv: &[&str]) -> Result<Exit> {
        self.agent.exec(argv, None, COMMAND_LIMIT)
    }

    /// Runs a shell script that must succeed within a limit; gives its output.
    pub fn sh_within(&self, script: &str, limit: Duration) -> Result<String> {
        let exit = self.agent.exec(&["sh", "-ec", script], None, limit)?;
        if exit.rc != 0 {
            bail!("in the guest, `{}` gave {}: {}", script.trim(), exit.rc, (exit.stderr + &exit.stdout).trim());
        }
        Ok(exit.stdout)
    }

    /// Runs a shell script that must succeed.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.sh_within(script, COMMAND_LIMIT)
    }

    /// Runs `lab-guest` and reads its verdict.
    pub fn judge(&self, arguments: &str) -> Result<Value> {
        let text = self.sh_within(&format!("lab-guest {arguments}"), Duration::from_secs(300))?;
        serde_json::from_str(&text).with_context(|| format!("lab-guest said {text:?}"))
    }

    /// The guest's clock stood still in the snapshot.
    pub fn set_clock(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        self.sh(&format!("date -s @{}.{:03} >/dev/null", now.as_secs(), now.subsec_millis())).map(drop)
    }

    /// A property of the daemon, as busctl's JSON value.
    pub fn property(&self, path: &str, interface: &str, name: &str) -> Result<Value> {
        let text = self.sh(&format!("busctl --timeout=30 -j get-property {BUS} {path} {BUS}.{interface} {name}"))?;
        let mut value: Value = serde_json::from_str(&text)?;
        Ok(value["data"].take())
    }

    /// `State` of a mirror `vg/lv`.
    pub fn mirror_state(&self, name: &str) -> Result<String> {
        let value = self.property(&mirror_path(name), "Mirror", "State")?;
        value.as_str().map(str::to_owned).context("State is no string")
    }

    /// `dmsetup status` of `vg/lv`: target type and what follows. Never blocks on a disk.
    pub fn dm_status(&self, name: &str) -> Result<DmStatus> {
        let line = self.sh(&format!("dmsetup status --noflush {}", dm_name(name)))?;
        DmStatus::parse(&line).with_context(|| format!("dmsetup status said {line:?}"))
    }

    /// The kernel's name of server `letter`'s disk, if it has one now.
    pub fn disk_of(&self, letter: char) -> Result<String> {
        let text = self.sh(&format!("readlink -e /dev/disk/by-path/*linuxtest1lv-{letter}-lun-1"))?;
        text.trim().strip_prefix("/dev/").map(str::to_owned).context("no disk of that server")
    }
}

/// What the kernel says about a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmStatus {
    /// `raid`, `mirror` or `linear`.
    pub target: String,
    /// A letter a leg; `A` is alive and in sync.
    pub health: String,
    /// Done and all, in the target's own unit.
    pub sync: (u64, u64),
    /// dm-raid's sync action; empty for others.
    pub action: String,
}

impl DmStatus {
    /// Parses a line of `dmsetup status`.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let target = (*words.get(2)?).to_owned();
        let ratio = |word: &str| word.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (health, sync, action) = match target.as_str() {
            // 0 262144 raid raid1 2 AA 262144/262144 idle 0 0 -
            "raid" => (*words.get(5)?, ratio(words.get(6)?)?, *words.get(7)?),
            // 0 131072 mirror 2 254:4 254:5 32/32 1 AA 1 core
            "mirror" => {
                let legs: usize = words.get(3)?.parse().ok()?;
                (*words.get(6 + legs)?, ratio(words.get(4 + legs)?)?, "")
            }
            _ => ("", (0, 0), ""),
        };
        Some(Self { target, health: health.to_owned(), sync, action: action.to_owned() })
    }

    /// Both legs alive, everything copied, nothing going on.
    pub fn is_whole(&self) -> bool {
        self.health == "AA" && self.sync.0 == self.sync.1 && matches!(self.action.as_str(), "" | "idle")
    }
}

/// The object of a mirror `vg/lv`.
pub fn mirror_path(name: &str) -> String {
    object_path("mirror", name)
}

/// The object of a server, which without configuration is named by its address.
pub fn server_path(name: &str) -> String {
    object_path("server", name)
}

/// A name encoded as `sd_bus_path_encode` does.
pub fn object_path(kind: &str, name: &str) -> String {
    let mut path = format!("/org/mirrorkeeper1/{kind}/");
    for (i, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (i > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path += &format!("_{byte:02x}");
        }
    }
    path
}

/// device-mapper's name of `vg/lv`.
pub fn dm_name(name: &str) -> String {
    name.replace('-', "--").replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_systemd_does() {
        assert_eq!(mirror_path("vg0/r1"), "/org/mirrorkeeper1/mirror/vg0_2fr1");
        assert_eq!(mirror_path("0a/b"), "/org/mirrorkeeper1/mirror/_30a_2fb");
        assert_eq!(server_path("10.10.2.2"), "/org/mirrorkeeper1/server/_310_2e10_2e2_2e2");
        assert_eq!(dm_name("my-vg/r1"), "my--vg-r1");
    }

    #[test]
    fn both_kinds_of_mirror_are_read() {
        let raid = DmStatus::parse("0 262144 raid raid1 2 AA 262144/262144 idle 0 0 -");
        assert!(raid.as_ref().is_some_and(DmStatus::is_whole), "{raid:?}");
        let lost = DmStatus::parse("0 262144 raid raid1 2 AD 262144/262144 idle 0 0 -");
        assert!(lost.as_ref().is_some_and(|status| !status.is_whole()), "{lost:?}");
        let mirror = DmStatus::parse("0 131072 mirror 2 254:4 254:5 32/32 1 AA 1 core");
        assert!(mirror.as_ref().is_some_and(DmStatus::is_whole), "{mirror:?}");
        let linear = DmStatus::parse("0 131072 linear ");
        assert!(linear.as_ref().is_some_and(|status| !status.is_whole()), "{linear:?}");
    }
}
