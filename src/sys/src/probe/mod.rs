//! What runs in a child `mirrorkeeperd --probe`: whatever needs an answer from a disk, because it can take minutes.
//!
//! Whose PV is it (label, VG metadata), what do the dm-raid superblocks on it say, and which keys are registered with its
//! target? Read with O_DIRECT, since the page cache answers for devices that are gone (`facts/lab.md` 10). Never writes
//! data to a device; the verbs that change anything are [`Verb`]s of their own.

mod crc;
mod device;
mod direct;
#[cfg(test)]
mod image;
pub mod label;
mod leg;
pub mod metadata;
pub mod superblock;
mod verb;
pub mod vgtext;

pub use direct::DirectRead;
pub use leg::{Source, inspect};
pub use verb::Verb;

use crate::Roots;
use crate::error::{Error, Result};
use crate::scsi;
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::observation::{LegProbe, ProbedIdentity, ProbedSuperblock, Registration};
use mirrorkeeper_core::op::ProbeTarget;
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// The first argument by which the daemon knows that it is to be a probe.
pub const FLAG: &str = "--probe";
/// A request of a thousand PVs with ten superblocks each is about 300 KiB.
const LARGEST_REQUEST: u64 = 4 * 1024 * 1024;

/// Command line of a probe. This very executable, also after a package upgrade replaced its file.
pub fn argv() -> Vec<String> {
    ["/proc/self/exe", FLAG].map(str::to_owned).to_vec()
}

/// What to write to a probe's standard input.
///
/// # Errors
/// Never in practice: these types always have a JSON form.
pub fn request(targets: &[ProbeTarget]) -> Result<Vec<u8>> {
    serde_json::to_vec(targets).map_err(|e| Error::malformed("probe request", e))
}

/// Reads what a probe wrote to its standard output.
///
/// # Errors
/// When it is no complete answer.
pub fn answer(stdout: &[u8]) -> Result<BTreeMap<PvUuid, LegProbe>> {
    serde_json::from_slice(stdout).map_err(|e| Error::malformed("probe answer", e))
}

/// Reads what [`Verb::Register`] and [`Verb::Unregister`] wrote to their standard output.
///
/// # Errors
/// When it is no complete answer.
pub fn registration(stdout: &[u8]) -> Result<Registration> {
    serde_json::from_slice(stdout).map_err(|e| Error::malformed("answer about registrations", e))
}

/// Reads what [`Verb::ReadDirect`] wrote to its standard output.
///
/// # Errors
/// When it is no complete answer.
pub fn direct_read(stdout: &[u8]) -> Result<DirectRead> {
    serde_json::from_slice(stdout).map_err(|e| Error::malformed("answer about a direct read", e))
}

/// The child's side: `arguments` are those after [`FLAG`]. Without any, a request is read from `input` and answered to
/// `output`; else they are a [`Verb`].
///
/// # Errors
/// When the request is not understood, or something could not be done. What cannot be read on a device is part of the
/// answer.
pub fn main(arguments: &[String], roots: &Roots, input: impl Read, output: impl Write) -> Result<()> {
    if arguments.is_empty() { read(roots, input, output) } else { Verb::parse(arguments)?.run(roots, output) }
}

fn read(roots: &Roots, input: impl Read, output: impl Write) -> Result<()> {
    let mut request = Vec::new();
    let io = |e| Error::io("read the probe request", e);
    input.take(LARGEST_REQUEST).read_to_end(&mut request).map_err(io)?;
    let targets: Vec<ProbeTarget> =
        serde_json::from_slice(&request).map_err(|e| Error::malformed("probe request", e))?;
    let answers: BTreeMap<_, _> = targets.into_iter().map(|t| (t.pv.clone(), probe(roots, &t))).collect();
    print(&answers, output)
}

fn print(answer: &impl serde::Serialize, mut output: impl Write) -> Result<()> {
    let answer = serde_json::to_vec(answer).map_err(|e| Error::malformed("probe answer", e))?;
    output.write_all(&answer).and_then(|()| output.flush()).map_err(|e| Error::io("write the probe answer", e))
}

/// Keys come last: they vouch for what was read before them, while a server that restarts in between takes them along.
fn probe(roots: &Roots, target: &ProbeTarget) -> LegProbe {
    match device::Device::open(roots, &target.device) {
        Ok(mut device) => {
            let (identity, superblocks) = inspect(&mut device, &target.superblocks);
            LegProbe { identity, size: device.size(), superblocks, registration: registered(roots, &target.disk) }
        }
        Err(e) => LegProbe {
            identity: ProbedIdentity::Unreadable(e.to_string()),
            size: 0,
            superblocks: vec![ProbedSuperblock::Unreadable(e.to_string()); target.superblocks.len()],
            registration: Registration::Unknown(e.to_string()),
        },
    }
}

fn registered(roots: &Roots, disk: &str) -> Registration {
    if disk.is_empty() {
        return Registration::Unknown("no SCSI disk".to_owned());
    }
    match scsi::Disk::open(roots, disk) {
        Ok(mut disk) => scsi::read(&mut disk),
        Err(e) => Registration::Unknown(e.to_string()),
    }
}

#[cfg(test)]
mod tests;
