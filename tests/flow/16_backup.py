#!/usr/bin/python3
"""Backup beside a running node and restore: nothing acknowledged before a backup began is missing from it, killed at any moment both go on, what is damaged is
refused by name. KILLS chooses how many kills (8 in `make test`); SEED repeats a run."""
import glob
import os
import re
import shutil
import signal
import time

from harness import check, check_equal, delimited, feed, finished, main, number, small_disk
from oracle import Oracle

KILLS = int(os.environ.get("KILLS", "8"))


def stored(t, data):
    """address -> bytes of all records of a data directory."""
    counts = [int(n.replace(",", "")) for n in re.findall(r"^shard \d+: ([\d,]+) records", t.muster("verify", "--data", data).text(), re.M)]
    records = iter(delimited(t.muster("export", "--format", "pb", "--data", data).out))
    return {f"{shard}:{sequence}": next(records) for shard, count in enumerate(counts) for sequence in range(1, count + 1)}


def tally(t, data):
    return t.muster("tally", "--format", "csv", "--data", data).out


def filled(t, *sizes, refused=0):
    """A stopped node's data directory, filled in so many submits; the node's log says nothing that matters here."""
    node = t.node()
    for size in sizes:
        t.muster("submit", "-", stdin=t.generate(size, t.random.randrange(1 << 30)))
    if refused:
        t.muster("submit", "-", stdin=b"\x05\x0a\x03abc", code=None)
    node.stop()


def restored_same(t, backup, name="same", *arguments):
    """Restores and holds it against the node's own store."""
    target = t.path(name)
    t.muster("restore", backup, "--data", target, *arguments)
    check(stored(t, target) == stored(t, t.data), "the restored records are not those of the node")
    check(tally(t, target) == tally(t, t.data), "the restored tally is not that of the node")
    return target


def under_load(t):
    """under load, workers killed meanwhile: what was acknowledged before a backup began is in it, the rest is a beginning of the node's; later runs bring all"""
    node, oracle, backup = t.node(), Oracle(t), t.path("b")
    for i in range(2):
        first, second = t.generate(20000, t.random.randrange(1 << 30)), t.generate(60000, t.random.randrange(1 << 30), "--duplicates", 2)
        t.muster("submit", "-", "--verdicts", t.path(f"first{i}"), stdin=first)
        oracle.heard(delimited(first), t.path(f"first{i}"))
        submit = t.popen("submit", "-", "--verdicts", t.path(f"second{i}"), stdin=-1, stdout=-1, stderr=-1)
        feed(submit, second, 1.5)
        time.sleep(0.3 + t.random.random() * 0.5)
        before = dict(oracle.accepted)
        running = t.popen("backup", backup, *(["--incremental"] if i else []), stdout=-1, stderr=-1)
        time.sleep(t.random.random() * 0.3)
        node.kill("worker", t.random.randrange(2))
        done = finished(running)
        check_equal(done.code, 0, f"backup beside a load: {done.error()}")
        check("read back as written" in done.text(), done.text())
        check_equal(finished(submit).code, 0, "the load")
        oracle.heard(delimited(second), t.path(f"second{i}"))
        copy = t.path(f"copy{i}")
        t.muster("restore", backup, "--data", copy)
        there, now = stored(t, copy), stored(t, t.data)
        for address, record in before.items():
            check(there.get(address) == record, f"ACCEPTED {address} before backup {i} began is {'missing' if address not in there else 'another record'} in it")
        check(all(now.get(address) == record for address, record in there.items()), f"backup {i} holds what the node does not")
        print(f"#   run {i}: {len(before):,} acknowledged before, {len(there):,} in the backup, {len(now):,} stored when the load had ended", flush=True)
    t.muster("backup", backup, "--incremental")
    node.stop()
    t.muster("restore", backup, "--data", t.path("all"))
    shutil.rmtree(t.data)  # the disk is lost
    os.rename(t.path("all"), t.data)
    node = t.node()
    oracle.examine()
    t.muster("submit", "-", "--verdicts", t.path("again"), stdin=first)  # it knows what it has
    oracle.heard(delimited(first), t.path("again"))
    check_equal(open(t.path("again")).read().count("DUPLICATE"), len(delimited(first)), "duplicates told by the restored node")
    oracle.examine()
    node.stop()


