#!/usr/bin/python3
"""What many do to a node that listens on tcp with CURVE: thousands that never say who they are, readers that read nothing, submitters that send far
more than they may. Whoever keeps to the rules is served meanwhile, memory and descriptors stay within their bounds, and afterwards nothing is held
for anybody. What an honest client keeps of its rate is judged in full form alone."""
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import wire  # noqa: E402
import zmq  # noqa: E402
from harness import SLOW, Failure, check, check_equal, delimited, finished, wait_until  # noqa: E402
from proxy import DOWN, Cut, Proxy, Script  # noqa: E402
from scenarios import FULL, counted, main  # noqa: E402
from wire import Client  # noqa: E402
from world import BUDGET_MIB, FILES_SPARE, MEMORY_IS_ITS_OWN, World  # noqa: E402

NEWCOMER_S = 60  # within which a newcomer is served, whatever crowd of strangers there is
KEPT = 0.8  # of the rate at which an honest client's records come, whatever others do


# ---- those who never say who they are ----

class Strangers:
    """Connections that never prove a key, from so many addresses of loopback: silent, within their greeting, behind it, within HELLO. Those that are
    ended come again, if they are told to; and those that nobody lets in within `hurry` seconds, where the kernel would take a second to ask again."""

    WORDS = (b"", b"\xff" + b"\0" * 6, b"\xff" + b"\0" * 8 + b"\x7f\x03\0" + b"CURVE".ljust(20, b"\0") + b"\0" * 32)

    def __init__(self, endpoint, count, again, addresses=50, hurry=None):
        self.addresses, self.hurry, self.waiting = addresses, hurry, {}
        self.address, self.again = (endpoint[len("tcp://"):].rsplit(":", 1)[0], int(endpoint.rsplit(":", 1)[1])), again
        self.selector, self.came, self.dropped, self.stopped = selectors.DefaultSelector(), 0, 0, False
        self.thread = threading.Thread(target=self.run, args=(count,), daemon=True)
        self.thread.start()

    def come(self, number):
        s = socket.socket()
        s.setblocking(False)
        s.bind((f"127.{1 + number % self.addresses // 200}.0.{2 + number % self.addresses % 200}", 0))
        s.connect_ex(self.address)
        self.selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
        self.waiting[s] = time.monotonic()
        self.came += 1

    def serve(self, key, events):
        data = b"?"
        self.waiting.pop(key.fileobj, None)
        try:
            if events & selectors.EVENT_WRITE:
                self.selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                words = self.WORDS + (self.WORDS[2] + b"\x04\xc8\x05HELLO" + b"\0" * 20,)
                key.fileobj.send(words[key.data % len(words)])
            if events & selectors.EVENT_READ:
                data = key.fileobj.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.dropped += 1
            self.leave(key)
            if self.again:
                self.come(key.data)

    def leave(self, key):
        self.selector.unregister(key.fileobj)
        key.fileobj.close()

    def ask_again(self):
        for s, since in list(self.waiting.items()):
            if time.monotonic() - since < self.hurry:
                break
            key = self.selector.get_key(s)
            del self.waiting[s]
            self.leave(key)
            self.come(key.data)

    def run(self, count):
        for number in range(count):  # no faster than they are accepted: what overflows that queue is forgotten, and nobody tells its other side
            self.come(number)
            if number % 50 == 49:
                time.sleep(0.02)
        while not self.stopped:
            for key, events in self.selector.select(self.hurry or 0.1):
                self.serve(key, events)
            if self.hurry:
                self.ask_again()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    def end(self):
        self.stopped = True
        self.thread.join()


FEEDER = """
import sys, time
stream, start = sys.stdin.buffer.read(), time.monotonic()
for i in range(100):
    time.sleep(max(0, start + float(sys.argv[1]) * i / 100 - time.monotonic()))
    sys.stdout.buffer.write(stream[len(stream) * i // 100:len(stream) * (i + 1) // 100])
    sys.stdout.buffer.flush()
"""


