//! What the daemon says about a mirror that it does not heal by itself, and how a person decides.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::caller::ROOT;
use crate::fault::Server;
use crate::guest::{BUS, Guest, mirror_path};
use crate::stage::{HEAL_LIMIT, Stage, name};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

impl Guest {
    /// `Hold` of a mirror; empty when nothing is held back.
    pub fn hold(&self, volume: &str) -> Result<String> {
        let value = self.property(&mirror_path(volume), "Mirror", "Hold")?;
        value.as_str().map(str::to_owned).context("Hold is no string")
    }

    /// `HoldDetails` of a mirror, as busctl's JSON.
    pub fn hold_details(&self, volume: &str) -> Result<Value> {
        self.property(&mirror_path(volume), "Mirror", "HoldDetails")
    }

    /// UUID of the PV on a server's disk, read from the disk's own label.
    pub fn pv_on(&self, server: Server) -> Result<String> {
        let disk = self.disk_of(server.letter())?;
        let text = self.sh(&format!("pvs --noheadings -o uuid --devices /dev/{disk} /dev/{disk}"))?;
        Ok(text.trim().to_owned())
    }

    /// The commands of `PlanHeal()`: what would be run now.
    pub fn planned_commands(&self, volume: &str) -> Result<Vec<String>> {
        let path = mirror_path(volume);
        let text = self.sh(&format!("busctl --timeout=30 -j call {BUS} {path} {BUS}.Mirror PlanHeal"))?;
        let answer: Value = serde_json::from_str(&text)?;
        let steps = answer["data"][0].as_array().context("PlanHeal gives no list")?;
        // A step without a command says why there are none.
        let commands = steps.iter().map(|step| &step[2]).filter(|argv| argv.as_array().is_some_and(|a| !a.is_empty()));
        Ok(commands.map(Value::to_string).collect())
    }

    /// A method of a mirror that starts a job; its path, or the name of the error.
    pub fn start_job(&self, volume: &str, call: &str) -> Result<std::result::Result<String, String>> {
        self.call_as(ROOT, &mirror_path(volume), &format!("Mirror.{call}"))
    }
}

impl Stage<'_> {
    /// Waits until a mirror is held for one of `reasons`, with evidence.
    pub fn wait_for_hold(&mut self, volume: &str, reasons: &[&str]) -> Result<String> {
        let what = format!("Hold of {volume} to be {}", reasons.join(" or "));
        let hold = wait_until(&what, HEAL_LIMIT, || {
            let hold = self.guest().hold(volume)?;
            Ok(if reasons.contains(&hold.as_str()) { Look::Done(hold) } else { Look::NotYet(format!("{hold:?}")) })
        })?;
        let details = self.guest().hold_details(volume)?;
        ensure!(details.as_object().is_some_and(|evidence| !evidence.is_empty()), "{hold} comes without evidence");
        self.step(&format!("{volume} is held: {hold}"));
        self.check_what_people_are_told(volume, &hold)?;
        self.figure(format!("{volume} held: {hold}"));
        Ok(hold)
    }

    /// The command line says that a mirror is held and why; its words go to the log of the run, for people to judge.
    fn check_what_people_are_told(&self, volume: &str, hold: &str) -> Result<()> {
        let plan = self.guest().exec(&["mirrorkeeper", "plan", volume])?;
        println!("{}", plan.stdout.trim_end());
        ensure!(plan.rc == 1 && plan.stdout.contains(hold), "`plan {volume}` ends with {}: {}", plan.rc, plan.stderr);
        let status = self.guest().exec(&["mirrorkeeper", "status"])?;
        println!("{}", status.stdout.trim_end());
        ensure!(status.rc == 1 && status.stdout.contains(hold), "`status` ends with {}: {}", status.rc, status.stderr);
        Ok(())
    }

    /// `Resolve`: the leg on that server is kept, and the job is followed to its good end.
    pub fn resolve(&self, volume: &str, keep: Server) -> Result<()> {
        self.follow(&self.begin_to_resolve(volume, keep)?)
    }

    /// Its beginning alone; gives the job.
    pub fn begin_to_resolve(&self, volume: &str, keep: Server) -> Result<String> {
        let pv = self.guest().pv_on(keep)?;
        self.step(&format!("Resolve: keep the leg on {keep:?}"));
        match self.guest().start_job(volume, &format!("Resolve string:{pv}"))? {
            Ok(job) => Ok(job),
            Err(error) => bail!("Resolve of {volume} was refused: {error}"),
        }
    }

    /// Waits for a job's end, which must be a success.
    pub fn follow(&self, job: &str) -> Result<()> {
        let limit = HEAL_LIMIT + Duration::from_secs(120);
        let state = wait_until(&format!("{job} to end"), limit, || {
            let state = self.guest().property(job, "Job", "State")?;
            Ok(match state.as_str() {
                Some("queued" | "running") | None => Look::NotYet(state.to_string()),
                Some(ended) => Look::Done(ended.to_owned()),
            })
        })?;
        let error = self.guest().property(job, "Job", "Error")?;
        ensure!(state == "succeeded", "{job} {state}: {error}");
        Ok(())
    }
}

/// Waits until both mirrors can be mounted, and mounts what boot has not.
pub fn wait_for_mounts(stage: &Stage<'_>) -> Result<()> {
    for volume in VOLUMES {
        let name = name(volume);
        wait_until(&format!("{volume} to be mounted"), HEAL_LIMIT, || {
            let exit = stage.guest().exec(&["sh", "-c", &format!("mountpoint -q /mnt/{name} || mount /mnt/{name}")])?;
            Ok(if exit.rc == 0 { Look::Done(()) } else { Look::NotYet(exit.stderr) })
        })?;
    }
    Ok(())
}