def killed(t, make, points):
    """Runs a command again and again, killed at seeded moments and at named points, until one run ends by itself. How many kills."""
    kills = 0
    while kills < KILLS:
        if t.random.random() < 0.5:
            fault = f"{t.random.choice(points)}:kill:{t.random.randrange(1, 6)}"
            done = t.muster(*make(), variant="faults", env={"MUSTER_FAULT": fault}, code=None)
            code, error = done.code, done.error()
        else:
            p = t.popen(*make(), stdout=-1, stderr=-1)
            time.sleep(t.random.random() * 0.12)
            p.kill()
            done = finished(p)
            code, error = done.code, done.error()
        if code == 0:
            break
        check_equal(code, -signal.SIGKILL, f"exit of a run that was to be killed: {error}")
        kills += 1
    return kills


def killed_backups(t):
    """a backup that is killed at any moment: the same command goes on, and what was sealed before stays whole"""
    filled(t, 30000)
    backup, kills, sealed = t.path("b"), 0, 0
    while kills < KILLS:
        if sealed:
            node = t.node()
            t.muster("submit", "-", stdin=t.generate(15000, t.random.randrange(1 << 30)))
            node.stop()
        kills += killed(t, lambda: ["backup", backup, "--incremental"], ["backup.write", "backup.sync", "backup.merge", "backup.seal", "backup.sweep"])
        if sealed:
            check_equal(number(r"whole: ([\d,]+) records", t.muster("backup", "--check", backup).text()) >= sealed, True, "what was sealed is whole")
        sealed = number(r"backed up: ([\d,]+)", t.muster("backup", backup, "--incremental").text())
    check("whole" in t.muster("backup", "--check", backup).text(), "the backup is whole")
    restored_same(t, backup)
    print(f"#   {kills} kills (seed {t.seed})", flush=True)


def killed_restores(t):
    """a restore that is killed at any moment: its name is not there, no node starts on half of one, and the same command goes on"""
    filled(t, 60000, 500, 500)
    backup, kills, i = t.path("b"), 0, 0
    t.muster("backup", backup)
    while kills < KILLS:
        i += 1
        target = t.path(f"n{i}")
        before = killed(t, lambda: ["restore", backup, "--data", target], ["restore.commit", "restore.block", "restore.name"])
        kills += before
        if not os.path.exists(target):
            t.muster("restore", backup, "--data", target)
        check(not os.path.exists(target + ".restoring"), "the directory in the making is left")
        check(stored(t, target) == stored(t, t.data), f"restore {i} after {before} kills is not the node's")
        check(tally(t, target) == tally(t, t.data), f"tally of restore {i}")
    print(f"#   {kills} kills in {i} restores (seed {t.seed})", flush=True)


def read_back(t):
    """a disk that writes something else: the run says which sequences do not read back, seals nothing, and the next one mends it"""
    filled(t, 10000)
    backup = t.path("b")
    wrong = t.muster("backup", backup, variant="faults", env={"MUSTER_FAULT": "backup.flip:fail:3"}, code=65).error()
    check(re.search(r"shard-\d/0+1-1\.blocks does not read back as it was written, from sequence \d+ on", wrong), wrong)
    check("never finished" in t.muster("restore", backup, "--data", t.path("n"), code=65).error(), "a backup that was never sealed")
    wrong = t.muster("backup", backup, variant="faults", env={"MUSTER_FAULT": "refused.flip:fail:1"}, code=65).error()
    check("shard-0/refused-1 does not read back as it was written" in wrong, wrong)
    t.muster("backup", backup)
    restored_same(t, backup)


def half_full(t):
    """a disk that has room for what is new and not for the merging: the run is sealed with one small segment more, and the next one merges them"""
    filled(t, 3000)
    backup = t.path("b")
    t.muster("backup", backup)
    filled(t, 3000)
    t.muster("backup", backup, "--incremental", variant="faults", env={"MUSTER_FAULT": "backup.merge:full:always"})
    check_equal(len(glob.glob(backup + "/shard-0/*.blocks")), 2, "segments of a run that could not merge")
    filled(t, 3000)
    t.muster("backup", backup, "--incremental")
    check_equal(len(glob.glob(backup + "/shard-0/*.blocks")), 1, "segments when there was room")
    restored_same(t, backup)


