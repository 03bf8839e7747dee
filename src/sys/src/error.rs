//! One error type for the crate. A message says what was tried, on what, and what came back.

use nix::errno::Errno;
use std::io;

/// Result of an edge.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an edge could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel part behind this edge is not there (module not loaded, node missing). Idle, and worth a retry later.
    #[error("{what} is not there: {source}")]
    Absent {
        /// Which edge.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not permitted; the process lacks a capability or its sandbox forbids it.
    #[error("{what} is not permitted: {source}")]
    Denied {
        /// What was tried, on what.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Refused for now: `recovery_tmo` of a session that is not logged in.
    #[error("{what} is refused while the object is busy (EBUSY)")]
    Busy {
        /// What was tried, on what.
        what: String,
    },
    /// Any other failure of a system call.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// What came back.
        source: io::Error,
    },
    /// A write was accepted, but reading it back gives something else.
    #[error("wrote {wanted:?} to {path}, read back {found:?}")]
    NotKept {
        /// File.
        path: String,
        /// Value written.
        wanted: String,
        /// Value found.
        found: String,
    },
    /// Some of several could not be done; the rest was.
    #[error("{what}: {}", failed.join("; "))]
    NotAll {
        /// What was tried.
        what: &'static str,
        /// What came back for each that failed.
        failed: Vec<String>,
    },
    /// Text or bytes that are not what their format promises.
    #[error("{what}: {why}")]
    Malformed {
        /// Which text.
        what: String,
        /// The rule it breaks.
        why: String,
    },
}

impl Error {
    /// Sorts a failed system call into the kinds that callers tell apart.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) => {
                Self::Absent { what, source }
            }
            Some(Errno::EPERM | Errno::EACCES) => Self::Denied { what, source },
            Some(Errno::EBUSY) => Self::Busy { what },
            _ => Self::Io { what, source },
        }
    }

    /// Something that breaks its format.
    pub(crate) fn malformed(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Malformed { what: what.into(), why: why.to_string() }
    }

    /// Whether the kernel part behind the edge is missing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}
