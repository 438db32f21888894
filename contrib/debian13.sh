# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154
#
# debian13.sh - builds and tests in a Debian 13 folder, for its newer libfuse
# and GLib; sourced by contrib/test

# What the folder holds beside the essential packages.
debian13_packages=gcc,libc6-dev,meson,ninja-build,pkgconf,libglib2.0-dev,libfuse3-dev,liburing-dev,libseccomp-dev,procps

# Counts Debian 13 as skipped for reason $1.
debian13_skip() {
  echo "Debian 13: NOT tested: $1"
  printf '%s\n' "SKIPPED debian13: $1" "debian13: 0 passed, 0 failed, 1 skipped" >>"$results"
}

# Installs what folder $1 lacks; without, it tests what it can.
debian13_update() {
  chroot "$1" sh -euc 'apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $1
    apt-get clean' sh "${debian13_packages//,/ }" </dev/null >"$1.log" 2>&1 || return 0
  echo "$debian13_packages" >"$1/.complete"
}

# Makes folder $1 unless it is complete.
debian13_make() {
  local log=$1.log
  if [ -e "$1/.complete" ]; then
    [ "$(<"$1/.complete")" = "$debian13_packages" ] || debian13_update "$1"
    return 0
  fi
  rm -rf --one-file-system "$1"
  debootstrap --variant=minbase --include="$debian13_packages" trixie "$1" \
    </dev/null >"$log" 2>&1 || { tail -n 5 "$log"; return 1; }
  rm -rf "$1"/var/cache/apt/archives/*.deb
  echo "$debian13_packages" >"$1/.complete"
}

# Runs script $2 in folder $1, which sees the source read-only in /src, with
# mounts that end with it.
debian13_run() {
  unshare --mount --propagation private bash -euc '
    mount --rbind "$1" "$1" # a chroot whose root is a mount can make namespaces
    cd "$1"
    mount --bind "$2" "$1/src" && mount -o remount,ro,bind "$1/src"
    mount -t proc proc "$1/proc"
    mount -t sysfs sysfs "$1/sys"
    mount --rbind /dev "$1/dev"
    exec chroot "$1" /bin/bash -euc "$3"' bash "$1" "$source_dir" "$2" </dev/null
}

# Builds and tests in a Debian 13 folder where one can be made.
debian13() {
  local dir
  dir=$(vm_cache)/debian13
  # shellcheck disable=SC1091
  [ "$(. /etc/os-release && echo "$VERSION_ID")" = 12 ] || return 0
  [ "$(id -u)" -eq 0 ] || { debian13_skip "needs root"; return 0; }
  step "Debian 13: folder"
  install_missing debootstrap:debootstrap
  debian13_make "$dir" || { debian13_skip "debootstrap failed"; return 0; }
  step "Debian 13: build, unit and wire tests"
  mkdir -p "$dir/src" "$dir/build"
  find "$dir/tmp" -mindepth 1 -xdev -delete
  rm -f "$dir/build/meson-logs/testlog.json"
  if debian13_run "$dir" '
    export LANG=C.UTF-8
    [ -e /build/build.ninja ] || meson setup /build /src -Dwerror=true -Dman=disabled
    ninja -C /build
    meson test -C /build --no-rebuild --print-errorlogs -t 3 --suite unit --suite wire || true' \
    >"$dir/test.out" 2>&1; then
    count_results debian13 "$dir/build/meson-logs/testlog.json" "$dir/test.out"
  else
    tail -n 40 "$dir/test.out"
    printf '%s\n' "FAILED debian13: it does not build" "debian13: 0 passed, 1 failed, 0 skipped" >>"$results"
  fi
}
