# SPDX-License-Identifier: BSD-3-Clause
"""scale.py - how virtiod's costs grow: devices, queues, depth, folders, images,
memory; and what must not grow: start-up, and work without requests"""
import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time

import backends

MIB = 1 << 20
MANY = 100  # devices of one daemon
ENTRY = 160  # bytes of a struct fuse_direntplus with a name of at most 8


def table(title, head, lines, shown=None, axis=""):
    """A table, and the plot of column @shown over the first."""
    made = {"title": title, "head": head, "lines": [[cell for _, cell in line] for line in lines]}
    if shown is not None:
        made |= {"x": [line[0][0] for line in lines], "y": [line[shown][0] for line in lines],
                 "labels": [line[0][1] for line in lines],
                 "shown": [line[shown][1] for line in lines], "axis": axis}
    return made


def number(value, form="{:.0f}"):
    return value, form.format(value)


def short(value):
    for unit, size in ("M", 1000000), ("k", 1000):
        if value >= size:
            return value, f"{value / size:.0f}{unit}"
    return value, str(value)


class Daemon:
    """A virtiod with devices; a context manager."""

    def __init__(self, bench, devices):
        self.folder = tempfile.TemporaryDirectory(prefix="scale-", dir=bench.folders["tmpfs"])
        self.sockets = [str(pathlib.Path(self.folder.name) / f"{i}.sock")
                        for i in range(len(devices))]
        conf = pathlib.Path(self.folder.name) / "conf"
        conf.write_text("".join(f"[device d{i}]\nsocket={path}\n{keys}\n"
                                for i, (path, keys) in enumerate(zip(self.sockets, devices))))
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(pathlib.Path(self.folder.name) / "notify"))
        notify.settimeout(20)
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [bench.args.build / "server/virtiod", "--config", conf], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": notify.getsockname()})
        with notify:
            while b"READY=1" not in notify.recv(4096):
                pass
        self.ready_ms = (time.monotonic() - begin) * 1000
        self.pid = self.process.pid

    def resident_kib(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s*(\d+)", text)[1])

    def wake_ups(self):
        texts = (path.read_text(encoding="ascii")
                 for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/status"))
        return sum(int(n) for text in texts for n in re.findall(r"ctxt_switches:\s*(\d+)", text))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


@contextlib.contextmanager
def held(bench, daemon, kind, queues):
    """All devices are connected and idle meanwhile."""
    process = subprocess.Popen([bench.args.build / "tests/bench/vhold", kind, str(queues),
                                *daemon.sockets], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        process.communicate()


def blk_keys(bench):
    return f"kind=blk\nimage={bench.image('tmpfs')}\nlock=off"


def fs_keys(bench):
    return f"kind=fs\nsource={bench.share('tmpfs')}\ntag=scale"


def spent_ns(pid):
    """Of all threads, by the process's clock."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def loads(bench, daemon, kind, *args):
    """All devices at once.  Returns: vbench's results, and microseconds of processor."""
    seconds = bench.args.time * 2
    begin = time.monotonic() + 0.2 + 0.04 * len(daemon.sockets)
    with contextlib.ExitStack() as stack:
        outs = [stack.enter_context(tempfile.NamedTemporaryFile(dir=bench.folders["tmpfs"]))
                for _ in daemon.sockets]
        running = [subprocess.Popen(
            [bench.args.build / "tests/bench/vbench", kind, f"--socket={path}",
             f"--json={out.name}", f"--time={seconds}", f"--begin-at={begin}", *args],
            stdout=subprocess.DEVNULL) for path, out in zip(daemon.sockets, outs)]
        time.sleep(max(begin - time.monotonic(), 0))
        before = spent_ns(daemon.pid)
        time.sleep(seconds)
        spent = spent_ns(daemon.pid) - before
        for process in running:
            process.wait()
        return [json.load(out) for out in outs], spent / 1000 / seconds


def line_of_load(n, bench, daemon, *args):
    results, spent = loads(bench, daemon, "blk", *args)
    rate = sum(one["ops_per_s"] for one in results)
    return [n, number(rate), number(spent / max(rate, 1), "{:.2f}")]


HEAD = ["operations/s", "processor us each"]


def devices(bench):
    lines = []
    for n in 1, 4, 16, 64:
        with Daemon(bench, [blk_keys(bench)] * n) as daemon:
            lines.append(line_of_load(short(n), bench, daemon, "--depth=4"))
    return table("4k random reads of tmpfs, depth 4, of disks at once", ["disks", *HEAD], lines, 2,
                 "disks; processor us an operation")


def over(bench, title, head, values, option, more=()):
    lines = []
    for n in values:
        with Daemon(bench, [blk_keys(bench)]) as daemon:
            lines.append(line_of_load(short(n), bench, daemon, f"--{option}={n}", *more))
    return table(title, [head, *HEAD], lines, 2, f"{head}; processor us an operation")


def folders(bench):
    """A folder of n files, listed with attributes."""
    lines = []
    share = bench.share("tmpfs")
    here = share / "many"
    here.mkdir()
    made = 0
    for n in 10, 100, 1000, 10000, 100000, 1000000:
        if n > 10000 and bench.args.quick:
            break
        for i in range(made, n):
            os.mknod(here / f"f{i}")
        made = n
        with Daemon(bench, [fs_keys(bench)]) as daemon:
            found = loads(bench, daemon, "fs", "--mix=list", "--folder=many")[0][0]
            per_entry = 1e6 / (found["mib_per_s"] * MIB / ENTRY)
            lines.append([short(n), number(per_entry, "{:.2f}"),
                          number(daemon.resident_kib() / 1024, "{:.1f}")])
    subprocess.run(["find", here, "-delete"], check=True)
    return table("Listing a folder with attributes (READDIRPLUS)",
                 ["files", "us an entry", "MiB resident afterwards"], lines, 1,
                 "files; us an entry")


def images(bench):
    lines = []
    path = bench.folders["disk"] / "sparse"
    for gib in 1, 16, 128, 1024:
        with open(path, "wb") as file:
            os.truncate(file.fileno(), gib << 30)
        with Daemon(bench, [f"kind=blk\nimage={path}"]) as daemon:
            lines.append([*line_of_load(number(gib, "{} GiB"), bench, daemon, "--depth=8"),
                          number(daemon.ready_ms, "{:.0f} ms"),
                          number(daemon.resident_kib() / 1024, "{:.1f}")])
    path.unlink()
    return table("4k random reads of a sparse image on disk, depth 8",
                 ["image", *HEAD, "start", "MiB resident"], lines, 2,
                 "GiB; processor us an operation")


def memory(bench):
    lines, figures = [], {}
    for kind, keys in ("blk", blk_keys(bench)), ("fs", fs_keys(bench)):
        more = "\nqueues=16" if kind == "fs" else ""
        for n, queues in (1, 1), (1, 16), (MANY, 1):
            with Daemon(bench, [keys + more] * n) as daemon:
                before = daemon.resident_kib()
                with held(bench, daemon, kind, queues):
                    figures[n, queues] = before, daemon.resident_kib()
        idle, busy = (figures[MANY, 1][i] - figures[1, 1][i] for i in (0, 1))
        queue = (figures[1, 16][1] - figures[1, 1][1]) / 15
        lines.append([(0, kind), number(figures[1, 1][0] / 1024, "{:.1f} MiB"),
                      number(idle / (MANY - 1), "{:.0f} KiB"),
                      number(busy / (MANY - 1), "{:.0f} KiB"),
                      number(queue, "{:.0f} KiB")])
    return table("Resident memory", ["kind", "daemon with one device", "each further device",
                                     "the same, connected", "each further queue, started"], lines)


def start_up(bench, kind, keys):
    """Milliseconds and MiB of a daemon with many devices, medians."""
    times, sizes = [], []
    for _ in range(bench.args.rounds):
        with Daemon(bench, [keys] * MANY) as daemon:
            times.append(daemon.ready_ms)
            sizes.append(daemon.resident_kib() / 1024)
    ms, mib = statistics.median(times), statistics.median(sizes)
    yield f"start-up to listening, {MANY} {kind} devices", f"{ms:.0f} ms", "under 100 ms", ms < 100
    yield f"resident then, {MANY} {kind} devices", f"{mib:.1f} MiB", "at most 20 MiB", mib <= 20


def idle(bench, kind, keys):
    """Wake-ups of connected devices without requests."""
    seconds = 2
    with Daemon(bench, [keys] * MANY) as daemon, held(bench, daemon, kind, 1):
        time.sleep(0.5)  # what connecting leaves to do
        before = daemon.wake_ups()
        time.sleep(seconds)
        n = daemon.wake_ups() - before
    yield (f"wake-ups a second, {MANY} {kind} devices connected", f"{n / seconds:.1f}", "0", n == 0)


def rings(bench):
    """What popping and completing a request costs."""
    text = subprocess.run([bench.args.build / "tests/bench/ring-cost"], stdout=subprocess.PIPE,
                          text=True, check=True).stdout
    for name in "split", "packed":
        cost, times = map(float, re.search(
            rf"^{name}\s+median\s+([\d.]+) ns.* ([\d.]+)x$", text, flags=re.M).groups())
        yield (f"pop and complete, {name} ring, 3 descriptors, batches of 32",
               f"{cost} ns, {times} times as fast as element by element",
               "at most 15 ns, at least 4 times", cost <= 15 and times >= 4)


def targets(bench):
    found = [*rings(bench)]
    for kind, keys in ("blk", blk_keys(bench)), ("fs", fs_keys(bench)):
        found += [*start_up(bench, kind, keys), *idle(bench, kind, keys)]
    return found


def measure(bench):
    """Returns: {"tables": [...], "targets": [[name, value, target, met], ...]}"""
    print("scale: devices, queues, depth, folders, images, memory", flush=True)
    return {
        "tables": [
            devices(bench),
            over(bench, "4k random reads of tmpfs by queues, depth 8 each", "queues",
                 (1, 2, 4, 8, 16), "queues", ("--depth=8",)),
            over(bench, "4k random reads of tmpfs by depth", "depth",
                 (1, 2, 4, 8, 16, 32, 64, 128, 256), "depth"),
            folders(bench), images(bench), memory(bench)],
        "targets": targets(bench),
    }
