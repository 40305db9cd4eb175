#!/usr/bin/python3
"""Directories that are not as they should be: another user's, read-only, newer, incomplete, cut, full."""
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import time

import wire
from harness import SLOW, Skipped, check, check_equal, delimited, feed, finished, main, number, small_disk, state, summary, wait_until
from oracle import Oracle, conserved


def of_another_user(t):
    """a data directory of another user is refused with both numbers"""
    if os.getuid() != 0:
        raise Skipped("only root can give a directory away")
    t.node().stop()
    os.chown(t.data, 12345, 12345)
    refused = t.muster("run", "--data", t.data, "--listen", "none", code=77)
    check("12345" in refused.error(), refused.error())
    t.muster("tally", code=77)


def open_to_others(t):
    """a data directory that others may read is refused"""
    t.node().stop()
    os.chmod(t.data, 0o755)
    check("755" in t.muster("run", "--data", t.data, "--listen", "none", code=77).error(), "mode")


def foreign_directory(t):
    """a directory of other files is never taken for a node's, and no command says to change its mode"""
    os.mkdir(t.data, 0o755)
    with open(os.path.join(t.data, "passwd"), "w") as f:
        f.write("x\n")
    for command, code in (("status", 66), ("tally", 66), ("verify", 66), ("run", 73)):
        error = t.muster(command, "--data", t.data, code=code).error()
        check("no Muster node" in error and "chmod" not in error, f"{command}: {error}")
    check_equal(os.listdir(t.data), ["passwd"], "what is in it")


def read_only(t):
    """a read-only file system: reading works, running says why not"""
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(100))
    node.stop()
    if subprocess.run(["mount", "--bind", t.data, t.data], capture_output=True).returncode:
        raise Skipped("no permission to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", t.data], check=True)
        refused = t.muster("run", "--data", t.data, "--listen", "none", code=None)
        check(refused.code in (73, 77) and "read-only" in refused.error().lower(), f"{refused.code}: {refused.error()}")
        check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 100, "verify of a read-only store")
    finally:
        subprocess.run(["umount", t.data])
    t.node().stop()


# A shard that is down is tried again once a minute where only people can mend it; here they are quick.
OFTEN = ("-s", "node.shard_retry_ms=1000")


REMEDY = {"missing": "mount its disk or move its files back", "damaged": "muster salvage .* muster restore", "denied": "mode 0700", "version": "the version of muster",
          "opening": "serves by itself as soon as it is open", "crashing": "the log's lines of its worker"}


