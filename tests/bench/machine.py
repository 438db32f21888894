# SPDX-License-Identifier: BSD-3-Clause
"""machine.py - what is measured on, and whether others use it meanwhile"""
import os
import re
import subprocess
import sys
import time

BUSY = 0.05  # share of all processors beyond which figures are worth little


def ticks():
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:]]
    return sum(fields[:8]), fields[3] + fields[4]  # all, idle


def busy(seconds):
    """The share of the processors that others use, for so long."""
    all_before, idle_before = ticks()
    time.sleep(seconds)
    all_after, idle_after = ticks()
    passed = all_after - all_before
    return 1 - (idle_after - idle_before) / passed if passed > 0 else 0


def check_idle(anyhow):
    """Ends the program on a busy machine, unless told not to."""
    share = busy(2)
    if share <= BUSY:
        return
    print(f"other programs use {share:.0%} of this machine: ratios will not be what they are on "
          "an idle one", file=sys.stderr)
    if not anyhow:
        sys.exit("not measured; --busy measures anyhow")


def first_line(*command):
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             check=False).stdout
    except OSError:
        return ""
    return out.splitlines()[0].strip() if out else ""


def version(*command):
    found = re.search(r"\d+\.\d+(\.\d+)?", first_line(*command))
    return found.group(0) if found else ""


def describe(args):
    with open("/proc/cpuinfo", encoding="ascii") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) >> 20
    return {
        "processors": os.cpu_count(),
        "model": model.group(1) if model else os.uname().machine,
        "memory_gib": memory + 1,
        "kernel": os.uname().release,
        "disk": first_line("stat", "-f", "-c", "%T", args.disk),
        "date": time.strftime("%Y-%m-%d"),
        "rounds": args.rounds,
        "seconds": args.time,
        "versions": {
            "virtiod": version(args.build / "server/virtiod", "--version"),
            "qemu-storage-daemon": version("qemu-storage-daemon", "--version"),
            "C virtiofsd": version("/usr/lib/qemu/virtiofsd", "--version"),
            "Rust virtiofsd": version(args.rust_virtiofsd, "--version")
            if args.rust_virtiofsd else "",
        },
    }