def damaged(t):
    """a damaged backup is refused by file, shard and sequences, nothing is written, and the --to that it names restores what is whole"""
    filled(t, 20000)
    backup, good = t.path("b"), t.path("good")
    t.muster("backup", good)
    for i in range(6):
        shutil.rmtree(backup, ignore_errors=True)
        shutil.copytree(good, backup)
        shard = t.random.randrange(2)
        name = os.path.basename(glob.glob(f"{backup}/shard-{shard}/*.blocks")[0])
        path = f"{backup}/shard-{shard}/{name}"
        if i == 5:
            os.unlink(path)
        elif i == 4:
            os.truncate(path, t.random.randrange(os.path.getsize(path)))
        else:
            with open(path, "r+b") as f:
                at = t.random.randrange(os.path.getsize(path))
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ 1 << t.random.randrange(8)]))
        told = t.muster("backup", "--check", backup, code=65).text()
        refused = t.muster("restore", backup, "--data", t.path("refused"), code=65).error()
        for text in (told, refused):
            check(f"shard {shard}: shard-{shard}/{name}" in text and re.search(r"sequences \d+ to \d+ ", text), text)
        check("nothing was written" in refused and not glob.glob(t.path("refused*")), refused)
        to = re.search(r"--to (\S+)", refused).group(1)
        target = t.path(f"part{i}")
        t.muster("restore", backup, "--data", target, "--to", to)
        part, all_of_it = stored(t, target), stored(t, t.data)
        check(all(all_of_it[a] == r for a, r in part.items()), "what was whole is restored as it was")
        check_equal(sum(int(word.split(":")[1]) for word in to.split(",")), len(part), "records of the --to that was named")
    with open(good + "/manifest", "r+b") as f:
        f.truncate(os.path.getsize(good + "/manifest") - 20)
    refused = t.muster("restore", good, "--data", t.path("refused"), code=65).error()
    check("manifest is cut off" in refused and "manifest.copy" in refused, refused)
    shutil.copy(good + "/manifest.copy", good + "/manifest")
    restored_same(t, good)


def flip(path, of):
    """Flips a bit of the only place where these bytes stand in the file."""
    with open(path, "r+b") as f:
        at = f.read().find(of)
        check(at >= 0, f"{of} is not in {path}")
        f.seek(at)
        f.write(bytes([of[0] ^ 1]))


def half_damaged(t):
    """damaged refused records are named and left out, all else is backed up (exit 1, 0 with --no-quarantine); a lost segment is named and stops the next run (65)"""
    filled(t, 1000, refused=1)
    backup = t.path("b")
    for shard in (0, 1):
        if t.muster("quarantine", "show", f"{shard}:1", code=None).code == 0:
            break
    flip(f"{t.data}/store/shard-{shard}/data.mdb", b"\x0a\x03abc")
    told = t.muster("backup", backup, code=1)
    check(f"refused record {shard}:1 of submitter 0 is damaged in the store and is not in the backup" in told.error(), told.error())
    check("backed up: 1,000 records" in told.text() and "0 refused, 1 left out" in told.text(), told.text())
    check("whole: 1,000 records" in t.muster("backup", "--check", backup).text(), "a backup without the damaged entry")
    check_equal(t.muster("backup", backup, "--incremental", "--no-quarantine").error(), "", "what is said of a quarantine that was not asked for")
    target = t.path("n")
    t.muster("restore", backup, "--data", target)
    exported = [t.muster("export", "--format", "pb", "--data", d).out for d in (target, t.data)]
    check(exported[0] == exported[1], "the records beside the damaged entry")
    check("1,000 records" in t.muster("verify", "--data", target).text(), "a restored store without the damaged entry")
    os.unlink(glob.glob(backup + "/shard-1/*.blocks")[0])
    refused = t.muster("backup", backup, "--incremental", "--no-quarantine", code=65).error()
    check("shard-1/00000000000000000001-1.blocks is missing (sequences 1 to" in refused and "back up into a new directory" in refused, refused)


def verified(t):
    """what a killed restore had written and the disk has damaged since is found before it has its name (65): no node starts there"""
    filled(t, 2000)
    backup, target = t.path("b"), t.path("n")
    t.muster("backup", backup)
    t.muster("restore", backup, "--data", target, variant="faults", env={"MUSTER_FAULT": "restore.name:kill:1"}, code=-signal.SIGKILL)
    flip(target + ".restoring/store/shard-0/data.mdb", stored(t, t.data)["0:5"])
    told = t.muster("restore", backup, "--data", target, code=65).error()
    check("what was restored of shard 0 is not right" in told and not os.path.exists(target), told)


