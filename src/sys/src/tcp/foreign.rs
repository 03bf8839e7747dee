//! Descriptors of another process: `pidfd_open` (Linux 5.3) and `pidfd_getfd` (5.6).
//!
//! What comes back is the same open file, so a socket option set on it is set for its owner. Both calls need no more
//! than memory. `pidfd_getfd` asks for what a debugger needs to attach (`PTRACE_MODE_ATTACH_REALCREDS`):
//! CAP_SYS_PTRACE, and no Yama scope of 3.

use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A process, held so that its id cannot come to mean another one.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// ESRCH without such a process, ENOSYS on kernels before 5.3, EPERM where a system call filter forbids it.
    pub fn open(pid: u32) -> Result<Self, Errno> {
        let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
        // SAFETY: the call takes two integers and touches no memory of ours.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(Self)
    }

    /// Its descriptor `fd`, as one of our own, closed on exec.
    ///
    /// # Errors
    /// EBADF when it has no such descriptor, ESRCH when it has ended, EPERM without the right, ENOSYS before 5.6.
    pub fn duplicate(&self, fd: RawFd) -> Result<OwnedFd, Errno> {
        // SAFETY: the call takes three integers and touches no memory of ours; the first is an open descriptor.
        owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), fd, 0) })
    }
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