def down(t, shard, cause, serving, kind="damaged"):
    """What status says while that shard is down: the exit code, both forms, the remedy of its kind, and that the others serve. Returns the JSON of the shard."""
    s = t.status(code=1)
    check_equal((s["running"], s["state"], s["shards_down"], s["conserved"]), (True, "serving", 1, True), "status of the node")
    check_equal([i["shard"] for i in s["shards"] if i["serving"]], serving, "shards that serve")
    one = s["shards"][shard]
    check(one["down"] and re.search(cause, one["down_cause"]), str(one))
    check(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d.\d+Z", one["down_since"]), str(one))
    text = t.muster("status", code=1).text()
    check(re.search(rf"^shard {shard} is DOWN since {one['down_since']}: .*{cause}", text, re.M), text)
    check_equal(one["down_kind"], kind, f"kind of the outage: {one}")
    check(re.search(REMEDY[kind], one["down_remedy"]) and f"  what to do: {one['down_remedy']}\n" in text, text)
    check(re.search(rf"^{shard} .* DOWN$", text, re.M), text)
    check(f"of the {len(s['shards']) - 1} other shards {len(serving)} serve;" in text, text)
    return one


def shard_missing(t):
    """a shard whose directory is missing is down and never begun anew; the others serve, commands name it, and it is back when its files are"""
    node = t.node("--workers", "3")
    stream = t.generate(3000)
    t.muster("submit", "-", stdin=stream)
    node.stop()
    shard = os.path.join(t.data, "store", "shard-1")
    os.rename(shard, t.path("aside"))
    for command in ("verify", "tally", "export", "salvage"):
        done = t.muster(command, code=None)
        check(done.code not in (0, 69) and "shard 1 is missing" in done.error(), f"{command}: {done.code} {done.error()}")
    t.muster("get", "0:1")
    check("shard 1 is missing" in t.muster("get", "1:1", code=65).error(), "get")
    without = t.muster("status", code=69).text()
    check(re.search(rf"^shard 1 cannot be read: shard 1 is missing.*\n  what to do: {REMEDY['missing']}", without, re.M), without)
    node = t.node(*OFTEN)
    check(" 2 of 3 workers " in node.ready_line, node.ready_line)
    down(t, 1, "shard 1 is missing", [0, 2], "missing")
    check(not os.path.exists(shard), "the shard was begun anew")
    os.mkdir(shard, 0o700)  # nor is an empty one a beginning
    t.muster("submit", "-", "--timeout", "2", stdin=stream, code=75)
    check_equal(os.listdir(shard), [], "what was made there")
    os.rmdir(shard)
    os.rename(t.path("aside"), shard)
    wait_until(lambda: t.status(code=None)["shards_down"] == 0, 20, "the shard to be back")
    check_equal(summary(t.muster("submit", "-", stdin=stream))["duplicate"], 3000, "all that was stored")
    node.stop()


def store_not_mounted(t):
    """a whole store that is moved away, or whose disk is not mounted, is never begun anew: run and commands say what is missing, and it serves when it is back"""
    for workers, kept in ((1, "run"), (2, "run"), (2, "restored")):
        node = t.node("--workers", str(workers))
        stream = t.generate(1000)
        t.muster("submit", "-", stdin=stream)
        node.stop()
        if kept == "restored":  # what a restore has made is in use before its first start
            t.muster("backup", t.path("b"))
            shutil.rmtree(t.data)
            t.muster("restore", t.path("b"), "--data", t.data)
        store, aside = os.path.join(t.data, "store"), t.path("aside")
        os.rename(store, aside)
        before = sorted(os.listdir(t.data))
        for emptied in (False, True):
            if emptied:
                os.mkdir(store, 0o700)
            for arguments in ((), ("--workers", str(workers)), ("--workers", "3")):
                refused = t.muster("run", "--data", t.data, "--listen", "none", *arguments, code=65, timeout=20)
                check("the store is missing" in refused.error() and store in refused.error(), refused.error())
            for command in ("verify", "tally", "export", "salvage", "backup"):
                extra = [t.path("nowhere")] if command == "backup" else []
                done = t.muster(command, *extra, code=None)
                check(done.code not in (0, 69) and "the store is missing" in done.error(), f"{workers} {command}: {done.code} {done.error()}")
            check(not os.path.exists(store) or os.listdir(store) == [], "what was made there")
        left = [n for n in sorted(os.listdir(t.data)) if n not in before]
        check(set(left) <= {"keys", "muster.lock", "run", "store"}, f"made: {left}")
        os.rmdir(store)
        os.rename(aside, store)
        node = t.node()
        check_equal(summary(t.muster("submit", "-", stdin=stream))["duplicate"], 1000, "all that was stored")
        node.stop()
        # A node of an older version has no such note: it is given one.
        os.unlink(os.path.join(t.data, "shards"))
        t.node().stop()
        check_equal(open(os.path.join(t.data, "shards")).read(), f"{workers}\n", "the note")
        shutil.rmtree(t.data)


def shard_lost_and_mended(t):
    """one shard of two cannot be opened: the other serves, records of the lost one are told BUSY, and once its file is mended all is stored once"""
    old, new = t.generate(2000, 1), t.generate(4000, 2)
    node = t.node("--workers", "2")
    verdicts, oracle = t.path("v.tsv"), Oracle(t)
    t.muster("submit", "--verdicts", verdicts, "-", stdin=old)
    oracle.heard(delimited(old), verdicts)
    node.stop()
    path = os.path.join(t.data, "store", "shard-1", "data.mdb")
    shutil.copy(path, t.path("whole"))
    with open(path, "r+b") as f:
        f.write(b"\xff" * 8192)  # both of LMDB's first pages
    node = t.node(*OFTEN)
    check(" 1 of 2 workers " in node.ready_line and "down" in node.ready_line, node.ready_line)
    check_equal(len(re.findall(r"level=error role=run .*event=shard.down shard=1 kind=damaged cause=", node.log())), 1, "told once")
    since = down(t, 1, r"shard-1.*", [0])["down_since"]
    # Half of each batch is committed; the words of the others name the shard and the cause, and when to come back.
    c = wire.Client(node.endpoints("ipc")[0])
    records = [wire.record(t.random) for _ in range(200)]
    words = c.submit(records)
    busy = [w for w in words.words if w.verdict == wire.BUSY]
    check_equal({(w.shard, w.reason) for w in busy}, {(1, wire.wire.REASON_BUSY_SHARD_DOWN)}, "of the lost shard")
    check_equal({(w.verdict, w.shard) for w in words.words if w not in busy}, {(wire.ACCEPTED, 0)}, "of the other")
    check(60 < len(busy) < 140 and 100 <= words.header.retry_after_ms <= 5000, f"{len(busy)} BUSY, {words.header}")
    c.close()
    for r, w in zip(records, words.words):
        if w not in busy:
            oracle.submitted[r] = 1
            oracle.told(r, "ACCEPTED", f"{w.shard}:{w.sequence}")
    # Longer than anybody is asked to wait: the answers that say so do not keep it there.
    done = t.muster("submit", "--timeout", "7", "--verdicts", verdicts, t.write("new.pb", new), code=75, timeout=40)
    check("BUSY_SHARD_DOWN" in done.error() and "muster status" in done.error(), done.error())
    accepted = summary(done)["accepted"]
    check(1600 < accepted < 2400 and number(r"([\d,]+) without a verdict", done.text()) == 4000 - accepted, done.text())
    conserved(t, code=1)
    check(down(t, 1, r"shard-1.*", [0])["down_since"] == since, "it is the same outage")
    t.muster("get", "0:1")
    check("shard-1" in t.muster("get", "1:1", code=None).error(), "get of the lost shard says so")
    check(re.search(r"^shard 0: .*: right$", t.muster("verify", code=None).text(), re.M), "verify reads the other")
    oracle.heard(delimited(new), verdicts, complete=False)
    os.replace(t.path("whole"), path)
    wait_until(lambda: t.status(code=None)["shards_down"] == 0, 20, "the shard to serve again by itself")
    check(node.process.poll() is None and "event=shard.up shard=1" in node.log(), node.log()[-2000:])
    done = t.muster("submit", "--verdicts", verdicts, t.path("new.pb"))
    check_equal((summary(done)["accepted"], summary(done)["duplicate"]), (4000 - accepted, accepted), "sent again")
    oracle.heard(delimited(new), verdicts)
    oracle.unanswered = 0  # they have their verdicts now
    check_equal(summary(t.muster("submit", "-", stdin=old))["duplicate"], 2000, "what was stored before")
    conserved(t)
    oracle.examine()
    check_equal(t.muster("status").error(), "", "status")
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 6000 + 200 - len(busy), "stored once")


