//! What holds of an operation whatever the moment: whom it concerns, what it may do to legs, how long it may take.

use super::{LvRef, OnDeadline, Op, VgRef};
use crate::ids::{PvUuid, VgUuid};
use std::time::Duration;

impl Op {
    /// The VG that this operation writes, if it is a writing LVM command. One of these a VG at a time.
    pub fn writes_vg(&self) -> Option<&VgUuid> {
        self.vg().map(|vg| &vg.uuid)
    }

    /// The same with the name that its command line uses.
    pub fn vg(&self) -> Option<&VgRef> {
        match self {
            Self::RestoreMissing { vg, .. }
            | Self::Quarantine { vg, .. }
            | Self::Release { vg, .. }
            | Self::Resume { vg, .. }
            | Self::Requeue { vg, .. }
            | Self::Check { vg, .. }
            | Self::Repair { vg, .. }
            | Self::Rebuild { vg, .. }
            | Self::ReaddLeg { vg, .. }
            | Self::DropLeg { vg, .. }
            | Self::DropDeadLeg { vg, .. }
            | Self::Stamp { vg, .. }
            | Self::Unstamp { vg, .. }
            | Self::Activate { vg, .. }
            | Self::Deactivate { vg, .. }
            | Self::SetAutoactivation { vg, .. }
            | Self::Monitor { vg, .. } => Some(vg),
            _ => None,
        }
    }

    /// The LVs it works on.
    pub fn lvs(&self) -> &[LvRef] {
        match self {
            Self::Quarantine { lvs, .. }
            | Self::Release { lvs, .. }
            | Self::Check { lvs, .. }
            | Self::SetAutoactivation { lvs, .. } => lvs,
            Self::Resume { lv, .. }
            | Self::Requeue { lv, .. }
            | Self::Repair { lv, .. }
            | Self::Rebuild { lv, .. }
            | Self::ReaddLeg { lv, .. }
            | Self::DropLeg { lv, .. }
            | Self::DropDeadLeg { lv, .. }
            | Self::Activate { lv, .. }
            | Self::Deactivate { lv, .. }
            | Self::Monitor { lv, .. } => std::slice::from_ref(lv),
            _ => &[],
        }
    }

    /// The PV it changes the standing of.
    pub fn pv(&self) -> Option<&PvUuid> {
        match self {
            Self::RestoreMissing { pv, .. }
            | Self::Quarantine { pv, .. }
            | Self::Release { pv, .. }
            | Self::Rebuild { pv, .. }
            | Self::DropLeg { pv, .. }
            | Self::ReaddLeg { pv, .. } => Some(pv),
            _ => None,
        }
    }

    /// Whether it makes the kernel load a raid table, which trusts the leg with more `events`. (`Resume` reloads no
    /// table but revives faulty legs, which needs the same proof; `DropDeadLeg` is for mirrors only.)
    pub fn revives_legs(&self) -> bool {
        matches!(self, Self::Quarantine { .. } | Self::Release { .. } | Self::Rebuild { .. } | Self::Resume { .. })
    }

    /// Whether labels and superblocks are read just before it. Not before what is done because a device is gone.
    pub fn needs_look(&self) -> bool {
        self.writes_vg().is_some() && !matches!(self, Self::Monitor { .. } | Self::DropDeadLeg { .. })
    }

    /// Whether one is another try of the other. Every stamp has a number of its own.
    pub fn is_again(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stamp { vg, .. }, Self::Stamp { vg: again, .. }) => vg == again,
            _ => self == other,
        }
    }

    /// Step code for jobs and `PlanHeal`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RestoreMissing { .. } => "restore-missing",
            Self::Quarantine { .. } => "quarantine",
            Self::Release { .. } => "release",
            Self::Resume { .. } => "resume",
            Self::Requeue { .. } => "requeue",
            Self::Check { .. } => "check",
            Self::Repair { .. } => "repair",
            Self::Rebuild { .. } => "rebuild",
            Self::ReaddLeg { .. } => "readd-leg",
            Self::DropLeg { .. } => "drop-leg",
            Self::DropDeadLeg { .. } => "drop-dead-leg",
            Self::Monitor { .. } => "monitor",
            Self::Stamp { .. } => "stamp",
            Self::Unstamp { .. } => "unstamp",
            Self::Flush { .. } => "flush",
            Self::Register { .. } => "register",
            Self::Unregister { .. } => "unregister",
            Self::Activate { .. } => "activate",
            Self::Deactivate { .. } => "deactivate",
            Self::SetAutoactivation { .. } => "set-autoactivation",
            Self::SetRunning { .. } => "set-running",
            Self::Probe { .. } => "probe",
            Self::Login { .. } => "login",
            Self::SetRecoveryTmo { .. } => "set-recovery-tmo",
            Self::SetDetect { .. } => "set-detect",
            Self::SampleSocket { .. } => "sample-socket",
            Self::DestroySocket { .. } => "destroy-socket",
            Self::ReadDirect { .. } => "read-direct",
            Self::Knock { .. } => "knock",
            Self::ClearConnection { .. } => "clear-connection",
            Self::Fence { .. } => "fence",
            Self::UpdateNode { .. } => "update-node",
            Self::Rescan { .. } => "rescan",
            Self::Announce { .. } => "announce",
            Self::SetOffline { .. } => "set-offline",
            Self::StartIscsid => "start-iscsid",
            Self::ReadThrottle { .. } => "read-throttle",
            Self::SetThrottle { .. } => "set-throttle",
        }
    }

    /// How long it may take. LVM writers flush while suspended and were measured at up to 9 s under emulation
    /// (`facts/lab.md`, head); a login waits for the target's answer (`login_timeout` 15 s, tried twice).
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Probe { .. }
            | Self::Rescan { .. }
            | Self::UpdateNode { .. }
            | Self::Announce { .. }
            | Self::Flush { .. }
            | Self::Register { .. }
            | Self::Unregister { .. } => 20,
            Self::SetRecoveryTmo { .. }
            | Self::SetDetect { .. }
            | Self::SampleSocket { .. }
            | Self::DestroySocket { .. }
            | Self::Knock { .. }
            | Self::ClearConnection { .. }
            | Self::SetOffline { .. }
            | Self::SetRunning { .. }
            | Self::ReadThrottle { .. }
            | Self::SetThrottle { .. } => 5,
            // A dead iscsid answers nobody; a live one logs a dead session out within 0.7 s (`facts/lab.md` D).
            Self::Fence { .. } => 5,
            // Ten round trips of the slowest link that was tried.
            Self::ReadDirect { .. } => 2,
            Self::Login { .. } => 45,
            Self::StartIscsid => 30,
            _ => 120,
        })
    }

    /// What happens to it at its deadline.
    pub fn on_deadline(&self) -> OnDeadline {
        if self.writes_vg().is_some() { OnDeadline::TermAndWait } else { OnDeadline::Kill }
    }
}
