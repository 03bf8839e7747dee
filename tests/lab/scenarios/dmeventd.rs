//! Without dmeventd nobody drops a dead leg of a core-log mirror, whose writers may hang until somebody does.

use std::time::Duration;

use anyhow::Result;

use crate::check::{Errors, final_check};
use crate::fault::{Fault, Server};
use crate::stage::{LOSS_LIMIT, Stage};
use crate::stock::VOLUMES;

/// dmeventd and its socket are stopped, then a server is lost.
pub fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    // The socket first: it takes lvm2-monitor.service along, which has every volume unwatched, so that dmeventd can end.
    stage.guest().sh("systemctl stop dm-event.socket; systemctl stop dm-event.service")?;
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        // dmeventd is given 30 s before its work is done for it.
        stage.wait_for_state(volume, &["degraded"], LOSS_LIMIT + Duration::from_secs(60))?;
        stage.wait_for_progress(volume, 20)?;
    }
    Fault::Cut.undo(stage.guest(), Server::B)?;
    stage.wait_for_redundancy("its return")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