def shard_fails_while_serving(t):
    """a shard that cannot be opened again while the node runs: the other goes on, and it heals by itself"""
    node = t.node("--workers", "2", *OFTEN)
    stream = t.generate(2000, 3)
    t.muster("submit", "-", stdin=stream)
    path = os.path.join(t.data, "store", "shard-0", "data.mdb")
    os.rename(path, t.path("aside"))
    wait_until(lambda: node.kill("worker", 0), 10, "its worker")
    wait_until(lambda: t.status(code=None)["shards_down"] == 1, 20, "the shard to be down")
    down(t, 0, "shard 0 is missing", [1], "missing")
    done = t.muster("submit", "-", "--timeout", "2", stdin=t.generate(1000, 4), code=75)
    check(summary(done)["accepted"] > 300, done.text())
    check(node.process.poll() is None, node.log()[-2000:])
    os.rename(t.path("aside"), path)
    wait_until(lambda: t.status(code=None)["shards_down"] == 0, 20, "the shard to be back")
    check_equal(summary(t.muster("submit", "-", stdin=stream))["duplicate"], 2000, "all that was stored")
    node.stop()
    t.muster("verify")


def shard_that_does_not_open(t):
    """a worker that hangs while it opens its store holds up nobody: the node starts without that shard, says how far it is, and takes it up when it goes on"""
    node = t.node("--workers", "2", variant="faults")
    stream = t.generate(3000, 5)
    t.muster("submit", "--batch", "100", "-", stdin=stream)
    node.kill_all()  # without a hint the index is rebuilt
    once = t.path("once")
    os.mkdir(once)
    # The first that comes to its second block stands still there, and is not killed for that so soon.
    node = t.node(*OFTEN, "-s", "node.opening_ms=1000", "-s", "node.frozen_ms=600000", variant="faults",
                  env={"MUSTER_FAULT": "store.rebuild:stop:2", "MUSTER_FAULT_ONCE_DIR": once})
    check(" 1 of 2 workers " in node.ready_line, node.ready_line)
    pids = node.pids("worker")
    hangs = [i for i in pids if state(pids[i]) == "T"]
    check_equal(len(hangs), 1, "workers that stand still")
    told = down(t, hangs[0], r"not been opened within 1 s: its worker is stopped by a signal; it said last: its index is being rebuilt, [1-9]\d* of 1\d\d\d records",
                [1 - hangs[0]], "opening")
    check_equal(told["retry_ms"], 0, "it is not started anew")
    check("it is up as soon as it is open" in t.muster("status", code=1).text(), "status")
    check_equal(len(re.findall(rf"event=shard.down shard={hangs[0]} kind=opening", node.log())), 1, f"told once: {node.log()[-2000:]}")
    done = t.muster("submit", "-", "--timeout", "1", stdin=stream, code=75)
    check(summary(done)["duplicate"] > 1000, done.text())
    os.kill(pids[hangs[0]], signal.SIGCONT)
    wait_until(lambda: t.status(code=None)["shards_down"] == 0, 20, "the shard to serve")
    check_equal(node.pids("worker"), pids, "workers")
    check_equal(summary(t.muster("submit", "-", stdin=stream))["duplicate"], 3000, "all that was stored")
    node.stop()


