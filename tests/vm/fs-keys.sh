#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fs-keys.sh - the promises of fs.sh hold with other keys, too: caches that keep
# everything, locks of the host, few descriptors; and a share that is read without
# opening files.  All are devices of one User-Mode Linux guest.
. "$(dirname "$0")/lib.sh"
. "$vm_dir/fs-checks.sh"

vm_need daemon uml

# A share for each, which the guest mounts one after the other, and its keys.
variants=(locks tight writeback)
declare -A keys=(
  [locks]='cache=auto locks=all'
  [tight]='cache=auto fd-budget=16'
  [writeback]='cache=always writeback=yes xattr=yes'
  [lazy]='cache=auto read-only=yes open=lazy'
  [layers]='cache=never xattr=yes'
)

devices() {
  local variant
  for variant in "${!keys[@]}"; do
    mkdir "$work/$variant"
    cat <<END
[device $variant]
kind=fs
socket=$work/$variant.sock
source=$work/$variant
tag=$variant
${keys[$variant]// /$'\n'}

END
  done
}

boots() {
  local variant sockets=()
  for variant in "${!keys[@]}"; do
    sockets+=("$work/$variant.sock:26")
  done
  uml_start uml "${sockets[@]}"
}

unmounts() {
  guest uml 'umount /mnt/share'
}

# A tree of 300 files on the host, one of them a program.
fill_lazy() {
  local i
  mkdir "$work/lazy/"{a,b,c}
  for i in {1..100}; do
    echo "a $i" >"$work/lazy/a/$i"
    head -c $((i * 100)) /dev/urandom >"$work/lazy/b/$i"
    ln "$work/lazy/a/$i" "$work/lazy/c/$i"
  done
  cp "$(command -v busybox)" "$work/lazy/busybox"
}

lazy_mounts() {
  guest uml 'mkdir -p /mnt/lazy && mount -t virtiofs lazy /mnt/lazy'
}

lazy_reads_all() {
  same "$(guest uml 'cd /mnt/lazy && cat [abc]/* | md5sum; cd /')" \
    "$(cat "$work/lazy/"[abc]/* | md5sum)" "sum of all"
  guest uml forget
  same "$(guest uml 'cat /mnt/lazy/c/77')" 'a 77'
}

lazy_reads_at_once() {
  guest uml 'for i in 1 2 3 4 5 6 7 8; do cat /mnt/lazy/b/* | md5sum >/tmp/at-once.$i & done; wait'
  same "$(guest uml 'cat /tmp/at-once.* | sort -u')" "$(cat "$work/lazy/b/"* | md5sum)" sums
}

lazy_runs_programs() {
  same "$(guest uml '/mnt/lazy/busybox echo run')" run
}

# A file that is open while the host puts another in its place, and its like.
lazy_sees_changes() {
  guest uml 'exec 5</mnt/lazy/a/1 && head -c 1 <&5 >/dev/null'
  echo replaced >"$work/new"
  mv "$work/new" "$work/lazy/a/1"
  guest uml "await 5 '[ \"\$(cat /mnt/lazy/a/1)\" = replaced ]'"
  same "$(guest uml 'cat /proc/self/fd/5 2>/dev/null | head -n 1; exec 5<&-')" 'a 1' "what was open"
  echo second >"$work/lazy/a/2"
  guest uml "await 5 '[ \"\$(cat /mnt/lazy/a/2)\" = second ]'"
}

lazy_refuses_writes() {
  guest uml '! touch /mnt/lazy/new 2>/dev/null'
  guest uml '! sh -c "echo x >>/mnt/lazy/a/3" 2>/dev/null'
  same "$(cat "$work/lazy/a/3")" 'a 3'
}

# With names that are asked for again each time: what overlayfs has copied up must
# be found by them.
overlays() {
  guest uml 'mkdir -p /mnt/layers /mnt/overlay && mount -t virtiofs layers /mnt/layers
    cd /mnt/layers && mkdir lower upper work lower/dir && echo low >lower/file && echo low >lower/dir/gone
    cp lower/file lower/other && cd / && mount -t overlay -o \
      lowerdir=/mnt/layers/lower,upperdir=/mnt/layers/upper,workdir=/mnt/layers/work none /mnt/overlay'
  guest uml 'cd /mnt/overlay; echo more >>file; rm -r dir; mkdir dir; echo x >dir/new; cd /'
  same "$(guest uml 'cat /mnt/overlay/file')" $'low\nmore'
  guest uml 'chmod 600 /mnt/overlay/other && mv /mnt/overlay/file /mnt/overlay/other'
  same "$(guest uml 'cat /mnt/overlay/other; ls /mnt/overlay /mnt/overlay/dir | tr "\n" " "')" \
    $'low\nmore\n/mnt/overlay: dir other  /mnt/overlay/dir: new '
  guest uml 'umount /mnt/overlay'
  same "$(cat "$work/layers/upper/other" "$work/layers/lower/file")" $'low\nmore\nlow'
}

daemon_start < <(devices)
fill_lazy
check_or_bail "a guest boots" boots
for tag in "${variants[@]}"; do
  share=$work/$tag
  all_checks uml "${keys[$tag]}" "$([ "$tag" != writeback ] || echo alone)"
  check "${keys[$tag]}: unmounts" unmounts
done
check_or_bail "open=lazy: mounts" lazy_mounts
check "open=lazy: reads 300 files" lazy_reads_all
check "open=lazy: many read at once" lazy_reads_at_once
check "open=lazy: runs a program" lazy_runs_programs
check "open=lazy: sees what the host changes" lazy_sees_changes
check "open=lazy: refuses to write" lazy_refuses_writes
check "overlayfs in a guest has its layers here" overlays
finish
