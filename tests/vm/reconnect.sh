#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# reconnect.sh - the daemon as the side that connects, and a daemon that dies
# under a guest's I/O and comes back, VM_KILLS times in a row
#
# QEMU looks for the daemon once a second; User-Mode Linux, after it has gone,
# never.
. "$(dirname "$0")/lib.sh"

: "${VM_KILLS:=50}"

vm_need daemon qemu
truncate -s 64M "$work/disk.img"
mkdir "$work/share"

devices() {
  cat <<END
[device disk]
kind=blk
socket=$1$work/disk.sock
image=$work/disk.img
serial=disk

[device share]
kind=fs
socket=$1$work/share.sock
source=$work/share
tag=share
END
}

# Boots with QEMU's side of the sockets as $1 says.
boot() {
  qemu_start qemu \
    -chardev "socket,id=disk,path=$work/disk.sock,$1" -device vhost-user-blk-pci,chardev=disk,num-queues=1 \
    -chardev "socket,id=share,path=$work/share.sock,$1" -device vhost-user-fs-pci,chardev=share,tag=share
}

works() {
  guest qemu 'mkdir -p /mnt/share /mnt/disk; mount -t virtiofs share /mnt/share'
  guest qemu 'mke2fs -q -F -t ext4 /dev/$(disk disk) && mount -t ext4 /dev/$(disk disk) /mnt/disk'
  guest qemu 'cp /bin/busybox /mnt/share && cp /bin/busybox /mnt/disk && sync && umount /mnt/disk'
  same "$(host_sum "$work/share/busybox")" "$(guest qemu 'sum /bin/busybox')"
}

still_works() {
  guest qemu 'mkdir -p /mnt/share /mnt/disk; mount -t virtiofs share /mnt/share'
  guest qemu 'mount -t ext4 /dev/$(disk disk) /mnt/disk'
  guest qemu 'cmp /bin/busybox /mnt/share/busybox && cmp /bin/busybox /mnt/disk/busybox && umount /mnt/disk'
}

is_killed_and_back() {
  guest_kill qemu
  boot server=on,wait=on
  still_works
}

# The guest writes and compares all the time; it may wait, but not fail.
io_begins() {
  guest qemu 'mkdir -p /mnt/disk; mke2fs -q -F -t ext4 /dev/$(disk disk)'
  guest qemu 'mount -t ext4 /dev/$(disk disk) /mnt/disk'
  guest qemu 'for i in 1 2; do mkdir /mnt/disk/$i && io_start /mnt/disk/$i blk$i; done'
  io_goes_on
}

# Both loops finish a round that began after this call.
io_goes_on() {
  guest qemu 'for i in 1 2; do
    rounds=$(io_rounds blk$i) && await 30 "[ \$(io_rounds blk$i) -gt $((rounds + 1)) ]" || exit_status=1
  done; [ -z "$exit_status" ]'
}

# Kills the daemon up to $1 times, each 0.2 to 1 s after the guest was served
# again; $deaths says how often it was.
die_often() {
  for ((deaths = 0; deaths < $1; deaths++)); do
    sleep "0.$((200 + RANDOM % 800))"
    daemon_kill
    daemon_start < <(devices '')
    attempt io_goes_on
    [ "$attempted" -eq 0 ] || break
  done
}

# What the guest has written is as it was, and so is the file system.
nothing_is_lost() {
  guest qemu 'io_rounds blk1 && io_rounds blk2 && ! dmesg | grep -i "i/o error"'
  guest qemu 'io_stop blk1; io_stop blk2; await 10 "umount /mnt/disk"'
  e2fsck -fn "$work/disk.img"
}

# Rings of format $1, with QEMU's option $2, and $3 deaths.  QEMU reconnects
# disks only, and takes up the requests where the ring says.
survives() {
  daemon_start < <(devices '')
  qemu_start qemu -chardev "socket,id=disk,path=$work/disk.sock,reconnect=1" \
    -device "vhost-user-blk-pci,chardev=disk,num-queues=1,$2"
  check_or_bail "$1: a guest's I/O begins" io_begins
  die_often "$3"
  check "$1: its I/O goes on after each of $3 deaths of the daemon" same "$deaths" "$3" deaths
  check "$1: nothing is lost" nothing_is_lost
  guest_kill_all
  finish_daemon
}

daemon_start < <(devices connect:)
boot server=on,wait=on
check_or_bail "the daemon connects to a QEMU that listens" works
check "QEMU is killed and back, the daemon connects again" is_killed_and_back
guest_kill_all
finish_daemon

survives "split ring" packed=off "$VM_KILLS"
survives "packed ring" packed=on $((VM_KILLS / 5))
finish