def no_shard_left(t):
    """a node of which no shard can be opened ends, and its last word says why"""
    t.node("--workers", "2").stop()
    for shard in (0, 1):
        os.truncate(os.path.join(t.data, "store", f"shard-{shard}", "data.mdb"), 5000)
    node = t.node(wait=False)
    check_equal(node.process.wait(20), 65, f"exit of the node: {node.log()}")
    check(re.search(r"^muster: worker-\d cannot run: shard .*data.mdb is cut off.*; the node has ended", node.log(), re.M), node.log())


def truncated_file(t):
    """a truncated data.mdb is told with both sizes, by the node and by verify"""
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(20000))
    node.stop()
    path = os.path.join(t.data, "store", "shard-0", "data.mdb")
    os.truncate(path, os.path.getsize(path) // 2)
    node = t.node()
    down(t, 0, r"shard-0: data.mdb is cut off: it has \d+ bytes and needs \d+", [1])
    done = t.muster("verify", code=1)
    check(re.search(r"shard 0 cannot be read: .*it has \d+ bytes and needs \d+", done.error()), done.error())
    check(re.search(r"^shard 1: .*: right$", done.text(), re.M), done.text())
    node.stop()


def flipped_bit(t):
    """a flipped bit in a stored record is found by verify, which names the block"""
    node = t.node("--workers", "1")
    r = wire.record(t.random, device="CANARY-FLIP")
    t.muster("submit", "-", stdin=t.generate(2000) + wire.stream_of([r]))
    node.stop()
    path = os.path.join(t.data, "store", "shard-0", "data.mdb")
    with open(path, "r+b") as f:
        at = f.read().index(b"CANARY-FLIP")
        f.seek(at)
        f.write(b"D")
    done = t.muster("verify", code=1)
    check(re.search(r"block \d+", done.text() + done.error()), done.text() + done.error())
    t.muster("get", "0:2001", code=65)


def pipes_and_links_in_the_place_of_files(t):
    """a pipe or a symbolic link in the place of a file of the data directory is refused by name, or done without, and nothing waits for it"""
    t.muster("key", "new", "field", "--out", t.path("field.key"))
    node = t.node("--workers", "1")
    t.muster("submit", "-", stdin=t.generate(1000))
    t.muster("key", "allow", "field", t.path("field.key"))
    node.stop()
    aside = t.path("aside")
    for name in ("node.id", "keys/node.key", "keys/allow", "store/shard-0", "store/shard-0/index.hint"):
        path = os.path.join(t.data, name)
        for what in ("a pipe", "a link", "a link to nowhere"):
            if what == "a pipe" and name == "store/shard-0":
                continue
            os.rename(path, aside)
            if what == "a pipe":
                os.mkfifo(path, 0o600)
            else:
                os.symlink(aside if what == "a link" else t.path("nowhere"), path)
            if name in ("keys/allow", "store/shard-0/index.hint"):
                # Nobody is allowed by such a list, and the same user is served all the same; the hint is only a short cut.
                node = t.node("--listen", "tcp://127.0.0.1:0")
                check_equal(summary(t.muster("submit", "-", stdin=t.generate(1000)))["duplicate"], 1000, f"{name}: {what}")
                if name == "keys/allow":
                    check("symbolic link" in node.log() or "regular file" in node.log(), f"{name}: {what}: {node.log()}")
                node.stop()
            else:
                refused = t.muster("run", "--data", t.data, "--listen", "none", code=77, timeout=20)
                check(path in refused.error() and ("symbolic link" in refused.error() or "regular file" in refused.error()), f"{name}: {what}: {refused.error()}")
            if name == "store/shard-0":
                for command in ("verify", "tally", "export"):
                    done = t.muster(command, code=None)
                    check(done.code != 0 and "symbolic link" in done.error(), f"{command}: {done.code} {done.error()}")
            if os.path.lexists(path):
                os.unlink(path)
            os.rename(aside, path)
    for name in ("run/endpoints", "muster.lock"):
        path = os.path.join(t.data, name)
        if os.path.lexists(path):
            os.unlink(path)
        os.mkfifo(path, 0o600)
        t.muster("status", code=69, timeout=20)
        t.muster("submit", "-", "--timeout", "1", stdin=b"", code=None, timeout=20)
        os.unlink(path)
    t.node().stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 1000, "stored")


