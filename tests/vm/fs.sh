#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs.sh - a folder of the host in real guests: QEMU with a tag of its own, and
# User-Mode Linux, which reads the tag from the device
. "$(dirname "$0")/lib.sh"

vm_need daemon qemu
share=$work/share
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

mounts() {
  guest "$1" 'mkdir -p /mnt/share && mount -t virtiofs share /mnt/share'
  guest "$1" 'grep -q "^share /mnt/share virtiofs rw" /proc/mounts'
}

guest_reads_host() {
  local sum
  sum=$(host_noise "$share/from-host" 1000)
  same "$(guest "$1" 'sum /mnt/share/from-host')" "$sum" sum
}

host_reads_guest() {
  local sum
  sum=$(guest "$1" 'noise /mnt/share/from-guest 1000')
  same "$(host_sum "$share/from-guest")" "$sum" sum
}

guest_sees_host_change() {
  echo one >"$share/changing"
  same "$(guest "$1" 'cat /mnt/share/changing')" one
  echo second >"$share/changing"
  guest "$1" "await 5 '[ \"\$(cat /mnt/share/changing)\" = second ]'"
}

copies_big_file() {
  local sum
  sum=$(host_noise "$share/big" $((48 * 1024)))
  guest "$1" 'cp /mnt/share/big /mnt/share/big-copy'
  same "$(host_sum "$share/big-copy")" "$sum" "sum of the copy"
  guest "$1" forget
  same "$(guest "$1" 'sum /mnt/share/big-copy')" "$sum" "sum in the guest"
  guest "$1" 'rm /mnt/share/big /mnt/share/big-copy'
  [ ! -e "$share/big" ] && [ ! -e "$share/big-copy" ]
}

many_files() {
  local files
  guest "$1" 'mkdir /mnt/share/many; for i in $(seq 500); do echo $i >/mnt/share/many/$i || break; done'
  files=("$share"/many/*)
  same "${#files[@]}" 500 "files on the host"
  same "$(cat "$share/many/317")" 317
  touch "$share/many/one-more"
  same "$(guest "$1" 'ls /mnt/share/many | wc -l')" 501 "files in the guest"
  guest "$1" 'rm -r /mnt/share/many'
  [ ! -e "$share/many" ]
}

renames() {
  guest "$1" 'cd /mnt/share; mkdir -p a b; echo new >a/x; echo old >b/y; mv a/x b/y; cd /'
  same "$(cat "$share/b/y")" new
  [ ! -e "$share/a/x" ]
  guest "$1" 'mv /mnt/share/b /mnt/share/a/b && ! cat /mnt/share/b/y 2>/dev/null'
  same "$(guest "$1" 'cat /mnt/share/a/b/y')" new
  mv "$share/a" "$share/c"
  guest "$1" "await 5 'cat /mnt/share/c/b/y'"
  guest "$1" 'rm -r /mnt/share/c'
}

links() {
  guest "$1" 'cd /mnt/share; echo x >file; ln file hard; ln -s file soft; mkfifo pipe; cd /'
  same "$(stat -c %h "$share/hard")" 2 "link count"
  same "$(readlink "$share/soft")" file
  same "$(guest "$1" 'cat /mnt/share/soft')" x
  [ -p "$share/pipe" ]
  guest "$1" 'cd /mnt/share; rm file hard soft pipe; cd /'
}

permissions() {
  guest "$1" 'cd /mnt/share; echo x >p; chmod 4750 p; chown 1234:2345 p; chmod 4751 p; cd /'
  same "$(stat -c '%a %u %g' "$share/p")" '4751 1234 2345'
  chmod 0600 "$share/p"
  guest "$1" "await 5 '[ \"\$(stat -c %a /mnt/share/p)\" = 600 ]'"
  guest "$1" 'touch -d "2001-02-03 04:05:06" /mnt/share/p'
  same "$(TZ=UTC stat -c %y "$share/p" | cut -d . -f 1)" '2001-02-03 04:05:06'
  guest "$1" '(umask 027; mkdir /mnt/share/d); rm /mnt/share/p'
  same "$(stat -c %a "$share/d")" 750
  guest "$1" 'rmdir /mnt/share/d'
}

sizes() {
  guest "$1" 'cd /mnt/share; printf 0123456789 >s; printf ab >>s; truncate -s 5 s; cd /'
  same "$(cat "$share/s")" 01234
  guest "$1" 'truncate -s 1M /mnt/share/s'
  same "$(stat -c %s "$share/s")" 1048576
  guest "$1" 'set -- $(df -k /mnt/share | tail -n 1); [ "$2" -gt 0 ] && rm /mnt/share/s'
}

# A file without a name is still a file.
unlinked_open_file() {
  guest "$1" 'echo kept >/mnt/share/u; exec 5</mnt/share/u'
  same "$(cat "$share/u")" kept
  guest "$1" 'rm /mnt/share/u; forget'
  [ ! -e "$share/u" ]
  same "$(guest "$1" 'cat <&5; exec 5<&-')" kept
}

remounts() {
  local sum
  sum=$(guest "$1" 'noise /mnt/share/kept 300')
  guest "$1" 'umount /mnt/share && [ ! -e /mnt/share/kept ]'
  guest "$1" 'mount -t virtiofs share /mnt/share'
  same "$(guest "$1" 'sum /mnt/share/kept')" "$sum"
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

reboots() {
  local sum
  sum=$(guest "$1" 'noise /mnt/share/before 300; exec 6</mnt/share/before')
  guest_reboot "$1"
  mounts "$1"
  same "$(guest "$1" 'sum /mnt/share/before')" "$sum"
}

# All promises for guest $1.
all_checks() {
  check_or_bail "$1: mounts by tag" mounts "$1"
  check "$1: a host's file has the same sum in the guest" guest_reads_host "$1"
  check "$1: a guest's file has the same sum on the host" host_reads_guest "$1"
  check "$1: sees a change that the host made" guest_sees_host_change "$1"
  check "$1: 48 MiB in and out" copies_big_file "$1"
  check "$1: 500 files" many_files "$1"
  check "$1: renames files and folders" renames "$1"
  check "$1: hard and symbolic links, a pipe" links "$1"
  check "$1: modes, owners and times" permissions "$1"
  check "$1: append, truncate, grow, statfs" sizes "$1"
  check "$1: an unlinked open file is readable" unlinked_open_file "$1"
  check "$1: unmount and mount" remounts "$1"
  check "$1: reboot and mount" reboots "$1"
}

boot_qemu
all_checks qemu
check "qemu: a read-only export refuses every change" refuses_writes qemu

if command -v linux.uml >/dev/null; then
  boot_uml
  all_checks uml
  check "uml: reads what qemu wrote" guest uml \
    "[ \"\$(sum /mnt/share/before)\" = $(guest qemu 'sum /mnt/share/before') ]"
else
  check_skip "uml: shared folder" "no linux.uml (user-mode-linux)"
fi
finish
