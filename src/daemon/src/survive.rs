//! Staying alive and able to act while memory is short and disks hang, as iscsid and multipathd do.
//!
//! Nothing here is needed to work on a calm day, so a refusal (no privilege, old kernel) is only logged. The OOM score is
//! the unit's business (`OOMScoreAdjust=`).

use nix::errno::Errno;
use nix::libc;

/// `linux/prctl.h`, since Linux 5.6.
const PR_SET_IO_FLUSHER: libc::c_int = 57;

/// Pins memory and tells the kernel that this process must not wait for write-back. To be called before any thread is
/// started: the flag is per thread and inherited by new ones, and by children, which is wanted too: they heal.
pub fn prepare() -> Vec<String> {
    let tried = [("PR_SET_IO_FLUSHER", io_flusher()), ("mlockall", lock_memory())];
    tried.into_iter().filter_map(|(what, done)| done.err().map(|errno| format!("{what}: {errno}"))).collect()
}

/// Allocations made on the way to healing must not start I/O to the volume that is being healed.
fn io_flusher() -> nix::Result<()> {
    // SAFETY: PR_SET_IO_FLUSHER takes four plain integers and touches no memory of ours.
    Errno::result(unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) }).map(drop)
}

/// What was used once stays in memory. Not more: MCL_ONFAULT, or every thread's 2 MiB stack would be filled at once.
fn lock_memory() -> nix::Result<()> {
    // SAFETY: mlockall takes flags only; it changes residency, not contents.
    Errno::result(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) }).map(drop)
}
