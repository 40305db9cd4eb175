#!/usr/bin/python3
"""What networks do, between real clients and a real node that listens on tcp with CURVE: delays and small pieces, connections that end or fall
silent at every place of the handshake and of a batch, bytes of an old connection that arrive after the new one has sent the same again, peers that
vanish, thousands that never say who they are, peers that do not read, and floods. Afterwards the oracle asks for everything, the node serves, and
nothing is held for anybody."""
import concurrent.futures
import itertools
import os
import random
import re
import resource
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import wire  # noqa: E402
import zmq  # noqa: E402
from harness import SLOW, Skipped, check, check_equal, delimited, finished, number, summary, wait_until  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402
from proxy import DOWN, DOWN_FRAMES, UP, UP_FRAMES, Cut, Proxy, Script  # noqa: E402
from scenarios import FULL, counted, examine, main  # noqa: E402
from wire import ACCEPTED, DUPLICATE, Client, record  # noqa: E402

BUDGET_MIB = 16
BOUND_MIB = 2 * BUDGET_MIB + 256  # README.md, "Limits"
HANDSHAKE_MS = 2000
KEPT = 0.8 if FULL else 0.5  # of an honest client's rate, whatever others do; a single short round on a busy machine cannot tell it so exactly
FILES_SPARE = 4  # descriptors an ingest at rest may have more than before: a file that is being read, a hop that connects
ABREAST = 8      # scenarios at a time: most of them wait for somebody's patience to end
GROUP = 32       # scenarios between two looks at everything


def only(scenarios):
    """All, or the one that a violation's replay line names."""
    return [scenarios[int(os.environ["WAY"])]] if "WAY" in os.environ else scenarios


class World:
    """A node on tcp, a proxy in front of it, one submitter's keys, and the oracle of all that goes through."""

    def __init__(self, t, *settings):
        self.t = t
        self.node = t.node("--listen", "tcp://127.0.0.1:0", "--workers", "2", "-s", f"ingest.budget_bytes={BUDGET_MIB}MiB",
                           "-s", f"ingest.handshake_ms={HANDSHAKE_MS}", *itertools.chain(*(("-s", s) for s in settings)))
        self.endpoint = self.node.endpoints("tcp")[0]
        self.server = t.muster("key", "show").text().strip()
        self.keys = self.key("field-1")
        self.pid = self.node.pids("ingest")[0]
        self.proxy, self.oracle, self.lock, self.numbers = Proxy(self.endpoint), Oracle(t), threading.Lock(), itertools.count(1)
        self.serve()
        self.files = self.open_files()

    def key(self, name):
        """The keys (public, secret) of a submitter that may submit; its file is NAME.key."""
        path = self.t.path(f"{name}.key")
        self.t.muster("key", "new", name, "--out", path)
        with open(path) as f:
            public, secret = re.findall(r"(?:public|secret)\s*=\s*(\S{40})", f.read())
        self.t.muster("key", "allow", name, public)
        return public, secret

    def client(self, endpoint=None, keys=None, **more):
        return Client(endpoint or self.endpoint, self.server, *(keys or self.keys), **more)

    def records(self, count):
        made = [record(self.t.random) for _ in range(count)]
        with self.lock:
            for r in made:
                self.oracle.submitted[r] = 1
        return made

    def told(self, records, answer):
        check_equal(len(answer.words), len(records), "verdicts of a batch")
        with self.lock:
            for r, w in zip(records, answer.words):
                self.oracle.told(r, {ACCEPTED: "ACCEPTED", DUPLICATE: "DUPLICATE"}.get(w.verdict, w.verdict), f"{w.shard}:{w.sequence}")

    def serve(self):
        client = self.client()
        records = self.records(3)
        self.told(records, client.submit(records))
        client.close()

    def ingest(self):
        return next(p for p in self.t.status()["processes"] if p["role"] == "ingest-0")["counters"]

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_mib(self, what="VmHWM"):
        with open(f"/proc/{self.pid}/status") as f:
            return number(rf"{what}:\s+(\d+)", f.read()) >> 10

    def bounded(self):
        check_equal(self.node.pids("ingest").get(0), self.pid, f"pid of the ingest\n{self.node.log()[-2000:]}\n")
        if os.environ.get("MUSTER_VARIANT", "release") in ("release", "faults"):  # the memory of the others' instruments is in the figure
            check(self.memory_mib() <= BOUND_MIB, f"{self.memory_mib()} MiB resident, the bound is {BOUND_MIB}")

    def at_rest(self):
        c = self.ingest()
        return not (c["records_in_flight"] or c["batches_in_flight"] or c["budget_bytes_used"])

    def look(self, seconds=20, files=FILES_SPARE):
        """Everything that must be so when nobody is there any more."""
        wait_until(self.at_rest, seconds, f"nothing to be in flight and no budget to be used: {self.ingest()}")
        conserved(self.t)
        wait_until(lambda: self.open_files() <= self.files + files, seconds, f"descriptors to be as before ({self.files}): {self.open_files()} are open")
        self.bounded()
        self.serve()
        self.oracle.examine()

    def end(self):
        self.look()
        self.proxy.close()
        check(self.node.stop() < 10, "stop")
        check("Assertion" not in self.node.log(), "an assertion of libzmq failed")
        self.t.muster("verify")


