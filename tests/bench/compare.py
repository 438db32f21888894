#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""compare.py - loads virtiod and its peers in turn, row by row; called by
contrib/bench

In each round of a row every back-end is started afresh, loaded and ended, in an
order that turns round by round, so that what disturbs the machine disturbs all.
Rows are those of rows.py, back-ends those of backends.py; report.py makes ratios
of medians, tables and a chart of what this writes.
"""
import argparse
import contextlib
import json
import mmap
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import backends
import machine
import report
import rows
import scale

MIB = 1 << 20
HERE = pathlib.Path(__file__).resolve().parent
FS_SPAN = 64  # MiB of the file that is read and written through fs
FS_DIRECT_SPAN = 16  # the same past the page cache, which first has to get to the disk


class Bench:
    """The places and programs of a run."""

    def __init__(self, args, folders):
        self.args = args
        self.folders = folders  # by place
        self.socket = folders["tmpfs"] / "socket"
        self.images = {}

    def image(self, place):
        """A disk's bytes, written and in the page cache."""
        if place not in self.images:
            path = self.folders[place] / "image"
            with open(path, "wb") as file:
                for _ in range(self.args.size):
                    file.write(os.urandom(MIB))
                os.fsync(file.fileno())
            self.images[place] = path
        return self.images[place]

    def share(self, place):
        path = self.folders[place] / "share"
        path.mkdir(exist_ok=True)
        return path

    def backends(self, row):
        """Names to commands that serve the socket."""
        queues = int(option(row.args, "--queues", "1"))
        parallel = int(option(row.args, "--depth", "1")) > 1
        if row.kind == "blk":
            made = backends.blk(self.args.build, row.direct)
            behind = self.image(row.place)
        else:
            behind = self.share(row.place)
            if row.kind == "sandbox":
                made = backends.sandbox(self.args.build)
            else:
                made = backends.fs(self.args.build, self.args.rust_virtiofsd, row.direct, parallel,
                                   queues)
        return {name: lambda make=make: make(self.socket, behind) for name, make in made.items()}

    def start(self, command):
        return backends.Backend(command(), self.socket)

    def vbench(self, row, name, command, seconds, *more):
        """One run of a back-end.  Returns: what vbench says."""
        args = row.args.split()
        if row.kind == "fs" and name != backends.OURS:  # peers have one queue
            args = [word for word in args if not word.startswith("--queues=")]
        result = self.folders["tmpfs"] / "result"
        result.unlink(missing_ok=True)
        span = self.args.size if row.kind == "blk" else fs_span(row)
        with self.start(command):
            subprocess.run([self.args.build / "tests/bench/vbench",
                            "blk" if row.kind == "blk" else "fs", f"--socket={self.socket}",
                            f"--json={result}", f"--time={seconds}", "--warm-up=0.05",
                            f"--span={span * MIB}", *args, *more],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           timeout=seconds + 10)
        return json.loads(result.read_text())


def option(args, name, fallback):
    for word in args.split():
        if word.startswith(name + "="):
            return word[len(name) + 1:]
    return fallback


def fs_span(row):
    return FS_DIRECT_SPAN if row.direct else FS_SPAN


def in_turn(names, number):
    shift = number % len(names)
    return names[shift:] + names[:shift]


def host_sample(bench, row):
    """The host's own reads or writes of the same size, one after the other."""
    seconds, length = bench.args.time, 1 << 20
    path = bench.share(row.place) / "host-data"
    flags = os.O_RDWR | os.O_CREAT | (os.O_DIRECT if row.direct else 0)
    with contextlib.closing(mmap.mmap(-1, length)) as buffer:
        fd = os.open(path, flags, 0o600)
        try:
            for offset in range(0, fs_span(row) * MIB, length):
                os.pwritev(fd, [buffer], offset)
            call = os.preadv if row.host == "read" else os.pwritev
            begin = now = time.monotonic()
            n = 0
            while now < begin + seconds:
                call(fd, [buffer], n * length % (fs_span(row) * MIB))
                n += 1
                now = time.monotonic()
        finally:
            os.close(fd)
            path.unlink()
    return {"ops_per_s": n / (now - begin), "cpu_us_per_op": 0}


def attempt(bench, row, name, command, *more):
    """A run, or None if it failed."""
    try:
        return bench.vbench(row, name, command, *more)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{row.id}: {name} failed: {error} {(error.stderr or b'').decode().strip()}",
              file=sys.stderr)
        return None


def run_row(bench, row):
    """All samples of a row of vbench, by back-end, and system calls.

    A peer that fails leaves the row; if virtiod fails there is no row: None."""
    commands = bench.backends(row)
    samples = {name: [] for name in commands}
    if row.host:
        samples[backends.HOST] = []
    names = list(samples)
    for number in range(bench.args.rounds):
        for name in in_turn(names, number):
            if name == backends.HOST:
                samples[name].append(host_sample(bench, row))
            elif name in samples:
                samples[name].append(attempt(bench, row, name, commands[name], bench.args.time))
                if samples[name][-1] is None:
                    del samples[name]
        if backends.OURS not in samples:
            return None
    result = report.result(row, samples)
    for name in {backends.OURS, report.verdict(result)["peer"]} - {None, backends.HOST}:
        counted = attempt(bench, row, name, commands[name], 0.1, "--syscalls")
        result["syscalls"][name] = counted and counted["syscalls_per_op"]
    return result


