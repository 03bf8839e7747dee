//! `mirrorkeeper`, the command: shows what the daemon sees, and asks it for what a person may want. It decides nothing and
//! touches no storage itself.
//!
//! Exit status: 0 done or redundant, 1 not so, 2 wrong use, 3 the service was not reachable.

mod args;
mod evidence;
mod follow;
mod fstab;
mod render;
mod resolve;
mod text;
mod told;
mod wait;

use args::{Args, Command, Maintenance};
use clap::Parser;
use mirrorkeeper_client::{Client, Error, MirrorProxy, ObjectPath, OwnedObjectPath, ROOT, ServerProxy, Status};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Done; everything is redundant.
const GOOD: u8 = 0;
/// Something is not redundant, or was refused, or failed.
const BAD: u8 = 1;
/// Wrong use; also clap's.
const MISUSE: u8 = 2;
/// The service could not be asked.
const UNREACHABLE: u8 = 3;

/// Columns of a terminal. Everybody has at least these, and the tree needs no more.
const COLUMNS: usize = 80;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let address = args.bus_address.as_deref();
    let ended = match args.command {
        Command::Config => Ok(config(&args.daemon)),
        Command::WaitActivated { timeout } => Ok(wait(&args.daemon, address, Duration::from_secs(timeout)).await),
        command => ask(address, command).await,
    };
    ExitCode::from(ended.unwrap_or_else(|error| {
        eprintln!("mirrorkeeper: {}", complaint(&error));
        match error {
            Error::Refused { .. } | Error::AccessDenied(_) => BAD,
            Error::Unreachable(_) | Error::Bus(_) => UNREACHABLE,
        }
    }))
}

/// What the service is asked for.
async fn ask(address: Option<&str>, command: Command) -> Result<u8, Error> {
    let client = Client::connect(address).await?;
    let path = match command {
        Command::Status { json } => {
            let status = client.status().await?;
            print(&shown(&status, json));
            return Ok(verdict(&status));
        }
        Command::Plan { mirror } => {
            let steps = named(&client, &mirror).await?.plan_heal().await?;
            print(&render::plan(&steps));
            return Ok(if steps.iter().any(|step| step.code == "hold") { BAD } else { GOOD });
        }
        Command::Resolve { mirror, keep, yes } => match decided(&client, &mirror, &keep, yes).await? {
            Ok(()) => named(&client, &mirror).await?.resolve(&keep).await?,
            Err(code) => return Ok(code),
        },
        Command::Heal { mirror } => named(&client, &mirror).await?.heal().await?,
        Command::Activate { mirror } => named(&client, &mirror).await?.activate().await?,
        Command::Forget { vg } => client.manager().await?.forget(&vg).await?,
        Command::Check { mirror } => named(&client, &mirror).await?.check().await?,
        Command::Maintenance { wish: Maintenance::Enter { server } } => {
            server_named(&client, &server).await?.enter_maintenance().await?
        }
        Command::Maintenance { wish: Maintenance::Leave { server } } => {
            server_named(&client, &server).await?.leave_maintenance().await?
        }
        command => return at_once(&client, command).await,
    };
    followed(&client, path).await
}

/// What needs no job.
async fn at_once(client: &Client, command: Command) -> Result<u8, Error> {
    let manager = client.manager().await?;
    match command {
        Command::Pause { reason } => manager.pause(&reason).await?,
        Command::Resume => manager.resume().await?,
        Command::Reload => manager.reload().await?,
        Command::Limit { mirror, bytes_per_second } => {
            named(client, &mirror).await?.set_resync_limit(bytes_per_second).await?;
        }
        Command::Cancel { job } => {
            let path = ObjectPath::try_from(format!("{ROOT}/job/{job}")).map_err(Error::Bus)?;
            client.job(path).await?.cancel().await?;
        }
        Command::Safe { server } => {
            let (safe, reasons) = manager.safe_to_take_down(&server).await?;
            print(&told::safety(&server, safe, &reasons));
            return Ok(if safe { GOOD } else { BAD });
        }
        Command::Diagnose => {
            let findings = manager.diagnose().await?;
            print(&told::findings(&findings));
            return Ok(if findings.iter().any(|finding| finding.severity == "error") { BAD } else { GOOD });
        }
        Command::History { limit, json } => {
            let entries = manager.history(0, limit).await?;
            print(&if json { self::json(&entries) } else { told::history(&entries) });
        }
        // The others are taken care of by the callers.
        _ => return Ok(MISUSE),
    }
    Ok(GOOD)
}

