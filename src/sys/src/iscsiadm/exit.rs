//! What an exit code of iscsiadm means (open-iscsi `include/iscsi_err.h`; our reading in `facts/iscsi.md` 3.7).
//!
//! A hint for retries and messages only. Whether a login worked is seen in sysfs: 0 can be early and 15 can be late.

/// The exit codes, sorted by what there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Ok,
    /// 15: iscsid has a record of that session, logged in or not.
    SessionExists,
    /// 4, 8, 11: no answer from the server. Retry with back-off.
    ServerAway,
    /// 24: the target refused our credentials. Retry rarely, or it locks us out.
    AuthFailed,
    /// 19: the target refused for good, for example because it does not exist (yet). Retry slowly.
    Fatal,
    /// 21: no such record or session.
    NoObjects,
    /// 2: iscsid does not know the session that the kernel has, or not yet.
    NotFound,
    /// 6: the node database is locked or damaged.
    Db,
    /// 18, 20, 33: iscsid does not answer.
    Iscsid,
    /// 32: refused while iscsid still looks for a session's target.
    NotConnected,
    /// 5, 10, 22, 23, 28, 29, 31: failed or busy for the moment. Retry.
    Transient,
    /// 12, 14, 27: the transport is missing or cannot do it. A matter of configuration.
    Unsupported,
    /// 13: not root.
    AccessDenied,
    /// 128 and more: ended by a signal, of that number.
    Signalled(i32),
    /// Any other code: generic errors, bad arguments, codes of versions to come.
    Other(i32),
}

/// Sorts an exit code (128 + signal when killed).
pub const fn meaning(code: i32) -> Exit {
    match code {
        0 => Exit::Ok,
        15 => Exit::SessionExists,
        4 | 8 | 11 => Exit::ServerAway,
        24 => Exit::AuthFailed,
        19 => Exit::Fatal,
        21 => Exit::NoObjects,
        2 => Exit::NotFound,
        6 => Exit::Db,
        18 | 20 | 33 => Exit::Iscsid,
        32 => Exit::NotConnected,
        5 | 10 | 22 | 23 | 28 | 29 | 31 => Exit::Transient,
        12 | 14 | 27 => Exit::Unsupported,
        13 => Exit::AccessDenied,
        129..=192 => Exit::Signalled(code - 128),
        other => Exit::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_its_meaning() {
        let table = [
            (0, Exit::Ok),
            (1, Exit::Other(1)),
            (2, Exit::NotFound),
            (4, Exit::ServerAway),
            (5, Exit::Transient),
            (6, Exit::Db),
            (8, Exit::ServerAway),
            (11, Exit::ServerAway),
            (13, Exit::AccessDenied),
            (15, Exit::SessionExists),
            (18, Exit::Iscsid),
            (19, Exit::Fatal),
            (21, Exit::NoObjects),
            (24, Exit::AuthFailed),
            (27, Exit::Unsupported),
            (32, Exit::NotConnected),
            (33, Exit::Iscsid),
            (137, Exit::Signalled(9)),
            (-1, Exit::Other(-1)),
        ];
        for (code, wanted) in table {
            assert_eq!(meaning(code), wanted, "{code}");
        }
    }
}
