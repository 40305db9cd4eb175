#!/usr/bin/python3
"""The wall clock jumps by hours both ways, stands still, or goes back and forth: nothing depends on it but stamps, and the rule that no encounter
lies in the future. Node and commands run under a shim that moves it. FORM=full: sixty jumps, in about 3 minutes."""
import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
from harness import check, check_equal, delimited, feed, finished, summary, wait_until  # noqa: E402
from oracle import Oracle, conserved  # noqa: E402
from scenarios import FULL, Clock, counted, main  # noqa: E402

HOUR_US = 3600 * 10**6
JUMPS = [5 * HOUR_US, -5 * HOUR_US, 26 * HOUR_US, -9 * HOUR_US, 0, 400 * 24 * HOUR_US]


def young(t):
    """What status says of how long the node is up is no matter of the wall clock."""
    check(t.status()["uptime_s"] < 600, f"up for {t.status()['uptime_s']} s")
    text = t.muster("status").text()
    check(not re.search(r"up (?!00:)\d", text) and not re.search(r"serving +(?!00:)\d+[ :]", text), text)


def jumps_under_load(t):
    """jumps of hours while a stream runs and workers die: every record answered, none INVALID, none late"""
    clock = Clock(t)
    node = t.node("--workers", "2")
    oracle = Oracle(t)
    for i, us in enumerate(JUMPS * (10 if FULL else 1)):
        counted()
        stream = t.generate(20000, i + 1)
        verdicts = t.path(f"v{i}.tsv")
        submit = t.popen("submit", "--batch", "250", "--timeout", "30", "--verdicts", verdicts, "-", stdin=subprocess.PIPE, stdout=-1, stderr=-1)
        feeding = feed(submit, stream, 1)
        time.sleep(0.3)
        clock.jump(us)
        node.kill("worker", i % 2)
        time.sleep(0.3)
        clock.jump(-us)
        young(t)
        feeding.join()
        done = finished(submit, 60)
        check_equal(done.code, 0, f"jump of {us // HOUR_US} h: {done.error()}")
        check_equal(summary(done)["accepted"] + summary(done)["duplicate"], 20000, f"jump of {us // HOUR_US} h")
        oracle.heard(delimited(stream), verdicts)
    conserved(t)
    oracle.examine()
    clock.jump(-30 * HOUR_US)
    check(node.stop() < 10, "stop")


def it_stands_still(t):
    """a clock that stands still from the first start on: start, submit, retry, refuse, drop, revoke, stop and start again"""
    counted()
    clock = Clock(t)
    clock.stop()
    node = t.node("--workers", "2")
    oracle, stream, verdicts = Oracle(t), t.generate(10000, 5), t.path("v.tsv")
    submit = t.popen("submit", "--batch", "100", "--verdicts", verdicts, "-", stdin=subprocess.PIPE, stdout=-1, stderr=-1)
    feed(submit, stream, 1)
    time.sleep(0.4)
    node.kill("worker", 1)
    check_equal(finished(submit, 60).code, 0, "submit")
    oracle.heard(delimited(stream), verdicts)
    refused = t.generate(50, 6, "--invalid", "40")
    t.muster("submit", "-", stdin=refused, code=None)
    oracle.submitted.update({r: 1 for r in delimited(refused)})
    oracle.unanswered = 1  # the verdicts on those are not told to the oracle
    check(sum(s["quarantined"] for s in t.status()["shards"]) > 0, "nothing was refused")
    t.muster("quarantine", "drop", "--submitter", "local")
    check_equal(sum(s["quarantined"] for s in t.status()["shards"]), 0, "refused records after the drop")
    conserved(t)
    oracle.examine()
    young(t)
    check(node.stop() < 10, "stop")
    node = t.node()
    oracle.examine()
    node.stop()


def time_outs(t):
    """time-outs neither come early nor stay away when the clock jumps while a worker is silent"""
    clock = Clock(t)
    node = t.node("--workers", "1", "-s", "ingest.shard_timeout_ms=1000")
    usual = None
    for us in (0, 10 * HOUR_US, -10 * HOUR_US):
        counted()
        worker = node.pids("worker")[0]
        os.kill(worker, 19)
        start = time.monotonic()
        jump = threading.Timer(0.5, clock.jump, [us])
        jump.start()
        done = t.muster("submit", "-", "--timeout", "1", stdin=t.generate(10, 1 + abs(us) % 7 + (us > 0)), code=None)
        took = time.monotonic() - start
        os.kill(worker, 18)
        check(done.code in (69, 75), f"exit {done.code}: {done.error()}")
        usual = usual or took
        check(abs(took - usual) < 3, f"a time-out took {took:.1f} s, and {usual:.1f} s when the clock did not jump")
        if not us and not FULL:
            continue
        submit = t.popen("submit", "-", "--timeout", "30", stdin=subprocess.PIPE, stdout=-1, stderr=-1)
        os.kill(worker, 19)
        feed(submit, t.generate(2000, 77), 0)
        time.sleep(0.5)
        clock.jump(-us)
        time.sleep(0.5)
        check(submit.poll() is None, "submit gave up when the clock jumped")
        os.kill(worker, 18)
        check_equal(finished(submit, 60).code, 0, "submit after the silence")
    wait_until(lambda: not t.status()["processes"][0]["counters"]["records_in_flight"], 10, "nothing to be in flight")
    conserved(t)
    node.stop()
    t.muster("verify")


main("clock", [jumps_under_load, it_stands_still, time_outs])
