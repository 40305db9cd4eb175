#!/usr/bin/python3
"""What a node tells of itself: the list of core/counters.def and what status says of it, over deaths, by submitter, by reason, on a screen of 80 by 24."""
import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import wire
from harness import ROOT, check, check_equal, finished, main, wait_until
from oracle import conserved
from wire import ACCEPTED, Client, record

MACROS = re.compile(r"^(COUNTER|CAUSE|HISTOGRAM|SUBMITTER)\(([^\"]*),\s*\"", re.M)
KINDS = {"run": "SUPERVISOR", "ingest": "INGEST", "worker": "WORKER"}


class Declared:
    """The lists, as core/counters.def has them."""

    def __init__(self):
        self.counters, self.histograms, self.submitters, self.totals = {}, {}, [], set()  # name: the kinds of processes that count it
        with open(os.path.join(ROOT, "core", "counters.def")) as f:
            text = f.read()
        for macro, inside in MACROS.findall(text[text.index("#endif\n\n/* clang-format off"):]):
            fields = [field.strip() for field in inside.split(",")]
            if macro == "COUNTER":
                self.counters[fields[0]] = fields[3].split(" | ")
                if fields[1] == "TOTAL":
                    self.totals.add(fields[0])
            elif macro == "CAUSE":
                self.counters["_".join(fields[:2])] = fields[2].split(" | ")
                self.totals.add("_".join(fields[:2]))
            elif macro == "HISTOGRAM":
                self.histograms[fields[0]] = fields[2].split(" | ")
            else:
                self.submitters.append(fields[0])
        check(len(self.counters) > 50 and len(self.histograms) > 5 and len(self.submitters) > 8, "the lists cannot be read")


def kind_of(role):
    return KINDS[role.split("-")[0]]


def processes(status):
    return {p["role"]: p for p in status["processes"]}


def adds_up(status):
    """What is told apart adds up to what is told of the whole."""
    for p in status["processes"]:
        c = p["counters"]
        for total, reasons, first in (("records_invalid", p["reasons"], lambda n: not n.startswith(("BUSY_", "RETRY_"))),
                                      ("records_handed_back", p["reasons"], lambda n: n.startswith(("BUSY_", "RETRY_"))),
                                      ("batches_refused", p["batch_reasons"], lambda n: n.startswith("BATCH_")),
                                      ("batches_busy", p["batch_reasons"], lambda n: n.startswith("BUSY_"))):
            died = c["records_handed_back_died"] if total == "records_handed_back" else 0  # they were told nothing, and have no reason
            check_equal(sum(v for n, v in reasons.items() if first(n)) + died, c[total], f"{p['role']}: {total} by reason")
        check_equal(p["records_unaccounted"], 0, f"{p['role']}: records that are not accounted for")
    for name in ("records_received", "records_accepted", "records_duplicate", "records_conflict", "records_invalid", "records_handed_back",
                 "records_in_flight", "batches_busy", "batches_refused"):
        check_equal(sum(s[name] for s in status["submitters"]), status[name], f"{name} by submitter")
    check_equal((status["conserved"], status["records_unaccounted"]), (True, 0), "the rule for the node")


def list_and_status_agree(t):
    """status tells exactly what the list declares; a process counts nothing that the list does not give to its kind, and everything that is always there"""
    declared = Declared()
    node = t.node("--workers", "2", "--ingest", "2")
    for endpoint in node.endpoints("ipc"):
        t.muster("submit", "-", "--endpoint", endpoint, stdin=t.generate(3000))
    always = ("process_starts", "process_cpu_ns", "process_resident_bytes", "process_descriptors")
    wait_until(lambda: all(p["counters"][name] for p in t.status()["processes"] for name in always), 5, "every process to have had its second")
    status = t.status()
    check_equal(sorted(processes(status)), ["ingest-0", "ingest-1", "run", "worker-0", "worker-1"], "processes")
    for p in status["processes"]:
        kind = kind_of(p["role"])
        check_equal(list(p["counters"]), list(declared.counters), f"counters of {p['role']}")
        check_equal(list(p["histograms"]), [n for n, who in declared.histograms.items() if kind in who], f"histograms of {p['role']}")
        strange = {n: v for n, v in p["counters"].items() if v and kind not in declared.counters[n]}
        check(not strange, f"{p['role']} counts what the list gives to others: {strange}")
        check(p["state_s"] <= p["uptime_s"] + 1 and p["state"] == "serving", str(p["state_s"]))
    check_equal(list(status["times"]), list(declared.histograms), "times of the node")
    check_equal(list(status["submitters"][0]), ["name"] + declared.submitters, "columns of a submitter")
    counted = {n for p in status["processes"] for n, v in p["counters"].items() if v}
    for name in ("records_received", "received_bytes", "commits", "commit_records", "store_records", "store_bytes", "store_map_bytes", "disk_free_bytes", "index_slots",
                 "fingerprint_hits", "shards_serving", "credit", "budget_bytes"):
        check(name in counted, f"nobody counts {name}")
    for name, h in status["times"].items():
        check(h["count"] > 0, f"nothing is in {name}")
    acks, queue, shards = (status["times"][n] for n in ("batch_ack", "batch_queue", "batch_shards"))
    check_equal(acks["count"], status["batches_answered"], "a time for each batch")
    check(abs(acks["sum_ms"] - queue["sum_ms"] - shards["sum_ms"]) < 0.01, f"the parts are not the whole: {acks} {queue} {shards}")
    check(status["times"]["group_sync"]["sum_ms"] <= status["times"]["group_commit"]["sum_ms"], "a sync is a part of its commit")
    check_equal(status["times"]["group_size"]["sum"], status["store_records"], "records of all commits")
    check(all(0 < s["index_load"] < 1 for s in status["shards"]), str(status["shards"]))
    adds_up(status)
    node.stop()


