#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# migrate.sh - live migration from QEMU to QEMU on this host while the guest
# writes, reads back and compares on two disks, one with a split and one with a
# packed ring.  Each QEMU has devices of its own on the same two images.
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu
disks=(split packed)
hosts=(a b c) # one QEMU each, in the order in which the guest visits them

# Prints the key-file: for each host both disks.
devices() {
  local host disk
  for host in "${hosts[@]}"; do
    for disk in "${disks[@]}"; do
      cat <<END
[device $disk-$host]
kind=blk
socket=$work/$disk-$host.sock
image=$work/$disk.img
serial=$disk
lock=off

END
    done
  done
}

# Starts QEMU for host $1 with the options that follow; what its monitor says is
# in $1.says.
spawn() {
  local host=$1
  shift
  mkfifo "$work/$host.mon.in" "$work/$host.mon.out"
  cat "$work/$host.mon.out" >"$work/$host.says" 2>&1 &
  qemu_spawn "$host" \
    -chardev "socket,id=split,path=$work/split-$host.sock" \
    -device vhost-user-blk-pci,chardev=split,num-queues=1 \
    -chardev "socket,id=packed,path=$work/packed-$host.sock" \
    -device vhost-user-blk-pci,chardev=packed,num-queues=1,packed=on \
    -chardev "pipe,id=monitor,path=$work/$host.mon" -mon chardev=monitor "$@"
}

# Gives host $1's QEMU the command $2.
tell() {
  echo "$2" >"$work/$1.mon.in"
}

boots() {
  spawn a
  guest_wait_ready a
}

# Feature bit 34 of the disk's virtio device is RING_PACKED.
rings_are_as_named() {
  local disk
  for disk in "${disks[@]}"; do
    guest a "cut -c 35 /sys/block/\$(disk $disk)/device/features" >"$work/$disk.bit"
  done
  same "$(tail -n 1 "$work/split.bit") $(tail -n 1 "$work/packed.bit")" '0 1' 'RING_PACKED'
}

io_begins() {
  local disk
  for disk in "${disks[@]}"; do
    guest a "mkdir -p /mnt/$disk; mke2fs -q -F -t ext4 /dev/\$(disk $disk)"
    guest a "mount -t ext4 /dev/\$(disk $disk) /mnt/$disk && io_start /mnt/$disk $disk"
  done
  for disk in "${disks[@]}"; do
    guest a "await 20 '[ \$(io_rounds $disk) -gt 2 ]'"
  done
}

has_migrated() {
  tell "$1" 'info migrate'
  sleep 0.1
  grep -q 'Migration status: completed' "$work/$1.says"
}

# Moves the guest from host $1 to host $2.
moves() {
  spawn "$2" -incoming "unix:$work/$2.migration"
  within 20 test -S "$work/$2.migration"
  tell "$1" "migrate -d unix:$work/$2.migration"
  within 60 has_migrated "$1" || { tail -n 20 "$work/$1.says"; return 1; }
  guest_kill "$1"
}

# What the guest compares is right, before and after.
io_goes_on() {
  local disk rounds
  for disk in "${disks[@]}"; do
    rounds=$(guest "$1" "io_rounds $disk")
    guest "$1" "await 30 '[ \$(io_rounds $disk) -gt $((rounds + 3)) ]'"
  done
  guest "$1" '! dmesg | grep -iE "i/o error|ext4-fs error"'
}

# Both file systems are whole, seen by the guest and by the host.
disks_are_whole() {
  local disk
  for disk in "${disks[@]}"; do
    guest c "io_rounds $disk && io_stop $disk && await 10 umount /mnt/$disk"
    e2fsck -f -n "$work/$disk.img"
  done
}

for disk in "${disks[@]}"; do
  truncate -s 32M "$work/$disk.img"
done
daemon_start < <(devices)
check_or_bail "a guest with two disks boots" boots
check "one ring is split, one is packed" rings_are_as_named
check_or_bail "I/O begins on both" io_begins
for i in 1 2; do
  check_or_bail "the guest moves from ${hosts[i - 1]} to ${hosts[i]} under I/O" \
    moves "${hosts[i - 1]}" "${hosts[i]}"
  check "what it reads there is right" io_goes_on "${hosts[i]}"
done
check "both file systems are whole" disks_are_whole
finish
