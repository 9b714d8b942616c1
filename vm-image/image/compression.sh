#!/bin/sh
# How an initramfs for a kernel is compressed: usage: compression.sh BZIMAGE
# Prints a command. zstd came with Linux 5.9; a kernel that does not tell its version gets gzip,
# which is the oldest. Source: Documentation/x86/boot.rst of the kernel, kernel_version at 0x20e.
set -eu
at=$(od -An -tu2 -j $((0x20e)) -N2 "$1")
version=$(dd if="$1" bs=1 skip=$((at + 0x200)) count=32 status=none | tr '\0' ' ')
oldest=$(printf '5.9\n%s\n' "${version%% *}" | sort --version-sort | head -n 1)
case "$oldest $version" in
"5.9 "[1-9]*) echo zstd --quiet -T2 -12 --stdout ;;
*) echo gzip -n ;;
esac
