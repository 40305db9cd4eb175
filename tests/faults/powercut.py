#!/usr/bin/python3
"""A power cut at any moment. A node and its commands run while all that they write and sync is recorded, and beside it, in the same order, what
clients were told. From the record, disks are built as a cut may have left them; each must open, hold all that was told before, and go on.
FORM=full tries every boundary of several runs. One image again: tests/faults/powercut.py --images LOG PLACE:VARIANT:SEED"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import disk  # noqa: E402
import scenarios  # noqa: E402
import wire  # noqa: E402
from harness import ROOT, SLOW, Failure, Test, check, check_equal, wait_until  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402
from wire import ACCEPTED, CONFLICT, DUPLICATE, INVALID, Client, record  # noqa: E402

SHIM = os.path.join(scenarios.TOOLS, "record.so")
FAR_FUTURE_US = 4 * 10**15
IMAGES_SHORT = int(os.environ.get("IMAGES", "250"))
SHARES = 2  # processes that judge images side by side


# ---- the run that is recorded ----

class Run:
    """A node below t's "disk", its commands, and its client, all recorded."""

    def __init__(self, t):
        self.t, self.log = t, t.path("log")
        os.mkdir(t.path("disk"), 0o700)
        t.data = t.path("disk/d")
        self.notes = disk.Notes(self.log)
        t.env.update(MUSTER_DATA=t.data, LD_PRELOAD=SHIM, RECORD_LOG=self.log, RECORD_ROOT=t.path("disk"))
        self.sent, self.accepted = [], []
        self.keys = None

    def start(self):
        self.node = self.t.node("--workers", "2")
        self.client = Client(self.node.endpoints("ipc")[0])
        self.notes.note(what="ready", server=self.t.muster("key", "show").text())

    def stop(self):
        self.client.close()
        self.node.stop()

    def submit(self, records):
        self.notes.note(what="sent", records=[r.hex() for r in records])
        first = len(self.sent)
        self.sent += records
        words = self.client.submit(records).words
        self.notes.note(what="told", words=[[first + i, w.verdict, f"{w.shard}:{w.sequence}"] for i, w in enumerate(words)])
        self.accepted += [r for r, w in zip(records, words) if w.verdict == ACCEPTED]
        return words

    def batch(self):
        """New records, resent ones, other content under an old id, ones that are refused."""
        rnd, records = self.t.random, []
        for _ in range(rnd.choice([1, 3, 30, 200, 600])):
            way = rnd.random()
            if way < 0.2 and self.accepted:
                records.append(rnd.choice(self.accepted))
            elif way < 0.25 and self.accepted:
                old = wire.encounter.Encounter.FromString(rnd.choice(self.accepted))
                old.station = "OTHER"
                records.append(old.SerializeToString(deterministic=True))
            elif way < 0.28:
                records.append(record(rnd, encounter_time=FAR_FUTURE_US))
            else:
                records.append(record(rnd))
        return records

    def key(self, *arguments):
        """A change of the allow-list: the old one or the new one while it goes on, the new one after it."""
        before = self.keys if self.keys is not None else self.t.muster("key", "list").text()
        self.notes.note(what="keys", may=[before, None])
        self.t.muster("key", *arguments)
        self.keys = self.t.muster("key", "list").text()
        self.notes.note(what="keys", may=[self.keys])

    def drop(self):
        listing = self.t.muster("quarantine", "list", "--rows", "0").text()
        names = re.findall(r"^\s*(\d+:\d+)\b", listing, re.M)
        check(names, f"nothing was refused: {listing[-500:]}")
        name = self.t.random.choice(names)
        self.t.muster("quarantine", "drop", name)
        self.notes.note(what="dropped", name=name)


def record_run(t):
    run = Run(t)
    public = re.compile(r"\S{40}")
    made = [public.search(t.muster("key", "new", f"k{i}", "--out", t.path(f"k{i}.key")).text()).group(0) for i in range(3)]
    verdicts = set()
    for part in range(3):
        run.start()
        for turn in range(6):
            verdicts |= {w.verdict for w in run.submit(run.batch())}
            if turn == 2:
                run.key("allow", f"k{part}", made[part])
        run.submit([record(t.random) for _ in range((20, 2500, 6000)[part])])  # the index grows
        verdicts |= {w.verdict for w in run.submit([record(t.random, encounter_time=FAR_FUTURE_US)])}
        run.drop()
        if part:
            run.key("revoke", f"k{part - 1}")
        run.submit(run.batch())
        run.stop()
    check_equal(verdicts, {ACCEPTED, DUPLICATE, CONFLICT, INVALID}, "verdicts in the recorded run")
    return run.log


