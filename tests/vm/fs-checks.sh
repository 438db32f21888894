# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # tests set $share and $tag
#
# fs-checks.sh - what is promised of every share that a guest may write; sourced
# by fs*.sh, after lib.sh
#
# $share is the directory on the host and $tag what the guest mounts it by.

mounts() {
  guest "$1" "mkdir -p /mnt/share && mount -t virtiofs $tag /mnt/share"
  guest "$1" "grep -q '^$tag /mnt/share virtiofs rw' /proc/mounts"
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

guest_sees_host_changes() {
  echo one >"$share/changing"
  same "$(guest "$1" 'cat /mnt/share/changing')" one
  echo second >"$share/changing"
  guest "$1" "await 5 '[ \"\$(cat /mnt/share/changing)\" = second ]'"
  chmod 0600 "$share/changing"
  guest "$1" "await 5 '[ \"\$(stat -c %a /mnt/share/changing)\" = 600 ]'"
  guest "$1" 'mkdir /mnt/share/seen && touch /mnt/share/seen/one'
  touch "$share/seen/two"
  guest "$1" "await 5 '[ \$(ls /mnt/share/seen | wc -l) = 2 ]'"
  mv "$share/seen" "$share/moved"
  guest "$1" "await 5 '[ -e /mnt/share/moved/two ]'"
  guest "$1" 'rm -r /mnt/share/changing /mnt/share/moved'
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
  same "$(guest "$1" 'ls /mnt/share/many | wc -l')" 500 "files in the guest"
  guest "$1" 'rm -r /mnt/share/many'
  [ ! -e "$share/many" ]
}

renames() {
  guest "$1" 'cd /mnt/share; mkdir -p a b; echo new >a/x; echo old >b/y; mv a/x b/y; cd /'
  same "$(cat "$share/b/y")" new
  [ ! -e "$share/a/x" ]
  guest "$1" 'mv /mnt/share/b /mnt/share/a/b && ! cat /mnt/share/b/y 2>/dev/null'
  same "$(guest "$1" 'cat /mnt/share/a/b/y')" new
  guest "$1" 'rm -r /mnt/share/a'
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
  mounts "$1"
  same "$(guest "$1" 'sum /mnt/share/kept')" "$sum"
}

reboots() {
  local sum
  sum=$(guest "$1" 'noise /mnt/share/before 300; exec 6</mnt/share/before')
  guest_reboot "$1"
  mounts "$1"
  same "$(guest "$1" 'sum /mnt/share/before')" "$sum"
}

# All promises for guest $1, which $2 describes; $3 is "alone" if nobody else may
# change the files.
all_checks() {
  check_or_bail "$2: mounts by tag" mounts "$1"
  check "$2: a host's file has the same sum in the guest" guest_reads_host "$1"
  check "$2: a guest's file has the same sum on the host" host_reads_guest "$1"
  [ "${3:-}" = alone ] ||
    check "$2: sees changes that the host made" guest_sees_host_changes "$1"
  check "$2: 48 MiB in and out" copies_big_file "$1"
  check "$2: 500 files" many_files "$1"
  check "$2: renames files and folders" renames "$1"
  check "$2: hard and symbolic links, a pipe" links "$1"
  check "$2: modes, owners and times" permissions "$1"
  check "$2: append, truncate, grow, statfs" sizes "$1"
  check "$2: an unlinked open file is readable" unlinked_open_file "$1"
  check "$2: unmount and mount" remounts "$1"
  check "$2: reboot and mount" reboots "$1"
}
