#!/usr/bin/python3
"""Refused records: kept, listed without their content, replayed once the cause is mended, dropped when judged; and the record that kills a worker."""
import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import wire
from harness import SLOW, check, check_equal, feed, finished, main, number, summary, wait_until
from oracle import Oracle, conserved
from wire import ACCEPTED, INVALID, record

POISON = "worker.before-decode=POISON-STATION:kill:always"


def deaths(node):
    return node.log().count("event=child.died child=worker")


def word_of(client, sent):
    """The final word of one record: BUSY and RETRY are sent again."""
    while True:
        answer = wire.Answer(client.receive(60))
        if answer.words and answer.words[0].verdict not in (wire.BUSY, wire.RETRY):
            return answer.words[0]
        time.sleep(0.05)
        client.send([sent])


@contextlib.contextmanager
def slow_workers(node):
    """The worker stands still for a while when it is ready, and then most of the time, so that what both ingests send is there when it looks."""
    ended = threading.Event()

    def slow():
        known = 0
        while not ended.is_set():
            pids = re.findall(r"event=child.ready child=worker-0 child_pid=(\d+)", node.log())
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pids[-1]), signal.SIGSTOP)
                ended.wait(0.01 if len(pids) == known else 0.06)
                os.kill(int(pids[-1]), signal.SIGCONT)
            known = len(pids)
            ended.wait(0.001 * SLOW)
    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def listed_without_payload(t):
    """list and show tell reasons and counts; content only when asked for"""
    node = t.node()
    bad = [record(t.random, citizenship="ZZZ", station="CANARY-STATION") for _ in range(3)] + [record(t.random, component=None, device="CANARY-DEVICE")]
    t.muster("submit", "-", stdin=wire.stream_of(bad), code=65)
    t.muster("submit", "-", stdin=wire.stream_of(bad), code=65)
    listing = t.muster("quarantine", "list").text()
    check(re.search(r"CITIZENSHIP.*\b3\b|\b3\b.*CITIZENSHIP", listing), listing)
    check("MISSING_FIELD" in listing, listing)
    address = re.search(r"^\s*(\d+:\d+)", listing, re.M).group(1)
    shown = t.muster("quarantine", "show", address).text()
    check("CANARY" not in listing + shown, "content was shown without being asked for")
    check("CANARY" in t.muster("quarantine", "show", address, "--payload").text(), "content when asked for")
    node.stop()


def damaged_entries_are_passed_over(t):
    """an entry that is damaged in the store is named and passed over by list, show, drop and replay, and the exit code tells that something is wrong"""
    node = t.node("--workers", "1")
    refused = [record(t.random, citizenship="ZZZ", station=f"CANARY-{i}") for i in range(6)] + [record(t.random, component=None) for _ in range(2)]
    t.muster("submit", "--batch", "1", "-", stdin=wire.stream_of(refused), code=65)
    addresses = [a for a, _ in listed(t)]
    check_equal(len(addresses), 8, "entries")
    node.stop()
    path = os.path.join(t.data, "store", "shard-0", "data.mdb")
    canary = {}
    for a in addresses:
        shown = re.search(r"CANARY-\d", t.muster("quarantine", "show", a, "--payload").text())
        canary[a] = shown.group(0) if shown else None
    bad = addresses[2]
    with open(path, "r+b") as f:
        whole = f.read()
        at = whole.find(canary[bad].encode())
        check(at >= 0 and whole.find(canary[bad].encode(), at + 1) < 0, "the only place of these bytes")
        f.seek(at)
        f.write(b"D")
    node = t.node()
    done = t.muster("quarantine", "list", "--rows", "0", code=1)
    check_equal(re.findall(r"^ *(\d+:\d+) ", done.text(), re.M), [a for a in addresses if a != bad], "the others")
    said = f"entry {bad} of submitter 0 is damaged in the store and was passed over; run muster verify"
    check(said in done.error() and "CANARY" not in done.error() + done.text(), done.error())
    for a in addresses:
        shown = t.muster("quarantine", "show", a, code=65 if a == bad else 0)
        check("damaged" in shown.error() and "muster verify" in shown.error() if a == bad else shown.error() == "", f"{a}: {shown.error()}")
    check("no entry 0:99" in t.muster("quarantine", "show", "0:99", code=65).error(), "one that may be the damaged one")
    done = t.muster("quarantine", "drop", "--reason", "MISSING_FIELD", code=1)
    check("dropped 2 of 2" in done.text() and said in done.error(), done.text() + done.error())
    done = t.muster("quarantine", "drop", bad, code=65)
    check("no entry that can be read is meant" in done.error(), done.error())
    done = t.muster("quarantine", "replay", "--timeout", "20", code=65)
    check(number(r"replayed ([\d,]+)", done.text()) == 5 and said in done.error(), done.text() + done.error())
    done = t.muster("quarantine", "drop", "--reason", "CITIZENSHIP", code=None)
    check("dropped 5 of 5" in done.text() and done.code == 1, f"{done.code} {done.text()} {done.error()}")
    done = t.muster("quarantine", "list", code=1)
    check("no entry of the quarantine can be read" in done.text() and said in done.error(), done.text() + done.error())
    node.stop()


