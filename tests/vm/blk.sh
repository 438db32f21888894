#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# blk.sh - disk images in real guests: QEMU's vhost-user-blk and User-Mode Linux
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu debugfs

# One image for each guest and kind of disk.
for guest in qemu uml; do
  truncate -s 96M "$work/$guest.img"
  host_noise "$work/$guest-ro.img" 1024 >/dev/null
done

devices() {
  cat <<END
[device $1]
kind=blk
socket=$work/$1.sock
image=$work/$1.img
serial=disk-$1

[device $1-ro]
kind=blk
socket=$work/$1-ro.sock
image=$work/$1-ro.img
serial=ro-$1
read-only=yes

END
}

daemon_start < <(devices qemu; devices uml)

boot_qemu() {
  local options
  mapfile -t options < <(vhost_user "$work/qemu.sock" blk-pci,num-queues=2
    vhost_user "$work/qemu-ro.sock" blk-pci,num-queues=1)
  qemu_start qemu -smp 2 "${options[@]}"
}

boot_uml() {
  uml_start uml "$work/uml.sock:2" "$work/uml-ro.sock:2"
}

finds_disks() {
  guest "$1" "disk=/dev/\$(disk disk-$1) ro=/dev/\$(disk ro-$1); [ -b \$disk ] && [ -b \$ro ]"
}

size_and_limits() {
  same "$(guest "$1" 'blockdev --getsize64 $disk')" $((96 * 1024 * 1024)) size
  same "$(guest "$1" 'cat /sys/block/${disk#/dev/}/queue/logical_block_size')" 512
  same "$(guest "$1" 'cat /sys/block/${disk#/dev/}/queue/max_segments')" 126
  # A SIZE_MAX of 0 would show as 4096 here.
  same "$(guest "$1" 'cat /sys/block/${disk#/dev/}/queue/max_segment_size')" 4294967295
}

formats_and_mounts() {
  guest "$1" 'mke2fs -q -t ext4 $disk && mkdir -p /mnt/disk && mount -t ext4 $disk /mnt/disk'
}

writes_and_remounts() {
  local sum
  sum=$(guest "$1" 'noise /mnt/disk/a 20000; sync')
  guest "$1" 'for i in $(seq 200); do echo $i >/mnt/disk/f$i; done'
  guest "$1" 'umount /mnt/disk && forget && mount -t ext4 $disk /mnt/disk'
  same "$(guest "$1" 'sum /mnt/disk/a')" "$sum" sum
  same "$(guest "$1" 'cat /mnt/disk/f123')" 123
  same "$(guest "$1" 'ls /mnt/disk/f* | wc -l')" 200
}

# What the guest wrote at a sector is at that offset of the image.
host_reads_guest() {
  local sum
  sum=$(guest "$1" 'sum /mnt/disk/a')
  guest "$1" 'umount /mnt/disk && e2fsck -fn $disk'
  e2fsck -fn "$work/$1.img"
  debugfs -R "dump /a $work/$1.dump" "$work/$1.img"
  same "$(host_sum "$work/$1.dump")" "$sum" "sum on the host"
}

guest_reads_host() {
  host_noise "$work/$1.noise" 3000 >"$work/$1.sum"
  dd if="$work/$1.noise" of="$work/$1.img" bs=1k seek=$((90 * 1024)) conv=notrunc
  guest "$1" forget
  same "$(guest "$1" 'dd if=$disk bs=1k skip=92160 count=3000 2>/dev/null | md5sum | cut -d " " -f 1')" \
    "$(cat "$work/$1.sum")"
}

partial_pages() {
  guest "$1" 'printf 1234567890 | dd of=$disk bs=1 seek=94371845 conv=notrunc,fsync 2>/dev/null'
  same "$(dd if="$work/$1.img" bs=1 skip=94371845 count=10 2>/dev/null)" 1234567890
}

# Several readers and writers at once, each with its own quarter of the disk.
parallel_io() {
  guest "$1" 'for i in 0 1 2 3; do
    dd if=/dev/urandom of=/tmp/p$i bs=64k count=32 2>/dev/null; done'
  guest "$1" 'for i in 0 1 2 3; do
    dd if=/tmp/p$i of=$disk bs=4k seek=$((i * 6000)) oflag=direct conv=notrunc 2>/dev/null & done; wait'
  guest "$1" 'for i in 0 1 2 3; do
    dd if=$disk of=/tmp/q$i bs=4k skip=$((i * 6000)) count=512 iflag=direct 2>/dev/null & done; wait'
  guest "$1" 'for i in 0 1 2 3; do cmp /tmp/p$i /tmp/q$i || exit 1; done; rm /tmp/p? /tmp/q?'
}

