#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""cut-power.py - cuts the power of a disk whose writes qemu's blklogwrites logged

usage: cut-power.py LOG PROMISES WORK SIZE

PROMISES has a line "ENTRIES FILE MD5" for each file that the guest was told is
durable when the log had that many entries.  Behind many entries of the log an
image of SIZE bytes is made of all writes before the last flush, and of those
after it that chance keeps: an unflushed write may have reached the disk, in
whatever order.  Its file system must recover by its journal alone, and have
every file that was promised by then.  The result is a line for each loss, and
the numbers at the end; the status is 1 if anything was lost.
"""
import hashlib
import os
import random
import struct
import subprocess
import sys

ENTRY = struct.Struct("<4Q")  # sector, sectors, flags, length of a mark
MAGIC, SECTOR = 0x6A736677736872, 512
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
CUTS = 60


def read_log(path):
    """Yields (byte offset, data or None, flags) for each entry."""
    with open(path, "rb") as log:
        magic, _, entries, sector = struct.unpack("<3QI", log.read(28))
        assert (magic, sector) == (MAGIC, SECTOR), "not a log of writes"
        at = SECTOR
        for _ in range(entries):
            log.seek(at)
            start, count, flags, _ = ENTRY.unpack(log.read(ENTRY.size))
            assert not flags & (DISCARD | MARK), "only writes and flushes"
            log.seek(at + SECTOR)
            yield start * SECTOR, log.read(count * SECTOR), flags
            at += (1 + count) * SECTOR


def read_promises(path):
    with open(path, encoding="ascii") as lines:
        return [(int(n), name, md5) for n, name, md5 in map(str.split, lines)]


def make_image(path, size, entries, chance):
    """What is left when the power goes behind the last of entries."""
    last = max((i for i, e in enumerate(entries) if e[2] & FLUSH), default=-1)
    with open(path, "wb") as image:
        image.truncate(size)
        for i, (offset, data, flags) in enumerate(entries):
            if data and (i < last or flags & FUA or chance.random() < 0.5):
                image.seek(offset)
                image.write(data)


def lost_files(image, promised, work):
    """Names the promised files that are not there, or have other bytes."""
    dump = os.path.join(work, "dump")
    for _, name, md5 in promised:
        with open(dump, "wb"):
            pass
        subprocess.run(["debugfs", "-R", f"dump /{name} {dump}", image],
                       check=True, capture_output=True)
        with open(dump, "rb") as file:
            if hashlib.md5(file.read()).hexdigest() != md5:
                yield name


def losses(image, promised, work):
    fsck = subprocess.run(["e2fsck", "-f", "-p", image], capture_output=True)
    if fsck.returncode > 1:
        yield "the file system"
        return
    yield from lost_files(image, promised, work)


def main():
    log, promises, work, size = sys.argv[1:]
    entries, promises = list(read_log(log)), read_promises(promises)
    first = promises[0][0]  # before it there is no file system
    step = max((len(entries) - first) // CUTS, 1)
    chance, image = random.Random(1), os.path.join(work, "cut.img")
    cuts = bad = 0
    for cut in range(first, len(entries) + 1, step):
        make_image(image, int(size), entries[:cut], chance)
        promised = [p for p in promises if p[0] <= cut]
        lost = list(losses(image, promised, work))
        if lost:
            print(f"cut behind entry {cut}: lost {', '.join(lost)}")
        cuts, bad = cuts + 1, bad + bool(lost)
    os.unlink(image)
    print(f"{len(entries)} entries, {len(promises)} promises, "
          f"{cuts} cuts, {bad} of them lost data")
    sys.exit(bad > 0)


main()
