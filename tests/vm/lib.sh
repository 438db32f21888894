# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# lib.sh - what the tests of this folder and contrib/demo share: TAP, one
# daemon, and guests that obey line by line
#
# A test sources this, says what it needs, starts the daemon and guests, and
# calls check for each promise.  Everything lives in $work and ends with it.
#
#   vm_need qemu              # skips the test where QEMU or its kernel is missing
#   daemon_start <<'END'      # a key-file; $work/NAME for paths
#   qemu_start a disk=DEV     # boots guest "a"
#   guest a 'mount ...'       # runs it in the guest: output and status
#   check "what is promised" command...
#   finish
#
# Environment: VIRTIOD the daemon, QEMU the emulator, VM_KEEP keeps $work,
# VM_VERBOSE shows the consoles.

set -euo pipefail
shopt -s inherit_errexit

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$vm_dir/kernel.sh"
. "$vm_dir/guest.sh"
. "$vm_dir/daemon.sh"

export PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d "${TMPDIR:-/tmp}/virtiod-vm.XXXXXX")
vm_checks=0
vm_failures=0
vm_at_exit=: # what a test adds to the end

# Ends what the test started, in whatever way the test ends.
vm_cleanup() {
  local status=$?
  guest_kill_all
  daemon_stop || true
  "$vm_at_exit"
  if [ -n "${VM_KEEP:-}" ]; then
    echo "# kept $work"
  else
    rm -rf "$work"
  fi
  exit "$status"
}
trap vm_cleanup EXIT
trap 'exit 1' INT TERM

# Ends the test as skipped for reason $1.
skip_all() {
  echo "1..0 # SKIP $1"
  exit 0
}

# Prints each line of standard input as a TAP comment.
comment() {
  sed 's/^/# /'
}

# As check, for what all that follows needs.
check_or_bail() {
  local failures=$vm_failures
  check "$@"
  [ "$vm_failures" -eq "$failures" ] || { echo "Bail out! nothing works without it"; exit 1; }
}

# Runs a command under -e, what it prints to $work/attempt.out; its status is
# then in $attempted.  Never part of a condition: -e would be without effect.
attempt() {
  set +e
  (set -e; false; true)
  attempted=$?
  [ "$attempted" -ne 0 ] || { echo "attempt: in a condition: $*" >&2; exit 2; }
  (set -e; "$@") >"$work/attempt.out" 2>&1
  attempted=$?
  set -e
}

# Runs a command and reports it as the promise $1; what it printed explains a
# failure.
check() {
  local promise=$1 begin
  shift
  begin=$(date +%s%N)
  vm_checks=$((vm_checks + 1))
  attempt "$@"
  if [ "$attempted" -eq 0 ]; then
    echo "ok $vm_checks - $promise"
  else
    echo "not ok $vm_checks - $promise"
    vm_failures=$((vm_failures + 1))
    echo "failed after $((($(date +%s%N) - begin) / 1000000)) ms: $*" | comment
    tail -n 15 "$work/attempt.out" | comment
    [ ! -e "$work/daemon.log" ] || tail -n 10 "$work/daemon.log" | comment
  fi
}

# Reports promise $1 as skipped for reason $2.
check_skip() {
  vm_checks=$((vm_checks + 1))
  echo "ok $vm_checks - $1 # SKIP $2"
}

# Reports whether the daemon, if there is one, lives and then ends cleanly.
finish_daemon() {
  local status=0
  [ -n "$daemon_pid" ] || return 0
  check "the daemon is still there" daemon_alive
  daemon_stop || status=$? # in this shell, whose child it is
  check "the daemon ends cleanly" same "$status" 0 "exit status"
}

# Ends the test: the plan; a guest's oops or a daemon that does not end well is
# a failure too.
finish() {
  check "no guest's kernel complained" guests_are_healthy
  finish_daemon
  echo "1..$vm_checks"
  [ "$vm_failures" -eq 0 ] || exit 1
}

# Fails, saying so, unless $1 and $2 are equal; $3 names what they are.
same() {
  [ "$1" = "$2" ] || { echo "${3:-value}: got '$1', wanted '$2'"; return 1; }
}

# Runs a command again and again until it succeeds, at most $1 seconds.  It is
# part of a condition: a function that is called so must not rely on -e.
within() {
  local end=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ "$(date +%s%N)" -ge "$end" ]; then
      echo "still failing at the deadline: $*"
      "$@"
      return 1
    fi
    sleep 0.02
  done
}

# Says whether a server accepts connections at path $1: the socket is
# there a moment earlier.
listens() {
  grep -q "^[^ ]* [^ ]* [^ ]* 00010000 .* $1\$" /proc/net/unix
}

# Says whether process $1 runs; one that nobody has waited for does not, once
# its last thread, which may still hold its files, has ended.
process_alive() {
  local stat threads
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  threads=("/proc/$1/task"/*)
  stat=${stat##*) }
  [[ $stat != [ZX]* || ${#threads[@]} -gt 1 ]]
}

# Prints the MD5 sum of a file, as sum does in a guest.
host_sum() {
  md5sum <"$1" | cut -d ' ' -f 1
}

# Writes $2 KiB of noise to file $1 and prints its sum.
host_noise() {
  head -c $(($2 * 1024)) /dev/urandom >"$1"
  host_sum "$1"
}

# Skips the test where something that it needs is missing: daemon, qemu, uml,
# or the name of a program.
vm_need() {
  local need
  for need in "$@"; do
    case $need in
      daemon) [ -x "${VIRTIOD:-}" ] || skip_all "VIRTIOD names no program" ;;
      qemu)
        command -v "$qemu" >/dev/null || skip_all "no $qemu"
        [ -n "$(vm_kernel_dir)" ] || skip_all "no kernel: run tests/vm/fetch-kernel" ;;
      uml) command -v linux.uml >/dev/null || skip_all "no linux.uml (user-mode-linux)" ;;
      *) command -v "$need" >/dev/null || skip_all "no $need" ;;
    esac
  done
  for need in busybox cpio mke2fs e2fsck modprobe; do
    command -v "$need" >/dev/null || skip_all "no $need"
  done
}
