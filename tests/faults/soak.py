#!/usr/bin/python3
"""A node under a steady load, for MINUTES, while seeded faults of every kind come and go: kills, freezes, bad frames, clients that vanish, keys revoked and
allowed, exports, backups and verifications that are killed, quarantine dropped and replayed, a file that cannot grow, a clock that jumps. Every record
is known by its number, so that the oracle's memory is 8 bytes a record: at the end each one that is stored is compared, byte by byte. What the node holds
is sampled all the while, and must stay flat. One worker, one ingest and the supervisor are let live, so that a leak of theirs can be seen.
SEED repeats the order of the faults; RATE: records a second of the oracle's own submitters, LOAD: of `muster bench` beside them."""
import array
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import scenarios  # noqa: E402
import wire  # noqa: E402
from deaths import alone, tell  # noqa: E402
from harness import SLOW, binary, check, check_equal, number, wait_until  # noqa: E402
from oracle import conserved  # noqa: E402
from watch import Watch, percentile, reader_slots  # noqa: E402
from wire import ACCEPTED, BUSY, CONFLICT, DUPLICATE, INVALID, RETRY, Answer, Client, record  # noqa: E402

MINUTES = float(os.environ.get("MINUTES", "0.25"))
RATE = int(os.environ.get("RATE", "4000"))
LOAD = int(os.environ.get("LOAD", "20000"))
SUBMITTERS = 4
BATCH = 100
NEVER_US = 4 * 10**15  # a time that is refused
FROZEN_MS = 5000
TEXTS = 32             # different records beside their ids
HOUR_US = 3600 * 10**6


class Ledger:
    """Every record by its number: its bytes are made from it, and what was said of it is one word. Numbers are given in order; memory is 8 bytes each."""

    def __init__(self, seed):
        rnd = random.Random(seed)
        made = [record(rnd, station=f"SOAK-{i:02}") for i in range(2 * TEXTS)]
        check(all(r.startswith(b"\x0a\x10") for r in made), "the id is not the first field of a record")
        self.rest = [r[18:] for r in made]
        self.key = seed.to_bytes(8, "big")
        self.word = array.array("Q")  # 0: nothing certain; else shard << 48 | sequence, as in a verdict
        self.lock = threading.Lock()
        self.told = [0] * 8

    def take(self, count):
        with self.lock:
            first = len(self.word)
            self.word.extend([0] * count)
        return range(first, first + count)

    def bytes_of(self, n, other=False):
        """other: another content under the same id."""
        tail = hashlib.blake2b(n.to_bytes(8, "big"), key=self.key, digest_size=10).digest()
        return (b"\x0a\x10" + n.to_bytes(6, "big") + bytes([0x40 | tail[0] & 15, tail[1], 0x80 | tail[2] & 63]) + tail[3:] + self.rest[n % TEXTS + TEXTS * other])

    def number_of(self, record_bytes):
        """None for a record that is not of this ledger."""
        n = int.from_bytes(record_bytes[2:8], "big")
        return n if n < len(self.word) and record_bytes == self.bytes_of(n) else None

    def hear(self, n, word, other=False):
        """Whether that was the last word of it."""
        with self.lock:
            self.told[word.verdict] += 1
        if word.verdict in (RETRY, BUSY):
            return False
        at = word.shard << 48 | word.sequence
        if other:
            # Where the first content never came, this one may be the first copy; then it is not of this ledger, so only known ones are sent so.
            check(word.verdict == CONFLICT and self.word[n] == at, f"another content under the id of record {n} is {word}")
            return True
        check(word.verdict in (ACCEPTED, DUPLICATE), f"record {n} is {word}")
        check(self.word[n] in (0, at), f"record {n} is {word} now, and was at {self.word[n] >> 48}:{self.word[n] & (1 << 48) - 1}")
        self.word[n] = at
        return True


