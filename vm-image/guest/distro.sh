#!/bin/sh
# Start a distribution as WSL 2 does (src/linux/init of github.com/microsoft/WSL: main.cpp,
# config.cpp, init.cpp): mount, pid, uts and ipc namespaces of its own; the kernel, the network and
# the tree of cgroups are everybody's.
# usage: distro.sh NAME ROOT CGROUP COMMAND...
#   CGROUP   where its first process is put, below /sys/fs/cgroup
# /run/wsl is what all distributions have as /mnt/wsl.
set -eu

if [ "$1" != --inside ]; then
    name=$1 root=$2
    echo 0 >"/sys/fs/cgroup/$3/cgroup.procs"
    shift 3
    exec unshare --mount --pid --uts --ipc --fork --propagation private -- \
        "$0" --inside "$name" "$root" "$@"
fi

name=$2 root=$3
shift 3
echo "$name" >/proc/sys/kernel/hostname
mount --bind "$root" "$root"
cd "$root"
mkdir -p .old mnt/wsl
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t cgroup2 -o nsdelegate cgroup2 sys/fs/cgroup
for place in run tmp dev/shm; do
    mount -t tmpfs -o mode=1777 tmpfs "$place"
done
chmod 755 run
mount --bind /run/wsl mnt/wsl
ln -sfn /mnt/wsl/resolv.conf etc/resolv.conf
# WSL mounts the kernel's modules in each, where it has any.
if [ -d /usr/lib/modules ]; then
    mkdir -p usr/lib/modules
    mount --bind /usr/lib/modules usr/lib/modules
fi
pivot_root . .old
# shellcheck disable=SC2016  # the inner shell has $@
exec chroot . /bin/sh -c 'umount -l /.old && exec "$@"' sh "$@"
