#!/bin/sh
# Run by mmdebstrap at the end, $1 is the root of the new system. Its text is part of the image's recipe.
set -e
root=$1
off() { chroot "$root" systemctl --quiet mask "$@"; }

# Nothing that wakes by the clock, looks for updates, or waits for a network that the lab makes itself.
off apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-networkd-wait-online.service systemd-tmpfiles-clean.timer getty@tty1.service serial-getty@ttyS0.service \
    systemd-timesyncd.service
# The servers are units of the lab; lvmdbusd would slow every LVM command down.
off tgt.service
chroot "$root" systemctl --quiet enable lab-net.service lab-agent.service lab-target@a.service lab-target@b.service \
    lab-target@c.service open-iscsi.service iscsid.socket

sed -i 's/^node.startup = .*/node.startup = automatic/; s/^#*node.session.initial_login_retry_max = .*/node.session.initial_login_retry_max = 4/' \
    "$root/etc/iscsi/iscsid.conf"
echo '/dev/vda / ext4 defaults 0 0' > "$root/etc/fstab"
echo client > "$root/etc/hostname"
echo '127.0.0.1 localhost client server' > "$root/etc/hosts"
echo 00000000000000000000000000001ab0 > "$root/etc/machine-id"
mkdir -p "$root/srv/lab" "$root/mnt/r1" "$root/mnt/testlv" "$root/var/log/journal"
chroot "$root" passwd --quiet --delete root
rm -rf "$root/var/cache/apt/archives/"*.deb "$root/var/lib/apt/lists/"*
