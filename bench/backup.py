#!/usr/bin/python3
"""`make bench-backup`: what a backup that runs beside a node costs the node. One node is filled, then loads of the same size alternate, without and with a `muster backup`
of everything into a fresh directory running from before the load's first record to behind its last (begun anew where one ends earlier). The ratio of a round's two rates is
taken within the round, their order changes from round to round, and the median is told. The node is verified at the end, and the last backup is checked and counted."""
import os
import re
import shutil
import signal
import statistics
import subprocess
import threading
import time

import harness
from harness import MUSTER, WORK, Node, middle, number, output, spread

FILL = int(os.environ.get("FILL", "4000000"))
RECORDS = int(os.environ.get("RECORDS", "2000000"))  # of each load
ROUNDS = int(os.environ.get("ROUNDS", "4"))
CLOSED = ("--window", 16, "--batch", 1000)
BARS = {"rate_beside_backup": (">=", 0.9), "backup_processors": ("<=", 0.1)}


class Backups:
    """Backups one after the other, until it is left."""

    def __init__(self, node):
        self.node, self.leaving, self.begun, self.bytes, self.cpu_s = node, False, 0, 0, 0.0

    def one(self):
        path = os.path.join(WORK, "backup")
        shutil.rmtree(path, ignore_errors=True)
        self.begun += 1
        self.process = subprocess.Popen([MUSTER, "backup", path, "--data", self.node.data], stdout=subprocess.DEVNULL)
        used = os.wait4(self.process.pid, 0)[2]
        self.cpu_s += used.ru_utime + used.ru_stime
        self.bytes += sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)

    def run(self):
        while not self.leaving:
            self.one()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.leaving = True
        os.kill(self.process.pid, signal.SIGKILL)
        self.thread.join()


def main():
    os.makedirs(WORK, exist_ok=True)
    harness.require_disk((FILL + 2 * ROUNDS * RECORDS) * 350 * 2)
    node = Node()
    accepted = node.bench(*CLOSED, "--records", FILL, "--seed", 1)["counts"]["accepted"]
    rounds, seed = [], 2
    for i in range(ROUNDS):
        one = {}
        for kind in ("alone", "beside") if i % 2 == 0 else ("beside", "alone"):
            if kind == "beside":
                begun = time.monotonic()
                with Backups(node) as backups:
                    result = node.bench(*CLOSED, "--records", RECORDS, "--seed", seed)
                one["backups"], one["backup_bytes"] = backups.begun, backups.bytes
                one["backup_cpu"] = backups.cpu_s / (time.monotonic() - begun)
            else:
                result = node.bench(*CLOSED, "--records", RECORDS, "--seed", seed)
            one[kind] = {"records_per_s": result["records_per_s"], "p50_ms": result["latency"]["p50_ms"], "p99_ms": result["latency"]["p99_ms"]}
            accepted += result["counts"]["accepted"]
            seed += 1
        one["ratio"] = one["beside"]["records_per_s"] / one["alone"]["records_per_s"]
        rounds.append(one)
        print(f"round {i + 1}: alone {one['alone']['records_per_s']:,.0f} records/s, p99 {one['alone']['p99_ms']:.1f} ms; beside a backup {one['beside']['records_per_s']:,.0f}, "
              f"p99 {one['beside']['p99_ms']:.1f} ms, {one['backup_bytes'] / 1e6:,.0f} MB written and {one['backup_cpu']:.1%} of a processor taken by it; ratio {one['ratio']:.3f}", flush=True)
    path = os.path.join(WORK, "backup")
    shutil.rmtree(path, ignore_errors=True)
    told = output(MUSTER, "backup", path, "--data", node.data, "--share", 100)
    if number(re.search(r"backed up: ([\d,]+)", told).group(1)) != accepted:
        harness.fail(f"{accepted:,} records were accepted, and the backup says: {told}")
    output(MUSTER, "backup", "--check", path)
    shutil.rmtree(path)
    node.stop(accepted)
    facts = harness.machine()
    harness.print_machine(facts)
    ratios = [one["ratio"] for one in rounds]
    print(f"ratios {spread(ratios)}")
    harness.conclude("backup", {"machine": facts, "rounds": rounds, "summary": {
        "rate_beside_backup": middle(ratios), "backup_processors": middle([one["backup_cpu"] for one in rounds]),
        "alone_records_per_s": statistics.median(one["alone"]["records_per_s"] for one in rounds),
        "beside_records_per_s": statistics.median(one["beside"]["records_per_s"] for one in rounds)}}, BARS)


main()