# ---- what must hold ----

class Told:
    """What clients had been told when the log was as long as this."""

    def __init__(self):
        self.server, self.keys, self.sent, self.heard = None, None, [], 0
        self.accepted, self.claimed, self.dropped = {}, {}, set()

    def hear(self, note):
        what = note["what"]
        if what == "ready":
            check_equal(note["server"], self.server or note["server"], "the node's key in the recorded run")
            self.server = note["server"]
        elif what == "sent":
            self.sent += [bytes.fromhex(r) for r in note["records"]]
        elif what == "told":
            for index, verdict, address in note["words"]:
                if verdict in (ACCEPTED, DUPLICATE):
                    (self.accepted if verdict == ACCEPTED else self.claimed)[address] = self.sent[index]
            self.heard = len(self.sent)
        elif what == "keys":
            self.keys = note["may"]
        elif what == "dropped":
            self.dropped.add(note["name"])


def resend(client, oracle, records, wanted=None):
    """wanted: the addresses that they were told before."""
    for at in range(0, len(records), 5000):
        some = records[at:at + 5000]
        for i, word in enumerate(client.submit(some).words):
            address = f"{word.shard}:{word.sequence}"
            if wanted:
                check(word.verdict == DUPLICATE and address == wanted[at + i], f"resent, it was {wanted[at + i]} before, and is {word} now")
            if word.verdict in (ACCEPTED, DUPLICATE):
                oracle.told(some[i], "ACCEPTED" if word.verdict == ACCEPTED else "DUPLICATE", address)
            else:
                check(word.verdict in (CONFLICT, INVALID), f"resent, it is {word}")


def judge(t, told, rnd):
    """The image in t.data."""
    oracle = Oracle(t)
    oracle.accepted, oracle.claimed = dict(told.accepted), dict(told.claimed)
    oracle.unanswered = 1  # which of those in flight are there is not known
    fresh = [record(rnd) for _ in range(20)]
    oracle.submitted = dict.fromkeys([*told.sent, *fresh], 1)
    if told.server:
        t.muster("verify")
        check_equal(t.muster("key", "show").text(), told.server, "the node's key")
        judge_keys(told, t.muster("key", "list").text())
    node = t.node("--workers", "2")
    client = Client(node.endpoints("ipc")[0])
    addresses = list(told.accepted)
    addresses = sorted(set(addresses[-200:] + rnd.sample(addresses, min(200, len(addresses)))))
    resend(client, oracle, [told.accepted[a] for a in addresses], addresses)
    resend(client, oracle, told.sent[told.heard:])
    words = client.submit(fresh).words
    for r, w in zip(fresh, words):
        check_equal(w.verdict, ACCEPTED, "verdict on a new record")
        oracle.told(r, "ACCEPTED", f"{w.shard}:{w.sequence}")
    if told.dropped:
        def gone():
            return not told.dropped & set(re.findall(r"^\s*(\d+:\d+)\b", t.muster("quarantine", "list", "--rows", "0").text(), re.M))
        wait_until(gone, 5, "the entries that were to be dropped to be gone")
    client.close()
    if rnd.random() < 0.1:  # status takes half a second, for its rates
        conserved(t)
    node.stop()
    oracle.examine()


def judge_keys(told, listing):
    if told.keys is not None:
        check(listing in told.keys, f"the allow-list is neither the old nor the new one:\n{listing}\nwant one of {told.keys}")


# ---- images ----

def plan(log, rnd):
    """Which images: (place, variant, seed). Place: so many entries of the log have been done."""
    every = []
    found = disk.entries(log)
    for i, e in enumerate(found):
        if e.kind in disk.SYNCS:
            every += [(i, variant) for variant in ("none", "all", "part", "part", "part")] + [(i + 1, "none")]
        elif e.kind == disk.NOTE:
            every += [(i + 1, "none"), (i + 1, "part")]
        elif rnd.random() < 0.5:
            every.append((i + 1, "part"))
    return [(place, variant, rnd.randrange(1 << 30)) for place, variant in every]