def another_restore(t):
    """a directory in the making is gone on with by the very same restore alone; one that is not this user's, or no restore's, is left as it is"""
    filled(t, 20000)
    backup, target = t.path("b"), t.path("n")
    making = target + ".restoring"
    t.muster("backup", backup)

    def refused(code, words, *arguments, source=backup):
        before = sorted(os.listdir(making)), os.stat(making).st_mtime_ns
        error = t.muster("restore", source, "--data", target, *arguments, code=code).error()
        check(words in error and "nothing was changed" in error, error)
        check_equal((sorted(os.listdir(making)), os.stat(making).st_mtime_ns), before, f"what is in it after {arguments}")

    os.mkdir(t.path("elsewhere"), 0o700)
    os.symlink(t.path("elsewhere"), making)
    refused(77, "no symbolic link")
    os.unlink(making)
    os.mkdir(making)
    os.chmod(making, 0o750)
    refused(77, "mode 0700")
    os.chmod(making, 0o700)
    for name in ("restored.123.new", "restored.notes", "restored..new", "restored.12.new.keep"):
        t.write(f"n.restoring/{name}", "mine")
    refused(73, "was not made by a restore")
    for name in ("restored.notes", "restored..new", "restored.12.new.keep"):
        os.unlink(f"{making}/{name}")
    t.write("n.restoring/letter", "mine")
    refused(73, "was not made by a restore")
    os.unlink(making + "/letter")  # what is left now is what a kill leaves at the very begin
    killed = t.muster("restore", backup, "--data", target, "--to", "0:9000", variant="faults", env={"MUSTER_FAULT": "restore.commit:kill:1"}, code=None)
    check_equal(killed.code, -signal.SIGKILL, f"exit of a restore that was to be killed: {killed.error()}")
    for arguments in ((), ("--to", "0:9001"), ("--to", "0:9000,1:5"), ("--to", "0:9000", "--no-quarantine"), ("--to", "0:9000", "--to-time", "2031-01-01T00:00:00Z")):
        refused(73, "with other options", *arguments)
    later = t.path("later")
    shutil.copytree(backup, later)
    t.muster("backup", later, "--incremental")
    refused(73, "another run of it", "--to", "0:9000", source=later)
    t.muster("restore", backup, "--data", target, "--to", "0:9000")
    check_equal(sum(a.startswith("0:") for a in stored(t, target)), 9000, "records of shard 0")
    check("shard 0 up to sequence 9000 of" in open(target + "/restored").read(), "what the new directory says of itself")
    check_equal(glob.glob(target + "/restored.*"), [], "what the kill had left of the note")


def map_size(t):
    """a restore takes the node's map size, says what a backup needs that does not fit, and goes on with more"""
    node = t.node("--workers", "1")
    t.muster("submit", "-", stdin=t.generate(100000, 5))
    node.stop()
    backup, target = t.path("b"), t.path("made")
    t.muster("backup", backup)
    small = t.write("small.conf", "[store]\nmap_bytes = 16MiB\n")
    for arguments in (("--map-bytes", "16MiB"), ("--config", small)):
        refused = t.muster("restore", backup, "--data", target, *arguments, code=78).error()
        check("store.map_bytes is 16777216; nothing was written; say --map-bytes" in refused, refused)
    check(not glob.glob(target + "*"), "what was refused has left something")
    t.muster("restore", backup, "--data", target, "--map-bytes", "16", code=64)
    t.muster("restore", backup, "--data", target, "--config", t.path("none"), code=66)
    late = ("--to-time", "2031-01-01T00:00:00Z")  # how much that is nobody knows before
    refused = t.muster("restore", backup, "--data", target, *late, "--map-bytes", "16MiB", code=78).error()
    check("does not fit into 16777216 bytes" in refused and "goes on from there" in refused, refused)
    t.muster("restore", backup, "--data", target, *late, "--map-bytes", "64MiB", "--config", small)
    check(stored(t, target) == stored(t, t.data), "what was restored with more room")


def refusals(t):
    """a restore overwrites nothing; a backup leaves alone what is none, another node's, and a backup that was not asked to grow; all say so"""
    filled(t, 1000, refused=1)
    backup = t.path("b")
    t.muster("backup", backup)
    check_equal(os.stat(backup).st_mode & 0o777, 0o700, "mode of a backup")
    check(all(os.stat(f).st_mode & 0o077 == 0 for f in glob.glob(backup + "/**", recursive=True)), "others may read the backup")
    for there in ("empty", "file"):
        os.mkdir(t.path(there)) if there == "empty" else t.write(there, "mine")
        check("nothing was changed" in t.muster("restore", backup, "--data", t.path(there), code=73).error(), there)
    check_equal(os.listdir(t.path("empty")), [], "what is in the directory that was there")
    check("--incremental" in t.muster("backup", backup, code=73).error(), "a second backup says how to add")
    os.mkdir(t.path("other"))
    t.write("other/letter", "mine")
    check("neither empty nor a backup" in t.muster("backup", t.path("other"), code=73).error(), "another directory")
    check_equal(os.listdir(t.path("other")), ["letter"], "what is in it")
    t.muster("restore", t.path("other"), "--data", t.path("n"), code=66)
    t.muster("backup", "--check", t.path("none"), code=66)
    t.muster("backup", code=64)
    first = t.data
    t.data = t.path("second")
    t.env["MUSTER_DATA"] = t.data
    filled(t, 1000)
    refused = t.muster("backup", backup, "--incremental", code=78).error()
    check("another node" in refused, refused)
    t.muster("backup", "--check", backup)
    t.data = first
    t.env["MUSTER_DATA"] = first
    target = restored_same(t, backup)
    listed = [t.muster("quarantine", "list", "--data", d).out for d in (target, t.data)]
    check_equal(listed[0], listed[1], "the quarantine of the restored node")
    check_equal(number(r"([\d,]+) quarantined", t.muster("verify", "--data", target).text().split("shard 1")[0])
                + number(r"([\d,]+) quarantined", t.muster("verify", "--data", target).text().split("shard 1")[1]), 1, "refused records restored")
    check("muster restore" in t.muster("help", "restore").text(), "help")
    said = t.muster("restore", backup, "--data", t.path("said")).text()
    check(open(first + "/node.id").read().strip() in said and "never run both" in said and "keys" in said, said)
    check(not os.path.exists(target + "/keys/node.key"), "a key came out of a backup")


