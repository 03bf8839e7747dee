//! The virtual clock: a queue of things that will happen. Time jumps from one to the next, so hours in which nothing
//! happens cost nothing. Nothing in here polls.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;

/// Something that will happen. Most carry what makes them void when the world has moved on meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// NOPs have gone unanswered long enough.
    Nop {
        /// Server.
        server: usize,
        /// Its ups and downs when this was foreseen.
        epoch: u32,
    },
    /// Data have stayed unacknowledged for as long as the socket allows.
    Unacknowledged {
        /// Server.
        server: usize,
        /// Its ups and downs when this was foreseen.
        epoch: u32,
    },
    /// A new iscsid takes over a session.
    Bounce {
        /// Session.
        sid: u32,
    },
    /// A lost session's recovery timeout is over.
    Expire {
        /// Session.
        sid: u32,
        /// When it was lost.
        since: u64,
    },
    /// iscsid tries to log in again.
    Relogin {
        /// Session.
        sid: u32,
    },
    /// A server that was switched on has booted.
    Booted {
        /// Server.
        server: usize,
        /// Its ups and downs when this was foreseen.
        epoch: u32,
    },
    /// The application writes.
    Burst {
        /// Volume.
        volume: usize,
    },
    /// A server writes its cache out.
    WriteBack {
        /// LUN.
        lun: usize,
    },
    /// A copy or a check ends.
    SyncDone {
        /// Volume.
        volume: usize,
        /// Which of its syncs.
        epoch: u32,
    },
    /// dmeventd drops dead legs.
    Dmeventd {
        /// Volume.
        volume: usize,
    },
    /// An operation of the daemon ends.
    OpEnds {
        /// Job.
        job: u32,
    },
    /// Its deadline passes.
    Deadline {
        /// Job.
        job: u32,
    },
    /// The oldest ledger write under way ends.
    Saved {
        /// Run of the daemon.
        run: u32,
    },
    /// The LVM report is there.
    Report {
        /// Run of the daemon.
        run: u32,
    },
    /// The node records are there.
    Nodes {
        /// Run of the daemon.
        run: u32,
    },
    /// systemd starts the daemon.
    DaemonStarts {
        /// Run of the daemon that ended.
        run: u32,
    },
    /// open-iscsi logs in at boot.
    BootLogin {
        /// Server.
        server: usize,
        /// Boot.
        boot: u32,
    },
    /// A lost leg should be flagged by now in the metadata that goes on without it.
    Flagged {
        /// Volume.
        volume: usize,
    },
    /// Somebody may have been reading old blocks for longer than the daemon needs to stop that.
    Grace {
        /// Volume.
        volume: usize,
    },
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: u64,
    order: u64,
    what: Happening,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The queue. Things due at the same moment happen in the order in which they were foreseen.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Queue {
    /// Foresees something.
    pub fn at(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.heap.push(Reverse(Entry { at, order: self.order, what }));
    }

    /// When the next thing is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes it.
    pub fn pop(&mut self) -> Option<Happening> {
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }

    /// Forgets what is not to happen any more.
    pub fn drop_if(&mut self, void: impl Fn(&Happening) -> bool) {
        self.heap.retain(|Reverse(entry)| !void(&entry.what));
    }
}
