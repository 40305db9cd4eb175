#!/usr/bin/python3
"""Muster beside what one would otherwise use: `make bench-peers`. The same bytes, on the same machine, in the same hour: a stream of `muster generate` with
2 % resubmissions, to PostgreSQL, NATS JetStream, Redis and RabbitMQ over loopback and to SQLite, RocksDB and LMDB in process; Muster over tcp with CURVE before and
after them, since machines drift. Every round has a fresh server in a fresh directory, and its figure counts only if what is stored afterwards is exactly what
should be. A peer that is not here is reported absent and its ratio is null. bench/peers/README.md says what each figure means and what is not claimed; the settings
of the servers stand below, each with its reason; those of the clients in bench/peers/*.c.

    bench/peers.py                prints a table, writes build/bench/peers.json
    RECORDS_SMALL=2000000 RECORDS_LARGE=10000000 ROUNDS=3    distinct records, and rounds of each judged figure
    PEERS=all     or some, separated by commas
    PEERS_DIR=/var/tmp            where servers and Muster keep their data; not a tmpfs, whose fdatasync does nothing

Exit code: 0 the run came to its end and every number was checked; 1 a bar is not met; 64 usage; 69 Muster itself could not be measured; 70 a peer that is here
failed or lost a record; 73 no room; 75 interrupted. Bars are judged at 2 and 10 million only.

The ids are UUIDv7 in order of time, the kindest order there is for a tree: each insert goes to its right edge. What a tree makes of ids in no order is shown at the
small size for those that have one, with UUIDv4; reported, without a bar."""
import contextlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from harness import free_port, number

MUSTER = harness.MUSTER
BENCH = os.path.join(harness.ROOT, "build", "bench")
DRIVERS = os.path.join(BENCH, "peers")
SMALL = int(os.environ.get("RECORDS_SMALL", "2000000"))
LARGE = int(os.environ.get("RECORDS_LARGE", "10000000" if "RECORDS_SMALL" not in os.environ else str(5 * SMALL)))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
CHOSEN = os.environ.get("PEERS", "all").split(",")
IDLE_ROUNDS, IDLE_RECORDS = 5, 300
BUDGET_S = 29 * 60  # the whole run; what does not fit is reported as failed
STARTED = time.monotonic()
CORES = os.cpu_count()

# name in peers.json: (is met by, bar). Muster's rate over the peer's, but for the idle ack, which is a time over a time.
BARS = {"postgresql_ratio_2m": (">=", 4), "nats_ratio_2m": (">=", 4), "redis_ratio_2m": (">=", 4), "postgresql_ratio": (">=", 5), "nats_ratio": (">=", 5),
        "redis_ratio": (">=", 5), "rabbitmq_blob_ratio": (">=", 1), "idle_over_postgresql": ("<=", 2)}


JUDGED = ("postgresql", "nats", "redis", "rabbitmq_blob")  # and so measured in as many rounds as Muster


class Absent(Exception):
    """The peer is not on this machine."""


class Failed(Exception):
    """The peer is here, and has no figure all the same."""


# ---- processes ----

def remaining():
    return max(1.0, BUDGET_S - (time.monotonic() - STARTED))


