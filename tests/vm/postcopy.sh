#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# postcopy.sh - a guest moves from QEMU to QEMU on this host, and runs there
# before its memory has come: its two disks, one with a split and one with a
# packed ring, wait for pages while it writes, reads back and compares.  Then a
# second move, in whose middle the QEMU that received dies.
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu
disks=(split packed)
hosts=(a b c) # one QEMU each, in the order in which the guest visits them
qemu_append+=(init_on_alloc=0) # the guest's CPUs would be first on each page
: "${POSTCOPY_BANDWIDTH:=8M}" # bytes a second of what nobody waits for

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
postcopy=yes

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
    -trace vhost_user_postcopy_fault_handler \
    -chardev "pipe,id=monitor,path=$work/$host.mon" -mon chardev=monitor "$@"
  tell "$host" 'migrate_set_capability postcopy-ram on'
}

# Gives host $1's QEMU the command $2.
tell() {
  echo "$2" >"$work/$1.mon.in"
}

# Says whether host $1's QEMU calls its migration $2.
migration_is() {
  tell "$1" 'info migrate'
  sleep 0.1
  grep -q "Migration status: $2" "$work/$1.says"
}

boots() {
  spawn a
  guest_wait_ready a
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

# Leaves free pages that are neither empty nor on any other host: the next reads
# from the disks go there.
fill_free_memory() {
  guest "$1" 'dd if=/dev/urandom of=/tmp/ballast bs=1M count=24 && rm /tmp/ballast'
}

# Moves the guest from host $1 to host $2 and lets it run there at once.
switches() {
  fill_free_memory "$1"
  spawn "$2" -incoming "unix:$work/$2.migration"
  within 20 test -S "$work/$2.migration"
  tell "$1" "migrate_set_parameter max-postcopy-bandwidth $POSTCOPY_BANDWIDTH"
  tell "$1" 'migrate_set_parameter max-bandwidth 4M'
  tell "$1" "migrate -d unix:$work/$2.migration"
  within 20 migration_is "$1" active
  tell "$1" migrate_start_postcopy
  within 20 migration_is "$1" postcopy-active
}

# The guest reads from its disks while its memory is still coming.
queues_wait() {
  local disk n
  for disk in "${disks[@]}"; do
    guest b "dd if=/dev/\$(disk $disk) of=/dev/null bs=1M count=16"
  done
  n=$(grep -c '^vhost_user_postcopy_fault_handler ' "$work/b.console")
  echo "queues waited for $n pages"
  [ "$n" -gt 0 ]
}

arrives() {
  within 120 migration_is a completed || { tail -n 20 "$work/a.says"; return 1; }
  guest_kill a
}

# What the guest compares is right, before and after.
io_goes_on() {
  local disk rounds
  for disk in "${disks[@]}"; do
    rounds=$(guest b "io_rounds $disk")
    guest b "await 30 '[ \$(io_rounds $disk) -gt $((rounds + 3)) ]'"
  done
  guest b '! dmesg | grep -iE "i/o error|ext4-fs error"'
}

# The QEMU that received dies, and so does the guest, but not the daemon or the
# file systems, which are as after a power cut.
dies_in_the_middle() {
  switches b c
  guest c 'dd if=/dev/$(disk split) of=/dev/null bs=1M count=1'
  guest_kill c
  guest_kill b
  daemon_alive
  within 20 daemon_logged 'the front-end left before all of guest memory had come'
  within 20 has_no_guest_memory
}

has_no_guest_memory() {
  [ "$(daemon_guest_maps)" -eq 0 ]
}

disks_are_sound() {
  local disk status
  for disk in "${disks[@]}"; do
    status=0
    e2fsck -f -y "$work/$disk.img" || status=$?
    [ "$status" -le 1 ] # the journal was replayed
    e2fsck -f -n "$work/$disk.img"
  done
}

for disk in "${disks[@]}"; do
  truncate -s 32M "$work/$disk.img"
done
daemon_start < <(devices)
check_or_bail "a guest with two disks boots" boots
check_or_bail "I/O begins on both" io_begins
check_or_bail "the guest runs elsewhere before its memory has come" switches a b
check "queues wait for pages, and get them" queues_wait
check_or_bail "its memory comes" arrives
check "what it reads there is right" io_goes_on
check "a front-end that dies meanwhile leaves nothing" dies_in_the_middle
check "both file systems survive it" disks_are_sound
finish
