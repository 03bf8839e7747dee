//! Putting the package under test into the guest, as an administrator would.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guest::Guest;
use crate::progress;
use crate::stock::{VOLUMES, wait_for_units};
use crate::wait::{is, wait_until};

/// The daemon's unit.
pub const UNIT: &str = "mirrorkeeper.service";

/// Installs it, and waits until the daemon runs and is content.
pub fn install(guest: &Guest, deb: &Path) -> Result<()> {
    progress(&format!("installing {}", deb.display()));
    let data = fs::read(deb).with_context(|| format!("reading {}", deb.display()))?;
    guest.agent().put(&data, "/root/mirrorkeeper.deb", 0o644)?;
    guest.sh("DEBIAN_FRONTEND=noninteractive dpkg -i /root/mirrorkeeper.deb")?;
    // The package may start it or leave that to the administrator; both end here.
    guest.sh(&format!("systemctl enable --now {UNIT}")).with_context(|| last_words(guest))?;
    wait_for_units(guest, &[UNIT]).with_context(|| last_words(guest))?;
    wait_for_redundancy(guest)
}

/// Waits until the daemon calls both mirrors redundant.
pub fn wait_for_redundancy(guest: &Guest) -> Result<()> {
    for volume in VOLUMES {
        wait_until(&format!("State of {volume} to be redundant"), Duration::from_secs(120), || {
            Ok(is(guest.mirror_state(volume)?, &"redundant".to_owned()))
        })?;
    }
    Ok(())
}

fn last_words(guest: &Guest) -> String {
    let journal = guest.sh(&format!("journalctl -b --no-pager -o cat -n 20 -u {UNIT}"));
    format!("the daemon does not start; its journal ends with\n{}", journal.unwrap_or_default())
}
