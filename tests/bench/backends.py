# SPDX-License-Identifier: BSD-3-Clause
"""backends.py - virtiod and the programs that it is compared with: how each is
started, and ended

virtiod runs with its defaults; a peer with the settings that are best for it,
without its sandbox where that costs.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

OURS = "virtiod"
HOST = "host"


def qsd(engine, iothread, direct):
    def command(path, image):
        line = ["qemu-storage-daemon"]
        if iothread:
            line += ["--object", "iothread,id=t"]
        return line + [
            "--blockdev", f"file,node-name=f,filename={image},aio={engine}"
            f",cache.direct={'on' if direct else 'off'}", "--blockdev",
            f"raw,node-name=d,file=f,cache.direct={'on' if direct else 'off'}", "--export",
            f"vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={path},"
            f"writable=on,num-queues=4{',iothread=t' if iothread else ''}"]
    return command


def blk(build, direct):
    """Backends of a disk: name to what makes a command of socket and image."""
    cache = ",cache=none" if direct else ""
    backends = {OURS: lambda path, image: [f"{build}/server/virtiod", "--device",
                                           f"blk,socket={path},image={image}{cache}"]}
    if not direct:
        backends["synchronous"] = lambda path, image: [
            f"{build}/tests/bench/sync-blk", path, image]
    if shutil.which("qemu-storage-daemon"):
        backends["qsd io_uring, iothread"] = qsd("io_uring", True, direct)
        backends["qsd io_uring"] = qsd("io_uring", False, direct)
        backends["qsd threads, iothread"] = qsd("threads", True, direct)
        if direct:
            backends["qsd native, iothread"] = qsd("native", True, direct)
        else:
            backends["qsd threads"] = qsd("threads", False, direct)
    return backends


def virtiod_fs(build, options, *more):
    return lambda path, share: [f"{build}/server/virtiod", "--device",
                                f"fs,socket={path},source={share},tag=bench{options}", *more]


def rust(program, options):
    return lambda path, share: [program, f"--socket-path={path}", f"--shared-dir={share}",
                                "--tag=bench", "--cache=auto", "--sandbox=chroot",
                                "--seccomp=none", *options]


def c(program, options):
    return lambda path, share: [program, f"--socket-path={path}", "-o", f"source={share}", "-o",
                                "cache=auto", *options]


def fs(build, rust_program, direct, parallel, queues):
    """Backends of a directory.
    parallel: whether several requests are under way, so that a thread pool may pay; that of
        the Rust virtiofsd is left out, because it loses a notification now and then, and hangs
    queues: how many virtiod is asked to have; the peers have one"""
    ours = (",direct-io=yes" if direct else "") + (f",queues={queues}" if queues > 1 else "")
    backends = {OURS: virtiod_fs(build, ours)}
    allow = ["--allow-direct-io"] if direct else []
    if rust_program:
        backends["Rust virtiofsd"] = rust(rust_program, allow)
    program = "/usr/lib/qemu/virtiofsd"
    allow = ["-o", "allow_direct_io"] if direct else []
    if os.access(program, os.X_OK):
        backends["C virtiofsd"] = c(program, [*allow, "--thread-pool-size=0"])
        if parallel:
            backends["C virtiofsd, pool"] = c(program, allow)
    return backends


def sandbox(build):
    """Virtiod with and without what it confines itself by."""
    return {OURS: virtiod_fs(build, ""),
            "without Landlock": virtiod_fs(build, ",landlock=never"),
            "without seccomp": virtiod_fs(build, "", "--seccomp", "none"),
            "without both": virtiod_fs(build, ",landlock=never", "--seccomp", "none")}


def is_listening(path):
    """Connecting would tell, too, but some serve one connection and end."""
    with open("/proc/net/unix", encoding="ascii") as lines:
        return any(line.split()[3:4] == ["00010000"] and line.rstrip().endswith(f" {path}")
                   for line in lines)


class Backend:
    """A running one, in a session of its own; a context manager."""

    def __init__(self, command, path):
        path = pathlib.Path(path)
        path.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [str(word) for word in command], start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        end = time.monotonic() + 20
        while not is_listening(path):
            if self.process.poll() is not None or time.monotonic() > end:
                self.end()
                sys.exit(f"{command[0]} does not serve {path}: {' '.join(map(str, command))}")
            time.sleep(0.002)

    def end(self):
        """Ends it with all processes that it started."""
        for number in signal.SIGTERM, signal.SIGKILL:
            try:
                os.killpg(self.pid, number)
                self.process.wait(10)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