# ---- one client through a proxy, to its end ----

def submits(world, script_of, records=60, batch=10, window=4, reached=True, direct=False):
    """`muster submit` over connections that follow the scripts, until every record has its verdict. reached: the cut must take place. direct: without the proxy."""
    t, n = world.t, next(world.numbers)
    stream = t.generate(records, t.seed % 10**6 * 1000 + n)
    verdicts = t.path(f"v{n}.tsv")
    way = world.proxy.way(script_of)
    try:
        done = t.muster("submit", "--endpoint", world.endpoint if direct else way.endpoint, "--server-key", world.server, "--key", t.path("field-1.key"), "--batch", batch, "--window", window,
                        "--timeout", 40, "--verdicts", verdicts, "-", stdin=stream, code=None, timeout=90)
        check_equal(done.code, 0, f"exit of submit after {len(way.connections)} connections: {done.text()}{done.error()}")
        got = summary(done)
        check_equal((got["accepted"] + got["duplicate"], got["submitted"]), (records, records), f"records told: {done.text()}")
        check(not reached or way.was_cut(), f"the cut did not take place: {[(c.pipes[UP].passed, c.pipes[DOWN].passed) for c in way.connections]}")
        with world.lock:
            world.oracle.heard(delimited(stream), verdicts)
    finally:
        if not any(c.holding for c in way.connections):
            way.close()
    return way


def first_connections(cut_of, count=1, seed=0):
    """The first connections are cut, those after them are whole."""
    return lambda i: Script(seed + i, cut=cut_of(i) if i < count else None)


def run_all(world, name, scenarios):
    """scenarios: (title, function) pairs. Some at a time, and a look at everything now and then. A look that finds something is told of its group."""
    me, again = os.path.relpath(__file__), f"FORM={'full' if FULL else 'short'} SEED={world.t.seed}"
    chosen = only(list(enumerate(scenarios)))
    for at in range(0, len(chosen), GROUP):
        with concurrent.futures.ThreadPoolExecutor(ABREAST) as pool:
            list(pool.map(lambda s: examine(f"{name} {s[0]}: {s[1][0]}", f"{again} WAY={s[0]} {me} {name}", s[1][1]), chosen[at:at + GROUP]))
        examine(f"{name} {chosen[at][0]} to {chosen[min(at + GROUP, len(chosen)) - 1][0]}: afterwards",
                f"{again} {me} {name}", world.look)


# ---- 1: delays and pieces ----

def delays_and_pieces(t):
    """one byte at a time, odd pieces and jittered delays, both ways, answers later than the time-out too: every record has one verdict"""
    world, r = World(t, "ingest.answer_timeout_ms=400"), random.Random(t.seed)
    shapes = [("single bytes", {UP: (1, 1), DOWN: (1, 1)}, {}, {}), ("odd pieces", {UP: (1, 700), DOWN: (1, 40)}, {}, {}),
              ("pieces with delays", {UP: (200, 3000), DOWN: (20, 400)}, {UP: (0, 0.02), DOWN: (0, 0.02)}, {}),
              ("late answers", {}, {DOWN: (0.1, 0.35)}, dict(records=80, batch=10, window=8)),
              ("late both ways", {UP: (100, 5000)}, {UP: (0, 0.03), DOWN: (0.05, 0.6)}, dict(records=80, batch=10, window=8))]
    scenarios = []
    for _ in range(12 if FULL else 1):
        for what, pieces, delay, more in shapes:
            seed = r.getrandbits(32)
            scenarios.append((f"{what}, seed {seed}",
                              lambda p=pieces, d=delay, s=seed, m=more: submits(world, lambda i: Script(s + i, p, d), reached=False, **m)))
    run_all(world, "delays_and_pieces", scenarios)
    world.end()


# ---- 2: the connection is lost ----

