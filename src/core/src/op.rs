//! The closed list of things this daemon can ever do to a machine. Command lines are built here, purely, so that the
//! safety check, `PlanHeal`, the journal and the tests all see exactly what would run.
//!
//! Sources of the verbs: `facts/lab.md` A and B (raid1), `facts/lvm.md` 5 (mirror), `facts/iscsi.md` 1.4 and 3 (iSCSI).

use crate::ids::{LvUuid, PvUuid, TargetKey, VgUuid};
use crate::observation::LegProbe;
use std::collections::BTreeMap;
use std::time::Duration;

/// A VG with the name LVM commands need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VgRef {
    /// UUID.
    pub uuid: VgUuid,
    /// Name.
    pub name: String,
}

/// An LV with the name LVM commands need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LvRef {
    /// UUID.
    pub uuid: LvUuid,
    /// Name without the VG.
    pub name: String,
}

/// Log kind of a `mirror` to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// raid's write-intent bitmap.
    Bitmap,
    /// In memory.
    Core,
    /// On a device.
    Disk,
}

impl LogKind {
    /// The word of the contract and of `--mirrorlog`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Core => "core",
            Self::Disk => "disk",
        }
    }
}

/// One PV to be read by a probe.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProbeTarget {
    /// The PV expected there.
    pub pv: PvUuid,
    /// Kernel name of the device to open, `sda`.
    pub device: String,
    /// Bytes from the PV's data area to each superblock wanted (extent start × extent size).
    pub superblocks: Vec<u64>,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Take a returned PV back into its VG: `vgextend --restoremissing`.
    RestoreMissing {
        /// VG.
        vg: VgRef,
        /// PV.
        pv: PvUuid,
    },
    /// Put legs on probation, and revive them if they are `D`: `lvchange --writemostly PV:y`.
    /// Flags named in `unflag` are taken off in the same command (all flagged = md reads the lowest index).
    Quarantine {
        /// VG.
        vg: VgRef,
        /// PV of the legs.
        pv: PvUuid,
        /// All LVs with a suspect leg there.
        lvs: Vec<LvRef>,
        /// PVs whose flag comes off.
        unflag: Vec<PvUuid>,
    },
    /// End probation: `lvchange --writemostly PV:n`. Flags named in `reflag`, the administrator's own, go back on.
    Release {
        /// VG.
        vg: VgRef,
        /// PV of the legs.
        pv: PvUuid,
        /// LVs.
        lvs: Vec<LvRef>,
        /// PVs whose flag goes back on.
        reflag: Vec<PvUuid>,
    },
    /// Resume a volume that a killed command left suspended: `lvchange --refresh`.
    Resume {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Compare the legs: `lvchange --syncaction check`.
    Check {
        /// VG.
        vg: VgRef,
        /// LVs.
        lvs: Vec<LvRef>,
    },
    /// Copy differing blocks from the lowest leg: `lvchange --syncaction repair`.
    Repair {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Copy a whole leg anew: `lvchange --rebuild PV`.
    Rebuild {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// PV to be written.
        pv: PvUuid,
    },
    /// Give a `mirror` its leg back: `lvconvert -b --type mirror -m N`.
    ReaddLeg {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// PV to be written.
        pv: PvUuid,
        /// Log it had.
        log: LogKind,
        /// PV of a disk log, when it had one.
        log_pv: Option<PvUuid>,
        /// Legs it will have afterwards.
        legs: u32,
    },
    /// Take a leg that cannot be believed out of a `mirror`, to copy it anew: `lvconvert -m N VG/LV PV`.
    DropLeg {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
        /// PV of the leg.
        pv: PvUuid,
        /// Legs left afterwards.
        legs: u32,
    },
    /// Do what dmeventd failed to do: drop a dead mirror leg, `lvconvert --repair --use-policies`.
    DropDeadLeg {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Have dmeventd watch an LV again: `lvchange --monitor y`.
    Monitor {
        /// VG.
        vg: VgRef,
        /// LV.
        lv: LvRef,
    },
    /// Read labels and superblocks with O_DIRECT.
    Probe {
        /// VG the answer is about.
        vg: VgUuid,
        /// What to read.
        targets: Vec<ProbeTarget>,
    },
    /// See whether a portal answers, then log in to one target there.
    Login {
        /// Target.
        target: TargetKey,
    },
    /// Write `recovery_tmo` of a live session and read it back.
    SetRecoveryTmo {
        /// Kernel session id.
        sid: u32,
        /// Target, for the record.
        target: TargetKey,
        /// Seconds; `None` = `off`.
        seconds: Option<u32>,
    },
    /// Write `replacement_timeout` into the node record.
    UpdateNode {
        /// Target.
        target: TargetKey,
        /// Seconds.
        seconds: u32,
    },
    /// Have the kernel read a disk's capacity again.
    Rescan {
        /// Kernel name, `sda`.
        disk: String,
    },
    /// Have udev look at a disk again: a LUN whose content was put right raises no event.
    Announce {
        /// Kernel name, `sda`.
        disk: String,
    },
    /// Make a disk fail its I/O at once: keeps an ambiguous leg out.
    SetOffline {
        /// Kernel name, `sda`.
        disk: String,
    },
    /// Start iscsid.
    StartIscsid,
}

/// What to do with a child that outlives its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadline {
    /// It only reads: SIGKILL.
    Kill,
    /// It writes LVM metadata: SIGTERM once, then wait and say so. Killing it may leave devices suspended
    /// (lvmteam/lvm2#75).
    TermAndWait,
}

/// How an operation ended. An exit code is a hint; success is seen by observation.
#[derive(Debug, Clone, PartialEq)]
pub enum OpResult {
    /// A command ended.
    Exit {
        /// Exit status; 128 + signal when killed.
        code: i32,
        /// Its last line of output, standard error first.
        last_line: String,
    },
    /// A sysfs write was made and read back as wanted.
    Wrote,
    /// A probe's answers.
    Probed(BTreeMap<PvUuid, LegProbe>),
    /// The portal did not answer a TCP connect; nothing was run.
    NoAnswer(String),
    /// It could not be run or done; the reason.
    Failed(String),
    /// Its deadline passed. A writer may still be running: another result follows when it ends.
    TimedOut,
}

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
            | Self::Check { vg, .. }
            | Self::Repair { vg, .. }
            | Self::Rebuild { vg, .. }
            | Self::ReaddLeg { vg, .. }
            | Self::DropLeg { vg, .. }
            | Self::DropDeadLeg { vg, .. }
            | Self::Monitor { vg, .. } => Some(vg),
            _ => None,
        }
    }

    /// The LVs it works on.
    pub fn lvs(&self) -> &[LvRef] {
        match self {
            Self::Quarantine { lvs, .. } | Self::Release { lvs, .. } | Self::Check { lvs, .. } => lvs,
            Self::Resume { lv, .. }
            | Self::Repair { lv, .. }
            | Self::Rebuild { lv, .. }
            | Self::ReaddLeg { lv, .. }
            | Self::DropLeg { lv, .. }
            | Self::DropDeadLeg { lv, .. }
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

    /// Step code for jobs and `PlanHeal`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RestoreMissing { .. } => "restore-missing",
            Self::Quarantine { .. } => "quarantine",
            Self::Release { .. } => "release",
            Self::Resume { .. } => "resume",
            Self::Check { .. } => "check",
            Self::Repair { .. } => "repair",
            Self::Rebuild { .. } => "rebuild",
            Self::ReaddLeg { .. } => "readd-leg",
            Self::DropLeg { .. } => "drop-leg",
            Self::DropDeadLeg { .. } => "drop-dead-leg",
            Self::Monitor { .. } => "monitor",
            Self::Probe { .. } => "probe",
            Self::Login { .. } => "login",
            Self::SetRecoveryTmo { .. } => "set-recovery-tmo",
            Self::UpdateNode { .. } => "update-node",
            Self::Rescan { .. } => "rescan",
            Self::Announce { .. } => "announce",
            Self::SetOffline { .. } => "set-offline",
            Self::StartIscsid => "start-iscsid",
        }
    }

    /// How long it may take. LVM writers flush while suspended and were measured at up to 9 s under emulation
    /// (`facts/lab.md`, head); a login waits for the target's answer (`login_timeout` 15 s, tried twice).
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Probe { .. } | Self::Rescan { .. } | Self::UpdateNode { .. } | Self::Announce { .. } => 20,
            Self::SetRecoveryTmo { .. } | Self::SetOffline { .. } => 5,
            Self::Login { .. } => 45,
            Self::StartIscsid => 30,
            _ => 120,
        })
    }

    /// What happens to it at its deadline.
    pub fn on_deadline(&self) -> OnDeadline {
        if self.writes_vg().is_some() { OnDeadline::TermAndWait } else { OnDeadline::Kill }
    }

    /// The command line, for operations that are one. Devices are named by PV UUID, never by `sdX`.
    pub fn argv(&self) -> Option<Vec<String>> {
        let words: Vec<String> = match self {
            Self::RestoreMissing { vg, pv } => {
                argv(["lvm", "vgextend", "--restoremissing"], [vg.name.clone(), pv_path(pv)])
            }
            Self::Quarantine { vg, pv, lvs, unflag } => argv(
                ["lvm", "lvchange", "-y"],
                write_mostly((pv, 'y'), (unflag, 'n')).into_iter().chain(paths(vg, lvs)),
            ),
            Self::Release { vg, pv, lvs, reflag } => argv(
                ["lvm", "lvchange", "-y"],
                write_mostly((pv, 'n'), (reflag, 'y')).into_iter().chain(paths(vg, lvs)),
            ),
            Self::Resume { vg, lv } => argv(["lvm", "lvchange", "--refresh"], [path(vg, lv)]),
            Self::Check { vg, lvs } => argv(["lvm", "lvchange", "--syncaction", "check"], paths(vg, lvs)),
            Self::Repair { vg, lv } => argv(["lvm", "lvchange", "--syncaction", "repair"], [path(vg, lv)]),
            Self::Rebuild { vg, lv, pv } => argv(["lvm", "lvchange", "-y", "--rebuild"], [pv_path(pv), path(vg, lv)]),
            Self::ReaddLeg { vg, lv, pv, log, log_pv, legs } => argv(
                ["lvm", "lvconvert", "-b", "-y", "--type", "mirror", "-m"],
                [
                    legs.saturating_sub(1).to_string(),
                    "--mirrorlog".into(),
                    log.word().into(),
                    path(vg, lv),
                    pv_path(pv),
                ]
                .into_iter()
                .chain(log_pv.iter().map(pv_path)),
            ),
            Self::DropLeg { vg, lv, pv, legs } => {
                argv(["lvm", "lvconvert", "-y", "-m"], [legs.saturating_sub(1).to_string(), path(vg, lv), pv_path(pv)])
            }
            Self::DropDeadLeg { vg, lv } => {
                argv(["lvm", "lvconvert", "-y", "--repair", "--use-policies"], [path(vg, lv)])
            }
            Self::Monitor { vg, lv } => argv(["lvm", "lvchange", "--monitor", "y"], [path(vg, lv)]),
            Self::Login { target } => {
                argv(["iscsiadm", "-m", "node"], node(target).into_iter().chain(["--login".into()]))
            }
            Self::UpdateNode { target, seconds } => {
                let update = ["-o", "update", "-n", "node.session.timeo.replacement_timeout", "-v"];
                let update = update.map(String::from).into_iter().chain([seconds.to_string()]);
                argv(["iscsiadm", "-m", "node"], node(target).into_iter().chain(update))
            }
            Self::Announce { disk } => argv(["udevadm", "trigger", "--action=change"], [format!("/sys/block/{disk}")]),
            Self::StartIscsid => argv(["systemctl", "start", "iscsid.service"], []),
            Self::Probe { .. } | Self::SetRecoveryTmo { .. } | Self::Rescan { .. } | Self::SetOffline { .. } => {
                return None;
            }
        };
        Some(words)
    }

    /// What it does, as one line for people: the command line, or the sysfs write in shell form.
    pub fn command_line(&self) -> String {
        match self {
            Self::SetRecoveryTmo { sid, seconds, .. } => {
                let value = seconds.map_or_else(|| "off".to_owned(), |s| s.to_string());
                format!("echo {value} > /sys/class/iscsi_session/session{sid}/recovery_tmo")
            }
            Self::Rescan { disk } => format!("echo 1 > /sys/block/{disk}/device/rescan"),
            Self::SetOffline { disk } => format!("echo offline > /sys/block/{disk}/device/state"),
            Self::Probe { targets, .. } => {
                let devices: Vec<_> = targets.iter().map(|t| t.device.as_str()).collect();
                format!("read labels and superblocks of {}", devices.join(" "))
            }
            _ => self.argv().unwrap_or_default().join(" "),
        }
    }
}

