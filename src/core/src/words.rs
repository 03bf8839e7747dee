//! The closed word lists of the D-Bus contract, as enums. A client treats an unknown word as "unknown", so words are
//! only ever added.

/// Declares an enum whose variants have a fixed word each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the bus and in the journal.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// State of a mirror, from best to worst, so that the worst of many is their maximum.
    MirrorState {
        /// Every wanted copy is in sync and trusted.
        Redundant = "redundant",
        /// All legs take writes, at least one is on probation and serves no reads.
        Verifying = "verifying",
        /// A leg is being copied.
        Resyncing = "resyncing",
        /// A leg is lost; at least one works.
        Degraded = "degraded",
        /// Not active on this machine.
        Inactive = "inactive",
        /// No leg works.
        Failed = "failed",
        /// Cannot be told.
        Unknown = "unknown",
    }
}

words! {
    /// State of a leg.
    LegState {
        /// In sync and trusted.
        InSync = "in-sync",
        /// In sync by the bitmap, takes writes, serves no reads until verified.
        Probation = "probation",
        /// Being copied to.
        Rebuilding = "rebuilding",
        /// Failed; its device does not answer.
        Failed = "failed",
        /// Its device is not there.
        Missing = "missing",
        /// Its device is back, the heal has not begun.
        Returned = "returned",
        /// Known to be older.
        Stale = "stale",
        /// A device is there that does not hold this leg's data.
        Foreign = "foreign",
        /// Something about it could not be read.
        Error = "error",
    }
}

words! {
    /// State of a target.
    TargetState {
        /// Session up.
        LoggedIn = "logged-in",
        /// Connection lost, I/O waits.
        Blocked = "blocked",
        /// Recovery timed out, I/O fails.
        Offline = "offline",
        /// First login under way.
        Connecting = "connecting",
        /// No session.
        LoggedOut = "logged-out",
        /// The target refuses our credentials.
        AuthFailed = "auth-failed",
        /// The portal does not know this target.
        NotFound = "not-found",
    }
}

words! {
    /// Why a session has the replacement timeout it has.
    TimeoutReason {
        /// As in the node record.
        Configured = "configured",
        /// Another trusted leg waits.
        Quick = "quick",
        /// This one waits.
        Anchor = "anchor",
        /// It carries a last good copy.
        LastGoodLeg = "last-good-leg",
        /// It is the source of a resync.
        Resyncing = "resyncing",
        /// Its partner is on probation.
        Probation = "probation",
        /// Another user on one of its disks.
        Shared = "shared",
        /// Its partner is in maintenance.
        Maintenance = "maintenance",
        /// Set through the bus.
        Override = "override",
        /// dm-multipath owns it.
        Multipath = "multipath",
        /// No managed mirror on it.
        Unmanaged = "unmanaged",
    }
}

words! {
    /// Why nothing is done although something is wrong, from the most harmless to the gravest.
    Hold {
        /// The return is too young.
        Settling = "settling",
        /// Waiting for another operation.
        Queued = "queued",
        /// Another command has the VG.
        VgBusy = "vg-busy",
        /// The last try failed; the next one is due later.
        BackOff = "back-off",
        /// It came and went too often.
        Flapping = "flapping",
        /// Healing is switched off.
        Paused = "paused",
        /// Its server is in maintenance.
        Maintenance = "maintenance",
        /// All servers vanished together.
        LastServer = "last-server",
        /// A device LVM would scan is blocked.
        DeviceBlocked = "device-blocked",
        /// Another PV of the VG is missing.
        VgIncomplete = "vg-incomplete",
        /// Something needed for the decision could not be read.
        Unreadable = "unreadable",
        /// The ledger cannot be written, so nothing may be started.
        LedgerUnwritable = "ledger-unwritable",
        /// Another LV in use on the PV forbids the step.
        UnmanagedUser = "unmanaged-user",
        /// A person has to decide or to do something first.
        NeedsOperator = "needs-operator",
        /// The survivor is gone and an unproven leg serves.
        UnverifiedOnly = "unverified-only",
        /// Nothing is known about this leg's past.
        NoHistory = "no-history",
        /// The device holds nothing.
        BlankDevice = "blank-device",
        /// The device is not the leg it should be.
        IdentityMismatch = "identity-mismatch",
        /// Only the older leg is there.
        StaleLeg = "stale-leg",
        /// The leg is older than it was when it was lost.
        RolledBackLeg = "rolled-back-leg",
        /// Both legs were written apart.
        SplitBrain = "split-brain",
    }
}

words! {
    /// Why a mirror is shown but not managed.
    UnmanagedReason {
        /// lvmlockd VG.
        SharedVg = "shared-vg",
        /// Another machine's system id.
        ForeignVg = "foreign-vg",
        /// Exported VG.
        Exported = "exported",
        /// Read-only VG.
        ReadOnly = "read-only",
        /// dm-integrity under the legs.
        Integrity = "integrity",
        /// Cluster mirror log.
        ClusterLog = "cluster-log",
        /// A conversion is going on.
        Converting = "converting",
        /// A pvmove is going on.
        Pvmove = "pvmove",
        /// Split images are tracked.
        Split = "split",
        /// Part of another LV.
        Hidden = "hidden",
        /// LVM sees one of its PVs twice.
        DuplicatePv = "duplicate-pv",
        /// Something this version does not handle.
        Unsupported = "unsupported",
        /// Excluded by configuration.
        Excluded = "excluded",
        /// By `Forget`.
        Forgotten = "forgotten",
    }
}