discards() {
  local before after
  guest "$1" 'dd if=/dev/urandom of=$disk bs=1M count=16 conv=fsync 2>/dev/null'
  before=$(stat -c %b "$work/$1.img")
  guest "$1" 'blkdiscard -l 16M $disk'
  after=$(stat -c %b "$work/$1.img")
  echo "blocks before $before, after $after"
  [ "$after" -le $((before - 16 * 2048 + 64)) ]
  same "$(guest "$1" 'forget; dd if=$disk bs=1M count=16 2>/dev/null | tr -d "\0" | wc -c')" 0
}

read_only() {
  same "$(guest "$1" 'blockdev --getro $ro')" 1
  same "$(guest "$1" 'sum $ro')" "$(host_sum "$work/$1-ro.img")" sum
  guest "$1" '! dd if=/dev/zero of=$ro bs=4k count=1 conv=fsync 2>/dev/null'
  guest "$1" 'forget'
  same "$(guest "$1" 'sum $ro')" "$(host_sum "$work/$1-ro.img")" sum
}

end_of_disk() {
  guest "$1" '! dd if=/dev/zero of=$disk bs=1M seek=96 count=1 2>/dev/null'
  same "$(stat -c %s "$work/$1.img")" $((96 * 1024 * 1024))
}

# Says whether guest $1's disk has $2 MiB.
has_size() {
  same "$(guest "$1" 'blockdev --getsize64 $disk')" $(($2 * 1024 * 1024))
}

# The running guest sees what happens to the image, without being asked to look.
resizes() {
  truncate -s 128M "$work/$1.img"
  within 5 has_size "$1" 128
  guest "$1" 'printf new | dd of=$disk bs=1M seek=120 conv=notrunc,fsync 2>/dev/null'
  same "$(dd if="$work/$1.img" bs=1M skip=120 count=1 2>/dev/null | head -c 3)" new
  truncate -s 96M "$work/$1.img"
  within 5 has_size "$1" 96
}

now_us() {
  echo "${EPOCHREALTIME/./}"
}

# Gives the image of guest $1 $2 MiB while the guest looks at its disk's size,
# and prints how many microseconds later the guest said that it changed.
resize_us() {
  local reply from
  guest_send "$1" 'size=/sys/block/${disk#/dev/}/size; read old <$size; echo @looks
    while read new <$size; [ $new = $old ]; do :; done'
  guest_expect "$1" @looks :
  from=$(now_us)
  truncate -s "$2M" "$work/$1.img"
  guest_expect "$1" '@done ' guest_says
  echo $(($(now_us) - from))
}

# The best of eight is without what else the host has to do, but with all ways
# in between, the guest's console and shell included.
resizes_at_once() {
  local best=1000000000 us size
  : >"$work/resize.best"
  for size in 97 99 98 120 97 130 97 96; do
    us=$(resize_us "$1" $size)
    echo "$size MiB: seen after $us us"
    [ "$us" -ge "$best" ] || best=$us
    has_size "$1" $size
  done
  echo "$1: a resize was seen by the guest after $best us" >"$work/resize.best"
  [ "$best" -lt 50000 ]
}

reboots() {
  local sum
  guest "$1" 'mke2fs -q -F -t ext4 $disk && mount -t ext4 $disk /mnt/disk'
  sum=$(guest "$1" 'noise /mnt/disk/synced 2000; sync')
  guest_reboot "$1"
  finds_disks "$1"
  guest "$1" 'mkdir /mnt/disk; mount -t ext4 $disk /mnt/disk'
  same "$(guest "$1" 'sum /mnt/disk/synced')" "$sum"
  guest "$1" 'umount /mnt/disk'
  e2fsck -fn "$work/$1.img"
}

# All promises for guest $1.
all_checks() {
  check_or_bail "$1: finds both disks by serial number" finds_disks "$1"
  check "$1: size, segments and no clamped segment size" size_and_limits "$1"
  check "$1: mkfs and mount" formats_and_mounts "$1"
  check "$1: writes, syncs, remounts, same sums" writes_and_remounts "$1"
  check "$1: fsck and sum on the host" host_reads_guest "$1"
  check "$1: reads what the host wrote" guest_reads_host "$1"
  check "$1: ten bytes across a sector" partial_pages "$1"
  check "$1: four writers and readers at once" parallel_io "$1"
  check "$1: a discard frees the image's blocks" discards "$1"
  check "$1: a read-only disk refuses writes" read_only "$1"
  check "$1: nothing beyond the end" end_of_disk "$1"
  check "$1: a resized image is a resized disk" resizes "$1"
  check "$1: the guest sees a resize within 50 ms" resizes_at_once "$1"
  comment <"$work/resize.best"
  check "$1: synced data is there after a reboot" reboots "$1"
}

boot_qemu
all_checks qemu
if command -v linux.uml >/dev/null; then
  boot_uml
  all_checks uml
else
  check_skip "uml: disks" "no linux.uml (user-mode-linux)"
fi
finish
