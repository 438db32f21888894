#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# blk-verify.sh - fio's verification and file systems with their fsck, in a
# User-Mode Linux guest, on disks of each cache mode and engine
#
# The tools lie on a disk of their own, as they would not fit into memory.
. "$(dirname "$0")/lib.sh"

vm_need daemon uml fio mkfs.xfs xfs_repair
disks=(back through none)
UML_MEMORY=384M # for fio and its libraries
tools=(fio mkfs.xfs xfs_repair mke2fs e2fsck)

# Makes the image of the tools.
make_tools() {
  local tree=$work/tools tool
  mkdir -p "$tree"/{bin,dev,mnt,proc,sbin,sys,tmp}
  for tool in "${tools[@]}"; do
    vm_copy_program "$tool" "$tree"
  done
  truncate -s 160M "$work/tools.img"
  mke2fs -q -t ext4 -d "$tree" "$work/tools.img"
  rm -rf "$tree"
}

# Prints the group of disk $1 with cache mode $2 on engine $3.
disk_group() {
  truncate -s 384M "$work/$1.img"
  cat <<END
[device $1]
kind=blk
socket=$work/$1.sock
image=$work/$1.img
serial=$1
cache=$2
engine=$3

END
}

finds_disks() {
  local name
  for name in "${disks[@]}"; do
    guest uml "$name=/dev/\$(disk $name); [ -b \$$name ]"
  done
  guest uml 'mkdir -p /tools && mount -o ro /dev/$(disk tools) /tools
    for dir in dev proc sys; do mount --bind /$dir /tools/$dir; done
    mount -t tmpfs tmp /tools/tmp'
}

# Writes blocks of all sizes at random places of disk $1, with flushes between,
# reads them back and compares checksums.
fio_verifies() {
  guest uml "chroot /tools /sbin/fio --name=verify --filename=\$$1 --ioengine=libaio \
    --direct=1 --rw=randwrite --bsrange=512-128k --blockalign=512 --size=16M --iodepth=16 \
    --fsync=64 --verify=crc32c --verify_fatal=1 --randrepeat=0 --minimal"
}

# The same with buffered writes of several jobs, each on a part of the disk.
fio_verifies_jobs() {
  guest uml "chroot /tools /sbin/fio --name=jobs --filename=\$$1 --ioengine=psync \
    --rw=randrw --bs=4k --size=4M --offset_increment=16M --numjobs=4 --fdatasync=32 \
    --verify=md5 --verify_fatal=1 --group_reporting --minimal"
}

# Makes file system $2 by command $3 on disk $1, fills and empties it and checks
# it by function $4, in the guest and then on the host.
fs_is_clean() {
  local sum
  guest uml "forget; chroot /tools $3 \$$1 && mkdir -p /mnt/$1 &&
    mount -t $2 \$$1 /mnt/$1"
  sum=$(guest uml "noise /mnt/$1/big 30000; sync")
  guest uml "cd /mnt/$1 && for i in \$(seq 300); do mkdir -p d\$((i % 7)) && echo \$i >d\$((i % 7))/\$i &&
    { [ \$((i % 50)) -ne 0 ] || sync; }; done; rm -r d3; mv d4 d5/; cd /"
  guest uml "umount /mnt/$1; forget; mount -t $2 \$$1 /mnt/$1"
  same "$(guest uml "sum /mnt/$1/big")" "$sum" sum
  same "$(guest uml "ls /mnt/$1/d5/d4 | wc -l")" 43 files
  guest uml "umount /mnt/$1"
  "$4" guest "$1"
  "$4" host "$1"
}

check_ext4() {
  if [ "$1" = guest ]; then
    guest uml "e2fsck -fn \$$2"
  else
    e2fsck -fn "$work/$2.img"
  fi
}

check_xfs() {
  if [ "$1" = guest ]; then
    guest uml "chroot /tools /sbin/xfs_repair -n \$$2"
  else
    xfs_repair -n -f "$work/$2.img"
  fi
}

make_tools
daemon_start < <(disk_group back writeback auto
  disk_group through writethrough threads
  disk_group none none io_uring
  printf '[device tools]\nkind=blk\nsocket=%s\nimage=%s\nserial=tools\nread-only=yes\n' \
    "$work/tools.sock" "$work/tools.img")
uml_start uml "$work/tools.sock:2" "$work/back.sock:2" "$work/through.sock:2" "$work/none.sock:2"
check_or_bail "finds the disks and the tools" finds_disks
for disk in "${disks[@]}"; do
  check "$disk: fio verifies random blocks of all sizes" fio_verifies "$disk"
  check "$disk: fio verifies four jobs with fdatasync" fio_verifies_jobs "$disk"
  check "$disk: ext4 is clean in the guest and on the host" fs_is_clean "$disk" ext4 "/sbin/mke2fs -q -F -t ext4" check_ext4
  check "$disk: xfs is clean in the guest and on the host" fs_is_clean "$disk" xfs "/sbin/mkfs.xfs -q -f" check_xfs
done
finish
