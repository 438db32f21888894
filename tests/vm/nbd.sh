#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# nbd.sh - a guest whose disks are on NBD servers, which end and come back while
# it writes: nbdkit killed without a word, qemu-nbd told to end
. "$(dirname "$0")/lib.sh"

vm_need daemon uml nbdkit qemu-nbd

truncate -s 64M "$work/raw.img"
qemu-img create -q -f qcow2 "$work/disk.qcow2" 64M

# Starts the server of disk $1, which goes into the background when it listens.
server_start() {
  rm -f "$work/$1.nbd" "$work/$1.server"
  case $1 in
    raw) nbdkit --pidfile "$work/raw.server" --unix "$work/raw.nbd" file "$work/raw.img" ;;
    qcow2) qemu-nbd --fork --pid-file="$work/qcow2.server" --persistent --shared=8 \
      --format=qcow2 --discard=unmap --socket="$work/qcow2.nbd" "$work/disk.qcow2" ;;
  esac
}

# Ends the server of disk $1 by signal $2.
server_stop() {
  kill "-$2" "$(cat "$work/$1.server")"
  within 20 server_gone "$1"
}

server_gone() {
  ! process_alive "$(cat "$work/$1.server")"
}

servers_kill() {
  local file
  for file in "$work"/*.server; do
    kill -9 "$(<"$file")" 2>/dev/null || true
  done
}
vm_at_exit=servers_kill

server_start raw
server_start qcow2
daemon_start <<END
[device raw]
kind=blk
socket=$work/raw.sock
image=nbd+unix:///?socket=$work/raw.nbd
serial=raw

[device qcow2]
kind=blk
socket=$work/qcow2.sock
image=nbd+unix:///?socket=$work/qcow2.nbd
serial=qcow2
END

formats_and_mounts() {
  guest uml "mkdir -p /mnt/$1; mke2fs -q -t ext4 /dev/\$(disk $1) && mount -t ext4 /dev/\$(disk $1) /mnt/$1"
}

# The guest writes and syncs file after file while the server of disk $1 ends by
# signal $2 and comes back, three times.
survives() {
  guest_send uml "for i in \$(seq 40); do noise /mnt/$1/f\$i 200 >/mnt/$1/f\$i.sum && sync || exit 1; done"
  for _ in 1 2 3; do
    sleep 0.3
    server_stop "$1" "$2"
    sleep 0.3
    server_start "$1"
  done
  guest_expect uml '@done ' guest_says
  same "${reply#@done }" 0 "status of the writes"
  guest uml "dmesg | grep -i 'I/O error' && exit 1; true"
}

# What was written is what is read.
reads_back() {
  guest uml "umount /mnt/$1 && forget && mount -t ext4 /dev/\$(disk $1) /mnt/$1"
  guest uml "for i in \$(seq 40); do [ \$(sum /mnt/$1/f\$i) = \$(cat /mnt/$1/f\$i.sum) ] || exit 1; done"
  guest uml "umount /mnt/$1 && sync"
}

raw_is_whole() {
  e2fsck -fn "$work/raw.img"
}

qcow2_is_whole() {
  server_stop qcow2 TERM
  qemu-img check "$work/disk.qcow2"
  qemu-img convert -f qcow2 -O raw "$work/disk.qcow2" "$work/qcow2.img"
  e2fsck -fn "$work/qcow2.img"
}

uml_start uml "$work/raw.sock:2" "$work/qcow2.sock:2"
check_or_bail "mkfs and mount on nbdkit" formats_and_mounts raw
check_or_bail "mkfs and mount on qemu-nbd, qcow2" formats_and_mounts qcow2
check "no I/O error when nbdkit is killed and started again" survives raw KILL
check "no I/O error when qemu-nbd ends and is started again" survives qcow2 TERM
check "nbdkit's disk reads back" reads_back raw
check "qemu-nbd's disk reads back" reads_back qcow2
check "nbdkit's image is whole" raw_is_whole
check "the qcow2 image is whole" qcow2_is_whole
finish