words! {
    /// Event codes.
    EventCode {
        /// A target's connection broke.
        TargetLost = "target-lost",
        /// Its recovery timed out.
        TargetOffline = "target-offline",
        /// Its session is up again.
        TargetReturned = "target-returned",
        /// A login of ours failed for a new reason.
        TargetLoginFailed = "target-login-failed",
        /// A leg failed or went missing.
        LegLost = "leg-lost",
        /// A lost leg's device is back.
        LegReturned = "leg-returned",
        /// A returned leg is not taken back.
        LegRejected = "leg-rejected",
        /// A leg on probation was checked and released.
        LegVerified = "leg-verified",
        /// A mirror lost redundancy.
        MirrorDegraded = "mirror-degraded",
        /// A mirror has no working leg.
        MirrorFailed = "mirror-failed",
        /// A copy began.
        ResyncStarted = "resync-started",
        /// A copy ended.
        ResyncFinished = "resync-finished",
        /// A leg on probation is being read and compared.
        VerifyStarted = "verify-started",
        /// A mirror is redundant again.
        MirrorRedundant = "mirror-redundant",
        /// A session's replacement timeout was changed by us.
        TimeoutChanged = "timeout-changed",
        /// Something is wrong and nothing will be done about it for now.
        Held = "held",
        /// A hold ended.
        Released = "released",
        /// A check on request ended.
        CheckFinished = "check-finished",
        /// Legs differ.
        MismatchFound = "mismatch-found",
        /// Both legs were written apart.
        SplitBrain = "split-brain",
        /// Every server is gone.
        AllServersLost = "all-servers-lost",
        /// iscsid is not running although sessions exist.
        IscsidDown = "iscsid-down",
        /// A mirror was activated with a leg missing.
        MirrorActivatedDegraded = "mirror-activated-degraded",
        /// dmeventd does not watch a mirror.
        MonitoringMissing = "monitoring-missing",
        /// A leg that should be on probation serves reads.
        StaleLegActive = "stale-leg-active",
        /// A volume left suspended was resumed.
        LvResumed = "lv-resumed",
        /// The ledger could not be read or written.
        LedgerDamaged = "ledger-damaged",
        /// A dead session was logged out, so that writers go on.
        TargetFenced = "target-fenced",
        /// A copy makes no progress.
        ResyncStalled = "resync-stalled",
        /// A server was taken out of service.
        MaintenanceEntered = "maintenance-entered",
        /// A server serves again.
        MaintenanceLeft = "maintenance-left",
        /// A server comes and goes.
        ServerFlapping = "server-flapping",
        /// The configuration cannot be used.
        ConfigRefused = "config-refused",
        /// Healing was switched off.
        Paused = "paused",
        /// Healing was switched on again.
        Resumed = "resumed",
    }
}

words! {
    /// Severity of an event.
    Severity {
        /// For the record.
        Info = "info",
        /// Redundancy is less than wanted, or something needs a look.
        Warning = "warning",
        /// Something failed.
        Error = "error",
        /// Data may be out of reach or at risk.
        Critical = "critical",
    }
}

words! {
    /// What a job is for.
    Operation {
        /// Log in to a target.
        Reconnect = "reconnect",
        /// Bring a mirror back to redundancy.
        Heal = "heal",
        /// Copy all legs anew from the one a person chose.
        Resolve = "resolve",
        /// Activate an inactive mirror.
        Activate = "activate",
        /// Leave a VG alone.
        Forget = "forget",
        /// Read and compare all legs.
        Check = "check",
        /// Take a server out of service.
        EnterMaintenance = "enter-maintenance",
        /// Put a server back into service.
        LeaveMaintenance = "leave-maintenance",
    }
}

words! {
    /// How far a job is.
    JobState {
        /// Waiting for its turn.
        Queued = "queued",
        /// Steps are being taken.
        Running = "running",
        /// Done.
        Succeeded = "succeeded",
        /// Given up.
        Failed = "failed",
        /// Cancelled between steps.
        Cancelled = "cancelled",
    }
}

words! {
    /// State of a storage server.
    ServerState {
        /// Every managed target there is logged in.
        Up = "up",
        /// Some are.
        Partial = "partial",
        /// None is.
        Down = "down",
        /// Out of service by a person's wish.
        Maintenance = "maintenance",
        /// Cannot be told.
        Unknown = "unknown",
    }
}

words! {
    /// Why a server may not be switched off now.
    Obstacle {
        /// It has the last trusted leg.
        LastGoodLeg = "last-good-leg",
        /// Another leg is copied from there.
        SourceOfResync = "source-of-resync",
        /// The other leg is on probation.
        OtherLegUnverified = "other-leg-unverified",
        /// The other leg is not in sync.
        NotInSync = "not-in-sync",
        /// The mirror is held.
        Held = "held",
        /// Something else than a managed mirror is on its disks.
        OtherUser = "other-user",
    }
}

words! {
    /// How much a finding matters.
    Concern {
        /// Data or redundancy are at risk.
        Error = "error",
        /// Something will not work as it should.
        Warning = "warning",
        /// It could be better.
        Hint = "hint",
    }
}
