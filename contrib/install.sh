# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# install.sh - installs the Debian packages that are missing; sourced by demo
# and test, which therefore run on a fresh machine, as root or with sudo

# Each is "TEST:PACKAGE", and PACKAGE is wanted where TEST finds nothing: the
# name of a program, or lib=NAME as pkg-config knows it.
packages_build=(cc:gcc lib=libc:libc6-dev meson:meson ninja:ninja-build
  pkg-config:pkgconf lib=glib-2.0:libglib2.0-dev lib=gio-unix-2.0:libglib2.0-dev
  lib=fuse3:libfuse3-dev lib=liburing:liburing-dev
  lib=libnbd:libnbd-dev lib=libseccomp:libseccomp-dev)
packages_guest=(qemu-system-x86_64:qemu-system-x86 linux.uml:user-mode-linux
  busybox:busybox-static cpio:cpio mke2fs:e2fsprogs modprobe:kmod depmod:kmod
  lz4:lz4 zstd:zstd xz:xz-utils setsid:util-linux pgrep:procps setfacl:acl
  setfattr:attr)

# Runs a command as root.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

# Says whether what package list entry $1 tests for is there.
is_installed() {
  case $1 in
    lib=libc) [ -e /usr/include/stdio.h ] ;;
    lib=*) pkg-config --exists "${1#lib=}" 2>/dev/null ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
  esac
}

# Installs what is missing of the entries given, quietly, and says what.
install_missing() {
  local entry missing=() log
  for entry in "$@"; do
    is_installed "${entry%:*}" || missing+=("${entry#*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  echo "installing ${missing[*]}"
  log=$(mktemp)
  if ! { as_root apt-get -q update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
      --no-install-recommends install "${missing[@]}"; } \
    </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# Puts the kernel for guests into the cache; fetches apt's lists if need be.
install_kernel() {
  [ -n "$(vm_kernel_dir)" ] && return 0
  vm_kernel_fetch 2>/dev/null && return 0
  as_root apt-get -q update </dev/null >/dev/null
  vm_kernel_fetch
}

# Configures build folder $1 with the meson options that follow, and builds the
# targets named in $build_targets, all by default.
build_in() {
  local dir=$1 log
  shift
  log=$(mktemp)
  # shellcheck disable=SC2086
  if ! { [ -e "$dir/build.ninja" ] || meson setup "$dir" "$source_dir" "$@"; } \
    </dev/null >"$log" 2>&1 ||
    ! ninja -C "$dir" ${build_targets:-all} </dev/null >>"$log" 2>&1; then
    tail -n 40 "$log"
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}
