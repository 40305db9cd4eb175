#!/usr/bin/python3
"""`muster bench` and the benchmarks' scripts in short form: what they say is what happened, and a node that stands still is seen."""
import json
import os
import signal
import subprocess
import threading
import time

from harness import ROOT, SLOW, Skipped, check, check_equal, main, number


def bench(t, *arguments, code=0):
    return json.loads(t.muster("bench", *arguments, "--json", "-", code=code).out)


def closed_counts(t):
    """a closed loop counts what the store has"""
    node = t.node()
    result = bench(t, "--window", 8, "--records", 150000, "--duplicates", 3, "--sample", 50000)
    counts = result["counts"]
    check_equal(counts["submitted"], 150000, "submitted")
    check_equal(counts["accepted"] + counts["duplicate"], 150000, "accepted and duplicate")
    check(1500 < counts["duplicate"] < 3500, f"3 % of the 84,464 records behind the first lap are sent again, not {counts['duplicate']}")
    check_equal(result["latency"]["count"], 150000, "records with a latency")
    check_equal(sum(n for _, n in result["latency"]["buckets_ns"]), 150000, "records in the histogram's buckets")
    check_equal([s["records"] for s in result["samples"]][-1], 150000, "records of the last sample")
    check_equal(len(result["samples"]), 3, "samples")
    check_equal(t.status()["records_accepted"], counts["accepted"], "accepted, as the node counts")
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), counts["accepted"], "records verified")


def words_and_mistakes(t):
    """the words name what was measured, and mistakes are usage errors"""
    node = t.node()
    text = t.muster("bench", "--window", 4, "--records", 5000).text()
    check("closed loop, 4 batches of 1000 in flight: 5,000 records" in text and "5,000 accepted, 0 duplicate" in text, text)
    text = t.muster("bench", "--rate", 20000, "--records", 5000, "--seed", 2).text()
    check("open loop, 20,000 records/s due: 5,000 records" in text and "from the moment a record was due" in text, text)
    again = t.muster("bench", "--window", 4, "--records", 5000, code=65)
    check("take a fresh store or another --seed" in again.error(), again.error())
    node.stop()
    for wrong in ((), ("--window", 4, "--rate", 5), ("--window", 0), ("--rate", 5, "--profile", "x"), ("--window", 4, "--seconds", 3), ("--rate", "5", "more")):
        t.muster("bench", *wrong, code=64)


def standstill_is_seen(t):
    """an open loop counts the wait from the moment a record was due, whatever the node does"""
    node = t.node()
    rate, pause = 20000, 0.8
    workers = list(node.pids("worker").values())

    def stand_still():
        time.sleep(0.7 * SLOW)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(pause)
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    thread = threading.Thread(target=stand_still)
    thread.start()
    result = bench(t, "--rate", rate, "--records", int(rate * 3 * SLOW), "--batch", 100)
    thread.join()
    waited = sum(n for high, n in result["latency"]["buckets_ns"] if high >= pause * 1e9 / 2)
    check(result["latency"]["max_ms"] >= pause * 900, f"somebody waited for nearly the whole pause, not {result['latency']['max_ms']} ms at most")
    check(waited >= rate * pause / 2 * 0.8, f"of {rate * pause:.0f} records due in the pause half waited for half of it, and not {waited} records")
    check(result["worst_stall_ms"] >= pause * 900, f"the stall is told: {result['worst_stall_ms']} ms")
    check_equal(result["counts"]["accepted"], int(rate * 3 * SLOW), "accepted")
    node.stop()


