"""What the benchmarks stand on: a node of their own that is started, loaded, stopped and verified, facts about the machine, and the table of figures at the end.
A round that lost a record has no figure: it ends the run. Debian's python3, nothing else. Everything started here is stopped by pid; data is under build/bench."""
import atexit
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MUSTER = os.path.join(ROOT, "build", "muster")
WORK = os.environ.get("MUSTER_BENCH_WORK", os.path.join(ROOT, "build", "bench"))  # stores and results
TOOLS = os.path.join(ROOT, "build", "bench")
RECORD_BYTES = 260
running = []
fillers = []


class Broken(SystemExit):
    """What ends a benchmark, told already; its code is the exit code."""


def fail(sentence, code=70):
    print(f"bench: {sentence}", file=sys.stderr, flush=True)
    raise Broken(code)


def number(text):
    return int(text.replace(",", ""))


def output(*arguments):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{os.path.basename(str(arguments[0]))} {' '.join(map(str, arguments[1:]))}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def require_disk(bytes_needed):
    os.makedirs(WORK, exist_ok=True)
    free = shutil.disk_usage(WORK).free
    if free < bytes_needed:
        fail(f"needs {bytes_needed / 1e9:.1f} GB of disk under build/bench, there are {free / 1e9:.1f} GB", 73)


class Node:
    """`muster run` on a data directory under build/bench; curve: over tcp with a key of its own, else over ipc alone."""

    def __init__(self, name="data", workers=2, curve=False, fresh=True):
        self.data = os.path.join(WORK, name)
        self.log = os.path.join(WORK, name + ".log")
        self.client = ["--data", self.data]
        if fresh:
            shutil.rmtree(self.data, ignore_errors=True)
        endpoint = f"tcp://127.0.0.1:{free_port()}" if curve else "none"
        self.start_s = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([MUSTER, "run", "--data", self.data, "--workers", str(workers), "--listen", endpoint], stderr=log)
        running.append(self)
        while True:
            with open(self.log, "rb") as f:
                if b"muster: ready:" in f.read():
                    break
            if self.process.poll() is not None:
                fail(f"the node did not start; see {os.path.relpath(self.log, ROOT)}")
            time.sleep(0.005)
        self.ready_s = time.monotonic() - self.start_s
        if curve:
            self.allow(endpoint)

    def allow(self, endpoint):
        key = os.path.join(WORK, "bench.key")
        if os.path.exists(key):
            os.unlink(key)
        output(MUSTER, "key", "new", "bench", "--out", key)
        output(MUSTER, "key", "allow", "--data", self.data, "bench", key)
        server = os.path.join(WORK, "node.pub")
        with open(server, "w") as f:
            f.write(output(MUSTER, "key", "show", "--data", self.data))
        self.client = ["--endpoint", endpoint, "--key", key, "--server-key", server]

    def children(self):
        """pid by role and index: {"worker-0": 1234}."""
        found = {}
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            try:
                words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
            except OSError:
                continue
            if len(words) > 2 and words[1] in (b"worker", b"ingest") and self.data.encode() in words:
                found[f"{words[1].decode()}-{words[words.index(b'--index') + 1].decode()}"] = int(pid)
        return found

    def usage(self):
        """CPU seconds and resident bytes, by process."""
        tick, all_of_it = os.sysconf("SC_CLK_TCK"), {}
        for name, pid in self.children().items():
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            all_of_it[name] = {"cpu_s": (int(fields[11]) + int(fields[12])) / tick, "rss_bytes": int(fields[21]) * os.sysconf("SC_PAGE_SIZE")}
        return all_of_it

    def bench(self, *arguments):
        """One load; its JSON."""
        return json.loads(output(MUSTER, "bench", *self.client, "--record-bytes", RECORD_BYTES, *arguments, "--json", "-"))

    def status(self):
        return json.loads(output(MUSTER, "status", "--json", "--data", self.data))

    def workers(self):
        """The counters of each worker."""
        return [process["counters"] for process in self.status()["processes"] if process["role"].startswith("worker-")]

    def stop(self, expected, remove=True):
        """Drains, and reads everything that is stored: no figure of a round that lost a record."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait() != 0:
            fail(f"the node did not stop well; see {os.path.relpath(self.log, ROOT)}")
        running.remove(self)
        self.verify(expected)
        if remove:
            shutil.rmtree(self.data)

    def verify(self, expected):
        stored = number(re.search(r"verified: ([\d,]+) records", output(MUSTER, "verify", "--data", self.data)).group(1))
        if stored != expected:
            fail(f"{expected:,} records were accepted and {stored:,} are stored: no figures")

    def kill(self):
        """kill -9 of the whole node."""
        pids = [self.process.pid, *self.children().values()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        while any(os.path.exists(f"/proc/{pid}") for pid in pids[1:]):
            time.sleep(0.005)
        running.remove(self)


@atexit.register
def clean_up():
    for path in fillers:
        if os.path.exists(path):
            os.unlink(path)
    stop_all()


def stop_all():
    """Ends the nodes that a round which failed has left."""
    for node in list(running):
        running.remove(node)
        for pid in [*node.children().values(), node.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def memory_available():
    return int(re.search(r"MemAvailable: +(\d+)", open("/proc/meminfo").read()).group(1)) * 1024


def warm_memory():
    """Fills the page cache with the pages of a file that has no blocks, as the cache of a machine that has been up for a week is full. What a store then writes takes the
    place of pages that were touched before. Without it a virtual machine's first runs measure how fast its host gives memory: on some it takes back at once what is free,
    and gives a page again at its next touch for several microseconds. The file goes when the benchmark ends. WARM=no leaves it out."""
    if os.environ.get("WARM") == "no":
        print("the page cache is as it was found (WARM=no)", flush=True)
        return
    path, left = os.path.join(WORK, "warm"), memory_available()
    print(f"filling the page cache, {left / 1e9:.0f} GB, so that no run waits for memory that was never touched", flush=True)
    fillers.append(path)
    with open(path, "wb+", buffering=0) as f:
        f.truncate(left)
        buffer = bytearray(1 << 20)
        while f.readinto(buffer):
            pass


def device_written():
    """Bytes written to the device under WORK since boot, by whoever; None where the kernel does not tell. What the kernel accounts to a process counts a folio of 2 MiB again for
    each part of it that is written."""
    try:
        device = os.stat(WORK).st_dev
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat") as f:
            return int(f.read().split()[6]) * 512
    except OSError:
        return None


def fdatasync_ms(size_bytes, rounds=50):
    return int(output(os.path.join(TOOLS, "sync"), WORK, int(size_bytes), rounds)) / 1000


def machine():
    """What the figures were measured on."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = output("findmnt", "-no", "FSTYPE,OPTIONS", "-T", WORK).split()
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip() or "unknown"
    versions = {name: subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True).stdout.strip() for name in ("libzmq", "lmdb", "libuv", "libprotobuf-c", "libxxhash")}
    compiler = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    return {"host": cpu, "cores": os.cpu_count(), "memory_gib": round(memory / 2**30, 1), "kernel": platform.release(), "file_system": system[0],
            "mount_options": system[1] if len(system) > 1 else "", "muster": output(MUSTER, "--version").split()[1], "commit": commit, "compiler": compiler,
            "versions": versions, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def print_machine(facts):
    print(f"{facts['host']}, {facts['cores']} cores, {facts['memory_gib']} GiB, Linux {facts['kernel']}, {facts['file_system']}; muster {facts['muster']} ({facts['commit']}), "
          + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()), flush=True)


