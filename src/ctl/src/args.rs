//! The command line. Its texts are the manual: `--help` shows them.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Where the package puts the daemon.
const DAEMON: &str = "/usr/sbin/mirrorkeeperd";

/// Watches over LVM mirrors on iSCSI disks.
///
/// Exit status: 0 done or redundant, 1 not so, 2 wrong use, 3 the service is not reachable.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// D-Bus address instead of the system bus.
    #[arg(long, global = true, hide = true)]
    pub bus_address: Option<String>,
    /// The daemon's program.
    #[arg(long, global = true, hide = true, default_value = DAEMON)]
    pub daemon: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show servers, targets, disks and mirrors, and what to do about holds.
    ///
    /// Exit status: 0 everything is redundant, 1 it is not, 3 the service is not reachable.
    Status {
        /// As JSON: the properties of the D-Bus objects, in snake case.
        #[arg(long)]
        json: bool,
    },
    /// Show what would be done for a mirror now, and why not.
    ///
    /// Exit status: 0 nothing is to be done or nothing is in the way, 1 it is held.
    Plan {
        /// VG/LV.
        mirror: String,
    },
    /// Heal a mirror now, without waiting for settle and back-off times, and follow it to the end.
    Heal {
        /// VG/LV.
        mirror: String,
    },
    /// End a hold by a decision: keep one leg, copy every other one anew from it.
    ///
    /// Shows what is known of each leg and asks before anything is done.
    Resolve {
        /// VG/LV.
        mirror: String,
        /// The leg to keep, by the UUID of its PV.
        #[arg(long, value_name = "PV_UUID")]
        keep: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Activate an inactive mirror, degraded if need be, under the same checks as at boot.
    Activate {
        /// VG/LV.
        mirror: String,
    },
    /// Take mirrorkeeper's tags and registrations off a volume group and leave it alone.
    Forget {
        /// VG.
        vg: String,
    },
    /// Read and compare all legs of a mirror, write nothing, and follow it to the end.
    Check {
        /// VG/LV.
        mirror: String,
    },
    /// Whether a server may be switched off now without a mirror losing its last trusted copy.
    ///
    /// Exit status: 0 it may, 1 it must not.
    Safe {
        /// Server, by its name or address.
        server: String,
    },
    /// Take a server out of service, or put it back.
    Maintenance {
        /// Which.
        #[command(subcommand)]
        wish: Maintenance,
    },
    /// Switch healing off; observation and alarms go on.
    Pause {
        /// Why, for whoever asks later.
        reason: String,
    },
    /// Switch healing on again.
    Resume,
    /// Show what happened, oldest first. Times are UTC.
    History {
        /// Not more than so many entries; 0: all of the last 90 days.
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: u32,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what could be better, and what to do about it.
    ///
    /// Exit status: 0 nothing that puts data or redundancy at risk, 1 something does.
    Diagnose,
    /// Limit the copies of a mirror.
    Limit {
        /// VG/LV.
        mirror: String,
        /// Bytes a second; 0: no limit of mirrorkeeper's.
        bytes_per_second: u64,
    },
    /// End a job before its next step.
    Cancel {
        /// Its number.
        job: u32,
    },
    /// Have the service read its configuration again.
    Reload,
    /// Show the settings that a start or a reload of the service would use, and where each comes from.
    Config,
    /// Wait until the mirrors that LVM leaves to the service are active or held; for mirrorkeeper-gate.service.
    #[command(hide = true)]
    WaitActivated {
        /// Seconds.
        #[arg(long, default_value_t = 120)]
        timeout: u64,
    },
}

/// What is wished of a server.
#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// It will be taken down: fail its legs now, without a stall, and heal nothing there until `leave`.
    Enter {
        /// Server, by its name or address.
        server: String,
    },
    /// It serves again: judge and heal its legs.
    Leave {
        /// Server, by its name or address.
        server: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        assert!(!help.contains("bus-address") && !help.contains("wait-activated"), "{help}");
    }
}
