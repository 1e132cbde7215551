#!/bin/sh
# What makes the image of a machine of the lab quick to boot; $1 is its root.
set -e
# With an id of its own no boot is the first one, which would go through every unit's preset.
echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
echo lab >"$1/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 lab\n' >"$1/etc/hosts"
: >"$1/etc/fstab"
mkdir -p "$1/etc/systemd/journald.conf.d" "$1/lab"
printf '[Journal]\nStorage=volatile\n' >"$1/etc/systemd/journald.conf.d/lab.conf"
# ttyS1 is the lab's own; nobody logs in anywhere else; the rest wakes up in the middle of a measurement.
for unit in serial-getty@ttyS0.service serial-getty@ttyS1.service getty@tty1.service console-getty.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-tmpfiles-clean.timer libvirt-guests.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
    systemd-timesyncd.service systemd-update-utmp.service systemd-networkd.service ldconfig.service; do
    ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
# libvirtd asks every emulator for its abilities before it answers: the lab's guests need one.
rm -f "$1/usr/bin/qemu-system-i386" "$1"/usr/bin/qemu-system-x86_64-*
