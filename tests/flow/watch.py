"""What a node holds while it runs, sampled from outside, and whether it stays flat: anonymous memory and descriptors of each process, slots of the
readers' tables, bytes on disk, and the time that submitters waited. For tests/faults/soak.py."""
import os
import struct
import time

from harness import check, held_kib, open_descriptors

MIB = 1 << 20


def anonymous_bytes(pid):
    """Without what is mapped of files: the store's pages are the kernel's to take back."""
    return held_kib(pid, "RssAnon") * 1024


def reader_slots(path):
    """Slots of a lock.mdb that hold a pid: MDB_txninfo of LMDB 0.9 on Linux, 64 bytes a reader behind two cache lines."""
    with open(path, "rb") as f:
        table = f.read()
    check(struct.unpack_from("<I", table)[0] == 0xBEEFC0DE, f"{path} is no lock file of LMDB")
    return sum(struct.unpack_from("<i", table, at + 8)[0] != 0 for at in range(128, len(table) - 63, 64))


def slope(points):
    """Least squares: what y grows by in one unit of x."""
    if len(points) < 2:
        return 0.0
    mx, my = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    spread = sum((x - mx) ** 2 for x, _ in points)
    return sum((x - mx) * (y - my) for x, y in points) / spread if spread else 0.0


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Series:
    """One thing over time: what is allowed is how much the fitted line may rise from the end of the warming up to the end of the run, and of what is a
    time, so many times its median more: how fast a machine is, nobody asks."""

    def __init__(self, name, unit, allowed, times=0):
        self.name, self.unit, self.allowed, self.times, self.points = name, unit, allowed, times, []

    def add(self, at, value):
        self.points.append((at, value))

    def judge(self, warm):
        points = [p for p in self.points if p[0] >= warm]
        self.first, self.last = (points[0][1], points[-1][1]) if points else (0, 0)
        self.growth = slope(points) * (points[-1][0] - points[0][0]) if points else 0
        self.samples = len(points)
        self.allowed += self.times * percentile([y for _, y in points], 0.5)
        return self.samples >= 5 and self.growth <= self.allowed

    def row(self, good):
        return (f"#   {self.name:<34} {self.first:>10.1f} {self.last:>10.1f} {self.growth:>+10.1f} {self.allowed:>9.1f} {self.unit:<8}{'flat' if good else 'GROWS'}")


HEADING = f"#   {'what':<34} {'first':>10} {'last':>10} {'growth':>10} {'allowed':>9} unit"


class Watch:
    """Of those processes of a node that the test lets live from start to end; a process that was started anew begins anew as well."""

    def __init__(self, t, node, roles, seconds):
        self.t, self.node, self.roles = t, node, roles
        self.start = time.monotonic()
        self.warm = seconds * 0.3
        self.judges_times = seconds >= 120  # of a short run the times are shown: a fault or two may fall into either end of it
        self.series = {}
        self.pid = {}

    def add(self, name, unit, allowed, value, times=0):
        self.series.setdefault(name, Series(name, unit, allowed, times)).add(time.monotonic() - self.start, value)

    def sample(self, latencies):
        """latencies: milliseconds, of the batches answered since the last sample."""
        processes = {p["role"]: p for p in self.t.status()["processes"]}
        for role in self.roles:
            page = processes[role]
            check(self.pid.setdefault(role, page["pid"]) == page["pid"], f"{role} is not the process that it was: {self.node.log()[-3000:]}")
            # What grows by design is told by the process itself: the index.
            index = page["counters"]["index_bytes"]
            self.add(f"{role} anonymous, beside its index", "MiB", 24, (anonymous_bytes(page["pid"]) - index) / MIB)
            self.add(f"{role} descriptors", "open", 6, open_descriptors(page["pid"]))
            if index:
                self.add(f"{role} index past 32 bytes a record", "MiB", 1, (index - 32 * page["counters"]["store_records"]) / MIB)
        for shard in sorted(os.listdir(os.path.join(self.t.data, "store"))):
            self.add(f"{shard} reader slots", "used", 3, reader_slots(os.path.join(self.t.data, "store", shard, "lock.mdb")))
        if latencies:
            few, more = (5, 50) if self.judges_times else (float("inf"), float("inf"))
            self.add("wait of a batch, p50", "ms", few, percentile(latencies, 0.5), times=1)
            self.add("wait of a batch, p90", "ms", more, percentile(latencies, 0.9), times=2)

    def disk_bytes(self):
        return sum(os.stat(os.path.join(self.t.data, "store", s, "data.mdb")).st_blocks * 512 for s in os.listdir(os.path.join(self.t.data, "store")))

    def judge(self):
        """Prints the table; the names of what grows."""
        print(HEADING, flush=True)
        growing = []
        for s in self.series.values():
            good = s.judge(self.warm)
            print(s.row(good), flush=True)
            if not good:
                growing.append(f"{s.name} ({s.growth:+.1f} {s.unit}, allowed {s.allowed}, {s.samples} samples)")
        return growing