def guest_sample(bench, guest_rows, command):
    """All guest rows in one guest of one back-end, or on the host."""
    share = bench.share("tmpfs")
    words = [HERE / "guest.sh", bench.args.build / "tests/bench/guest-load"]
    works = [row.args for row in guest_rows]
    with contextlib.ExitStack() as stack:
        if command is None:
            words += ["host", share]
        else:
            backend = stack.enter_context(bench.start(command))
            words += [bench.socket, str(backend.pid)]
        done = subprocess.run(["bash", *words, *works], stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    subprocess.run(["find", share, "-mindepth", "1", "-delete"], check=True)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or len(results) != len(works):
        print(f"no figures of a guest: {done.stdout[-300:]}{done.stderr[-300:]}", file=sys.stderr)
        return None
    return results


def run_guest(bench, guest_rows):
    """Results of all guest rows."""
    commands = {**bench.backends(guest_rows[0]), backends.HOST: None}
    samples = {name: [] for name in commands}
    for number in range(bench.args.rounds):
        for name in in_turn(list(commands), number):
            samples[name].append(guest_sample(bench, guest_rows, commands[name]))
    samples = {name: found for name, found in samples.items() if None not in found}
    if backends.OURS not in samples:
        return []
    return [report.result(row, {name: [sample[i] for sample in found]
                                for name, found in samples.items()})
            for i, row in enumerate(guest_rows)]


def parse():
    parser = argparse.ArgumentParser(description="virtiod beside its peers")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--rust-virtiofsd", help="its program")
    parser.add_argument("--rounds", type=int, default=5, help="of each row (default 5)")
    parser.add_argument("--time", type=float, default=0.25,
                        help="seconds of one sample (default 0.25: twelve minutes in all)")
    parser.add_argument("--quick", action="store_true", help="two rounds of a tenth of a second")
    parser.add_argument("--size", type=int, default=256, help="MiB of a disk (default 256)")
    parser.add_argument("--tmpfs", default="/dev/shm", help="a folder on tmpfs")
    parser.add_argument("--disk", default="/var/tmp", help="a folder on a disk")
    parser.add_argument("--only", action="append", metavar="TEXT",
                        help="only rows whose group and name contain this, or scale; repeatable")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    parser.add_argument("--no-scale", action="store_true", help="leave out how cost grows")
    parser.add_argument("--json", type=pathlib.Path, help="write all samples to this file")
    parser.add_argument("--write-docs", nargs="?", type=pathlib.Path, const=HERE.parent.parent,
                        metavar="TREE", help="put tables and charts into docs/ and README.md")
    parser.add_argument("--from-json", type=pathlib.Path,
                        help="measure nothing: what an earlier run has written")
    parser.add_argument("--busy", action="store_true", help="measure even on a busy machine")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.time = 2, 0.1
    return args


def measure_rows(bench, chosen):
    """Measures and prints row by row."""
    guest_rows = [row for row in chosen if row.kind == "guest"]
    results = []
    for row in chosen:
        if row.kind == "guest":
            continue
        busy = machine.busy(0.1)
        result = run_row(bench, row)
        if result is not None:
            results.append({**result, "busy": busy})
            report.print_result(results[-1])
    if guest_rows:
        for result in run_guest(bench, guest_rows):
            results.append(result)
            report.print_result(result)
    return results


def wants_scale(args):
    return not args.no_scale and (not args.only or any(text in "scale" for text in args.only))


def measure_all(args, chosen):
    with contextlib.ExitStack() as stack:
        folders = {place: pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(
            prefix="virtiod-bench-", dir=place_dir)))
            for place, place_dir in (("tmpfs", args.tmpfs), ("disk", args.disk))}
        bench = Bench(args, folders)
        begin = time.monotonic()
        results = measure_rows(bench, chosen)
        scaled = scale.measure(bench) if wants_scale(args) else None
        return {"machine": machine.describe(args), "rows": results, "scale": scaled,
                "seconds": time.monotonic() - begin}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends back-ends, too
    args = parse()
    chosen = [row for row in rows.all_rows(os.cpu_count())
              if not args.only or any(text in row.id for text in args.only)]
    if args.list:
        print("\n".join(row.id for row in chosen))
        return
    if args.from_json:
        run = json.loads(args.from_json.read_text())
    else:
        machine.check_idle(args.busy)
        run = measure_all(args, chosen)
    if args.json and not args.from_json:
        args.json.write_text(json.dumps(run, indent=1))
    report.print_summary(run)
    if args.write_docs:
        report.write_docs(run, args.write_docs)
    if not args.from_json and len(run["rows"]) != len(chosen):
        sys.exit(f"{len(chosen) - len(run['rows'])} rows could not be measured")


if __name__ == "__main__":
    main()
