#!/usr/bin/python3
"""Durable records a second over ipc: `make bench`. Every answer counted here was sent after a synchronous commit that contains its record.

Each round starts a fresh node, submits a pre-encoded stream (2 % resubmissions, UUIDv7, batches of 1,000, window 16) with `muster submit`, and ends with
`muster verify`; a round that lost a record has no figure. Then one store grows to five million, and the rate on top of it is compared with the rate on an empty
one. The median time of an fdatasync of the same minute stands beside the figures: it bounds them. Writes build/bench/throughput.json."""
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MUSTER = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build", "muster")
WORK = os.path.join(ROOT, "build", "bench")
RECORDS = int(os.environ.get("RECORDS", "1000000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
GROWN = int(os.environ.get("GROWN", "5000000"))


def number(text):
    return int(text.replace(",", ""))


def generate(name, seed, records):
    path = os.path.join(WORK, name)
    with open(path, "wb") as f:
        subprocess.run([MUSTER, "generate", "--profile", "fy2021-southwest", "--records", str(records), "--seed", str(seed), "--duplicates", "2"], stdout=f, check=True)
    return path


class Node:
    def __init__(self, data):
        self.data = data
        self.log = os.path.join(WORK, "node.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([MUSTER, "run", "--data", data, "--workers", "2", "--listen", "none"], stderr=log)
        while b"muster: ready:" not in open(self.log, "rb").read():
            if self.process.poll() is not None:
                sys.exit(f"bench: the node did not start; see {self.log}")
            time.sleep(0.02)

    def submit(self, path):
        done = subprocess.run([MUSTER, "submit", path, "--data", self.data, "--batch", "1000", "--window", "16", "--quiet"], capture_output=True, text=True, check=True)
        match = re.search(r"submitted ([\d,]+): ([\d,]+) accepted, .* in ([\d.,]+) s \(([\d,]+) records/s\)", done.stdout)
        if not match:
            sys.exit(f"bench: cannot read {done.stdout!r}")
        return number(match.group(2)), number(match.group(4))

    def stop(self, expected):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 0:
            sys.exit(f"bench: the node did not stop well; see {self.log}")
        done = subprocess.run([MUSTER, "verify", "--data", self.data], capture_output=True, text=True, check=True)
        stored = number(re.search(r"verified: ([\d,]+) records", done.stdout).group(1))
        if stored != expected:
            sys.exit(f"bench: {expected:,} records were accepted and {stored:,} are stored: no figures")


def fsync_us():
    return int(subprocess.run([os.path.join(WORK, "sync"), WORK, "1048576", "50"], capture_output=True, text=True, check=True).stdout)


def main():
    os.makedirs(WORK, exist_ok=True)
    data = os.path.join(WORK, "data")
    free = shutil.disk_usage(WORK).free
    need = (GROWN + 3 * RECORDS) * 400
    if free < need:
        sys.exit(f"bench: needs {need >> 20:,} MiB of disk under {WORK}, there are {free >> 20:,} MiB")
    stream = generate("stream.pb", 1, RECORDS)
    rates, syncs = [], []
    for round_number in range(1, ROUNDS + 1):
        shutil.rmtree(data, ignore_errors=True)
        syncs.append(fsync_us())
        node = Node(data)
        accepted, rate = node.submit(stream)
        node.stop(accepted)
        rates.append(rate)
        print(f"round {round_number}: {rate:>9,} durable records/s   fdatasync of 1 MiB {syncs[-1]:,} us", flush=True)
    shutil.rmtree(data, ignore_errors=True)
    node, stored = Node(data), 0
    seed, grown = 100, []
    while stored < GROWN + RECORDS:
        path = generate("grow.pb", seed, RECORDS)
        accepted, rate = node.submit(path)
        grown.append((stored, rate))
        print(f"on top of {stored:>9,} stored: {rate:>9,} records/s", flush=True)
        stored += accepted
        seed += 1
    node.stop(stored)
    shutil.rmtree(data, ignore_errors=True)
    for name in ("stream.pb", "grow.pb"):
        os.unlink(os.path.join(WORK, name))
    # The rate at five million is that of the last round; the first rounds of the same store are what it is compared with, all of one run.
    early = statistics.median(rate for at, rate in grown[:3])
    late = statistics.median(rate for at, rate in grown[-2:])
    result = {"host": {"kernel": platform.release(), "cores": os.cpu_count(), "machine": platform.machine()},
              "settings": {"records": RECORDS, "batch": 1000, "window": 16, "workers": 2, "transport": "ipc", "resubmitted_percent": 2},
              "rates": rates, "median_records_per_s": statistics.median(rates), "fdatasync_1mib_us": statistics.median(syncs),
              "growth": grown, "rate_grown_over_early": late / early}
    with open(os.path.join(WORK, "throughput.json"), "w") as f:
        json.dump(result, f, indent=2)
    print(f"median of {ROUNDS}: {result['median_records_per_s']:,.0f} durable records/s (lowest {min(rates):,}, highest {max(rates):,}), "
          f"fdatasync of 1 MiB {result['fdatasync_1mib_us']:,.0f} us")
    print(f"at {GROWN:,} stored: {late / early:.2f} of the rate on the young store")


main()
