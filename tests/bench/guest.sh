#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC1091,SC2154 # lib.sh sets $work
#
# guest.sh - guest-load inside a User-Mode Linux whose directory another process
# serves; or, without a guest, on the host
#
#   guest.sh GUEST-LOAD SOCKET GROUP WORK...   prints an object a line
#   guest.sh GUEST-LOAD host FOLDER WORK...
#
# GROUP is the process group of the back-end, whose processor time is counted.
# The messages go through uml-proxy.py, which says why.
set -euo pipefail

bench_dir=$(cd "$(dirname "$0")" && pwd)
. "$bench_dir/../vm/lib.sh"

program=$1 socket=$2 group=$3
shift 3

# Prints how many nanoseconds the back-end has run.
spent_ns() {
  local pid
  for pid in $(pgrep -g "$group"); do
    cat /proc/"$pid"/task/*/schedstat 2>/dev/null
  done | awk '{ n += $1 } END { printf "%d\n", n }'
}

# Runs workload $1 where the files are.
run() {
  if [ "$socket" = host ]; then
    "$program" "$group" "$1"
  else
    guest a "guest-load /mnt $1"
  fi
}

# Forgets what the guest has cached.
forget() {
  [ "$socket" = host ] || guest a forget
}

# Runs workload $1 and prints what it took; $2 is the tag of the result.
measure() {
  local before=0 after=0 said n ns
  [ "$socket" = host ] || before=$(spent_ns)
  said=$(run "$1")
  [ "$socket" = host ] || after=$(spent_ns)
  read -r n ns <<<"$said"
  awk -v work="$1" -v n="$n" -v ns="$ns" -v cpu=$((after - before)) 'BEGIN {
    printf "{\"mix\": \"%s\", \"ops\": %d, \"ops_per_s\": %.1f, \"cpu_us_per_op\": %.4f}\n",
      work, n, n * 1e9 / ns, cpu / n / 1000 }'
}

if [ "$socket" != host ]; then
  vm_programs+=("$program")
  python3 "$bench_dir/uml-proxy.py" "$work/proxy.sock" "$socket" &
  within 10 test -S "$work/proxy.sock"
  uml_start a "$work/proxy.sock:26"
  guest a 'mount -t virtiofs bench /mnt'
fi
run prepare
for load in "$@"; do
  case $load in
    small-read) run fill >/dev/null; forget ;;
    stat | list | read) forget ;;
  esac
  measure "$load"
done
