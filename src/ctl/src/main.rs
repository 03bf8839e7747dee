//! `mirrorkeeper`, the command: shows what the daemon sees. It reads the bus and writes text; it changes nothing.
//!
//! Exit status of `status`: 0 everything is redundant, 1 it is not, 2 wrong use, 3 the service was not reachable.

mod render;
mod text;

use clap::{Parser, Subcommand};
use mirrorkeeper_client::{Client, Error, Status};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Everything is redundant.
const REDUNDANT: u8 = 0;
/// Something is not redundant.
const NOT_REDUNDANT: u8 = 1;
/// Nothing could be read.
const UNREACHABLE: u8 = 3;

/// Columns of a terminal. Everybody has at least these, and the tree needs no more.
const COLUMNS: usize = 80;

/// Watches over LVM mirrors on iSCSI disks.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// D-Bus address instead of the system bus.
    #[arg(long, global = true, hide = true)]
    bus_address: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show servers, targets, disks and mirrors.
    ///
    /// Exit status: 0 everything is redundant, 1 it is not, 3 the service is not reachable.
    Status {
        /// As JSON: the properties of the D-Bus objects, in snake case.
        #[arg(long)]
        json: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let Command::Status { json } = args.command;
    let status = match read(args.bus_address.as_deref()).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("mirrorkeeper: {}", complaint(&error));
            return ExitCode::from(UNREACHABLE);
        }
    };
    let shown = if json {
        serde_json::to_string_pretty(&status).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")) + "\n"
    } else {
        render::status(&status, io::stdout().is_terminal().then_some(COLUMNS))
    };
    // A reader that has seen enough, as in `| head`, is no failure.
    let _ = io::stdout().write_all(shown.as_bytes());
    ExitCode::from(verdict(&status))
}

/// The exit status for what was read. An unknown word is not redundant.
fn verdict(status: &Status) -> u8 {
    if status.manager.state == "redundant" { REDUNDANT } else { NOT_REDUNDANT }
}

async fn read(address: Option<&str>) -> Result<Status, Error> {
    Client::connect(address).await?.status().await
}

/// What went wrong, and what to do about it.
fn complaint(error: &Error) -> String {
    match error {
        Error::Unreachable(reason) => format!(
            "the service is not reachable: {reason}\n\
             See `systemctl status mirrorkeeper`. While it does not run, nothing is healed: \
             `systemctl start mirrorkeeper`."
        ),
        other => format!("the service could not be read: {other}\nSee `systemctl status mirrorkeeper`."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
        assert!(!Args::command().render_long_help().to_string().contains("bus-address"));
    }

    #[test]
    fn only_redundant_is_success() {
        let verdict_on = |state: &str| {
            let mut status = Status::default();
            status.manager.state = state.to_owned();
            verdict(&status)
        };
        assert_eq!(["redundant", "verifying", "failed", "a-new-word", ""].map(verdict_on), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn who_cannot_reach_the_service_is_told_what_to_do() {
        assert!(complaint(&Error::Unreachable("no bus".to_owned())).contains("systemctl status mirrorkeeper"));
    }
}
