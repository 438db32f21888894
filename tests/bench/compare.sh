#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# compare.sh - what contrib/bench is made of works: rows are measured, judged
# and written into documents, and a guest's workloads run on the host
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
n=0

# Reports command $2... as the promise $1.
check() {
  local promise=$1
  shift
  n=$((n + 1))
  if "$@" >"$work/out" 2>&1; then
    echo "ok $n - $promise"
  else
    echo "not ok $n - $promise"
    sed 's/^/# /' "$work/out"
  fi
}

# Runs compare.py with the arguments given.
compare() {
  python3 "$SOURCE/tests/bench/compare.py" --build "$BUILD" --tmpfs "$work" --disk "$work" \
    --size 4 --quick --busy "$@"
}

# Runs each workload of a guest on the host.
guest_works() {
  local load
  "$BUILD/tests/bench/guest-load" "$work/files" prepare
  for load in create fill stat open negative small-read list rename randwrite randread write read \
    unlink; do
    "$BUILD/tests/bench/guest-load" "$work/files" "$load" | grep -qE '^[1-9][0-9]* [1-9][0-9]*$' ||
      { echo "$load"; return 1; }
  done
  [ -z "$(find "$work/files" -name 'f*-renamed')" ]
}

# Says whether the result has samples of both back-ends and of their costs.
has_samples() {
  python3 - "$work/json" <<'END'
import json, sys
row, = json.load(open(sys.argv[1]))["rows"]
assert all(len(row["samples"][name]) == 2 for name in ("virtiod", "synchronous")), row
assert row["samples"]["virtiod"][0]["ops_per_s"] > 0, row
assert row["samples"]["virtiod"][0]["cpu_us_per_op"] > 0, row
END
}

# Says whether the documents have what was measured.
has_documents() {
  compare --from-json "$work/json" --write-docs "$tree"
  grep -q '^| 4k random read, depth 1 | ' "$tree/docs/performance.md"
  grep -q 'rounds of 0.1 s' "$tree/README.md"
  python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' \
    "$tree/docs/performance.svg"
}

mkdir -p "$tree/docs" "$work/files"
cp "$SOURCE/README.md" "$tree/"
cp "$SOURCE/docs/performance.md" "$tree/docs/"
check "the workloads of a guest run on the host" guest_works
check "a row is measured" compare --only 'blk tmpfs: 4k random read, depth 1' --json "$work/json"
check "its samples are kept" has_samples
check "documents are made of them" has_documents
echo "1..$n"
