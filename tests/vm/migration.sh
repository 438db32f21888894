# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # lib.sh sets $work
#
# migration.sh - a guest with two disks, one with a split and one with a packed
# ring, that moves from QEMU to QEMU; sourced by the tests of migration
#
# Each QEMU is a host and has devices of its own on the same two images.

migration_disks=(split packed)

# Makes the images and starts the daemon for the hosts that follow; $1 is a line
# for each device, or empty.
migration_daemon() {
  local line=$1 host disk
  shift
  for disk in "${migration_disks[@]}"; do
    truncate -s 32M "$work/$disk.img"
  done
  for host in "$@"; do
    for disk in "${migration_disks[@]}"; do
      cat <<END
[device $disk-$host]
kind=blk
socket=$work/$disk-$host.sock
image=$work/$disk.img
serial=$disk
lock=off
$line

END
    done
  done >"$work/devices.conf"
  daemon_start <"$work/devices.conf"
}

# Starts QEMU for host $1 with the options that follow; what its monitor says is
# in $1.says.
migration_spawn() {
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
migration_tell() {
  echo "$2" >"$work/$1.mon.in"
}

# Says whether host $1's QEMU has called its migration $2.
migration_is() {
  migration_tell "$1" 'info migrate'
  sleep 0.1
  grep -q "Migration status: $2" "$work/$1.says"
}

# Waits up to $3 seconds until host $1's QEMU has called its migration $2.
migration_reaches() {
  within "$3" migration_is "$1" "$2" || { tail -n 30 "$work/$1.says"; return 1; }
}

# Starts to move the guest from host $1 to host $2, whose QEMU waits for it.
migration_begins() {
  within 20 listens "$work/$2.migration"
  migration_tell "$1" "migrate -d unix:$work/$2.migration"
}

# Waits up to $2 seconds until host $1's guest has moved, and ends it there.
migration_await() {
  migration_reaches "$1" completed "$2"
  guest_kill "$1"
}

# The guest on host $1 begins to write, read back and compare on both disks.
migration_io_begins() {
  local disk
  for disk in "${migration_disks[@]}"; do
    guest "$1" "mkdir -p /mnt/$disk; mke2fs -q -F -t ext4 /dev/\$(disk $disk)"
    guest "$1" "mount -t ext4 /dev/\$(disk $disk) /mnt/$disk && io_start /mnt/$disk $disk"
  done
  for disk in "${migration_disks[@]}"; do
    guest "$1" "await 20 '[ \$(io_rounds $disk) -gt 2 ]'"
  done
}

# What it compares on host $1 is right, before and after.
migration_io_goes_on() {
  local disk rounds
  for disk in "${migration_disks[@]}"; do
    rounds=$(guest "$1" "io_rounds $disk")
    guest "$1" "await 30 '[ \$(io_rounds $disk) -gt $((rounds + 3)) ]'"
  done
  guest "$1" '! dmesg | grep -iE "i/o error|ext4-fs error"'
}