def replay_after_the_cause_is_mended(t):
    """a record too far in the future is accepted by replay once the rule allows it"""
    node = t.node()
    ahead = record(t.random, encounter_time=int((time.time() + 3600) * 1e6))
    t.muster("submit", "-", stdin=wire.stream_of([ahead]), code=65)
    check("TIME_IN_FUTURE" in t.muster("quarantine", "list").text(), "listed")
    node.stop()
    node = t.node("-s", "rules.future_skew_s=7200")
    replayed = t.muster("quarantine", "replay").text()
    check_equal(number(r"([\d,]+) accepted", replayed), 1, "accepted by replay")
    check_equal(number(r"dropped ([\d,]+) of 1", replayed), 1, "given back to the quota")
    check_equal(number(r"replayed ([\d,]+)", t.muster("quarantine", "replay").text()), 0, "replay again is harmless")
    check("empty" in t.muster("quarantine", "list").text(), "what was accepted is no longer refused")
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 1, "stored")


def quota_is_bounded(t):
    """a submitter's quota bounds what is kept; past it is counted"""
    node = t.node("--workers", "1", "-s", "store.quarantine_records=10")
    t.muster("submit", "-", stdin=wire.stream_of([record(t.random, citizenship="ZZZ") for _ in range(25)]), code=65)
    status = t.status()
    worker = [p for p in status["processes"] if p["role"] == "worker-0"][0]["counters"]
    wait_until(lambda: [p for p in t.status()["processes"] if p["role"] == "worker-0"][0]["counters"]["quarantine_overflow"] == 15, 5, "the overflow to be counted")
    check_equal(worker["records_invalid"], 25, "invalid")
    node.stop()


def listed(t):
    """(address, reason) of every entry, in the order of the list"""
    return re.findall(r"^ *(\d+:\d+) +(\w+)", t.muster("quarantine", "list", "--rows", "0").text(), re.M)


def bad(t, citizenships, futures):
    ahead = int((time.time() + 3600) * 1e6)
    return wire.stream_of([record(t.random, citizenship="ZZZ") for _ in range(citizenships)] +
                          [record(t.random, encounter_time=ahead) for _ in range(futures)])


def list_is_in_order(t):
    """entries are listed by shard and number, and the rows shown are the first of that order"""
    node = t.node("--workers", "3")
    t.muster("submit", "-", stdin=bad(t, 60, 0), code=65)
    addresses = [tuple(map(int, a.split(":"))) for a, _ in listed(t)]
    check_equal(len(addresses), 60, "entries")
    check_equal(addresses, sorted(addresses), "the order")
    few = t.muster("quarantine", "list", "--rows", "7").text()
    check_equal(re.findall(r"^ *(\d+:\d+) ", few, re.M), ["%d:%d" % a for a in addresses[:7]], "the first rows")
    check("53 more, by shard and number" in few, few)
    node.stop()


