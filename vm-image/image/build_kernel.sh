#!/bin/sh
# Fetch a Debian suite's kernel: usage: build_kernel.sh SUITE DIRECTORY
#   DIRECTORY/vmlinuz, DIRECTORY/modules.cpio, DIRECTORY/release
# The cloud flavour: the same kernel without the drivers that a virtual machine never meets.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 output=$2
mkdir -p "$output"
output=$(realpath "$output")

take() { # ROOT
    root=$1
    # Newer packages keep the kernel beside its modules.
    release=$(find "$root/boot" "$root/usr/lib/modules" "$root/lib/modules" -name 'vmlinuz*' \
        2>/dev/null | sed 's|/vmlinuz$||; s|.*/vmlinuz-||; s|.*/||' | sort --version-sort | tail -n 1)
    for image in "$root/boot/vmlinuz-$release" "$root"/usr/lib/modules/"$release"/vmlinuz \
        "$root"/lib/modules/"$release"/vmlinuz; do
        [ -f "$image" ] && cp "$image" "$output/vmlinuz" && break
    done
    modules=$(mktemp -d)
    trap 'rm -rf "$modules"' EXIT
    mkdir -p "$modules/usr/lib/modules"
    for place in "$root/usr/lib/modules" "$root/lib/modules"; do
        if [ -d "$place/$release" ] && [ ! -e "$modules/usr/lib/modules/$release" ]; then
            cp -a "$place/$release" "$modules/usr/lib/modules/"
        fi
    done
    find "$modules" \( -name build -o -name source \) -type l -delete
    # depmod(8) of this machine knows one place for modules, wherever Debian's packages have them.
    ln -s usr/lib "$modules/lib"
    depmod --basedir "$modules" "$release"
    rm "$modules/lib"
    "$here/pack.sh" "$modules" "$output/modules.cpio"
    echo "$release" >"$output/release"
}

if [ "$suite" = --take ]; then
    take "$3"
    exit
fi
fetch() { # PACKAGE
    "$here/bootstrap.sh" "$suite" - --variant=extract --format=null --include="$1" \
        --extract-hook="$here/build_kernel.sh --take $output \"\$1\""
}

package=linux-image-cloud-amd64
fetch $package && exit
# A mirror may list a security update that it does not have (any more).
echo "kernel: the newest of $suite cannot be had, trying the release's own" >&2
fetch "$package/$suite"
