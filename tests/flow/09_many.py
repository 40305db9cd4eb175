#!/usr/bin/python3
"""Many at once: twelve clients, shuffled and re-encoded resends, two ingests with clients moving between them, growth while submitting."""
import os
import signal
import time

import wire
from harness import check, check_equal, delimited, feed, finished, main, number, summary, wait_until
from oracle import Oracle, conserved


def reorder(record):
    """The same content with its fields in another order: an unknown encoder's choice."""
    message = wire.encounter.Encounter.FromString(record)
    parts = []
    for field, _ in message.ListFields():
        one = wire.encounter.Encounter()
        setattr(one, field.name, getattr(message, field.name))
        parts.append(one.SerializeToString())
    return b"".join(reversed(parts))


def twelve_clients(t):
    """twelve clients at once with the same records, shuffled and re-encoded: one copy each, the same store"""
    node = t.node()
    records = delimited(t.generate(6000))
    clients = []
    for i in range(12):
        mine = [reorder(r) if i % 3 == 2 else r for r in records]
        t.random.shuffle(mine)
        clients.append(t.popen("submit", t.write(f"c{i}.pb", wire.stream_of(mine)), "--batch", "100", stdout=-1, stderr=-1))
    accepted = duplicate = 0
    for c in clients:
        out, error = c.communicate(timeout=120)
        check_equal(c.returncode, 0, error.decode())
        accepted += number(r"([\d,]+) accepted", out.decode())
        duplicate += number(r"([\d,]+) duplicate", out.decode())
    check_equal((accepted, duplicate), (6000, 66000), "accepted and duplicate of all clients")
    conserved(t)
    table = t.muster("tally", "--format", "csv").text()
    stored = {wire.encounter.Encounter.FromString(r).SerializeToString(deterministic=True) for r in delimited(t.muster("export", "--format", "pb").out)}
    check_equal(stored, set(records), "content of the store")
    node.stop()
    t.data = t.path("alone")
    t.env["MUSTER_DATA"] = t.data
    alone = t.node()
    t.muster("submit", "-", stdin=wire.stream_of(records))
    check_equal(t.muster("tally", "--format", "csv").text(), table, "tally of a node that got them once, in order")
    alone.stop()


def two_ingests(t):
    """two ingests, clients moving between them while one is killed again and again"""
    node = t.node("--ingest", "2")
    endpoints = node.endpoints("ipc")
    check_equal(len(endpoints), 2, node.ready_line)
    oracle = Oracle(t)
    streams = [t.generate(60000, 100 + i) for i in range(3)]
    clients = []
    for i, stream in enumerate(streams):
        order = endpoints if i % 2 == 0 else endpoints[::-1]
        clients.append(t.popen("submit", t.write(f"c{i}.pb", stream), "--endpoint", " ".join(order), "--verdicts", t.path(f"v{i}.tsv"), stdout=-1, stderr=-1))
    for _ in range(4):
        time.sleep(0.15)
        node.kill("ingest", t.random.randrange(2))
    for i, c in enumerate(clients):
        _, error = c.communicate(timeout=120)
        check_equal(c.returncode, 0, error.decode())
        oracle.heard(delimited(streams[i]), t.path(f"v{i}.tsv"))
    conserved(t)
    oracle.examine()
    node.stop()


def identity_under_load(t):
    """the counters conserve at every look while records stream in"""
    node = t.node()
    submit = t.popen("submit", "-", stdin=-1, stdout=-1, stderr=-1)
    feed(submit, t.generate(400000), 4)
    looks = busy = 0
    while submit.poll() is None:
        held = node.pids("worker").get(0) if looks % 2 == 0 else None
        if held:  # a worker that stands still for a look keeps records in flight
            os.kill(held, signal.SIGSTOP)
        try:
            status = conserved(t)
        finally:
            if held:
                os.kill(held, signal.SIGCONT)
        looks += 1
        busy += status["records_in_flight"] > 0
    finished(submit)
    check(looks >= 1 and busy >= 1, f"{looks} looks, {busy} of them with records in flight")
    status = conserved(t)
    check_equal((status["records_accepted"], status["records_in_flight"]), (400000, 0), "at rest")
    node.stop()


def index_grows_while_submitting(t):
    """the index grows through several sizes under load and forgets nobody"""
    node = t.node()
    path = t.write("s.pb", t.generate(1500000, 11))
    check_equal(summary(t.muster("submit", path))["accepted"], 1500000, "first")
    growths = sum(p["counters"]["index_growths"] for p in t.status()["processes"])
    check(growths > 0, "the index never grew")
    check_equal(summary(t.muster("submit", path))["duplicate"], 1500000, "second")
    node.stop()
    start = time.monotonic()
    node = t.node()
    check("1,500,000 records" in node.ready_line, node.ready_line)
    node.kill_all()
    node = t.node()
    head = delimited(open(path, "rb").read(300000))[:1000]
    check_equal(summary(t.muster("submit", "-", stdin=wire.stream_of(head)))["duplicate"], 1000, "after a rebuild")
    node.stop()


main("many", [twelve_clients, two_ingests, identity_under_load, index_grows_while_submitting])
