# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# kernel.sh - the kernels that guests boot, and the initramfs for each
#
# QEMU boots Debian's cloud kernel, unpacked from its package into a cache and
# not installed; User-Mode Linux is Debian's package.  The cache is
# $VIRTIOD_CACHE, else $XDG_CACHE_HOME/virtiod, ~/.cache/virtiod.

# The drivers that the guests need; the rest of a kernel is left out.
vm_modules=(virtio_blk virtio_balloon virtiofs ext4)

# What the guests run beside busybox.
vm_programs=(mke2fs e2fsck)

# Prints the folder for kernels.
vm_cache() {
  echo "${VIRTIOD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var}/.cache}/virtiod}"
}

# Prints the folder of the unpacked Debian kernel; fails if there is none.
vm_kernel_dir() {
  local dir
  dir=$(vm_cache)/kernel
  [ -e "$dir/ready" ] && echo "$dir"
}

# Downloads and unpacks Debian's cloud kernel; wants apt's lists to be there.
vm_kernel_fetch() (
  set -euo pipefail
  dir=$(vm_cache)/kernel
  package=$(apt-cache depends linux-image-cloud-amd64 |
    sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
  [ -n "$package" ] || { echo "no linux-image-cloud-amd64 in apt's lists" >&2; return 1; }
  [ "$(cat "$dir/ready" 2>/dev/null)" != "$package" ] || return 0
  rm -rf "$dir"
  mkdir -p "$dir"
  cd "$dir"
  apt-get -qq download "$package" 2>apt.log || { cat apt.log >&2; return 1; }
  dpkg-deb -x "$package"_*.deb .
  rm -f "$package"_*.deb
  # Debian 13 has no /lib in packages any more, Debian 12 no /usr/lib/modules.
  [ -e lib/modules ] || { mkdir -p lib && ln -s ../usr/lib/modules lib/modules; }
  mv boot/vmlinuz-* vmlinuz
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$dir" "$(ls lib/modules)"
  vm_kernel_extract
  echo "$package" >ready
)

# Downloads packages $3... of Debian's suite $2 and unpacks them into folder $1,
# which is made anew; with package lists of its own, from the system's mirror.
vm_unpack_packages() (
  set -euo pipefail
  dir=$1 suite=$2
  shift 2
  # shellcheck disable=SC1091
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' |
    awk -v release="$codename" '$2 == release { print $1; exit }')
  rm -rf "$dir"
  mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial"
  cd "$dir"
  echo "deb ${mirror:-http://deb.debian.org/debian} $suite main" >apt/sources.list
  options=(-o "Dir::Etc::sourcelist=$dir/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt" -o APT::Sandbox::User=root)
  { apt-get -q "${options[@]}" update &&
    apt-get -q "${options[@]}" download "$@"; } >apt.log 2>&1 || { tail -n 5 apt.log >&2; return 1; }
  for package in ./*.deb; do
    dpkg-deb -x "$package" .
  done
  rm -rf apt ./*.deb
)

# Unpacks ./vmlinuz to ./vmlinux, which starts faster under emulation, where
# the host has the tool for it; the guest unpacks it otherwise.
vm_kernel_extract() {
  local setup offset length magic unpack size
  setup=$(od -An -tu1 -j $((0x1f1)) -N 1 vmlinuz)
  offset=$(od -An -tu4 -j $((0x248)) -N 4 vmlinuz)
  length=$(od -An -tu4 -j $((0x24c)) -N 4 vmlinuz)
  offset=$((offset + (setup + 1) * 512))
  magic=$(od -An -tx1 -j "$offset" -N 4 vmlinuz | tr -d ' ')
  case $magic in
    02214c18) unpack=lz4 ;;
    28b52ffd) unpack=zstd ;;
    fd377a58) unpack=xz ;;
    *) return 0 ;;
  esac
  command -v "$unpack" >/dev/null || return 0
  # The last four bytes are the unpacked length.
  size=$(od -An -tu4 -j $((offset + length - 4)) -N 4 vmlinuz)
  tail -c +$((offset + 1)) vmlinuz | head -c $((length - 4)) |
    "$unpack" -dc >vmlinux.tmp 2>/dev/null || true
  if [ "$(stat -c %s vmlinux.tmp)" = $((size)) ]; then
    mv vmlinux.tmp vmlinux
  else
    rm -f vmlinux.tmp
  fi
}

# Copies program $1 and the libraries it needs into tree $2.
vm_copy_program() {
  local path lib
  path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$1")
  cp -L "$path" "$2/sbin/"
  while read -r lib; do
    mkdir -p "$2$(dirname "$lib")"
    cp -L "$lib" "$2$lib"
  done < <(ldd "$path" 2>/dev/null | grep -o '/[^ ]*')
}

# Copies modules $3... and what they need of the kernel in folder $1 into tree
# $2 and lists them in the order of loading.
vm_copy_modules() {
  local dir=$1 tree=$2 version module kind path rest
  shift 2
  version=$(ls "$dir/lib/modules")
  mkdir -p "$tree/modules"
  for module in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin modprobe -d "$dir" -S "$version" --show-depends "$module"
  done | while read -r kind path rest; do
    [ "$kind" = insmod ] || continue
    module=$(basename "$path")
    case $module in
      *.xz) module=${module%.xz} && xz -dc "$path" >"$tree/modules/$module" ;;
      *.zst) module=${module%.zst} && zstd -qdc "$path" >"$tree/modules/$module" ;;
      *) cp "$path" "$tree/modules/" ;;
    esac
    echo "$module"
  done | awk '!seen[$0]++' >"$tree/modules.list"
}

# Writes an initramfs with $3 as its init, for the kernel in folder $1, to file
# $2; the names of further modules may follow.
vm_initramfs() (
  set -euo pipefail
  kernel=$1 file=$2 init=$3
  shift 3
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  mkdir -p "$tree"/{bin,dev,mnt,proc,sbin,sys,tmp}
  cp "$(command -v busybox)" "$tree/bin/busybox"
  busybox --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
  done
  for program in "${vm_programs[@]}"; do
    vm_copy_program "$program" "$tree"
  done
  vm_copy_modules "$kernel" "$tree" "$@" "${vm_modules[@]}"
  install -m 755 "$init" "$tree/init"
  (cd "$tree" && find . | cpio --quiet -o -H newc) >"$file"
)
