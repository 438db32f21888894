#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""compare.py - runs vbench on virtiod and on its peers in turn, and prints the
ratios of medians; called by contrib/bench

Each row is one load.  In each round every back-end is started afresh, loaded and
ended, in an order that turns round by round, so that what disturbs the machine
disturbs all.  A ratio above 1 means that virtiod is better: more operations a
second, less time of the processor.  In brackets: the least and the greatest ratio
of single rounds.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20

# Name, arguments of vbench.
BLK_ROWS = [
    ("4k random read, depth 1", "--mix=randread --depth=1"),
    ("4k random write, depth 1", "--mix=randwrite --depth=1"),
    ("4k random read, depth 32", "--mix=randread --depth=32"),
    ("4k random write, depth 32", "--mix=randwrite --depth=32"),
    ("4k random read, depth 32, 2 queues", "--mix=randread --depth=32 --queues=2"),
    ("128k sequential read, depth 8", "--mix=read --bs=128k --depth=8"),
    ("128k sequential write, depth 8", "--mix=write --bs=128k --depth=8"),
    ("no I/O, depth 32", "--mix=get-id --depth=32"),
]
FS_ROWS = [
    ("lookup and getattr", "--mix=stat"),
    ("negative lookup", "--mix=negative"),
    ("open and close", "--mix=open"),
    ("create and unlink", "--mix=create"),
    ("rename", "--mix=rename"),
    ("small file read", "--mix=small-read"),
    ("list 1000 files", "--mix=list"),
    ("4k random read, depth 1", "--mix=randread"),
    ("4k random read, depth 32", "--mix=randread --depth=32"),
    ("4k random write, depth 32", "--mix=randwrite --depth=32"),
    ("128k sequential read, depth 8", "--mix=read --bs=128k --depth=8"),
    ("128k sequential write, depth 8", "--mix=write --bs=128k --depth=8"),
]


def qsd(path, image, aio):
    return ["qemu-storage-daemon", "--object", "iothread,id=t", "--blockdev",
            f"file,node-name=f,filename={image},aio={aio}", "--blockdev",
            "raw,node-name=d,file=f", "--export",
            f"vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={path},"
            "writable=on,num-queues=4,iothread=t"]


def blk_backends(args, image):
    """Names and the commands that serve the socket they are given."""
    backends = {
        "virtiod": lambda path: [args.build / "server/virtiod", "--device",
                                 f"blk,socket={path},image={image}"],
        "synchronous": lambda path: [args.build / "tests/bench/sync-blk", "--device",
                                     f"sync,socket={path},image={image}"],
    }
    if shutil.which("qemu-storage-daemon"):
        for aio in "threads", "io_uring":
            backends[f"qsd {aio}"] = lambda path, aio=aio: qsd(path, image, aio)
    return backends


def fs_backends(args, share):
    backends = {
        "virtiod": lambda path: [args.build / "server/virtiod", "--device",
                                 f"fs,socket={path},source={share},tag=bench"],
    }
    for name, program in (("C virtiofsd", "/usr/lib/qemu/virtiofsd"),
                          ("Rust virtiofsd", "/usr/libexec/virtiofsd")):
        if not os.access(program, os.X_OK):
            continue
        if name.startswith("C"):
            backends[name] = lambda path, p=program: [
                p, f"--socket-path={path}", "-o", f"source={share}", "-o", "cache=auto"]
        else:
            backends[name] = lambda path, p=program: [
                p, f"--socket-path={path}", f"--shared-dir={share}", "--cache=auto"]
    return backends


def wait_for(path, process):
    """The socket is not connected to: some back-ends serve one connection only."""
    end = time.monotonic() + 20
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"{process.args[0]} does not serve {path}")
        time.sleep(0.01)
    time.sleep(0.1)


def end(process):
    """Ends a back-end with all processes that it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(args, work, kind, command, row):
    """One run: a back-end, loaded.  Returns vbench's result."""
    path, result = work / "socket", work / "result"
    for file in path, result:
        file.unlink(missing_ok=True)
    process = subprocess.Popen(command(path), start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for(path, process)
        subprocess.run([args.build / "tests/bench/vbench", kind, f"--socket={path}",
                        f"--json={result}", f"--time={args.time}",
                        f"--span={args.size * MIB}", *row.split()],
                       check=True, stdout=subprocess.DEVNULL)
    finally:
        end(process)
    return json.loads(result.read_text())


def in_turn(names, number):
    shift = number % len(names)
    return names[shift:] + names[:shift]


def run_row(args, work, kind, backends, row):
    """Results of all rounds, by back-end."""
    results = {name: [] for name in backends}
    for number in range(args.rounds):
        for name in in_turn(list(backends), number):
            results[name].append(measure(args, work, kind, backends[name], row))
    return results


def ratio(ours, theirs, key, better):
    """Of the medians, and the least and greatest of single rounds."""
    def of(a, b):
        return (a / b if better == "more" else b / a) if a and b else 0
    pairs = [of(a[key], b[key]) for a, b in zip(ours, theirs)]
    medians = [statistics.median(r[key] for r in results) for results in (ours, theirs)]
    return of(*medians), min(pairs), max(pairs)


def print_row(name, results):
    ours = results["virtiod"]
    rate = statistics.median(r["ops_per_s"] for r in ours)
    cpu = statistics.median(r["cpu_us_per_op"] for r in ours)
    print(f"{name}: {rate:.0f} operations/s, {cpu:.2f} us of processor each")
    for peer, theirs in results.items():
        if peer == "virtiod":
            continue
        columns = []
        for key, better in ("ops_per_s", "more"), ("cpu_us_per_op", "less"):
            columns.append("%5.2f [%.2f-%.2f]" % ratio(ours, theirs, key, better))
        print(f"  against {peer:<16} rate {columns[0]:<22} processor {columns[1]}")
    sys.stdout.flush()


def run_kind(args, work, kind, backends, rows):
    if len(backends) == 1:
        print(f"no peer of {kind} is installed")
    for name, row in rows:
        if args.only and args.only not in name:
            continue
        results = run_row(args, work, kind, backends, row)
        print_row(f"{kind} {name}", results)
        if args.json:
            with open(args.json, "a", encoding="utf-8") as file:
                json.dump({"kind": kind, "row": name, "results": results}, file)
                file.write("\n")


def main():
    parser = argparse.ArgumentParser(description="virtiod beside its peers")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--time", type=float, default=2, help="seconds of one run")
    parser.add_argument("--size", type=int, default=256, help="MiB of disk and file")
    parser.add_argument("--dir", default="/dev/shm", help="where disk and files lie")
    parser.add_argument("--kind", choices=("blk", "fs"), help="only this kind")
    parser.add_argument("--only", help="only rows whose name contains this")
    parser.add_argument("--json", help="append all results to this file")
    args = parser.parse_args()
    print(f"{os.cpu_count()} processors, {os.uname().release}, {args.rounds} rounds "
          f"of {args.time} s, in {args.dir}")
    with tempfile.TemporaryDirectory(prefix="virtiod-bench-", dir=args.dir) as folder:
        work = pathlib.Path(folder)
        image, share = work / "image", work / "share"
        share.mkdir()
        if args.kind != "fs":
            image.write_bytes(bytes(args.size * MIB))
            run_kind(args, work, "blk", blk_backends(args, image), BLK_ROWS)
            image.unlink()
        if args.kind != "blk":
            run_kind(args, work, "fs", fs_backends(args, share), FS_ROWS)


if __name__ == "__main__":
    main()
