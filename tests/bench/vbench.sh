#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# vbench.sh - every load of vbench runs against virtiod, whose answers it checks,
# and its JSON can be read
set -euo pipefail

work=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/share"
truncate -s 16M "$work/image"
"$VIRTIOD" --device "blk,socket=$work/blk.sock,image=$work/image" 2>"$work/log" &
daemon=$!
n=0

# Says whether socket $1 appears.
listens() {
  for _ in $(seq 500); do
    [ ! -S "$1" ] || return 0
    sleep 0.02
  done
  return 1
}

# Runs load $2 of kind $1 with the options that follow.
load() {
  local kind=$1 mix=$2
  shift 2
  n=$((n + 1))
  if "$VBENCH" "$kind" "--socket=$work/$kind.sock" "--mix=$mix" --time=0.1 --warm-up=0.02 \
    --span=4M --files=40 "--json=$work/json" "$@" >"$work/out" 2>&1 &&
    grep -q '"ops": [1-9]' <(tail -n 1 "$work/json"); then
    echo "ok $n - $kind $mix $*"
  else
    echo "not ok $n - $kind $mix $*"
    sed 's/^/# /' "$work/out" "$work/log"
  fi
}

listens "$work/blk.sock"
for mix in randread randwrite randrw read write flush get-id; do
  load blk "$mix" --depth=8
done
load blk randread --depth=4 --queues=2 --poll
load blk randwrite --depth=4 --packed --bs=64k
if [ -n "${VBENCH_FS:-}" ]; then
  kill "$daemon"
  wait "$daemon" || true
  "$VIRTIOD" --device "fs,socket=$work/fs.sock,source=$work/share,tag=bench" 2>"$work/log" &
  daemon=$!
  listens "$work/fs.sock"
  for mix in stat negative open create rename small-read list tree randread randwrite read write; do
    load fs "$mix" --depth=3
  done
  load fs randread --direct --syscalls
  mkdir "$work/share/there"
  touch "$work/share/there"/{1..50}
  load fs list --folder=there
  rm -r "$work/share/there"
  n=$((n + 1))
  [ -z "$(ls "$work/share")" ] || echo -n "not "
  echo "ok $n - fs leaves nothing behind"
fi
echo "1..$n"
