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
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
from harness import SLOW, Failure, check, check_equal, delimited, number, summary, wait_until  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402
from proxy import DOWN, DOWN_FRAMES, UP, UP_FRAMES, Cut, Proxy, Script  # noqa: E402
from scenarios import FULL, counted, examine, main  # noqa: E402
from wire import ACCEPTED, DUPLICATE, Client, record  # noqa: E402

BUDGET_MIB = 16
BOUND_MIB = 2 * BUDGET_MIB + 256  # README.md, "Limits"
HANDSHAKE_MS = 2000
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

def submits(world, script_of, records=60, batch=10, window=4, reached=True):
    """`muster submit` over connections that follow the scripts, until every record has its verdict. reached: the cut must take place."""
    t, n = world.t, next(world.numbers)
    stream = t.generate(records, t.seed % 10**6 * 1000 + n)
    verdicts = t.path(f"v{n}.tsv")
    way = world.proxy.way(script_of)
    try:
        done = t.muster("submit", "--endpoint", way.endpoint, "--server-key", world.server, "--key", t.path("field-1.key"), "--batch", batch, "--window", window,
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
              ("late answers", {}, {DOWN: (0.1, 0.35)}, dict(records=120, batch=10, window=8)),
              ("late both ways", {UP: (100, 5000)}, {UP: (0, 0.03), DOWN: (0.05, 0.6)}, dict(records=120, batch=10, window=8))]
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
            for how in ("rst", "fin", "silent", "deaf", "gone") for part in (0, None, 1)
            if FULL or part is None]
    if not FULL:  # silence in the handshake lasts five seconds; one of each will do
        slow = [c for c in cuts if c[0] not in ("rst", "fin") and c[2] < 4]
        kept = [c for c in slow if c[1:3] in ((UP, 1), (DOWN, 2))]
        cuts = [c for c in cuts if c not in slow] + r.sample(kept, 2)
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
    for _ in range(200 if FULL else 8):
        seed, ends = r.getrandbits(32), r.randint(1, 3)
        how, way = r.choice(["rst", "fin"] * 4 + ["silent", "deaf", "gone"]), r.choice([UP, DOWN])
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
    for i in range(100 if FULL else 8):
        seed = r.getrandbits(32)
        cut = Cut(UP, "late", 4 + i % 8, r.choice([0, 0, r.random()]), gather=0.05, late=r.choice([0, 0.01, 0.1, 0.3, r.uniform(0, 0.3)]))
        scenarios.append((f"{cut}, seed {seed}", lambda c=cut, s=seed: one(c, s, r.randint(1, 2))))
    run_all(world, "old_bytes_arrive_late", scenarios)
    check(sum(late) > 1000 * len(late), f"{sum(late)} bytes were late in {len(late)} scenarios")
    check(world.ingest()["records_duplicate"] > 0, "nothing was sent twice")
    world.end()


main("network", [delays_and_pieces, lost_in_each_frame, lost_after_some_bytes, old_bytes_arrive_late])
