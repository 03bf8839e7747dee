//! Validated settings. Every number says how it was chosen.

use crate::window::Window;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a returned session has to stay up before its legs are touched. 10 s: longer than an iscsid restart
    /// bounces a healthy session (3–5 s, `facts/lab.md` 12), shorter than anybody waits for redundancy.
    pub settle: Duration,
    /// Longest settle time of a server that comes and goes.
    pub settle_max: Duration,
    /// Replacement timeout of a session that carries a last good copy. 600 s: a server that reboots slowly is back by
    /// then, and until then writers wait instead of failing (`facts/lab.md` 9 and D).
    pub wait_timeout: u32,
    /// Replacement timeout of a session whose mirrors have another trusted leg that waits, in seconds. 4 s: an iscsid
    /// restart blocks a healthy session for 3 s and must not cost a leg (`facts/lab.md` 12). 0 = none is quick: only last good
    /// copies are made to wait, everybody else keeps what the administrator gave.
    pub quick_timeout: u32,
    /// TCP_USER_TIMEOUT of sessions that may be given up; zero = none, NOPs alone detect a dead server. 3 s: with 4 s of
    /// waiting a dead server costs writers 7 s, and no congested link of `facts/lab.md` D came near it. The kernel gives a
    /// connection up when the time is over, so a network that pauses for 3 s breaks it (lab); the leg is lost only if it is
    /// not made anew within [`Self::quick_timeout`]. With 5 s writers on an emulated client waited longer than 10 s.
    pub detect_timeout: Duration,
    /// A dead session that waits is logged out when its mirrors can go on without it.
    pub fence: bool,
    /// First and longest pause between login attempts (`facts/iscsi.md` 7.5).
    pub login_backoff: (Duration, Duration),
    /// Pause after the target refused our credentials: do not hammer.
    pub auth_backoff: Duration,
    /// First and longest pause between attempts to heal.
    pub heal_backoff: (Duration, Duration),
    /// How long dmeventd may take to drop a dead mirror leg before we do it. It was measured at 0.5 s; 30 s leaves room
    /// for a scan of a slow LUN by another of its plugins (one mutex for all, `facts/lvm.md` 4).
    pub dmeventd_grace: Duration,
    /// How long a volume may be seen suspended with no LVM command alive before it is resumed.
    pub suspended_grace: Duration,
    /// How often things are looked at while something is going on.
    pub poll_busy: Duration,
    /// How often things are looked at while something is wrong and nothing moves. 5 s: whatever matters raises an event or
    /// has a deadline of its own; this is for the rest.
    pub poll_waiting: Duration,
    /// How often the loop turns at least; feeds the watchdog. Half of the unit's WatchdogSec, ≤ 4 wake-ups a minute.
    pub poll_idle: Duration,
    /// How long a finished job stays visible (contract: five minutes).
    pub job_kept: Duration,
    /// How long after boot a mirror waits for all its legs before it is activated without. 60 s: longer than a login takes
    /// whose first try failed, shorter than the default timeout of a mount (90 s).
    pub activation_grace: Duration,
    /// How often a VG is stamped while nothing happens; zero = never. 1 h: a LUN put back from an older image is noticed
    /// unless the image is younger than that, at 24 small metadata writes a day.
    pub stamp_interval: Duration,
    /// How long stamps may take while the service stops.
    pub stop_grace: Duration,
    /// Activation at boot is ours: LVM does not activate managed mirrors, we do, after the witnesses have spoken.
    pub gate: bool,
    /// When a returned leg is compared in full before it is read.
    pub verify: Verify,
    /// Storage servers that the administrator named, `[servers.NAME]`.
    pub servers: BTreeMap<String, ServerPolicy>,
    /// Full copies and comparisons at a time over the link of one server. 1: two over one link take as long as one after the
    /// other, and both are unprotected until the end.
    pub parallel: u32,
    /// Limit of every copy in bytes a second, unless a mirror has one of its own; 0 = none.
    pub resync_limit: u64,
    /// How often a redundant raid1 is compared without anybody asking; zero = never.
    pub scrub_interval: Duration,
    /// Hours for comparisons that may wait; `None` = any. None: to prove a leg is worth more than a quiet afternoon, unless
    /// the administrator says otherwise.
    pub window: Option<Window>,
    /// A shutdown of the system is delayed while a mirror is being copied, for as long as logind allows.
    pub inhibit_shutdown: bool,
    /// How long a copy may stand still before it is told. 5 min: longer than a server takes to restart.
    pub stall_after: Duration,
    /// What is different for single mirrors, by `vg/lv`.
    pub mirrors: BTreeMap<String, MirrorPolicy>,
}

/// When a returned leg is compared in full before it serves reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Unless its server provably did not restart and it was revived in one table load.
    #[default]
    Auto,
    /// Every time.
    Always,
    /// Not at all: the leg is believed, and said to be unverified.
    Never,
}

/// What is different for one mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MirrorPolicy {
    /// Instead of the general rule.
    pub verify: Option<Verify>,
    /// Not to be touched.
    pub exclude: bool,
    /// Those with more are copied and compared first; 0 unless said otherwise.
    pub priority: i32,
}

/// What the administrator says of a storage server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerPolicy {
    /// Its portals: `addr:port`, or `addr` for any port; IPv6 addresses in brackets when a port follows.
    pub portals: Vec<String>,
}

impl Settings {
    /// The rule for one mirror.
    pub fn verify(&self, mirror: &str) -> Verify {
        self.mirrors.get(mirror).and_then(|policy| policy.verify).unwrap_or(self.verify)
    }

    /// How soon one mirror's turn to be copied comes.
    pub fn priority(&self, mirror: &str) -> i32 {
        self.mirrors.get(mirror).map_or(0, |policy| policy.priority)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(10),
            settle_max: Duration::from_secs(600),
            wait_timeout: 600,
            quick_timeout: 4,
            detect_timeout: Duration::from_secs(3),
            fence: true,
            login_backoff: (Duration::from_secs(2), Duration::from_secs(60)),
            auth_backoff: Duration::from_secs(600),
            heal_backoff: (Duration::from_secs(5), Duration::from_secs(300)),
            dmeventd_grace: Duration::from_secs(30),
            suspended_grace: Duration::from_secs(5),
            poll_busy: Duration::from_secs(1),
            poll_waiting: Duration::from_secs(5),
            poll_idle: Duration::from_secs(30),
            job_kept: Duration::from_secs(300),
            activation_grace: Duration::from_secs(60),
            stamp_interval: Duration::from_secs(3600),
            stop_grace: Duration::from_secs(5),
            gate: false,
            verify: Verify::Auto,
            servers: BTreeMap::new(),
            parallel: 1,
            resync_limit: 0,
            scrub_interval: Duration::ZERO,
            window: None,
            inhibit_shutdown: false,
            stall_after: Duration::from_secs(300),
            mirrors: BTreeMap::new(),
        }
    }
}