async fn server_named(client: &Client, server: &str) -> Result<ServerProxy<'static>, Error> {
    let path = client.manager().await?.get_server(server).await?;
    client.server(path).await
}

/// For programs.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")) + "\n"
}

async fn named(client: &Client, mirror: &str) -> Result<MirrorProxy<'static>, Error> {
    let path = client.manager().await?.get_mirror(mirror).await?;
    client.mirror(path).await
}

async fn followed(client: &Client, path: OwnedObjectPath) -> Result<u8, Error> {
    match follow::job(client, path).await? {
        follow::End::Succeeded => {
            print("done\n");
            Ok(GOOD)
        }
        follow::End::Failed(why) => {
            eprintln!("mirrorkeeper: not done: {}", text::plain(&why));
            Ok(BAD)
        }
    }
}

/// Whether a person who has seen the evidence wants it; else the exit status.
async fn decided(client: &Client, mirror: &str, keep: &str, yes: bool) -> Result<Result<(), u8>, Error> {
    let path = client.manager().await?.get_mirror(mirror).await?;
    let status = client.status().await?;
    let Some(shown) = status.mirrors.get(path.as_str()) else {
        return Err(Error::Unreachable(format!("{mirror} went away while it was read")));
    };
    match resolve::briefing(shown, keep, &status, now()) {
        Ok(briefing) => print(&briefing),
        Err(why) => {
            eprintln!("mirrorkeeper: {why}");
            return Ok(Err(BAD));
        }
    }
    if yes {
        return Ok(Ok(()));
    }
    if !io::stdin().is_terminal() {
        eprintln!("mirrorkeeper: there is no terminal to ask on; --yes goes on without");
        return Ok(Err(MISUSE));
    }
    let confirmed = resolve::is_confirmed(io::stdin().lock(), io::stdout()).unwrap_or(false);
    if !confirmed {
        eprintln!("mirrorkeeper: nothing was done");
    }
    Ok(if confirmed { Ok(()) } else { Err(BAD) })
}

fn shown(status: &Status, json: bool) -> String {
    if json {
        return self::json(status);
    }
    let managed = status.mirrors.values().filter(|mirror| mirror.managed).map(|mirror| mirror.name.as_str());
    let table = std::fs::read_to_string("/etc/fstab").unwrap_or_default();
    let warnings = fstab::warnings(&table, managed, Path::new("/dev"));
    render::status(status, &warnings, now(), io::stdout().is_terminal().then_some(COLUMNS))
}

/// Becomes the daemon's program, which reads the files as the daemon does.
fn config(daemon: &Path) -> u8 {
    let error = std::process::Command::new(daemon).arg("--print-config").exec();
    eprintln!("mirrorkeeper: {}: {error}", daemon.display());
    UNREACHABLE
}

async fn wait(daemon: &Path, address: Option<&str>, limit: Duration) -> u8 {
    let names = wait::gated(daemon).unwrap_or_else(|why| {
        // Then the service tells by answering that it is there, and that has to do.
        eprintln!("mirrorkeeper: {why}");
        Vec::new()
    });
    match wait::activated(&names, address, limit).await {
        wait::End::Done => GOOD,
        wait::End::TimeOver(names) => {
            eprintln!("mirrorkeeper: not active yet: {}; the boot goes on", names.join(", "));
            GOOD
        }
        wait::End::NoService(why) => {
            eprintln!("mirrorkeeper: the service does not answer: {why}");
            UNREACHABLE
        }
    }
}

/// A reader that has seen enough, as in `| head`, is no failure.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The exit status for what was read. An unknown word is not redundant.
fn verdict(status: &Status) -> u8 {
    if status.manager.state == "redundant" { GOOD } else { BAD }
}

/// What went wrong, and what to do about it.
fn complaint(error: &Error) -> String {
    match error {
        Error::Unreachable(reason) => format!(
            "the service is not reachable: {reason}\n\
             See `systemctl status mirrorkeeper`. While it does not run, nothing is healed: \
             `systemctl start mirrorkeeper`."
        ),
        Error::Refused { code, message } => format!("refused, {code}: {}", text::plain(message)),
        Error::AccessDenied(message) => format!("{}; try again as root", text::plain(message)),
        Error::Bus(other) => {
            format!("the service could not be read: {other}\nSee `systemctl status mirrorkeeper`.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let refused = Error::Refused { code: "Busy".to_owned(), message: "unmount vg0/lv".to_owned() };
        assert_eq!(complaint(&refused), "refused, Busy: unmount vg0/lv");
    }
}
