#!/usr/bin/python3
"""Hostile neighbours: routing ids that are taken over or squatted, messages that never end. They get nothing, and honest clients go on."""
import contextlib
import os
import resource
import signal
import socket
import struct
import threading
import time

import zmq

import wire
from harness import Failure, check, check_equal, held_kib, main, number, wait_until
from oracle import conserved
from raw import Watch, command, endless, frame, raw_connection, submit_frames
from wire import ACCEPTED, BUSY, Client, record


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
        if os.environ.get("MUSTER_VARIANT", "release") in ("release", "faults"):  # the memory of the others' instruments is in the figure
            check(max(last, watch.highest_mib) <= bound * 1.05, f"{watch.highest_mib} MiB resident, {last} told, the bound is {bound}")

    def served():
        try:
            c = Client(node.endpoints("ipc")[0])
            return c.submit([record(t.random)]).words[0].verdict == ACCEPTED
        except (Failure, OSError):
            return False
    wait_until(served, 30, "an honest client to be served")
    node.stop()


def honest_meanwhile(t, node, attack, seconds):
    """Runs the attack again and again in the background, while an honest client gets its answers. Returns how many."""
    end, rounds, answered = time.monotonic() + seconds, [0], 0

    def run():
        while time.monotonic() < end:
            try:
                attack(end)
                rounds[0] += 1
            except OSError:
                time.sleep(0.02)
    attackers = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    for a in attackers:
        a.start()
    honest = Client(node.endpoints("ipc")[0])
    while time.monotonic() < end:
        answer = honest.submit([record(t.random)])
        if answer.header.batch_verdict == BUSY:
            time.sleep(answer.header.retry_after_ms / 1000)
            continue
        check_equal(answer.words[0].verdict, ACCEPTED, "an honest client")
        answered += 1
        time.sleep(0.01)
    for a in attackers:
        a.join()
    check(rounds[0] > 0, "the attack did not take place")
    honest.close()
    return answered


def nothing_died(t, node, pids):
    check("Assertion" not in node.log(), "an assertion of libzmq failed")
    check_equal(node.pids("ingest"), pids, "pids of the ingests")
    conserved(t)
    node.stop()
    check_equal(t.muster("verify", code=None).code, 0, "verify")


def pings_behind_what_was_sent(t):
    """batches and pings in one write by one that is gone at once: libzmq does not abort, and an honest client goes on"""
    node = t.node()
    pids, path = node.pids("ingest"), node.endpoints("ipc")[0][len("ipc://"):]
    mine = record(t.random)
    burst = b"".join(submit_frames([mine], i) for i in range(30)) + command(b"PING", b"\0\x32") * 20

    def attack(_end):
        s = raw_connection(path)
        s.sendall(burst)
        s.close()
    answered = honest_meanwhile(t, node, attack, 4)
    check(answered > 3, f"{answered} honest batches in 4 s")
    nothing_died(t, node, pids)


def small_messages_without_end(t):
    """more small messages than can be refused: their connection is ended, memory stays small, and an honest client goes on"""
    node = t.node()
    pids, path = node.pids("ingest"), node.endpoints("ipc")[0][len("ipc://"):]
    burst = (frame(b"", 1) + frame(b"")) * 10000
    highest = [0]

    def attack(end):
        with raw_connection(path) as s, contextlib.suppress(OSError):  # let go, as it should be
            while time.monotonic() < end:
                s.sendall(burst)
                highest[0] = max(highest[0], held_kib(pids[0], "VmRSS") >> 10)
    answered = honest_meanwhile(t, node, attack, 4)
    check(answered > 20, f"{answered} honest batches in 4 s")
    if os.environ.get("MUSTER_VARIANT", "release") == "release":  # others are slower than the wire
        check(highest[0] < 2 * 256, f"{highest[0]} MiB resident")
    status = next(p for p in t.status()["processes"] if p["role"] == "ingest-0")
    check(status["counters"]["connections_ended"] > 0, "no connection was ended")
    nothing_died(t, node, pids)


def aborts_do_not_end_the_node(t):
    """an ingest that is made to abort again and again: the node stays, waits a second at most, and the other ingest serves on"""
    node = t.node("--ingest", "2")
    other = Client(node.endpoints("ipc")[1])
    deaths, end = 0, time.monotonic() + 6
    while time.monotonic() < end:
        pid = node.pids("ingest").get(0)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
                deaths += 1
        check_equal(other.submit([record(t.random)]).words[0].verdict, ACCEPTED, "a client of the other ingest")
        time.sleep(0.005)
    check(deaths > 8, f"{deaths} deaths")

    def served():
        try:
            return Client(node.endpoints("ipc")[0]).submit([record(t.random)]).words[0].verdict == ACCEPTED
        except (Failure, OSError):
            return False
    wait_until(served, 30, "the ingest to serve again")
    other.close()
    conserved(t)
    node.stop()


def silent_connections(t):
    """connections that say nothing, more than there are descriptors: no abort, clients stay, others get in, over ipc at once"""
    limit = 900
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    public, secret = t.key("field-1", allow=False)
    for kind in ("tcp", "ipc"):
        node = t.node("--listen", "tcp://127.0.0.1:0", "-s", "ingest.peers=64", "-s", "ingest.handshake_ms=2000", descriptors=limit)
        if kind == "tcp":
            t.muster("key", "allow", "field-1", public)
        pids, ipc, tcp = node.pids("ingest"), node.endpoints("ipc")[0], node.endpoints("tcp")[0]
        keys = dict(server_key=t.muster("key", "show").text().strip(), public=public, secret=secret)
        stayed, stayed_tcp = Client(ipc), Client(tcp, **keys)
        strangers = []
        for _ in range(limit + 300):
            s = socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET)
            s.setblocking(kind == "ipc")
            with contextlib.suppress(OSError):
                s.connect(ipc[len("ipc://"):] if kind == "ipc" else ("127.0.0.1", int(tcp.rsplit(":", 1)[1])))
            strangers.append(s)
        wait_until(lambda: "ingest.door-shut" in node.log() or "ingest.strangers-ended" in node.log(), 10, "the door to be shut, or strangers to make room")
        for client in (stayed, stayed_tcp):
            check_equal(client.submit([record(t.random)]).words[0].verdict, ACCEPTED, "who was there before")
        if kind == "tcp":
            check_equal(Client(ipc).submit([record(t.random)]).words[0].verdict, ACCEPTED, "a new client over ipc")
        check(len(os.listdir(f"/proc/{pids[0]}/fd")) < limit - 50, "descriptors are used up")
        for s in strangers:
            s.close()
        for endpoint, more in ((ipc, {}), (tcp, keys)):
            check_equal(Client(endpoint, **more).submit([record(t.random)]).words[0].verdict, ACCEPTED, "a new client afterwards")
        nothing_died(t, node, pids)


main("hostile", [chosen_routing_id, squatted_routing_ids, message_without_end, pings_behind_what_was_sent, small_messages_without_end,
                 aborts_do_not_end_the_node, silent_connections])
