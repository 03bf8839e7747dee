//! Traps for the daemon's own commands: it is killed, or its command is, at exactly the one a scenario names.
//!
//! A script takes the place of `lvm` in the guest and counts; nothing here waits for a moment by the clock.

use anyhow::{Context, Result, ensure};

use crate::guest::Guest;

const SCRIPT: &str = include_str!("in-guest/lvm");

/// What happens when the trap springs. Only commands that change something, run by the daemon, count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// The daemon is killed and the command never runs.
    DaemonDiesFirst,
    /// The daemon is killed; the command it started runs on.
    DaemonDies,
    /// The command has ended, the daemon is killed before it hears of it.
    DaemonDiesAfter,
    /// The command is killed while it holds `vg0/r1` suspended.
    CommandDiesSuspended,
}

impl Trap {
    fn word(self) -> &'static str {
        match self {
            Self::DaemonDiesFirst => "daemon-dies-first",
            Self::DaemonDies => "daemon-dies",
            Self::DaemonDiesAfter => "daemon-dies-after",
            Self::CommandDiesSuspended => "command-dies-suspended",
        }
    }

    /// Sets it for the `at`-th (from 1) of the commands that match the shell's `pattern`. It springs once.
    pub fn set(self, guest: &Guest, at: usize, pattern: &str) -> Result<()> {
        guest.sh(&format!(
            "mkdir -p /run/lab; rm -f /run/lab/sprung /run/lab/commands
             echo 0 > /run/lab/count; echo '{} {at} {pattern}' > /run/lab/trap",
            self.word()
        ))?;
        install(guest)
    }
}

/// Puts the script in lvm's place; the real one moves to where only the script looks for it.
fn install(guest: &Guest) -> Result<()> {
    let real = "/usr/local/lib/lab/lvm";
    if guest.exec(&["test", "-x", real])?.rc == 0 {
        return Ok(());
    }
    guest.agent().put(SCRIPT.as_bytes(), "/run/lab/lvm", 0o755)?;
    guest
        .sh(&format!("mkdir -p /usr/local/lib/lab; mv /usr/sbin/lvm {real}; cp -p /run/lab/lvm /usr/sbin/lvm"))
        .map(drop)
}

/// The command at which the trap sprang, if it did.
pub fn sprung(guest: &Guest) -> Result<Option<String>> {
    let exit = guest.exec(&["cat", "/run/lab/sprung"])?;
    Ok((exit.rc == 0).then(|| exit.stdout.trim().to_owned()))
}

/// As [`sprung`]; an error if it did not, for then the scenario has proven nothing.
pub fn must_have_sprung(guest: &Guest) -> Result<String> {
    let commands = guest.exec(&["cat", "/run/lab/commands"])?.stdout;
    let sprung = sprung(guest)?.with_context(|| format!("the trap never sprang; commands were:\n{commands}"))?;
    ensure!(!sprung.is_empty(), "the trap's note is empty");
    Ok(sprung)
}
