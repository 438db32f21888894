#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""chaos.py - front-ends that say anything, in any order, to a real daemon

One front-end for each kind of device begins as a sound one does, then sends
messages, descriptors and ring contents that are partly right and partly random,
and leaves.  Afterwards the daemon must still run, hold what it held before, and
end in good order.  It speaks TAP.  The environment: VIRTIOD, the program;
CHAOS_SECONDS (5) and CHAOS_SEED, which is printed; use minutes to look for bugs.
"""

import array
import mmap
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
KEYS = 'in-band-notifications=yes,postcopy=yes,in-order=yes,iommu=yes'
PAGES = 4096
NEED_REPLY = 8

# Requests by name, and the bits that decide how a conversation goes on.
(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD, SET_VRING_NUM,
 SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR,
 GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE) = range(1, 19)
SET_BACKEND_REQ_FD, IOTLB_MSG = 21, 22
GET_CONFIG, SET_CONFIG = 24, 25
POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END, GET_INFLIGHT_FD, SET_INFLIGHT_FD = range(28, 33)
RESET_DEVICE, GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS = 34, 36, 37, 38, 39, 40
SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE, LAST_REQUEST = 42, 43, 49
LOG_ALL, ACCESS_PLATFORM, PACKED = 1 << 26, 1 << 33, 1 << 34
REPLY_ACK, BACKEND_REQ, INBAND = 1 << 3, 1 << 5, 1 << 14


class Region:
    """Guest memory that both sides map."""

    def __init__(self, size, fd, gpa, claim):
        self.memory = mmap.mmap(fd, size)
        self.size, self.fd, self.gpa, self.uva = size, fd, gpa, 0x7f0000000000 + gpa
        self.wire = struct.pack('<4Q', gpa, claim(size), self.uva, claim(0))


class Ring:
    """Where a ring lies in its region; the buffers follow it."""

    AVAIL, USED, BUFFERS, ROOM = 0x4000, 0x5000, 0x8000, 0x10000

    def __init__(self, region, index, size):
        self.memory, self.gpa, self.uva, self.size = region.memory, region.gpa, region.uva, size
        self.base = index * self.ROOM


class Frontend:
    """One conversation."""

    def __init__(self, kind, path, rand):
        self.kind, self.rand = kind, rand
        self.fds, self.given, self.regions, self.rings, self.kicks = [], [], [], {}, {}
        self.n_rings = rand.choice([1, 1, 2, 3])
        self.channel = None
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(path)

    # What is sent.

    def chance(self, share):
        return self.rand.random() < share

    def u64(self):
        return self.rand.choice([0, 1, PAGES, MIB, MIB - 1, 1 << 63, 2**64 - 1, 2**64 - PAGES, self.rand.getrandbits(64),
                                 self.rand.getrandbits(32), self.rand.getrandbits(20)])

    def u32(self):
        return self.rand.choice([0, 1, 2, 3, 16, 255, 256, 1024, 32768, 32769, 2**31, 2**32 - 1,
                                 self.rand.getrandbits(8), self.rand.getrandbits(32)])

    def own(self, fd):
        self.fds.append(fd)
        return fd

    def memfd(self, size):
        fd = self.own(os.memfd_create('chaos'))
        os.ftruncate(fd, size)
        return fd

    def any_fd(self):
        kind = self.rand.randrange(10)
        if kind < 4:
            return self.own(os.eventfd(self.rand.choice([0, 1, 0xfffffffe]), self.rand.choice([0, os.EFD_NONBLOCK])))
        if kind == 4:
            reader, writer = os.pipe()
            self.own(reader)
            return self.own(writer)
        if kind == 5:
            mine, theirs = socket.socketpair()
            self.own(mine.detach())
            return self.own(theirs.detach())
        if kind == 6:
            return self.memfd(self.rand.choice([0, PAGES, MIB]))
        return self.own(os.open(*self.rand.choice([('/tmp', os.O_RDONLY), ('/tmp', os.O_PATH), ('/dev/null', os.O_RDWR),
                                                   ('/dev/zero', os.O_RDWR), ('/proc/self/status', os.O_RDONLY)])))

    def send(self, request, payload=b'', fds=()):
        flags = 1 | (NEED_REPLY if self.chance(.5) else 0)
        self.send_raw(request, flags, payload, fds)

    def send_raw(self, request, flags, payload, fds):
        message = struct.pack('<III', request, flags, len(payload)) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.socket.sendmsg([message], rights)

    def receive(self, seconds):
        self.socket.settimeout(seconds)
        try:
            message, ancillary, _, _ = self.socket.recvmsg(8192, 4096)
        except (socket.timeout, BlockingIOError):
            return b''
        finally:
            self.socket.settimeout(10)
        for _, _, data in ancillary:
            fds = array.array('i')
            fds.frombytes(data[:len(data) // fds.itemsize * fds.itemsize])
            self.given = [self.own(fd) for fd in fds]
        if not message:
            raise ConnectionError('closed')
        return message

    def ask(self, request):
        self.send_raw(request, 1, b'', ())
        reply = self.receive(10)
        return struct.unpack('<Q', reply[12:20])[0] if len(reply) == 20 else 0

    def read_replies(self):
        while self.receive(.0005):
            pass

    # Memory and rings.

    def region(self):
        size = self.rand.choice([MIB, MIB, 2 * MIB, 5 * PAGES, 12345])
        gpa = MIB * (1 + 8 * len(self.regions)) if self.chance(.95) else self.rand.getrandbits(40) & -PAGES
        region = Region(size, self.memfd(size), gpa, lambda right: right if self.chance(.99) else self.u64())
        self.regions.append(region)
        return region

    def share_memory(self):
        regions = [self.region() for _ in range(self.rand.choice([1, 1, 2, 2, 3, 8]))]
        n = len(regions) if self.chance(.97) else self.u32()
        self.send(SET_MEM_TABLE, struct.pack('<II', n, 0) + b''.join(r.wire for r in regions), [r.fd for r in regions])

    def blk_request(self):
        return struct.pack('<IIQ', self.rand.choice([0, 1, 4, 8, 10, 11, 13, 14, self.u32()]), 0,
                           self.rand.choice([0, 1, 8, 100, self.u64()]))

    def fs_request(self):
        opcode = self.rand.choice([self.rand.randrange(1, 54), self.rand.getrandbits(8)])
        words = [self.rand.choice([0, 1, 2, PAGES, self.u64()]) for _ in range(8)]
        body = struct.pack('<8Q', *words)[:self.rand.choice([0, 8, 16, 24, 40, 64])]
        if self.chance(.4):
            body += self.rand.choice([b'a\0', b'x\0y\0', b'..\0', b'a/b\0', b'\0', b'user.x\0v', b'q' * 300 + b'\0'])
        length = 40 + len(body) if self.chance(.9) else self.u32()
        return struct.pack('<IIQQIIII', length, opcode, self.u64(), self.rand.choice([1, 1, 1, 0, 2, self.u64()]),
                           0, 0, 1, 0) + body

    def request(self):
        return {'blk': self.blk_request, 'fs': self.fs_request}.get(self.kind, lambda: os.urandom(16))()

    def descriptors(self, ring):
        """As many requests of three descriptors as the ring takes, nearly all sound."""
        def mostly(right, wrong):
            return right if self.chance(.98) else wrong
        at = ring.base + Ring.BUFFERS
        for i in range(0, ring.size - 2, 3):
            request, place = self.request()[:512], at + i * 512 % 0x3000
            ring.memory[place:place + len(request)] = request
            yield (mostly(ring.gpa + place, self.u64()), mostly(len(request), self.u32()), 1, i + 1)
            yield (mostly(ring.gpa + at + 0x4000, self.u64()), mostly(self.rand.choice([512, PAGES, 80]), self.u32()),
                   mostly(1 if request[:4] == b'\1\0\0\0' else 3, self.rand.getrandbits(3)), i + 2)
            yield (ring.gpa + at + 0x7000, mostly(1, self.u32()), mostly(2, self.rand.getrandbits(16)),
                   mostly(0, self.u32() & 0xffff))

    def fill(self, ring):
        table = list(self.descriptors(ring))
        if self.packed:
            entries = [struct.pack('<QIHH', a, n, i // 3, flags | 0x80) for i, (a, n, flags, _) in enumerate(table)]
        else:
            entries = [struct.pack('<QIHH', *entry) for entry in table]
            heads = range(0, len(table), 3)
            avail = struct.pack(f'<HH{len(heads)}H', 0, len(heads) if self.chance(.97) else self.u32() & 0xffff, *heads)
            ring.memory[ring.base + Ring.AVAIL:ring.base + Ring.AVAIL + len(avail)] = avail
            ring.memory[ring.base + Ring.USED:ring.base + Ring.USED + 4] = bytes(4)
        ring.memory[ring.base:ring.base + 16 * len(entries)] = b''.join(entries)

    def start_ring(self, index):
        region = self.rand.choice(self.regions) if self.regions else None
        if region is None or region.size < MIB:
            return
        ring = self.rings[index] = Ring(region, index, self.rand.choice([2, 4, 16, 64, 128, 256]))
        self.fill(ring)
        places = [ring.uva + ring.base + at for at in (0, Ring.USED, Ring.AVAIL)]
        self.send(SET_VRING_NUM, struct.pack('<II', index, ring.size if self.chance(.97) else self.u32()))
        self.send(SET_VRING_ADDR, struct.pack('<II4Q', index, self.rand.choice([0, 0, 1]),
                                              *(at if self.chance(.99) else self.u64() for at in places), 0))
        self.send(SET_VRING_BASE, struct.pack('<II', index, (0x80008000 if self.packed else 0)
                                              if self.chance(.95) else self.u32()))
        for request in (SET_VRING_CALL, SET_VRING_ERR, SET_VRING_KICK):
            fd = self.own(os.eventfd(1, os.EFD_NONBLOCK)) if self.chance(.96) else self.any_fd()
            self.send(request, struct.pack('<Q', index), [fd])
        self.kicks[index] = fd
        self.send(SET_VRING_ENABLE, struct.pack('<II', index, 1))

    def scribble(self):
        """The driver's side: changes something in a ring, or kicks."""
        if not self.rings:
            return
        index = self.rand.choice(list(self.rings))
        ring = self.rings[index]
        what = self.rand.randrange(5)
        if what == 0:
            ring.memory[ring.base + self.rand.randrange(0x6000)] = self.rand.getrandbits(8)
        elif what == 1 and not self.packed:
            at = ring.base + Ring.AVAIL + 2
            old, = struct.unpack('<H', ring.memory[at:at + 2])
            ring.memory[at:at + 2] = struct.pack('<H', (old + self.rand.randrange(1, 8)) & 0xffff)
        elif what == 2:
            at = ring.base + 16 * self.rand.randrange(ring.size)
            ring.memory[at:at + 16] = struct.pack('<QIHH', ring.gpa + self.rand.randrange(Ring.ROOM), self.u32(),
                                                  self.rand.getrandbits(16), self.rand.getrandbits(16))
        elif what == 3:
            request, at = self.request(), ring.base + Ring.BUFFERS + self.rand.randrange(0x7000)
            ring.memory[at:at + len(request)] = request
        else:
            try:
                os.write(self.kicks[index], struct.pack('<Q', 1))
            except OSError:
                pass  # it is any descriptor

    # Messages beside the usual ones.

    def vring_state(self):
        return struct.pack('<II', self.rand.choice([0, 1, 2, self.u32()]), self.rand.choice([0, 1, self.u32()]))

    def change_memory(self):
        if self.chance(.5) or not self.regions:
            region = self.region()
            self.send(ADD_MEM_REG, bytes(8) + region.wire, [region.fd])
        else:
            self.send(REM_MEM_REG, bytes(8) + self.rand.choice(self.regions).wire)

    def truncate_memory(self):
        """Whoever touches it later is hit, so we forget it."""
        if self.regions and self.chance(.1):
            os.ftruncate(self.rand.choice(self.regions).fd, self.rand.choice([0, PAGES]))
            self.regions, self.rings = [], {}

    def inflight(self):
        if self.chance(.5):
            self.send(GET_INFLIGHT_FD, struct.pack('<QQHH', 0, 0, self.rand.choice([1, 2, self.u32() & 0xffff]),
                                                   self.rand.choice([16, 256, self.u32() & 0xffff])))
        else:
            fd = self.rand.choice(self.given) if self.given else self.memfd(self.rand.choice([0, PAGES, 65536]))
            self.send(SET_INFLIGHT_FD, struct.pack('<QQHH', self.rand.choice([self.u64(), 65536]),
                                                   self.rand.choice([0, self.u64()]), 1, 256), [fd])

    def log(self):
        if self.chance(.3):
            self.send(SET_LOG_FD, fds=[self.any_fd()])
        else:
            self.send(SET_LOG_BASE, struct.pack('<QQ', self.rand.choice([MIB, PAGES, self.u64()]),
                                                self.rand.choice([0, self.u64()])), [self.memfd(MIB)])

    def back_channel(self):
        if self.channel is None or self.chance(.3):
            self.channel, theirs = socket.socketpair()
            self.send(SET_BACKEND_REQ_FD, fds=[self.own(theirs.detach())])
            return
        try:
            self.channel.setblocking(False)
            request, _, _ = struct.unpack('<III', self.channel.recv(PAGES)[:12])
            self.channel.send(struct.pack('<IIIQ', request, 5, 8, self.rand.choice([0, 0, 1, self.u64()])))
        except (OSError, struct.error):
            pass  # there was nothing

    def iotlb(self):
        self.send(IOTLB_MSG, struct.pack('<QQQBB6x', self.u64(), self.rand.choice([PAGES, MIB, self.u64()]), self.u64(),
                                         self.rand.getrandbits(2), self.rand.randrange(1, 6)))

    def device_state(self):
        if self.chance(.3):
            self.send(CHECK_DEVICE_STATE)
            return
        reader, writer = os.pipe()
        self.own(reader)
        loads = self.chance(.5)
        if loads:
            os.write(writer, os.urandom(self.rand.choice([0, 10, 1000])))
        self.send(SET_DEVICE_STATE_FD, struct.pack('<II', loads, 0), [reader if loads else writer])
        os.close(writer)

    def config(self):
        size = self.rand.choice([1, 8, 60, 256])
        offset = self.rand.choice([0, 0, 32, self.u32()])
        self.send(self.rand.choice([GET_CONFIG, SET_CONFIG]),
                  struct.pack('<III', offset, size, self.rand.choice([0, 0, 1, 2])) + os.urandom(size))

    def features(self):
        if self.chance(.5):
            self.send(SET_FEATURES, struct.pack('<Q', self.rand.choice([self.acked, self.acked ^ LOG_ALL, self.u64()])))
        else:
            self.send(SET_STATUS, struct.pack('<Q', self.rand.choice([0, 1, 3, 7, 15, 255, self.u64()])))

    def fd_message(self):
        self.send(self.rand.choice([SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR]),
                  struct.pack('<Q', self.rand.choice([0, 1, 0x100, 0x101, self.u64()])),
                  [self.any_fd()] if self.chance(.7) else [])

    def anything(self):
        self.send(self.rand.randrange(LAST_REQUEST + 1), os.urandom(self.rand.choice([0, 4, 8, 16, 40])),
                  [self.any_fd() for _ in range(self.rand.choice([0, 0, 1, 2, 8]))])

    def say(self):
        self.rand.choice([
            lambda: self.send(GET_VRING_BASE, self.vring_state()),
            lambda: self.send(SET_VRING_ENABLE, self.vring_state()),
            lambda: self.send(self.rand.choice([POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END])),
            lambda: self.send(self.rand.choice([RESET_DEVICE, RESET_OWNER, SET_OWNER, GET_STATUS, GET_QUEUE_NUM,
                                                GET_MAX_MEM_SLOTS])),
            lambda: self.start_ring(self.rand.randrange(self.n_rings)),
            lambda: self.start_ring(self.rand.randrange(self.n_rings)),
            self.fd_message, self.config, self.change_memory, self.truncate_memory, self.share_memory, self.inflight,
            self.log, self.back_channel, self.iotlb, self.device_state, self.features, self.anything,
        ])()

    def negotiate(self):
        def some(offered):
            return offered if self.chance(.7) else offered & self.rand.getrandbits(64)
        features, protocol = self.ask(GET_FEATURES), some(self.ask(GET_PROTOCOL_FEATURES))
        self.packed = self.chance(.4)
        self.acked = some(features) & ~PACKED | (features & PACKED if self.packed else 0)
        for bit, share in ((ACCESS_PLATFORM, .9), (LOG_ALL, .7)):
            self.acked &= ~bit if self.chance(share) else -1
        if protocol & (REPLY_ACK | BACKEND_REQ) != REPLY_ACK | BACKEND_REQ:
            protocol &= ~INBAND
        self.send(SET_PROTOCOL_FEATURES, struct.pack('<Q', protocol))
        self.send(SET_OWNER)
        self.send(SET_FEATURES, struct.pack('<Q', self.acked))

    def talk(self):
        self.negotiate()
        self.share_memory()
        for index in range(self.n_rings):
            self.start_ring(index)
        self.read_replies()
        for _ in range(self.rand.choice([5, 30, 100])):
            if self.chance(.8):
                self.scribble()
            else:
                self.say()
            if self.chance(.3):
                self.read_replies()

    def close(self):
        self.socket.close()
        for fd in self.fds:
            os.close(fd)