def lost_in_each_frame(t):
    """reset, end and silence in front of, within and behind every frame of handshake and batch, both ways: the client comes again, and all is told"""
    world, r = World(t, "ingest.answer_timeout_ms=500"), random.Random(t.seed)
    cuts = [(how, way, frame, part) for way, frames in ((UP, UP_FRAMES), (DOWN, DOWN_FRAMES)) for frame in range(len(frames))
            for how in ("rst", "fin", "silent", "deaf", "gone") for part in (0, None, 1)]
    if not FULL:  # of each frame one end, and of those behind the handshake, where it does not last five seconds, one silence
        places = [(way, frame) for way in (UP, DOWN) for frame in range(6)]
        cuts = [(r.choice(("rst", "fin")), *place, None) for place in places]
        cuts += [(r.choice(("silent", "deaf", "gone")), *place, None) for place in places if place[1] > 3]
    scenarios = []
    for how, way, frame, part in cuts:
        place = r.uniform(0.05, 0.95) if part is None else part
        count = 1 if how not in ("rst", "fin") else r.randint(1, 3)
        scenarios.append((Cut(way, how, frame, place), lambda h=how, w=way, f=frame, p=place, c=count, s=r.getrandbits(32):
                          submits(world, first_connections(lambda _: Cut(w, h, f, p), c, s))))
    r.shuffle(scenarios)
    run_all(world, "lost_in_each_frame", scenarios)
    world.end()


def lost_after_some_bytes(t):
    """the same after any number of bytes, again and again on the way: what came before the end is kept, the rest sent again"""
    world, r = World(t, "ingest.answer_timeout_ms=500"), random.Random(t.seed)
    scenarios = []
    for _ in range(200 if FULL else 6):
        seed, ends = r.getrandbits(32), r.randint(1, 3)
        how, way = r.choice(["rst", "fin"] * 4 + (["silent", "deaf", "gone"] if FULL else [])), r.choice([UP, DOWN])
        after = r.randint(900, 20000) if way == UP else r.randint(700, 2000)

        def cut_of(i, s=seed, h=how, w=way, a=after):
            return Cut(w, h, after=random.Random(s + i).randint(600, a) if i else a)
        scenarios.append((f"{ends} times {Cut(way, how, after=after)}, seed {seed}",
                          lambda c=cut_of, e=ends, s=seed: submits(world, first_connections(c, e, s), records=100, reached=False)))
    run_all(world, "lost_after_some_bytes", scenarios)
    world.end()


# ---- 3: the old connection's bytes come after the new one's ----

def old_bytes_arrive_late(t):
    """what an ended connection had sent arrives while and after the new one sends the same: one copy each, and verdicts only to the new one"""
    world, r = World(t, "ingest.answer_timeout_ms=1000"), random.Random(t.seed)
    late = []

    def one(cut, seed, ends):
        way = submits(world, first_connections(lambda _: cut, ends, seed), records=120, batch=20)
        wait_until(lambda: all(c.late_bytes or not c.is_cut for c in way.connections), 10, "the old bytes to have arrived")
        late.append(sum(c.late_bytes for c in way.connections))
        way.close()
    scenarios = []
    for i in range(100 if FULL else 6):
        seed = r.getrandbits(32)
        cut = Cut(UP, "late", 4 + i % 8, r.choice([0, 0, r.random()]), gather=0.05, late=r.choice([0, 0.01, 0.1, 0.3, r.uniform(0, 0.3)]))
        scenarios.append((f"{cut}, seed {seed}", lambda c=cut, s=seed: one(c, s, r.randint(1, 2))))
    run_all(world, "old_bytes_arrive_late", scenarios)
    check(sum(late) > 1000 * len(late), f"{sum(late)} bytes were late in {len(late)} scenarios")
    check(world.ingest()["records_duplicate"] > 0, "nothing was sent twice")
    world.end()


# ---- 4: peers that vanish ----