def middle(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):,.3g} to {max(values):,.3g}" if max(values) < 1000 else f"{min(values):,.0f} to {max(values):,.0f}"


def conclude(name, result, bars):
    """Prints each figure beside its bar, writes build/bench/NAME.json, and ends: 0 where every bar is met, else 1. bars: {figure: (">=" or "<=", bound)}."""
    missed = 0
    print(f"\n{'figure':<28} {'value':>12}   must be")
    for figure, value in result["summary"].items():
        shown = "absent" if value is None else f"{value:,.3f}" if value < 100 else f"{value:,.0f}"
        if figure not in bars:
            print(f"{figure:<28} {shown:>12}")
            continue
        sign, bound = bars[figure]
        met = value is not None and (value >= bound if sign == ">=" else value <= bound)
        missed += value is not None and not met
        print(f"{figure:<28} {shown:>12}   {sign} {bound:g}  {'met' if met else 'absent' if value is None else 'NOT MET'}")
    result["bars"] = {figure: f"{sign} {bound:g}" for figure, (sign, bound) in bars.items()}
    path = os.path.join(WORK, name + ".json")
    with open(path, "w") as f:
        json.dump(result, f, indent=1)
    print(f"all of it: {os.path.relpath(path, ROOT)}")
    sys.exit(1 if missed else 0)
