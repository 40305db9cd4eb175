#!/usr/bin/python3
"""A disk that fills, by somebody else's big file, at any moment: under load, at a start, at a stop, and under each command that writes. Submitters
are told BUSY or nothing, readers go on, commands say what is the matter, and when there is room again all goes on by itself; nothing acknowledged is
lost, and no half of a file stands in the way. FORM=full looks at some hundreds of
moments, in about 8 minutes."""
import contextlib
import os
import random
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
from harness import SLOW, Failure, Result, binary, check, check_equal, delimited, number, small_disk, summary, wait_until  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402
from scenarios import FULL, SYSEXITS, examine, main  # noqa: E402
from wire import ACCEPTED, BUSY, DUPLICATE, INVALID, RETRY, Answer, Client, record, wire  # noqa: E402

PAGE = 4096
SENDERS = 3
NODES, ROUNDS = (8, 12) if FULL else (2, 1)  # nodes under load, and how often the disk of each fills
STARTS, STOPS, COMMANDS = (80, 20, 30) if FULL else (4, 1, 2)  # COMMANDS: moments for each command
FRESH = range(STARTS) if FULL else (18, 31, 3, 9)  # pages that a first start finds; at 18 the lock file of a shard is made without its blocks
RESERVE = 8 << 20
NO_RESERVE = ("--workers", "2", "-s", "store.disk_reserve_bytes=0")
ONE = os.environ.get("ONE", "").split(":")  # what a violation's replay line names: test, number
SPACE = re.compile(r"[Nn]o space left|disk.*full|MUSTER_ERR_FULL")


def scenario(t, number_, what, function, *arguments):
    """One, unless another was asked for. Each has a seed of its own, so that it can be played alone."""
    name = function.__name__
    if ONE != [""] and ONE != [name, str(number_)]:
        return
    arguments = (*arguments, random.Random(f"{t.seed}-{name}-{number_}"))
    examine(f"{name} {number_}: {what}", f"SEED={t.seed} FORM={'full' if FULL else 'short'} ONE={name}:{number_} {os.path.relpath(__file__)}", function, t, *arguments)


class Disk:
    """The small disk, and the big file that somebody else has put on it."""

    def __init__(self, t):
        self.t, self.path = t, t.data
        self.ballast = os.path.join(self.path, "ballast")

    def free(self):
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def leave(self, free_bytes):
        """Somebody writes so much that no more than this is left; what others write meanwhile counts."""
        with open(self.ballast, "ab") as f:
            while self.free() > free_bytes:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, self.free() - free_bytes)

    def give_back(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.ballast)

    def folder(self, name):
        """A directory on it for one scenario, the first of it or empty again."""
        self.give_back()
        path = os.path.join(self.path, name)
        subprocess.run(["rm", "-rf", path], check=True)
        os.mkdir(path, 0o700)
        return path


@contextlib.contextmanager
def disk_of(t, size):
    with small_disk(t, size):
        yield Disk(t)


def place(t, path):
    t.data = t.env["MUSTER_DATA"] = path


# ---- under load ----

class Sender(threading.Thread):
    """A field system: sends on and on, and again what was told BUSY or RETRY, until each record has its verdict."""

    def __init__(self, load, seed):
        super().__init__(daemon=True)
        self.load, self.random = load, random.Random(seed)
        self.client = Client(load.node.endpoints("ipc")[0])
        self.settled, self.reasons, self.why = 0, set(), None
        self.start()

    def run(self):
        try:
            while not self.load.over.is_set():
                bad = self.random.random() < 0.1
                records = [record(self.random, **({"citizenship": "ZZZ"} if bad else {})) for _ in range(self.random.choice((1, 20, 200)))]
                with self.load.lock:
                    if bad:
                        self.load.refused |= set(records)
                    else:
                        self.load.oracle.submitted.update(dict.fromkeys(records, 1))
                while records:
                    records = self.once(records, bad)
                time.sleep(0.02)
        except Exception as why:  # told by whoever waits for it
            self.why = why
        self.client.close()

    def once(self, records, bad):
        """Those that are to be sent again."""
        self.client.send(records)
        answer = Answer(self.client.receive(60))
        if not answer.words:
            check_equal(answer.header.batch_verdict, BUSY, "verdict of a batch without words")
            self.reasons.add(answer.header.batch_reason)
        again = []
        for r, w in zip(records, answer.words):
            if w.verdict in (BUSY, RETRY):
                self.reasons.add(w.reason)
                again.append(r)
            elif bad:
                check_equal(w.verdict, INVALID, "verdict on a bad record")
                with self.load.lock:
                    self.load.told_invalid.add(r)
            else:
                check(w.verdict in (ACCEPTED, DUPLICATE), f"verdict on a good record: {w}")
                with self.load.lock:
                    self.load.oracle.told(r, "ACCEPTED" if w.verdict == ACCEPTED else "DUPLICATE", f"{w.shard}:{w.sequence}")
        if not answer.words or again:
            time.sleep(min(answer.header.retry_after_ms, 500) / 1000)
            return again if answer.words else records
        self.settled += 1
        return []


