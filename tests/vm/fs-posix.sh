#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs-posix.sh - one program (tests/vm/posix) runs on the host's own file system
# and in a guest over virtio-fs: what it says must be the same, but for what
# docs/virtiod-fs.7.rst names
. "$(dirname "$0")/lib.sh"

VM_TIMEOUT=200 # one command runs all cases
[ -x "${POSIX:-}" ] || skip_all "POSIX names no program (no static libc)"
[ "$(id -u)" -eq 0 ] || skip_all "needs root: users, devices, mounts"
vm_need daemon uml
share=$work/share
mkdir -p "$share/small" "$work/small" "$work/host"
unmount() {
  umount "$share/small" "$work/small" 2>/dev/null || true
}
vm_at_exit=unmount
mount -t tmpfs -o size=1m,mode=755 none "$share/small" || skip_all "cannot mount a tmpfs"
mount -t tmpfs -o size=1m,mode=755 none "$work/small"

# A share for each, and its keys: how the guest may cache, who locks, how many
# descriptors there are for how many files.  What the guest has removed keeps its
# descriptor until FORGET, which an urgent queue on a busy host brings late: half
# as many were sometimes too few.
declare -A policies=(
  [auto]='cache=auto'
  [never]='cache=never'
  [writeback]='cache=always writeback=yes'
  [locks]='cache=auto locks=all'
  [tight]='cache=auto fd-budget=32'
)

devices() {
  local policy
  for policy in "${!policies[@]}"; do
    cat <<END
[device $policy]
kind=fs
socket=$work/$policy.sock
source=$share
tag=$policy
xattr=yes
security-label=never
${policies[$policy]// /$'\n'}

END
  done
}

boots() {
  local sockets=() policy name
  for policy in "${!policies[@]}"; do
    sockets+=("$work/$policy.sock:26")
  done
  uml_start uml "${sockets[@]}"
  for policy in "${!policies[@]}"; do
    guest uml "mkdir -p /mnt/$policy && mount -t virtiofs $policy /mnt/$policy"
  done
  # Limits of the system, not of the file system.
  for name in hardlinks symlinks fifos regular; do
    guest uml "echo $(cat /proc/sys/fs/protected_$name) >/proc/sys/fs/protected_$name"
  done
}

host_runs() {
  SMALL=$work/small "$POSIX" "$work/host" >"$work/host.out"
  [ "$(wc -l <"$work/host.out")" -gt 40 ]
  ! grep -E ' begin=| child=[1-9]' "$work/host.out"
}

# Takes out what the guest's kernel or policy $1 does by itself, whatever the
# device does; docs/virtiod-fs.7.rst has the reasons.
explained() {
  local script=()
  if guest_is_before_6_6; then
    script+=(-e 's/ mask=0[37]777 born=./ (statx)/')
    [ "$1" != never ] || script+=(-e '/^mapping.*:/d')
  fi
  [ "$1" != writeback ] || script+=(-e '/^full-disk:/s/ (write|sync)=[A-Za-z]+//g'
    -e '/^holes:/s/ (data|hole)[a-z-]*=[^ ]+//g')
  [ "$1" != locks ] || script+=(-e '/^interrupting-a-wait:/d')
  sed -E "${script[@]}"
}

guest_is_before_6_6() {
  [ "$(printf '%s\n' 6.6 "$release" | sort -V | head -n 1)" = "$release" ]
}

guest_agrees() {
  local without=
  # That wait would end by the case's alarm, a minute later.
  [ "$1" != locks ] || without=-interrupting-a-wait
  mkdir "$share/$1"
  guest uml "SMALL=/mnt/$1/small /mnt/$1/posix /mnt/$1/$1 $without" | grep ':' >"$work/$1.out"
  explained "$1" <"$work/host.out" >"$work/wanted"
  explained "$1" <"$work/$1.out" >"$work/got"
  diff "$work/wanted" "$work/got"
}

cp "$POSIX" "$share/posix"
daemon_start < <(devices)
check_or_bail "the host's own file system behaves" host_runs
check_or_bail "a guest mounts the share with each policy" boots
release=$(guest uml 'uname -r' | head -n 1)
for policy in auto never writeback locks tight; do
  check "it behaves as the host's own: ${policies[$policy]}" guest_agrees "$policy"
done
finish
