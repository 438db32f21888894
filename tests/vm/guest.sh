# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # lib.sh sets $work and $vm_dir
#
# guest.sh - guests under QEMU and User-Mode Linux, driven over their consoles;
# sourced by lib.sh
#
# The other end of the console is tests/vm/init, which answers each command
# with its output and "@done STATUS".  All that is known of guest NAME is in
# files, so that subshells may use and replace guests: $work/NAME.pid, its
# console's pipes NAME.in and NAME.out, and NAME.console, all that was said.

qemu=${QEMU:-qemu-system-x86_64}
: "${VM_TIMEOUT:=60}" # seconds for one command in a guest or one boot

# What all QEMU guests have in common.  What a test has no use for is left out:
# a boot takes 2 to 3 s under TCG.
qemu_common=(-M q35 -cpu max -m 256 -nodefaults -no-user-config -display none
  -object "memory-backend-memfd,id=mem,size=256M,share=on" -numa "node,memdev=mem"
  -serial stdio)
qemu_append=(console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable
  no_timer_check lpj=4000000 random.trust_cpu=on cryptomgr.notests nowatchdog
  8250.nr_uarts=1 audit=0)

# Prints, one word a line, the QEMU options that attach a vhost-user device:
# socket $1, then the device and its properties: vhost_user a.sock fs-pci,tag=x
vhost_user() {
  local id
  id=$(basename "$1" .sock)
  printf '%s\n' -chardev "socket,id=$id,path=$1" \
    -device "vhost-user-$2,chardev=$id,id=dev-$id"
}

# Makes $work/$2.cpio, the initramfs for kernel folder $1, unless it is there;
# further modules may follow.
guest_initramfs() {
  local file=$work/$2.cpio
  [ -e "$file" ] || vm_initramfs "$1" "$file" "$vm_dir/init" "${@:3}"
}

# Starts the command that follows as guest $1.  The guest itself holds both ends
# of its pipes, so that they outlive each use.
guest_spawn() {
  local name=$work/$1
  shift
  rm -f "$name.in" "$name.out"
  mkfifo "$name.in" "$name.out"
  echo "== $*" >>"$name.console"
  setsid "$@" <>"$name.in" 1<>"$name.out" 2>>"$name.console" &
  echo $! >"$name.pid"
  disown $!
}

# The same, and waits until it has booted.
guest_start() {
  guest_spawn "$@"
  guest_wait_ready "$1"
}

# Boots QEMU guest $1 with the QEMU options that follow.
qemu_start() {
  qemu_spawn "$@"
  guest_wait_ready "$1"
}

# The same without waiting for it.
qemu_spawn() {
  local name=$1 dir image
  shift
  dir=$(vm_kernel_dir)
  image=$dir/vmlinux
  [ -e "$image" ] || image=$dir/vmlinuz
  guest_initramfs "$dir" qemu virtio_pci
  guest_spawn "$name" "$qemu" "${qemu_common[@]}" -accel "${QEMU_ACCEL:-tcg,thread=multi}" \
    -kernel "$image" -initrd "$work/qemu.cpio" -append "${qemu_append[*]}" "$@"
}

# Boots User-Mode Linux guest $1; each further argument is SOCKET:VIRTIO-ID, or
# one of the kernel's, KEY=VALUE.
uml_start() {
  local name=$1 device args=()
  shift
  for device in "$@"; do
    [[ $device == *=* ]] || device=virtio_uml.device=$device
    args+=("$device")
  done
  mkdir -p "$work/uml-kernel/lib/modules"
  ln -sfn "/usr/lib/uml/modules/$(linux.uml --version)" "$work/uml-kernel/lib/modules/"
  guest_initramfs "$work/uml-kernel" uml overlay
  # Its memory is a file in TMPDIR.
  TMPDIR=/dev/shm guest_start "$name" linux.uml "mem=${UML_MEMORY:-128M}" quiet panic=-1 \
    "initrd=$work/uml.cpio" "uml_dir=$work" "umid=$name.uml" \
    con=null con0=fd:0,fd:1 "${args[@]}"
}

# Reads lines of guest $1's console until one begins with $2, which is then in
# $reply; hands the others to function $3.  Fails when the guest does.
guest_expect() {
  local name=$1 begin=$2 each=$3 out line rest='' status=1
  local end=$(($(date +%s) + VM_TIMEOUT))
  exec {out}<>"$work/$name.out"
  while :; do
    if IFS= read -r -t 0.5 -u "$out" line; then
      reply=${rest}${line%$'\r'}
      rest=
      echo "$reply" >>"$work/$name.console"
      [ -z "${VM_VERBOSE:-}" ] || echo "# $name: $reply" >&2
      [[ $reply != *"Kernel panic"* ]] || { echo "guest $name: $reply"; break; }
      [[ $reply != "$begin"* ]] || { status=0; break; }
      "$each" "$reply"
      continue
    fi
    rest+=$line # of an unfinished line
    guest_alive "$name" || { guest_post_mortem "$name" ended; break; }
    [ "$(date +%s)" -le "$end" ] || { guest_post_mortem "$name" "is silent"; break; }
  done
  exec {out}>&-
  return "$status"
}

# Explains a guest's end.
guest_post_mortem() {
  echo "guest $1 $2; its last lines:"
  tail -n 5 "$work/$1.console"
}

# Prints a line of a command's output.
guest_says() {
  [ -z "$1" ] || printf '%s\n' "$1"
}

# Waits until guest $1 has booted.
guest_wait_ready() {
  local reply
  guest_expect "$1" @ready :
}

# Sends command $2 to guest $1.
guest_send() {
  echo "+ $2" >>"$work/$1.console"
  printf '%s\n@run\n' "$2" 1<>"$work/$1.in"
}

# Runs command $2 in guest $1's shell: its output, and its status.
guest() {
  local reply
  guest_send "$1" "$2"
  guest_expect "$1" '@done ' guest_says || return 1
  return "${reply#@done }"
}

# Says whether guest $1 runs.
guest_alive() {
  [ -e "$work/$1.pid" ] && process_alive "$(<"$work/$1.pid")"
}

# Says whether guest $1 has ended.
guest_is_gone() {
  ! guest_alive "$1"
}

# Kills guest $1 as a crash would, with all processes of it.
guest_kill() {
  kill -KILL -- "-$(<"$work/$1.pid")" 2>/dev/null || true
  within 10 guest_is_gone "$1"
  rm -f "$work/$1.pid"
}

# Switches guest $1 off and waits for its end.
guest_poweroff() {
  guest_send "$1" 'poweroff -f'
  within "$VM_TIMEOUT" guest_is_gone "$1"
  rm -f "$work/$1.pid"
}

# Restarts guest $1 from inside, as its owner would, and waits for its boot.
guest_reboot() {
  guest_send "$1" 'reboot -f'
  guest_wait_ready "$1"
}

# Kills all guests.
guest_kill_all() {
  local pid
  for pid in "$work"/*.pid; do
    [ ! -e "$pid" ] || guest_kill "$(basename "$pid" .pid)"
  done
}

# Fails if a guest's kernel has found a mistake.
guests_are_healthy() {
  ! grep -aE 'BUG:|Oops|WARNING: CPU|Call Trace|Kernel panic|blocked for more' \
    "$work"/*.console
}
