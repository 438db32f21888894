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
: "${POSTCOPY_BANDWIDTH:=1M}" # bytes a second of what nobody waits for
waits_wanted=3 # pages, for each disk

boots() {
  migration_spawn a
  guest_wait_ready a
}

# Leaves free pages that are neither empty nor on any other host, nearly all that
# there are: the next reads from the disks go there.
fill_free_memory() {
  guest "$1" "
    mkdir -p /mnt/ballast && mount -t tmpfs -o size=100% none /mnt/ballast &&
    dd if=/dev/urandom of=/tmp/noise bs=1M count=4 &&
    while [ \$(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo) -gt 20480 ]; do
      cat /tmp/noise || break
    done >/mnt/ballast/file
    umount /mnt/ballast"
}

# Moves the guest from host $1 to host $2 and lets it run there at once.
switches() {
  fill_free_memory "$1"
  migration_tell "$1" 'migrate_set_capability postcopy-ram on'
  migration_tell "$1" "migrate_set_parameter max-postcopy-bandwidth $POSTCOPY_BANDWIDTH"
  migration_tell "$1" 'migrate_set_parameter max-bandwidth 4M'
  migration_spawn "$2" -trace vhost_user_postcopy_fault_handler -incoming defer
  migration_tell "$2" 'migrate_set_capability postcopy-ram on'
  migration_tell "$2" "migrate_incoming unix:$work/$2.migration"
  migration_begins "$1" "$2"
  migration_reaches "$1" active 60
  migration_tell "$1" migrate_start_postcopy
  migration_reaches "$1" postcopy-active 60
}

# Stops the loops of I/O on host $1, which give pages back that have come, or
# lets them go on, by signal $2.
signal_loops() {
  guest "$1" "kill -$2 \$(cat /tmp/*.pid)"
}

# Prints for how many pages devices have waited on host $1.
n_waits() {
  grep -c '^vhost_user_postcopy_fault_handler ' "$work/$1.console" || true
}

# The guest on host $1 reads what it has not read before from disk $2, into free
# pages, until its queue has waited for some of them.
disk_waits() {
  local mib n before
  before=$(n_waits "$1")
  for mib in {0..31}; do
    guest "$1" "dd if=/dev/\$(disk $2) of=/dev/null bs=1M skip=$mib count=1" ||
      { echo "the guest cannot read MiB $mib of disk $2"; return 1; }
    n=$(($(n_waits "$1") - before))
    [ "$n" -lt "$waits_wanted" ] || { echo "disk $2 waited for $n pages"; return 0; }
  done
  echo "disk $2 waited for $n pages only, while the guest read all of it"
  return 1
}

# Devices read into memory that is still coming.
queues_wait() {
  local disk
  signal_loops b STOP
  for disk in "${migration_disks[@]}"; do
    disk_waits b "$disk"
  done
}

# The rest comes, fast, while the loops go on.
memory_comes() {
  signal_loops b CONT
  migration_tell a 'migrate_set_parameter max-postcopy-bandwidth 0' # no limit
  migration_await a 120
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
check_or_bail "its memory comes" memory_comes
check "what it reads there is right" migration_io_goes_on b
check "a front-end that dies meanwhile leaves nothing" dies_in_the_middle
check "both file systems survive it" disks_are_sound
finish
