#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# postcopy.sh - a guest moves from QEMU to QEMU on this host, and runs there
# before its memory has come: its two disks, one with a split and one with a
# packed ring, wait for pages while it writes, reads back and compares.  Then a
# second move, in whose middle the QEMU that received dies.
. "$(dirname "$0")/lib.sh"
. "$vm_dir/migration.sh"

vm_need daemon qemu
qemu_append+=(init_on_alloc=0) # the guest's CPUs would be first on each page
: "${POSTCOPY_BANDWIDTH:=8M}" # bytes a second of what nobody waits for

boots() {
  migration_spawn a
  guest_wait_ready a
}

# Leaves free pages that are neither empty nor on any other host: the next reads
# from the disks go there.
fill_free_memory() {
  guest "$1" 'dd if=/dev/urandom of=/tmp/ballast bs=1M count=24 && rm /tmp/ballast'
}

# Moves the guest from host $1 to host $2 and lets it run there at once.
switches() {
  fill_free_memory "$1"
  migration_spawn_incoming "$2" -trace vhost_user_postcopy_fault_handler
  migration_tell "$2" 'migrate_set_capability postcopy-ram on'
  migration_tell "$1" 'migrate_set_capability postcopy-ram on'
  migration_tell "$1" "migrate_set_parameter max-postcopy-bandwidth $POSTCOPY_BANDWIDTH"
  migration_tell "$1" 'migrate_set_parameter max-bandwidth 4M'
  migration_tell "$1" "migrate -d unix:$work/$2.migration"
  within 20 migration_is "$1" active
  migration_tell "$1" migrate_start_postcopy
  within 20 migration_is "$1" postcopy-active
}

# The guest reads from its disks while its memory is still coming.
queues_wait() {
  local disk n
  for disk in "${migration_disks[@]}"; do
    guest b "dd if=/dev/\$(disk $disk) of=/dev/null bs=1M count=16"
  done
  n=$(grep -c '^vhost_user_postcopy_fault_handler ' "$work/b.console")
  echo "queues waited for $n pages"
  [ "$n" -gt 0 ]
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
  for disk in "${migration_disks[@]}"; do
    status=0
    e2fsck -f -y "$work/$disk.img" || status=$?
    [ "$status" -le 1 ] # the journal was replayed
    e2fsck -f -n "$work/$disk.img"
  done
}

migration_daemon postcopy=yes a b c
check_or_bail "a guest with two disks boots" boots
check_or_bail "I/O begins on both" migration_io_begins a
check_or_bail "the guest runs elsewhere before its memory has come" switches a b
check "queues wait for pages, and get them" queues_wait
check_or_bail "its memory comes" migration_await a 120
check "what it reads there is right" migration_io_goes_on b
check "a front-end that dies meanwhile leaves nothing" dies_in_the_middle
check "both file systems survive it" disks_are_sound
finish
