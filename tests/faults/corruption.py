#!/usr/bin/python3
"""Single bits and whole pages of data.mdb go wrong, while the node is stopped and while it runs. No command ends by a signal; what is served is
what was stored; verify names what is damaged; DUPLICATE is said of no record whose copy is damaged; and salvage gives everything that is
intact, and says exactly what is not. FORM=full: two thousand ways, in about 6 minutes."""
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
from harness import check, check_equal, delimited, number, summary, wait_until  # noqa: E402
from scenarios import FULL, counted, examine, main  # noqa: E402

PAGE = 4096
STOPPED = 2000 if FULL else 14
RUNNING = 150 if FULL else 2
BATCH = 60  # records; about half of them go to each shard, and are one block


def ways(count):
    """Their numbers: all, or the one that a violation's replay line names."""
    return [int(os.environ["WAY"])] if "WAY" in os.environ else range(count)


class Store:
    """A stopped store of two shards, of which shard 1 is damaged: its file, what it holds, and where the blocks are."""

    def __init__(self, t):
        self.t = t
        node = t.node("--workers", "2")
        self.stream = t.generate(3000, 3)
        t.muster("submit", "--batch", BATCH, "--window", "1", "-", stdin=self.stream)
        for i in range(20):  # blocks of a few records lie in the leaves of the tree
            t.muster("submit", "-", stdin=t.generate(3, 100 + i))
        t.muster("submit", "-", stdin=t.generate(200, 8, "--invalid", "10"), code=None)
        node.stop()
        self.path = os.path.join(t.data, "store", "shard-1", "data.mdb")
        self.hint = os.path.join(t.data, "store", "shard-1", "index.hint")
        self.keep()

    def keep(self):
        """What is stored now is what is whole."""
        self.whole = open(self.path, "rb").read()
        self.kept_hint = open(self.hint, "rb").read()
        self.exported = self.t.muster("export", "--format", "pb").out
        records = delimited(self.exported)
        self.count = [number(rf"shard {s}: ([\d,]+) records", self.t.muster("verify").text()) for s in (0, 1)]
        self.records = [records[:self.count[0]], records[self.count[0]:]]
        pages = range(len(self.whole) // PAGE)
        # Pages of a value of their own, and those behind their first: what is no tree is records.
        self.trees = [p for p in pages if p < 2 or (int.from_bytes(self.whole[p * PAGE:p * PAGE + 8], "little") == p and self.whole[p * PAGE + 10] in (1, 2))]
        self.data = [p for p in pages if p not in self.trees]
        self.blocks = [p for p in self.data if self.whole[p * PAGE + 40:p * PAGE + 44] == b"BLK1"]  # where a block begins

    def restore(self):
        with open(self.path, "wb") as f:
            f.write(self.whole)
        with open(self.hint, "wb") as f:
            f.write(self.kept_hint)

    def first_of(self, page):
        """The first sequence of the block that begins on this page."""
        return int.from_bytes(self.whole[page * PAGE + 48:page * PAGE + 56], "little")

    def damage(self, r, pages, hit=None):
        """Flips a bit, or zeroes a page, in place: whoever has the file mapped sees it. What was done, in words; hit: takes the first sequences of blocks
        that are damaged now, where all the pages are beginnings of such."""
        page = r.choice(pages)
        with open(self.path, "r+b") as f:
            if r.random() < 0.3:
                f.seek(page * PAGE)
                f.write(bytes(PAGE))
                if hit is not None:
                    hit.add(self.first_of(page))
                return f"page {page} zeroed"
            at = page * PAGE + r.randrange(PAGE)
            if hit is not None and at >= page * PAGE + 16:  # before that is LMDB's own
                hit.add(self.first_of(page))
            bit = r.randrange(8)
            f.seek(at)
            f.write(bytes([self.whole[at] ^ 1 << bit]))
            return f"bit {bit} of byte {at} (page {page}) flipped"

    def salvage(self):
        """The sequences of shard 1 that salvage gave; what it gave and what it said is held against what was stored."""
        done = self.t.muster("salvage", "--format", "pb", code=None)
        said = done.error()
        lost = set()
        for first, last in re.findall(r"^shard 1: sequences? (\d+)(?: to (\d+))? (?:is|are) not there", said, re.M):
            lost.update(range(int(first), int(last or first) + 1))
        check(not re.search(r"^shard 0: sequence", said, re.M), f"shard 0 was not damaged: {said}")
        given = [s for s in range(1, self.count[1] + 1) if s not in lost]
        want = self.records[0] + [self.records[1][s - 1] for s in given]
        check(delimited(done.out) == want, f"salvage gave other records than it said ({len(delimited(done.out))}, {len(want)}): {said}")
        check_equal(done.code, 65 if lost or "is not known" in said else 0, f"exit of salvage: {said}")
        return set(given), said

    def reading(self, what):
        """All commands that read, on what is damaged while nobody runs."""
        verify = self.t.muster("verify", code=None)
        check(verify.code in (0, 1) or (verify.code == 76 and "format" in verify.error()), f"{what}: verify {verify.code}: {verify.error()}")
        named = re.search(r"shard 1: fault: .*(block \d+|sequence|tally|meta|quarantine|refused|journal|entr)|shard 1 cannot be read|shard /\S+-1: ", verify.text() + verify.error())
        check(verify.code == 0 or named, f"{what}: verify does not say what: {verify.text()} {verify.error()}")
        check(re.search(r"^shard 0: .*: right$", verify.text(), re.M), f"{what}: shard 0: {verify.text()}")
        export = self.t.muster("export", "--format", "pb", code=None)
        check(export.code in (0, 65, 76), f"{what}: export ended with {export.code}: {export.error()}")
        check(self.exported.startswith(export.out), f"{what}: export served what was not stored")
        check(export.code or export.out == self.exported, f"{what}: export says it is complete, with {len(export.out)} bytes of {len(self.exported)}")
        check(verify.code or not export.code, f"{what}: verify finds nothing wrong, and export says {export.error()}")
        given, said = self.salvage()
        check(verify.code or len(given) == self.count[1], f"{what}: verify finds nothing wrong, and salvage says {said}")
        return verify, given, said


def one_stopped(store, i):
    r = random.Random(store.t.seed + i)
    store.restore()
    trees = i % 2 == 0
    what = store.damage(r, store.trees if trees else store.data)
    verify, given, said = store.reading(what)
    if not trees and "flipped" in what:
        check(said.count("not there (") + said.count("is not there") <= 1, f"{what}: one bit costs more than one block: {said}")
    for sequence in r.sample(sorted(store.shown), 3):
        done = store.t.muster("get", f"1:{sequence}", code=None)
        check(done.code in (0, 65, 76), f"{what}: get 1:{sequence} ended with {done.code}: {done.error()}")
        check(done.code or (sequence in given and done.out == store.shown[sequence]), f"{what}: get 1:{sequence} shows what was not stored: {done.text()}")
    return verify.code


def while_stopped(t):
    """damage while stopped: no signal, nothing wrong is served, verify names it, salvage gives the rest exactly"""
    store = Store(t)
    store.shown = {s: t.muster("get", f"1:{s}").out for s in t.random.sample(range(1, store.count[1] + 1), 40)}
    seen = 0
    chosen = ways(STOPPED)
    for i in chosen:
        seen += bool(examine(f"way {i}", f"SEED={t.seed} WAY={i} {os.path.relpath(__file__)} while_stopped", one_stopped, store, i))
    print(f"#   {len(chosen)} ways, verify saw {seen} of them (seed {t.seed})", flush=True)
    check(len(chosen) == 1 or seen > len(chosen) / 4, f"verify saw {seen} of {len(chosen)}")
    store.restore()
    t.muster("verify")


def damaged_blocks_are_named(store, hit, what, node, given):
    """Blocks that were damaged under a running node whose index leads into all of them: it has stopped at one, and verify and salvage tell each."""
    check(re.search(r"event=worker.storage_failed shard=1 status=MUSTER_ERR_CORRUPT", node.log()), f"{what}: the worker has answered for damaged blocks: {node.log()[-2000:]}")
    verify = store.t.muster("verify", code=1).text()
    for first in hit:
        check(re.search(rf"^shard 1: fault: .*block \d+ \((sequences {first} to|from sequence {first}\))", verify, re.M), f"{what}: verify does not name the block of sequence {first}: {verify}")
        check(first not in given, f"{what}: salvage gave 1:{first}, whose block is damaged")


def one_running(store, i):
    """Whether the damage was met, by the node or by verify. Of the records of the other shard some are answered in any case."""
    t, r, hit = store.t, random.Random(store.t.seed + 10**6 + i), set()
    store.restore()
    if i % 3 == 0:
        os.unlink(store.hint)
    early = i % 4 == 3  # before the start, after it otherwise
    what = store.damage(r, store.trees + store.data) if early else ""
    node = t.node("--workers", "2")  # also where shard 1 cannot be opened
    what = what or (", ".join(store.damage(r, store.blocks, hit) for _ in range(4)) if i % 2 else store.damage(r, store.trees))
    verdicts = t.path("v.tsv")
    if os.path.exists(verdicts):
        os.unlink(verdicts)
    submit = t.muster("submit", "--batch", 20, "--timeout", "3", "--verdicts", verdicts, t.write("all.pb", store.exported), code=None)
    rows = [line.rstrip("\n").split("\t") for line in open(verdicts).readlines()[1:]] if os.path.exists(verdicts) else []
    check(node.process.poll() is None, f"{what}: the node has ended: {node.log()[-2000:]}")
    check("event=shard.down shard=1" not in node.log() or t.status(code=None)["shards"][1]["down_cause"], f"{what}: status does not say why")
    node.process.terminate()
    code = node.process.wait(20)
    check(code in (0, 75), f"{what}: the node ended with {code}: {node.log()[-2000:]}")
    check(not re.search(r"signal (?!9\b)\d+ \(", node.log()), f"{what}: a process ended by a signal: {node.log()[-2000:]}")
    given, said = store.salvage()
    of = {record: (shard, s + 1) for shard in (0, 1) for s, record in enumerate(store.records[shard])}
    all_records = delimited(store.exported)
    for row in rows:
        shard, sequence = of[all_records[int(row[0]) - 1]]
        check(row[1] == "DUPLICATE", f"{what}: {row[1]} of a record that is stored, {shard}:{sequence}")
        check_equal(row[2], f"{shard}:{sequence}", f"{what}: address")
        check(shard == 0 or sequence in given, f"{what}: DUPLICATE of 1:{sequence}, whose block is damaged: {said}")
    if hit:
        damaged_blocks_are_named(store, hit, what, node, given)
    shard0 = sum(of[all_records[int(row[0]) - 1]][0] == 0 for row in rows)
    # The node answers for the shard that is sound as soon as the other one is told of as down; then all of it is answered, and submit says what is not.
    check(shard0 > 0, f"{what}: no record of shard 0 was answered: {submit.error()} {node.log()[-2000:]}")
    if "BUSY_SHARD_DOWN);" in submit.error():  # its last sentence: nothing else is without a verdict
        check_equal(shard0, len(store.records[0]), f"{what}: records of shard 0 that were answered: {submit.error()} {node.log()[-2000:]}")
    check((submit.code == 0) == (len(rows) == len(all_records)), f"{what}: submit ended with {submit.code}, {len(rows)} of {len(all_records)} were answered: {submit.error()}")
    return bool(hit) or "MUSTER_ERR_CORRUPT" in node.log() or t.muster("verify", code=None).code != 0


def while_running(t):
    """damage while running or before the start: the node serves, DUPLICATE of nothing that is damaged, no signal, the other shard serves"""
    store = Store(t)
    chosen = ways(RUNNING)
    met = sum(bool(examine(f"way {i}", f"SEED={t.seed} WAY={i} {os.path.relpath(__file__)} while_running", one_running, store, i)) for i in chosen)
    print(f"#   {len(chosen)} ways, the damage was met in {met} (seed {t.seed})", flush=True)


def trees_while_running(t):
    """every page of a shard's trees goes wrong under a running node: its worker stops, no restart can open it, the other shard serves on, and it is back once mended"""
    store = Store(t)
    fills = (b"\0", b"\xff")
    for i, fill in enumerate(fills if FULL else [t.random.choice(fills)]):
        counted(i)
        both = t.write("both.pb", store.exported + t.generate(400, 9 + i))
        node = t.node("--workers", "2", "-s", "node.shard_retry_ms=1000")
        with open(store.path, "r+b") as f:
            for page in store.trees[2:]:
                f.seek(page * PAGE)
                f.write(fill * PAGE)
        t.muster("submit", "--batch", 400, "--timeout", "2", both, code=75)  # meets it; what was with both shards then waits for shard 1
        wait_until(lambda: t.status(code=None)["shards_down"] == 1, 20, "the shard to be down")
        verdicts = t.path("v.tsv")
        said = t.muster("submit", "--batch", 400, "--timeout", "2", "--verdicts", verdicts, both, code=75)
        with open(verdicts) as f:
            rows = [line.rstrip("\n").split("\t") for line in f.readlines()[1:]]
        what = f"trees of {fill!r}: {said.error()} {node.log()[-2000:]}"
        check({row[2].split(":")[0] for row in rows} == {"0"}, f"shard 1 answered: {what}")
        old = [row for row in rows if int(row[0]) <= sum(store.count)]
        check_equal((len(old), {row[1] for row in old}), (store.count[0], {"DUPLICATE"}), f"of shard 0, what was stored: {what}")
        check(len(rows) - len(old) > 100, f"{len(rows) - len(old)} new records of shard 0 were answered: {what}")
        status = t.status(code=1)
        check(status["shards"][1]["down_cause"] and status["shards"][0]["serving"] and status["conserved"], f"{status}: {what}")
        check(re.search(r"event=child.died child=worker-1 ", node.log()) and not re.search(r"event=child.died child=(?!worker-1 )", node.log()), what)
        check(not re.search(r"event=child.died .*signal", node.log()), what)
        with open(t.path("whole"), "wb") as f:
            f.write(store.whole)
        os.replace(t.path("whole"), store.path)
        wait_until(lambda: t.status(code=None)["shards_down"] == 0, 20, "the shard to serve again")
        done = summary(t.muster("submit", both))
        check_equal(done["duplicate"] + done["accepted"], sum(store.count) + 400, f"of all: {what}")
        check(done["duplicate"] >= sum(store.count) + len(rows) - len(old), f"{done}: {what}")
        node.stop()
        t.muster("verify")
        store.keep()


def salvaged_to_a_new_node(t):
    """what salvage gives, as either form, makes a new node that holds the same records"""
    store = Store(t)
    r = random.Random(t.seed)
    for form in ("pb", "ndjson"):
        counted()
        store.restore()
        what = [store.damage(r, store.data) for _ in range(3)] + [store.damage(r, store.trees[2:]) for _ in range(3)]
        given, said = store.salvage()
        check(0 < len(given) <= store.count[1], f"{what}: {said}")
        salvaged = t.muster("salvage", "--format", form, code=None).out
        new = t.path("new-" + form)
        node = t.node("--workers", "3", data=new)
        t.muster("submit", "--data", new, "--format", form, "-", stdin=salvaged)
        stored = delimited(t.muster("export", "--data", new, "--format", "pb").out)
        check_equal(sorted(stored), sorted(store.records[0] + [store.records[1][s - 1] for s in given]), f"{what}: records of the new node")
        node.stop()
        t.muster("verify", "--data", new)


def salvage_beside_a_node(t):
    """salvage beside a running node gives what is committed, or refuses; of a store that is whole it gives what export gives"""
    counted(3)
    store = Store(t)
    whole = t.muster("salvage", "--format", "pb")
    check_equal(whole.out, store.exported, "of a whole store")
    check("all that were stored" in whole.error(), whole.error())
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(500, 77))
    check_equal(t.muster("salvage", "--format", "pb").out, t.muster("export", "--format", "pb").out, "beside a node")
    with open(store.path, "r+b") as f:
        f.write(bytes(2 * PAGE))
    refused = t.muster("salvage", code=75)
    check("stop the node first" in refused.error(), refused.error())
    node.process.kill()
    node.kill_all()
    after = t.muster("salvage", "--format", "pb", code=None)
    check(set(store.records[0]) <= set(delimited(after.out)) and set(store.records[1]) <= set(delimited(after.out)), f"without LMDB's first pages: {after.error()}")


main("corruption", [salvaged_to_a_new_node, salvage_beside_a_node, while_stopped, while_running, trees_while_running])