/// The stable name of a PV's device: udev's link by PV UUID.
pub fn pv_path(pv: &PvUuid) -> String {
    format!("/dev/disk/by-id/lvm-pv-uuid-{pv}")
}

/// `--writemostly PV:y` for one leg, and the opposite for others.
fn write_mostly(leg: (&PvUuid, char), others: (&[PvUuid], char)) -> Vec<String> {
    let flags = std::iter::once(leg).chain(others.0.iter().map(|pv| (pv, others.1)));
    flags.flat_map(|(pv, flag)| ["--writemostly".to_owned(), format!("{}:{flag}", pv_path(pv))]).collect()
}

fn path(vg: &VgRef, lv: &LvRef) -> String {
    format!("{}/{}", vg.name, lv.name)
}

fn paths(vg: &VgRef, lvs: &[LvRef]) -> Vec<String> {
    lvs.iter().map(|lv| path(vg, lv)).collect()
}

fn node(target: &TargetKey) -> Vec<String> {
    ["-T", &target.iqn, "-p", &target.portal, "-I", &target.iface].map(String::from).to_vec()
}

fn argv<const N: usize>(head: [&str; N], rest: impl IntoIterator<Item = String>) -> Vec<String> {
    head.iter().map(|s| (*s).to_owned()).chain(rest).collect()
}
