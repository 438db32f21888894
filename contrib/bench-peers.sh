# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # contrib/bench sets $source_dir
#
# bench-peers.sh - the programs that virtiod is compared with; sourced by
# contrib/bench
#
# qemu-storage-daemon and the C virtiofsd (until Debian 12) are installed.  The
# Rust virtiofsd is a package since Debian 13; on Debian 12 that one is unpacked
# into the cache, with the libraries that it needs and their loader, and not
# installed.

# What the Rust virtiofsd is unpacked from.
peers_packages=(virtiofsd libc6 libgcc-s1 libcap-ng0 libseccomp2)

# Prints the Rust virtiofsd's path; fails if there is none.
peers_virtiofsd() {
  local program
  for program in /usr/libexec/virtiofsd "$(vm_cache)/virtiofsd/virtiofsd"; do
    [ ! -x "$program" ] || { echo "$program"; return 0; }
  done
  return 1
}

# Writes, into the current folder, the script that runs the unpacked program
# with its own loader and libraries.
peers_write_wrapper() {
  local loader
  loader=$(find . -name 'ld-linux*.so.*' -type f | head -n 1)
  cat >virtiofsd <<END
#!/bin/sh
dir=\$(dirname "\$(readlink -f "\$0")")
lib=\$(dirname "\$dir/$loader")
exec "\$dir/$loader" --library-path "\$lib" "\$dir/usr/libexec/virtiofsd" "\$@"
END
  chmod +x virtiofsd
}

# Downloads and unpacks Debian 13's.
peers_fetch_virtiofsd() (
  dir=$(vm_cache)/virtiofsd
  vm_unpack_packages "$dir" trixie "${peers_packages[@]}" &&
    cd "$dir" && peers_write_wrapper && ./virtiofsd --version >/dev/null && return 0
  rm -rf "$dir"
  return 1
)

# Installs all peers that this system can have.  qemu-storage-daemon moved from
# one package to another after Debian 12.
peers_install() {
  local codename package=qemu-utils
  # shellcheck disable=SC1091
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  [ "$codename" != bookworm ] || package=qemu-system-common
  install_missing "qemu-storage-daemon:$package"
  peers_virtiofsd >/dev/null && return 0
  if [ "$codename" = bookworm ]; then
    echo "fetching the Rust virtiofsd of Debian 13"
    peers_fetch_virtiofsd || echo "no Rust virtiofsd: it could not be fetched" >&2
  else
    install_missing virtiofsd:virtiofsd || echo "no Rust virtiofsd: no such package" >&2
  fi
}