class Submitter(threading.Thread):
    """One paced client that resends until everything has its verdict; the whole of a well-behaved one, on the plain wire."""

    def __init__(self, soak, index, keys=()):
        super().__init__(daemon=True)
        self.soak, self.index, self.keys = soak, index, keys
        self.random = random.Random(soak.t.seed * 100 + index)
        self.error, self.client, self.latencies = None, None, []
        self.busy = self.silences = 0

    def connect(self):
        if self.client:
            self.client.close()
        self.client = Client(self.soak.endpoints[self.index % 2], *self.keys, hello=False)

    def answer(self, batch_id, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.soak.lost.is_set():
            if not self.client.socket.poll(200):
                continue
            answer = Answer(self.client.socket.recv_multipart())
            if answer.header.batch_id == batch_id:
                return answer
        return None

    def settle(self, numbers, other=False):
        """Until each of them has its last word."""
        left, start = list(numbers), time.monotonic()
        while left and not self.soak.lost.is_set():
            batch = self.client.send([self.soak.ledger.bytes_of(n, other) for n in left])
            answer = self.answer(batch, 4)
            if answer is None:
                self.silences += 1
                self.connect()
                continue
            if not answer.words:
                self.busy += 1
                check(answer.header.batch_verdict == BUSY, f"a good batch is told {answer.header}")
                time.sleep(min(answer.header.retry_after_ms, 1000) / 1000)
                continue
            left = [n for n, word in zip(left, answer.words) if not self.soak.ledger.hear(n, word, other)]
            if left:
                time.sleep(min(answer.header.retry_after_ms or 100, 1000) / 1000)
        if not left:
            self.latencies.append(1000 * (time.monotonic() - start))

    def run(self):
        try:
            self.connect()
            due = time.monotonic()
            while not self.soak.over.is_set():
                due = max(due + SUBMITTERS * BATCH / RATE, time.monotonic() - 1)
                self.soak.over.wait(max(0, due - time.monotonic()))
                way, known = self.random.random(), self.soak.known(self.random)
                if way < 0.05 and known:
                    self.settle(known)
                elif way < 0.08 and known:
                    self.settle(known, other=True)
                else:
                    self.settle(self.soak.ledger.take(BATCH))
            self.client.close()
        except Exception as why:  # told by the main thread
            self.error = why
            self.soak.lost.set()


class Soak:
    def __init__(self, t):
        self.t, self.random = t, t.random
        self.over, self.lost = threading.Event(), threading.Event()
        self.ledger = Ledger(t.seed)
        self.clock = scenarios.Clock(t)
        self.node = t.node("--ingest", "2", "--workers", "2", "--listen", "tcp://127.0.0.1:0", "-s", f"node.frozen_ms={FROZEN_MS}",
                           "-s", "ingest.shard_timeout_ms=2000")
        self.endpoints = self.node.endpoints("ipc")
        self.tcp = self.node.endpoints("tcp")
        self.server = t.muster("key", "show").text().strip()
        public = re.search(r"\S{40}", t.muster("key", "new", "soak", "--out", t.path("soak.key")).text()).group(0)
        with open(t.path("soak.key")) as f:
            secret = re.search(r"secret\W+(\S{40})", f.read()).group(1)
        self.keys = (self.server, public, secret)
        self.count = {}
        self.background = []  # commands that are let run, or killed later
        self.bench_accepted = self.bench_unknown = 0
        self.refused = 0

    def known(self, rnd):
        """Some numbers whose records are stored for certain."""
        total = len(self.ledger.word)
        some = {rnd.randrange(total) for _ in range(BATCH)} if total > 10 * BATCH else ()
        return [n for n in some if self.ledger.word[n]]

    # ---- faults ----

    def young(self):
        """A process that may die: the last worker, the last ingest are let live."""
        role = self.random.choice(["worker", "ingest"])
        return self.node.pids(role).get(0)

    def kill(self):
        pid = self.young()
        if pid:
            tell(pid, signal.SIGKILL)

    def freeze(self):
        """Any process of the node, the supervisor as well; of the young, now and then for good."""
        young = self.random.random() < 0.5
        pid = self.young() if young else self.random.choice([self.node.process.pid, *self.node.pids("worker").values(), *self.node.pids("ingest").values()])
        seconds = FROZEN_MS / 1000 * 1.6 if young and self.random.random() < 0.2 and MINUTES > 1 else self.random.uniform(0.05, 1.5)
        if pid:
            tell(pid, signal.SIGSTOP)
            self.lost.wait(seconds)
            tell(pid, signal.SIGCONT)

    def bad_frames(self):
        """Streams that lie about their count, garbage, headers of nothing: each is refused or ends its connection."""
        client = Client(self.random.choice(self.endpoints), hello=False)
        some = [record(self.random) for _ in range(3)]
        for _ in range(20):
            way = self.random.randrange(4)
            if way == 0:
                client.send(some, count=5)
            elif way == 1:
                client.send([], count=3, stream=self.random.randbytes(self.random.randrange(1, 3000)))
            elif way == 2:
                client.socket.send_multipart([self.random.randbytes(self.random.randrange(1, 200)) for _ in range(self.random.randrange(1, 4))])
            else:
                client.socket.send(b"")
        while client.socket.poll(300):
            for word in Answer(client.socket.recv_multipart()).words:
                check(word.verdict == INVALID, f"a record of a bad batch is {word}")
        client.close()

    def vanish(self):
        """Clients that send and are gone: whatever came of it is theirs to ask again, by the same numbers."""
        for _ in range(10):
            client = Client(self.random.choice(self.endpoints), hello=False)
            numbers = self.ledger.take(20)
            client.send([self.ledger.bytes_of(n) for n in numbers])
            if self.random.random() < 0.5:
                client.socket.poll(20)
            client.close()

    def keys_change(self):
        """Allowed it is served over tcp, revoked it is not."""
        self.t.muster("key", "allow", "soak", self.keys[1], code=None)
        numbers = list(self.ledger.take(10))
        submitter = Submitter(self, 9, self.keys)
        client = submitter.client = Client(self.tcp[-1], *self.keys, hello=False)  # of the ingest that lives
        batch = client.send([self.ledger.bytes_of(n) for n in numbers])
        answer = submitter.answer(batch, 10)
        for n, word in zip(numbers, answer.words if answer else ()):
            self.ledger.hear(n, word)
        self.t.muster("key", "revoke", "soak", code=None)
        client.send([self.ledger.bytes_of(n) for n in self.ledger.take(1)])
        check(client.silent(0.3), "a revoked key was answered")
        client.close()

    def refuse(self):
        """Records that are refused and kept; then they are dropped, or replayed in vain."""
        client = Client(self.endpoints[1], hello=False)
        batch = client.send([record(self.random, encounter_time=NEVER_US) for _ in range(20)])
        if client.socket.poll(10000):
            answer = Answer(client.socket.recv_multipart())
            check(answer.header.batch_id == batch and all(w.verdict in (INVALID, RETRY, BUSY) for w in answer.words), f"refused records are {answer.words}")
        client.close()
        names = re.findall(r"^\s*(\d+:\d+)\b", self.t.muster("quarantine", "list", "--rows", "0", code=None).text(), re.M)
        if names and self.random.random() < 0.6:
            self.t.muster("quarantine", "drop", *self.random.sample(names, min(len(names), 30)), code=None)
        elif names:
            self.run("quarantine", "replay", *names[:5])

    def run(self, *arguments):
        self.background.append(self.t.popen(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL))

    def read(self):
        """Exports, a verification, a tally beside the node; most are killed where they stand, with what they hold of the readers' tables."""
        for _ in range(4):
            self.run(*self.random.choice([("export", "--format", "pb"), ("verify",), ("tally",), ("export", "--format", "ndjson")]))
            if self.random.random() < 0.8:
                p, table = self.background.pop(), os.path.join(self.t.data, "store/shard-0/lock.mdb")
                while p.poll() is None and reader_slots(table) < 2:  # the worker has one itself
                    pass
                p.kill()
                p.wait()

    def back_up(self):
        self.run("backup", self.t.path("backup"), "--incremental", "--share", "50")

    def end_background(self):
        for p in self.background:
            if p.poll() is None and self.random.random() < 0.5:
                tell(p.pid, self.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]))
                self.lost.wait(0.2)
                tell(p.pid, signal.SIGCONT)
        self.background = [p for p in self.background if p.poll() is None]
        while len(self.background) > 3:
            p = self.background.pop(0)
            p.kill()
            p.wait()

    def no_growth(self):
        """The data file of the young shard cannot grow: the next commit that needs room fails, and the shard starts again from what is on the disk."""
        pid = self.node.pids("worker").get(0)
        if pid:
            size = os.stat(os.path.join(self.t.data, "store/shard-0/data.mdb")).st_size
            subprocess.run(["prlimit", "--pid", str(pid), f"--fsize={size}:"], capture_output=True)
            self.lost.wait(1)

    def jump(self):
        self.clock.jump(self.random.choice([0, 1, -1]) * self.random.randrange(30 * HOUR_US))

    FAULTS = ["kill", "kill", "freeze", "freeze", "bad_frames", "vanish", "keys_change", "refuse", "refuse", "read", "read", "back_up", "no_growth", "jump"]
    deck = ()

    def one_fault(self):
        """Each of them comes up before any comes again."""
        self.deck = self.deck or self.random.sample(self.FAULTS, len(self.FAULTS))
        name, *self.deck = self.deck
        self.count[name] = self.count.get(name, 0) + 1
        getattr(self, name)()
        self.end_background()

    def high_water(self):
        """Everybody's credit is used up once, before anything is judged: what an ingest needed once it keeps, by design."""
        self.lost.wait(1)
        workers = list(self.node.pids("worker").values())
        for pid in workers:
            tell(pid, signal.SIGSTOP)
        self.lost.wait(2)
        for pid in workers:
            tell(pid, signal.SIGCONT)

    # ---- load that is not of the ledger ----

    def bench(self, seconds):
        """Mostly resent records: work for the node that leaves little behind."""
        return self.t.popen("bench", "--rate", LOAD, "--seconds", int(seconds), "--batch", "500", "--duplicates", "95", "--timeout", "60", "--seed",
                            self.t.seed % 1000 + 1, "--endpoint", " ".join(self.endpoints[::-1]), "--json", self.t.path("bench.json"), stdout=subprocess.DEVNULL, stderr=open(self.t.path("bench.err"), "wb"))

    # ---- the end ----

    def compare(self):
        """Every record that is stored, in the order of the shards, against the ledger."""
        verified = self.t.muster("verify", timeout=1800)
        self.blocks = number(r"in ([\d,]+) blocks", verified.text())
        counts = [int(n.replace(",", "")) for n in re.findall(r"^shard \d+: ([\d,]+) records", verified.text(), re.M)]
        word, seen, strangers = self.ledger.word, bytearray(len(self.ledger.word)), 0
        export = subprocess.Popen([binary(self.t.variant), "export", "--format", "pb"], env=self.t.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        stored = read_delimited(export.stdout)
        for shard, count in enumerate(counts):
            for sequence in range(1, count + 1):
                one = next(stored)
                n = self.ledger.number_of(one)
                if n is None:
                    check(b"SOAK-" not in one, f"{shard}:{sequence} was never submitted")
                    strangers += 1
                    continue
                check(not seen[n], f"record {n} is there twice, again at {shard}:{sequence}")
                seen[n] = 1
                check(word[n] in (0, shard << 48 | sequence), f"record {n} is at {shard}:{sequence}, and was said to be at {word[n] >> 48}:{word[n] & (1 << 48) - 1}")
        check(next(stored, None) is None, "more is exported than verify counts")
        check_equal(export.wait(), 0, "exit of export")
        lost = [n for n, w in enumerate(word) if w and not seen[n]]
        check(not lost, f"{len(lost)} acknowledged records are missing, the first is {lost[:1]}")
        return sum(seen), strangers


def read_delimited(stream):
    """The records of a delimited stream, without holding more than a piece of it."""
    held, at = b"", 0
    while True:
        size = shift = 0
        p = at
        while p < len(held) and held[p] & 128:
            p += 1
        whole = p < len(held)
        if whole:
            for i in range(at, p + 1):
                size |= (held[i] & 127) << shift
                shift += 7
        if whole and p + 1 + size <= len(held):
            yield held[p + 1:p + 1 + size]
            at = p + 1 + size
            continue
        more = stream.read(1 << 20)
        if not more:
            check(at == len(held), "the stream ends within a record")
            return
        held, at = held[at:] + more, 0


def soak(t):
    """a steady load while faults come and go: nothing lost, doubled or altered, and nothing grows that is not stated"""
    s = Soak(t)
    seconds = MINUTES * 60
    submitters = [Submitter(s, i) for i in range(SUBMITTERS)]
    watch = Watch(t, s.node, ["worker-1", "ingest-1", "run"], seconds)
    bench = s.bench(seconds)
    for submitter in submitters:
        submitter.start()
    s.high_water()
    step, begun = min(5, seconds / 24), time.monotonic()
    next_sample, next_fault, beat, every = begun, begun + step, 0, []
    while time.monotonic() < begun + seconds and not s.lost.is_set():
        if time.monotonic() >= next_fault:
            next_fault = time.monotonic() + s.random.expovariate(1 / min(4, seconds / 40))
            scenarios.counted()
            s.one_fault()
        if time.monotonic() >= next_sample:
            next_sample = time.monotonic() + step
            latencies = [x for submitter in submitters for x in submitter.latencies]
            for submitter in submitters:
                submitter.latencies = []
            every += latencies
            watch.sample(latencies)
            beat += 1
            if beat % 60 == 0:
                alone(s.node)
                print(f"#   {(time.monotonic() - begun) / 60:.0f} min: {len(s.ledger.word):,} records, {sum(s.count.values())} faults", flush=True)
        s.lost.wait(0.05)
    s.over.set()
    for submitter in submitters:
        submitter.join(90 * SLOW)
        if submitter.error:
            raise submitter.error
        check(not submitter.is_alive(), "a submitter has no verdicts 90 s after the end")
    code = bench.wait(90 * SLOW)
    with open(t.path("bench.err"), "rb") as f:
        said = f.read()[-1500:].decode()
    # A commit whose answer a death has swallowed is a DUPLICATE when it is sent again, which bench does not look for.
    check(code == 0 or code == 65 and "were told DUPLICATE" in said, f"exit {code} of bench: {said}")
    for p in s.background:
        p.kill()
        p.wait()
    wait_until(lambda: t.status()["records_in_flight"] == 0, 10, "nothing to be in flight")
    alone(s.node)
    conserved(t)
    disk = watch.disk_bytes()
    check(s.node.stop() < 10 * SLOW, "stop")
    mine, strangers = s.compare()
    growing = watch.judge()
    told = s.ledger.told
    print(f"#   {len(s.ledger.word):,} records of the ledger: {told[ACCEPTED]:,} times ACCEPTED, {told[DUPLICATE]:,} DUPLICATE, {told[CONFLICT]:,} CONFLICT, {told[RETRY]:,} RETRY; "
          f"{mine:,} stored and compared, beside {strangers:,} of the load\n"
          f"#   {disk / max(1, mine + strangers):.0f} bytes on disk a record, in {s.blocks:,} blocks; waits {percentile(every, .5):.1f} ms at p50, {percentile(every, .99):.0f} at p99, "
          f"{max(every):.0f} at most; {sum(x.busy for x in submitters)} BUSY, {sum(x.silences for x in submitters)} silences\n"
          f"#   {seconds:.0f} s, faults: {', '.join(f'{n} {c}' for n, c in sorted(s.count.items()))} (seed {t.seed})", flush=True)
    check(not growing, "it grows: " + "; ".join(growing))
    allowed = 300 * (mine + strangers) + 8192 * s.blocks + (64 << 20)  # a record and what is kept beside it; pages that a block does not fill; LMDB's spare ones
    check(disk < allowed, f"{disk:,} bytes on disk of {mine + strangers:,} records in {s.blocks:,} blocks, allowed are {allowed:,}")


scenarios.main("soak", [soak])
