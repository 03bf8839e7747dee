//! What runs in a child `mirrorkeeperd --probe`: the only reads of block devices, because they can hang for minutes.
//!
//! Whose PV is it (label, VG metadata), and what do the dm-raid superblocks on it say? Read with O_DIRECT, since the
//! page cache answers for devices that are gone (`facts/lab.md` 10). Never writes to a device.

mod crc;
mod device;
#[cfg(test)]
mod image;
pub mod label;
mod leg;
pub mod metadata;
pub mod superblock;

pub use leg::{Source, inspect};

use crate::error::{Error, Result};
use crate::{Roots, sysfs};
use mirrorkeeper_core::ids::PvUuid;
use mirrorkeeper_core::observation::{LegProbe, ProbedIdentity, ProbedSuperblock};
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

/// Command line that has the kernel read a disk's capacity again. It may wait for the disk, hence a child.
pub fn rescan_argv(disk: &str) -> Vec<String> {
    ["/proc/self/exe", FLAG, "rescan", disk].map(str::to_owned).to_vec()
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

/// The child's side: `arguments` are those after [`FLAG`]. Without any, a request is read from `input` and answered to
/// `output`.
///
/// # Errors
/// When the request is not understood, or a rescan is refused. What cannot be read on a device is part of the answer.
pub fn main(arguments: &[String], roots: &Roots, input: impl Read, output: impl Write) -> Result<()> {
    match arguments {
        [] => read(roots, input, output),
        [verb, disk] if verb == "rescan" => sysfs::rescan(roots, disk),
        other => Err(Error::malformed("probe arguments", format!("{other:?} is neither nothing nor rescan NAME"))),
    }
}

fn read(roots: &Roots, input: impl Read, mut output: impl Write) -> Result<()> {
    let mut request = Vec::new();
    let io = |e| Error::io("read the probe request", e);
    input.take(LARGEST_REQUEST).read_to_end(&mut request).map_err(io)?;
    let targets: Vec<ProbeTarget> =
        serde_json::from_slice(&request).map_err(|e| Error::malformed("probe request", e))?;
    let answers: BTreeMap<_, _> = targets.into_iter().map(|t| (t.pv.clone(), probe(roots, &t))).collect();
    let answer = serde_json::to_vec(&answers).map_err(|e| Error::malformed("probe answer", e))?;
    output.write_all(&answer).and_then(|()| output.flush()).map_err(|e| Error::io("write the probe answer", e))
}

fn probe(roots: &Roots, target: &ProbeTarget) -> LegProbe {
    match device::Device::open(roots, &target.device) {
        Ok(mut device) => inspect(&mut device, &target.superblocks),
        Err(e) => LegProbe {
            identity: ProbedIdentity::Unreadable(e.to_string()),
            size: 0,
            superblocks: vec![ProbedSuperblock::Unreadable(e.to_string()); target.superblocks.len()],
        },
    }
}

#[cfg(test)]
mod tests;
