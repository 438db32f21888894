#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# migrate.sh - live migration from QEMU to QEMU on this host while the guest
# writes, reads back and compares on two disks, one with a split and one with a
# packed ring
. "$(dirname "$0")/lib.sh"
. "$vm_dir/migration.sh"

vm_need daemon qemu
hosts=(a b c) # in the order in which the guest visits them

boots() {
  migration_spawn a
  guest_wait_ready a
}

# Feature bit 34 of the disk's virtio device is RING_PACKED.
rings_are_as_named() {
  local disk
  for disk in "${migration_disks[@]}"; do
    guest a "cut -c 35 /sys/block/\$(disk $disk)/device/features" >"$work/$disk.bit"
  done
  same "$(tail -n 1 "$work/split.bit") $(tail -n 1 "$work/packed.bit")" '0 1' 'RING_PACKED'
}

# Moves the guest from host $1 to host $2.
moves() {
  migration_spawn "$2" -incoming "unix:$work/$2.migration"
  migration_begins "$1" "$2"
  migration_await "$1" 60
}

# Both file systems are whole, seen by the guest and by the host.
disks_are_whole() {
  local disk
  for disk in "${migration_disks[@]}"; do
    guest c "io_rounds $disk && io_stop $disk && await 10 umount /mnt/$disk"
    e2fsck -f -n "$work/$disk.img"
  done
}

migration_daemon '' "${hosts[@]}"
check_or_bail "a guest with two disks boots" boots
check "one ring is split, one is packed" rings_are_as_named
check_or_bail "I/O begins on both" migration_io_begins a
for i in 1 2; do
  check_or_bail "the guest moves from ${hosts[i - 1]} to ${hosts[i]} under I/O" \
    moves "${hosts[i - 1]}" "${hosts[i]}"
  check "what it reads there is right" migration_io_goes_on "${hosts[i]}"
done
check "both file systems are whole" disks_are_whole
finish
