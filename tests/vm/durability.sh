#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# durability.sh - one fdatasync for each guest flush in write-back, durable
# writes in write-through: counted by strace for engine=threads, and by the
# host file system's own trace event for io_uring, which strace does not see
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu strace
disks=(back through none unsafe)

# Boots a guest with one disk for each cache mode on engine $1, under the
# wrapper that follows.
boot() {
  local engine=$1 options=() cache
  shift
  daemon_wrapper=("$@")
  for cache in "${disks[@]}"; do
    truncate -s 8M "$work/$cache.img"
    mapfile -t -O "${#options[@]}" options < <(vhost_user "$work/$cache.sock" blk-pci,num-queues=1)
  done
  daemon_start <<END
[device back]
kind=blk
socket=$work/back.sock
image=$work/back.img
serial=back
engine=$engine

[device through]
kind=blk
socket=$work/through.sock
image=$work/through.img
serial=through
cache=writethrough
engine=$engine

[device none]
kind=blk
socket=$work/none.sock
image=$work/none.img
serial=none
cache=none
engine=$engine

[device unsafe]
kind=blk
socket=$work/unsafe.sock
image=$work/unsafe.img
serial=unsafe
cache=unsafe
engine=$engine
END
  qemu_start qemu "${options[@]}"
}

# Marks where counting begins.
begin() {
  begin_lines=$(wc -l <"$trace")
}

# Prints how many calls since begin match $1.
count() {
  tail -n +$((begin_lines + 1)) "$trace" | grep -cE "$1" || true
}

# Writes $2 blocks to disk $1, each followed by an fsync.
write_and_fsync() {
  guest qemu "for i in \$(seq $2); do
    dd if=/dev/urandom of=/dev/\$(disk $1) bs=4k count=1 seek=\$i conv=fsync 2>/dev/null || break
  done"
}

# Writes $2 blocks to disk $1 and never asks for a flush.
write_only() {
  guest qemu "dd if=/dev/urandom of=/dev/\$(disk $1) bs=4k count=$2 oflag=direct 2>/dev/null"
}

cache_type() {
  guest qemu "echo '$2' >/sys/block/\$(disk $1)/cache_type"
  same "$(guest qemu "cat /sys/block/\$(disk $1)/cache_type")" "$2"
}

# A durable write is one of these; a flush is sync_call.
durable_write() {
  echo "pwritev2\\(.*/$1\\.img>.*RWF_DSYNC.*\\) += [1-9]"
}
any_write() {
  echo "pwritev?2?(64)?\\(.*/$1\\.img>.*\\) += [1-9]"
}
sync_call() {
  echo "(fdatasync|fsync|sync_file_range)\\(.*/$1\\.img>.*\\) += 0"
}

flush_is_one_fdatasync() {
  same "$(guest qemu "cat /sys/block/\$(disk $1)/cache_type")" 'write back'
  begin
  write_and_fsync "$1" 7
  same "$(count "$(sync_call "$1")")" 7 "syncs for 7 flushes"
  same "$(count "$(durable_write "$1")")" 0 "durable writes"
}

# What the user asked for: the guest believes that its flushes do something.
flush_is_nothing() {
  same "$(guest qemu "cat /sys/block/\$(disk $1)/cache_type")" 'write back'
  begin
  write_and_fsync "$1" 7
  same "$(count "$(any_write "$1")")" 7 "writes"
  same "$(count "$(sync_call "$1")")" 0 "syncs for 7 flushes"
  same "$(count "$(durable_write "$1")")" 0 "durable writes"
}

no_flush_no_fdatasync() {
  begin
  write_only "$1" 5
  same "$(count "$(any_write "$1")")" 5 "writes"
  same "$(count "$(sync_call "$1")")" 0 "syncs without a flush"
}

writes_are_durable() {
  same "$(guest qemu "cat /sys/block/\$(disk $1)/cache_type")" 'write through'
  begin
  write_only "$1" 5
  same "$(count "$(any_write "$1")")" 5 "writes"
  same "$(count "$(durable_write "$1")")" 5 "durable writes"
}