def paced(world, rate, seconds):
    """An honest client at a fixed rate: records come at it whether it keeps up or not. The part of those that came in the second half of the time that
    had its verdict within it."""
    t, n = world.t, next(world.numbers)
    stream, verdicts = t.generate(int(rate * seconds), t.seed % 10**6 * 1000 + n), t.path(f"v{n}.tsv")
    with open(t.write(f"s{n}.pb", stream), "rb") as f:  # a process of its own: what this one does is no matter of the client's
        feeder = subprocess.Popen(["/usr/bin/python3", "-c", FEEDER, str(seconds)], stdin=f, stdout=subprocess.PIPE)
    process = t.popen("submit", "--endpoint", world.endpoint, "--server-key", world.server, "--key", t.path("field-1.key"), "--batch", 100, "--window", 64,
                      "--verdicts", verdicts, "-", stdin=feeder.stdout, stdout=-1, stderr=-1)
    feeder.stdout.close()

    def told():
        if not os.path.exists(verdicts):
            return 0
        with open(verdicts, "rb") as f:  # written in pieces of a hundred lines or so
            return f.read().count(b"\n")
    time.sleep(seconds / 2)
    start, before = time.monotonic(), told()
    feeder.wait(120)
    took, after = time.monotonic() - start, told()
    check_equal(finished(process, 60).code, 0, "exit of the honest client")
    world.oracle.heard(delimited(stream), verdicts)
    return (after - before) / took / rate


def newcomer(world):
    """Seconds until one who was not there is served. Where its connection is ended as it says hello, nobody answers that: it comes again, as a client does."""
    start, records = time.monotonic(), world.records(3)

    def served():
        client = world.client(hello=False)
        try:
            client.hello()
            world.told(records, client.submit(records))
        except Failure as why:
            check(str(why).startswith("no answer"), str(why))
            return False
        finally:
            client.close()
        return True
    wait_until(served, NEWCOMER_S, "a newcomer to be served")
    return time.monotonic() - start


class Rounds:
    """What an honest client keeps of its rate, with others beside it and without, in turns. Judged in full form: a short round on a busy machine tells
    nothing but that it comes to its end."""

    def __init__(self, world, rate):
        self.world, self.rate, self.alone, self.beside = world, rate, [], []

    def without(self):
        if FULL:
            self.alone.append(paced(self.world, self.rate, 4))

    def with_them(self):
        self.beside.append(paced(self.world, self.rate, 4 if FULL else 1))

    def judge(self, what):
        if not FULL:
            return
        ratio = statistics.median(self.beside)
        print(f"#   {what}: {100 * ratio:.0f} % of {self.rate:,} records/s were answered as they came, {100 * statistics.median(self.alone):.0f} % without", flush=True)
        check(ratio >= KEPT, f"{what}: the honest client kept {ratio:.2f} of its rate, want {KEPT}")


def strangers_have_their_time(t):
    """connections that prove no key, however far they came with it, are closed when the time for that is over"""
    world, count = World(t, "ingest.handshake_ms=500"), 1000 if FULL else 40
    counted()
    strangers = Strangers(world.endpoint, count, again=False)
    wait_until(lambda: strangers.dropped == count, 10, f"{count} strangers to be let go")
    check_equal(world.ingest()["strangers_ended"], 0, "strangers that had to make room")
    strangers.end()
    world.end()


