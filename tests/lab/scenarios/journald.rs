//! journald hangs while a server is lost and comes back: nobody waits for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::install::UNIT;
use crate::signals;
use crate::stage::{HEAL_LIMIT, LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

use super::bus::{LIMIT_MS, ask};

/// How long the journal is stopped at least. journald's own watchdog would kill it after three minutes.
const STOPPED: Duration = Duration::from_secs(60);

/// journald hangs, its socket full, from before a cut until the heal is under way. The bus answers as if nothing were, and
/// what was to be logged is in the journal afterwards.
pub fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    let since = stage.guest().clock()?;
    stop_journal(stage)?;
    let start = Instant::now();
    Fault::Cut.strike(stage.guest(), Server::B)?;
    asking_until(stage, "r1 to lose its leg", || Ok(stage.guest().dm_status("vg0/r1")?.health.contains('D')))?;
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Cut.undo(stage.guest(), Server::B)?;
    asking_until(stage, "a minute to be over and r1 to be healed", || {
        let state = stage.guest().mirror_state("vg0/r1")?;
        Ok(start.elapsed() > STOPPED && matches!(state.as_str(), "resyncing" | "verifying" | "redundant"))
    })?;
    stage.figure(format!("journal stopped for {} s", start.elapsed().as_secs()));
    stage.guest().sh("systemctl kill --kill-whom=main -s CONT systemd-journald")?;
    answers_were_quick(stage, since)?;
    stage.wait_for_redundancy("the journal went on")?;
    events_are_in_the_journal(stage, since)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Asks the bus for everything while something else is waited for.
fn asking_until(stage: &Stage<'_>, what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
    wait_until(what, HEAL_LIMIT, || {
        let took = ask(stage)?;
        Ok(if done()? { Look::Done(()) } else { Look::NotYet(format!("asking took {took} ms")) })
    })
}

/// From the call to its reply, as the recorder saw both: how long busctl takes to start is nobody's concern here.
fn answers_were_quick(stage: &mut Stage<'_>, since: u64) -> Result<()> {
    let messages = signals::read(stage.guest())?;
    let at = |m: &Value| m["timestamp-realtime"].as_u64().unwrap_or(0);
    let calls = messages.iter().filter(|m| m["member"] == "GetManagedObjects" && at(m) >= since);
    let reply = |call: &Value| {
        messages.iter().find(|m| m["reply_cookie"] == call["cookie"] && m["destination"] == call["sender"]).map(at)
    };
    let answers: Vec<u64> = calls.filter_map(|call| Some((reply(call)? - at(call)) / 1000)).collect();
    let longest = *answers.iter().max().context("the bus was never asked")?;
    ensure!(longest < LIMIT_MS, "the daemon took {longest} ms to answer");
    stage.figure(format!("slowest of {} answers {longest} ms", answers.len()));
    Ok(())
}

/// From one socket after the other, since each may only send so much, until a new one can send nothing; prints how many
/// entries it took.
const FILL_JOURNAL: &str = r#"perl -MSocket -e '
    for ($all = 0; ; $all += $sent) {
        socket($s, AF_UNIX, SOCK_DGRAM, 0) and connect($s, pack_sockaddr_un("/run/systemd/journal/socket")) or die $!;
        for ($sent = 0; send($s, "MESSAGE=filler\n", MSG_DONTWAIT); $sent++) {}
        last unless $sent;
    }
    print $all'"#;

/// Stops journald, and fills its socket: from now on whoever logs without care waits.
fn stop_journal(stage: &Stage<'_>) -> Result<()> {
    stage.guest().sh("systemctl kill --kill-whom=main -s STOP systemd-journald")?;
    let entries = stage.guest().sh(FILL_JOURNAL)?;
    stage.step(&format!("journald is stopped, its socket full with {entries} entries"));
    Ok(())
}

/// Every event since then that is remembered has its entry with a MESSAGE_ID.
fn events_are_in_the_journal(stage: &mut Stage<'_>, since: u64) -> Result<()> {
    let remembered = stage.guest().history()?.iter().filter(|entry| entry[0].as_u64() >= Some(since)).count();
    let logged = || -> Result<usize> {
        let text = stage.guest().sh(&format!(
            "journalctl -b -u {UNIT} -o json --output-fields=MESSAGE_ID --since @{} | grep -c MESSAGE_ID || true",
            since / 1_000_000
        ))?;
        Ok(text.trim().parse()?)
    };
    wait_until(&format!("{remembered} events in the journal"), LOSS_LIMIT, || {
        let logged = logged()?;
        Ok(if logged >= remembered { Look::Done(()) } else { Look::NotYet(format!("{logged}")) })
    })?;
    stage.figure(format!("{remembered} events, all in the journal"));
    Ok(())
}
