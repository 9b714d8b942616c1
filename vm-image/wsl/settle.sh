#!/bin/sh
# What the distribution has of its own, in the root that mmdebstrap made: usage: settle.sh ROOT HERE
set -eu
root=${1:?} here=$2

install -m 644 "$here/wsl.conf" "$root/etc/wsl.conf"
install -D -m 755 "$here/boot" "$root/usr/lib/ramnet/wsl-boot"
# WSL makes it a link to /mnt/wsl/resolv.conf; ramnet follows that.
rm -f "$root/etc/resolv.conf"

# dockerd alone, where the kernel can tell it apart; else all distributions: `ramnet status` says.
sed -i 's/^netns = "self"$/&\ncgroup = "ramnet.slice"/' "$root/etc/ramnet/ramnet.toml"
grep -q '^cgroup = "ramnet.slice"$' "$root/etc/ramnet/ramnet.toml"

units=$root/etc/systemd/system/docker.service.d
install -D -m 644 -t "$units" "$here/../units/60-ramnet-proxy.conf"
install -m 644 -t "$units" "$here/../units/70-ramnet-iptables.conf"
chroot "$root" systemctl --quiet enable docker.service
# The network is WSL's own.
chroot "$root" systemctl --quiet mask systemd-networkd.service systemd-resolved.service \
    systemd-networkd-wait-online.service

# bootstrap.sh may have needed it; the machine does not.
sed -i '/Check-Valid-Until/d' "$root/etc/apt/apt.conf.d/99mmdebstrap"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
