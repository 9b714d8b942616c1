#!/bin/sh
# Packages of another suite of Debian, unpacked: usage: foreign_root.sh SUITE DIRECTORY PACKAGE...
#
# Makes DIRECTORY/root, with all that they depend on; nothing of it is configured or run. What is
# there already, of the same packages by name, is taken as it is.
set -eu
suite=$1 place=$2
shift 2
here=$(dirname "$0")
[ "$(cat "$place/made" 2>/dev/null)" = "$*" ] && exit
rm -rf "$place"
APT_CONFIG=$("$here/apt_of.sh" "$suite" "$place/apt")
export APT_CONFIG
apt-get -q=2 --yes --download-only install "$@" >/dev/null
mkdir -p "$place/root/usr"
for each in bin sbin lib lib64; do
    mkdir "$place/root/usr/$each"
    ln -s "usr/$each" "$place/root/$each"
done
# shellcheck disable=SC2016  # the inner shell's
find "$place/apt/cache/archives" -name '*.deb' -print0 |
    xargs -0 -n 1 -P 2 sh -c 'dpkg-deb --fsys-tarfile "$2" |
        tar --extract --keep-directory-symlink --exclude=./usr/share/doc --directory "$1"' sh "$place/root"
rm -rf "$place/apt"
echo "$*" >"$place/made"