class Feeder(threading.Thread):
    """Writes a stream to a submit again and again until it is told to end, so that something is under way whatever happens meanwhile."""

    def __init__(self, submit, stream):
        super().__init__(daemon=True)
        self.submit, self.stream, self.over, self.copies = submit, stream, threading.Event(), 0
        self.start()

    def run(self):
        with contextlib.suppress(BrokenPipeError):  # its exit code tells
            while not self.over.is_set():
                for at in range(0, len(self.stream), 32768):
                    self.submit.stdin.write(self.stream[at:at + 32768])
                    self.submit.stdin.flush()
                    self.over.wait(0.01)  # so that the machine has time for more than records; what is left of the last copy goes at once
                self.copies += 1
            self.submit.stdin.close()


def totals_outlive_deaths(t):
    """no total of a role becomes less when its process dies, under load, and what was in flight is handed back; a new run of the node begins anew and says so"""
    declared = Declared()
    node = t.node("--workers", "2")
    before, looks, stream = {}, 0, t.generate(20000)

    def look():
        nonlocal looks
        status = conserved(t)
        for role, p in processes(status).items():
            if role in before:
                check_equal(p["totals_since"], before[role]["totals_since"], f"{role}: since when its totals are counted")
                less = {n: (before[role]["counters"][n], p["counters"][n]) for n in declared.totals if p["counters"][n] < before[role]["counters"][n]}
                check(not less, f"{role}: totals became less: {less}")
                for name, h in p["histograms"].items():
                    check(h["count"] >= before[role]["histograms"][name]["count"], f"{role}: {name} became less")
            before[role] = p
        looks += 1
        adds_up(status)
        return status
    submit = t.popen("submit", "--batch", "200", "--timeout", "60", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    feeder = Feeder(submit, stream)
    look()
    for role, index in (("worker", 0), ("ingest", 0), ("worker", 1), ("ingest", 0)):
        starts = before[f"{role}-{index}"]["counters"]["process_starts"]
        frozen = node.pids("worker")[0] if role == "ingest" else None
        if frozen:  # what goes to a worker that stands still is in flight, and stays so until the kill
            os.kill(frozen, signal.SIGSTOP)
            wait_until(lambda: processes(t.status())["ingest-0"]["counters"]["records_in_flight"] > 0, 10, "records in flight")
        node.kill(role, index)
        if frozen:
            os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: (lambda p: p and p["state"] == "serving" and p["alive"] and p["counters"]["process_starts"] > starts)(processes(look()).get(f"{role}-{index}")),
                   20, f"{role} {index} to serve again")
    feeder.over.set()
    result = finished(submit)
    check_equal(result.code, 0, f"submit: {result.error()}")
    status = look()
    check(looks > 5, f"{looks} looks")
    check_equal({r: p["counters"]["process_starts"] for r, p in processes(status).items()}, {"run": 1, "ingest-0": 3, "worker-0": 2, "worker-1": 2}, "starts")
    check(status["records_accepted"] + status["records_duplicate"] + status["records_handed_back"] >= 20000 * feeder.copies,
          f"{feeder.copies} times 20000 records, and {status['records_accepted']} accepted, {status['records_duplicate']} duplicates of the node")
    check(processes(status)["ingest-0"]["counters"]["records_handed_back_died"] > 0, "nothing was in flight when the ingests were killed")
    check_equal(status["store_records"], 20000, "distinct records")
    workers = [p["counters"] for r, p in processes(status).items() if r.startswith("worker")]
    accepted, died = (sum(c[n] for c in workers) for n in ("records_accepted", "records_handed_back_died"))
    check(accepted <= status["store_records"] <= accepted + died, f"the workers of all lives accepted {accepted}, had {died} in flight when they died, stored {status['store_records']}")
    node.stop()
    node = t.node()
    for role, p in processes(t.status()).items():
        check(p["totals_since"] > before[role]["totals_since"], f"{role}: a new run is not marked")
        check_equal((p["counters"]["records_received"], p["counters"]["process_starts"]), (0, 1), f"{role}: totals of a new run")
    node.stop()


