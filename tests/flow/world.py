"""Where the network's faults happen: a node that listens on tcp with CURVE and has little memory, the proxy in front of it, a submitter's keys, the
oracle of all that goes through, and the look at everything when nobody is there any more."""
import itertools
import os
import threading

from harness import check, check_equal, held_kib, open_descriptors, wait_until
from oracle import Oracle, conserved
from proxy import Proxy
from wire import ACCEPTED, DUPLICATE, Client, record

BUDGET_MIB = 16
BOUND_MIB = 2 * BUDGET_MIB + 256  # README.md, "Limits"
HANDSHAKE_MS = 2000
FILES_SPARE = 4  # descriptors an ingest at rest may have more than before: a file that is being read, a hop that connects
MEMORY_IS_ITS_OWN = os.environ.get("MUSTER_VARIANT", "release") in ("release", "faults")  # the figures of others have their instruments' in them


class World:
    """A node on tcp, a proxy in front of it, one submitter's keys, and the oracle of all that goes through."""

    def __init__(self, t, *settings):
        self.t = t
        self.node = t.node("--listen", "tcp://127.0.0.1:0", "--workers", "2", "-s", f"ingest.budget_bytes={BUDGET_MIB}MiB",
                           "-s", f"ingest.handshake_ms={HANDSHAKE_MS}", *itertools.chain(*(("-s", s) for s in settings)))
        self.endpoint = self.node.endpoints("tcp")[0]
        self.server = t.muster("key", "show").text().strip()
        self.keys = t.key("field-1")
        self.pid = self.node.pids("ingest")[0]
        self.proxy, self.oracle, self.lock, self.numbers = Proxy(self.endpoint), Oracle(t), threading.Lock(), itertools.count(1)
        self.serve()
        self.files = self.open_files()

    def client(self, endpoint=None, keys=None, **more):
        return Client(endpoint or self.endpoint, self.server, *(keys or self.keys), **more)

    def records(self, count):
        made = [record(self.t.random) for _ in range(count)]
        with self.lock:
            for r in made:
                self.oracle.submitted[r] = 1
        return made

    def told(self, records, answer):
        check_equal(len(answer.words), len(records), "verdicts of a batch")
        with self.lock:
            for r, w in zip(records, answer.words):
                self.oracle.told(r, {ACCEPTED: "ACCEPTED", DUPLICATE: "DUPLICATE"}.get(w.verdict, w.verdict), f"{w.shard}:{w.sequence}")

    def serve(self):
        client = self.client()
        records = self.records(3)
        self.told(records, client.submit(records))
        client.close()

    def ingest(self, status=None):
        """The ingest's counters. The command looks for half a second, for its rates: one call tells as much as there is to know."""
        return next(p for p in (status or self.t.status())["processes"] if p["role"] == "ingest-0")["counters"]

    def open_files(self):
        return open_descriptors(self.pid)

    def memory_mib(self):
        return held_kib(self.pid, "VmHWM") >> 10

    def bounded(self):
        check_equal(self.node.pids("ingest").get(0), self.pid, f"pid of the ingest\n{self.node.log()[-2000:]}\n")
        if MEMORY_IS_ITS_OWN:
            check(self.memory_mib() <= BOUND_MIB, f"{self.memory_mib()} MiB resident, the bound is {BOUND_MIB}")

    def at_rest(self):
        c = self.ingest(conserved(self.t))
        return not (c["records_in_flight"] or c["batches_in_flight"] or c["budget_used_bytes"])

    def look(self, seconds=20, files=FILES_SPARE):
        """Everything that must be so when nobody is there any more."""
        wait_until(self.at_rest, seconds, "nothing to be in flight and no budget to be used")
        wait_until(lambda: self.open_files() <= self.files + files, seconds, f"no more descriptors than {self.files} and {files} to be open")
        self.bounded()
        self.serve()
        self.oracle.examine()

    def end(self):
        self.look()
        self.proxy.close()
        check(self.node.stop() < 10, "stop")
        check("Assertion" not in self.node.log(), "an assertion of libzmq failed")
        self.t.muster("verify")
