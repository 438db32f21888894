#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""uml-proxy.py - lets User-Mode Linux talk to back-ends that refuse its messages

    uml-proxy.py LISTEN BACKEND    serves one front-end, and ends with it

Linux 6.1 sends a memory table that is longer than it says, which rust-vmm
refuses, and mounts by the tag in config space, which the C virtiofsd has none
of.  Both are mended here, in the messages alone: memory, kicks and calls go
between guest and back-end, as without this.
"""
import os
import select
import socket
import struct
import sys

GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES = 15, 16
SET_MEM_TABLE, GET_CONFIG = 5, 24
CONFIG_FEATURE = 1 << 9
REPLY_FLAGS = 5
REGION = 32  # bytes
CONFIG = struct.pack("<36sI", b"bench", 1)  # of virtio-fs: tag, request queues


def receive(sock):
    """One message: header's fields, payload, descriptors; None at the end."""
    header, fds, _, _ = socket.recv_fds(sock, 12, 16)
    while header and len(header) < 12:
        header += sock.recv(12 - len(header))
    if not header:
        return None
    request, flags, size = struct.unpack("<3I", header)
    payload = b""
    while len(payload) < size:
        piece = sock.recv(size - len(payload))
        if not piece:
            return None
        payload += piece
    return request, flags, payload, fds


def send(sock, request, flags, payload, fds=()):
    socket.send_fds(sock, [struct.pack("<3I", request, flags, len(payload)) + payload], fds)
    for fd in fds:
        os.close(fd)


class Proxy:
    def __init__(self, front, back):
        self.front, self.back = front, back
        self.has_config = True

    def to_back(self):
        message = receive(self.front)
        if message is None:
            return False
        request, flags, payload, fds = message
        if request == SET_MEM_TABLE:
            payload = payload[:8 + REGION * struct.unpack_from("<I", payload)[0]]
        if request == SET_PROTOCOL_FEATURES and not self.has_config:
            payload = struct.pack("<Q", struct.unpack("<Q", payload)[0] & ~CONFIG_FEATURE)
        if request == GET_CONFIG and not self.has_config:
            offset, size, config_flags = struct.unpack_from("<3I", payload)
            wanted = CONFIG[offset:offset + size].ljust(size, b"\0")
            send(self.front, request, REPLY_FLAGS,
                 struct.pack("<3I", offset, size, config_flags) + wanted)
        else:
            send(self.back, request, flags, payload, fds)
        return True

    def to_front(self):
        message = receive(self.back)
        if message is None:
            return False
        request, flags, payload, fds = message
        if request == GET_PROTOCOL_FEATURES:
            features = struct.unpack("<Q", payload)[0]
            self.has_config = bool(features & CONFIG_FEATURE)
            payload = struct.pack("<Q", features | CONFIG_FEATURE)
        send(self.front, request, flags, payload, fds)
        return True

    def run(self):
        while True:
            ready = select.select([self.front, self.back], [], [])[0]
            if self.front in ready and not self.to_back():
                return
            if self.back in ready and not self.to_front():
                return


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(1)
    front = listener.accept()[0]
    back = socket.socket(socket.AF_UNIX)
    back.connect(sys.argv[2])
    try:
        Proxy(front, back).run()
    except (BrokenPipeError, ConnectionResetError):
        pass


if __name__ == "__main__":
    main()
