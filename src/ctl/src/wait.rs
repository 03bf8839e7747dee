//! Waiting at boot for the mirrors that LVM leaves to the service to activate: what `mirrorkeeper-gate.service` runs.
//!
//! Ends when all of them are active or wait for a person, or when its time is over: a boot must not hang for a volume.
//! Only a service that does not answer is a failure, since the fallback unit then activates without it.

use mirrorkeeper_client::{Client, Mirror, Status, hold};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the service may take to answer for the first time. It starts when open-iscsi has started, and is on the bus
/// within 5 s; this leaves room for a slow bus.
const ANSWER: Duration = Duration::from_secs(60);

/// Between two looks: the wait ends that much late at most.
const EVERY: Duration = Duration::from_millis(500);

/// How the wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is waited for any more.
    Done,
    /// The service is at work, and these are not active yet.
    TimeOver(Vec<String>),
    /// The service never answered; the last reason.
    NoService(String),
}

/// Names of the mirrors, from the daemon's own memory, since nothing is on the bus before the disks are there.
///
/// # Errors
/// When the daemon's program cannot be run, or what it remembers cannot be read.
pub fn gated(daemon: &Path) -> Result<Vec<String>, String> {
    let cannot = |why: String| format!("{} --gated: {why}", daemon.display());
    let output = Command::new(daemon).arg("--gated").output().map_err(|e| cannot(e.to_string()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if !complaint.trim().is_empty() {
        return Err(cannot(complaint.trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Waits for the mirrors of these names.
pub async fn activated(names: &[String], address: Option<&str>, limit: Duration) -> End {
    let begun = Instant::now();
    let mut answered = false;
    loop {
        let read = async { Client::connect(address).await?.status().await };
        let end = match read.await {
            Ok(status) => {
                answered = true;
                let waiting = waiting(names, &status);
                if waiting.is_empty() {
                    return End::Done;
                }
                (begun.elapsed() >= limit).then_some(End::TimeOver(waiting))
            }
            // One that answered before is restarting.
            Err(error) => {
                let over = begun.elapsed() >= if answered { limit } else { ANSWER.min(limit) };
                over.then(|| End::NoService(error.to_string()))
            }
        };
        if let Some(end) = end {
            return end;
        }
        sleep(EVERY).await;
    }
}

fn waiting(names: &[String], status: &Status) -> Vec<String> {
    let settled = |name: &&String| status.mirrors.values().any(|m| m.name == **name && is_settled(m));
    names.iter().filter(|name| !settled(name)).cloned().collect()
}

/// Active, or held until a person decides. Other holds pass by themselves.
fn is_settled(mirror: &Mirror) -> bool {
    let waits_for_person = || hold::find(&mirror.hold).is_some_and(hold::Hold::is_for_a_person);
    !matches!(mirror.state.as_str(), "inactive" | "unknown" | "") || waits_for_person()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_mirrors_and_those_that_need_a_person_are_not_waited_for() {
        let mirror = |name: &str, state: &str, hold: &str| {
            let (name, state, hold) = (name.to_owned(), state.to_owned(), hold.to_owned());
            (name.clone(), Mirror { name, state, hold, ..Mirror::default() })
        };
        let status = Status {
            mirrors: [
                mirror("v/active", "degraded", ""),
                mirror("v/stale", "inactive", "stale-leg"),
                mirror("v/early", "inactive", "settling"),
                mirror("v/idle", "inactive", ""),
            ]
            .into(),
            ..Status::default()
        };
        let names = ["v/active", "v/stale", "v/early", "v/idle", "v/unseen"].map(String::from);
        assert_eq!(waiting(&names, &status), ["v/early", "v/idle", "v/unseen"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_answers_is_a_failure_long_before_the_time_is_over() {
        let begun = Instant::now();
        let end = activated(&["v/lv".to_owned()], Some("unix:path=/nonexistent/bus"), Duration::from_secs(600)).await;
        assert!(matches!(&end, End::NoService(why) if why.contains("no bus")), "{end:?}");
        assert!(begun.elapsed() >= ANSWER && begun.elapsed() < ANSWER * 2);
    }

    #[test]
    fn a_daemon_that_cannot_tell_is_an_error_and_one_without_gated_mirrors_is_not() {
        assert!(gated(Path::new("/nonexistent/mirrorkeeperd")).unwrap_err().contains("/nonexistent/mirrorkeeperd"));
        assert_eq!(gated(Path::new("/bin/false")), Ok(Vec::new()));
    }
}
