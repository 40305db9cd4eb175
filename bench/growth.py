#!/usr/bin/python3
"""`make bench-growth`: does it stay as fast and as small when the store grows? One store to fifty million records, then its restarts; two kinds of ids to ten million.
Prints a table, writes build/bench/growth.json and the plot build/bench/growth.png, and removes the stores.

Closed loop over ipc, two workers, batches of 1,000, window 16, 2 % resubmissions, fsync before every ack; each store ends with `muster verify`."""
import os
import subprocess
import threading
import time

import harness
from harness import RECORD_BYTES, WORK, Node, middle

RECORDS = int(os.environ.get("RECORDS", "50000000"))
IDS_RECORDS = int(os.environ.get("IDS_RECORDS", str(RECORDS // 5)))
PAIRS = int(os.environ.get("PAIRS", "5"))  # of rounds with random and with time-ordered ids
SAMPLE = int(os.environ.get("SAMPLE", str(RECORDS // 50)))
LOAD = ("--window", 16, "--batch", 1000, "--duplicates", 2)
COLUMN_BYTES = 36  # id, digest, offset: what the journal keeps of a record beside its bytes

BARS = {"rate_50m_over_1m": (">=", 0.85), "v4_over_v7": (">=", 0.95), "index_bytes_per_record": ("<=", 32), "restart_kill_s": ("<=", 10), "restart_clean_s": ("<=", 1),
        "disk_overhead_bytes": ("<=", 60), "device_write_factor": ("<=", 1.3)}


class Watch(threading.Thread):
    """Looks at the counters a few times a second: index and memory beside what is stored."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.seen, self.over, self.broken = node, [], threading.Event(), None
        self.start()

    def run(self):
        try:
            while not self.over.wait(0.25):
                self.look()
        except (Exception, SystemExit) as why:  # a run that was not watched to its end has no worst moment
            self.broken = why

    def look(self):
        workers, usage = self.node.workers(), self.node.usage()
        self.seen.append({"records": sum(w["store_records"] for w in workers), "index_bytes": sum(w["index_bytes"] for w in workers),
                          "rss_bytes": sum(u["rss_bytes"] for u in usage.values())})

    def finish(self):
        self.over.set()
        self.join()
        if self.broken:
            harness.fail(f"the counters could not be watched: {self.broken!r}")
        time.sleep(1)  # the workers tell the size of their store a few times a second
        self.look()
        return self.seen


def data_files(node):
    return [os.path.join(folder, name) for folder, _, names in os.walk(node.data) for name in names if name == "data.mdb"]


def rate_between(samples, first, last):
    """Of a part of a run: records answered between two marks."""
    at = {s["records"]: s["end_s"] for s in samples} | {0: 0.0}
    begin, end = max(r for r in at if r <= first), min(r for r in at if r >= last)
    return (end - begin) / (at[end] - at[begin])


def ids(kind, seed):
    node = Node()
    result = node.bench(*LOAD, "--ids", kind, "--records", IDS_RECORDS, "--seed", seed, "--sample", IDS_RECORDS // 10)
    node.stop(result["counts"]["accepted"])
    rate = rate_between(result["samples"], IDS_RECORDS * 8 // 10, IDS_RECORDS)
    print(f"{kind}: {result['records_per_s']:,.0f}/s to {IDS_RECORDS:,}, {rate:,.0f}/s over the last fifth", flush=True)
    return rate


def plot(samples, seen):
    data = os.path.join(WORK, "growth.dat")
    with open(data, "w") as f:
        for s in samples[1:]:
            f.write(f"{s['records'] / 1e6} {s['records_per_s'] / 1e6} {s['p50_ms']} {s['p99_ms']}\n")
        f.write("\n\n")
        for s in seen:
            if s["records"]:
                f.write(f"{s['records'] / 1e6} {s['index_bytes'] / 2**20} {s['rss_bytes'] / 2**20}\n")
    script = f"""set terminal pngcairo size 1100,1100 font 'sans,11' background 'white'
set output '{os.path.join(WORK, 'growth.png')}'
set multiplot layout 3,1 title 'One store growing to {RECORDS / 1e6:g} million records, two workers, fsync before every ack'
set grid lc rgb '#dddddd'; set border 3; set xtics nomirror; set ytics nomirror; set key top right; set xrange [0:*]; set yrange [0:*]
set ylabel 'million records/s'; plot '{data}' index 0 using 1:2 with lines lw 2 lc rgb '#1f5fa8' title 'durable rate'
set ylabel 'ms, window of 16'; plot '{data}' index 0 using 1:4 with lines lw 2 lc rgb '#c8641e' title 'p99', '' index 0 using 1:3 with lines lw 2 lc rgb '#1f5fa8' title 'p50'
set xlabel 'million records stored'; set ylabel 'MiB'; set key top left
plot '{data}' index 1 using 1:3 with lines lw 2 lc rgb '#888888' title 'resident, all processes (mapped pages of the files included)', '' index 1 using 1:2 with lines lw 2 lc rgb '#1f5fa8' title 'index'
unset multiplot
"""
    try:
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
        print("plot: build/bench/growth.png")
    except (OSError, subprocess.CalledProcessError) as why:
        print(f"no plot: {why}")
    os.unlink(data)


def cached(node):
    """How much of the data files is in memory."""
    done = subprocess.run(["fincore", "-b", "-n", "-o", "RES", *data_files(node)], capture_output=True, text=True)
    return sum(int(n) for n in done.stdout.split()) if done.returncode == 0 else None


def main():
    need = RECORDS * 330 + (1 << 30)
    print(f"one store of {RECORDS:,} records: about {need / 1e9:.0f} GB under build/bench, removed at the end", flush=True)
    harness.require_disk(need)
    facts = harness.machine()
    harness.print_machine(facts)
    memory = harness.memory_available()
    harness.warm_memory()
    pairs = []
    for i in range(PAIRS):
        order = ("v7", "v4") if i % 2 == 0 else ("v4", "v7")
        pairs.append({kind: ids(kind, 10 + i) for kind in order})

    node = Node()
    watch = Watch(node)
    device_before = harness.device_written()
    result = node.bench(*LOAD, "--records", RECORDS, "--seed", 1, "--sample", SAMPLE)
    device_after = harness.device_written()
    seen = watch.finish()
    accepted, samples = result["counts"]["accepted"], result["samples"]
    for s in samples[:: max(1, len(samples) // 10)]:
        print(f"at {s['records']:>11,}: {s['records_per_s']:>11,.0f}/s  p50 {s['p50_ms']:.1f}  p99 {s['p99_ms']:.1f} ms", flush=True)
    size = sum(os.path.getsize(path) for path in data_files(node))
    resident = cached(node)
    print(f"the data files have {size / 1e9:.1f} GB, the machine {memory / 1e9:.1f} GB to spare"
          + (f"; {100 * resident / size:.0f} % of the files are in the page cache" if resident is not None else ""), flush=True)
    kept = accepted * (RECORD_BYTES + COLUMN_BYTES)
    written = None if device_before is None else device_after - device_before

    node.kill()
    node = Node(fresh=False)
    kill_s = node.ready_s
    node.stop(accepted, remove=False)
    node = Node(fresh=False)
    clean_s = node.ready_s
    print(f"restart at {accepted:,} records: {kill_s:.2f} s after kill -9, {clean_s:.2f} s after SIGTERM", flush=True)
    node.stop(accepted)

    worst = max((s["index_bytes"] / s["records"] for s in seen if s["records"] >= RECORDS // 50), default=None)
    summary = {
        "rate_50m_over_1m": rate_between(samples, RECORDS * 48 // 50, RECORDS) / rate_between(samples, RECORDS // 50, RECORDS * 3 // 50),
        "rate_worst_over_1m": min(rate_between(samples, s["records"] - 2 * SAMPLE, s["records"]) for s in samples[3:]) / rate_between(samples, RECORDS // 50, RECORDS * 3 // 50),
        "v4_over_v7": middle([p["v4"] / p["v7"] for p in pairs]),
        "index_bytes_per_record": worst,
        "restart_kill_s": kill_s,
        "restart_clean_s": clean_s,
        "disk_overhead_bytes": size / accepted - RECORD_BYTES,
        "device_write_factor": None if written is None else written / kept,
    }
    print("random over time-ordered ids, pair by pair: " + ", ".join(f"{p['v4'] / p['v7']:.3f}" for p in pairs))
    plot(samples, seen)
    harness.conclude("growth", {"machine": facts, "settings": {"records": RECORDS, "record_bytes": RECORD_BYTES, "batch": 1000, "window": 16, "workers": 2, "resubmitted_percent": 2},
                                "summary": summary, "samples": samples, "memory": seen, "ids": pairs, "data_file_bytes": size, "cached_bytes": resident,
                                "device_written_bytes": written}, BARS)


if __name__ == "__main__":
    main()
