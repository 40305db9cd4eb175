#!/usr/bin/python3
"""Hostile neighbours: routing ids that are taken over or squatted, messages that never end. They get nothing, and honest clients go on."""
import os
import socket
import struct
import threading
import time

import zmq

import wire
from harness import Failure, check, check_equal, main, number, wait_until
from wire import ACCEPTED, Client, record


def raw_connection(path, identity=b""):
    """A ZMTP 3.0 peer by hand (RFC of ZeroMQ 23): greeting, NULL mechanism, READY as a DEALER."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(path)
    s.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32)
    greeting = b""
    while len(greeting) < 64:
        greeting += s.recv(64 - len(greeting))
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER\x08Identity" + struct.pack(">I", len(identity)) + identity
    s.sendall(b"\x04" + bytes([len(body)]) + body)
    s.recv(4096)
    return s


def chosen_routing_id(t):
    """a client that sets its own routing id gets no answer, so none meant for another"""
    node = t.node()
    mine = wire.SHARED.socket(zmq.DEALER)
    mine.linger = 0
    mine.setsockopt(zmq.ROUTING_ID, b"client-7")
    mine.connect(node.endpoints("ipc")[0])
    mine.send(wire.wire.Hello(kind=wire.wire.KIND_HELLO, version_major=1).SerializeToString())
    check(not mine.poll(700), "a client with a routing id of its own was answered")
    mine.close()
    check_equal(Client(node.endpoints("ipc")[0]).submit([record(t.random)]).words[0].verdict, ACCEPTED, "an honest client")
    check("own-routing-id" in node.log(), "the log does not tell")
    node.stop()


def squatted_routing_ids(t):
    """the routing ids that an unseeded libzmq would give next are squatted: ingest lives on"""
    node = t.node()
    pid = node.pids("ingest")[0]
    path = node.endpoints("ipc")[0][len("ipc://"):]
    squatters = [raw_connection(path, b"\0" + struct.pack(">I", 0x6B8B4567 + i)) for i in range(64)]
    for _ in range(20):
        c = Client(node.endpoints("ipc")[0])
        check_equal(c.submit([record(t.random)]).words[0].verdict, ACCEPTED, "an honest client")
        c.close()
    check_equal(node.pids("ingest")[0], pid, "pid of ingest")
    for s in squatters:
        s.close()
    node.stop()


class Watch:
    """The most that a process ever had in memory, as the kernel knows it, asked until it is gone."""

    def __init__(self, pid):
        self.pid, self.highest_mib = pid, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while True:
                with open(f"/proc/{self.pid}/status") as f:
                    self.highest_mib = max(self.highest_mib, number(r"VmHWM:\s+(\d+)", f.read()) >> 10)
                time.sleep(0.001)
        except (OSError, Failure):
            pass


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


def message_without_end(t):
    """messages of endless frames, large and small, at the speed of memory: memory stays within its bound, and an honest client goes on"""
    node = t.node("-s", "ingest.budget_bytes=16MiB")
    bound = 2 * 16 + 256
    path = node.endpoints("ipc")[0][len("ipc://"):]
    large = b"\x03" + struct.pack(">Q", 8 << 20) + b"\0" * (8 << 20)
    small = (b"\x01\x64" + b"\0" * 100) * 80000
    for frame, connections in ((large, 1), (large, 4), (small, 4)):
        first, at = node.pids("ingest")[0], len(node.log())
        watch = Watch(first)
        senders = [threading.Thread(target=endless, args=(path, frame, first), daemon=True) for _ in range(connections)]
        for s in senders:
            s.start()
        for s in senders:
            s.join()
        wait_until(lambda: node.pids("ingest").get(0) not in (None, first), 30, "the ingest to start again")
        watch.thread.join()
        last = number(r"event=ingest.memory resident_bytes=(\d+)", node.log()[at:]) >> 20
        print(f"#   {connections} of {len(frame) >> 20} MiB writes: {watch.highest_mib} MiB at most, {last} when it ended itself, the bound is {bound}", flush=True)
        if os.environ.get("MUSTER_VARIANT", "release") == "release":  # the sanitizers' own memory is in the figure
            check(max(last, watch.highest_mib) <= bound * 1.05, f"{watch.highest_mib} MiB resident, {last} told, the bound is {bound}")

    def served():
        try:
            c = Client(node.endpoints("ipc")[0])
            return c.submit([record(t.random)]).words[0].verdict == ACCEPTED
        except (Failure, OSError):
            return False
    wait_until(served, 30, "an honest client to be served")
    node.stop()


main("hostile", [chosen_routing_id, squatted_routing_ids, message_without_end])