def vanished(world, how, clients, batches, leave_it):
    """Clients that are cut off while all they sent is in flight. What they held is given back, others are served, and the same records are
    DUPLICATE for whoever sends them again. leave_it: their connections stay as they are, until the node gives them up."""
    before, way = world.client(), world.proxy.way(lambda i: Script(i))
    credit = before.welcome.credit
    before.close()
    workers = list(world.node.pids("worker").values())
    gone = [world.client(way.endpoint) for _ in range(clients)]
    made = [[world.records(20) for _ in range(batches)] for _ in gone]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        for client, parts in zip(gone, made):
            for records in parts:
                client.send(records)
        want = clients * batches
        wait_until(lambda: world.ingest()["batches_in_flight"] >= want, 20, f"{want} batches to be in flight")
        check(world.ingest()["budget_bytes_used"] > 0, "no budget is used")
        way.end_all(how)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    for client in gone:
        client.close()
    wait_until(world.at_rest, 20, "what the vanished held to be given back")
    later = world.client()
    check_equal(later.welcome.credit, credit, "credit of a newcomer")
    for parts in made:
        for records in parts:
            answer = later.submit(records)
            check_equal({w.verdict for w in answer.words}, {DUPLICATE}, "verdicts on what the vanished had sent")
            world.told(records, answer)
    later.close()
    if leave_it:
        wait_until(lambda: world.open_files() <= world.files + FILES_SPARE, 90, "the node to give up connections that nobody answers")
    way.close()


def vanished_peers(t):
    """clients vanish without a word while they have batches in flight: budget and credit come back, later clients are served"""
    world = World(t)
    ways = ["gone", "silent", "deaf", "rst"]
    for how in ways * 2 if FULL else ways[:2]:
        examine(f"{how} with batches in flight", f"SEED={t.seed} {os.path.relpath(__file__)} vanished_peers", vanished, world, how, *((30, 8) if FULL else (8, 4)), False)
        world.look()
    if FULL:
        examine("gone, until the node gives them up", f"FORM=full SEED={t.seed} {os.path.relpath(__file__)} vanished_peers", vanished, world, "gone", 30, 8, True)
    world.end()


# ---- 5: strangers ----

class Strangers:
    """Connections that never prove a key, from several addresses of loopback: silent, within their greeting, behind it, within HELLO. Those that are
    ended come again, if they are told to."""

    WORDS = (b"", b"\xff" + b"\0" * 6, b"\xff" + b"\0" * 8 + b"\x7f\x03\0" + b"CURVE".ljust(20, b"\0") + b"\0" * 32)

    def __init__(self, endpoint, count, again):
        self.address, self.again = (endpoint[len("tcp://"):].rsplit(":", 1)[0], int(endpoint.rsplit(":", 1)[1])), again
        self.selector, self.came, self.dropped, self.stopped = selectors.DefaultSelector(), 0, 0, False
        self.thread = threading.Thread(target=self.run, args=(count,), daemon=True)
        self.thread.start()

    def come(self, number):
        s = socket.socket()
        s.setblocking(False)
        s.bind((f"127.0.0.{2 + number % 50}", 0))
        s.connect_ex(self.address)
        self.selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
        self.came += 1

    def serve(self, key, events):
        data = b"?"
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
            self.selector.unregister(key.fileobj)
            key.fileobj.close()
            if self.again:
                self.come(key.data)

    def run(self, count):
        for number in range(count):  # no faster than they are accepted: what overflows that queue is forgotten, and nobody tells its other side
            self.come(number)
            if number % 50 == 49:
                time.sleep(0.02)
        while not self.stopped:
            for key, events in self.selector.select(0.1):
                self.serve(key, events)
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
    """An honest client at a fixed rate: records come at it whether it keeps up or not. Records a second that it had verdicts for, in the second half."""
    t, n = world.t, next(world.numbers)
    stream, verdicts = t.generate(int(rate * seconds), t.seed % 10**6 * 1000 + n), t.path(f"v{n}.tsv")
    with open(t.write(f"s{n}.pb", stream), "rb") as f:  # a process of its own: what this one does is no matter of the client's
        feeder = subprocess.Popen(["/usr/bin/python3", "-c", FEEDER, str(seconds)], stdin=f, stdout=subprocess.PIPE)
    process = t.popen("submit", "--endpoint", world.endpoint, "--server-key", world.server, "--key", t.path("field-1.key"), "--batch", 100, "--window", 64, "--verdicts", verdicts,
                      "-", stdin=feeder.stdout, stdout=-1, stderr=-1)
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
    return (after - before) / took


def newcomer(world):
    """Seconds until one who was not there is served."""
    start = time.monotonic()
    client = world.client(hello=False)
    client.socket.send(wire.wire.Hello(kind=wire.wire.KIND_HELLO, version_major=1).SerializeToString())
    client.receive(30)
    records = world.records(3)
    world.told(records, client.submit(records))
    client.close()
    return time.monotonic() - start


