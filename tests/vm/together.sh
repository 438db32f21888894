#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# together.sh - one daemon, two guests at once, each with its own devices: what
# happens to one guest is nothing to the other, and leaves nothing behind
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu uml
reboots=${VM_REBOOTS:-20}

for guest in qemu uml; do
  mkdir "$work/$guest"
  truncate -s 64M "$work/$guest.img"
done

for guest in qemu uml; do
  cat <<END
[device $guest-fs]
kind=fs
socket=$work/$guest-fs.sock
source=$work/$guest
tag=share

[device $guest-blk]
kind=blk
socket=$work/$guest-blk.sock
image=$work/$guest.img
serial=disk

END
done >"$work/conf"
cat >>"$work/conf" <<END
[device balloon]
kind=generic
socket=$work/balloon.sock
virtio-id=5
queues=2
config=num_pages le32 ro 0; actual le32 rw
queue.*=drain
END
daemon_start <"$work/conf"

boot() {
  local options
  if [ "$1" = qemu ]; then
    mapfile -t options < <(vhost_user "$work/qemu-fs.sock" fs-pci,tag=share
      vhost_user "$work/qemu-blk.sock" blk-pci,num-queues=1)
    qemu_start qemu "${options[@]}"
  else
    uml_start uml "$work/uml-fs.sock:26" "$work/uml-blk.sock:2" "$work/balloon.sock:5"
  fi
}

# Mounts both of guest $1's devices and starts I/O with comparison on them.
work_on() {
  guest "$1" 'mkdir -p /mnt/share /mnt/disk && mount -t virtiofs share /mnt/share'
  guest "$1" 'mke2fs -q -F -t ext4 /dev/$(disk disk) && mount -t ext4 /dev/$(disk disk) /mnt/disk'
  guest "$1" 'io_start /mnt/share fs; io_start /mnt/disk blk'
}

# Mounts and uses guest $1's devices for a moment, as a boot does.
touch_devices() {
  guest "$1" 'mkdir -p /mnt/share && mount -t virtiofs share /mnt/share && date >/mnt/share/boot && umount /mnt/share'
  guest "$1" 'dd if=/dev/zero of=/dev/$(disk disk) bs=64k count=4 conv=fsync 2>/dev/null'
}

# Runs the command after $1 while guest $1's I/O goes on: both of its loops
# complete further rounds during it and after it, all of them right.
while_working() {
  local other=$1 kind now
  local -A before
  shift
  before[fs]=$(guest "$other" 'io_rounds fs')
  before[blk]=$(guest "$other" 'io_rounds blk')
  "$@"
  for kind in fs blk; do
    now=$(guest "$other" "io_rounds $kind")
    echo "$other $kind: ${before[$kind]} rounds before, $now after"
    [ "$now" -gt "${before[$kind]}" ]
    guest "$other" "await 20 '[ \$(io_rounds $kind) -gt $((now + 1)) ]'"
  done
  guest "$other" 'io_rounds fs && io_rounds blk'
}

reboot_often() {
  local i
  for i in $(seq "$reboots"); do
    guest_reboot "$1" || { echo "boot $i of $1 failed"; return 1; }
    touch_devices "$1"
  done
}

kill_and_boot() {
  guest_kill "$1"
  boot "$1"
  work_on "$1"
}

# Waits until the daemon has noticed that all guests are gone and its idle
# threads have ended, which takes them 10 s.
settles() {
  within 60 is_settled
}
is_settled() {
  local before
  same "$(daemon_guest_maps)" 0 "mappings of guest memory" || return
  before=$(daemon_holds)
  sleep 11
  same "$(daemon_holds)" "$before"
}

holds_again() {
  settles
  same "$(daemon_holds)" "$1" "what the daemon holds"
}

# The allocator may have made an arena more for a thread; a mapping left behind
# by each life of a guest would be many more.
holds_few_more() {
  echo "$(daemon_anonymous_maps) anonymous mappings, $1 at the start"
  [ "$(daemon_anonymous_maps)" -le $(($1 + 10)) ]
}

# A process grows a little when it first works: one life of each guest first.
for guest in qemu uml; do
  boot $guest
  check_or_bail "$guest: works with its own devices" work_on $guest
done
guest_kill_all
settles
start=$(daemon_holds)
start_anonymous=$(daemon_anonymous_maps)
echo "# without guests the daemon holds $start, $start_anonymous anonymous mappings"

boot qemu
boot uml
check_or_bail "qemu: works with its own devices again" work_on qemu
check_or_bail "uml: works with its own devices again" work_on uml
echo "# with two guests it holds $(daemon_holds)"
check "uml is killed and boots, qemu's I/O goes on" while_working qemu kill_and_boot uml
check "qemu is killed and boots, uml's I/O goes on" while_working uml kill_and_boot qemu
check "uml reboots $reboots times, qemu's I/O goes on" while_working qemu reboot_often uml
check_or_bail "uml: works after that" work_on uml
check "qemu reboots $reboots times, uml's I/O goes on" while_working uml reboot_often qemu
guest_kill_all
check "no fd, thread or mapping is left behind" holds_again "$start"
check "no anonymous mapping either" holds_few_more "$start_anonymous"
finish