def points_in_time(t):
    """--to ends each shard with its sequence, --to-time before the first record received later; together the earlier one"""
    node = t.node("--workers", "1")
    t.muster("submit", "-", "--batch", "100", stdin=t.generate(3000, 5))
    time.sleep(0.3)
    middle = time.time()
    time.sleep(0.3)
    t.muster("submit", "-", "--batch", "100", stdin=t.generate(2000, 6))
    node.stop()
    backup = t.path("b")
    t.muster("backup", backup)
    all_of_it = stored(t, t.data)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(middle)) + f"{middle % 1:.6f}"[1:] + "Z"
    to = t.random.randrange(1, 5000)
    for arguments, expected in ((("--to", f"0:{to}"), to), (("--to-time", moment), 3000), (("--to", "0:10", "--to-time", moment), 10), (("--to", "0:4000", "--to-time", moment), 3000),
                                (("--to-time", "2001-02-03T04:05:06+01:00"), 0), (("--to", "0:0"), 0), (("--to", "0:5000"), 5000)):
        target = t.path(f"n{expected}-{len(arguments)}-{arguments[1][:4]}")
        t.muster("restore", backup, "--data", target, *arguments)
        part = stored(t, target)
        check_equal(len(part), expected, f"records of {arguments}")
        check(all(all_of_it[a] == r for a, r in part.items()), f"records of {arguments}")
        receipt = [t.muster("get", "0:1", "--data", d).out for d in (target, t.data)] if expected else [0, 0]
        check_equal(receipt[0], receipt[1], "the receipt of a record")
    t.muster("restore", backup, "--data", t.path("x"), "--to", "0:5001", code=66)
    t.muster("restore", backup, "--data", t.path("x"), "--to", "1:1", code=66)
    t.muster("restore", backup, "--data", t.path("x"), "--to", "0", code=64)
    t.muster("restore", backup, "--data", t.path("x"), "--to-time", "yesterday", code=64)
    check(not glob.glob(t.path("x*")), "what was refused has left something")


def full_disk(t):
    """a disk that is full during a backup: it says so, what was whole is kept, the sealed part restores, and it goes on when there is room"""
    filled(t, 5000)
    own = t.data
    with small_disk(t, "4m"):
        backup = os.path.join(t.data, "b")
        t.env["MUSTER_DATA"] = own
        t.muster("backup", backup, "--data", own)
        node = t.node(data=own)
        t.muster("submit", "-", "--data", own, stdin=t.generate(30000, 9))
        for _ in range(2):
            full = t.muster("backup", backup, "--incremental", "--data", own, code=None)
            check(full.code != 0 and "No space left" in full.error() and "goes on from there" in full.error(), f"exit {full.code}: {full.error()}")
        check_equal(number(r"whole: ([\d,]+) records", t.muster("backup", "--check", backup).text()), 5000, "records of the run before")
        t.muster("restore", backup, "--data", t.path("before"))
        small, backup = backup, t.path("roomy")
        shutil.copytree(small, backup)
        done = t.muster("backup", backup, "--incremental", "--data", own).text()
        check_equal(number(r"backed up: ([\d,]+)", done), 35000, "records when there was room")
        node.stop()
        t.data = own
        restored_same(t, backup)
        t.data = os.path.dirname(small)


main("backup", [under_load, killed_backups, killed_restores, read_back, half_full, damaged, half_damaged, verified, another_restore, map_size, refusals, points_in_time, full_disk])
