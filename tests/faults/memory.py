#!/usr/bin/python3
"""Memory that is too small, and floods that want more of it than there is. A node starts, or says how many bytes it needs; what a process holds stays
within what README promises of it, whoever sends what. FORM=full has more limits and more floods, with larger budgets, in about 4
minutes."""
import contextlib
import os
import re
import resource
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import zmq  # noqa: E402

import wire  # noqa: E402
from harness import Failure, Skipped, check, check_equal, held_kib, wait_until  # noqa: E402
from oracle import conserved  # noqa: E402
from raw import endless  # noqa: E402
from scenarios import FULL, examine, main  # noqa: E402
from wire import ACCEPTED, BUSY, Client, record, stream_of  # noqa: E402

MIB = 1 << 20
INGEST_BESIDE, WORKER, WORKER_INGEST, OTHERS = 256 * MIB, 42 * MIB, 16 * MIB, 8 * MIB  # README "Limits"; OTHERS: the supervisor
INDEX_BEGINS = 8 * MIB  # a shard's smallest tables
SLOT_BYTES = 32  # of index a record, at the most
TOLERANCE = 1.05
JUDGED = os.environ.get("MUSTER_VARIANT", "release") in ("release", "faults")  # the memory of the others' instruments is in the figure


# ---- floods ----

class Held:
    """The most that each process of a node holds while this runs: resident of an ingest, of the others what is theirs alone (the map of the
    store is the page cache's)."""

    def __init__(self, node):
        self.node, self.most, self.over = node, {}, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *why):
        self.over.set()
        self.thread.join()

    def run(self):
        while not self.over.is_set():
            pids = [("run", self.node.process.pid)] + [(role, pid) for role in ("worker", "ingest") for pid in self.node.pids(role).values()]
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                for role, pid in pids:
                    with contextlib.suppress(OSError, Failure):
                        held = held_kib(pid, "VmHWM" if role == "ingest" else "RssAnon") << 10
                        self.most[role] = max(self.most.get(role, 0), held)
                time.sleep(0.002)

    def judge(self, what, budget, ingests, shards):
        """shards: as status tells them; the index of a shard is within 32 bytes a record, beside the tables that it begins with."""
        index = max(s["index_bytes"] for s in shards)
        for s in shards:
            check(s["index_bytes"] <= INDEX_BEGINS + SLOT_BYTES * s["records"], f"the index of {s['records']} records has {s['index_bytes']} bytes")
        bounds = {"ingest": 2 * budget + INGEST_BESIDE, "worker": WORKER + ingests * WORKER_INGEST + index, "run": OTHERS}
        print(f"#   {what}: " + ", ".join(f"{role} {self.most.get(role, 0) / MIB:.0f} of {bounds[role] / MIB:.0f} MiB" for role in bounds), flush=True)
        for role, bound in bounds.items():
            check(role in self.most, f"nothing was measured of {role}")
            check(not JUDGED or self.most[role] <= bound * TOLERANCE, f"{what}: {role} holds {self.most[role]} bytes, and {bound} is its bound")


class Flood:
    """Connections that send bodies (record count, stream) over and over for some seconds, whatever they are told. reads: whether they take the answers."""

    def __init__(self, node, connections, bodies, seconds, reads=True):
        endpoints, end, self.sent, self.answers = node.endpoints("ipc"), time.monotonic() + seconds, 0, 0
        sockets = []
        poller = zmq.Poller()
        for i in range(connections):
            s = wire.SHARED.socket(zmq.DEALER)
            s.linger, s.sndhwm, s.rcvhwm = 0, 4, 2
            s.connect(endpoints[i % len(endpoints)])
            s.send(wire.wire.Hello(kind=wire.wire.KIND_HELLO, version_major=1, version_minor=0, software="flood 1.0").SerializeToString())
            sockets.append(s)
            poller.register(s, zmq.POLLOUT | (zmq.POLLIN if reads else 0))
        at = 0
        while time.monotonic() < end:
            for s, what in poller.poll(20):
                if what & zmq.POLLIN:
                    s.recv_multipart()
                    self.answers += 1
                if what & zmq.POLLOUT:
                    count, stream = bodies[at % len(bodies)]
                    at += 1
                    header = wire.wire.SubmitHeader(kind=wire.wire.KIND_SUBMIT, version_major=1, version_minor=0, batch_id=at, record_count=count)
                    with contextlib.suppress(zmq.Again):
                        s.send_multipart([header.SerializeToString(), stream], zmq.NOBLOCK)
                        self.sent += 1
        for s in sockets:
            s.close()


