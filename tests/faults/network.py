#!/usr/bin/python3
"""What networks do to connections, between real clients and a real node that listens on tcp with CURVE: delays and small pieces, an end or a silence
at every place of the handshake and of a batch, bytes of an old connection that arrive after the new one has sent the same again, peers that vanish.
Afterwards the oracle asks for everything, the node serves, and nothing is held for anybody."""
import concurrent.futures
import os
import random
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
from harness import check, check_equal, delimited, summary, wait_until  # noqa: E402
from proxy import DOWN, DOWN_FRAMES, UP, UP_FRAMES, Cut, Script  # noqa: E402
from scenarios import FULL, examine, main  # noqa: E402
from wire import DUPLICATE  # noqa: E402
from world import FILES_SPARE, World  # noqa: E402

ABREAST = 8  # scenarios at a time: most of them wait for somebody's patience to end
GROUP = 32   # scenarios between two looks at everything


def only(scenarios):
    """All, or the one that a violation's replay line names."""
    return [scenarios[int(os.environ["WAY"])]] if "WAY" in os.environ else scenarios


# ---- one client through a proxy, to its end ----

def submits(world, seed, script_of, records=60, batch=10, window=4, reached=True):
    """`muster submit` over connections that follow the scripts, until every record has its verdict. reached: the cut must take place."""
    t = world.t
    stream, verdicts = t.generate(records, seed), t.path(f"v{next(world.numbers)}.tsv")
    way = world.proxy.way(script_of)
    try:
        done = t.muster("submit", "--endpoint", way.endpoint, "--server-key", world.server, "--key", t.path("field-1.key"), "--batch", batch,
                        "--window", window, "--timeout", 40, "--verdicts", verdicts, "-", stdin=stream, code=None, timeout=90)
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


def run_all(world, name, scenarios, afterwards=lambda: None):
    """scenarios: (title, function) pairs. Some at a time, and a look at everything between two groups of them and at the end. What a look finds is told
    of its group."""
    me, again = os.path.relpath(__file__), f"FORM={'full' if FULL else 'short'} SEED={world.t.seed}"
    chosen = only(list(enumerate(scenarios)))

    def end():
        if len(chosen) == len(scenarios):
            afterwards()
        world.end()
    for at in range(0, len(chosen), GROUP):
        group = chosen[at:at + GROUP]
        with concurrent.futures.ThreadPoolExecutor(ABREAST) as pool:
            list(pool.map(lambda s: examine(f"{name} {s[0]}: {s[1][0]}", f"{again} WAY={s[0]} {me} {name}", s[1][1]), group))
        examine(f"{name} {group[0][0]} to {group[-1][0]}: afterwards", f"{again} {me} {name}", end if at + GROUP >= len(chosen) else world.look)


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
                              lambda p=pieces, d=delay, s=seed, m=more: submits(world, s, lambda i: Script(s + i, p, d), reached=False, **m)))
    run_all(world, "delays_and_pieces", scenarios)


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
                          submits(world, s, first_connections(lambda _: Cut(w, h, f, p), c, s))))
    r.shuffle(scenarios)
    run_all(world, "lost_in_each_frame", scenarios)


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
                          lambda c=cut_of, e=ends, s=seed: submits(world, s, first_connections(c, e, s), records=100, reached=False)))
    run_all(world, "lost_after_some_bytes", scenarios)


# ---- 3: the old connection's bytes come after the new one's ----

def old_bytes_arrive_late(t):
    """what an ended connection had sent arrives while and after the new one sends the same: one copy each, and verdicts only to the new one"""
    world, r = World(t, "ingest.answer_timeout_ms=1000"), random.Random(t.seed)
    late = []

    def one(cut, seed, ends):
        way = submits(world, seed, first_connections(lambda _: cut, ends, seed), records=120, batch=20)
        wait_until(lambda: all(c.late_bytes or not c.is_cut for c in way.connections), 10, "the old bytes to have arrived")
        late.append(sum(c.late_bytes for c in way.connections))
        way.close()
    scenarios = []
    for i in range(100 if FULL else 6):
        seed = r.getrandbits(32)
        cut = Cut(UP, "late", 4 + i % 8, r.choice([0, 0, r.random()]), gather=0.05, late=r.choice([0, 0.01, 0.1, 0.3, r.uniform(0, 0.3)]))
        scenarios.append((f"{cut}, seed {seed}", lambda c=cut, s=seed, e=r.randint(1, 2): one(c, s, e)))

    def afterwards():
        check(sum(late) > 1000 * len(late), f"{sum(late)} bytes were late in {len(late)} scenarios")
        check(world.ingest()["records_duplicate"] > 0, "nothing was sent twice")
    run_all(world, "old_bytes_arrive_late", scenarios, afterwards)


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

        def taken():
            c = world.ingest()
            return c if c["batches_in_flight"] >= want else None
        check(wait_until(taken, 20, f"{want} batches to be in flight")["budget_used_bytes"] > 0, "no budget is used")
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
    for how in ways * 2 if FULL else ways[:1]:
        examine(f"{how} with batches in flight", f"FORM={'full' if FULL else 'short'} SEED={t.seed} {os.path.relpath(__file__)} vanished_peers", vanished, world, how,
                *((30, 8) if FULL else (8, 4)), False)
        if FULL:
            world.look()
    if FULL:
        examine("gone, until the node gives them up", f"FORM=full SEED={t.seed} {os.path.relpath(__file__)} vanished_peers", vanished, world, "gone", 30, 8, True)
    world.end()


main("network", [delays_and_pieces, lost_in_each_frame, lost_after_some_bytes, old_bytes_arrive_late, vanished_peers], shims=False)