def converse(kind, path, seed, end):
    """Returns when @end has come; raises what a front-end does not expect."""
    rand = random.Random(f'{kind} {seed}')
    while time.monotonic() < end:
        frontend = Frontend(kind, path, rand)
        try:
            frontend.talk()
        except (ConnectionError, BrokenPipeError):
            pass  # a breach of the protocol ends it
        frontend.close()


def spawn(kind, path, seed, seconds):
    """Converses in a process of its own.  Returns: its number."""
    pid = os.fork()
    if pid > 0:
        return pid
    try:
        converse(kind, path, seed, time.monotonic() + seconds)
        os._exit(0)
    except BaseException as error:  # a child must not come back
        print(f'# {kind}: {error!r}', flush=True)
        os._exit(1)


class Daemon:
    """The program with a device of each kind."""

    def __init__(self, folder):
        self.folder = folder
        image, share = self.path('image'), self.path('share')
        with open(image, 'wb') as file:
            file.truncate(16 * MIB)
        os.mkdir(share)
        self.kinds = ['blk', 'generic']
        args = [os.environ['VIRTIOD'], '--device', f'blk,socket={self.path("blk")},image={image},{KEYS}',
                '--device', f'generic,socket={self.path("generic")},virtio-id=5,queues=3,config-size=64,{KEYS}']
        if os.environ.get('CHAOS_FS'):
            self.kinds.append('fs')
            args += ['--device', f'fs,socket={self.path("fs")},source={share},tag=t,{KEYS}']
        self.log = open(self.path('log'), 'wb')
        self.process = subprocess.Popen(args, stdout=self.log, stderr=self.log)
        self.wait_until(lambda: all(os.path.exists(self.path(kind)) for kind in self.kinds))

    def path(self, name):
        return os.path.join(self.folder, name)

    def fds(self):
        folder = f'/proc/{self.process.pid}/fd'
        return sorted(os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder))

    def wait_until(self, condition):
        for _ in range(600):
            if self.process.poll() is not None or condition():
                break
            time.sleep(.1)
        return self.process.poll() is None and condition()

    def last_words(self):
        with open(self.path('log'), 'rb') as log:
            return ''.join('# ' + line.decode(errors='replace') for line in log.readlines()[-40:])