def kept(world, what, without, with_it):
    """The honest rate with the evil beside the rate without it: medians of rounds that take turns."""
    ratio = statistics.median(with_it) / statistics.median(without)
    print(f"#   {what}: {statistics.median(with_it):,.0f} records/s, {statistics.median(without):,.0f} without: {ratio:.2f}", flush=True)
    check(ratio >= KEPT, f"{what}: the honest client kept {ratio:.2f} of its rate of {statistics.median(without):.0f} records/s, want {KEPT}")


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
    stayed, rounds = world.client(), 5 if FULL else 1
    without, beside = [], []
    for _ in range(rounds):
        counted()
        without.append(paced(world, 3000, 2 + FULL))
        strangers = Strangers(world.endpoint, count, again=True)
        wait_until(lambda: strangers.came >= count and world.ingest()["connections"] > peers // 2, 30, "the strangers to be there")
        beside.append(paced(world, 3000, 2 + FULL))
        slowest = max(newcomer(world) for _ in range(5))
        check(slowest < 10 * SLOW, f"a newcomer waited {slowest:.1f} s")
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
    kept(world, f"{count} strangers that come again", without, beside)
    stayed.close()
    world.end()


def strangers_that_stay(t):
    """as many as there is room for, and they stay: the honest client keeps its rate"""
    if not FULL:
        raise Skipped("in full form: 10,000 connections that the node keeps")
    world = World(t, "ingest.peers=12000", "ingest.handshake_ms=60000")
    without, beside = [], []
    for _ in range(5):
        counted()
        without.append(summary_rate(world))
        strangers = Strangers(world.endpoint, 10000, again=False)
        wait_until(lambda: world.ingest()["connections"] >= 10000, 60, "10,000 connections to be open")
        beside.append(summary_rate(world))
        check(newcomer(world) < 5 * SLOW, "a newcomer waited")
        check(world.ingest()["connections"] >= 10000, "the strangers were let go")
        strangers.end()
        wait_until(lambda: world.open_files() <= world.files + FILES_SPARE, 60, "the strangers' descriptors to be given back")
        world.bounded()
    kept(world, "10,000 strangers that stay", without, beside)
    world.end()


def summary_rate(world):
    """Records a second of one who sends as fast as it can."""
    start = time.monotonic()
    submits(world, lambda i: Script(i), records=100000, batch=500, window=16, reached=False, direct=True)
    return 100000 / (time.monotonic() - start)


# ---- 6, 7: those who do not read, and those who send too much ----

def slow_readers(t):
    """clients that never take their verdicts: what they hold stays within their credit, is dropped after the time-out, and others are served"""
    world = World(t, "ingest.answer_timeout_ms=1000")
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
        if not FULL and c["answers_dropped"] >= 2 and c["batches_busy"]:
            break
    check(c["answers_dropped"] > 0, f"no answer was dropped, of {c['batches_answered']} batches answered")
    check(c["batches_busy"] > 0, "nobody was told BUSY")
    grown = world.memory_mib() - before
    print(f"#   {clients} readers, {c['batches_answered']} batches answered, {c['answers_dropped']} dropped, {c['batches_busy']} told BUSY: {grown} MiB more; "
          f"an honest batch took {slowest:.2f} s at most", flush=True)
    if os.environ.get("MUSTER_VARIANT", "release") in ("release", "faults"):
        check(grown <= 2 * BUDGET_MIB + 2 * clients, f"{grown} MiB more than before, for {clients} that do not read")
    check(slowest < 3 * SLOW, f"an honest batch took {slowest:.1f} s")
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
    keys, count = world.key("flooder"), 500
    stream = t.generate(count, 3)
    world.oracle.submitted.update({r: 1 for r in delimited(stream)})
    without, beside = [], []
    for _ in range(7 if FULL else 1):
        counted()
        without.append(paced(world, rate, 2 + 2 * FULL))
        flooder = Flood(world, keys, 6, stream, count)
        wait_until(lambda: flooder.busy > 0, 20, "the flood to be told BUSY")
        start, sent = time.monotonic(), flooder.sent
        beside.append(paced(world, rate, 2 + 2 * FULL))
        times = (flooder.sent - sent) * count / (time.monotonic() - start) / rate
        flooder.end()
        check(times >= 10, f"the flood was {times:.1f} times the honest rate only")
        world.look()
    print(f"#   a flood of {times:.0f} times the honest rate: {flooder.sent} batches sent, {flooder.answers} answers, {flooder.busy} of them BUSY", flush=True)
    kept(world, "a flood", without, beside)
    world.end()


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
main("network", [delays_and_pieces, lost_in_each_frame, lost_after_some_bytes, old_bytes_arrive_late, vanished_peers, strangers_have_their_time, strangers_come_again, strangers_that_stay,
                 slow_readers, flood])
