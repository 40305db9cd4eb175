"""The oracle: lives outside the node, remembers every record submitted and every verdict received, and then asks the store. Each ACCEPTED is
there exactly once, under its address, with its bytes; each DUPLICATE names a durable original of the same bytes; INVALID is said of no good record, and of none that is in the
store; nothing is there that was never submitted; sequences have no gaps; tally and recount agree (verify); the counters conserve."""
import os
import re

from harness import Failure, check, check_equal, delimited, number, tally_total


class Oracle:
    def __init__(self, test, poison=()):
        """poison: the records that may be told INVALID, as they kill their worker."""
        self.test = test
        self.poison = set(poison)
        self.invalid = set()
        self.submitted = {}  # bytes -> times submitted
        self.accepted = {}   # address -> bytes
        self.claimed = {}    # address -> bytes, of DUPLICATE verdicts
        self.unanswered = 0

    def heard(self, records, verdicts_path, complete=True):
        """Takes in what `muster submit --verdicts` wrote for these records (in their order)."""
        for r in records:
            self.submitted[r] = self.submitted.get(r, 0) + 1
        rows = []
        if os.path.exists(verdicts_path):
            with open(verdicts_path) as f:
                rows = [line.rstrip("\n").split("\t") for line in f.readlines()[1:]]
        seen = set()
        for row in rows:
            position = int(row[0])
            check(position not in seen, f"record {position} got two verdicts")
            seen.add(position)
            self.told(records[position - 1], row[1], row[2])
        if complete:
            check_equal(len(seen), len(records), "records with a verdict")
        self.unanswered += len(records) - len(seen)

    def told(self, record, verdict, address):
        if verdict == "INVALID" and record in self.poison:
            self.invalid.add(record)
            return
        check(verdict in ("ACCEPTED", "DUPLICATE"), f"verdict {verdict} on a good record")
        if verdict == "ACCEPTED":
            check(address not in self.accepted, f"{address} was said of two ACCEPTED records")
            self.accepted[address] = record
        else:
            check(self.claimed.setdefault(address, record) == record, f"{address} was said of two different records")

    def examine(self, data=None):
        """Asks the store (beside a running node or stopped), after verify."""
        arguments = ["--data", data or self.test.data]
        verified = self.test.muster("verify", *arguments, timeout=300)
        counts = [int(n.replace(",", "")) for n in re.findall(r"^shard \d+: ([\d,]+) records", verified.text(), re.M)]
        check(counts, f"no shard lines from verify: {verified.text()!r}")
        stored = delimited(self.test.muster("export", "--format", "pb", *arguments, timeout=300).out)
        check_equal(len(stored), sum(counts), "records exported against verify")
        check_equal(len(set(stored)), len(stored), "distinct records in the store")
        position, at = 0, {}
        for shard, count in enumerate(counts):
            for sequence in range(1, count + 1):
                at[f"{shard}:{sequence}"] = stored[position]
                position += 1
        for address, record in self.accepted.items():
            if at.get(address) != record:
                raise Failure(f"ACCEPTED {address} is {'missing' if address not in at else 'another record'}")
        for address, record in self.claimed.items():
            if at.get(address) != record:
                raise Failure(f"DUPLICATE of {address}, which is {'missing' if address not in at else 'another record'}")
        told = [r for r in stored if r in self.invalid]
        check(not told, f"{len(told)} records in the store were told INVALID")
        if not self.poison:
            listing = self.test.muster("quarantine", "list", *arguments).text()
            check("KILLED_WORKER" not in listing, f"good records were set aside:\n{listing}")
        strangers = [r for r in stored if r not in self.submitted]
        check(not strangers, f"{len(strangers)} records in the store were never submitted")
        if not self.unanswered:
            check_equal(len(stored), len(self.submitted) - len(self.invalid), "distinct records submitted against stored")
        check_equal(tally_total(self.test, *arguments), len(stored), "tally against stored")
        return len(stored)


def conserved(test, code=0):
    """The counters' identity of every process and of the node, as status --json tells it."""
    status = test.status(code)
    for page in status["processes"]:
        c = page["counters"]
        answered = sum(c[n] for n in ("records_accepted", "records_duplicate", "records_conflict", "records_invalid", "records_handed_back"))
        check_equal(c["records_received"], answered + c["records_in_flight"], f"conservation of {page['role']}")
    return status