def results(daemon, seed, seconds):
    """Yields (whether, what) for each promise."""
    before = daemon.fds()
    children = [spawn(kind, daemon.path(kind), seed, seconds) for kind in daemon.kinds]
    ends = [os.waitpid(pid, 0)[1] for pid in children]
    yield not any(ends), 'every front-end is heard to the end'
    settled = daemon.wait_until(lambda: len(daemon.fds()) <= len(before))
    if not settled and daemon.process.poll() is None:
        print('# left:', *daemon.fds())
    yield settled, 'all that they left is given back'
    daemon.process.send_signal(signal.SIGTERM)
    yield daemon.process.wait(60) == 0, 'the daemon ends in good order'


def main():
    seconds = float(os.environ.get('CHAOS_SECONDS', '5'))
    seed = os.environ.get('CHAOS_SEED') or str(random.SystemRandom().getrandbits(32))
    print(f'# CHAOS_SEED={seed}\n1..3', flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix='virtiod-chaos-') as folder:
        daemon = Daemon(folder)
        for i, (good, name) in enumerate(results(daemon, seed, seconds)):
            print('ok' if good else 'not ok', i + 1, name, flush=True)
            failed += not good
        if failed:
            print(daemon.last_words())
    return failed > 0


sys.exit(main())
