#!/usr/bin/python3
"""`make bench-where`: where a record's CPU time goes, by process and by step, from a profile of all that runs: perf's cpu clock, a thousand samples a second of each core,
with call chains. Every sample of the node and of its client is in one row, so the rows add up. Prints a table and writes build/bench/where.json.

Closed loop over ipc, two workers, batches of 1,000, window 16. Needs perf (Debian's linux-perf) and the right to use it; the frames of libraries without debug symbols are
told as the library's."""
import json
import os
import re
import subprocess

import harness
from harness import MUSTER, WORK, Node

RECORDS = int(os.environ.get("RECORDS", "8000000"))
HERTZ = 999

# The first that fits any frame of a sample's call chain has it. Kernel work goes to the call that asked for it.
STEPS = (
    ("wait for the disk: fdatasync, the meta page's write", r"fdatasync|ext4_sync_file|ext4_fsync"),
    ("write pages to the page cache", r"sys_pwrite|sys_pwritev|ext4_buffered_write|fadvise"),
    ("sockets: send, receive", r"sys_sendto|sys_recvfrom|sys_sendmsg|sys_recvmsg|unix_stream|tcp_sendmsg|tcp_recvmsg"),
    ("sleep and wake: epoll, eventfd, futex, switches", r"sys_epoll|sys_poll|sys_futex|sys_write|sys_read|finish_task_switch|schedule|sys_sched|eventfd"),
    ("page faults", r"page_fault|exc_page|sys_madvise|sys_mremap|sys_mmap"),
    ("encrypt, decrypt", r"crypto_|poly1305|salsa|curve"),
    ("scan and rules", r"^scan_|^rules_|^rule_|^field_|^vocabulary_|^text_|^origin_"),
    ("index: find, insert, grow", r"^store_index|^store_find|^store_prefetch|^store_fingerprint|^table_|^digest_fingerprint"),
    ("tally", r"^cells?_|^store_cell|^store_tally|msort"),
    ("block: gather, checksum, LMDB", r"^store_block|^store_append|^block_checksum|^mdb_|^store_commit|^commit_|^store_env|XXH3_hashLong"),
    ("digest", r"^digest_|XXH3"),
    ("split, gather, answer, verdicts", r"^worker_|^dedup_|^counts_|^muster_client|^id_put|^split_|^batch_|^gather_|^pieces_|^admit_|^hop_|^front_|^answer_|^shard_|^group_|^walk_|^ingest_"),
    ("make records", r"^supply_|^load_|^histogram_"),
)
# What the innermost frame says where no other does.
LEAVES = (("memory: copies, malloc", r"mem(move|cpy|set|cmp)|malloc|free|unlink_chunk|tcache"), ("ZeroMQ", r"libzmq"), ("sleep and wake: epoll, eventfd, futex, switches", r"epoll|libuv|poll|getpid|cancel"))


def step_of(frames):
    for step, pattern in STEPS:
        if any(re.search(pattern, frame) for frame in frames):
            return step
    for step, pattern in LEAVES:
        if frames and re.search(pattern, frames[0]):
            return step
    return "the rest"


def samples(path):
    """(pid, frames) of each."""
    script = subprocess.Popen(["perf", "script", "-i", path, "-F", "pid,ip,sym,dso"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pid, frames = None, []
    for line in script.stdout:
        if not line.strip():
            if pid is not None:
                yield pid, frames
            pid, frames = None, []
        elif pid is None:
            pid = int(line.split()[0])
        else:
            frames.append(line.split(None, 1)[1].strip() if len(line.split(None, 1)) > 1 else "")
    if pid is not None:
        yield pid, frames
    if script.wait():
        harness.fail("perf script failed")


def main():
    harness.require_disk(RECORDS * 340)
    facts = harness.machine()
    harness.print_machine(facts)
    harness.warm_memory()
    node, data = Node(), os.path.join(WORK, "where.perf")
    roles = {pid: re.sub(r"-\d+$", "", name) for name, pid in node.children().items()}
    profile = subprocess.Popen(["perf", "record", "-q", "-a", "-g", "-e", "cpu-clock", "-F", str(HERTZ), "-o", data], stderr=subprocess.DEVNULL)
    client = subprocess.Popen([MUSTER, "bench", *node.client, "--record-bytes", str(harness.RECORD_BYTES), "--window", "16", "--batch", "1000", "--duplicates", "2", "--records", str(RECORDS), "--json", "-"],
                              stdout=subprocess.PIPE, text=True)
    roles[client.pid] = "client"
    result = json.loads(client.communicate()[0])
    profile.terminate()
    profile.wait()
    node.stop(result["counts"]["accepted"])
    rows = {}
    for pid, frames in samples(data):
        if pid in roles:
            rows.setdefault(step_of(frames), {}).setdefault(roles[pid], 0)
            rows[step_of(frames)][roles[pid]] += 1
    os.unlink(data)
    if not rows:
        harness.fail("perf saw nothing of the node: not allowed here?", 69)
    ns = {step: {role: count * 1e9 / HERTZ / RECORDS for role, count in by.items()} for step, by in rows.items()}
    names = ("client", "ingest", "worker")
    print(f"\n{'ns of CPU a record':<54}" + "".join(f"{name:>9}" for name in names) + f"{'all':>9}")
    for step, by in sorted(ns.items(), key=lambda item: -sum(item[1].values())):
        print(f"{step:<54}" + "".join(f"{by.get(name, 0):>9.0f}" for name in names) + f"{sum(by.values()):>9.0f}")
    totals = {name: sum(by.get(name, 0) for by in ns.values()) for name in names}
    print(f"{'all':<54}" + "".join(f"{totals[name]:>9.0f}" for name in names) + f"{sum(totals.values()):>9.0f}")
    print(f"{RECORDS:,} records at {result['records_per_s']:,.0f}/s, the profile running; both workers together")
    with open(os.path.join(WORK, "where.json"), "w") as f:
        json.dump({"machine": facts, "records": RECORDS, "records_per_s": result["records_per_s"], "ns_per_record": ns, "totals": totals}, f, indent=1)


if __name__ == "__main__":
    main()
