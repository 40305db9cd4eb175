#!/usr/bin/python3
"""`make bench`: how many durable records a second, beside what the machine could do at best in the same minute. Prints a table, writes build/bench/throughput.json.

Every record counted has its verdict, and every verdict was sent after a synchronous LMDB commit that contains the record. The limit is two processes that append blocks
of a thousand records of the same size to an LMDB of their own, with a synchronous commit each, and do nothing else (bench/tools/limit.c). Rounds of limit and pipeline
alternate, and their order changes from round to round; a ratio is taken within its round, and the median of the rounds' ratios is told. Each round starts on a fresh
store and ends with `muster verify`; a round that lost a record ends the run without figures. 2 % of the records are resubmissions, ids are UUIDv7."""
import json
import os
import re
import subprocess
import time

import harness
from harness import RECORD_BYTES, WORK, Node, middle, output, spread

RECORDS = int(os.environ.get("RECORDS", "2000000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS", "60"))  # of the load at half of the rate

BARS = {"ipc_w16_ratio": (">=", 0.45), "curve_w16_ratio": (">=", 0.35), "curve_encode_ratio": (">=", 0.28), "half_load_p50_fsyncs": ("<=", 15),
        "half_load_p99_fsyncs": ("<=", 100), "idle_ack_p50_ms": ("<=", 0.6), "batch50_ratio": (">=", 0.5), "worst_stall_ms": ("<=", 250)}

CLOSED = ("--window", 16, "--batch", 1000, "--duplicates", 2)
KINDS = {
    "limit": None,
    "ipc_w16": {"load": CLOSED},
    "curve_w16": {"curve": True, "load": CLOSED},
    "curve_encode": {"curve": True, "load": (*CLOSED, "--encode")},
    "batch50": {"load": ("--window", 320, "--batch", 50, "--duplicates", 2)},  # the same 16,000 records in flight
}


def limit(writers=2):
    blocks = RECORDS // writers // 1000
    return json.loads(output(os.path.join(harness.TOOLS, "limit"), WORK, writers, blocks, 1000, RECORD_BYTES))["records_per_s"]


def spent(before, after, records):
    """CPU nanoseconds a record, by process."""
    return {name: {"cpu_ns": (after[name]["cpu_s"] - before[name]["cpu_s"]) * 1e9 / records} for name in after if name in before}


def round_of(kind, workers=2, records=RECORDS, seed=1):
    node = Node(workers=workers, curve=kind.get("curve", False))
    before, device_before = node.usage(), harness.device_written()
    result = node.bench(*kind["load"], "--records", records, "--seed", seed)
    after, device_after = node.usage(), harness.device_written()
    node.stop(result["counts"]["accepted"])
    costs = spent(before, after, records)
    costs["generator"] = {"cpu_ns": result["generator_cpu_s"] * 1e9 / records}
    return {"records_per_s": result["records_per_s"], "p50_ms": result["latency"]["p50_ms"], "p99_ms": result["latency"]["p99_ms"], "p999_ms": result["latency"]["p999_ms"],
            "costs": costs, "device_bytes": None if device_before is None else (device_after - device_before) / records}


def alternating_rounds():
    rounds = []
    for i in range(ROUNDS):
        order = list(KINDS) if i % 2 == 0 else list(reversed(KINDS))
        one = {"fdatasync_1mib_ms": harness.fdatasync_ms(1 << 20)}
        for name in order:
            one[name] = {"records_per_s": limit()} if name == "limit" else round_of(KINDS[name], seed=i + 1)
        rounds.append(one)
        print(f"round {i + 1}: fdatasync of 1 MiB {one['fdatasync_1mib_ms']:.3f} ms  " + "  ".join(f"{name} {one[name]['records_per_s']:,.0f}/s" for name in KINDS), flush=True)
    return rounds


def half_load(rate, seconds):
    """Open loop at half of the measured rate: latency from the moment a record was due."""
    node = Node()
    before = node.usage()
    result = node.bench("--rate", int(rate / 2), "--seconds", seconds, "--batch", 1000, "--duplicates", 2)
    after = node.usage()
    workers = node.workers()
    accepted = result["counts"]["accepted"]
    node.stop(accepted)
    return result, spent(before, after, accepted), workers


def syscalls(records=200000):
    """System calls a record, by process, counted by strace in a round of its own. strace slows the node, so its commits are larger and its calls fewer than they are without. None
    where strace is not allowed."""
    node = Node()
    counts, tracers = {}, {}
    for name, pid in node.children().items():
        path = os.path.join(WORK, f"strace-{name}")
        tracers[name] = (path, subprocess.Popen(["strace", "-f", "-c", "-o", path, "-p", str(pid)], stderr=subprocess.DEVNULL))
    time.sleep(0.5)
    result = node.bench(*CLOSED, "--records", records)
    for name, (path, tracer) in tracers.items():
        tracer.terminate()
        tracer.wait()
        total = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+).*total$", open(path).read(), re.M) if os.path.exists(path) else None
        counts[name] = int(total.group(1)) / records if total else None
        if os.path.exists(path):
            os.unlink(path)
    node.stop(result["counts"]["accepted"])
    return counts


def costs_of(rounds, kind):
    names = rounds[0][kind]["costs"]
    return {name: {what: middle([r[kind]["costs"][name][what] for r in rounds]) for what in names[name]} for name in names}


