# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# newer-qemu.sh - a QEMU that migrates virtio-fs (8.2 or later), for systems
# whose own is older: Debian 12's backport, unpacked into the cache beside the
# kernel (kernel.sh) and not installed

# What it is unpacked from; its libraries are those of Debian 12.
vm_qemu_packages=(qemu-system-x86 qemu-system-common qemu-system-data seabios)

# Says whether program $1 is QEMU 8.2 or later.
vm_qemu_is_new() {
  local version
  version=$("$1" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\.[0-9]*\).*/\1/p')
  [ -n "$version" ] && [ "$(printf '%s\n' 8.2 "$version" | sort -V | head -n 1)" = 8.2 ]
}

# Prints the name of a QEMU that is new enough; fails if there is none.
vm_qemu_new() {
  local program
  for program in "${QEMU:-qemu-system-x86_64}" "$(vm_cache)/qemu/qemu-system-x86_64"; do
    vm_qemu_is_new "$program" || continue
    echo "$program"
    return 0
  done
  return 1
}

# Downloads and unpacks the backport on Debian 12, with package lists of its own.
vm_qemu_fetch() (
  set -euo pipefail
  ! vm_qemu_new >/dev/null || return 0
  # shellcheck disable=SC1091
  [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ] ||
    { echo "no newer QEMU is known for this system" >&2; return 1; }
  dir=$(vm_cache)/qemu
  vm_unpack_packages "$dir" bookworm-backports "${vm_qemu_packages[@]}"
  cd "$dir"
  cat >qemu-system-x86_64 <<'END'
#!/bin/sh
dir=$(dirname "$(readlink -f "$0")")
exec "$dir/usr/bin/qemu-system-x86_64" -L "$dir/usr/share/qemu" -L "$dir/usr/share/seabios" "$@"
END
  chmod +x qemu-system-x86_64
  vm_qemu_is_new ./qemu-system-x86_64
)
