# SPDX-License-Identifier: BSD-3-Clause
"""rows.py - what is measured: each row is one load, and says what it must reach

Targets are ratios of medians: of operations a second, virtiod to the best of the
peers that the row names (at least), and of processor time per operation (at
most).
"""
import dataclasses

QSD = "qsd"
SYNC = "synchronous"
FSD = "virtiofsd"


@dataclasses.dataclass(frozen=True)
class Row:
    group: str  # of the table and the chart
    kind: str  # "blk" or "fs" of vbench, "sandbox" of fs, or "guest"
    name: str
    place: str  # "tmpfs" or "disk"
    args: str  # of vbench; the workload in a guest
    rate: float = 0  # target; 0: for orientation
    cpu: float = 0
    rate_peers: tuple = ()  # begins of the names that the rate is judged by
    cpu_peers: tuple = ()
    direct: bool = False  # past the page cache of the host
    host: str = ""  # what the host itself is to do for comparison
    host_rate: float = 0  # target against that

    @property
    def id(self):
        """What --only is matched with."""
        return f"{self.group}: {self.name}"


def cached_disk(place):
    """A disk whose bytes are in the page cache."""
    group = f"blk {place}"
    both, qsd = (QSD, SYNC), (QSD,)
    for name, mix in ("read", "randread"), ("write", "randwrite"):
        yield Row(group, "blk", f"4k random {name}, depth 1", place, f"--mix={mix}", 1.5, 0, qsd)
        for queues in 1, 2:
            yield Row(group, "blk", f"4k random {name}, depth 32, {queues} queue{'s'[:queues - 1]}",
                      place, f"--mix={mix} --depth=32 --queues={queues}", 1.25, 0.7, both, qsd)
    for mix in "read", "write":
        yield Row(group, "blk", f"128k sequential {mix}, depth 8", place,
                  f"--mix={mix} --bs=128k --depth=8", 1.2, 0, both)


def direct_disk():
    group, qsd = "blk disk, O_DIRECT", (QSD,)
    shapes = [("4k random read, depth 1", "--mix=randread"),
              ("4k random write, depth 1", "--mix=randwrite"),
              ("4k random read, depth 32", "--mix=randread --depth=32"),
              ("4k random write, depth 32", "--mix=randwrite --depth=32"),
              ("4k random read, depth 32, 2 queues", "--mix=randread --depth=32 --queues=2"),
              ("128k sequential read, depth 8", "--mix=read --bs=128k --depth=8"),
              ("128k sequential write, depth 8", "--mix=write --bs=128k --depth=8")]
    for name, args in shapes:
        yield Row(group, "blk", name, "disk", args, 1.0, 0.7, qsd, qsd, direct=True)


def metadata(place):
    group, peers = f"fs {place}", (FSD,)
    for name, args in (("stat", "--mix=stat"), ("negative lookup", "--mix=negative"),
                       ("open and close", "--mix=open"), ("create and unlink", "--mix=create"),
                       ("rename", "--mix=rename"), ("ls -lR", "--mix=tree --files=500"),
                       ("small-file read", "--mix=small-read")):
        if "--files" not in args:
            args += " --files=100"
        yield Row(group, "fs", name, place, args, 1.5, 0.6, peers, peers)


def file_data(place, direct, cores):
    group = f"fs {place}" + (", O_DIRECT" if direct else "")
    peers = (FSD,)
    options = " --direct" if direct else ""
    for mix in "read", "write":
        for depth in 1, 32:
            yield Row(group, "fs", f"4k random {mix}, depth {depth}", place,
                      f"--mix=rand{mix} --depth={depth}{options}", 1.3, 0, peers, direct=direct)
    yield Row(group, "fs", "4k random read, depth 32, 4 queues", place,
              f"--mix=randread --depth=32 --queues=4{options}",
              # Four queues and their guest's processors.
              1.8 if cores >= 8 else 0, 0, peers, direct=direct)
    for mix in "read", "write":
        yield Row(group, "fs", f"1M sequential {mix}, depth 4", place,
                  f"--mix={mix} --bs=1M --depth=4{options}", 1.2, 0, peers, direct=direct,
                  host=mix, host_rate=0.8)


def sandbox():
    """What confinement costs us: for orientation."""
    for name, args in (("open and close", "--mix=open --files=100"),
                       ("create and unlink", "--mix=create"),
                       ("stat", "--mix=stat --files=100")):
        yield Row("fs, confinement", "sandbox", name, "tmpfs", args)


# In a guest, in this order: each works with what those before it have left.
GUEST_WORKS = [("create", "create"), ("stat, cold", "stat"), ("open and close", "open"),
               ("negative lookup", "negative"), ("small-file read, cold", "small-read"),
               ("rename", "rename"), ("ls -lR, cold, an entry", "list"), ("unlink", "unlink"),
               ("4k random direct write", "randwrite"), ("4k random direct read", "randread"),
               ("1M sequential write", "write"), ("1M sequential read, cold", "read")]


def guest():
    peers = (FSD,)
    for name, work in GUEST_WORKS:
        has_target = "read" not in work.replace("small-read", "") and "write" not in work
        yield Row("fs in a guest", "guest", name, "tmpfs", work, 1.2 if has_target else 0,
                  0.6 if has_target else 0, peers, peers)


def all_rows(cores):
    return [*cached_disk("tmpfs"), *cached_disk("disk"), *direct_disk(), *metadata("tmpfs"),
            *file_data("tmpfs", False, cores), *metadata("disk"), *file_data("disk", True, cores),
            *sandbox(), *guest()]
    return rows
