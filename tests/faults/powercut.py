#!/usr/bin/python3
"""A power cut at any moment. A node and its commands run while all that they write and sync is recorded, and beside it, in the same order, what
clients were told. From the record, disks are built as a cut may have left them; each must open, hold all that was told before, and go on.
FORM=full tries every boundary of two runs, in about 10 minutes. One image again: tests/faults/powercut.py --images LOG PLACE:VARIANT:SEED"""
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import disk  # noqa: E402
import images  # noqa: E402
import wire  # noqa: E402
from harness import check, check_equal, wait_until  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402
from wire import ACCEPTED, CONFLICT, DUPLICATE, INVALID, Client, record  # noqa: E402

FAR_FUTURE_US = 4 * 10**15
IMAGES_SHORT = int(os.environ.get("IMAGES", "36"))
LONGEST_SKEW = ("-s", "rules.future_skew_s=31536000")  # of what is refused otherwise, some comes in


# ---- the run that is recorded ----

class Run:
    """A node below t's "disk", its commands, and its client, all recorded."""

    def __init__(self, t):
        self.t, self.log = t, t.path("log")
        os.mkdir(t.path("disk"), 0o700)
        t.data = t.path("disk/d")
        self.notes = disk.Notes(self.log)
        t.env.update(MUSTER_DATA=t.data, LD_PRELOAD=images.SHIM, RECORD_LOG=self.log, RECORD_ROOT=t.path("disk"))
        self.sent, self.accepted = [], []
        self.keys = None

    def start(self, *settings):
        self.node = self.t.node("--workers", "2", *settings)
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

    def listed(self):
        listing = self.t.muster("quarantine", "list", "--rows", "0").text()
        names = re.findall(r"^\s*(\d+:\d+)\b", listing, re.M)
        check(names, f"nothing was refused: {listing[-500:]}")
        return names

    def keys_in_a_row(self, made):
        """As fast as they can be said, and the last word on each counts."""
        for name in self.t.random.sample(list(made), len(made)) * 2:
            self.key("allow", name, made[name])
            if self.t.random.random() < 0.6:
                self.key("revoke", name)

    def replay(self):
        """Refused while the node's clock was taken for right; replayed it is stored, and its entry goes."""
        before = set(self.listed())
        late = record(self.t.random, encounter_time=int((time.time() + 86400) * 1e6))
        check_equal(self.submit([late])[0].verdict, INVALID, "verdict on a record of tomorrow")
        name, = set(self.listed()) - before
        self.stop()
        self.start(*LONGEST_SKEW)
        self.t.muster("quarantine", "replay", code=65)  # the others are refused again
        self.notes.note(what="dropped", name=name)
        check_equal(self.submit([late])[0].verdict, DUPLICATE, "verdict on what was replayed")  # claimed from here on
        self.stop()
        self.start()

    def drop(self):
        name = self.t.random.choice(self.listed())
        self.t.muster("quarantine", "drop", name)
        self.notes.note(what="dropped", name=name)


def record_run(t):
    run = Run(t)
    public = re.compile(r"\S{40}")
    made = [public.search(t.muster("key", "new", f"k{i}", "--out", t.path(f"k{i}.key")).text()).group(0) for i in range(3)]
    burst = [public.search(t.muster("key", "new", f"r{i}", "--out", t.path(f"r{i}.key")).text()).group(0) for i in range(4)]
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
        if part == 1:
            run.replay()
        if part:
            run.key("revoke", f"k{part - 1}")
        if part == 2:
            run.keys_in_a_row({f"r{i}": key for i, key in enumerate(burst)})
        run.submit(run.batch())
        run.stop()
    check_equal(verdicts, {ACCEPTED, DUPLICATE, CONFLICT, INVALID}, "verdicts in the recorded run")
    return run.log


# ---- what must hold ----

class Told:
    """What clients had been told when the log was as long as this."""

    def __init__(self):
        self.server, self.keys, self.sent, self.heard, self.coming = None, None, [], 0, None
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

    def foresee(self, found):
        """For each place, the allow-list that the change which goes on there makes."""
        ahead, last = [None] * (len(found) + 1), None
        for i in range(len(found) - 1, -1, -1):
            if found[i].kind == disk.NOTE:
                note = json.loads(found[i].data)
                if note["what"] == "keys" and len(note["may"]) == 1:
                    last = note["may"][0]
            ahead[i] = last
        return ahead

    def judge(self, t, rnd):
        judge(t, self, rnd)


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
        may = [told.coming if keys is None else keys for keys in told.keys]
        check(listing in may, f"the allow-list is neither the old nor the new one:\n{listing}\nwant one of {may}")


def power_cut(t):
    """a power cut at any moment: what was told before is there, once and whole, and the node goes on"""
    images.cut(t, record_run, IMAGES_SHORT)


images.main("powercut", [power_cut], Told())
