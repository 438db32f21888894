#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# iopoll.sh - disks with iopoll=yes that are really polled: the tests of
# wire/iopoll in a User-Mode Linux, whose kernel, 6.1, polls any disk
#
# The guest sees the host's files, read-only, and an ext4 of its own.
. "$(dirname "$0")/lib.sh"

vm_need daemon uml mke2fs
[ -x "${WIRE_IOPOLL:-}" ] || skip_all "WIRE_IOPOLL does not name the program of wire/iopoll"

truncate -s 64M "$work/disk.img"
mke2fs -q -t ext4 "$work/disk.img"
UML_MEMORY=256M uml_start a "ubd0=$work/disk.img"

mounts() {
  guest a 'mkdir /host
    mount -r -t hostfs none /host -o /
    mount -t proc none /host/proc
    mount -t devtmpfs none /host/dev
    mount -t ext4 /dev/ubda /host/mnt'
}

runs() {
  guest a "chroot /host /usr/bin/env TMPDIR=/mnt VIRTIOD=$(realpath "$VIRTIOD") timeout 90 $WIRE_IOPOLL" \
    >"$work/iopoll.tap" || { cat "$work/iopoll.tap"; return 1; }
}

# One is for kernels that do not poll.
does_not_skip() {
  local name
  for name in data stop kill; do
    grep -q "^ok [0-9]* /iopoll/$name\$" "$work/iopoll.tap" || { cat "$work/iopoll.tap"; return 1; }
  done
}

check_or_bail "the guest sees the host's files and has a disk" mounts
check "the tests of polled disks pass" runs
check "none was skipped" does_not_skip
finish