class Load:
    """A node on the small disk, and its senders."""

    def __init__(self, t, reserve, rnd):
        self.t, self.reserve, self.lock, self.over = t, reserve, threading.Lock(), threading.Event()
        self.oracle, self.refused, self.told_invalid = Oracle(t), set(), set()
        self.node = t.node("--workers", "2", "-s", f"store.disk_reserve_bytes={reserve}")
        self.senders = [Sender(self, rnd.random()) for _ in range(SENDERS)]
        self.served(1)

    def served(self, batches):
        """Every sender has had so many more batches settled."""
        before = [s.settled for s in self.senders]

        def all_():
            for s in self.senders:
                if s.why:
                    raise Failure(f"a client: {s.why}\n{self.node.log()[-2000:]}")
            return all(s.settled >= b + batches for s, b in zip(self.senders, before))
        wait_until(all_, 15, f"service to resume for everybody (free: {os.statvfs(self.t.data).f_bavail >> 8} MiB): {self.node.log()[-2500:]}")

    def end(self):
        self.over.set()
        for s in self.senders:
            s.join(60 * SLOW)
            check(not s.is_alive() and not s.why, f"a client did not come to its end: {s.why}")
        conserved(self.t)
        self.oracle.examine()
        listed = re.findall(r"^\s*\d+:\d+\b", self.t.muster("quarantine", "list", "--rows", "0").text(), re.M)
        check_equal(len(listed), len(self.told_invalid), "refused records that are kept against those told INVALID")


def readers_go_on(t, oracle, node, rnd):
    """What was acknowledged before can be read while the disk is full."""
    def get():
        address = rnd.choice(sorted(oracle.accepted))
        check(t.muster("get", address).out, f"get {address} printed nothing")

    def export():
        before = len(oracle.accepted)
        check(len(delimited(t.muster("export", "--format", "pb").out)) >= before, "export has less than was acknowledged before")

    def tally():
        before = len(oracle.accepted)
        check(number(r"total +([\d,]+)", t.muster("tally").text()) >= before, "tally has less than was acknowledged before")
    ways = [get, export, tally, lambda: t.muster("verify"), lambda: t.muster("quarantine", "list")]
    for way in rnd.sample(ways, 2 if FULL else len(ways)):
        way()


def one_fill(t, load, disk, rnd):
    node, at = load.node, len(load.node.log())
    time.sleep(rnd.random() * 0.3)  # which moment it is, not what is waited for
    for s in load.senders:
        s.reasons.clear()
    if load.reserve:
        disk.leave(rnd.randrange(1 << 20, RESERVE))
        wait_until(lambda: all(wire.REASON_BUSY_DISK in s.reasons for s in load.senders), 10, "BUSY for the disk to be told to everybody")
        told = node.log()[at:]
        check(re.search(r"event=worker.blocked .*cause=disk .*disk_free_bytes=\d+ disk_reserve_bytes=\d+ .*resumes=\"when there is space\"", told), told)
        check("BUSY: disk" in t.muster("status").text(), t.muster("status").text())
        check("storage_failed" not in told, f"a commit failed above the reserve: {told}")
    else:
        disk.leave(rnd.choice((0, rnd.randrange(1 << 17))))
        wait_until(lambda: "event=worker.storage_failed" in node.log()[at:], 10, f"a commit that fails, {disk.free()} bytes free")
        told = node.log()[at:]
        check(re.search(r"event=worker.storage_failed .*status=MUSTER_ERR_FULL .*No space left.*kept=\"all that was answered\"", told), told)
        check("event=child.died" not in told, f"a full disk is counted as a death: {told}")
        check("serving" in t.muster("status").text(), "status says nothing of the shards")
    readers_go_on(t, load.oracle, node, rnd)
    if rnd.random() < 0.3:
        time.sleep(rnd.random() * 2)  # full for longer than a start of the worker takes
    check_equal(node.process.poll(), None, f"the node while the disk was full: {node.log()[-2000:]}")
    disk.give_back()
    load.served(2)