# The guest changes its mind: what it wrote before is durable at once, what it
# writes is durable until it changes back.
toggles() {
  write_only back 1
  begin
  cache_type back 'write through'
  same "$(count "$(sync_call back)")" 1 "syncs at the change"
  writes_are_durable back
  cache_type back 'write back'
  flush_is_one_fdatasync back
  no_flush_no_fdatasync back
}

# Prints the number of syncs of file $1 by the host's ext4, in whatever way they
# were asked for.
ext4_syncs() {
  grep -c " ino $(stat -c %i "$1") " "$trace" || true
}

ext4_saw() {
  [ "$(ext4_syncs "$1")" -gt 0 ]
}

# Waits until all events so far are in $trace: that of a new file is the last.
ext4_settle() {
  local marker
  marker=$(mktemp "$work/marker.XXXXXX")
  dd if=/dev/zero of="$marker" bs=1 count=1 conv=fsync 2>/dev/null
  within 10 ext4_saw "$marker"
}

# $2 $1 $3 causes exactly $4 syncs of disk $1's image.
ext4_counts() {
  local before
  ext4_settle
  before=$(ext4_syncs "$work/$1.img")
  "$2" "$1" "$3"
  ext4_settle
  same $(($(ext4_syncs "$work/$1.img") - before)) "$4" "syncs"
}

# Starts to copy ext4's sync events to $trace; fails where there are none.
ext4_trace_start() {
  [ "$(id -u)" -eq 0 ] && [ "$(df --output=fstype "$work" | tail -n 1)" = ext4 ] || return 1
  mkdir "$work/tracing"
  mount -t tracefs none "$work/tracing" 2>/dev/null || return 1
  trace_dir=$work/tracing/instances/virtiod-$$
  mkdir "$trace_dir" && echo 1 >"$trace_dir/events/ext4/ext4_sync_file_enter/enable" || return 1
  : >"$trace"
  cat "$trace_dir/trace_pipe" >>"$trace" 2>/dev/null &
  trace_pid=$!
}

ext4_trace_stop() {
  [ -z "${trace_pid:-}" ] || kill "$trace_pid"
  [ ! -d "${trace_dir:-/nowhere}" ] || within 10 rmdir "$trace_dir" # its reader has it open
  ! mountpoint -q "$work/tracing" || umount "$work/tracing"
}
vm_at_exit=ext4_trace_stop

trace=$work/strace
boot threads strace -f -y -s 0 -o "$trace" -e trace=fdatasync,fsync,sync_file_range,pwritev2,pwritev,pwrite64
for disk in back none; do
  check "threads, $disk: a guest fsync is exactly one fdatasync" flush_is_one_fdatasync $disk
  check "threads, $disk: no flush, no fdatasync" no_flush_no_fdatasync $disk
done
check "threads, through: every write is durable by itself" writes_are_durable through
check "threads, unsafe: a guest fsync is nothing" flush_is_nothing unsafe
check "threads, back: the guest toggles the cache" toggles
guest_kill qemu
finish_daemon

trace=$work/ext4
if ext4_trace_start; then
  boot io_uring
  check "io_uring, back: 7 guest fsyncs are 7 syncs" ext4_counts back write_and_fsync 7 7
  check "io_uring, back: no flush, no sync" ext4_counts back write_only 5 0
  check "io_uring, none: 7 guest fsyncs are 7 syncs" ext4_counts none write_and_fsync 7 7
  check "io_uring, none: no flush, no sync" ext4_counts none write_only 5 0
  check "io_uring, unsafe: 7 guest fsyncs are nothing" ext4_counts unsafe write_and_fsync 7 0
  check "io_uring, through: 5 writes are 5 durable writes" ext4_counts through write_only 5 5
  cache_type back 'write through'
  check "io_uring, back turned to through: 5 durable writes" ext4_counts back write_only 5 5
else
  check_skip "io_uring: syncs" "needs root, tracefs and images on ext4"
fi
finish
