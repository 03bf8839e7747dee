//! A shutdown of the system is delayed while a mirror is being copied, if the administrator wants that: by a lock of logind's
//! that `systemd-inhibit --list` shows with its reason, held for as long as [`Snapshot::delays_shutdown`] says.
//!
//! A delay is no veto: logind goes on without us after InhibitDelayMaxSec= of logind.conf, 5 s unless set otherwise. Nobody
//! waits for what is done here. A bus or a logind that is not there costs the delay and nothing else, and a lock that is
//! held outlives the loss of both, since it is a descriptor. The connection is one of its own, and there only to ask.

use crate::publish::Bus;
use mirrorkeeper_core::snapshot::Snapshot;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zbus::OwnedFd;

/// How soon logind is asked again after it gave no lock. Copies that are worth a lock take longer.
pub const RETRY: Duration = Duration::from_secs(30);

/// How long the bus and logind may take in all. It was measured in milliseconds.
const ANSWER: Duration = Duration::from_secs(5);

/// Holds a lock whenever one is wanted, until the loop is gone. Asks again after `retry`.
pub fn spawn(bus: Bus, snapshots: watch::Receiver<Arc<Snapshot>>, retry: Duration) {
    tokio::spawn(hold(bus, snapshots, retry));
}

async fn hold(bus: Bus, mut snapshots: watch::Receiver<Arc<Snapshot>>, retry: Duration) {
    let mut complaint = String::new();
    while let Ok(why) = snapshots.wait_for(|shown| shown.delays_shutdown).await.map(|shown| reason(&shown)) {
        let taken = timeout(ANSWER, take(&bus, &why)).await;
        let over = snapshots.wait_for(|shown| !shown.delays_shutdown);
        let error = match taken {
            Ok(Ok(_lock)) => {
                tracing::info!("a shutdown is delayed: {why}");
                complaint.clear();
                if over.await.is_err() {
                    return;
                }
                tracing::info!("a shutdown is not delayed any more");
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        if error != complaint {
            tracing::warn!("a shutdown cannot be delayed, asking again in {} s: {error}", retry.as_secs());
            complaint = error;
        }
        tokio::select! {
            () = sleep(retry) => {}
            over = over => if over.is_err() { return },
        }
    }
}

/// What people are told.
fn reason(shown: &Snapshot) -> String {
    let mut copied = shown.copied();
    match (copied.next(), copied.count()) {
        (Some(name), 0) => format!("{name} is being copied"),
        (_, others) => format!("{} mirrors are being copied", others + 1),
    }
}

/// Asks logind for a lock. Closing it ends the delay.
async fn take(bus: &Bus, why: &str) -> zbus::Result<OwnedFd> {
    let connection = bus.builder().method_timeout(ANSWER).build().await?;
    let wanted = ("shutdown", "mirrorkeeper", why, "delay");
    let (name, path) = ("org.freedesktop.login1", "/org/freedesktop/login1");
    let interface = Some("org.freedesktop.login1.Manager");
    connection.call_method(Some(name), path, interface, "Inhibit", &wanted).await?.body().deserialize()
}