def under_load(t):
    """the disk fills under the load of several clients, below the reserve or to the last block: BUSY, then service resumes, nothing lost"""
    for n in range(NODES):
        with disk_of(t, "96m") as disk:
            rnd = random.Random(t.seed + n)
            place(t, os.path.join(disk.path, "d"))
            load = Load(t, RESERVE if n % 2 else 0, rnd)
            for i in range(ROUNDS):
                examine(f"load {n}, fill {i}", f"SEED={t.seed} FORM={'full' if FULL else 'short'} {os.path.relpath(__file__)} under_load", one_fill, t, load, disk, rnd)
            examine(f"load {n}, its end", f"SEED={t.seed} {os.path.relpath(__file__)} under_load", load.end)
            load.node.stop()


# ---- a start, a stop ----

def spoken(code, text, what):
    check(code in SYSEXITS, f"{what}: exit {code}: {text[-1500:]}")
    check(SPACE.search(text), f"{what}: exit {code}, and not a word of the space: {text[-1500:]}")


def fresh_records(client, oracle, rnd, records=50):
    some = [record(rnd) for _ in range(records)]
    for r, w in zip(some, client.submit(some).words):
        check_equal(w.verdict, ACCEPTED, "verdict on a new record, where there is room")
        oracle.submitted[r] = 1
        oracle.told(r, "ACCEPTED", f"{w.shard}:{w.sequence}")


def settled_node(t, oracle, rnd):
    """A node that has room, serves, stops in order, and whose store is whole."""
    node = t.node(*NO_RESERVE)
    client = Client(node.endpoints("ipc")[0])
    fresh_records(client, oracle, rnd)
    client.close()
    node.stop()
    oracle.examine()


def full_start(t, disk, former, leave, rnd):
    place(t, os.path.join(disk.folder("start"), "d"))
    oracle = Oracle(t)
    if former:
        node = t.node(*NO_RESERVE)
        client = Client(node.endpoints("ipc")[0])
        fresh_records(client, oracle, rnd, 300)
        client.close()
        node.kill_all() if former == "killed" else node.stop()
    disk.leave(leave)
    node = t.node(*NO_RESERVE, wait=False)

    def told():
        return node.process.poll() is not None or re.search(r"^muster: ready: |event=child.wanting", node.log(), re.M)
    wait_until(told, 20, f"the node to say how it stands: {node.log()[-2000:]}")
    if node.process.poll() is None:
        if former:
            t.muster("verify")
        check(not re.search(r"event=child.died.*signal=", node.log()), f"a process ended by a signal: {node.log()[-2500:]}")
        disk.give_back()
        node.wait_ready()
        client = Client(node.endpoints("ipc")[0])
        wait_until(lambda: client.submit([record(random.Random(1))]).words[0].verdict in (ACCEPTED, DUPLICATE), 10, "service to resume by itself")
        oracle.submitted[record(random.Random(1))] = 1
        client.close()
        node.stop()
    else:
        spoken(node.process.returncode, node.log(), "the start")
        disk.give_back()
    settled_node(t, oracle, rnd)