def replay_gives_room_again(t):
    """one bad configuration fills the quota; once it is mended, replay makes room, whoever had sent the records"""
    quota = ("--workers", "1", "-s", "store.quarantine_records=20")
    node = t.node(*quota)
    t.muster("submit", "-", stdin=bad(t, 5, 15), code=65)
    node.stop()
    node = t.node(*quota, "-s", "rules.future_skew_s=7200")
    replayed = t.muster("quarantine", "replay", code=65).text()
    check_equal((number(r"([\d,]+) accepted", replayed), number(r"([\d,]+) invalid", replayed), number(r"dropped ([\d,]+) of 15", replayed)),
                (15, 5, 15), replayed)
    check_equal([r for _, r in listed(t)], ["CITIZENSHIP"] * 5, "what stays")
    t.muster("submit", "-", stdin=bad(t, 20, 0), code=65)
    check_equal(len(listed(t)), 20, "there is room for 15 more, and no more")
    wait_until(lambda: t.status()["shards"][0]["quarantined"] == 20, 5, "the gauge")
    conserved(t)
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 15, "stored")


def drop_what_was_judged(t):
    """drop one entry, all of a reason, all of a submitter, what was accepted meanwhile; beside a node under load and without one"""
    node = t.node()
    t.muster("submit", "-", stdin=bad(t, 30, 12), code=65)
    load = t.popen("submit", "--batch", "200", "-", stdin=subprocess.PIPE, stdout=-1, stderr=-1)
    feed(load, t.generate(60000), 3)
    entries = listed(t)
    check_equal(number(r"dropped (\d+) of 1$", t.muster("quarantine", "drop", entries[0][0]).text()), 1, "dropped")
    check(entries[0] not in listed(t) and listed(t) == entries[1:], "one entry, and no other")
    t.muster("quarantine", "drop", entries[0][0], code=66)
    t.muster("quarantine", "drop", code=64)
    t.muster("quarantine", "drop", "--submitter", "nobody", code=66)
    left = [e for e in entries[1:] if e[1] != "TIME_IN_FUTURE"]
    t.muster("quarantine", "drop", "--reason", "TIME_IN_FUTURE")
    check_equal(listed(t), left, "by reason")
    check_equal(summary(finished(load))["accepted"], 60000, "the load beside it")
    kept = t.muster("quarantine", "drop", "--stored").text()
    check(f"{len(left)} stay: their record is not in the store" in kept, kept)
    check_equal(listed(t), left, "nothing was accepted since")
    node.stop()
    later = t.muster("quarantine", "drop", "--submitter", "local").text()
    check("when the node starts" in later and len(listed(t)) == len(left), later)
    node = t.node()
    wait_until(lambda: "empty" in t.muster("quarantine", "list").text(), 5, "what was asked without a node")
    conserved(t)
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 60000, "stored")


def resent_is_found_stored(t):
    """a submitter that sends again what was refused leaves its entry, which drop --stored finds"""
    node = t.node()
    ahead = record(t.random, encounter_time=int((time.time() + 3600) * 1e6))
    t.muster("submit", "-", stdin=wire.stream_of([ahead]), code=65)
    node.stop()
    node = t.node("-s", "rules.future_skew_s=7200")
    t.muster("submit", "-", stdin=wire.stream_of([ahead]))
    check_equal(len(listed(t)), 1, "still listed")
    check_equal(number(r"dropped (\d+) of 1$", t.muster("quarantine", "drop", "--stored").text()), 1, "dropped")
    node.stop()
    t.muster("verify")


