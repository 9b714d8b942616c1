#!/bin/sh
# mmdebstrap for all that is built here: usage: bootstrap.sh SUITE OUTPUT OPTION...
#
# It asks the package mirror that apt's defaults name, and nobody else. A mirror that has stood
# still lists a suite whose date has passed. Then its lists are taken all the same, and that is
# said: signatures and hashes are checked as ever, what is missing is the proof that nothing newer
# exists. An image does not inherit that; see settle.sh.
set -eu
suite=$1 output=$2
shift 2
words=$(mktemp)
trap 'rm -f "$words"' EXIT

run() {
    mmdebstrap --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        "$@" "$suite" "$output" >/dev/null 2>"$words"
}

run "$@" && exit
if grep -q '^E: Release file .* is expired' "$words"; then
    echo "bootstrap: the mirror's list of $suite has passed its date ($(sed -n \
        's/^E: Release file .*(invalid since \([^)]*\)).*/\1/p' "$words") ago): taken all the same," \
        "its signature holds" >&2
    CHECK_VALID_UNTIL=false run --aptopt='Acquire::Check-Valid-Until "false"' "$@" && exit
fi
# Not who the mirror is.
sed 's|[a-z]*://[^/ ]*|MIRROR|g' "$words" | tail -n 20 >&2
exit 1
