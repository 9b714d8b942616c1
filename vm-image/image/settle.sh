#!/bin/sh
# What the image has of its own, in the root that mmdebstrap made: usage: settle.sh ROOT HERE
set -eu
root=${1:?} here=$2
# QEMU's user network answers names here; an image for elsewhere is built with DNS=ADDRESS.
dns=${DNS:-10.0.2.3}

install -m 755 "$here/init" "$root/init"
echo ramnet-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost ramnet-vm\n::1 localhost\n' >"$root/etc/hosts"
echo "nameserver $dns" >"$root/etc/resolv.conf"
# A sandboxed service needs room for directories of its own there (PrivateTmp=, PrivateDevices=),
# whatever the disk has left, and on a read-only root.
cat >"$root/etc/fstab" <<'END'
tmpfs /tmp tmpfs mode=1777,nosuid,nodev,size=25% 0 0
tmpfs /var/tmp tmpfs mode=1777,nosuid,nodev,size=10% 0 0
END
# Empty: made at the first boot. Absent on a read-only root: kept in memory.
: >"$root/etc/machine-id"

# Containers ask this server themselves. Without it those on user-defined networks would ask by
# way of dockerd (28 and later), and get the policy's answers.
mkdir -p "$root/etc/docker" "$root/usr/local/share/ca-certificates"
printf '{"dns": ["%s"]}\n' "$dns" >"$root/etc/docker/daemon.json"
install -D -m 644 -t "$root/etc/systemd/system/docker.service.d" \
    "$here/../units/60-ramnet-proxy.conf" "$here/../units/70-ramnet-iptables.conf"

mkdir -p "$root/etc/systemd/network"
printf '[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/50-wire.network"
chroot "$root" systemctl --quiet enable systemd-networkd.service docker.service
# Nobody waits for the network: containers may need none.
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service
chroot "$root" systemctl --quiet set-default multi-user.target
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    fstrim.timer getty-static.service

# bootstrap.sh may have needed it; the machine does not.
sed -i '/Check-Valid-Until/d' "$root/etc/apt/apt.conf.d/99mmdebstrap"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "${root:?}"/boot/*
# ldconfig's own memory of when and where; it is made anew.
rm -f "$root"/var/cache/ldconfig/aux-cache
# Programs of an orchestrator's that nothing here calls.
rm -f "$root"/usr/bin/dnet "$root"/usr/sbin/ovrouter "$root"/usr/bin/containerd-shim "$root"/usr/bin/containerd-shim-runc-v1
rm -rf "$root"/usr/lib/udev/hwdb.bin "$root"/usr/lib/udev/hwdb.d
rm -rf "$root"/usr/share/python3/debpython "$root"/usr/share/bug "$root"/usr/share/lintian
find "$root/usr/lib/python3" "$root/usr/lib/python3."* -name test -type d -prune -exec rm -rf {} +