def a_request_that_cannot_be_read(t):
    """a request that a worker cannot read waits: its log says so once, with the cause, and the command that waited names what holds it up"""
    node = t.node("--workers", "1", variant="faults", env={"MUSTER_FAULT": "store.drop-read:fail:always"})
    t.muster("submit", "-", stdin=b"\x05\x0a\x03abc", code=None)
    told = t.muster("quarantine", "drop", "0:1", "--timeout", 2, code=75).error()
    check("1 are still to be dropped: the worker of shard 0 is asked, and it cannot read the request" in told, told)
    node.stop()
    log = [line for line in node.log().split("\n") if "worker.quarantine_drop_waits" in line]
    check_equal(len(log), 1, f"lines about it, after two seconds of trying: {log}")
    check("requests=1" in log[0] and "Input/output error" in log[0], log[0])
    node = t.node()  # a request that was left is carried out
    wait_until(lambda: number(r"([\d,]+) quarantined", t.muster("verify").text()) == 0, 10, "the request to be carried out")
    node.stop()


def killed_while_dropping(t):
    """a worker that is killed between the commit and the end of a request: its successor goes on, nothing else is lost"""
    t.env["MUSTER_FAULT_ONCE_DIR"] = t.directory
    for fault in ("store.in-transaction:kill:3", "store.dropped:kill"):
        node = t.node("--workers", "1", variant="faults", env={"MUSTER_FAULT": fault})
        t.muster("submit", "-", stdin=bad(t, 10, 10), code=65)
        t.muster("submit", "-", stdin=t.generate(300, t.seed % 100))
        t.muster("quarantine", "drop", "--reason", "TIME_IN_FUTURE")
        check_equal([r for _, r in listed(t)], ["CITIZENSHIP"] * 10, fault)
        check("event=child.died" in node.log(), f"{fault}: nobody died: {node.log()[-2000:]}")
        conserved(t)
        t.muster("quarantine", "drop", "--reason", "CITIZENSHIP")
        node.stop()
        check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 300, "stored")


def poison_is_isolated(t):
    """a record that kills its worker is found by halving, quarantined, answered INVALID; the rest commits"""
    node = t.node(variant="faults", env={"MUSTER_FAULT": POISON})
    records = [record(t.random) for _ in range(400)]
    records[217] = record(t.random, station="POISON-STATION")
    done = t.muster("submit", "-", "--batch", "400", "--verdicts", t.path("v.tsv"), stdin=wire.stream_of(records), code=65)
    check_equal(summary(done), {"submitted": 400, "accepted": summary(done)["accepted"], "duplicate": 399 - summary(done)["accepted"], "conflict": 0, "invalid": 1}, "verdicts")
    row = [line.split("\t") for line in open(t.path("v.tsv")) if "INVALID" in line][0]
    check_equal((row[0], row[3]), ("218", "KILLED_WORKER"), "the poison")
    check("KILLED_WORKER" in t.muster("quarantine", "list").text(), "in quarantine")
    conserved(t)
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 399, "stored")
    check_equal(summary(t.muster("submit", "-", stdin=t.generate(1000)))["accepted"], 1000, "and the node goes on")
    node.stop()


