#!/usr/bin/python3
"""Hostile neighbours: routing ids that are taken over or squatted, messages that never end. They get nothing, and honest clients go on."""
import os
import socket
import struct
import time

import zmq

import wire
from harness import Failure, check, check_equal, main, wait_until
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


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20


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


def message_without_end(t):
    """a message of endless frames: memory stays within its bound, and an honest client goes on"""
    node = t.node("-s", "ingest.budget_bytes=16MiB")
    bound = 2 * 16 + 256
    path = node.endpoints("ipc")[0][len("ipc://"):]
    endless = raw_connection(path)
    frame = b"\x03" + struct.pack(">Q", 8 << 20) + b"\0" * (8 << 20)
    highest, first = 0, node.pids("ingest")[0]
    try:
        for _ in range(120):
            endless.sendall(frame)
            pid = node.pids("ingest").get(0)
            if pid == first:
                highest = max(highest, resident_mib(pid))
    except OSError:
        pass  # let go, as it should be
    check(highest < bound + 128, f"{highest} MiB resident, the bound is {bound}")
    wait_until(lambda: node.pids("ingest").get(0) not in (None, first), 10, "the ingest to start again")
    check("ingest.memory" in node.log(), "the log does not tell")

    def served():
        try:
            c = Client(node.endpoints("ipc")[0])
            return c.submit([record(t.random)]).words[0].verdict == ACCEPTED
        except (Failure, OSError):
            return False
    wait_until(served, 30, "an honest client to be served")
    node.stop()


main("hostile", [chosen_routing_id, squatted_routing_ids, message_without_end])
