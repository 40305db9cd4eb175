#!/usr/bin/python3
"""kill -9 and SIGSTOP at seeded moments and at seeded hits of every named point: of workers, ingests, the supervisor, all of them, a client; while records
come, while the node starts, rebuilds, drains and writes its hint. An oracle outside the node remembers every byte and every verdict.
ROUNDS chooses how many (1,000 in full form, in about 20 minutes); SEED repeats a run."""
import collections
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import deaths  # noqa: E402
import scenarios  # noqa: E402
import wire  # noqa: E402
from deaths import family, freeze, tell  # noqa: E402
from harness import Failure, check, check_equal, delimited  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "1000" if scenarios.FULL else "16"))
EXAMINE = 25      # rounds between two examinations; every other one begins a new store
RECORDS = 2500    # of one client in one round
LONG_S = (10, 30)  # in full form, a few of those that are frozen stay so for so long: past node.frozen_ms
LONG_SHARE = 0.03
KINDS = ["serve"] * 5 + ["drain"] * 2 + ["start"] * 2 + ["point"] * 3
WHOM = ["worker 0", "worker 1", "workers", "twice", "ingest", "supervisor", "node", "client"]


class Round:
    """What one round does to whom; everything in it is drawn from the seed before it begins."""

    def __init__(self, rnd, world):
        self.kind = rnd.choice(KINDS)
        self.whom = rnd.choice(WHOM[:-1] if self.kind in ("drain", "start") else WHOM)
        self.point = world.next_point() if self.kind == "point" else None
        self.hit = rnd.randrange(1, deaths.POINTS[self.point] + 1) if self.point else 0
        self.stand = rnd.random() < 0.45     # stand still, or die
        self.then_die = rnd.random() < 0.3   # where it stands
        long = scenarios.FULL and rnd.random() < LONG_SHARE
        self.seconds = rnd.uniform(*LONG_S) if long else min(rnd.expovariate(1 / 0.15), 1)
        self.progress = rnd.random() * 0.9   # of the verdicts
        self.after = rnd.random() * 0.4      # seconds after the start or the end began
        self.pause = rnd.random() * 0.2      # between two deaths of "twice"
        self.clean = rnd.random() < 0.5      # a start after a clean end, with hints

    def __str__(self):
        how = f"stands still for {self.seconds:.2f} s{' and dies' if self.then_die else ''}" if self.stand else "dies"
        return f"{self.kind}: {f'{self.point} hit {self.hit}' if self.point else self.whom} {how}"


