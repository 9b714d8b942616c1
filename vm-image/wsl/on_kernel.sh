#!/bin/sh
# Run a command of this checkout's on another kernel: on_kernel.sh SECONDS BZIMAGE COMMAND...
#
# QEMU (TCG) boots the kernel with this machine's own root, read-only by 9p, and a tmpfs over it,
# so that the tests find all they need. The kernel has 9p and overlay built in, as that of
# `make wsl-kernel` has. Exits as the command did; 1 where it never ended.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

# The first process of the guest: a root that may be written, and what an init would mount.
first() {
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
    mount -t tmpfs -o size=80% tmpfs /mnt
    mkdir /mnt/up /mnt/work /mnt/root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work overlay /mnt/root
    cd /mnt/root
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t devtmpfs dev dev
    mkdir -p dev/pts dev/shm
    mount -t devpts devpts dev/pts
    for place in dev/shm run tmp; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
    chmod 755 run
    pivot_root . mnt
    exec chroot . "$here/on_kernel.sh" --second "$@" </dev/ttyS0 >/dev/ttyS0 2>&1
}

second() {
    umount --lazy /mnt
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    ip link set lo up
    # Without NFT_COMPAT and NFT_NAT, dockerd's rules are those of the old iptables.
    if ! iptables-nft --table nat --list >/dev/null 2>&1; then
        for family in iptables ip6tables; do
            ln -sf "/usr/sbin/$family-legacy" "/etc/alternatives/$family"
        done
    fi
    echo "on_kernel: $(uname -r), up in $(cut -d' ' -f1 /proc/uptime) s"
    cd "$root"
    code=0
    sh -c "$(echo "$1" | base64 --decode)" || code=$?
    echo "on_kernel: exit $code"
    sync
    poweroff -f 2>/dev/null
}

case ${1-} in
--first) shift; first "$@" ;;
--second) shift; second "$@"; exit ;;
esac

seconds=$1 kernel=$(realpath "$2")
shift 2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
command=$(printf '%s' "$*" | base64 --wrap=0)
timeout "$seconds" nice -n 15 qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max \
    -smp 2 -m 4096 -no-reboot -nodefaults -nographic -serial stdio -kernel "$kernel" \
    -device virtio-rng-pci \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=/dev/root \
    -append "console=ttyS0 quiet panic=-1 ro root=/dev/root rootfstype=9p \
rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=262144 \
init=$here/on_kernel.sh -- --first $command" </dev/null | tee "$log" || true
grep --quiet 'on_kernel: exit 0' "$log"