def descendants(pid):
    """A process and what it has started, by parent: servers leave the session they were started in."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat") as f:
                parents.setdefault(int(f.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found = [pid]
    for p in found:
        found += parents.get(p, [])
    return found


class Server:
    """One process of a peer, run as the user of its package where we are root and it must not be; stopped by its pid."""

    def __init__(self, command, log, user=None, env=None, cwd=None, stop=signal.SIGTERM):
        self.log, self.signal = log, stop
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, cwd=cwd, env=env, **as_user(user))

    def wait_ready(self, ready, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if ready():
                return self
            time.sleep(0.05)
        with open(self.log, "rb") as f:
            raise Failed(f"the server did not start: {f.read()[-400:].decode('utf-8', 'replace').strip()!r}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        family = descendants(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(self.signal)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()


def as_user(name):
    """Arguments of Popen for a server that does not run as root: the user of its package, or nobody."""
    if name is None or os.getuid() != 0:
        return {}
    user = account(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def account(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return pwd.getpwnam("nobody")


def directory_for(world, name, user=None):
    path = os.path.join(world, name)
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    if user and os.getuid() == 0:
        os.chown(path, account(user).pw_uid, account(user).pw_gid)
    return path


def accepts(port):
    def ready():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False
    return ready


def program(*candidates):
    for c in candidates:
        found = shutil.which(c, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if found:
            return found
    raise Absent(f"{os.path.basename(candidates[-1])} is not installed")


def driver(name, *arguments):
    path = os.path.join(DRIVERS, name)
    if not os.path.exists(path):
        raise Absent(f"its driver is not built (bench/peers/{name}.c needs a development package)")
    try:
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=remaining())
    except subprocess.TimeoutExpired:
        raise Failed("the time of the whole run was over")
    if done.returncode:
        raise Failed(done.stderr.strip() or f"the driver ended with {done.returncode}")
    return json.loads(done.stdout)


# ---- the peers ----

class Peer:
    """One row: how its server starts, which driver loads it, and what must be stored afterwards."""
    settings = {}
    large = True  # measured at the large size, too
    tree = False  # keeps its ids in a tree or in sorted runs, to which their order matters

    def __init__(self, name, title):
        self.name, self.title = name, title

    def expected(self, stream):
        return stream.distinct

    def run(self, world, stream):
        """One round: the driver's report."""
        raise NotImplementedError

    def version(self):
        return ""