def damaged_record_sent_again(t):
    """a record whose stored bytes are damaged is not called DUPLICATE when it comes again; the node says why, the other shard serves"""
    node = t.node("--workers", "2")
    r = wire.record(t.random, device="CANARY-FLIP")
    c = wire.Client(node.endpoints("ipc")[0])
    c.submit([wire.record(t.random) for _ in range(300)])
    word = c.submit([r] + [wire.record(t.random) for _ in range(300)]).words[0]
    others = [wire.record(t.random) for _ in range(40)]
    shards = [w.shard for w in c.submit(others).words]
    check_equal(word.verdict, wire.ACCEPTED, "at first")
    c.close()
    node.stop()
    path = os.path.join(t.data, "store", f"shard-{word.shard}", "data.mdb")
    with open(path, "r+b") as f:
        at = f.read().index(b"CANARY-FLIP")
        f.seek(at)
        f.write(b"D")
    node = t.node()
    c = wire.Client(node.endpoints("ipc")[0])
    c.send([r])
    wait_until(lambda: "contradicts its checksum" in node.log(), 10, "the node to say why")
    said = re.search(r"event=worker.storage_failed .*shard-(\d+).*the block of sequences (\d+) to (\d+) contradicts .*muster verify", node.log())
    check(said and int(said[1]) == word.shard and int(said[2]) <= word.sequence <= int(said[3]), node.log()[-3000:])
    other = wire.Client(node.endpoints("ipc")[0])
    words = other.submit([o for o, shard in zip(others, shards) if shard != word.shard]).words
    check_equal({(w.verdict, w.shard) for w in words}, {(wire.DUPLICATE, 1 - word.shard)}, "the other shard")
    wait_until(lambda: t.status(code=None)["shards_down"] == 1, 20, "the shard to be told of as down after some errors")
    check("contradicts its checksum" in t.status(code=1)["shards"][word.shard]["down_cause"], str(t.status(code=1)["shards"]))
    while not c.silent():  # an answer, if one has come, promises nothing
        verdicts = [w.verdict for w in wire.Answer(c.receive()).words]
        check(not set(verdicts) & {wire.DUPLICATE, wire.ACCEPTED, wire.CONFLICT, wire.INVALID}, f"of the damaged record: {verdicts}")
    node.stop(code=75)  # whoever sent the damaged record has no answer
    done = t.muster("verify", code=1)
    check(re.search(rf"shard {word.shard}: fault: .*block \d+ \(sequences {said[2]} to {said[3]}\): its checksum", done.text()), done.text())
    check(re.search(rf"^shard {1 - word.shard}: .*: right$", done.text(), re.M), done.text())


