#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# reconnect.sh - the daemon as the side that connects, and a daemon that dies
# under a guest's I/O and comes back
. "$(dirname "$0")/lib.sh"

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
  guest qemu 'mount -t ext4 /dev/$(disk disk) /mnt/disk && io_start /mnt/disk blk'
  guest qemu 'await 20 "[ \$(io_rounds blk) -gt 2 ]"'
}

io_goes_on() {
  local rounds
  rounds=$(guest qemu 'io_rounds blk')
  guest qemu "await 30 '[ \$(io_rounds blk) -gt $((rounds + 3)) ]'"
  guest qemu 'io_rounds blk && ! dmesg | grep -i "i/o error"'
}

daemon_start < <(devices connect:)
boot server=on,wait=on
check_or_bail "the daemon connects to a QEMU that listens" works
check "QEMU is killed and back, the daemon connects again" is_killed_and_back
guest_kill_all
finish_daemon

# QEMU reconnects disks only, and takes up the requests where the ring says.
daemon_start < <(devices '')
qemu_start qemu -chardev "socket,id=disk,path=$work/disk.sock,reconnect=1" \
  -device vhost-user-blk-pci,chardev=disk,num-queues=1
check_or_bail "a guest's I/O begins" io_begins
for i in 1 2 3; do
  daemon_kill
  daemon_start < <(devices '')
  check "the daemon dies and comes back, the guest's I/O goes on ($i)" io_goes_on
done
finish
