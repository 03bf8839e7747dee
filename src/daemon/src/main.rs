//! `mirrorkeeperd`: reads the command line, prepares the process, and runs the loop.

use anyhow::{Context, Result};
use mirrorkeeper_sys::{Roots, probe};
use mirrorkeeperd::cli::{Cli, Command, HELP};
use mirrorkeeperd::{daemon, journal, survive};
use std::io::Write;
use std::process::ExitCode;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    // A probe is a short-lived child that may hang on a disk: it gets no runtime, no log thread and no pinned memory.
    let done = match arguments.split_first() {
        Some((first, rest)) if first == probe::FLAG => {
            probe::main(rest, &Roots::default(), std::io::stdin(), std::io::stdout()).context("probe")
        }
        _ => match Command::parse(&arguments) {
            Ok(Command::Help) => write!(std::io::stdout(), "{HELP}").context("print"),
            Ok(Command::Version) => writeln!(std::io::stdout(), "mirrorkeeperd {VERSION}").context("print"),
            Ok(Command::Run(cli)) => run(cli),
            Err(error) => Err(error).context("--help shows the options"),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mirrorkeeperd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let refused = survive::prepare();
    let log = journal::Log::start(cli.log).context("start logging")?;
    refused.iter().for_each(|what| tracing::warn!("{what}; going on without"));
    // One thread is enough and the least to go wrong: nothing on it waits. Publishing and healing share it, since a
    // stalled bus leaves only the publisher's task waiting.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(daemon::run(cli));
    // Not waiting for what may be stuck on a disk; LVM commands live on (KillMode=process).
    runtime.shutdown_background();
    log.flush();
    Ok(ended?)
}
