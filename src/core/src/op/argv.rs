//! Command lines. Devices are named by PV UUID, never by `sdX`, and nothing passes through a shell.

use super::{LogKind, LvRef, Op, STAMP, VgRef};
use crate::ids::{PvUuid, TargetKey};

impl Op {
    /// The command line, for operations that are one. Devices are named by PV UUID, never by `sdX`.
    pub fn argv(&self) -> Option<Vec<String>> {
        let words: Vec<String> = match self {
            Self::RestoreMissing { vg, pv } => {
                argv(["lvm", "vgextend", "--restoremissing"], [vg.name.to_string(), pv_path(pv)])
            }
            Self::Quarantine { vg, pv, lvs, also, unflag } => argv(
                ["lvm", "lvchange", "-y"],
                write_mostly((pv, 'y'), (unflag, 'n'))
                    .into_iter()
                    .chain(also.iter().flat_map(|pv| flag(pv, 'y')))
                    .chain(paths(vg, lvs)),
            ),
            Self::Release { vg, pv, lvs, reflag } => argv(
                ["lvm", "lvchange", "-y"],
                write_mostly((pv, 'n'), (reflag, 'y')).into_iter().chain(paths(vg, lvs)),
            ),
            Self::Resume { vg, lv } | Self::Requeue { vg, lv } => {
                argv(["lvm", "lvchange", "--refresh"], [path(vg, lv)])
            }
            Self::Check { vg, lvs } => argv(["lvm", "lvchange", "--syncaction", "check"], paths(vg, lvs)),
            Self::Repair { vg, lv } => argv(["lvm", "lvchange", "--syncaction", "repair"], [path(vg, lv)]),
            Self::Rebuild { vg, lv, pv } => argv(["lvm", "lvchange", "-y", "--rebuild"], [pv_path(pv), path(vg, lv)]),
            Self::ReaddLeg { vg, lv, pv, log: LogKind::Bitmap, legs, .. } => argv(
                ["lvm", "lvconvert", "-y", "--type", "raid1", "-m"],
                [legs.saturating_sub(1).to_string(), path(vg, lv), pv_path(pv)],
            ),
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
            // Every stamp would leave a file in /etc/lvm/archive. `--autobackup n` does not keep the next report from writing
            // two of them, since it finds the backup out of date; so the backup is kept up and only the archive spared.
            Self::Stamp { vg, add, drop } => argv(
                ["lvm", "vgchange", "--config", "backup/archive=0"],
                tags("--addtag", &[*add]).chain(tags("--deltag", drop)).chain([vg.name.to_string()]),
            ),
            Self::Unstamp { vg, drop } => argv(
                ["lvm", "vgchange", "--config", "backup/archive=0"],
                tags("--deltag", drop).chain([vg.name.to_string()]),
            ),
            Self::Activate { vg, lv, on } => {
                let mode = if on.is_empty() { "complete" } else { "degraded" };
                let seen = on.iter().flat_map(|pv| ["--devices".into(), pv_path(pv)]);
                argv(["lvm", "lvchange", "-ay", "--activationmode", mode], seen.chain([path(vg, lv)]))
            }
            Self::Deactivate { vg, lv } => argv(["lvm", "lvchange", "-an"], [path(vg, lv)]),
            Self::SetAutoactivation { vg, lvs, on } => {
                argv(["lvm", "lvchange", "--setautoactivation", if *on { "y" } else { "n" }], paths(vg, lvs))
            }
            Self::Login { target } => {
                argv(["iscsiadm", "-m", "node"], node(target).into_iter().chain(["--login".into()]))
            }
            Self::Fence { sid, .. } => argv(["iscsiadm", "-m", "session", "-r"], [sid.to_string(), "--logout".into()]),
            Self::UpdateNode { target, seconds } => {
                let update = ["-o", "update", "-n", "node.session.timeo.replacement_timeout", "-v"];
                let update = update.map(String::from).into_iter().chain([seconds.to_string()]);
                argv(["iscsiadm", "-m", "node"], node(target).into_iter().chain(update))
            }
            Self::Announce { disk } => argv(["udevadm", "trigger", "--action=change"], [format!("/sys/block/{disk}")]),
            Self::StartIscsid => argv(["systemctl", "start", "iscsid.service"], []),
            Self::Probe { .. }
            | Self::SetRecoveryTmo { .. }
            | Self::SetDetect { .. }
            | Self::SampleSocket { .. }
            | Self::DestroySocket { .. }
            | Self::Knock { .. }
            | Self::ClearConnection { .. }
            | Self::ReadDirect { .. }
            | Self::Rescan { .. }
            | Self::SetOffline { .. }
            | Self::SetRunning { .. }
            | Self::Flush { .. }
            | Self::Register { .. }
            | Self::Unregister { .. }
            | Self::ReadThrottle { .. }
            | Self::SetThrottle { .. } => return None,
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
            Self::SetDetect { sid, millis, .. } => format!("set TCP_USER_TIMEOUT of session {sid} to {millis} ms"),
            Self::SampleSocket { sid, .. } => format!("look at the socket of session {sid}"),
            Self::DestroySocket { sid, .. } => format!("destroy the socket of session {sid}"),
            Self::Knock { target, .. } => format!("connect to {}", target.portal),
            Self::ClearConnection { sid, .. } => format!("tell the kernel that connection {sid}:0 was stopped"),
            Self::ReadDirect { disk, .. } => format!("read a block of {disk}"),
            Self::Rescan { disk } => format!("echo 1 > /sys/block/{disk}/device/rescan"),
            Self::SetOffline { disk } => format!("echo offline > /sys/block/{disk}/device/state"),
            Self::SetRunning { disk } => format!("echo running > /sys/block/{disk}/device/state"),
            Self::ReadThrottle { throttle } => format!("cat {}", throttle.path()),
            Self::SetThrottle { throttle, value } => format!("echo {value} > {}", throttle.path()),
            Self::Flush { devices, .. } => format!("flush the caches of {}", devices.join(" ")),
            Self::Register { disk, key, .. } => format!("register key {key:#018x} with {disk}"),
            Self::Unregister { disk, key, .. } => format!("take key {key:#018x} from {disk}"),
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
    flags.flat_map(|(pv, word)| flag(pv, word)).collect()
}

fn flag(pv: &PvUuid, word: char) -> [String; 2] {
    ["--writemostly".to_owned(), format!("{}:{word}", pv_path(pv))]
}

fn tags(option: &str, stamps: &[u64]) -> impl Iterator<Item = String> {
    stamps.iter().flat_map(move |n| [option.to_owned(), format!("{STAMP}{n}")])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LvmUuid;

    #[test]
    fn only_the_chosen_pvs_are_shown_to_an_activation_without_the_others() {
        let uuid = |c: char| LvmUuid::parse(&c.to_string().repeat(32)).unwrap();
        let vg = VgRef { uuid: uuid('v'), name: "vg0".into() };
        let lv = LvRef { uuid: uuid('l'), name: "r1".into() };
        let line = |on: Vec<PvUuid>| Op::Activate { vg: vg.clone(), lv: lv.clone(), on }.command_line();
        assert_eq!(line(vec![]), "lvm lvchange -ay --activationmode complete vg0/r1");
        let pv = uuid('a');
        let link = format!("--devices /dev/disk/by-id/lvm-pv-uuid-{pv}");
        assert_eq!(line(vec![pv]), format!("lvm lvchange -ay --activationmode degraded {link} vg0/r1"));
    }
}