def main():
    harness.require_disk((RECORDS * 2 + SECONDS * 1100000) * 340)
    facts = harness.machine()
    harness.print_machine(facts)
    print(f"{RECORDS:,} records of {RECORD_BYTES} bytes a round, 2 % sent again, UUIDv7; two workers; batches of 1,000, window 16; fsync before every ack", flush=True)
    harness.warm_memory()
    print()
    rounds = alternating_rounds()
    summary = {}
    for name in ("ipc_w16", "curve_w16", "curve_encode"):
        summary[name + "_ratio"] = middle([r[name]["records_per_s"] / r["limit"]["records_per_s"] for r in rounds])
    rate = middle([r["ipc_w16"]["records_per_s"] for r in rounds])
    by_workers = {workers: middle([round_of(KINDS["ipc_w16"], workers=workers, seed=50 + i)["records_per_s"] for i in range(3)]) for workers in (1, 2, 4)}
    print("workers: " + ", ".join(f"{workers}: {value:,.0f}/s" for workers, value in by_workers.items()), flush=True)
    print(f"open loop at {rate / 2:,.0f} records/s for {SECONDS} s", flush=True)
    half, half_costs, workers = half_load(rate, SECONDS)
    commits = sum(w["commits"] for w in workers)
    block_bytes = sum(w["commit_records"] for w in workers) / commits * RECORD_BYTES
    sync_ms = harness.fdatasync_ms(block_bytes, 200)
    summary["half_load_p50_fsyncs"] = half["latency"]["p50_ms"] / sync_ms
    summary["half_load_p99_fsyncs"] = half["latency"]["p99_ms"] / sync_ms
    node = Node()
    idle = node.bench("--window", 1, "--batch", 1, "--records", 3000)
    node.stop(idle["counts"]["accepted"])
    summary["idle_ack_p50_ms"] = idle["latency"]["p50_ms"]
    summary["batch50_ratio"] = middle([r["batch50"]["records_per_s"] / r["ipc_w16"]["records_per_s"] for r in rounds])
    summary["worst_stall_ms"] = half["worst_stall_ms"]
    calls = syscalls()

    print(f"\n{'median of ' + str(ROUNDS):<14} {'records/s':>12} {'spread':>24} {'of limit':>9}  p50 / p99 / p99.9 of the window, ms")
    for name in KINDS:
        values = [r[name]["records_per_s"] for r in rounds]
        ratio = middle([r[name]["records_per_s"] / r["limit"]["records_per_s"] for r in rounds])
        latencies = "" if name == "limit" else " / ".join(f"{middle([r[name][p] for r in rounds]):.1f}" for p in ("p50_ms", "p99_ms", "p999_ms"))
        print(f"{name:<14} {middle(values):>12,.0f} {spread(values):>24} {ratio:>9.2f}  {latencies}")
    print(f"half load: p50 {half['latency']['p50_ms']:.2f}, p99 {half['latency']['p99_ms']:.2f}, p99.9 {half['latency']['p999_ms']:.2f} ms from the moment due; "
          f"a block of {block_bytes / 1024:,.0f} KiB syncs in {sync_ms:.3f} ms; the generator was late by {half['offered_late']['p99_ms']:.2f} ms at p99")
    print(f"in its {SECONDS} s the worst stall was {half['worst_stall_ms']:.1f} ms; tables of the index grew {sum(w['index_growths'] for w in workers):,} times; "
          f"a worker's CPU a record {sum(c['cpu_ns'] for n, c in half_costs.items() if n.startswith('worker')):,.0f} ns")
    ipc, curve = costs_of(rounds, "ipc_w16"), costs_of(rounds, "curve_w16")
    print(f"{'a record costs':<14} {'CPU ns, ipc':>12} {'CPU ns, CURVE':>14} {'syscalls':>9}  (those under strace, which makes them fewer)")
    for name in ipc:
        call = calls.get(name)
        print(f"{name:<14} {ipc[name]['cpu_ns']:>12,.0f} {curve[name]['cpu_ns']:>14,.0f} {'-' if call is None else format(call, '.4f'):>9}")
    device = [r["ipc_w16"]["device_bytes"] for r in rounds]
    if None not in device:
        print(f"bytes written to the device: {middle(device):,.0f} a record of {RECORD_BYTES}")
    curve_ns = sum(c["cpu_ns"] for c in curve.values()) - sum(c["cpu_ns"] for c in ipc.values())
    print(f"CURVE costs {curve_ns:,.0f} ns of CPU a record, both ends together")

    result = {"machine": facts, "settings": {"records": RECORDS, "rounds": ROUNDS, "record_bytes": RECORD_BYTES, "batch": 1000, "window": 16, "workers": 2, "resubmitted_percent": 2, "ids": "v7",
                                             "ack": "after a synchronous LMDB commit", "seconds_half_load": SECONDS},
              "summary": summary, "rounds": rounds, "workers": by_workers, "half_load": half, "half_load_costs": half_costs, "idle": idle["latency"],
              "fdatasync_ms": {"bytes": block_bytes, "median": sync_ms, "of_1_mib": middle([r["fdatasync_1mib_ms"] for r in rounds])},
              "costs": {"ipc": ipc, "curve": curve, "curve_extra_cpu_ns": curve_ns}, "syscalls_per_record": calls}
    harness.conclude("throughput", result, BARS)


if __name__ == "__main__":
    main()
