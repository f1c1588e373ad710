#!/bin/sh
# Copyright 2019 example/ledger contributors
# Licensed under the Apache License, Version 2.0.

# Keep seven daily copies of a folder, and say so if today's copy is not what was copied.
set -eu

from=${1:?usage: rotate.sh FOLDER ARCHIVE}
to=${2:?usage: rotate.sh FOLDER ARCHIVE}
today=$to/$(date +%u)

sums() {
    (cd "$1" && find . -type f -exec sha256sum {} + | LC_ALL=C sort -k 2)
}

rm -rf "$today.new"
cp -a "$from" "$today.new"
if [ "$(sums "$from")" != "$(sums "$today.new")" ]; then
    echo "rotate: $today.new differs from $from; the old copy is kept" >&2
    exit 1
fi
rm -rf "$today"
mv "$today.new" "$today"
sums "$today" >"$today.sha256"