def sample(rnd, specs, log):
    """The short form: some of all, and of the few from before the node was ready more than their share."""
    ready = next(i for i, e in enumerate(disk.entries(log)) if e.kind == disk.NOTE)
    early, late = [s for s in specs if s[0] <= ready], [s for s in specs if s[0] > ready]
    few = min(len(early), IMAGES_SHORT // 4)
    return rnd.sample(early, few) + rnd.sample(late, min(len(late), IMAGES_SHORT - few))


def judge_images(log, specs):
    """In the order of their places, so that the log is gone through once. Prints violations, and last how many images and violations."""
    root = os.path.join(os.path.dirname(log), "disk")
    state, told, found, done, violations = disk.Disk(root), Told(), disk.entries(log), 0, 0
    ahead = keys_ahead(found)
    for place, variant, seed in sorted(specs):
        while done < place:
            e = found[done]
            if e.kind == disk.NOTE:
                told.hear(json.loads(e.data))
            else:
                state.do(e)
            done += 1
        if told.keys and told.keys[-1] is None:
            told.keys[-1] = ahead[done]
        t = Test("image", seed)
        try:
            state.leave(t.path("disk"), disk.Choose(variant, random.Random(seed)))
            t.data = t.env["MUSTER_DATA"] = t.path("disk/d")
            judge(t, told, random.Random(seed))
        except (Failure, subprocess.TimeoutExpired, OSError) as why:
            violations += 1
            kept = os.path.join(os.path.dirname(log), f"image-{place}-{variant}-{seed}")
            shutil.rmtree(kept, ignore_errors=True)
            state.leave(kept, disk.Choose(variant, random.Random(seed)))
            print(f"#   violation: a cut after {place} entries: {str(why)[-1500:]}\n#     kept: {kept}\n"
                  f"#     replay: {os.path.relpath(__file__, ROOT)} --images {log} {place}:{variant}:{seed}", flush=True)
        t.finish(keep=False)
    print(f"{len(specs)} {violations}", flush=True)
    return violations


def keys_ahead(found):
    """For each place, the allow-list that the change which goes on there makes."""
    ahead, last = [None] * (len(found) + 1), None
    for i in range(len(found) - 1, -1, -1):
        if found[i].kind == disk.NOTE:
            note = json.loads(found[i].data)
            if note["what"] == "keys" and len(note["may"]) == 1:
                last = note["may"][0]
        ahead[i] = last
    return ahead


def judge_in_shares(t, log, specs):
    with tempfile.TemporaryDirectory(prefix="muster-cut-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as fast:  # the record's disk is tried, not this one
        env = {**os.environ, "TMPDIR": fast}
        parts = [specs[i::SHARES] for i in range(SHARES)]
        children = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "--images", log, *(":".join(map(str, s)) for s in part)], env=env,
                                     stdout=subprocess.PIPE, text=True) for part in parts if part]
        for child in children:
            out = child.communicate(timeout=7200 * SLOW)[0]
            lines = out.splitlines()
            check(lines and re.fullmatch(r"\d+ \d+", lines[-1]), f"the images were not judged to the end: exit {child.returncode}: {out[-1500:]}")
            print("".join(line + "\n" for line in lines[:-1]), end="", flush=True)
            images, violations = map(int, lines[-1].split())
            scenarios.counted(images)
            scenarios.violated(violations)


def power_cut(t):
    """a power cut at any moment: what was told before is there, once and whole, and the node goes on"""
    for number in range(2 if scenarios.FULL else 1):
        run = Test(f"run{number}", t.seed + number)
        bad = True
        try:
            log = record_run(run)
            specs = plan(log, run.random)
            boundaries = len({place for place, variant, _ in specs if variant == "all"})
            if not scenarios.FULL:
                specs = sample(run.random, specs, log)
            before = scenarios.violations
            judge_in_shares(t, log, specs)
            bad = scenarios.violations > before
            print(f"#   {len(specs)} images of a run with {boundaries} sync boundaries (seed {run.seed})", flush=True)
        finally:
            run.finish(keep=bad)


if len(sys.argv) > 2 and sys.argv[1] == "--images":
    sys.exit(1 if judge_images(sys.argv[2], [(int(p), v, int(s)) for p, v, s in (a.split(":") for a in sys.argv[3:])]) else 0)
scenarios.main("powercut", [power_cut])
