//! Those who listen on the bus: all hear the same, and the same is remembered.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::guest::{BUS, Guest};
use crate::lab;
use crate::roles::HEALTHY;
use crate::signals;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;
use crate::transcript;
use crate::wait::{Look, wait_until};

/// Users without any rights; each has a connection of its own.
const LISTENERS: [&str; 2] = ["nobody", "daemon"];

/// Two subscribers and the lab's own recorder hear the same events in the same order through a cut and a return, and
/// `History()` is word for word the same.
pub fn hear_the_same(stage: &mut Stage<'_>) -> Result<()> {
    for user in LISTENERS {
        listen(stage.guest(), user)?;
    }
    let since = stage.guest().clock()?;
    cut_and_return(stage)?;
    let until = stage.guest().clock()?;
    stage.guest().sh("mirrorkeeper pause lab; mirrorkeeper resume")?;
    for user in LISTENERS {
        wait_until(&format!("{user} to have heard everything"), LOSS_LIMIT, || {
            let last = heard(stage.guest(), user)?.last().map_or(0, |(at, _)| *at);
            Ok(if last >= until { Look::Done(()) } else { Look::NotYet(format!("nothing since {last}")) })
        })?;
    }
    compare(stage, since..until)?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_signals_of_a_heal()?;
    stage.check_daemon(0)
}

/// Under writers b is cut, and returns when both mirrors have gone on without it.
fn cut_and_return(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT)?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its return")
}

/// A cut and a return as documentation: written to `transcript.txt` of the lab's directory. Nothing is announced that has not
/// changed.
pub fn transcript(stage: &mut Stage<'_>) -> Result<()> {
    cut_and_return(stage)?;
    stage.wait_for_roles(HEALTHY)?;
    let messages = signals::read(stage.guest())?;
    let lines = transcript::lines(&messages);
    let file = lab::dir().join("transcript.txt");
    fs::write(&file, lines.join("\n") + "\n").with_context(|| format!("writing {}", file.display()))?;
    stage.figure(format!("{} lines in {}", lines.len(), file.display()));
    let idle = transcript::idle_talk(&messages);
    ensure!(idle.is_empty(), "announced without having changed: {idle:?}");
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Without the privilege to be a monitor, dbus-monitor is a subscriber like any other.
fn listen(guest: &Guest, user: &str) -> Result<()> {
    guest.sh(&format!(
        "systemd-run --quiet --unit=lab-listener-{user} --uid={user} -p StandardOutput=file:/root/heard.{user} \
             dbus-monitor --system \"type='signal',sender='{BUS}',member='Event'\""
    ))?;
    wait_until(&format!("{user} to listen"), LOSS_LIMIT, || {
        guest.sh("mirrorkeeper pause lab; mirrorkeeper resume")?;
        let heard = heard(guest, user)?.len();
        Ok(if heard > 0 { Look::Done(()) } else { Look::NotYet("nothing was heard".to_owned()) })
    })
}

/// What a listener was told: of each event the moment and everything that was said.
fn heard(guest: &Guest, user: &str) -> Result<Vec<(u64, String)>> {
    let text = guest.sh(&format!("cat /root/heard.{user}"))?;
    // "signal time=1.5 sender=:1.7 -> destination=(null destination) serial=9 path=…; interface=…; member=Event", and its body.
    let events = text.split("signal time=").filter(|message| message.contains("member=Event"));
    events
        .map(|message| {
            let (_, message) = message.split_once(' ').context("a message without a time")?;
            let body = message.lines().nth(1).and_then(|line| line.trim().strip_prefix("uint64 "));
            let at = body.with_context(|| format!("an event without its moment: {message:?}"))?.parse()?;
            Ok((at, message.to_owned()))
        })
        .collect()
}

fn compare(stage: &mut Stage<'_>, span: std::ops::Range<u64>) -> Result<()> {
    let within = |at: u64| span.contains(&at);
    let remembered: Vec<Value> =
        stage.guest().history()?.into_iter().filter(|entry| entry[0].as_u64().is_some_and(within)).collect();
    ensure!(remembered.len() > 10, "a cut and a return are more than {} events", remembered.len());
    let recorded: Vec<Value> = signals::read(stage.guest())?
        .iter()
        .filter(|m| m["type"] == "signal" && m["member"] == "Event")
        .map(|m| m["payload"]["data"].clone())
        .filter(|event| event[0].as_u64().is_some_and(within))
        .collect();
    ensure!(recorded == remembered, "announced were {recorded:?}, remembered {remembered:?}");
    let [first, second] = LISTENERS.map(|user| heard(stage.guest(), user));
    let [first, second] =
        [first?, second?].map(|heard| heard.into_iter().filter(|(at, _)| within(*at)).collect::<Vec<_>>());
    ensure!(first == second, "one heard {first:?}, the other {second:?}");
    ensure!(first.len() == remembered.len(), "{} events were heard, {} remembered", first.len(), remembered.len());
    for ((at, text), entry) in first.iter().zip(&remembered) {
        let words = [&entry[1], &entry[2], &entry[3]].map(|word| format!("\"{}\"", word.as_str().unwrap_or_default()));
        let same = entry[0] == *at && words.iter().all(|word| text.contains(word));
        ensure!(same, "heard {text:?} where {entry} is remembered");
    }
    stage.figure(format!("{} events, the same for both listeners and in History()", remembered.len()));
    Ok(())
}

impl Guest {
    /// `History()`, all of it: time, code, severity, object, details as busctl's JSON has them.
    pub fn history(&self) -> Result<Vec<Value>> {
        let text =
            self.sh(&format!("busctl --timeout=30 -j call {BUS} /org/mirrorkeeper1 {BUS}.Manager History tu 0 0"))?;
        let mut answer: Value = serde_json::from_str(&text)?;
        match answer["data"][0].take() {
            Value::Array(entries) => Ok(entries),
            other => anyhow::bail!("History gives no list: {other}"),
        }
    }
}
