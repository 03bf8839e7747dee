//! `lab-guest`: the lab's program inside the guest. It serves the host's requests, writes under test, and judges.
//!
//! One file without companions, copied into the guest at boot; it never changes anything it was not told to, and its
//! verdicts are JSON on standard output.

mod agent;
mod blocks;
mod protocol;
mod record;
mod verify;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The lab's hand, writer and judge in the guest")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the host's requests on the virtio-serial port
    Agent,
    /// Write and fsync numbered records until SIGTERM
    Writer {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        ledger: PathBuf,
        /// Pause between two records
        #[arg(long, default_value_t = 50)]
        interval_ms: u64,
        /// Where the summary goes, besides standard output
        #[arg(long)]
        summary: Option<PathBuf>,
    },
    /// Fill a file for a later burst and flush it
    Prepare {
        #[arg(long)]
        file: PathBuf,
        #[arg(long, default_value_t = 2048)]
        slots: u64,
    },
    /// Overwrite random slots with O_DIRECT and do not flush
    Burst {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        ledger: PathBuf,
        #[arg(long, default_value_t = 2048)]
        slots: u64,
        #[arg(long, default_value_t = 400)]
        count: u64,
    },
    /// fsync a file
    Sync {
        #[arg(long)]
        file: PathBuf,
    },
    /// Look for every record that the ledger says was acknowledged
    Verify {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        ledger: PathBuf,
        #[arg(long)]
        direct: bool,
        #[arg(long, default_value_t = 1)]
        passes: u64,
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Compare two devices byte for byte, past every cache
    Compare {
        a: PathBuf,
        b: PathBuf,
        #[arg(default_value_t = 0)]
        offset_a: u64,
        #[arg(default_value_t = 0)]
        offset_b: u64,
        len: Option<u64>,
    },
    /// Sectors read from and written to a disk
    Diskstats { disk: String },
}

fn main() -> Result<()> {
    let result = match Cli::parse().command {
        Command::Agent => return agent::serve(),
        Command::Writer { file, ledger, interval_ms, summary } => {
            let result = writer::write(&file, &ledger, Duration::from_millis(interval_ms))?;
            if let Some(path) = summary {
                std::fs::write(path, format!("{result}\n"))?;
            }
            result
        }
        Command::Prepare { file, slots } => writer::prepare(&file, slots)?,
        Command::Burst { file, ledger, slots, count } => writer::burst(&file, &ledger, slots, count)?,
        Command::Sync { file } => writer::sync(&file)?,
        Command::Verify { file, ledger, direct, passes, threads } => {
            verify::verify(&file, &ledger, direct, passes, threads)?
        }
        Command::Compare { a, b, offset_a, offset_b, len } => verify::compare(&a, &b, (offset_a, offset_b), len)?,
        Command::Diskstats { disk } => verify::diskstats(&disk)?,
    };
    println!("{result}");
    Ok(())
}
