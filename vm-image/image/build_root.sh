#!/bin/sh
# Build the root file system of one Debian suite, and beside it the programs that its tests need.
# usage: build_root.sh SUITE RAMNET.deb DIRECTORY
#   DIRECTORY/root.cpio    the image's root, without a kernel
#   DIRECTORY/tests.cpio   test hosts' programs, to be laid over it (docker-registry, dnsmasq, ...)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 deb=$(realpath "$2") output=$3
mkdir -p "$output"
output=$(realpath "$output")

packages=systemd-sysv,udev,kmod,iproute2,ca-certificates,python3,libnftables1,nftables,iptables
packages=$packages,docker.io,apparmor,util-linux,mount
[ "$suite" = bookworm ] || packages=$packages,docker-cli
tools=curl,docker-registry,dnsmasq-base,tcpdump,busybox-static,e2fsprogs
# Later ones need insserv, which systemd-sysv does not bear.
[ "$suite" != bookworm ] || tools=$tools,openrc

# shellcheck disable=SC2016  # mmdebstrap's shell has $1
"$here/bootstrap.sh" "$suite" - --variant=apt --format=null --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
    --dpkgopt='path-exclude=/usr/lib/*/gconv/*' \
    --customize-hook="upload $deb /ramnet.deb" \
    --customize-hook='chroot "$1" dpkg --install /ramnet.deb && rm "$1/ramnet.deb"' \
    --customize-hook="$here/settle.sh \"\$1\" $here" \
    --customize-hook="$here/pack.sh \"\$1\" $output/root.cpio" \
    --customize-hook="$here/add_tools.sh \"\$1\" $output/tests.cpio $tools"