def bodies_of(rnd, number_, records, **changes):
    return [(records, stream_of([record(rnd, **changes) for _ in range(records)])) for _ in range(number_)]


def unknown(size):
    """A field that this version does not know, so long."""
    return b"\xfa\x7f" + wire.varint(size) + bytes(size)


def maximum(rnd, number_, **changes):
    """Batches as large as they may be: few of the largest records, or as many small ones as there may be."""
    large = [record(rnd, **changes) + unknown(4000) for _ in range(990)]
    return [(len(large), stream_of(large))] + bodies_of(rnd, number_, 10000 if not changes else 3000, **changes)


def raw_flood(node, rnd, connections):
    """One message with frames without end on each connection, until the ingest lets them go."""
    first = node.pids("ingest")[0]
    size = rnd.choice((100, 60000, 8 << 20))
    frame = b"\x03" + struct.pack(">Q", size) + bytes(size) if size > 255 else (b"\x01" + bytes([size]) + bytes(size)) * 80000
    senders = [threading.Thread(target=endless, args=(node.endpoints("ipc")[0][len("ipc://"):], frame, first), daemon=True) for _ in range(connections)]
    for s in senders:
        s.start()
    for s in senders:
        s.join()
    wait_until(lambda: node.pids("ingest").get(0) not in (None, first), 30, "the ingest to start again")


def served(t, node):
    def asked():
        try:
            c = Client(node.endpoints("ipc")[0])
            word = c.submit([record(t.random)]).words
            c.close()
            return word and word[0].verdict == ACCEPTED
        except (Failure, OSError):
            return False
    wait_until(asked, 30, "an honest client to be served")


def one_flood(t, node, budget, ingests, what, function):
    with Held(node) as held:
        function()
        served(t, node)
    held.judge(what, budget, ingests, t.status()["shards"])


def floods(t):
    """maximum batches, many connections, slow readers, refused records, messages without end: each process stays within its bound"""
    rnd = t.random
    seconds = 5 if FULL else 0.5
    largest, refused = maximum(rnd, 2), maximum(rnd, 3, citizenship="ZZZ", component=None)
    for budget, ingests in ((16 * MIB, 1), (64 * MIB, 4), (256 * MIB, 1)) if FULL else ((16 * MIB, 2),):
        t.data = t.env["MUSTER_DATA"] = t.path(f"d{budget}")
        node = t.node("--workers", "1", "--ingest", ingests, "-s", f"ingest.budget_bytes={budget}")
        ways = [("largest batches", lambda: Flood(node, 16, largest, seconds)),
                ("many connections", lambda: Flood(node, 400, bodies_of(rnd, 4, 300), seconds)),
                ("slow readers", lambda: Flood(node, 60, largest, seconds, reads=False)),
                ("refused records", lambda: Flood(node, 16, refused, seconds)),
                ("a message without end", lambda: raw_flood(node, rnd, 2))]
        if FULL:
            ways += [("messages without end", lambda: raw_flood(node, rnd, rnd.choice((1, 4, 8)))) for _ in range(4)]
        for what, function in ways:
            examine(f"{what}, budget {budget >> 20} MiB", f"SEED={t.seed} FORM={'full' if FULL else 'short'} {os.path.relpath(__file__)} floods",
                    one_flood, t, node, budget, ingests, what, function)
        check("Assertion" not in node.log(), "an assertion of libzmq failed")
        check(not re.search(r"event=child.died child=worker", node.log()), "a worker died")
        conserved(t)
        node.stop()
        t.muster("verify")


# ---- memory that is too small ----

def how_it_stands(node):
    """The exit code of a node that has ended, or None of one that is ready."""
    wait_until(lambda: node.process.poll() is not None or re.search(r"^muster: ready: ", node.log(), re.M), 20, f"the node to say how it stands: {node.log()[-2000:]}")
    if node.process.poll() is None:
        node.wait_ready()
    return node.process.poll()


def works(t, node, rnd):
    """It takes records, or says BUSY."""
    client = Client(node.endpoints("ipc")[0])
    some = [record(rnd) for _ in range(200)]
    answer = client.submit(some)
    verdicts = {w.verdict for w in answer.words} or {answer.header.batch_verdict}
    check(verdicts <= {ACCEPTED, BUSY}, f"verdicts with little memory: {verdicts}")
    client.close()
    return ACCEPTED in verdicts


