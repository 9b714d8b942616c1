#!/bin/sh
# Wrap a tree that make_tree.sh laid down as a .deb, the same bytes for the same input.
# usage: make_deb.sh TREE VERSION OUTPUT.deb
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
tree=$1 version=$2 output=$3
control=$tree/DEBIAN

rm -rf "$control"
mkdir -p "$control"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$(dpkg --print-architecture)/" \
    -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$tree" | cut -f1)/" \
    "$here/debian/control.in" >"$control/control"
install -m 755 "$here"/debian/postinst "$here"/debian/prerm "$here"/debian/postrm "$control"
printf '/etc/ramnet/ramnet.toml\n/etc/ramnet/policy.toml\n' >"$control/conffiles"
(cd "$tree" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z |
    xargs -0 md5sum) >"$control/md5sums"
: "${SOURCE_DATE_EPOCH:=$(git -C "$here" log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH
# All of them: a file of a checkout has the hour of that, which may be before.
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$output" >/dev/null
