#!/usr/bin/python3
"""Every call that Muster makes of the system fails once: the Nth of a class, for N = 1 until nothing fails any more. The answer is right or an
error with a sentence, and after a clean restart everything acknowledged is there. The store by its driver, commands one by one, whole nodes by
seeded samples. FORM=full tries every N of the store, and of commands and nodes SHARE percent of all, chosen by the seed: about 12
minutes (SHARE=100: hours)."""
import concurrent.futures
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
from harness import BUILD, SLOW, Failure, Result, binary, check, check_equal, delimited, summary, wait_until  # noqa: E402
from oracle import Oracle  # noqa: E402
from scenarios import FULL, SYSEXITS, TOOLS, counted, examine, main, violated  # noqa: E402

SHIM = os.path.join(TOOLS, "fail.so")
WAYS = [("read", "EIO"), ("read", "EINTR"), ("write", "EIO"), ("write", "ENOSPC"), ("write", "EINTR"), ("write", "SHORT"), ("sync", "EIO"),
        ("open", "EMFILE"), ("open", "EACCES"), ("map", "ENOMEM"), ("socket", "ENOMEM"), ("socket", "EINTR"), ("socket", "SHORT"), ("process", "EAGAIN"),
        ("poll", "ENOMEM"), ("poll", "EINTR"), ("file", "EIO"), ("file", "ENOSPC"), ("memory", "ENOMEM")]
FEW = 2  # ways in the short form, by the seed, of commands that take long
SAMPLE = 3  # calls of each class and way, at least
SHARE = float(os.environ.get("SHARE", "4")) / 100 if FULL else 0  # of all calls of commands, and of all nodes
NODES = 6  # whole nodes in the short form
ONE = os.environ.get("ONE", "").split(":") if os.environ.get("ONE") else None  # what a violation's replay line names


def store(t):
    """the store: start, commit, growth, fold, refuse, drop, replay, read, verify, salvage, backup, restore; every call of each"""
    command = [os.path.join(TOOLS, "drive_store"), str(t.seed), "full" if FULL else "short"]
    with tempfile.TemporaryDirectory(prefix="muster-calls-", dir="/dev/shm" if os.path.isdir("/dev/shm") else t.directory) as fast:  # the disk is not asked here
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": fast}, timeout=7200)
    for line in done.stdout.splitlines():
        if not re.match(r"\d+ scenarios", line):
            print("#   " + line, flush=True)
    told = re.search(r"^(\d+) scenarios, (\d+) violations$", done.stdout, re.M)
    check(told, f"exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-1500:]}")
    counted(int(told[1]))
    violated(int(told[2]))
    check(int(told[1]) > 200, f"only {told[1]} calls failed")


def failing(role, class_, how, nth, mark):
    return {"LD_PRELOAD": SHIM, "FAIL_ROLE": role, "FAIL_CLASS": class_, "FAIL_HOW": how, "FAIL_NTH": str(nth), "FAIL_MARK": mark}


def run(t, arguments, env=None, stdin=None):
    done = subprocess.run([binary(t.variant), *arguments], input=stdin, capture_output=True, env={**t.env, **(env or {})}, timeout=60 * SLOW, cwd=t.directory)
    return Result(done.returncode, done.stdout, done.stderr)


def spoken(done):
    """A failed command has said why, with an exit code of sysexits, or was ended by a library that cannot go on (libuv and libzmq abort; without
    memory libzmq reads where none was given) and had its last word. libzmq's own threads keep all signals away, so where one of them does that there is none."""
    error = done.error().strip()
    if done.code == -signal.SIGSEGV and not error:
        return
    check(len(error) > 15, f"exit {done.code} without a word: {error!r}")
    if done.code < 0:
        check(done.code in (-signal.SIGABRT, -signal.SIGSEGV) and "ends by a signal" in error, f"ended by signal {-done.code}: {error}")
    else:
        check(done.code in SYSEXITS, f"exit {done.code}: {error}")


