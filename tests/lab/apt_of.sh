#!/bin/sh
# An apt for another suite of Debian, beside this machine's own: usage: apt_of.sh SUITE DIRECTORY
#
# Its packages come from where this machine's own come; neither apt's lists nor its configuration
# are touched. It knows no package as installed. Prints what APT_CONFIG is to be set to.
set -eu
suite=$1
mkdir -p "$2/lists/partial" "$2/cache/archives/partial"
apt=$(cd "$2" && pwd)

# The mirror of this machine's own Debian packages, whatever it is.
# shellcheck disable=SC2016  # apt expands it
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' |
    awk '$2 !~ /security|updates|backports/ { print $1; exit }')

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
: >"$apt/status"
cat >"$apt/apt.conf" <<CONF
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
CONF
words=$(mktemp)
trap 'rm -f "$words"' EXIT
if ! APT_CONFIG=$apt/apt.conf apt-get -q=2 update >"$words" 2>&1; then
    # A mirror that has stood still: signatures and hashes hold, that nothing newer exists does not.
    if grep -q 'is expired' "$words"; then
        echo 'Acquire::Check-Valid-Until "false";' >>"$apt/apt.conf"
        APT_CONFIG=$apt/apt.conf apt-get -q=2 update >"$words" 2>&1 && : >"$words"
    fi
fi
if grep -q '^[EW]: .*\(Failed\|expired\|not have\)' "$words"; then
    sed 's|[a-z]*://[^/ ]*|MIRROR|g' "$words" | tail -n 3 >&2 # not who the mirror is
    exit 1
fi
echo "$apt/apt.conf"
