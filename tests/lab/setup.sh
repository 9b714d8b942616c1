#!/bin/sh
# Install the packages that this machine lacks (Debian 12 or 13, as root), of the lists given or of
# packages.txt beside this file.
# Elsewhere: name what is missing and exit 2.
#
# Nothing that is installed here is started or enabled: the lab runs its own copies of these
# daemons, and a dockerd or an nginx on the machine itself is its owner's business. A package that
# could only come by removing another is an error.
set -eu

PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ $# -gt 0 ] || set -- "$(dirname "$0")/packages.txt"
lists=$(realpath "$@")

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

available() {
    apt-cache show "$1" >/dev/null 2>&1
}

# Print a line "program package..." for all that is missing.
missing() {
    # shellcheck disable=SC2086  # several names
    grep --no-filename --invert-match '^#' $lists | while read -r program packages; do
        case $program in
            -) installed "$packages" || echo "- $packages" ;;
            \?) installed "$packages" || ! available "$packages" || echo "? $packages" ;;
            *) command -v "$program" >/dev/null || echo "$program $packages" ;;
        esac
    done
}

# Of several packages the first that this Debian has (13 split docker-cli from docker.io).
first_available() {
    for package in "$@"; do
        if available "$package"; then
            echo "$package"
            return
        fi
    done
    echo "$1"
}

all_packages() {
    dpkg-query --show --showformat='${Package}\n' | sort
}

# Keep maintainer scripts from starting services (Debian policy 9.3.3.1), for this one run of apt.
hold_services() {
    guard=/usr/sbin/policy-rc.d
    [ -e "$guard" ] && return
    trap 'rm -f "$guard"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
}

# Services and sockets of the packages named on standard input shall not start at the next boot.
disable_services() {
    [ -d /run/systemd/system ] || return 0
    xargs --no-run-if-empty dpkg --listfiles |
        sed --quiet 's|^\(/usr\)\?/lib/systemd/system/\([^/@]*\.\(service\|socket\)\)$|\2|p' |
        sort --unique | xargs --no-run-if-empty systemctl --quiet disable
}

lacks=$(missing)
[ -z "$lacks" ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: missing here (program, Debian package):" >&2
    echo "$lacks" | sed 's/^/  /' >&2
    echo "setup: run this as root on Debian 12 or 13, or install them yourself" >&2
    exit 2
fi

export DEBIAN_FRONTEND=noninteractive
echo "setup: apt-get update"
apt-get update -q=2
wanted=$(missing | while read -r _ packages; do
    # shellcheck disable=SC2086  # one line may name several packages
    first_available $packages
done | sort --unique | tr '\n' ' ')
echo "setup: installing $wanted"
echo "setup: their services are neither started nor enabled"
before=$(mktemp)
all_packages >"$before"
hold_services
# shellcheck disable=SC2086  # a list of names
apt-get install -q=2 --yes --no-remove --no-install-recommends $wanted >/dev/null
all_packages | comm -13 "$before" - | disable_services
rm -f "$before"

lacks=$(missing)
if [ -n "$lacks" ]; then
    echo "setup: still missing: $lacks" >&2
    exit 2
fi
