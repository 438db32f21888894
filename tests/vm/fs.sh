#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs.sh - a folder of the host in real guests: QEMU with a tag of its own, and
# User-Mode Linux, which reads the tag from the device
. "$(dirname "$0")/lib.sh"
. "$vm_dir/fs-checks.sh"

vm_need daemon qemu
share=$work/share
tag=share
mkdir "$share" "$work/ro"
echo precious >"$work/ro/file"

daemon_start <<END
[device qemu]
kind=fs
socket=$work/qemu.sock
source=$share
tag=share

[device uml]
kind=fs
socket=$work/uml.sock
source=$share
tag=share

[device ro]
kind=fs
socket=$work/ro.sock
source=$work/ro
tag=ro
read-only=yes
END

boot_qemu() {
  local options
  mapfile -t options < <(vhost_user "$work/qemu.sock" fs-pci,tag=share,queue-size=1024
    vhost_user "$work/ro.sock" fs-pci,tag=ro)
  qemu_start qemu "${options[@]}"
}

boot_uml() {
  uml_start uml "$work/uml.sock:26"
}

refuses_writes() {
  guest "$1" 'mkdir -p /mnt/ro && mount -t virtiofs ro /mnt/ro'
  same "$(guest "$1" 'cat /mnt/ro/file')" precious
  guest "$1" '! touch /mnt/ro/new 2>/dev/null'
  guest "$1" '! rm -f /mnt/ro/file 2>/dev/null'
  guest "$1" '! sh -c "echo x >>/mnt/ro/file" 2>/dev/null'
  guest "$1" '! chmod 777 /mnt/ro/file 2>/dev/null'
  same "$(cat "$work/ro/file")" precious
  same "$(ls "$work/ro")" file
}

boot_qemu
all_checks qemu qemu
check "qemu: a read-only export refuses every change" refuses_writes qemu

if command -v linux.uml >/dev/null; then
  boot_uml
  all_checks uml uml
  check "uml: reads what qemu wrote" guest uml \
    "[ \"\$(sum /mnt/share/before)\" = $(guest qemu 'sum /mnt/share/before') ]"
else
  check_skip "uml: shared folder" "no linux.uml (user-mode-linux)"
fi
finish