def shard_down_and_a_long_file(t):
    """a file of many more batches than the window while one shard of two is down: every record of the other has its verdict, and a second run gives the rest"""
    t.node("--workers", "2").stop()
    path = os.path.join(t.data, "store", "shard-1", "data.mdb")
    shutil.copy(path, t.path("whole"))
    with open(path, "r+b") as f:
        f.write(b"\xff" * 8192)
    t.node(*OFTEN)
    stream, verdicts, oracle = t.generate(6000, t.seed % 1000), t.path("v.tsv"), Oracle(t)
    done = t.muster("submit", "--timeout", "2", "--batch", "100", "--window", "4", "--verdicts", verdicts, t.write("long.pb", stream), code=75, timeout=40)
    check("BUSY_SHARD_DOWN" in done.error() and "muster status" in done.error(), done.error())
    check("not read" not in done.text() + done.error(), f"all of the input was read: {done.text()} {done.error()}")
    accepted = summary(done)["accepted"]
    check(2600 < accepted < 3400 and number(r"([\d,]+) without a verdict", done.text()) == 6000 - accepted, done.text())
    conserved(t, code=1)
    with open(verdicts) as f:
        check_equal({line.split("\t")[2].split(":")[0] for line in f.readlines()[1:]}, {"0"}, "shards that answered")
    oracle.heard(delimited(stream), verdicts, complete=False)
    os.replace(t.path("whole"), path)
    wait_until(lambda: t.status(code=None)["shards_down"] == 0, 20, "the shard to serve again")
    done = t.muster("submit", "--verdicts", verdicts, t.path("long.pb"))
    # All that shard 0 stores had its verdict before: what is new now is of shard 1 alone.
    with open(verdicts) as f:
        check_equal({line.split("\t")[2].split(":")[0] for line in f.readlines()[1:] if "ACCEPTED" in line}, {"1"}, "shards of what is new")
    check_equal((summary(done)["accepted"], summary(done)["duplicate"]), (6000 - accepted, accepted), "sent again")
    oracle.heard(delimited(stream), verdicts)
    check_equal(oracle.examine(), 6000, "stored")


