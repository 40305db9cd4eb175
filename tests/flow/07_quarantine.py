#!/usr/bin/python3
"""Refused records: kept, listed without their content, replayed once the cause is mended; and the record that kills a worker."""
import re

import wire
from harness import check, check_equal, main, number, summary, wait_until
from oracle import conserved
from wire import ACCEPTED, INVALID, record


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


def replay_after_the_cause_is_mended(t):
    """a record too far in the future is accepted by replay once the rule allows it"""
    node = t.node()
    import time
    ahead = record(t.random, encounter_time=int((time.time() + 3600) * 1e6))
    t.muster("submit", "-", stdin=wire.stream_of([ahead]), code=65)
    check("TIME_IN_FUTURE" in t.muster("quarantine", "list").text(), "listed")
    node.stop()
    node = t.node("-s", "rules.future_skew_s=7200")
    replayed = t.muster("quarantine", "replay").text()
    check_equal(number(r"([\d,]+) accepted", replayed), 1, "accepted by replay")
    check_equal(number(r"([\d,]+) duplicate", t.muster("quarantine", "replay", code=None).text()), 1, "replay again is harmless")
    node.stop()


def quota_is_bounded(t):
    """a submitter's quota bounds what is kept; past it is counted"""
    node = t.node("--workers", "1", "-s", "store.quarantine_records=10")
    t.muster("submit", "-", stdin=wire.stream_of([record(t.random, citizenship="ZZZ") for _ in range(25)]), code=65)
    status = t.status()
    worker = [p for p in status["processes"] if p["role"] == "worker-0"][0]["counters"]
    wait_until(lambda: [p for p in t.status()["processes"] if p["role"] == "worker-0"][0]["counters"]["quarantine_overflow"] == 15, 5, "the overflow to be counted")
    check_equal(worker["records_invalid"], 25, "invalid")
    node.stop()


def poison_is_isolated(t):
    """a record that kills its worker is found by halving, quarantined, answered INVALID; the rest commits"""
    node = t.node(variant="faults", env={"MUSTER_FAULT": "worker.before-decode=POISON-STATION:kill:always"})
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


main("quarantine", [listed_without_payload, replay_after_the_cause_is_mended, quota_is_bounded, poison_is_isolated])
