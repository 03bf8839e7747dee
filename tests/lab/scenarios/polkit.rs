//! Who may do what, with the real polkit: reading is open, everything else is for root and for whom a rule names.

use anyhow::{Context, Result, bail, ensure};

use crate::caller::{ASK_FIRST, DENIED, MANAGER, ROOT, VISITOR, send};
use crate::check::{Errors, final_check};
use crate::fault::Server;
use crate::guest::{BUS, Guest, mirror_path};
use crate::install::UNIT;
use crate::signals;
use crate::stage::{LOSS_LIMIT, Stage};
use crate::wait::{Look, wait_until};

use super::probation::hold_checks_back;

/// What anybody may ask.
const READING: &[&str] = &[
    "mirrorkeeper status",
    "mirrorkeeper plan vg0/r1",
    "mirrorkeeper history",
    "mirrorkeeper diagnose",
    "mirrorkeeper safe 10.10.2.2",
    "busctl tree org.mirrorkeeper1",
    "busctl call org.mirrorkeeper1 /org/mirrorkeeper1 org.freedesktop.DBus.ObjectManager GetManagedObjects",
    "busctl introspect org.mirrorkeeper1 /org/mirrorkeeper1/mirror/vg0_2fr1",
];

/// Every verb is refused without a rule; with one for a single action only that one is allowed; with one for all, all are.
/// While polkit is silent nothing is done, and a yes that comes too late is none.
pub fn rules(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.guest().add_user(VISITOR)?;
    for command in READING {
        let exit = stage.guest().exec(&["sh", "-c", &format!("runuser -u {VISITOR} -- {command}")])?;
        ensure!(exit.rc == 0, "{VISITOR} may not `{command}`: {}", exit.stderr);
    }
    stage.step("reading is open");
    let verbs = verbs(stage.guest())?;
    all_refused(stage.guest(), &verbs)?;
    stage.step(&format!("{} verbs are refused, and nothing was done", verbs.len()));

    allow(stage.guest(), "action.id == 'org.mirrorkeeper1.heal'")?;
    for (path, call, _) in verbs.iter().filter(|(_, call, _)| other_than_heal(call)) {
        let refused = stage.guest().call_as(VISITOR, path, call)?;
        ensure!(refused == Err(ASK_FIRST.to_owned()), "{call} with a rule for something else: {refused:?}");
    }
    stage.step("a rule for one action opens no other");
    allow(stage.guest(), "action.id.indexOf('org.mirrorkeeper1.') == 0")?;
    polkit_is_silent(stage)?;
    all_allowed(stage, &verbs)?;
    stage.figure(format!("{} verbs refused without a rule and open with one", verbs.len()));
    stage.wait_for_redundancy("the last of them")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// An object, a call, and what becomes of it when it is allowed: `job`, `done`, or an error that shows that somebody has
/// looked at it.
type Verb = (String, String, &'static str);

/// Every method that changes something, in an order in which all can be called.
fn verbs(guest: &Guest) -> Result<Vec<Verb>> {
    let keep = guest.pv_on(Server::A)?;
    // A check that crawls: a job to be cancelled, and nothing else happens meanwhile.
    hold_checks_back(guest, true)?;
    let job = guest.start_job("vg0/r1", "Check")?.map_err(anyhow::Error::msg).context("starting a check")?;
    let (mirror, server, target) = (mirror_path("vg0/r1"), Server::B.object(), Server::B.target());
    let verb = |path: &str, call: &str, then| (path.to_owned(), call.to_owned(), then);
    Ok(vec![
        verb(MANAGER, "Manager.Rescan", "done"),
        verb(MANAGER, "Manager.Reload", "done"),
        verb(MANAGER, "Manager.Pause string:visitor", "done"),
        verb(MANAGER, "Manager.Resume", "done"),
        verb(&target, "Target.SetReplacementTimeout uint32:30", "done"),
        verb(&target, "Target.SetReplacementTimeout uint32:0", "done"),
        verb(&mirror, "Mirror.SetResyncLimit uint64:100000000", "done"),
        verb(&mirror, "Mirror.Activate", "org.mirrorkeeper1.Error.NotInactive"),
        verb(&mirror, &format!("Mirror.Resolve string:{keep}"), "org.mirrorkeeper1.Error.NotHeld"),
        // The kernel is at it already.
        verb(&job, "Job.Cancel", "org.mirrorkeeper1.Error.Busy"),
        verb(&mirror, "Mirror.Check", "job"),
        verb(&mirror, "Mirror.Heal", "job"),
        verb(&target, "Target.Reconnect", "job"),
        verb(&server, "Server.EnterMaintenance", "job"),
        verb(&server, "Server.LeaveMaintenance", "job"),
        verb(MANAGER, "Manager.Forget string:vg0", "job"),
    ])
}

fn other_than_heal(call: &str) -> bool {
    let healing = ["Rescan", "Reload", "Pause", "Resume", "Reconnect", "Heal", "Check", "Cancel"];
    !healing.iter().any(|method| call.split(['.', ' ']).nth(1) == Some(*method))
}

fn all_refused(guest: &Guest, verbs: &[Verb]) -> Result<()> {
    let before = trace(guest)?;
    for (path, call, _) in verbs {
        let refused = guest.call_as(VISITOR, path, call)?;
        ensure!(refused == Err(ASK_FIRST.to_owned()), "{call} without a rule: {refused:?}");
        let refused = guest.call_interactively(VISITOR, path, call)?;
        ensure!(refused == "Call failed: Access denied", "{call} without a rule, interactive: {refused:?}");
    }
    let after = trace(guest)?;
    ensure!(after == before, "refused calls left a trace: {before} became {after}");
    Ok(())
}

/// Whatever a verb could leave behind: events, jobs, metadata, a pause, timeouts, limits, and the note of who was allowed.
fn trace(guest: &Guest) -> Result<String> {
    let mut text = guest.sh(&format!(
        "mirrorkeeper history -n 0 | md5sum; busctl tree --list {BUS} | grep job/; vgs --noheadings -o seqno vg0
         cat /sys/class/iscsi_session/session*/recovery_tmo; ls /sys/class/iscsi_session
         journalctl -b -u {UNIT} | grep -c 'uid [1-9][0-9]* calls' || true"
    ))?;
    text += &guest.property(MANAGER, "Manager", "Paused")?.to_string();
    Ok(text)
}

/// Puts a rule for the visitor in place of any before, and waits until polkit goes by it.
fn allow(guest: &Guest, condition: &str) -> Result<()> {
    let rule = format!(
        "polkit.addRule(function(action, subject) {{
             if ({condition} && subject.user == '{VISITOR}') return polkit.Result.YES;
         }});\n"
    );
    guest.agent().put(rule.as_bytes(), "/etc/polkit-1/rules.d/10-lab.rules", 0o644)?;
    let (path, call) = match condition.contains(".heal") {
        true => (MANAGER.to_owned(), "Manager.Rescan"),
        false => (mirror_path("vg0/r1"), "Mirror.SetResyncLimit uint64:0"),
    };
    wait_until("polkit to go by a new rule", LOSS_LIMIT, || {
        let called = guest.call_as(VISITOR, &path, call)?;
        Ok(if called.is_ok() { Look::Done(()) } else { Look::NotYet(format!("{called:?}")) })
    })
}

