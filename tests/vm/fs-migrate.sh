#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs-migrate.sh - live migration of a guest with a mounted share from QEMU to
# QEMU on this host: files stay open, a loop that writes and compares goes on,
# and what cannot move is refused where the guest is.  QEMU 7.2 of Debian 12 does
# not migrate virtio-fs; contrib/test fetches the backport.
. "$(dirname "$0")/lib.sh"
. "$vm_dir/newer-qemu.sh"

qemu=$(vm_qemu_new) || skip_all "no QEMU 8.2 or later, which migrates virtio-fs"
vm_need daemon qemu
share=$work/share
mkdir "$share"
hosts=(a b c d) # one QEMU each; the last two tell files by handles, too

devices() {
  local host
  for host in "${hosts[@]}"; do
    cat <<END
[device $host]
kind=fs
socket=$work/$host.sock
source=$share
cache=auto
migration-on-error=abort
migration-mode=$([[ $host == [ab] ]] && echo find-paths || echo file-handles)

END
  done
}

# Starts QEMU for host $1 with the options that follow; what its monitor says is
# in $1.says.
spawn() {
  local host=$1
  shift
  rm -f "$work/$host.mon.in" "$work/$host.mon.out"
  mkfifo "$work/$host.mon.in" "$work/$host.mon.out"
  cat "$work/$host.mon.out" >"$work/$host.says" 2>&1 &
  qemu_spawn "$host" \
    -chardev "socket,id=share,path=$work/$host.sock" \
    -device vhost-user-fs-pci,chardev=share,tag=share,queue-size=1024 \
    -chardev "pipe,id=monitor,path=$work/$host.mon" -mon chardev=monitor "$@"
}

# Gives host $1's QEMU the command $2.
tell() {
  echo "$2" >"$work/$1.mon.in"
}

boots() {
  spawn a
  guest_wait_ready a
  guest a 'mkdir -p /mnt/share && mount -t virtiofs share /mnt/share'
}

work_begins() {
  guest a 'mkdir -p /mnt/share/dir/sub && cd /mnt/share/dir/sub'
  guest a 'seq 2000 >/mnt/share/numbers && exec 5</mnt/share/numbers && read -r line <&5 && [ "$line" = 1 ]'
  guest a 'exec 6>>/mnt/share/log && echo begun >&6'
  guest a 'mkdir /mnt/share/io && io_start /mnt/share/io share'
  guest a "await 20 '[ \$(io_rounds share) -gt 2 ]'"
}

migration_is() {
  tell "$1" 'info migrate'
  sleep 0.1
  grep -q "Migration status: $2" "$work/$1.says"
}

# Begins to move the guest from host $1 to host $2.
leaves() {
  rm -f "$work/$2.migration"
  spawn "$2" -incoming "unix:$work/$2.migration"
  within 20 listens "$work/$2.migration"
  tell "$1" "migrate -d unix:$work/$2.migration"
}

# Moves the guest from host $1 to host $2.
moves() {
  leaves "$1" "$2"
  within 60 migration_is "$1" completed || { tail -n 20 "$work/$1.says"; return 1; }
  guest_kill "$1"
}

# Open files and folders are what they were, and the loop goes on.
work_goes_on() {
  local rounds
  rounds=$(guest "$1" 'io_rounds share')
  guest "$1" "await 30 '[ \$(io_rounds share) -gt $((rounds + 3)) ]'"
  guest "$1" "read -r line <&5 && [ \"\$line\" = $2 ]"
  guest "$1" "echo $1 >&6"
  same "$(tail -n 1 "$share/log")" "$1" "the log's last line"
  guest "$1" 'touch here && [ "$(pwd)" = /mnt/share/dir/sub ]'
  [ -e "$share/dir/sub/here" ]
  guest "$1" 'rm here && umount /mnt/share 2>/dev/null; [ -e /mnt/share/log ]' # busy
}

# An open file without a name, which has no path to be told by.
loses_a_name() {
  guest "$1" 'echo nameless >/mnt/share/gone && exec 7</mnt/share/gone && rm /mnt/share/gone'
}

is_refused() {
  leaves "$1" "$2"
  within 60 migration_is "$1" failed || { tail -n 20 "$work/$1.says"; return 1; }
  guest_kill "$2"
  daemon_logged "$1: .*/gone.* is open and has no name"
}

guest_reads_nameless() {
  same "$(guest "$1" 'cat <&7')" nameless
}

all_is_whole() {
  guest "$1" 'io_rounds share && io_stop share; cd /; exec 5<&- 6>&- 7<&-'
  guest "$1" "await 20 umount /mnt/share"
  guest "$1" 'mount -t virtiofs share /mnt/share && cat /mnt/share/log'
}

daemon_start < <(devices)
check_or_bail "a guest with a share boots" boots
check_or_bail "it opens files and begins to work" work_begins
check_or_bail "it moves while it works" moves a b
check "files stay open, folders are where they were" work_goes_on b 2
check "a file loses its name" loses_a_name b
check_or_bail "with it the guest cannot move, and a line says why" is_refused b c
check "the guest goes on where it is" work_goes_on b 3
check "the file is still open" guest_reads_nameless b
guest b 'exec 7<&-' >/dev/null
check_or_bail "without it the guest moves" moves b c
check "files stay open" work_goes_on c 4
check "a file loses its name where files are told by handles" loses_a_name c
check_or_bail "then the guest moves, too" moves c d
check "files stay open" work_goes_on d 5
check "the file without a name is still open" guest_reads_nameless d
check "the share is whole, and can be unmounted and mounted" all_is_whole d
finish
