#!/bin/sh
# Build a monolithic kernel as WSL 2 has it (kernel.config) from Debian's own source package.
#
#   kernel.sh [5.10|6.1] [DIRECTORY]      makes DIRECTORY/bzImage and DIRECTORY/config
#
# The package comes by apt from where this machine's own packages come, of the suite that has it;
# neither apt's own lists nor its configuration are touched. Takes 10 minutes on two cores.
set -eu

version=${1:-5.10}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${2:-$here/../../build/wsl-kernel-$version}"
place=$(cd "${2:-$here/../../build/wsl-kernel-$version}" && pwd)
fragment=$here/kernel.config
package=linux-source-$version

case $version in
5.10) suite=bullseye ;;
6.1) suite=bookworm ;;
*) echo "kernel.sh: Debian has no $package that was tried; 5.10 or 6.1" >&2; exit 2 ;;
esac

need() {
    for tool in gcc make flex bison bc cpio xz; do
        command -v "$tool" >/dev/null || missing="${missing:-} $tool"
    done
    [ -e /usr/include/libelf.h ] || missing="${missing:-} libelf-dev"
    [ -z "${missing:-}" ] && return
    echo "kernel.sh: missing here:$missing (apt-get install build-essential flex bison bc cpio" \
        "xz-utils libelf-dev)" >&2
    exit 2
}

# Fetch the source package into $place.
fetch() {
    APT_CONFIG=$("$here/../../tests/lab/apt_of.sh" "$suite" "$place/apt")
    (cd "$place" && export APT_CONFIG && apt-get -q=2 download "$package")
}

unpack() {
    [ -d "$place/$package" ] && return
    set -- "$place/$package"_*.deb
    [ -e "$1" ] || fetch
    set -- "$place/$package"_*.deb
    echo "wsl-kernel: $(basename "$1")"
    mkdir "$place/unpacking"
    dpkg-deb --fsys-tarfile "$1" | tar --extract --to-stdout --wildcards "*/$package.tar.xz" |
        tar --extract --xz --directory "$place/unpacking"
    mv "$place/unpacking/$package" "$place/$package"
    rmdir "$place/unpacking"
}

# Fail where the tree knows an option and did not take it as the fragment says.
verify() {
    grep --extended-regexp '^(# )?CONFIG_' "$fragment" | while read -r line; do
        option=$(echo "$line" | sed 's/^# //; s/[ =].*//')
        case $line in
        '#'*) ! grep --quiet "^$option=" .config || echo "$option is on" ;;
        *) grep --quiet --line-regexp "$line" .config || ! known "${option#CONFIG_}" ||
            echo "$line was not taken" ;;
        esac
    done >refused
    [ ! -s refused ] && return
    sed 's/^/kernel.sh: /' refused >&2
    exit 1
}

known() {
    grep --quiet --recursive --extended-regexp --include='Kconfig*' \
        "^[[:space:]]*(menu)?config $1\$" .
}

need
unpack
cd "$place/$package"
# Nothing of the place or the hour goes in.
KBUILD_BUILD_TIMESTAMP="$(date --utc --reference=Makefile)" KBUILD_BUILD_USER=ramnet
KBUILD_BUILD_HOST=debian
export KBUILD_BUILD_TIMESTAMP KBUILD_BUILD_USER KBUILD_BUILD_HOST
make -s KCONFIG_ALLCONFIG="$fragment" allnoconfig
verify
nice -n 19 make -s "-j$(nproc)" bzImage
cp arch/x86/boot/bzImage "$place/bzImage"
cp .config "$place/config"
echo "wsl-kernel: $place/bzImage ($(make -s kernelrelease), $(du -h "$place/bzImage" | cut -f1))"
