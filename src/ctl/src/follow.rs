//! Following a job to its end: what is new since it was last looked at, line by line.
//!
//! The job is asked for twice a second rather than listened to: that also works when a signal is lost, and notices a
//! service that goes away. Ending the command leaves the job running.

use crate::text::{bytes, percent, plain};
use mirrorkeeper_client::{Client, Error, Job, OwnedObjectPath};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// A person does not notice half a second; the service answers from memory.
const EVERY: Duration = Duration::from_millis(500);

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// There was nothing to do, or it was done.
    Succeeded,
    /// It was not done; why.
    Failed(String),
}

/// Prints a job's steps until it has ended. The path `/` is the service's way to say that there is nothing to do.
pub async fn job(client: &Client, path: OwnedObjectPath) -> Result<End, Error> {
    if path.as_str() == "/" {
        return Ok(End::Succeeded);
    }
    let terminal = io::stdout().is_terminal();
    let mut shown = Job::default();
    loop {
        let job = client.read_job(&path).await?;
        let mut out = if terminal { "\r\x1b[K".to_owned() } else { String::new() };
        news(&shown, &job).iter().for_each(|line| out += &format!("{line}\n"));
        if let Some(progress) = progress(&job).filter(|_| terminal) {
            out += &progress;
        }
        let _ = io::stdout().write_all(out.as_bytes()).and_then(|()| io::stdout().flush());
        if let Some(end) = ended(&job) {
            return Ok(end);
        }
        shown = job;
        tokio::time::sleep(EVERY).await;
    }
}

fn ended(job: &Job) -> Option<End> {
    match job.state.as_str() {
        "queued" | "running" => None,
        "succeeded" => Some(End::Succeeded),
        other if job.error.is_empty() => Some(End::Failed(other.to_owned())),
        _ => Some(End::Failed(job.error.clone())),
    }
}

/// A line when a step begins and one when it ends otherwise than well. Steps are only ever added, and each ends once.
fn news(before: &Job, now: &Job) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, step) in now.steps.iter().enumerate() {
        let was = before.steps.get(index);
        if was.is_none() {
            lines.push(plain(&format!("{}: {}", step.code, step.why)));
            lines.push(plain(&format!("  {}", step.command)));
        }
        if was.is_none_or(|was| was.result != step.result) && !matches!(step.result.as_str(), "running" | "done") {
            let exit = if step.exit >= 0 { format!(", exit status {}", step.exit) } else { String::new() };
            lines.push(plain(&format!("  {}{exit}", step.result)));
        }
    }
    lines
}

fn progress(job: &Job) -> Option<String> {
    let rate = if job.rate_bytes > 0 { format!(", {}/s", bytes(job.rate_bytes)) } else { String::new() };
    (job.progress_valid && ended(job).is_none()).then(|| format!("  {}{rate}", percent(job.progress)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorkeeper_client::Step;

    fn step(code: &str, result: &str, exit: i32) -> Step {
        Step {
            code: code.to_owned(),
            why: "so".to_owned(),
            command: format!("lvm {code}"),
            exit,
            result: result.to_owned(),
        }
    }

    fn job_with(steps: &[Step], state: &str) -> Job {
        Job { steps: steps.to_vec(), state: state.to_owned(), ..Job::default() }
    }

    #[test]
    fn each_step_is_told_once_and_its_end_when_it_is_not_good() {
        let first = job_with(&[step("drop-leg", "running", -1)], "running");
        assert_eq!(news(&Job::default(), &first), ["drop-leg: so", "  lvm drop-leg"]);
        assert!(news(&first, &first).is_empty());
        let second = job_with(&[step("drop-leg", "done", 0), step("readd-leg", "failed", 5)], "running");
        assert_eq!(news(&first, &second), ["readd-leg: so", "  lvm readd-leg", "  failed, exit status 5"]);
        let third = job_with(&[step("drop-leg", "timed-out", -1)], "running");
        assert_eq!(news(&first, &third), ["  timed-out"]);
    }

    #[test]
    fn a_job_ends_with_success_or_a_reason() {
        let end = |state: &str, error: &str| ended(&Job { error: error.to_owned(), ..job_with(&[], state) });
        assert_eq!([end("queued", ""), end("running", "")], [None, None]);
        assert_eq!(end("succeeded", ""), Some(End::Succeeded));
        assert_eq!(end("failed", "held: split-brain"), Some(End::Failed("held: split-brain".to_owned())));
        assert_eq!(end("cancelled", ""), Some(End::Failed("cancelled".to_owned())));
        assert_eq!(end("a-new-word", ""), Some(End::Failed("a-new-word".to_owned())), "never followed for ever");
    }

    #[test]
    fn progress_is_shown_while_it_can_be_told() {
        let copying = Job { progress: 0.4319, progress_valid: true, rate_bytes: 20 << 20, ..job_with(&[], "running") };
        assert_eq!(progress(&copying).as_deref(), Some("  43.1 %, 20.0 MiB/s"));
        assert_eq!(progress(&Job { progress_valid: false, ..copying.clone() }), None);
        assert_eq!(progress(&Job { state: "succeeded".to_owned(), ..copying }), None);
    }
}
