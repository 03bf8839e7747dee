//! A new open-iscsi under load: iscsid goes and comes, and takes every session over with a new socket.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check};
use crate::stage::{LOSS_LIMIT, Stage, name};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

/// What is installed once more, under the next version: there is no network in the guest. Files, conffiles and scripts
/// are those of the distribution's package.
const REPACK: &str = r#"
version=$(dpkg-query -W -f '${Version}' open-iscsi)
tree=/root/open-iscsi; rm -rf $tree; mkdir -p $tree/DEBIAN
dpkg-query -L open-iscsi | while read -r path; do
    if [ ! -d "$path" ] && { [ -L "$path" ] || [ -f "$path" ]; }; then mkdir -p "$tree${path%/*}"; cp -a "$path" "$tree$path"; fi
done
dpkg-query -s open-iscsi | awk '/^Conffiles:/ { skip = 1; next } /^[^ ]/ { skip = 0 } !skip' |
    sed -e '/^Status:/d' -e "s/^Version: .*/Version: $version+lab1/" > $tree/DEBIAN/control
for script in preinst postinst prerm postrm conffiles triggers; do
    [ ! -f /var/lib/dpkg/info/open-iscsi.$script ] || cp -p /var/lib/dpkg/info/open-iscsi.$script $tree/DEBIAN/$script
done
dpkg-deb -b $tree /root/open-iscsi.deb
"#;

/// No leg is lost, and sockets have their limits again.
pub fn open_iscsi(stage: &mut Stage<'_>) -> Result<()> {
    stage.wait_for_limits(4, 3000)?;
    stage.guest().sh(REPACK)?;
    stage.start_writers()?;
    let iscsid = |stage: &Stage<'_>| stage.guest().sh("systemctl show -P MainPID iscsid.service");
    let before = iscsid(stage)?;
    // Another initrd is nothing to anybody here, and takes minutes.
    stage
        .guest()
        .sh("sed -i s/^update_initramfs=.*/update_initramfs=no/ /etc/initramfs-tools/update-initramfs.conf")?;
    stage.guest().sh("DEBIAN_FRONTEND=noninteractive dpkg -i /root/open-iscsi.deb")?;
    let version = stage.guest().sh("dpkg-query -W -f '${Version}' open-iscsi")?;
    ensure!(version.ends_with("+lab1"), "open-iscsi is {version}: not upgraded");
    stage.step(&format!("open-iscsi is {version}"));
    wait_until("both sessions to be logged in", LOSS_LIMIT, || {
        let states = stage.guest().sh("cat /sys/class/iscsi_session/session*/state")?;
        let all_in = states.split_whitespace().filter(|state| *state == "LOGGED_IN").count() == 2;
        Ok(if all_in { Look::Done(()) } else { Look::NotYet(states) })
    })?;
    let restarted = iscsid(stage)? != before;
    stage.figure(if restarted { "iscsid was restarted by it" } else { "iscsid was left running by it" });
    for volume in VOLUMES {
        stage.wait_for_progress(volume, 20)?;
    }
    stage.wait_for_limits(4, 3000)?;
    for volume in VOLUMES {
        let status = stage.guest().dm_status(volume)?;
        ensure!(status.health == "AA", "{} lost a leg: {status:?}", name(volume));
        stage.wait_for_state(volume, &["redundant"], LOSS_LIMIT)?;
    }
    ensure!(stage.events("target-offline")? == 0, "a session was given up");
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}