def strangers_come_again(t):
    """more connections that prove no key than there is room for, and they come again: whoever is there stays, newcomers get in, over ipc as well"""
    count, peers = (10000, 1024) if FULL else (600, 256)
    world = World(t, f"ingest.peers={peers}", f"ingest.handshake_ms={20000 if FULL else 5000}")
    stayed = world.client()
    rounds = Rounds(world, 3000)
    for _ in range(5 if FULL else 1):
        counted()
        rounds.without()
        strangers = Strangers(world.endpoint, count, again=True)
        wait_until(lambda: strangers.came >= count and world.ingest()["connections"] > peers // 2, 30, "the strangers to be there")
        rounds.with_them()
        slowest = max(newcomer(world) for _ in range(5 if FULL else 1))
        check(slowest < 10 * SLOW or not FULL, f"a newcomer waited {slowest:.1f} s")
        records = world.records(3)
        world.told(records, stayed.submit(records))
        local = Client(world.node.endpoints("ipc")[0])
        records = world.records(3)
        world.told(records, local.submit(records))
        local.close()
        c = world.ingest()
        check(c["connections"] <= peers + 128 + 64 + 256, f"{c['connections']} connections, and room for {peers} peers")
        check(c["strangers_ended"] > 0, "no stranger had to make room")
        strangers.end()
        world.bounded()
    print(f"#   {strangers.came} came, {strangers.dropped} were ended; a newcomer waited {slowest:.2f} s at most", flush=True)
    rounds.judge(f"{count} strangers that come again")
    stayed.close()
    world.end()


def distant_newcomers(t):
    """strangers that come again, from few addresses and from as many as they are: one whose handshake takes longer than room is left to strangers gets in"""
    count, peers = (420, 256) if FULL else (160, 16)
    world = World(t, f"ingest.peers={peers}", "ingest.handshake_ms=60000")
    for addresses in (4, count) if FULL else (4,):
        counted()
        before = world.ingest()["strangers_ended"]
        strangers = Strangers(world.endpoint, count, again=True, addresses=addresses, hurry=0.1)
        wait_until(lambda: strangers.came >= count and world.ingest()["strangers_ended"] > before, 30, "strangers to have to make room")
        slowest = 0
        for _ in range(10 if FULL else 1):
            round_trips = [0.15, t.random.uniform(0.15, 0.3)] if addresses < count else [0.15]
            proxies = [Proxy(world.endpoint) for _ in round_trips]  # one each: it stands still where a door is shut
            begun, submits = time.monotonic(), []
            for proxy, round_trip in zip(proxies, round_trips):
                n, records = next(world.numbers), world.records(3)
                way = proxy.way(lambda i, far=round_trip / 2: Script(i, far=far))
                process = t.popen("submit", "--endpoint", way.endpoint, "--server-key", world.server, "--key", t.path("field-1.key"), "--timeout", int(NEWCOMER_S * SLOW),
                                  "--verdicts", t.path(f"v{n}.tsv"), t.write(f"s{n}.pb", wire.stream_of(records)), stdout=-1, stderr=-1)
                submits.append((process, round_trip, records, t.path(f"v{n}.tsv")))
            for process, round_trip, records, verdicts in submits:
                error = finished(process, NEWCOMER_S + 20).error()
                check_equal(process.returncode, 0, f"exit of a newcomer {1000 * round_trip:.0f} ms away, beside {count} strangers from {addresses} addresses; {error}")
                world.oracle.heard(records, verdicts)
            slowest = max(slowest, time.monotonic() - begun)
            for proxy in proxies:
                proxy.close()
        print(f"#   {addresses} addresses: {strangers.came} came, {world.ingest()['strangers_ended'] - before} had to leave; a distant newcomer waited {slowest:.2f} s at most", flush=True)
        strangers.end()
    world.end()


def strangers_that_stay(t):
    """as many as there is room for, and they stay (full form alone): the honest client keeps its rate"""
    world = World(t, "ingest.peers=12000", "ingest.handshake_ms=60000")
    rounds = Rounds(world, 10000)
    for _ in range(5):
        counted()
        rounds.without()
        strangers = Strangers(world.endpoint, 10000, again=False)
        wait_until(lambda: world.ingest()["connections"] >= 10000, 60, "10,000 connections to be open")
        rounds.with_them()
        check(newcomer(world) < 5 * SLOW, "a newcomer waited")
        check(world.ingest()["connections"] >= 10000, "the strangers were let go")
        strangers.end()
        wait_until(lambda: world.open_files() <= world.files + FILES_SPARE, 60, "the strangers' descriptors to be given back")
        world.bounded()
    rounds.judge("10,000 strangers that stay")
    world.end()


# ---- those who do not read, and those who send too much ----

def slow_readers(t):
    """clients that never take their verdicts: what they hold stays within their credit, is dropped after the time-out, and others are served"""
    world = World(t, f"ingest.answer_timeout_ms={1000 if FULL else 500}")
    count, clients = 10000, 8 if FULL else 2
    stream = t.generate(count, 3)
    world.oracle.submitted.update({r: 1 for r in delimited(stream)})
    way = world.proxy.way(lambda i: Script(i, cut=Cut(DOWN, "unread", 4), room=4096))
    readers, honest, before = [world.client(way.endpoint) for _ in range(clients)], world.client(), world.memory_mib()
    end, slowest = time.monotonic() + (60 if FULL else 20) * SLOW, 0
    counted(clients)
    while time.monotonic() < end:
        for r in readers:
            for _ in range(6):
                if r.socket.poll(0, zmq.POLLOUT):
                    r.send([], count=count, stream=stream)
        start, records = time.monotonic(), world.records(3)
        world.told(records, honest.submit(records))
        slowest = max(slowest, time.monotonic() - start)
        c = world.ingest()
        if not FULL and c["answers_dropped"] and c["batches_busy"]:
            break
    check(c["answers_dropped"] > 0, f"no answer was dropped, of {c['batches_answered']} batches answered")
    check(c["batches_busy"] > 0, "nobody was told BUSY")
    grown = world.memory_mib() - before
    print(f"#   {clients} readers, {c['batches_answered']} batches answered, {c['answers_dropped']} dropped, {c['batches_busy']} told BUSY: {grown} MiB more; "
          f"an honest batch took {slowest:.2f} s at most", flush=True)
    if MEMORY_IS_ITS_OWN:
        check(grown <= 2 * BUDGET_MIB + 2 * clients, f"{grown} MiB more than before, for {clients} that do not read")
    check(slowest < 3 * SLOW or not FULL, f"an honest batch took {slowest:.1f} s")
    for c in readers + [honest]:
        c.close()
    way.close()
    world.oracle.unanswered = 1  # whether all of theirs is stored is not known
    world.end()


class Flood:
    """Connections of one submitter, each of which sends as much as its socket takes and keeps to no credit."""

    def __init__(self, world, keys, connections, stream, count):
        self.stopped, self.sent, self.busy, self.answers = False, 0, 0, 0
        self.clients, self.stream, self.count = [world.client(keys=keys) for _ in range(connections)], stream, count
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            moved = False
            for c in self.clients:
                for _ in range(20):
                    if self.stopped or not c.socket.poll(0, zmq.POLLOUT):
                        break
                    c.send([], count=self.count, stream=self.stream)
                    self.sent += 1
                    moved = True
                while c.socket.poll(0):
                    self.busy += wire.Answer(c.socket.recv_multipart()).header.batch_verdict == wire.BUSY
                    self.answers += 1
            if not moved:
                time.sleep(0.001)

    def end(self):
        self.stopped = True
        self.thread.join()
        for c in self.clients:
            c.close()


def flood(t):
    """a submitter that floods on several connections, beyond its credit, is told BUSY; another at a fixed rate keeps that"""
    world, rate = World(t, "ingest.credit=4"), 3000
    keys, count = world.t.key("flooder"), 500
    stream = t.generate(count, 3)
    world.oracle.submitted.update({r: 1 for r in delimited(stream)})
    rounds = Rounds(world, rate)
    for _ in range(7 if FULL else 1):
        counted()
        rounds.without()
        flooder = Flood(world, keys, 6, stream, count)
        wait_until(lambda: flooder.busy > 0, 20, "the flood to be told BUSY")
        start, sent = time.monotonic(), flooder.sent
        rounds.with_them()
        times = (flooder.sent - sent) * count / (time.monotonic() - start) / rate
        flooder.end()
        if FULL:
            check(times >= 10, f"the flood was {times:.1f} times the honest rate only")
            world.look()
    print(f"#   a flood of {times:.0f} times the honest rate: {flooder.sent} batches sent, {flooder.answers} answers, {flooder.busy} of them BUSY", flush=True)
    rounds.judge("a flood")
    world.end()


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
main("crowds", [strangers_have_their_time, strangers_come_again, distant_newcomers, *([strangers_that_stay] if FULL else []), slow_readers, flood], shims=False)
