#!/usr/bin/python3
"""Nobody shuts others out: a flood of connections of one submitter beside single records of another, and who is counted as connected."""
import os
import signal
import threading
import time

import wire
import zmq
from harness import SLOW, check, check_equal, main, wait_until
from wire import ACCEPTED, BUSY, Client, record


class Flood:
    """Many connections of one submitter in one thread, each of which sends again and again, as much as its socket takes, and does not keep to any credit."""

    def __init__(self, t, count, endpoint, *keys, records=1):
        self.clients = [Client(endpoint, *keys, hello=False) for _ in range(count)]
        self.streams = [(wire.stream_of([record(t.random) for _ in range(records)]), records) for _ in range(20)]
        self.sent = self.answers = self.busy = 0
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended:
            for c in self.clients:
                for stream, count in self.streams:
                    header = wire.wire.SubmitHeader(kind=wire.wire.KIND_SUBMIT, version_major=1, version_minor=0, batch_id=self.sent, record_count=count)
                    try:
                        c.socket.send_multipart([header.SerializeToString(), stream], zmq.DONTWAIT)
                        self.sent += 1
                    except zmq.Again:
                        break
                while c.socket.poll(0):
                    self.busy += wire.Answer(c.socket.recv_multipart()).header.batch_verdict == BUSY
                    self.answers += 1

    def end(self):
        self.ended = True
        self.thread.join()
        for c in self.clients:
            c.close()


def served(t, client, batches):
    """How long each of some single records took; none may be told BUSY."""
    took = []
    for _ in range(batches):
        start = time.monotonic()
        answer = client.submit([record(t.random)])
        took.append(time.monotonic() - start)
        check(answer.header.batch_verdict == 0, f"a single record was told {answer.header}")
        check_equal(answer.words[0].verdict, ACCEPTED, "its verdict")
        check(answer.header.credit >= 1, "no credit")
    return took


def flood_of_connections(t):
    """300 connections of one submitter flood: single records of another over CURVE are never refused, and have their verdicts at once"""
    node = t.node("--listen", "tcp://127.0.0.1:0")
    server = t.muster("key", "show").text().strip()
    endpoint = node.endpoints("tcp")[0]
    flooder, honest = t.key("flooder"), t.key("honest")
    client = Client(endpoint, server, *honest)
    calm = sorted(served(t, client, 50))[25]
    for where, keys in ((node.endpoints("ipc")[0], ()), (endpoint, (server, *flooder))):
        flood = Flood(t, 300, where, *keys)
        wait_until(lambda: flood.answers > 3000, 30, "the flood to be in full flow")
        took = sorted(served(t, client, 50))
        newcomer = Client(endpoint, server, *honest)
        took_new = max(served(t, newcomer, 5))
        flood.end()
        print(f"#   {where[:3]}: {flood.sent} batches sent, {flood.busy} told BUSY; single record: {1000 * calm:.1f} ms alone, "
              f"{1000 * took[25]:.1f} ms at the median, {1000 * max(took):.1f} ms at most", flush=True)
        check(max(took) < 2 * SLOW and took_new < 2 * SLOW, f"a single record waited {max(took):.2f} s, of a newcomer {took_new:.2f} s")
        newcomer.close()
        wait_until(lambda: t.status()["records_in_flight"] == 0, 30, "the flood's batches to be answered")
    node.stop()


def flood_against_a_shard_that_stands_still(t):
    """the same while the shards stand still: what others send is taken in, and answered when they go on"""
    node = t.node("--listen", "tcp://127.0.0.1:0", "-s", "node.frozen_ms=600000")
    server = t.muster("key", "show").text().strip()
    endpoint = node.endpoints("tcp")[0]
    honest = [t.key(f"honest-{i}") for i in range(5)]
    workers = list(node.pids("worker").values())
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        flood = Flood(t, 300, node.endpoints("ipc")[0])
        wait_until(lambda: t.status()["batches_busy"] > 2000, 30, "the flood to be told BUSY")
        clients = [Client(endpoint, server, *keys) for keys in honest]
        for c in clients:
            for _ in range(3):
                c.send([record(t.random)])
        time.sleep(0.5)
        check(all(c.silent(0.01) for c in clients), "somebody was refused while the shards stand still")
        status = t.status()
        check(status["batches_in_flight"] <= 4096 * 3 // 4 + 15, f"{status['batches_in_flight']} batches in flight: one submitter has more than three quarters")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    for c in clients:
        for _ in range(3):
            check_equal([w.verdict for w in wire.Answer(c.receive()).words], [ACCEPTED], "verdict of a single record")
    flood.end()
    node.stop()


def who_is_connected(t):
    """status counts connections that are open: short ones are gone when they are gone, an idle one stays, and the table's limit hurts nobody"""
    node = t.node("-s", "ingest.peers=40")
    long_lived = Client(node.endpoints("ipc")[0])
    stream = wire.stream_of([record(t.random)])
    for _ in range(60):
        t.muster("submit", "-", stdin=stream)
    wait_until(lambda: t.status()["peers"] == 1, 5, "one connection to be left")
    check("1 connection" in t.muster("status").text(), t.muster("status").text())
    others = [Client(node.endpoints("ipc")[0]) for _ in range(60)]  # more than the table has room for
    wait_until(lambda: t.status()["peers"] == 40, 5, "a full table")
    check_equal(long_lived.submit([record(t.random)]).words[0].verdict, ACCEPTED, "an idle client that the table forgot")
    for c in others:
        check_equal(c.submit([record(t.random)]).words[0].verdict, ACCEPTED, "a client beyond the table")
        c.close()
    wait_until(lambda: t.status()["peers"] <= 1, 5, "they to be gone")
    check_equal(long_lived.submit([record(t.random)]).words[0].verdict, ACCEPTED, "and it goes on")
    wait_until(lambda: t.status()["peers"] == 1, 5, "one connection to be counted")
    numbers = [n for line in t.muster("status", "--json").text().splitlines() if "." in line for n in [line.split(":")[1].strip(" ,")] if n[0].isdigit()]
    check(numbers and all(len(n.split(".")[1]) <= 3 for n in numbers), f"decimals in the status: {numbers}")
    node.stop()


main("fair", [flood_of_connections, flood_against_a_shard_that_stands_still, who_is_connected])
