# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154 # lib.sh sets $work and $vm_dir
#
# daemon.sh - one virtiod for a test; sourced by lib.sh

daemon_pid=
daemon_child= # the same, or what it runs under
daemon_wrapper=() # a command to run the daemon under, such as strace

# Starts virtiod with the key-file on standard input and waits until it serves.
daemon_start() {
  cat >"$work/virtiod.conf"
  "${daemon_wrapper[@]}" "$VIRTIOD" --config "$work/virtiod.conf" \
    </dev/null >"$work/daemon.log" 2>&1 &
  daemon_child=$!
  daemon_pid=$daemon_child
  within 20 daemon_has_settled
  daemon_alive || { cat "$work/daemon.log" >&2; exit 1; }
  if [ ${#daemon_wrapper[@]} -gt 0 ]; then
    daemon_pid=$(pgrep -P "$daemon_child" -x "$(basename "$VIRTIOD")")
  fi
}

# Says whether the daemon is ready or has given up.
daemon_has_settled() {
  ! daemon_alive || daemon_logged 'virtiod: serving [0-9]+ devices'
}

# Says whether the daemon runs.
daemon_alive() {
  [ -n "$daemon_pid" ] && process_alive "$daemon_pid"
}

# Changes the key-file by sed script $1 and has the daemon read it again.
daemon_reload() {
  sed -i "$1" "$work/virtiod.conf"
  kill -HUP "$daemon_pid"
}

# Says whether the daemon's log has a line that matches $1.
daemon_logged() {
  grep -qE -- "$1" "$work/daemon.log"
}

# Kills the daemon as a crash would.
daemon_kill() {
  kill -KILL "$daemon_pid"
  wait "$daemon_child" 2>/dev/null || true
  daemon_pid=
}

# Ends the daemon and returns its status, or 1 if a filter of system calls stopped
# one of its calls.
daemon_stop() {
  local pid=$daemon_pid status=0
  daemon_pid=
  [ -n "$pid" ] || return 0
  kill -TERM "$pid" 2>/dev/null || true
  within 10 daemon_is_gone "$pid" || kill -KILL "$pid"
  wait "$daemon_child" || status=$?
  if daemon_logged 'may not make system call'; then
    grep 'may not make system call' "$work/daemon.log" >&2
    status=1
  fi
  return "$status"
}

# Says whether process $1 has ended.
daemon_is_gone() {
  ! process_alive "$1"
}

# Prints what the daemon holds: open files, threads, and mappings of files,
# guest memory and rings.
daemon_holds() {
  local fds=("/proc/$daemon_pid/fd"/*) threads=("/proc/$daemon_pid/task"/*)
  echo "fds=${#fds[@]} threads=${#threads[@]}" \
    "maps=$(awk 'NF > 5' "/proc/$daemon_pid/maps" | wc -l)"
}

# Prints how many mappings it has without a name: stacks, arenas, guard pages.
daemon_anonymous_maps() {
  awk 'NF == 5' "/proc/$daemon_pid/maps" | wc -l
}

# Prints how many mappings of guests' memory the daemon has.
daemon_guest_maps() {
  grep -cE 'memfd:|vm_file' "/proc/$daemon_pid/maps" || true
}
