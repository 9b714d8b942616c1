#!/bin/sh
# Build a distribution for `wsl --import`: usage: build_image.sh SUITE RAMNET.deb OUTPUT.tar
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 deb=$(realpath "$2") output=$3
mkdir -p "$(dirname "$output")"

packages=systemd-sysv,dbus,iproute2,ca-certificates,python3,libnftables1,nftables,iptables
packages=$packages,docker.io,util-linux,mount
[ "$suite" = bookworm ] || packages=$packages,docker-cli

# shellcheck disable=SC2016  # mmdebstrap's shell has $1
"$here/../image/bootstrap.sh" "$suite" "$output.new" --variant=apt --format=tar \
    --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="upload $deb /ramnet.deb" \
    --customize-hook='chroot "$1" dpkg --install /ramnet.deb && rm "$1/ramnet.deb"' \
    --customize-hook="$here/settle.sh \"\$1\" $here"
mv "$output.new" "$output"
ls -l "$output"
