#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# power-cut.sh - an ext4 of a User-Mode Linux guest after the host's power was
# cut: what the guest's fsync promised is there
#
# The image is a file that qemu-storage-daemon serves by FUSE, which logs all
# writes and flushes in their order; cut-power.py cuts the power behind many of
# them.  With cache=unsafe it has to lose data, else the test could not fail.
. "$(dirname "$0")/lib.sh"

vm_need daemon uml qemu-storage-daemon python3 debugfs fusermount3
[ -w /dev/fuse ] || skip_all "no /dev/fuse"
size=$((24 * 1024 * 1024))
declare -A engine=([threads]=threads [ring]=io_uring [through]=io_uring [through-threads]=threads [unsafe]=auto)
declare -A cache=([threads]=writeback [ring]=writeback [through]=writethrough [through-threads]=writethrough [unsafe]=unsafe)
disks=(threads ring through through-threads unsafe)

# Starts what logs the writes to disk $1 and serves it as $work/$1.img.
logger_start() {
  truncate -s "$size" "$work/$1.raw"
  truncate -s 1G "$work/$1.log"
  : >"$work/$1.img"
  qemu-storage-daemon --daemonize --pidfile "$work/$1.logger" \
    --blockdev "driver=file,node-name=raw,filename=$work/$1.raw" \
    --blockdev "driver=file,node-name=log,filename=$work/$1.log" \
    --blockdev "driver=blklogwrites,node-name=disk,file=raw,log=log,log-super-update-interval=1" \
    --export "type=fuse,id=disk,node-name=disk,mountpoint=$work/$1.img,writable=on"
}

loggers_stop() {
  local disk file
  for disk in "${disks[@]}"; do
    file=$work/$disk.logger
    [ ! -e "$file" ] || kill "$(<"$file")" 2>/dev/null || true
    fusermount3 -u -z "$work/$disk.img" 2>/dev/null || true
  done
}
vm_at_exit=loggers_stop

device() {
  cat <<END
[device $1]
kind=blk
socket=$work/$1.sock
image=$work/$1.img
serial=$1
engine=${engine[$1]}
cache=${cache[$1]}
discard=no
END
}

# Prints how many entries the log of disk $1 has.
entries() {
  od -A n -t u8 -j 16 -N 8 "$work/$1.log" | tr -d ' '
}

# The guest writes files, and is told that every second one is durable.
writes_files() {
  local i sum
  guest uml "mkdir -p /mnt/$1; mke2fs -q -F -t ext4 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/\$(disk $1) &&
    mount -t ext4 /dev/\$(disk $1) /mnt/$1 && sync"
  for i in $(seq 16); do
    sum=$(guest uml "noise /mnt/$1/loose$i 30 >/dev/null; rm -f /mnt/$1/loose$((i - 2))
      noise /mnt/$1/new 50 && sync /mnt/$1/new && mv /mnt/$1/new /mnt/$1/f$i && sync /mnt/$1")
    echo "$(entries "$1") f$i $sum" >>"$work/$1.promises"
  done
}

cut_power() {
  python3 "$vm_dir/cut-power.py" "$work/$1.log" "$work/$1.promises" "$work" "$size"
}

loses_nothing() {
  cut_power "$1" >"$work/cuts"
}

loses_data() {
  ! cut_power "$1" >"$work/cuts" && grep -q 'of them lost data' "$work/cuts"
}

for disk in "${disks[@]}"; do
  logger_start "$disk" || skip_all "qemu-storage-daemon cannot serve by FUSE"
done
daemon_start < <(for disk in "${disks[@]}"; do device "$disk"; done)
sockets=("${disks[@]/#/$work/}")
uml_start uml "${sockets[@]/%/.sock:2}"
for disk in "${disks[@]}"; do
  check "$disk: files are written and synced" writes_files "$disk"
done
guest_kill uml
for disk in "${disks[@]}"; do
  if [ "$disk" = unsafe ]; then
    check "cache=unsafe loses data when the power is cut" loses_data "$disk"
  else
    check "${cache[$disk]}, ${engine[$disk]}: what was synced survives every cut" loses_nothing "$disk"
  fi
  tail -n 1 "$work/cuts" | comment
done
finish