def at_start(t):
    """a start on a disk that is full, or fills while the directory is made: the node says so or waits, and the next start is as if nothing had been"""
    with disk_of(t, "64m") as disk:
        for i in range(STARTS):
            former = (None, None, "stopped", "killed")[i % 4]
            leave = random.Random(t.seed + i).randrange(0, 60) if former else FRESH[i // 4 * 2 + i % 2]
            leave *= PAGE
            scenario(t, i, f"{leave} bytes left, store before: {former}", full_start, disk, former, leave)


def full_stop(t, disk, leave, rnd):
    place(t, os.path.join(disk.folder("stop"), "d"))
    oracle = Oracle(t)
    node = t.node(*NO_RESERVE)
    client = Client(node.endpoints("ipc")[0])
    fresh_records(client, oracle, rnd, 3000)
    client.close()
    disk.leave(leave)
    node.stop()
    shards = [os.path.join(t.data, "store", s) for s in os.listdir(os.path.join(t.data, "store")) if s.startswith("shard")]
    left = [f for s in shards for f in os.listdir(s) if f.endswith(".new")]
    check(not left, f"left behind: {left}")
    hints = sum("index.hint" in os.listdir(s) for s in shards)
    check(hints == len(shards) or "hint" in node.log(), f"{hints} hints, and the log does not tell why: {node.log()[-1500:]}")
    disk.give_back()
    settled_node(t, oracle, rnd)


def at_stop(t):
    """the disk is full when the node stops and writes its hints: it stops well, and the next start reads the journal instead"""
    with disk_of(t, "64m") as disk:
        for i in range(STOPS):
            leave = random.Random(t.seed + i).randrange(0, 16) * PAGE
            scenario(t, i, f"{leave} bytes left", full_stop, disk, leave)


# ---- commands that write ----

class Written:
    """A command that writes onto the small disk: how to run it, what must hold when it worked, what when it did not."""

    def __init__(self, t, title, run, right, prepare=None, failed=None, again=0):
        """again: the exit code of a second run, when there is room."""
        self.t, self.title, self.run, self.right, self.prepare, self.failed, self.again = t, title, run, right, prepare, failed, again


def run_into(t, path, *arguments):
    """A command with its standard output in a file, as a shell does it."""
    with open(path, "wb") as out:
        done = subprocess.run([binary(), *arguments], stdout=out, stderr=subprocess.PIPE, env=t.env, cwd=t.directory, timeout=60 * SLOW)
    return Result(done.returncode, b"", done.stderr)


def full_command(t, disk, command, most, rnd):
    out = disk.folder("out")
    if command.prepare:
        command.prepare(out)
    leave = rnd.choice((0, rnd.randrange(most // PAGE + 1) * PAGE))
    disk.leave(leave)
    done = command.run(out)
    what = f"{command.title} with {leave} of {most} bytes"
    if done.code == command.again:
        command.right(out, done)
    else:
        spoken(done.code, done.error(), what)
        if command.failed:
            command.failed(out, done)
    disk.give_back()
    done = command.run(out)
    check_equal(done.code, command.again, f"{what}, once more with room: {done.error()}")
    command.right(out, done)
    left = [f for _, _, files in os.walk(out) for f in files if f.endswith(".new")]
    check(not left, f"{what}: left behind: {left}")


def tried(t, disk, command):
    """The moments of one command: as many free bytes as it may need, or fewer."""
    out = disk.folder("out")
    if command.prepare:
        command.prepare(out)
    before = disk.free()
    done = command.run(out)
    check_equal(done.code, command.again, f"{command.title} with all the room there is: {done.error()}")
    command.right(out, done)
    most = before - disk.free() + 4 * PAGE
    for i in range(COMMANDS):
        scenario(t, f"{command.title}-{i}", f"{most} bytes needed", full_command, disk, command, most)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def exports(t, source, whole):
    def right(out, done):
        check(content(os.path.join(out, "x")) == whole, f"exit 0, and {len(content(os.path.join(out, 'x')))} bytes instead of {len(whole)}")
        check("complete" in done.error(), done.error())

    def failed(out, done):
        check("next cursor" not in done.error(), f"a cursor for what is not in the file: {done.error()}")
    return Written(t, "export", lambda out: run_into(t, os.path.join(out, "x"), "export", "--format", "pb", "--data", source), right, failed=failed)


def salvages(t, source, whole):
    def right(out, _):
        check(content(os.path.join(out, "x")) == whole, "exit 0 with another content")
    return Written(t, "salvage", lambda out: run_into(t, os.path.join(out, "x"), "salvage", "--format", "pb", "--data", source), right)


def submits(t, stream, count):
    def run(out):
        return t.muster("submit", "--batch", "100", "--verdicts", os.path.join(out, "v.tsv"), stream, code=None)

    def right(out, done):
        rows = content(os.path.join(out, "v.tsv")).decode().splitlines()
        check_equal(len(rows), count + 1, "rows of verdicts")
        check_equal(summary(done)["accepted"] + summary(done)["duplicate"], count, "answered")

    def failed(out, done):
        check("v.tsv" in done.error() and "were submitted all the same" in done.error(), done.error())
        check_equal(summary(done)["accepted"] + summary(done)["duplicate"], count, "answered without room for the verdicts")
    return Written(t, "submit", run, right, failed=failed)


def checked(t, backup, records):
    done = t.muster("backup", backup, "--check")
    check_equal(number(r"whole: ([\d,]+) records", done.text()), records, done.text())


def sealed_all_the_same(done):
    """A backup without room for its second manifest alone is sealed: 1, and it says so. What is judged then is a backup that worked."""
    if done.code != 1:
        return done
    check(SPACE.search(done.error()) and "manifest.copy" in done.error() and "the backup is whole and sealed" in done.error(), done.error())
    return Result(0, done.out, done.err)


def backups(t, source, records):
    def run(out):
        done = t.muster("backup", os.path.join(out, "b"), "--data", source, code=None)
        if done.code == 73 and "--incremental adds to it" in done.error():  # it worked the first time
            return Result(0, b"", b"")
        return sealed_all_the_same(done)

    def failed(out, done):
        said = t.muster("backup", os.path.join(out, "b"), "--check", code=None)
        check(said.code != 0 and len(said.error() + said.text()) > 20, f"--check calls it whole: {said.text()}")
        check("same command" in done.error(), f"no room, and not a word of how to go on: {done.error()}")
    return Written(t, "backup", run, lambda out, done: checked(t, os.path.join(out, "b"), records), failed=failed)


def backups_more(t, source, former, records, records_before):
    """--incremental: what the former run has sealed stays whole whatever happens."""
    return Written(t, "incremental", lambda out: sealed_all_the_same(t.muster("backup", os.path.join(out, "b"), "--incremental", "--data", source, code=None)),
                   lambda out, done: checked(t, os.path.join(out, "b"), records),
                   prepare=lambda out: subprocess.run(["cp", "-a", former, os.path.join(out, "b")], check=True),
                   failed=lambda out, done: checked(t, os.path.join(out, "b"), records_before))


def restores(t, backup, whole):
    def right(out, _):
        check(t.muster("export", "--format", "pb", "--data", os.path.join(out, "r")).out == whole, "restored, and it is not what was backed up")

    def failed(out, done):
        check(not os.path.exists(os.path.join(out, "r")), f"half of a restore has taken the name: {done.error()}")

    def run(out):
        if os.path.exists(os.path.join(out, "r")):  # it worked the first time
            return Result(0, b"", b"")
        return t.muster("restore", backup, "--data", os.path.join(out, "r"), code=None)
    return Written(t, "restore", run, right, failed=failed)


def commands_beside(t):
    """export, salvage, submit --verdicts, backup and restore into a full disk: a sentence, nothing claimed that is not there, and again is well"""
    source = t.data
    node = t.node("--workers", "2")
    t.muster("submit", "--batch", "50", "-", stdin=t.generate(1500, 3))
    before = t.path("b-before")
    t.muster("backup", before)
    t.muster("submit", "--batch", "50", "-", stdin=t.generate(1500, 4))
    after = t.path("b-after")
    t.muster("backup", after)
    whole = t.muster("export", "--format", "pb").out
    stream = t.write("s.pb", t.generate(3000, 5))
    with disk_of(t, "24m") as disk:
        place(t, source)
        commands = [exports(t, source, whole), backups(t, source, 3000), backups_more(t, source, before, 3000, 1500), salvages(t, source, whole), restores(t, after, whole)]
        for command in commands:
            tried(t, disk, command)
        tried(t, disk, submits(t, stream, 3000))
        conserved(t)
        node.stop()


def allows(t):
    """A list of keys that is on the full disk with the node's directory."""
    def run(out):
        return t.muster("key", "allow", "fresh", t.path("fresh.key"), code=None)

    def listed():
        return t.muster("key", "list").text()

    def right(out, _):
        check(re.search(r"fresh +allowed", listed()) and re.search(r"old +allowed", listed()), listed())

    def failed(out, done):
        check("fresh" not in listed() and re.search(r"old +allowed", listed()), f"exit {done.code}: {listed()}")
    return Written(t, "allow", run, right, prepare=lambda out: put_list(t), failed=failed)


def revokes(t):
    def run(out):
        return t.muster("key", "revoke", "old", code=None)

    def state(is_, listing):
        check(re.search(rf"old +{is_}", listing), listing)
    return Written(t, "revoke", run, lambda out, _: state("revoked", t.muster("key", "list").text()), prepare=lambda out: put_list(t),
                   failed=lambda out, done: state("allowed", t.muster("key", "list").text()))


def put_list(t):
    path = os.path.join(t.data, "keys", "allow")
    with open(path, "wb") as f:
        f.write(t.list_before)


def news(t):
    def right(out, done):
        check_equal(t.muster("key", "show", os.path.join(out, "made.key")).text().strip(), re.search(r"\S{40}", done.text()).group(0), "the key in the file")

    def failed(out, done):
        check(not os.path.exists(os.path.join(out, "made.key")), "half of a key is left")

    def run(out):
        path = os.path.join(out, "made.key")
        if os.path.exists(path):
            os.unlink(path)
        return t.muster("key", "new", "made", "--out", path, code=None)
    return Written(t, "new", run, right, failed=failed)


def commands_of_the_node(t):
    """keys allowed, revoked and made, and refused records dropped, in a directory on a full disk"""
    for name in ("old", "fresh"):
        t.muster("key", "new", name, "--out", t.path(f"{name}.key"))
    with disk_of(t, "24m") as disk:
        place(t, os.path.join(disk.path, "d"))
        node = t.node(*NO_RESERVE)
        t.muster("key", "allow", "old", t.path("old.key"))
        t.list_before = content(os.path.join(t.data, "keys", "allow"))
        for command in (allows(t), revokes(t), news(t)):
            tried(t, disk, command)
        for i in range(COMMANDS // 2):
            scenario(t, i, "a refused record dropped", full_drop, disk, node)
        node.stop()


def full_drop(t, disk, node, rnd):
    client = Client(node.endpoints("ipc")[0])
    word = client.submit([record(rnd, citizenship="ZZZ")]).words[0]
    check_equal(word.verdict, INVALID, "verdict on a bad record")
    listing = t.muster("quarantine", "list", "--rows", "0").text()
    entry = re.findall(r"^\s*(\d+:\d+)\b", listing, re.M)[-1]
    disk.leave(rnd.choice((0, rnd.randrange(20) * PAGE)))
    dropping = t.popen("quarantine", "drop", entry, "--timeout", "30", stdout=-1, stderr=-1)
    time.sleep(rnd.random())  # in that time the request is left, or refused
    done = dropping.poll()
    if done is not None and done != 0:
        error = dropping.communicate()[1].decode()
        spoken(done, error, "drop")
        check(entry in t.muster("quarantine", "list", "--rows", "0").text(), "refused, and the entry is gone")
        disk.give_back()
        t.muster("quarantine", "drop", entry)
    else:
        disk.give_back()
        out, error = dropping.communicate(timeout=60)
        check_equal(dropping.returncode, 0, error.decode())
    check(not re.search(rf"^\s*{entry}\b", t.muster("quarantine", "list", "--rows", "0").text(), re.M), "the entry is still there")
    wait_until(lambda: client.submit([record(random.Random(1))]).words[0].verdict in (ACCEPTED, DUPLICATE), 10, "service to resume")
    client.close()


main("disk full", [under_load, at_start, at_stop, commands_beside, commands_of_the_node])
