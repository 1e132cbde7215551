# Runs on a fresh copy of the image's disk before its systemd does, so that the boot which follows is the first one with
# Bulkhead installed, as on a host where the package came with the installation.
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
dpkg --force-unsafe-io --install /lab/bulkhead.deb

install -D -m 0644 /lab/examples/seed.toml /etc/bulkhead/host.toml

mkdir -p /etc/systemd/system/multi-user.target.wants
install -m 0644 /lab/bulkhead-lab.service /etc/systemd/system/
ln -sf ../bulkhead-lab.service /etc/systemd/system/multi-user.target.wants/
# eth2 is the far side of the trunk eth1: it listens from its first moment and says nothing of its own.
cat >/etc/udev/rules.d/70-lab.rules <<'RULE'
ACTION=="add", SUBSYSTEM=="net", KERNEL=="eth2", RUN+="/bin/sh -c 'echo 1 >/proc/sys/net/ipv6/conf/eth2/disable_ipv6; ip link set eth2 up'"
RULE
