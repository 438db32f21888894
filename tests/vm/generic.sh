#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# generic.sh - devices that exist only as lines of a key-file, bound by real
# drivers: a balloon in User-Mode Linux, a disk of zeroes under QEMU and UML
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu

# A virtio-blk device: capacity at 0, seg_max at 12, wce at 32.  "source" of
# zeroes makes every byte that the driver may read 0, and so every status OK.
# Bit 2 is SEG_MAX, bit 9 FLUSH, bit 11 CONFIG_WCE.
null_disk() {
  cat <<END
[device $1]
kind=generic
socket=$work/$1.sock
virtio-id=2
queues=1
features=2,9,11
config=capacity le64 ro 2048; size_max le32 ro 0; seg_max le32 ro 126; _ u8[16]; wce u8 rw 1
queue.*=source=zero

END
}

daemon_start <<END
[device balloon]
kind=generic
socket=$work/balloon.sock
virtio-id=5
queues=2
config=num_pages le32 ro 0; actual le32 rw
queue.*=drain

$(null_disk qemu)
$(null_disk uml)
END

logged_actual() {
  daemon_logged "balloon: config actual = $1 \\(was "
}

guest_answers() {
  daemon_reload "s/num_pages le32 ro [0-9]*/num_pages le32 ro $1/"
  within 20 logged_actual "$1"
}

memory() {
  guest uml 'awk "/^MemTotal/ { print \$2 }" /proc/meminfo'
}

balloon_is_bound() {
  same "$(guest uml 'basename $(readlink /sys/bus/virtio/devices/virtio0/driver)')" virtio_balloon
}

balloon_inflates() {
  local before
  before=$(memory)
  guest_answers 1024
  same "$(memory)" $((before - 4096)) "memory in KiB"
}

balloon_deflates() {
  local before
  before=$(memory)
  guest_answers 256
  same "$(memory)" $((before + 3072)) "memory in KiB"
}

# A reload that changes nothing says nothing to the guest.
balloon_is_left_alone() {
  local lines
  lines=$(grep -c 'balloon: config actual' "$work/daemon.log")
  daemon_reload ''
  within 10 daemon_logged 'reload|read again'
  guest uml 'usleep 300000'
  same "$(grep -c 'balloon: config actual' "$work/daemon.log")" "$lines" "lines of the log"
}

driver_reads_config() {
  same "$(guest "$1" 'cat /sys/block/vda/size')" 2048 size
  same "$(guest "$1" 'cat /sys/block/vda/queue/max_segments')" 126 max_segments
  same "$(guest "$1" 'cat /sys/block/vda/cache_type')" 'write back' cache_type
}

disk_reads_zeroes() {
  same "$(guest "$1" 'dd if=/dev/vda bs=64k 2>/dev/null | tr -d "\0" | wc -c')" 0 "non-zero bytes"
  same "$(guest "$1" 'dd if=/dev/vda bs=64k 2>/dev/null | wc -c')" 1048576 bytes
  guest "$1" 'dd if=/dev/urandom of=/dev/vda bs=64k count=4 conv=fsync 2>/dev/null'
}

driver_writes_config() {
  guest "$1" 'echo "write through" >/sys/block/vda/cache_type'
  within 5 daemon_logged "$1: config wce = 0 \\(was 1\\)"
  same "$(guest "$1" 'cat /sys/block/vda/cache_type')" 'write through'
}

# What the driver wrote stays, what the host changes arrives.
driver_sees_change() {
  daemon_reload "/^\\[device $1\\]/,/^queue[.]/s/capacity le64 ro [0-9]*/capacity le64 ro 8192/"
  guest "$1" "await 10 '[ \"\$(cat /sys/block/vda/size)\" = 8192 ]'"
  same "$(guest "$1" 'cat /sys/block/vda/cache_type')" 'write through'
}

disk_checks() {
  check_or_bail "$1: virtio_blk binds a device of a few lines" driver_reads_config "$1"
  check "$1: it reads as zeroes and takes writes" disk_reads_zeroes "$1"
  check "$1: the driver's write reaches the host" driver_writes_config "$1"
  check "$1: the host's change reaches the driver" driver_sees_change "$1"
}

mapfile -t options < <(vhost_user "$work/qemu.sock" blk-pci,num-queues=1)
qemu_start qemu "${options[@]}"
disk_checks qemu

if command -v linux.uml >/dev/null; then
  uml_start uml "$work/balloon.sock:5" "$work/uml.sock:2"
  check_or_bail "virtio_balloon binds a device of two fields" balloon_is_bound
  check "the host changes num_pages, the guest gives pages and answers" balloon_inflates
  check "the host takes it back, the guest answers" balloon_deflates
  check "a reload without a change is not told" balloon_is_left_alone
  disk_checks uml
else
  check_skip "a balloon and a disk in UML" "no linux.uml (user-mode-linux)"
fi
finish