def each_submitter_has_its_row(t):
    """who sent what, by the key's name; an invalid record and a wrong batch are told with their reasons, in the row of who sent them"""
    node = t.node("--listen", "tcp://127.0.0.1:0")
    names = ["del-rio.station-3", "yuma_7"]
    keys = {name: t.key(name) for name in names}
    endpoint, server = node.endpoints("tcp")[0], re.search(r"\S{40}", t.muster("key", "show").text()).group(0)
    clients = {name: Client(endpoint, server, *keys[name]) for name in names}
    local = Client(node.endpoints("ipc")[0])
    good = [record(t.random) for _ in range(5)]
    check_equal({w.verdict for w in clients[names[0]].submit(good).words}, {ACCEPTED}, "good records")
    clients[names[1]].submit(good[:2])
    local.submit([record(t.random, citizenship="QQQ")])
    clients[names[1]].socket.send_multipart([wire.wire.SubmitHeader(kind=wire.wire.KIND_SUBMIT, version_major=1, batch_id=9, record_count=3).SerializeToString(), b""])
    clients[names[1]].receive()
    status = t.status()
    rows = {row["name"]: row for row in status["submitters"]}
    check_equal(sorted(rows), sorted(["local"] + names), "names")

    def row(name):
        return {k: v for k, v in rows[name].items() if v and k not in ("name", "last_seen", "credit")}
    check_equal(row(names[0]), {"records_received": 5, "records_accepted": 5}, names[0])
    check_equal(row(names[1]), {"records_received": 2, "records_duplicate": 2, "batches_refused": 1}, names[1])
    check_equal(row("local"), {"records_received": 1, "records_invalid": 1}, "local")
    check_equal((status["reasons"], status["batch_reasons"]), ({"CITIZENSHIP": 1}, {"BATCH_EMPTY": 1}), "reasons")
    check(all(r["credit"] > 0 for r in rows.values()), str(rows))
    check_equal(processes(status)["ingest-0"]["counters"]["handshakes"], 2, "handshakes")
    adds_up(status)
    seen = rows[names[0]]["last_seen"]
    check(abs(time.time() - time.mktime(time.strptime(seen[:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60, f"last seen {seen}")
    clients[names[0]].submit([record(t.random)])
    check(t.status()["submitters"][1]["last_seen"] > seen, "a submitter that was seen again")
    text = t.muster("status").text()
    check(re.search(r"^invalid +CITIZENSHIP 1$", text, re.M) and re.search(r"^refused +BATCH_EMPTY 1$", text, re.M), text)
    check(re.search(r"^del-rio\.station-3 +6 +6 +0 +0 +0 +\d\d:\d\d:\d\d$", text, re.M), text)
    for c in list(clients.values()) + [local]:
        c.close()
    node.stop()


def screen(t):
    """status of a node with two workers and two submitters stands on a screen of 80 by 24 while records stream in; a process that is not as it should be is named"""
    node = t.node("--workers", "2", "--listen", "tcp://127.0.0.1:0")
    keys, endpoint, server = t.key("field"), node.endpoints("tcp")[0], re.search(r"\S{40}", t.muster("key", "show").text()).group(0)
    client = Client(endpoint, server, *keys)
    client.submit([record(t.random)])
    t.muster("submit", "-", stdin=t.generate(50000))
    for _ in range(2):
        submit = t.popen("submit", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        submit.stdin.write(t.generate(30000, 8))
        submit.stdin.flush()
        lines = t.muster("status").text().replace(t.data, "DATA").splitlines()
        check(len(lines) <= 23 and all(len(line) <= 80 for line in lines), "\n".join([f"{len(lines)} lines, the longest of {max(map(len, lines))}"] + lines))
        submit.communicate(timeout=60)
    text = "\n".join(lines)
    check(re.search(r"^answered +half within [\d.]+ ms, 99 % within [\d.]+ ms", text, re.M), text)
    check("worker-0" not in text, "processes are shown though all is well")
    node.stop()
    text = t.muster("status", code=69).text()
    check("total" in text and "answered" not in text, text)


main("counters", [list_and_status_agree, totals_outlive_deaths, each_submitter_has_its_row, screen])