def damaged_pages(t):
    """bits and pages of data.mdb damaged in 200 ways: no command ends by a signal, verify names the shard and reads the other one"""
    node = t.node("--workers", "2")
    t.muster("submit", "--batch", "100", "-", stdin=t.generate(8000))
    t.muster("submit", "-", stdin=t.generate(2000, 8, "--invalid", "5"), code=None)
    node.stop()
    path = os.path.join(t.data, "store", "shard-1", "data.mdb")
    whole = open(path, "rb").read()
    pages = range(2, len(whole) // 4096)
    trees = [p for p in pages if whole[p * 4096 + 10] & 3 and not whole[p * 4096 + 10] & 4]  # branches and leaves
    seen = 0
    for i in range(200 if SLOW == 1 else 12):
        r = random.Random(t.seed + i)
        data = bytearray(whole)
        kind = i % 4
        for page in r.sample(trees, max(1, len(trees) // 2)) if kind == 0 else r.sample(pages, 20):
            if kind == 3:
                data[page * 4096:page * 4096 + 4096] = bytes(4096)
            for _ in range(5):
                data[page * 4096 + r.randrange(64 if kind == 1 else 4096)] ^= 1 << r.randrange(8)
        with open(path, "r+b") as f:
            f.write(data)
        for command in (["verify"], ["tally"], ["quarantine", "list"], ["export", "--format", "pb"]):
            done = t.muster(*command, code=None)
            text = done.text() if command == ["verify"] else ""
            what = f"way {i}: {command} ended with {done.code}: {text[-1000:]} {done.error()[-1000:]}"
            # 76: the bit was one of the format's number, which is told as another version's
            check(done.code in ((0, 1) if command in (["verify"], ["quarantine", "list"]) else (0, 65)) or (done.code == 76 and "format" in done.error()), what)
            check("anitizer" not in done.error(), what)
            if text:
                seen += done.code != 0
                check(re.search(r"^shard 0: .*: right$", text, re.M), what)
                check(done.code == 0 or re.search(r"shard.1", text.replace("shard 1: 0 records", "") + done.error()), what)
    check(seen > 100 / SLOW / 10, f"verify saw {seen} of them")
    with open(path, "r+b") as f:
        f.write(whole)
    t.muster("verify")


def newer_format(t):
    """a store of a newer format is refused with both versions"""
    t.node("--workers", "1").stop()
    path = os.path.join(t.data, "store", "shard-0", "data.mdb")
    data = open(path, "rb").read()
    at = [m.start() for m in re.finditer(b"format", data)]
    check(at, "no key named format in meta")
    for a in at:  # the value follows its key in LMDB's leaf: a little-endian number 1
        for b in range(a + 6, a + 10):
            if data[b] == 1:
                data = data[:b] + b"\x09" + data[b + 1:]
                break
    open(path, "wb").write(data)
    node = t.node(wait=False)
    check(node.process.wait(20) != 0, "the node started")
    check(re.search(r"format 9\b.*format \d+", node.log()), node.log())
    check_equal(os.listdir(os.path.join(t.data, "store")), ["shard-0"], "shards; none was made beside the one that cannot be read")


def full_disk(t):
    """a full disk: BUSY with the cause, then service resumes once space is back, nothing lost"""
    with small_disk(t, "96m"):
        node = t.node("-s", "store.disk_reserve_bytes=32MiB")
        t.muster("submit", "-", stdin=t.generate(10000, 1))
        free = os.statvfs(t.data)
        ballast = os.path.join(t.data, "ballast")
        with open(ballast, "wb") as f:
            f.write(b"\0" * (free.f_bavail * free.f_frsize - (20 << 20)))
        time.sleep(1.2)
        c = wire.Client(node.endpoints("ipc")[0])
        words = c.submit([wire.record(t.random) for _ in range(20)]).words
        check_equal({(w.verdict, w.reason) for w in words}, {(wire.BUSY, wire.wire.REASON_BUSY_DISK)}, "while full")
        submit = t.popen("submit", t.write("s.pb", t.generate(10000, 2)), stdout=-1, stderr=-1)
        time.sleep(1)
        check(submit.poll() is None, "submit did not wait")
        os.unlink(ballast)
        out, error = submit.communicate(timeout=60)
        check_equal(submit.returncode, 0, error.decode())
        check_equal(number(r"([\d,]+) accepted", out.decode()), 10000, "accepted after space came back")
        conserved(t)
        node.stop()
        check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 20000, "stored")


def low_disk_at_start(t):
    """a node that starts below its reserve can be read, and says at ready that it tells BUSY"""
    t.node().stop()
    node = t.node("-s", "store.disk_reserve_bytes=16TiB")
    check("BUSY" in node.ready_line and "disk_reserve_bytes" in node.ready_line, node.ready_line)
    check("disk.low" in node.log(), node.log())
    check("BUSY: disk" in t.muster("status").text(), "status")
    t.muster("tally")
    node.stop()


def index_is_full(t):
    """the memory of the index is bounded: BUSY with its own reason, readable, and a larger bound opens it again"""
    bound = ("--workers", "1", "-s", "store.index_bytes=4MiB")
    node = t.node(*bound)
    stream = t.generate(200000)
    submit = t.popen("submit", "--timeout", "600", "-", stdin=subprocess.PIPE, stdout=-1, stderr=-1)
    feed(submit, stream, 0)
    wait_until(lambda: t.status()["shards"][0]["index_full"], 20, "the index to be full")
    shard = t.status()["shards"][0]
    check(shard["records"] <= shard["index_records_max"] and shard["index_bytes"] <= 8 << 20, str(shard))
    c = wire.Client(node.endpoints("ipc")[0])
    words = c.submit([wire.record(t.random) for _ in range(20)]).words
    check_equal({(w.verdict, w.reason) for w in words}, {(wire.BUSY, wire.wire.REASON_BUSY_MEMORY)}, "while full")
    check("BUSY: memory" in t.muster("status").text(), t.muster("status").text())
    check("cause=memory" in node.log() and "store.index_bytes" in node.log(), node.log())
    check(submit.poll() is None, "submit did not wait")
    conserved(t)
    node.stop()
    node = t.node(*bound)  # what was taken can be opened with the same bound, and is not written to
    check("index_bytes" in node.ready_line, node.ready_line)
    check_equal(number(r"total +([\d,]+)", t.muster("tally").text()), shard["records"], "readable")
    node.stop()
    node = t.node("-s", "store.index_bytes=64MiB")
    done = finished(submit)
    check_equal(summary(done)["accepted"] + summary(done)["duplicate"], 200000, done.error())
    conserved(t)
    node.stop()
    refused = t.muster("run", "--data", t.data, "--listen", "none", "-s", "store.index_bytes=4MiB", code=78)
    needed = number(r"needs (\d+) bytes", refused.error())
    t.node("-s", f"store.index_bytes={needed}").stop()
    check("index_bytes" in t.muster("run", "--data", t.data, "--listen", "none", "-s", "store.index_bytes=16TiB", code=78).error(), "more than there is")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 200000, "stored")


def filled_to_the_last_block(t):
    """something else fills the disk in the middle of a stream: the node waits for room, then goes on by itself, nothing lost"""
    with small_disk(t, "160m"):
        node = t.node("-s", "store.disk_reserve_bytes=0")
        stream = t.generate(150000, t.seed % 1000)
        verdicts = t.path("verdicts.tsv")
        submit = t.popen("submit", "--batch", "300", "--verdicts", verdicts, "-", stdin=subprocess.PIPE, stdout=-1, stderr=-1)
        feed(submit, stream, 6)
        wait_until(lambda: sum(p["counters"]["records_accepted"] for p in t.status()["processes"]) > 10000, 10, "records in the store")
        ballast = os.path.join(t.data, "ballast")
        with open(ballast, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(65536))
            except OSError as error:
                check_equal(error.errno, errno.ENOSPC, "the end of the ballast")
            wait_until(lambda: "event=worker.storage_failed" in node.log(), 10, "a commit that fails")
            check_equal(node.process.poll(), None, f"the node while full: {node.log()[-3000:]}")
            time.sleep(3)
            check_equal(node.process.poll(), None, f"the node while full: {node.log()[-3000:]}")
        os.unlink(ballast)
        done = finished(submit)
        check_equal(done.code, 0, done.error() + node.log()[-3000:])
        check_equal(summary(done)["accepted"] + summary(done)["duplicate"], 150000, "answered in the end")
        check("event=child.wanting child=worker-" in node.log(), f"the log tells of it: {node.log()[-3000:]}")
        conserved(t)
        oracle = Oracle(t)
        oracle.heard(delimited(stream), verdicts)
        check_equal(oracle.examine(), 150000, "stored")
        node.stop()
        check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 150000, "stored")


def write_fails(t):
    """a failed commit is never acknowledged: the shard starts again from what is on disk"""
    node = t.node(*OFTEN, variant="faults", env={"MUSTER_FAULT": "store.in-transaction:fail:3"})  # the third commit of each life
    done = t.muster("submit", "-", "--batch", "500", stdin=t.generate(30000))
    check_equal(summary(done)["accepted"] + summary(done)["duplicate"], 30000, "answered in the end")
    check("event=worker.storage_failed" in node.log(), f"the log tells of it: {node.log()}")
    node.stop()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 30000, "stored")


main("data directory", [of_another_user, open_to_others, foreign_directory, read_only, shard_missing, store_not_mounted, shard_lost_and_mended,
                        shard_down_and_a_long_file, shard_fails_while_serving, shard_that_does_not_open, no_shard_left, truncated_file, flipped_bit, pipes_and_links_in_the_place_of_files,
                        damaged_pages, damaged_record_sent_again, newer_format, full_disk, low_disk_at_start, index_is_full, filled_to_the_last_block,
                        write_fails])
