#!/bin/sh
# Pack a directory as an initramfs archive: usage: pack.sh DIRECTORY OUTPUT.cpio [FILE-LIST]
# The list has one path a line, relative to the directory; without it all is taken but what the
# machine that builds has mounted or left there. The same input gives the same bytes.
set -eu
directory=$1 output=$2 list=${3-}
: "${SOURCE_DATE_EPOCH:=0}"

cd "$directory"
find . -xdev -newermt "@$SOURCE_DATE_EPOCH" -not -path './proc/*' -not -path './sys/*' \
    -not -path './dev/*' -not -path ./proc -not -path ./sys -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
if [ -n "$list" ]; then
    cat "$list"
else
    # What is mounted while it is built has the hour of that; /init makes these two.
    find . -path ./proc -prune -o -path ./sys -prune -o -path './dev/*' -prune \
        -o -path './run/*' -prune -o -path './tmp/*' -prune -o -print
fi | LC_ALL=C sort | cpio --quiet --create --format=newc --owner=+0:+0 --reproducible \
    >"$output.new" 2>/dev/null
mv "$output.new" "$output"
