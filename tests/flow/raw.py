"""Peers by hand, on a socket of their own: ZMTP 3.0 (RFC of ZeroMQ 23) without a library that would keep the rules, and what a process holds of
memory meanwhile."""
import os
import socket
import struct
import threading
import time

import wire
from harness import Failure, held_kib, wait_until


def raw_connection(path, identity=b""):
    """A ZMTP 3.0 peer by hand (RFC of ZeroMQ 23): greeting, NULL mechanism, READY as a DEALER."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    s.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32)
    greeting = b""
    while len(greeting) < 64:
        piece = s.recv(64 - len(greeting))
        if not piece:
            raise ConnectionError("closed during the greeting")
        greeting += piece
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER\x08Identity" + struct.pack(">I", len(identity)) + identity
    s.sendall(b"\x04" + bytes([len(body)]) + body)
    s.recv(4096)
    return s


def command(name, body=b""):
    body = bytes([len(name)]) + name + body
    return bytes([4, len(body)]) + body


def frame(body, more=0):
    return bytes([more, len(body)]) + body if len(body) < 256 else bytes([more | 2]) + struct.pack(">Q", len(body)) + body


def submit_frames(records, batch_id):
    header = wire.wire.SubmitHeader(kind=wire.wire.KIND_SUBMIT, version_major=1, version_minor=0, batch_id=batch_id, record_count=len(records))
    return frame(header.SerializeToString(), 1) + frame(wire.stream_of(records))


def connected(path):
    """A connection to a node that may just be starting again."""
    def attempt():
        try:
            return raw_connection(path)
        except OSError:
            return None
    return wait_until(attempt, 20, "a connection")


def endless(path, frame, pid):
    """Sends one message of such frames, with more of them always to come, until the process is gone."""
    while os.path.exists(f"/proc/{pid}"):
        s = connected(path)
        try:
            while os.path.exists(f"/proc/{pid}"):
                s.sendall(frame)
        except OSError:
            pass
        s.close()


class Watch:
    """The most that a process ever had in memory, as the kernel knows it, asked until it is gone."""

    def __init__(self, pid):
        self.pid, self.highest_mib = pid, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while True:
                self.highest_mib = max(self.highest_mib, held_kib(self.pid, "VmHWM") >> 10)
                time.sleep(0.001)
        except (OSError, Failure):
            pass