class World:
    """A node, its oracle, and what its clients send. The data directory is named to clients by way of a link: whoever names it itself is taken for a part
    of the node."""

    def __init__(self, t):
        self.t, self.number, self.under_load, self.count = t, 0, 0, collections.Counter()
        self.reached = set()
        self.fresh()

    def fresh(self):
        t = self.t
        t.data = t.env["MUSTER_DATA"] = t.path(f"d{self.number}")
        self.ingests = t.random.choice([1, 2])
        self.oracle = Oracle(t)
        self.node = self.start()

    def start(self, **options):
        return deaths.start(self.t, "--ingest", self.ingests, **options)

    def records(self, count):
        """Slices of one stream with resent records in it, so that clients meet one another's."""
        if len(self.pool) < count:
            self.pool = delimited(self.t.generate(60000, self.t.random.randrange(1 << 30), "--duplicates", "3"))
        some, self.pool = self.pool[:count], self.pool[count:]
        return some

    pool, deck = [], []

    def next_point(self):
        """Each of them comes up before any comes again."""
        self.deck = self.deck or self.t.random.sample(list(deaths.POINTS), len(deaths.POINTS))
        return self.deck.pop()

    # ---- one round ----

    def clients(self):
        t, link = self.t, self.t.path("link")
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(t.data, link)
        to = [f"ipc://{link}/run/submit{f'-{i}' if i else ''}.sock" for i in range(self.ingests)]
        self.running = []
        for i in range(self.ingests):
            records, verdicts = self.records(RECORDS), t.path(f"v{i}.tsv")
            for name in (verdicts, verdicts + ".again"):
                if os.path.exists(name):
                    os.unlink(name)
            path = t.write(f"s{i}.pb", wire.stream_of(records))
            where = ["--endpoint", " ".join(to[i:] + to[:i]), "--batch", str(t.random.choice([20, 50, 200])), "--timeout", "90"]
            self.running.append((t.popen("submit", path, *where, "--verdicts", verdicts, variant="faults", stdout=-1, stderr=-1), records, path, verdicts, where))

    def progress(self, share):
        """Until the first client has heard so much, or ended."""
        submit, _, _, verdicts, _ = self.running[0]
        deadline = time.monotonic() + 30
        while submit.poll() is None and time.monotonic() < deadline:
            if os.path.exists(verdicts) and os.path.getsize(verdicts) >= share * RECORDS * 22:
                break
            time.sleep(0.001)
        self.under_load += any(c[0].poll() is None for c in self.running)

    def pids(self, whom):
        node = self.node
        if whom == "supervisor":
            return [node.process.pid]
        if whom == "node":
            return [node.process.pid] + [p for p in family(node) if p != node.process.pid]
        if whom == "client":
            return [self.running[0][0].pid]
        if whom in ("workers", "twice"):
            return list(node.pids("worker").values())[:1 if whom == "twice" else 2]
        role, *index = whom.split()
        pid = node.pids(role).get(int(index[0]) if index else self.ingests - 1)
        return [pid] if pid else []

    def strike(self, r):
        pids = self.pids(r.whom)
        if r.stand:
            freeze(pids, r.seconds, r.then_die)
        else:
            for pid in pids:
                tell(pid, 9)
        if r.whom == "twice":
            time.sleep(r.pause)
            for pid in self.pids("worker 0"):
                tell(pid, 9)

    def mend(self, r):
        """A node that serves, whatever has happened to the supervisor."""
        died = not r.stand or r.then_die
        if r.whom in ("supervisor", "node") and died and not r.point:
            self.node.process.wait()
            self.node = self.start()
        elif self.node.process.poll() is not None:
            raise Failure(f"the node has ended with {self.node.process.poll()}: {self.node.log()[-3000:]}")
        else:
            self.node.wait_ready(40)

    def serve(self, r):
        self.clients()
        self.progress(r.progress)
        self.strike(r)
        self.mend(r)

    def drain(self, r):
        self.clients()
        self.progress(r.progress)
        tell(self.node.process.pid, 15)
        time.sleep(r.after)
        self.strike(r)
        deaths.end(self.node, spared=True)
        self.node = self.start()

    def begin(self, r):
        """Struck while it starts."""
        self.stop(r.clean)
        self.clients()
        self.node = deaths.Node(self.t, "--ingest", self.ingests, wait=False, variant="faults")
        time.sleep(r.after)
        self.strike(r)
        self.mend(r)

    def point(self, r):
        env, once = deaths.fault(self.t, r.point, "stop" if r.stand else "kill", r.hit)
        self.stop(r.clean and r.point not in deaths.REBUILDING)
        with deaths.thawing(self.t, lambda: self.node, r.seconds, r.then_die):
            self.clients()
            while True:
                self.node = deaths.Node(self.t, "--ingest", self.ingests, wait=False, variant="faults", env=env)
                try:
                    self.node.wait_ready(60)
                    break
                except Failure:
                    if self.node.process.poll() != -9:
                        raise
            if r.point in deaths.STOPPING:
                self.progress(r.progress)
                deaths.end(self.node, spared=True)
                self.node = self.start()
            for submit, *_ in self.running:
                submit.wait(120)
        if os.listdir(once):
            self.reached.add(r.point)
        shutil.rmtree(once)

    def stop(self, clean):
        if clean:
            deaths.end(self.node)
        else:
            self.node.kill_all()

    def play(self, r):
        self.number += 1
        self.count[r.kind] += 1
        {"serve": self.serve, "drain": self.drain, "start": self.begin, "point": self.point}[r.kind](r)
        for i, (submit, records, path, verdicts, where) in enumerate(self.running):
            _, error = submit.communicate(timeout=120)
            if i == 0 and submit.returncode == -9 and r.whom == "client":
                deaths.begun_again(self.t, self.oracle, records, path, verdicts, *where)
                continue
            check_equal(submit.returncode, 0, f"exit of client {i}: {error.decode()[-1000:]}\n{self.node.log()[-1500:]}")
            self.oracle.heard(records, verdicts)
        deaths.alone(self.node)

    def examine(self):
        conserved(self.t)
        return self.oracle.examine()


def seeded_moments(t):
    """seeded moments and points: every verdict true, everything there once, whoever died or stood still"""
    world = World(t)
    for number in range(1, ROUNDS + 1):
        r = Round(t.random, world)
        scenarios.counted()
        try:
            world.play(r)
            stored = world.examine() if number % EXAMINE == 0 or number == ROUNDS else 0
        except Failure as why:
            raise Failure(f"round {number}, {r}: {why}")
        if stored:
            print(f"#   {number} rounds, {world.under_load} struck while a submit ran, {len(world.reached)} of {len(deaths.POINTS)} points, {stored:,} records stored "
                  f"(seed {t.seed})", flush=True)
        if number % (2 * EXAMINE) == 0 and number < ROUNDS:  # a fresh store now and then keeps examination short
            deaths.end(world.node)
            shutil.rmtree(t.data)
            world.fresh()
    check(world.under_load * 4 >= ROUNDS, f"only {world.under_load} of {ROUNDS} rounds struck while a submit ran: this machine needs longer streams")
    check(not scenarios.FULL or ROUNDS < 500 or world.reached == set(deaths.POINTS), f"never reached: {set(deaths.POINTS) - world.reached}")
    deaths.end(world.node)
    world.oracle.examine()


scenarios.main("kills", [seeded_moments])