class Postgresql(Peer):
    tree = True
    settings = {
        "shared_buffers": ("6GB", "table and index stay in memory at ten million"),
        "max_wal_size": ("16GB", "no checkpoint within a round"),
        "checkpoint_timeout": ("1h", "nor one by time"),
        "synchronous_commit": ("on", "the ack comes after the fdatasync, as Muster's does"),
        "wal_level": ("minimal", "nothing is replicated, so less is logged"),
        "max_wal_senders": ("0", "needed by wal_level = minimal"),
        "wal_buffers": ("64MB", "a batch fits four times and more"),
        "full_page_writes": ("on", "off is not safe on this file system"),
        "autovacuum": ("off", "a round ends before it would help, and it takes a core"),
        "jit": ("off", "the statement is short"),
        "plan_cache_mode": ("force_generic_plan", "one plan for all batches"),
        "bgwriter_lru_maxpages": ("0", "nothing need leave the buffers"),
        "max_connections": ("20", "less shared memory"),
    }

    def version(self):
        return subprocess.run([self.program("postgres"), "--version"], capture_output=True, text=True).stdout.split()[2]

    @staticmethod
    def program(name):
        return program(f"/usr/lib/postgresql/15/bin/{name}", name)

    @contextlib.contextmanager
    def server(self, world):
        base, port = directory_for(world, "postgresql", "postgres"), free_port()
        data = os.path.join(base, "data")
        made = subprocess.run([self.program("initdb"), "-D", data, "-U", "muster", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=64"],
                              capture_output=True, text=True, cwd=base, **as_user("postgres"))
        if made.returncode:
            raise Failed(f"initdb: {made.stderr.strip()[-300:]}")
        options = [w for k, (value, _) in self.settings.items() for w in ("-c", f"{k}={value}")]
        command = [self.program("postgres"), "-D", data, "-p", str(port), "-k", base, "-c", "listen_addresses=127.0.0.1", *options]
        ready = [self.program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        with Server(command, os.path.join(world, "postgresql.log"), "postgres", cwd=base, stop=signal.SIGQUIT) as s:  # at once: the count is taken, and nobody starts it again
            s.wait_ready(lambda: subprocess.run(ready).returncode == 0)
            yield base, port
        shutil.rmtree(base, ignore_errors=True)

    def run(self, world, stream):
        with self.server(world) as (_, port):
            return driver(self.name, stream.path, f"host=127.0.0.1 port={port} user=muster dbname=postgres")


class Nats(Peer):
    settings = {
        "jetstream": ("file store", "the stream is on disk, one replica: the machine is one"),
        "GOGC": ("400", "the collector runs less often, a fifth faster than with 100; there is memory for it"),
    }

    def version(self):
        return subprocess.run([program("nats-server"), "--version"], capture_output=True, text=True).stdout.split("v")[-1].strip()

    def run(self, world, stream):
        base, port = directory_for(world, "nats", "nats"), free_port()
        config = os.path.join(world, "nats.conf")
        with open(config, "w") as f:
            f.write(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{base}", max_file_store: 200G, max_memory_store: 1G }}\n')
        with Server([program("nats-server"), "-c", config], os.path.join(world, "nats.log"), "nats", env={**os.environ, "GOGC": "400"}) as s:
            s.wait_ready(accepts(port))
            report = driver(self.name, stream.path, f"nats://127.0.0.1:{port}")
        shutil.rmtree(base, ignore_errors=True)
        return report


class Redis(Peer):
    settings = {
        "appendonly": ("yes", "on disk"),
        "appendfsync": ("always", "replies leave after the fdatasync"),
        "save": ("", "no snapshots: nothing forks"),
        "auto-aof-rewrite-percentage": ("0", "nor is the file rewritten within a round"),
        "maxmemory": ("0", "what there is"),
    }

    def version(self):
        return re.search(r"v=(\S+)", subprocess.run([program("redis-server"), "--version"], capture_output=True, text=True).stdout).group(1)

    def run(self, world, stream):
        base, port = directory_for(world, "redis", "redis"), free_port()
        options = [w for k, (value, _) in self.settings.items() for w in (f"--{k}", value)]
        with Server([program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", base, *options], os.path.join(world, "redis.log"), "redis") as s:
            s.wait_ready(accepts(port))
            report = driver(self.name, stream.path, port)
        shutil.rmtree(base, ignore_errors=True)
        return report


class Rabbitmq(Peer):
    settings = {
        "x-queue-type": ("quorum", "the durable kind: a confirm comes after the fdatasync; one member, since the machine is one"),
        "frame_max": ("1048576", "a blob is one frame"),
        "raft.wal_max_size_bytes": ("1073741824", "the log turns over less often"),
        "vm_memory_high_watermark.absolute": ("10GB", "publishers are not held back"),
        "disk_free_limit.absolute": ("1GB", "nor by the disk"),
        "collect_statistics": ("none", "nobody looks"),
        "+sbwt": ("none", "idle schedulers do not spin on cores that the client needs"),
    }

    def __init__(self, name, title, mode):
        super().__init__(name, title)
        self.mode, self.large = mode, mode == "blobs"

    def expected(self, stream):
        return -(-stream.lines // 1000) if self.mode == "blobs" else stream.lines  # messages: nothing is deduplicated

    @staticmethod
    def script():
        """Past the package's wrapper, which insists on its own user and directories."""
        program("rabbitmq-server")
        root = "/usr/lib/rabbitmq/lib"
        for entry in sorted(os.listdir(root)) if os.path.isdir(root) else []:
            return os.path.join(root, entry, "sbin", "rabbitmq-server"), entry.rsplit("-", 1)[1]
        raise Absent("rabbitmq-server is not installed")

    def version(self):
        return self.script()[1]

    def run(self, world, stream):
        script, _ = self.script()
        base, port, dist, epmd = directory_for(world, "rabbitmq", "rabbitmq"), free_port(), free_port(), free_port()
        config = {k: value for k, (value, _) in self.settings.items() if not k.startswith(("x-", "+"))}
        config |= {"listeners.tcp.1": f"127.0.0.1:{port}", "log.console": "false"}
        files = {"rabbitmq.conf": "".join(f"{k} = {v}\n" for k, v in config.items()), "plugins": "[].\n"}
        for name, text in files.items():
            with open(os.path.join(base, name), "w") as f:
                f.write(text)
            os.chmod(os.path.join(base, name), 0o644)
        at = lambda name: os.path.join(base, name)
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": base, "ERL_EPMD_PORT": str(epmd), "RABBITMQ_NODENAME": "muster-peer@localhost",
               "RABBITMQ_DIST_PORT": str(dist), "RABBITMQ_MNESIA_BASE": at("db"), "RABBITMQ_LOG_BASE": at("log"), "RABBITMQ_CONFIG_FILE": at("rabbitmq.conf"),
               "RABBITMQ_ENABLED_PLUGINS_FILE": at("plugins"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
               "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server, and its pid is the one to stop
               "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"}
        with Server([program("epmd"), "-address", "127.0.0.1", "-port", str(epmd)], os.path.join(world, "epmd.log"), "rabbitmq", env=env) as mapper:
            mapper.wait_ready(accepts(epmd))
            with Server([script], os.path.join(world, "rabbitmq.log"), "rabbitmq", env=env, cwd=base) as s:
                s.wait_ready(accepts(port))
                report = driver("rabbitmq", stream.path, port, self.mode)
        shutil.rmtree(base, ignore_errors=True)
        return report


class Embedded(Peer):
    tree = True  # and the settings are all in its driver

    def __init__(self, name, title, package):
        super().__init__(name, title)
        self.package = package

    def version(self):
        return subprocess.run(["pkg-config", "--modversion", self.package], capture_output=True, text=True).stdout.strip()

    def run(self, world, stream):
        base = directory_for(world, self.name)
        report = driver(self.name, stream.path, base)
        shutil.rmtree(base, ignore_errors=True)
        return report


PEERS = [Postgresql("postgresql", "PostgreSQL"), Nats("nats", "NATS JetStream"), Redis("redis", "Redis"), Rabbitmq("rabbitmq", "RabbitMQ, a message a record", "records"),
         Rabbitmq("rabbitmq_blob", "RabbitMQ, blobs of 1,000", "blobs"), Embedded("sqlite", "SQLite, in process", "sqlite3"),
         Embedded("rocksdb", "RocksDB, in process", "rocksdb"), Embedded("lmdb", "LMDB, in process, put by put", "lmdb")]


# ---- Muster ----

def muster_load(node, stream):
    """The load on Muster, and the one place that knows how it is made: {sent, acknowledged, fresh, wall_s, client_cpu_s}. Pre-encoded, batches of 1,000, window 16."""
    command = [MUSTER, "submit", stream.path, *node.client, "--batch", "1000", "--window", "16", "--quiet"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        client = subprocess.run(command, capture_output=True, text=True, timeout=remaining())
    except subprocess.TimeoutExpired:
        raise Failed("the time of the whole run was over")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # the client is the only child that has ended since
    match = re.search(r"submitted ([\d,]+): ([\d,]+) accepted, ([\d,]+) duplicate, ([\d,]+) conflict, ([\d,]+) invalid in ([\d.,]+) s \(([\d,]+) records/s\)", client.stdout)
    if client.returncode or not match:
        raise Failed(f"muster submit ended with {client.returncode}: {(client.stdout + client.stderr).strip()[-300:]!r}")
    sent, accepted, duplicate = (number(match.group(i)) for i in (1, 2, 3))
    return {"sent": sent, "acknowledged": accepted + duplicate, "fresh": accepted, "wall_s": sent / number(match.group(7)), "records_per_s": number(match.group(7)),
            "client_cpu_s": usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime}


class Muster(Peer):
    def run(self, world, stream):
        try:
            node = harness.Node("muster", curve=True)
            report = muster_load(node, stream)
            node.stop(stream.distinct)
        except harness.Broken:
            raise Failed("the node or its store is not as it should be; the sentence is above")
        finally:
            harness.stop_all()
        return report | {"stored": stream.distinct} | {"ack": "after fdatasync", "durable": True, "dedup": "for ever", "verdict": "new, known, conflict, invalid"}


def idle(world):
    """Acks of single records, both servers up and idle, their rounds alternating: medians in ms of Muster over ipc and PostgreSQL on its unix socket."""
    peer, ours, theirs, stream = PEERS[0], [], [], Stream(world, IDLE_ROUNDS * IDLE_RECORDS, resubmitted_percent=0)
    try:
        with peer.server(world) as (base, port):
            node = harness.Node("muster")
            mine = lambda i: ours.append(driver("muster_idle", stream.path, node.data, IDLE_RECORDS, i * IDLE_RECORDS)["ack_p50_ms"])
            other = lambda i: theirs.append(driver(peer.name, stream.path, f"host={base} port={port} user=muster dbname=postgres", IDLE_RECORDS)["ack_p50_ms"])
            for i in range(IDLE_ROUNDS):
                for one in (mine, other) if i % 2 == 0 else (other, mine):
                    one(i)
        node.stop(IDLE_ROUNDS * IDLE_RECORDS)
    finally:
        harness.stop_all()
    return statistics.median(ours), statistics.median(theirs)


# ---- the run ----

class Stream:
    def __init__(self, world, distinct, ids="v7", resubmitted_percent=2):
        self.path, self.distinct, self.ids = os.path.join(world, f"stream-{distinct}-{ids}-{resubmitted_percent}.pb"), distinct, ids
        self.label = f"{distinct:,}" + ("" if ids == "v7" else f" {ids}")
        with open(self.path, "wb") as f:
            subprocess.run([MUSTER, "generate", "--profile", "fy2021-southwest", "--records", str(distinct), "--seed", "1", "--duplicates", str(resubmitted_percent), "--ids", ids],
                           stdout=f, check=True)
        self.bytes = os.path.getsize(self.path)
        self.lines = None  # told by the first to send it

    def learn(self, sent):
        self.lines = self.lines or sent
        if sent != self.lines or not self.distinct < sent < self.distinct * 1.05:
            raise Failed(f"sent {sent:,} of {self.lines:,} records")


def fsync_us():
    return round(harness.fdatasync_ms(1 << 20, 30) * 1000)


def checked_round(peer, world, stream):
    """A round's report; Failed where a record is missing, unanswered, or there twice."""
    os.sync()  # what was written before is not this round's to wait for
    sync = fsync_us()
    report = peer.run(world, stream)
    stream.learn(report["sent"])
    if report["acknowledged"] != report["sent"]:
        raise Failed(f"{report['sent']:,} sent and {report['acknowledged']:,} acknowledged: no figure")
    if report["stored"] != peer.expected(stream):
        raise Failed(f"{report['stored']:,} stored, not {peer.expected(stream):,}: no figure")
    if report["verdict"] != "none" and report["fresh"] != stream.distinct:
        raise Failed(f"{report['fresh']:,} were said to be new, not {stream.distinct:,}: no figure")
    report["client_share"] = report["client_cpu_s"] / report["wall_s"] / CORES
    report["fdatasync_us"] = sync
    print(f"  {peer.title:<30}{stream.label:>14}{report['records_per_s']:>13,.0f} /s   client {report['client_share']:>4.0%} of {CORES} cores   fdatasync {sync:,} us", flush=True)
    return report


def rounds_of(peer, world, streams, rows):
    """Every round of one peer into rows; a peer that is absent or fails gets its reason instead of a figure."""
    for stream, count in streams:
        row = rows.setdefault((peer.name, stream.label), {"peer": peer.name, "title": peer.title, "records": stream.distinct, "ids": stream.ids, "label": stream.label,
                                                          "rounds": [], "absent": None, "failed": None})
        try:
            if CHOSEN != ["all"] and peer.name not in CHOSEN and not isinstance(peer, Muster):
                raise Absent("not asked for")
            row["version"] = peer.version()
            for _ in range(count):
                row["rounds"].append(checked_round(peer, world, stream))
        except Absent as why:
            row["absent"] = str(why)
        except Failed as why:
            row["failed"], row["rounds"] = str(why), []
            keep_logs(world, peer.name)
        if row["absent"] or row["failed"]:
            print(f"  {peer.title:<30}{stream.label:>14}  {'absent' if row['absent'] else 'FAILED'}: {row['absent'] or row['failed']}", flush=True)


def keep_logs(world, name):
    for entry in os.listdir(world):
        if entry.endswith(".log"):
            shutil.copy(os.path.join(world, entry), os.path.join(os.environ.get("MUSTER_BENCH_WORK", BENCH), f"failed-{name}-{entry}"))


def rate(rows, name, label):
    rounds = rows.get((name, label), {}).get("rounds")
    return statistics.median(r["records_per_s"] for r in rounds) if rounds else None


def summary_of(rows, idle_ms):
    def ratio(name, label):
        ours, theirs = rate(rows, "muster", label), rate(rows, name, label)
        return round(ours / theirs, 3) if ours and theirs else None
    s = {f"{name}_ratio_2m": ratio(name, f"{SMALL:,}") for name in ("postgresql", "nats", "redis")}
    s |= {f"{name}_ratio": ratio(name, f"{LARGE:,}") for name in ("postgresql", "nats", "redis", "rabbitmq_blob", "sqlite", "rocksdb", "lmdb")}
    s |= {f"{name}_ratio_2m_v4": ratio(name, f"{SMALL:,} v4") for name in ("postgresql", "sqlite", "rocksdb", "lmdb")}
    s["idle_over_postgresql"] = round(idle_ms["muster"] / idle_ms["postgresql"], 3) if idle_ms.get("postgresql") else None
    return s


def judged(name, value):
    """True, False, or None where there is nothing to judge."""
    if name not in BARS or value is None or (SMALL, LARGE) != (2000000, 10000000):
        return None
    sign, bar = BARS[name]
    return value >= bar if sign == ">=" else value <= bar


def print_table(rows):
    print(f"\n{'':<30}{'records, ids':>14}{'records/s':>13}{'Muster is':>11}{'client':>8}  {'ack':<31}{'dedup reaches':<25}verdict on each record")
    for wanted in dict.fromkeys(label for _, label in rows):
        for (name, label), row in rows.items():
            if label != wanted:
                continue
            if not row["rounds"]:
                print(f"{row['title']:<30}{label:>14}{'—':>13}  {'absent' if row['absent'] else 'FAILED'}: {row['absent'] or row['failed']}")
                continue
            median, first, ours = rate(rows, name, label), row["rounds"][0], rate(rows, "muster", label)
            times = f"{ours / median:.2f} x" if ours and name != "muster" else ""
            share = statistics.median(r["client_share"] for r in row["rounds"])
            print(f"{row['title']:<30}{label:>14}{median:>13,.0f}{times:>11}{share:>8.0%}  {first['ack']:<31}{first['dedup']:<25}{first['verdict']}")
        print()


def print_bars(summary, idle_ms):
    if idle_ms.get("postgresql"):
        print(f"one record to an idle server, median ack: Muster over ipc {idle_ms['muster']:.3f} ms, PostgreSQL on its unix socket {idle_ms['postgresql']:.3f} ms")
    for name, value in summary.items():
        sign, bar = BARS.get(name, ("", None))
        verdict = {True: "met", False: "NOT met", None: "not judged" if value is not None else "no figure"}[judged(name, value)]
        wanted = f"bar {sign} {bar}: {verdict}" if bar is not None else "reported"
        print(f"{name:<24}{'null' if value is None else format(value, '.2f'):>8}   {wanted}")


def measure(world):
    syncs, rows, idle_ms = [fsync_us()], {}, {"muster": None, "postgresql": None}
    small, large, unordered = Stream(world, SMALL), Stream(world, LARGE), Stream(world, SMALL, ids="v4")
    muster = Muster("muster", "Muster, tcp with CURVE")
    print(f"{small.bytes >> 20:,} and {large.bytes >> 20:,} MiB of records, 2 % sent twice; fdatasync of 1 MiB {syncs[0]:,} us", flush=True)
    rounds_of(muster, world, [(small, ROUNDS), (large, ROUNDS), (unordered, 1)], rows)
    try:
        if CHOSEN == ["all"] or "postgresql" in CHOSEN:
            idle_ms["muster"], idle_ms["postgresql"] = idle(world)
    except (Absent, Failed) as why:
        idle_ms["why"] = str(why)
        print(f"  idle acks: no figure: {why}", flush=True)
    for peer in PEERS:
        count = ROUNDS if peer.name in JUDGED else 1
        sizes = [(small, count), (large, count)]
        rounds_of(peer, world, (sizes if peer.large else sizes[:1]) + ([(unordered, 1)] if peer.tree else []), rows)
    rounds_of(muster, world, [(small, ROUNDS), (large, ROUNDS), (unordered, 1)], rows)
    syncs.append(fsync_us())
    return rows, idle_ms, syncs


def world_make():
    parent = os.environ.get("PEERS_DIR", "/var/tmp")
    kind = subprocess.run(["stat", "-f", "-c", "%T", parent], capture_output=True, text=True).stdout.strip()
    if kind in ("tmpfs", "ramfs", ""):
        print(f"peers: {parent} is {kind or 'not there'}: choose a directory on a disk with PEERS_DIR", file=sys.stderr)
        sys.exit(64)
    need = LARGE * 2500
    if shutil.disk_usage(parent).free < need:
        print(f"peers: needs {need >> 20:,} MiB free under {parent}", file=sys.stderr)
        sys.exit(73)
    world = tempfile.mkdtemp(prefix="muster-peers-", dir=parent)
    os.chmod(world, 0o711)  # servers run as users of their own, each in a directory of its own
    return world


def main():
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda *_: sys.exit(75))
    if SMALL < 1000 or LARGE <= SMALL or ROUNDS < 1:
        print("peers: RECORDS_SMALL is at least 1,000, RECORDS_LARGE more than that, ROUNDS at least 1", file=sys.stderr)
        sys.exit(64)
    results, world = harness.WORK, world_make()
    os.makedirs(results, exist_ok=True)
    harness.WORK = world
    for stale in [e for e in os.listdir(results) if e.startswith("failed-") or e == "peers.json"]:
        os.unlink(os.path.join(results, stale))
    facts = harness.machine()
    harness.print_machine(facts)
    try:
        harness.warm_memory()
        rows, idle_ms, syncs = measure(world)
    finally:
        shutil.rmtree(world, ignore_errors=True)
    summary = summary_of(rows, idle_ms)
    result = {"summary": summary, "bars": {k: {"bar": f"{sign} {bar}", "met": judged(k, summary[k])} for k, (sign, bar) in BARS.items()},
              "records_small": SMALL, "records_large": LARGE, "resubmitted_percent": 2, "batch": 1000, "seconds": round(time.monotonic() - STARTED),
              "machine": facts, "fdatasync_1mib_us": syncs, "idle_ack_p50_ms": idle_ms,
              "settings": {p.name: {k: {"value": v, "why": why} for k, (v, why) in p.settings.items()} for p in PEERS},
              "rows": list(rows.values())}
    with open(os.path.join(results, "peers.json"), "w") as f:
        json.dump(result, f, indent=2)
    print_table(rows)
    print_bars(summary, idle_ms)
    failed = [f"{r['title']} at {r['label']}" for r in rows.values() if r["failed"]]
    print(f"{result['seconds'] // 60} min {result['seconds'] % 60} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    if rate(rows, "muster", f"{SMALL:,}") is None or rate(rows, "muster", f"{LARGE:,}") is None:
        sys.exit(69)
    if failed or "why" in idle_ms and rows[("postgresql", f"{SMALL:,}")]["rounds"]:
        sys.exit(70)
    sys.exit(1 if any(judged(k, v) is False for k, v in summary.items()) else 0)


main()
