#!/bin/sh
# Install further packages in the root and pack what they brought: a hook of mmdebstrap.
# usage: add_tools.sh ROOT OUTPUT.cpio PACKAGE,PACKAGE...
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$1 output=$2 packages=$3
names=$(mktemp)
files=$(mktemp)
trap 'rm -f "$names" "$files"' EXIT

installed() {
    dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${Package}\n' | LC_ALL=C sort
}

installed >"$names"
apt_get() {
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q=2 \
        -o "Acquire::Check-Valid-Until=${CHECK_VALID_UNTIL:-true}" "$@" >/dev/null
}
apt_get update
# shellcheck disable=SC2046  # a list of names
apt_get install --yes -o DPkg::Chroot-Directory="$root" $(echo "$packages" | tr , ' ')
for package in $(installed | LC_ALL=C comm -13 "$names" -); do
    chroot "$root" dpkg-query --listfiles "$package"
done | grep --invert-match '^/etc/apparmor.d' | sed -n 's|^/|./|p' | LC_ALL=C sort -u | while read -r path; do
    [ -e "$root/$path" ] || [ -L "$root/$path" ] || continue
    echo "$path"
done >"$files"
"$here/pack.sh" "$root" "$output" "$files"