def worker_dies_under_it(t):
    """workers that die under a load are no fault of the store: bench goes on, says what that was, and ends well; one that stays away ends it with 75"""
    once = t.path("once")
    os.mkdir(once)
    node = t.node("--workers", "2", variant="faults", env={"MUSTER_FAULT": "worker.after-commit:kill:20", "MUSTER_FAULT_ONCE_DIR": once})
    done = t.muster("bench", "--window", 4, "--records", 30000, "--batch", 100, "--json", "-")
    counts = json.loads(done.out)["counts"]
    check_equal(os.listdir(once), ["worker.after-commit"], "a worker died between its commit and its answer")
    check(counts["answers_lost"] > 0 and f"{counts['answers_lost']} records were told DUPLICATE of their own first sending" in done.error(), f"{counts} {done.error()}")
    check_equal(counts["accepted"] + counts["answers_lost"], 30000, "verdicts")
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 30000, "stored once")
    os.rename(os.path.join(t.data, "store", "shard-1", "data.mdb"), t.path("aside"))
    t.node()
    done = t.muster("bench", "--window", "4", "--records", "20000", "--seed", "9", "--timeout", "1", code=75, timeout=30)
    check("BUSY_SHARD_DOWN" in done.error() and "have no verdict" in done.error(), done.error())


def nobody_is_there(t):
    """no node: a sentence, and 69"""
    done = t.muster("bench", "--window", 4, "--endpoint", f"ipc://{t.path('none')}", "--timeout", 1, code=None, timeout=60)
    check_equal(done.code, 69, f"exit code ({done.error()})")
    check("nothing was sent" in done.error(), done.error())


def script(t, name, **settings):
    """A benchmark's script in short form: it comes to its end, and its JSON has every figure of the table. The figures of a short run are not judged: exit 1 says that a bar was missed."""
    if os.environ.get("MUSTER_VARIANT", "release") != "release":
        raise Skipped("figures are of the release build")
    done = subprocess.run([os.path.join(ROOT, "bench", f"{name}.py")], env={**os.environ, **settings, "MUSTER_BENCH_WORK": t.path("bench")}, capture_output=True, text=True, timeout=240)
    check(done.returncode in (0, 1) and "Traceback" not in done.stderr, f"{name}.py: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    with open(os.path.join(t.path("bench"), f"{name}.json")) as f:
        result = json.load(f)
    missed = []
    for figure, bar in result["bars"].items():
        value, (sign, bound) = result["summary"].get(figure), bar.split()
        check(isinstance(value, (int, float)), f"{name}.json has no {figure}")
        check(figure in done.stdout, f"the table of {name} has no {figure}")
        if value < float(bound) if sign == ">=" else value > float(bound):
            missed.append(figure)
    check_equal(done.returncode, 1 if missed else 0, f"exit code of {name}.py, bars missed: {missed}")
    check_equal(done.stdout.count("NOT MET"), len(missed), "bars told to be missed")
    check(not [path for path, _, names in os.walk(t.path("bench")) if "data.mdb" in names], f"{name}.py leaves a store behind")


def throughput_script(t):
    """make bench, in short form"""
    script(t, "throughput", WARM="no", RECORDS="100000", ROUNDS="1", SECONDS="2")


def peers_script(t):
    """make bench-peers, in short form, with the one peer that needs no server"""
    if os.environ.get("MUSTER_VARIANT", "release") != "release":
        raise Skipped("figures are of the release build")
    settings = {"WARM": "no", "PEERS": "lmdb", "RECORDS_SMALL": "2000", "ROUNDS": "1", "PEERS_DIR": "/var/tmp", "MUSTER_BENCH_WORK": t.path("bench")}
    done = subprocess.run([os.path.join(ROOT, "bench", "peers.py")], env={**os.environ, **settings}, capture_output=True, text=True, timeout=240)
    check_equal(done.returncode, 0, f"exit of peers.py\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    with open(t.path("bench/peers.json")) as f:
        result = json.load(f)
    check(result["summary"]["lmdb_ratio"] > 0, "a figure for LMDB")
    check(result["summary"]["postgresql_ratio"] is None, "what was not asked for has no figure")
    check_equal(sum(row["absent"] == "not asked for" for row in result["rows"]), sum(row["peer"] not in ("muster", "lmdb") for row in result["rows"]), "rows that say why they are empty")


def growth_script(t):
    """make bench-growth, in short form"""
    script(t, "growth", WARM="no", RECORDS="500000", PAIRS="1")


main("bench", [closed_counts, words_and_mistakes, standstill_is_seen, worker_dies_under_it, nobody_is_there, throughput_script, growth_script, peers_script])
