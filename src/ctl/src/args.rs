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
    /// Show the settings that a start of the service would use, and where each comes from.
    Config,
    /// Wait until the mirrors that LVM leaves to the service are active or held; for mirrorkeeper-gate.service.
    #[command(hide = true)]
    WaitActivated {
        /// Seconds.
        #[arg(long, default_value_t = 120)]
        timeout: u64,
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
