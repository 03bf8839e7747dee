//! The real machine, with a time limit for everything together: the machine is booting, or somebody removes a package.

use super::Tools;
use crate::identity;
use mirrorkeeper_core::observation::SessionObs;
use mirrorkeeper_core::op::OnDeadline;
use mirrorkeeper_sys::child::{self, Ended, Limits, Outcome};
use mirrorkeeper_sys::{Roots, sysfs};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Output kept, as for the daemon's own report.
const OUTPUT: usize = 32 << 20;

/// Runs commands until a time.
#[derive(Debug)]
pub struct Host {
    roots: Roots,
    until: Instant,
}

impl Host {
    /// Everything together may take `limit`. Needs a tokio runtime.
    pub fn new(limit: Duration) -> Self {
        Self { roots: Roots::default(), until: Instant::now() + limit }
    }
}

impl Tools for Host {
    async fn run(&mut self, argv: Vec<String>, late: OnDeadline) -> Result<Ended, String> {
        let deadline = self.until.saturating_duration_since(Instant::now());
        if deadline.is_zero() {
            return Err("not begun: the time is over".to_owned());
        }
        match child::run(&argv, Limits { deadline, on_deadline: late, max_output: OUTPUT }, None).await {
            Outcome::Ended(ended) if ended.code == 0 => Ok(ended),
            Outcome::Ended(ended) => Err(format!("exit {}: {}", ended.code, ended.last_line())),
            Outcome::TimedOut => Err(format!("not done after {} s", deadline.as_secs())),
            Outcome::NotStarted(why) => Err(why),
        }
    }

    fn disk(&self, device: &str) -> Option<String> {
        disk_below(&self.roots, device)
    }

    fn sessions(&self) -> Vec<SessionObs> {
        sysfs::sessions(&self.roots, &mut Vec::new())
    }

    fn set_recovery_tmo(&mut self, sid: u32, seconds: u32) -> Result<(), String> {
        sysfs::write_recovery_tmo(&self.roots, sid, Some(seconds)).map_err(|e| e.to_string())
    }

    fn machine_id(&self) -> String {
        identity::machine_id()
    }
}

/// Kernel name of the SCSI disk that a device is, or is a partition of. Follows links and asks sysfs; opens no device.
pub fn disk_below(roots: &Roots, device: &str) -> Option<String> {
    let node = roots.dev.join(device.strip_prefix("/dev/")?).canonicalize().ok()?;
    let block = roots.sysfs.join("class/block").join(node.file_name()?).canonicalize().ok()?;
    let disk = if block.join("partition").exists() { block.parent()? } else { &block };
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    disk.join("device/scsi_device").exists().then(|| name(disk)).flatten()
}