def poison_resent_costs_no_death(t):
    """a record that was isolated is told INVALID at once when it comes again, also by the worker's successors; a node that starts anew tries it again"""
    node = t.node("--workers", "1", variant="faults", env={"MUSTER_FAULT": POISON})
    records = [record(t.random) for _ in range(1000)]
    records[700] = record(t.random, station="POISON-STATION")
    stream = wire.stream_of(records)
    t.muster("submit", "-", stdin=stream, code=65)
    before = deaths(node)
    check(4 <= before <= 18, f"{before} deaths to find it")
    for _ in range(10):
        done = t.muster("submit", "-", stdin=stream, code=65)
        check_equal((summary(done)["duplicate"], summary(done)["invalid"]), (999, 1), "resent")
    check_equal(deaths(node), before, "deaths by a record that is known")
    node.kill("worker")
    done = t.muster("submit", "-", stdin=stream, code=65)
    check_equal((summary(done)["duplicate"], summary(done)["invalid"]), (999, 1), "resent to another worker")
    check_equal(deaths(node), before + 1, "deaths after one from outside")
    check(re.search(r"KILLED_WORKER.*\b12\b", t.muster("quarantine", "list").text()), t.muster("quarantine", "list").text())
    node.stop()
    node = t.node()
    check_equal(number(r"([\d,]+) accepted", t.muster("quarantine", "replay", "--reason", "KILLED_WORKER").text()), 1, "accepted by replay once the cause is mended")
    node.kill("worker")
    check_equal(summary(t.muster("submit", "-", stdin=stream))["duplicate"], 1000, "all there, and known as such")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 1000, "stored")
    node.stop()


def many_poisons_do_not_end_the_node(t):
    """more poison records than a crash loop has deaths: each is found, the rest commits, the node goes on"""
    node = t.node("--workers", "1", variant="faults", env={"MUSTER_FAULT": POISON})
    records = [record(t.random) for _ in range(3000)]
    poison = t.random.sample(range(3000), 12)
    for i in poison:
        records[i] = record(t.random, station="POISON-STATION")
    oracle = Oracle(t, [records[i] for i in poison])
    done = t.muster("submit", "-", "--verdicts", t.path("v.tsv"), "--timeout", "120", stdin=wire.stream_of(records), code=65, timeout=300)
    check_equal(summary(done)["invalid"], 12, "invalid")
    check(deaths(node) > 100, f"only {deaths(node)} deaths: this shows nothing")
    oracle.heard(records, t.path("v.tsv"))
    conserved(t)
    check_equal(oracle.examine(), 2988, "stored")
    node.stop()


def bystanders_of_another_ingest(t):
    """poison at one ingest never accuses honest records of another that are on their way to the same worker"""
    node = t.node("--ingest", "2", "--workers", "1", "-s", "node.frozen_ms=600000", variant="faults", env={"MUSTER_FAULT": POISON})
    honest, poisonous = node.endpoints("ipc")
    clients = [wire.Client(honest) for _ in range(6)]
    others = [wire.Client(poisonous) for _ in range(4)]
    oracle, verdicts = Oracle(t), []
    with slow_workers(node):
        for _ in range(4):
            good, bad = {c: record(t.random) for c in clients}, {c: record(t.random, station="POISON-STATION") for c in others}
            for c, r in (bad | good).items():
                c.send([r])
            verdicts += [(good[c], word_of(c, good[c])) for c in clients]
            for c in others:
                word = word_of(c, bad[c])
                check_equal((word.verdict, word.reason), (INVALID, wire.wire.REASON_KILLED_WORKER), "the poison")
    blamed = [w for _, w in verdicts if w.verdict not in (ACCEPTED, wire.DUPLICATE)]
    check_equal(blamed, [], "what was told of honest records")
    for r, w in verdicts:
        oracle.submitted[r] = 1
        oracle.told(r, "ACCEPTED" if w.verdict == ACCEPTED else "DUPLICATE", f"{w.shard}:{w.sequence}")
    conserved(t)
    oracle.poison.add(b"")  # some were sent; none of ours may be among those set aside
    check_equal(oracle.examine(), len(verdicts), "stored")
    node.stop()


main("quarantine", [listed_without_payload, damaged_entries_are_passed_over, replay_after_the_cause_is_mended, quota_is_bounded, list_is_in_order, replay_gives_room_again, drop_what_was_judged,
                    resent_is_found_stored, a_request_that_cannot_be_read, killed_while_dropping, poison_is_isolated, poison_resent_costs_no_death, many_poisons_do_not_end_the_node,
                    bystanders_of_another_ingest])
