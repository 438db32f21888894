#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# iommu.sh - guests that give their devices only what their IOMMU maps: QEMU's
# intel-iommu, once with a device IOTLB, which Linux flushes as a whole from time
# to time (lazy), once without one, and each page withdrawn after use (strict)
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu
"$qemu" -device help 2>/dev/null | grep -q '"intel-iommu"' || skip_all "$qemu has no intel-iommu"

mkdir "$work/tree"
host_noise "$work/tree/noise" 3000 >/dev/null
for guest in lazy strict; do
  truncate -s 64M "$work/$guest.img"
  cat <<END
[device $guest]
kind=blk
socket=$work/$guest.sock
image=$work/$guest.img
queues=2
serial=$guest
iommu=yes

[device $guest-fs]
kind=fs
socket=$work/$guest-fs.sock
source=$work/tree
tag=tree
iommu=yes

END
done >"$work/devices"
daemon_start <"$work/devices"

# Boots guest $1, whose devices have properties $2 beside those of an IOMMU, with
# kernel parameters $3; further QEMU options follow.
boot() {
  local guest=$1 with=iommu_platform=on,$2 append=("${qemu_append[@]}") options
  local -a qemu_append=("${append[@]}" intel_iommu=on "$3")
  shift 3
  mapfile -t options < <(vhost_user "$work/$guest.sock" "blk-pci,num-queues=2,$with,bus=port1"
    vhost_user "$work/$guest-fs.sock" "fs-pci,tag=tree,$with,bus=port2")
  qemu_start "$guest" -smp 2 "$@" -device pcie-root-port,id=port1,chassis=1 \
    -device pcie-root-port,id=port2,chassis=2 "${options[@]}"
}

# Prints the kind of IOMMU domain that disk $1 is in.
domain_type() {
  guest "$1" 'cat $(readlink -f /sys/block/$(disk '"$1"')/device)/../iommu_group/type'
}

# The driver took the feature, and QEMU was asked for translations.
is_translated() {
  same "$(guest "$1" 'cut -c 34 /sys/block/$(disk '"$1"')/device/features')" 1 ACCESS_PLATFORM
  same "$(domain_type "$1")" "$2" "IOMMU domain"
  kill -USR1 "$daemon_pid"
  within 5 daemon_logged "$1: translations: [1-9]"
}

writes_and_reads() {
  local sum
  guest "$1" "disk=/dev/\$(disk $1); mke2fs -q -t ext4 \$disk && mkdir -p /mnt/disk && mount -t ext4 \$disk /mnt/disk"
  sum=$(guest "$1" 'noise /mnt/disk/a 5000; sync')
  guest "$1" 'umount /mnt/disk && forget && mount -t ext4 $disk /mnt/disk'
  same "$(guest "$1" 'sum /mnt/disk/a')" "$sum" sum
  guest "$1" 'umount /mnt/disk'
  e2fsck -fn "$work/$1.img"
}

parallel_io() {
  guest "$1" 'for i in 0 1 2 3; do
    dd if=/dev/urandom of=/tmp/p$i bs=64k count=16 2>/dev/null; done'
  guest "$1" 'for i in 0 1 2 3; do
    dd if=/tmp/p$i of=$disk bs=4k seek=$((i * 3000)) oflag=direct conv=notrunc 2>/dev/null & done; wait'
  guest "$1" 'for i in 0 1 2 3; do
    dd if=$disk of=/tmp/q$i bs=4k skip=$((i * 3000)) count=256 iflag=direct 2>/dev/null & done; wait'
  guest "$1" 'for i in 0 1 2 3; do cmp /tmp/p$i /tmp/q$i || exit 1; done; rm /tmp/p? /tmp/q?'
}

shares_files() {
  guest "$1" 'mkdir -p /mnt/tree && mount -t virtiofs tree /mnt/tree'
  same "$(guest "$1" 'sum /mnt/tree/noise')" "$(host_sum "$work/tree/noise")" sum
  same "$(guest "$1" "noise /mnt/tree/of-$1 1000; sync")" "$(host_sum "$work/tree/of-$1")" "sum on the host"
  guest "$1" 'umount /mnt/tree'
}

reboots() {
  guest_reboot "$1"
  shares_files "$1"
  writes_and_reads "$1"
}

# All promises for guest $1, whose disk is in a domain of type $2.
all_checks() {
  check_or_bail "$1: the driver uses the IOMMU's addresses" is_translated "$1" "$2"
  check "$1: a disk is written and read" writes_and_reads "$1"
  check "$1: four writers and readers at once" parallel_io "$1"
  check "$1: a tree is read and written" shares_files "$1"
  check "$1: all again after a reboot" reboots "$1"
  check "$1: no ring broke" no_ring_broke
  guest_kill "$1"
}

no_ring_broke() {
  ! daemon_logged 'queue [0-9]+ is broken|cannot start|IOTLB_MSG|waits for a translation'
}

check_or_bail "lazy: boots with a device IOTLB" boot lazy ats=on iommu.strict=0 \
  -device intel-iommu,device-iotlb=on
all_checks lazy DMA-FQ
check_or_bail "strict: boots without one" boot strict ats=off iommu.strict=1 -device intel-iommu
all_checks strict DMA
finish