/// polkitd hangs: the visitor waits and root does not. It goes on in time, and what was asked for is done; it goes on too
/// late, and it is not.
fn polkit_is_silent(stage: &Stage<'_>) -> Result<()> {
    let guest = stage.guest();
    let paused =
        || -> Result<bool> { guest.property(MANAGER, "Manager", "Paused")?.as_bool().context("Paused is no boolean") };
    ask_silent_polkit(guest)?;
    for _ in 0..5 {
        let called = guest.call_as(ROOT, MANAGER, "Manager.Rescan")?;
        ensure!(called.is_ok(), "root was refused: {called:?}");
    }
    ensure!(!paused()?, "paused before polkit had answered");
    guest.sh("systemctl kill --kill-whom=main -s CONT polkit")?;
    wait_until("the visitor's pause", LOSS_LIMIT, || {
        Ok(if paused()? { Look::Done(()) } else { Look::NotYet("not paused".to_owned()) })
    })?;
    guest.sh("mirrorkeeper resume")?;

    ask_silent_polkit(guest)?;
    wait_until("the visitor to be turned away", LOSS_LIMIT, || {
        let text = guest.sh("cat /run/lab-visitor")?;
        Ok(if text.contains(DENIED) { Look::Done(()) } else { Look::NotYet(text) })
    })?;
    guest.sh("systemctl kill --kill-whom=main -s CONT polkit")?;
    // It answers in the order in which it was asked.
    let called = guest.call_as(VISITOR, MANAGER, "Manager.Rescan")?;
    ensure!(called.is_ok() && !paused()?, "paused by an answer that came too late, or {called:?}");
    stage.step("nothing was done while polkit was silent, nor when it spoke too late");
    Ok(())
}

/// Stops polkitd and lets the visitor ask for a pause; returns when polkit has been asked.
fn ask_silent_polkit(guest: &Guest) -> Result<()> {
    let asked = |guest: &Guest| -> Result<usize> {
        let messages = signals::read(guest)?;
        Ok(messages.iter().filter(|m| m["type"] == "method_call" && m["member"] == "CheckAuthorization").count())
    };
    let before = asked(guest)?;
    guest.sh(&format!(
        "systemctl kill --kill-whom=main -s STOP polkit
         systemd-run --quiet --collect sh -c '{} >/run/lab-visitor 2>&1'",
        send(VISITOR, MANAGER, "Manager.Pause string:late")
    ))?;
    wait_until("polkit to be asked", LOSS_LIMIT, || {
        let now = asked(guest)?;
        Ok(if now > before { Look::Done(()) } else { Look::NotYet(format!("{now} questions")) })
    })
}

fn all_allowed(stage: &Stage<'_>, verbs: &[Verb]) -> Result<()> {
    let guest = stage.guest();
    let uid: u64 = guest.sh(&format!("id -u {VISITOR}"))?.trim().parse().context("id said no number")?;
    for (path, call, then) in verbs {
        let called = guest.call_as(VISITOR, path, call)?;
        stage.step(&format!("{call}: {called:?}"));
        if call == "Job.Cancel" {
            // Nobody needs it any more.
            hold_checks_back(guest, false)?;
            stage.follow(path)?;
        }
        match (*then, called) {
            ("done", Ok(_)) => {}
            ("job", Ok(job)) => {
                let by = guest.property(&job, "Job", "StartedByUID")?;
                ensure!(by == uid, "{call} was started by {by}, not by {uid}");
                stage.follow(&job)?;
            }
            (error, Err(name)) if name == error => {}
            (_, called) => bail!("{call} with a rule: {called:?} instead of {then}"),
        }
    }
    let told = guest.sh(&format!("journalctl -b -u {UNIT} | grep -c 'uid {uid} calls'"))?;
    stage.step(&format!("the journal names {VISITOR} {} times", told.trim()));
    // Forgotten until then.
    guest.sh("mirrorkeeper resume")?;
    Ok(())
}