class Command:
    """One command under failing calls. right: what it prints when it works, or a function of its result; undo: before each run."""

    def __init__(self, t, title, arguments, right=None, undo=None, stdin=None, after=None, ways=WAYS):
        self.ways = ways
        self.t, self.title, self.arguments, self.undo, self.stdin, self.after = t, title, arguments, undo, stdin, after
        self.right = right
        if right is None:
            whole = run(t, arguments, stdin=stdin)
            check_equal(whole.code, 0, f"{title} without a fault: {whole.error()}")
            self.right = lambda done: check(done.out == whole.out, f"exit 0 with another answer: {done.text()[-300:]!r} {done.error()[-300:]}")

    def judge(self, done):
        if done.code == 0:
            self.right(done)
        else:
            spoken(done)
        if self.after:
            self.after(done)

    def once(self, class_, how, nth):
        """Whether that call was made at all."""
        if self.undo:
            self.undo()
        mark = self.t.path(f"mark-{self.title}-{class_}-{how}-{nth}")
        done = run(self.t, self.arguments, failing(self.arguments[0], class_, how, nth, mark), self.stdin)
        fired = os.path.exists(mark)
        if fired:
            os.unlink(mark)
            examine(f"{self.title}, {class_} {how}, call {nth}", f"ONE={self.title}:{class_}:{how}:{nth} {os.path.relpath(__file__)}", self.judge, done)
        else:
            self.judge(done)
        return fired

    def calls(self, class_, how):
        """How many it makes, by doubling and halving."""
        low, high = 0, 1
        while self.once(class_, how, high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.once(class_, how, middle) else (low, middle)
        return low

    def all(self):
        made, rnd, count = 0, random.Random(f"{self.t.seed}-{self.title}"), {}  # its own: others run beside it
        if ONE:
            if ONE[0] == self.title:
                self.once(ONE[1], ONE[2], int(ONE[3]))
            return self.title
        for class_, how in self.ways:
            if class_ not in count:  # as many for each way: they differ in what comes after the one that failed
                count[class_] = self.calls(class_, how)
            most = count[class_]
            for nth in rnd.sample(range(1, most + 1), min(max(SAMPLE, round(SHARE * most)), most)):
                self.once(class_, how, nth)
            made += most
        return f"{self.title} (of {made} calls)"


def unchanged(path):
    """A check that a file is as it was."""
    before = open(path, "rb").read()

    def after(done):
        check(open(path, "rb").read() == before, f"{os.path.basename(path)} was changed (exit {done.code})")
    return after


def stopped_store(t):
    node = t.node("--workers", "2")
    t.muster("submit", "--batch", "50", "-", stdin=t.generate(200, 3))
    t.muster("submit", "-", stdin=t.generate(100, 4, "--invalid", "20"), code=None)
    node.stop()
    return os.path.join(t.data, "store", "shard-0", "data.mdb")


def at_once(commands):
    """Two at a time: they read, or each writes to files of its own."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(lambda c: c.all(), commands):
            print(f"#   {line}", flush=True)


def reading_commands(t):
    """commands that read a store: the right answer, or a sentence; never damage where there is none"""
    data = stopped_store(t)
    same = unchanged(data)

    def salvaged(done):
        check(len(delimited(done.out)) > 0, "nothing was salvaged")
    read = [Command(t, "-".join(a).replace(":", "."), a, after=same) for a in (
        ["export", "--format", "pb"], ["export"], ["get", "0:5"], ["tally", "--format", "csv"], ["verify"], ["tally", "--format", "json"],
        ["quarantine", "list"], ["key", "show"], ["key", "list"],
        ["generate", "--records", "2000", "--seed", "9"], ["generate", "--records", "50", "--format", "ndjson"], ["--version"])]
    read.append(Command(t, "salvage", ["salvage", "--format", "pb"], right=salvaged, after=same))
    read.append(Command(t, "status", ["status"], right=lambda d: check("not serving" in d.text() and "total" in d.text(), d.text()), after=same))
    at_once(read)


def writing_commands(t):
    """commands that write keys: what was said to be done is done, and a list of keys is whole in any case"""
    t.node().stop()
    allow = os.path.join(t.data, "keys", "allow")
    for name in ("old", "other"):
        t.muster("key", "new", name)
        t.muster("key", "allow", name, f"{name}.key")
    t.muster("key", "new", "fresh")
    before = open(allow, "rb").read()

    def put_back():
        with open(allow, "wb") as f:
            f.write(before)

    def listed(name, state, done):
        listing = t.muster("key", "list").text()
        check_equal(len(re.findall(r"old +\w+|other +\w+", listing)), 2, f"the keys of before, exit {done.code}: {listing}")
        check(done.code != 0 or re.search(rf"{name} +{state}", listing), f"exit 0, and it is not done: {listing}")

    def written(done):
        path = t.path("made.key")
        if done.code == 0:
            check_equal(t.muster("key", "show", path).text().strip(), done.text().split()[1], "the key in the file")
        elif os.path.exists(path):  # then a whole one
            t.muster("key", "show", path)

    def forget():
        if os.path.exists(t.path("made.key")):
            os.unlink(t.path("made.key"))
    for command in (Command(t, "allow", ["key", "allow", "fresh", "fresh.key"], right=lambda d: None, undo=put_back, after=lambda d: listed("fresh", "allowed", d)),
                    Command(t, "revoke", ["key", "revoke", "old"], right=lambda d: None, undo=put_back, after=lambda d: listed("old", "revoked", d)),
                    Command(t, "new", ["key", "new", "made", "--out", t.path("made.key")], right=lambda d: None, undo=forget, after=written)):
        print(f"#   {command.all()}", flush=True)
    left = [n for n in os.listdir(os.path.dirname(allow)) if n.endswith(".new")]
    check(not left, f"left behind: {left}")


def backing_up(t):
    """backup, restore and their check: what is called whole is, what failed is gone on with, and no directory has the name of a restore that is not whole"""
    stopped_store(t)
    exported, sealed, grown = t.muster("export", "--format", "pb").out, t.path("sealed"), t.path("grown")
    records = len(delimited(exported))
    t.muster("backup", sealed)
    shutil.copytree(sealed, grown)
    node = t.node("--workers", "2")
    t.muster("submit", "--batch", "50", "-", stdin=t.generate(150, 5))
    node.stop()
    added = len(delimited(t.muster("export", "--format", "pb").out))

    def put_back(target, template):
        def undo():
            shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(target + ".restoring", ignore_errors=True)
            if template:
                shutil.copytree(template, target)
        return undo

    def backed_up(target, before):
        def after(done):
            looked = t.muster("backup", "--check", target, code=None)
            whole = re.search(r"^whole: ([\d,]+) records", looked.text(), re.M)
            begun = "never finished" in looked.error() or not os.path.exists(os.path.join(target, "manifest"))
            check(whole or (before == 0 and done.code and begun),
                  f"after exit {done.code} the backup is not whole: {looked.text()} {looked.error()}")
            check(not whole or int(whole[1].replace(",", "")) in ((added,) if done.code == 0 else (before, added)), f"exit {done.code}, and {looked.text()}")
            t.muster("backup", target, "--incremental")
            check(f"whole: {added:,} records" in t.muster("backup", "--check", target).text(), "the next run is not whole")
        return after

    def restored(target):
        def after(done):
            check(done.code or os.path.exists(target), "exit 0, and it is not there")
            if not os.path.exists(target):
                t.muster("restore", sealed, "--data", target)
            check(not os.path.exists(target + ".restoring"), "the directory in the making is left")
            t.muster("verify", "--data", target)
            check(t.muster("export", "--format", "pb", "--data", target).out == exported, f"other records were restored (exit {done.code})")
        return after
    ways = WAYS if FULL or ONE else t.random.sample(WAYS, FEW)
    first, more, new = t.path("first"), t.path("more"), t.path("new")
    at_once([Command(t, "backup", ["backup", first], right=lambda d: None, undo=put_back(first, None), after=backed_up(first, 0), ways=ways),
             Command(t, "backup-incremental", ["backup", more, "--incremental"], right=lambda d: None, undo=put_back(more, grown), after=backed_up(more, records), ways=ways),
             Command(t, "restore", ["restore", sealed, "--data", new], right=lambda d: None, undo=put_back(new, None), after=restored(new), ways=ways),
             Command(t, "backup-check", ["backup", "--check", sealed], ways=ways)])


def shape(value):
    """The names in a JSON value, without what they hold."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return [shape(v) for v in value] if isinstance(value, list) else type(value).__name__ if not isinstance(value, (int, float)) else "number"


def submitting(t):
    """submit to a node that is well: exit 0 only when every record has its verdict, and the store has what the verdicts say"""
    t.node("--workers", "2")
    stream = t.generate(300, 12)
    oracle, verdicts = Oracle(t), t.path("v.tsv")

    def forget():
        if os.path.exists(verdicts):
            os.unlink(verdicts)

    def right(done):
        check_equal(summary(done)["accepted"] + summary(done)["duplicate"], 300, "answered")
        oracle.heard(delimited(stream), verdicts)

    def told(done):
        status = json.loads(done.text())
        check(shape(status) == shape(t.status()) and status["records_accepted"] == 300 and status["state"] == "serving", f"exit 0 with less: {done.text()[:300]}")
    t.muster("submit", "-", "--verdicts", verdicts, stdin=stream)
    oracle.heard(delimited(stream), verdicts)
    print("#   " + Command(t, "submit", ["submit", "-", "--batch", "60", "--timeout", "2", "--verdicts", verdicts], right=right, undo=forget, stdin=stream).all(), flush=True)
    print("#   " + Command(t, "status-json", ["status", "--json"], right=told, ways=WAYS if FULL else [("open", "EMFILE")]).all(), flush=True)
    check_equal(oracle.examine(), 300, "stored")


def one_node(t, number, role, class_, how, nth):
    t.data = t.path(f"d{number}")
    t.env["MUSTER_DATA"] = t.data
    mark = t.path(f"mark{number}")
    stream, verdicts = t.generate(3000, number + 1), t.path(f"v{number}.tsv")
    oracle = Oracle(t)
    if number % 3:  # a store that is there already, with a hint or without
        node = t.node("--workers", "2")
        t.muster("submit", "-", "--batch", "200", "--verdicts", verdicts, stdin=stream)
        oracle.heard(delimited(stream), verdicts)
        os.unlink(verdicts)
        if number % 3 == 1:
            node.stop()
        else:
            node.kill_all()
        stream = t.generate(3000, number + 100001)
    node = t.node("--workers", "2", wait=False, env=failing(role, class_, how, nth, mark))
    with contextlib.suppress(Failure):
        node.wait_ready(8)
    submit = t.popen("submit", t.write("s.pb", stream), "--batch", "200", "--verdicts", verdicts, "--timeout", "8", stdout=-1, stderr=-1)
    _, error = submit.communicate(timeout=60 * SLOW)
    oracle.heard(delimited(stream), verdicts, complete=submit.returncode == 0)
    check(submit.returncode == 0 or len(error) > 15, f"submit ended with {submit.returncode} without a word")
    if node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
        code = node.process.wait(30 * SLOW)
    else:
        code = node.process.returncode
        check(code != 0, "the node ended by itself with exit 0")
    check(code == 0 or "muster" in node.log(), f"the node ended with {code} without a word")
    check(code >= 0 or code == -signal.SIGABRT, f"the supervisor ended by signal {-code}: {node.log()[-1500:]}")
    wait_until(lambda: not node.pids("worker") and not node.pids("ingest"), 10, "the children of the node to end with it")
    again = t.node("--workers", "2")  # nothing fails
    verdicts = t.path(f"w{number}.tsv")
    t.muster("submit", "-", "--batch", "200", "--verdicts", verdicts, stdin=stream)
    oracle.heard(delimited(stream), verdicts)
    oracle.unanswered = 0
    oracle.examine()
    again.stop()
    shutil.rmtree(t.data)
    return os.path.exists(mark)


def nodes(t):
    """whole nodes: a call of a worker, an ingest or the supervisor fails; after a clean restart the oracle is content"""
    # By class: to which call a start and one stream come, about; those that do not come so far are counted as not fired.
    reach = {"read": 60, "write": 60, "sync": 12, "open": 40, "map": 40, "socket": 60, "process": 6, "poll": 150, "file": 40, "memory": 400}
    todo = [(role, class_, how) for role in ("worker", "ingest", "run") for class_, how in WAYS]
    if not FULL:
        todo = t.random.sample(todo, NODES)
    todo = [(role, class_, how, nth) for role, class_, how in todo
            for nth in (range(1, reach[class_] + 1) if FULL else [t.random.randrange(1, reach[class_] // 2 + 1)])]
    if FULL:
        todo = sorted(t.random.sample(todo, max(NODES, round(SHARE * len(todo)))))
    todo = list(enumerate(todo, 1))
    if ONE and not ONE[0].isdigit():  # of another test
        return
    if ONE:
        todo = [(int(ONE[0]), (ONE[1], ONE[2], ONE[3], int(ONE[4])))]
    fired = 0
    for number, (role, class_, how, nth) in todo:
        fired += bool(examine(f"{role}, {class_} {how}, call {nth}", f"ONE={number}:{role}:{class_}:{how}:{nth} {os.path.relpath(__file__)} nodes", one_node, t, number, role, class_, how, nth))
    number = len(todo)
    print(f"#   {number} nodes, in {fired} of them the call was made (seed {t.seed})", flush=True)
    check(ONE or fired * 6 >= number, f"only in {fired} of {number} nodes the call was made")


main("failing calls", [store, reading_commands, writing_commands, backing_up, submitting, nodes])