class Limited:
    """A node that may have so many bytes: by the limit of a process, or in a control group of its own."""

    def __init__(self, t, kind, limit, *arguments):
        self.t, self.kind, self.limit, self.group = t, kind, limit, None
        what = {"data": "RLIMIT_DATA", "space": "RLIMIT_AS"}.get(kind)

        def inside():
            if what:
                resource.setrlimit(getattr(resource, what), (limit, limit))
            else:
                with open(os.path.join(self.group, "cgroup.procs"), "w") as f:
                    f.write(str(os.getpid()))
        if not what:
            self.group = group_of(limit)
        self.node = t.node("--workers", "2", *arguments, wait=False, before=inside)

    def finish(self):
        if self.group:
            wait_until(lambda: not open(os.path.join(self.group, "cgroup.procs")).read().strip(), 10, "the group to be empty")
            os.rmdir(self.group)


def group_of(limit):
    """A control group with that much memory, v2 or v1; Skipped where the machine does not allow it."""
    own = {line.split(":")[1]: line.strip().split(":", 2)[2] for line in open("/proc/self/cgroup")}
    for root, path, name in (("/sys/fs/cgroup", own.get("", "/"), "memory.max"), ("/sys/fs/cgroup/memory", own.get("memory", "/"), "memory.limit_in_bytes")):
        for below in (path, "/"):
            group = f"{root}{below.rstrip('/')}/muster-test-{os.getpid()}"
            if not os.path.exists(os.path.join(os.path.dirname(group), "cgroup.procs")):
                continue  # nothing of that kind is mounted there
            try:
                os.mkdir(group)
                with open(os.path.join(group, name), "w") as f:
                    f.write(str(limit))
                return group
            except OSError:
                with contextlib.suppress(OSError):
                    os.rmdir(group)
    raise Skipped("no control group of memory can be made")


def one_limit(t, kind, limit, rnd):
    """Refused with the number, which is then enough; or it serves."""
    settings = ("-s", "ingest.budget_bytes=16MiB", "-s", "store.index_bytes=32MiB", "-s", "store.map_bytes=1GiB")
    limited = Limited(t, kind, limit, *settings)
    node = limited.node
    code = how_it_stands(node)
    if code is None:
        check(works(t, node, rnd), "a node that has started takes nothing")
        if FULL or kind == "group":
            Flood(node, 8, maximum(rnd, 1), 1)  # with all the memory that it has said it needs it bears this
        served(t, node)
        check("event=child.died" not in node.log(), f"a process ended for want of memory: {node.log()[-2000:]}")
        conserved(t)
        node.stop()
        t.muster("verify")
        limited.finish()
        return "serves"
    check_equal(code, 78, f"exit code of a node with {limit} bytes of {kind}: {node.log()[-1500:]}\n")
    limited.finish()
    needed = re.search(r"needs (?:up to )?(\d+) bytes", node.log())
    check(needed, f"refused without the number of bytes: {node.log()[-1000:]}")
    check(int(needed[1]) > limit, f"needs {needed[1]} bytes, and has {limit}")
    return int(needed[1])


def one_kind(t, kind, limits, rnd):
    """Some limits from far too small on; the number that a refusal names is enough, and one page less is not."""
    t.data = t.env["MUSTER_DATA"] = t.path(f"limit-{kind}")
    needed = None
    for limit in limits:
        told = one_limit(t, kind, limit, rnd)
        check(needed in (None, told) and isinstance(told, int), f"with {limit} bytes of {kind}: {told}, before {needed}")
        needed = told
    check_equal(one_limit(t, kind, needed // 4096 * 4096 - 4096, rnd), needed, "one page less")
    check_equal(one_limit(t, kind, needed // 4096 * 4096 + 4096, rnd), "serves", "with what it needs")


def too_little(t):
    """a control group, a limit of data or of address space that is too small: refused with the number of bytes, which is then enough"""
    skipped = []
    for kind in ("data", "space", "group"):
        limits = sorted(t.random.randrange(48 * MIB, 300 * MIB) for _ in range(12 if FULL else 1))
        try:
            examine(f"little {kind}", f"SEED={t.seed} {os.path.relpath(__file__)} too_little", one_kind, t, kind, limits, t.random)
        except Skipped as why:
            skipped.append(f"{kind}: {why}")
    if skipped:
        print("#   left out: " + ", ".join(skipped), flush=True)


main("memory", [floods, too_little])
