#!/usr/bin/env python3
"""The settings as people meet them: muster config, its manual page, muster reload, and muster check."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from harness import ROOT, Skipped, binary, check, check_equal, main, small_disk, summary, wait_until  # noqa: E402


def settings_of(text):
    """{section.key: (value, comment above it)} of a file of settings."""
    found, section, above = {}, "", []
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section, above = match.group(1), []
        elif line.startswith("# "):
            above.append(line[2:])
        elif match := re.fullmatch(r"(\w+) = (.*)", line):
            found[f"{section}.{match.group(1)}"] = (match.group(2), "\n".join(above))
            above = []
        else:
            above = []
    return found


def shown(t, *arguments):
    """{section.key: (value, from)} as muster config shows it."""
    lines = t.muster("config", *arguments).text().splitlines()[2:]
    return {cells[0]: (cells[1], cells[2]) for cells in (re.split(r"  +", line.strip(), maxsplit=2) for line in lines)}


def defaults_and_manual(t):
    """muster config --defaults is a file that --check and a node take; the manual page says the same of each setting"""
    text = t.muster("config", "--defaults").text()
    settings = settings_of(text)
    check(len(settings) > 15 and "ingest.credit" in settings and "store.map_bytes" in settings, text)
    for name, (value, comment) in settings.items():
        default = re.search(r"Default: (.*?)\. ", comment).group(1)
        check_equal(value, default, name)
        check("Allowed: " in comment and ("muster reload" in comment or "needs a restart" in comment), comment)
    path = t.write("muster.conf", text)
    check_equal(t.muster("config", "--check", path).text(), f"{path}: ok, {len(settings)} settings\n", "--check")
    page = subprocess.run([os.path.join(ROOT, "ops", "man.sh"), "--settings", binary()], capture_output=True, text=True, check=True).stdout
    told, section = {}, ""
    plain = page.replace("\\-", "-").replace("\n.br\n", "\n")
    for part in re.split(r"\n(?=\.SH |\.TP)", plain):
        if match := re.match(r"\.SH \[(\w+)\]", part):
            section = match.group(1)
        elif match := re.match(r"\.TP\n\.B (\w+)\n(.*)", part, re.S):
            told[f"{section}.{match.group(1)}"] = match.group(2).strip()
    check_equal(told, {name: comment for name, (_, comment) in settings.items()}, "the manual page")
    node = t.node("--config", path)
    have = shown(t)
    check_equal(set(have), set(settings), "settings of a node")
    check(all(path + ":" in source for name, (_, source) in have.items() if name != "node.listen"), str(have))
    check_equal(have["node.listen"], ("none", "--listen"), "of the command line")
    check(re.match(r".*:\d+ \(0\), worked out at the start", have["node.workers"][1]), str(have["node.workers"]))
    check_equal(t.muster("config", "--check").text(), f"{path}: ok, {len(settings)} settings\n", "the file of the running node")
    node.stop()


def what_is_wrong(t):
    """muster config --check says file, line, what is wrong and what is allowed (78); a file that is not there is 66"""
    for text, line, words in (("[node]\nworkers = 2\n[nod]\n", 3, ("nod", "ingest, store, rules")), ("[node]\ningest = 1\n", 2, ("ingest", "ingests")),
                              ("[store]\n\nmap_bytes = 1 GB\n", 3, ("1 GB", "GiB")), ("[node]\nfrozen_ms = 10 s\n", 2, ("10 s", "allowed: ms")),
                              ("[ingest]\ncredit = 0\n", 2, ("out of bounds", "1 to 1024 batches")), ("[node]\nlog_level = loud\n", 2, ("debug, info, warn, error",)),
                              ("[node]\nlisten = 7411\n", 2, ("tcp://ADDRESS:PORT",))):
        path = t.write("wrong.conf", text)
        for command in (("config", "--check", path), ("config", "--config", path), ("run", "--config", path)):
            said = t.muster(*command, code=78).error()
            check(f"wrong.conf:{line}: " in said and all(w in said for w in words), f"{command}: {text!r}: {said}")
    t.muster("config", "--check", t.path("none.conf"), code=66)
    t.muster("config", "--check", code=64)
    check("sand" in t.muster("config", "--set", "ingest.credit=sand", code=64).error(), "an option")
    have = shown(t, "--set", "ingest.credit=5", "--workers", "3", "--config", t.write("m.conf", "[rules]\n\nearliest_year = 1999\n"))
    check_equal((have["ingest.credit"], have["node.workers"], have["rules.earliest_year"], have["node.ingests"]),
                (("5 batches", "--set"), ("3", "--workers"), ("1999", t.path("m.conf") + ":3"), ("1", "default")), "without a node")


def reload_changes(t):
    """reload: what is live is in force in every process at once, also in one that is started later; the rest is told; what the command line says stays"""
    path = t.write("m.conf", "[ingest]\ncredit = 7\n[node]\nlog_level = warn\n")
    node = t.node("--config", path, "--set", "store.quarantine_bytes=1 MiB")
    check("0 changed, 0 wait" in t.muster("reload").text(), "nothing has changed")
    records = t.generate(2000)
    t.write("m.conf", "[ingest]\ncredit = 9\npeers = 99\n[node]\nlog_level = debug\n[store]\nquarantine_records = 3\nquarantine_bytes = 2 MiB\n[rules]\nearliest_year = 2100\n")
    said = t.muster("reload").text()
    for line in ("ingest.credit: 9 batches, was 7 batches", "ingest.peers: 99 peers needs a restart; 1024 peers is in force", "node.log_level: debug, was warn",
                 "store.quarantine_records: 3 records, was 10000 records", "rules.earliest_year: 2100, was 2000", "settings: 4 changed, 1 waits for a restart",
                 "keys: 0 allowed, 0 revoked"):
        check(line in said, f"{line!r} is not in:\n{said}")
    check("quarantine_bytes" not in said, said)
    check(t.muster("reload").text().startswith("ingest.peers: 99 peers needs a restart"), "told until the restart")
    have = shown(t)
    check_equal((have["ingest.credit"], have["ingest.peers"], have["store.quarantine_bytes"]), (("9 batches", path + ":2"), ("1024 peers", "default"), ("1 MiB", "--set")), "in force")
    wait_until(lambda: node.log().count("event=child.reread") >= 3, 5, "all children to have heard")
    wait_until(lambda: t.status()["credit"] == 9, 5, "the credit")
    check_equal(summary(t.muster("submit", "-", stdin=records, code=None))["invalid"], 2000, "the new rule")
    wait_until(lambda: sum(s["quarantined"] for s in t.status()["shards"]) == 6, 5, "three refused records a shard")
    killed = {role: node.kill(role) for role in ("worker", "ingest")}
    wait_until(lambda: all(node.pids(role).get(0) not in (None, pid) for role, pid in killed.items()) and node.log().count("event=child.ready") == 2, 20, "their successors")
    check_equal(summary(t.muster("submit", "-", stdin=records, code=None))["invalid"], 2000, "the new rule after a restart of a worker")
    wait_until(lambda: t.status()["credit"] == 9, 5, "the credit of an ingest that was started again")
    t.write("m.conf", "")
    check("rules.earliest_year: 2000, was 2100" in t.muster("reload").text(), "back to the default")
    check_equal(summary(t.muster("submit", "-", stdin=records))["accepted"], 2000, "the old rule")
    check_equal(t.muster("reload", "--data", t.path("none"), code=66).text(), "", "no directory")
    node.stop()
    t.muster("reload", code=69)


def reload_refused(t):
    """reload: a file with a mistake, one that is gone, and a disk that cannot take the settings change nothing, and it is said why"""
    path = t.write("m.conf", "[ingest]\ncredit = 7\n")
    node = t.node("--config", path)
    before = shown(t)
    for text, code, words in (("[ingest]\ncredit = 8\n[rules]\nearliest_year = 1\n", 78, "m.conf:4:"), (None, 66, "m.conf")):
        t.write("m.conf", text) if text else os.unlink(path)
        said = t.muster("reload", code=code).error()
        check("nothing was changed" in said and words in said, said)
        check_equal(shown(t), before, "settings")
    t.write("m.conf", "[ingest]\ncredit = 8\n")
    conf = os.path.join(t.data, "run", "node.conf")
    os.rename(conf, conf + ".kept")
    os.mkdir(conf)
    check("nothing was changed" in t.muster("reload", code=None).error(), "a place that cannot be written to")
    os.rmdir(conf)
    os.rename(conf + ".kept", conf)
    check_equal(shown(t), before, "settings")
    check_equal(t.status()["credit"], 7, "the credit")
    check("event=child.reread" not in node.log(), "a child was told")
    check("8 batches, was 7 batches" in t.muster("reload").text(), "mended")
    node.stop()


def reload_disturbs_nothing(t):
    """reload and SIGHUP under load and while the node starts: no process ends, each record has its one verdict, nothing is handed back"""
    path = t.write("m.conf", "")
    node = t.node("--config", path, wait=False)
    lock = os.path.join(t.data, "muster.lock")  # whoever asks the node for something finds its pid there
    deadline = time.monotonic() + 10
    while not (os.path.exists(lock) and open(lock).read().strip() == str(node.process.pid)):  # without a pause, to come as early as one can
        check(time.monotonic() < deadline, "the lock was not taken")
    while "muster: ready:" not in node.log():
        check(node.process.poll() is None, f"a SIGHUP has ended the node:\n{node.log()}")
        node.process.send_signal(signal.SIGHUP)
        time.sleep(0.005)  # so many of them in a start
    node.wait_ready()
    stream = t.write("s.pb", t.generate(200000, t.seed))
    submit = t.popen("submit", stream, stdout=-1, stderr=-1)
    rounds = 0
    while submit.poll() is None and rounds < 6:
        rounds += 1
        t.write("m.conf.new", f"[ingest]\ncredit = {t.random.randint(1, 64)}\nshard_timeout_ms = {t.random.randint(5000, 9000)}\n[store]\nquarantine_records = {rounds}\n")
        os.rename(t.path("m.conf.new"), path)
        t.muster("reload")
    out, error = submit.communicate()
    check_equal(submit.returncode, 0, f"submit: {error.decode()}")
    check(rounds > 1 and "200,000 accepted" in out.decode(), f"{rounds} reloads: {out.decode()}")
    status = t.status()
    check_equal((status["restarts"], status["records_accepted"], status["records_handed_back"]), (0, 200000, 0), "what the node counted")
    t.muster("verify")
    node.stop()


def lines_of(t, *arguments, code=0):
    """The checks of muster check --json, by their area."""
    found = json.loads(t.muster("check", "--json", *arguments, code=code).out)
    check_equal(found["exit_code"], code, "the exit code told")
    areas = {}
    for line in found["checks"]:
        check(line["verdict"] in ("ok", "warn", "fail") and line["found"], str(line))
        areas.setdefault(line["area"], []).append(line)
    return areas


def tree(root):
    """Every file below, with its bytes; LMDB's table of readers and what the node itself counts are left out."""
    found = {}
    for folder, folders, files in os.walk(root):
        found.update({os.path.join(folder, name): None for name in folders})
        for name in files:
            path = os.path.join(folder, name)
            if name != "lock.mdb" and "counters" not in path and not name.endswith(".sock"):
                with open(path, "rb") as f:
                    found[path] = f.read()
    return found


def verdict(areas, area):
    return max((line["verdict"] for line in areas[area]), key=["ok", "warn", "fail"].index)


def check_before_and_beside(t):
    """check: before the first start, beside the running node, and after; it changes nothing"""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    listen = f"tcp://127.0.0.1:{port}"
    areas = lines_of(t, "--listen", listen)
    check(not os.path.exists(t.data) and os.listdir(t.directory) == [], f"left: {os.listdir(t.directory)}")
    check("first start makes it" in areas["directory"][0]["found"], str(areas))
    for area in ("kernel", "clock", "limits", "memory", "file system", "flush", "disk", "ports", "libraries", "store", "settings"):
        check(area in areas and verdict(areas, area) != "fail", f"{area}: {areas.get(area)}")
    check(re.search(r"ZeroMQ \d.*LMDB \d.*libuv \d", areas["libraries"][0]["found"]), str(areas["libraries"]))
    node = t.node("--listen", listen)
    before = tree(t.data)
    areas = lines_of(t)
    check(f"pid {node.process.pid}" in areas["directory"][0]["found"], str(areas["directory"]))
    check("held by this node" in areas["ports"][0]["found"], str(areas["ports"]))
    check("nobody may submit" in areas["keys"][0]["found"], str(areas["keys"]))
    check_equal(tree(t.data), before, "files beside a node")
    text = t.muster("check").text()
    check(re.search(r"^\d+ checks: \d+ ok, [1-9]\d* warnings?, 0 failed\n\Z", text, re.M), text)
    check_equal(t.status()["restarts"], 0, "restarts")
    node.stop()
    before = tree(t.data)
    check("is free" in lines_of(t, "--listen", listen)["ports"][0]["found"], "the port is free again")
    check_equal(tree(t.data), before, "files of a stopped node")


def check_finds(t):
    """check: what would keep a node from starting or serving fails, with the remedy and the exit code of run"""
    node = t.node()
    node.stop()
    key = os.path.join(t.data, "keys", "node.key")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        taken = f"tcp://127.0.0.1:{s.getsockname()[1]}"
        free = "none"
        for arguments, area, words, code in ((("--listen", taken), "ports", "in use", 73), (("--listen", "tcp://192.0.2.1:7411"), "ports", "cannot be bound", 73),
                                             (("--listen", "tcp://no-interface:7411"), "ports", "no-interface", 73),
                                             (("--listen", free, "--set", "store.disk_reserve_bytes=16 TiB"), "disk", "watermark", 75),
                                             (("--listen", free, "--set", "store.index_bytes=16 TiB"), "memory", "bytes of memory", 78),
                                             (("--listen", free, "--workers", "3"), "memory", "2 workers", 78),
                                             (("--listen", free, "--set", "ingest.peers=65535"), "limits", "open files", 78),
                                             (("--config", t.write("m.conf", "[x]\n")), "settings", "m.conf:1", 78)):
            areas = lines_of(t, *arguments, code=code)
            check(any(line["verdict"] == "fail" and words in line["found"] for line in areas[area]), f"{arguments}: {areas[area]}")
            if code in (73, 75):
                check(all(line["remedy"] for line in areas[area] if line["verdict"] == "fail"), str(areas[area]))
    os.chmod(key, 0o644)
    areas = lines_of(t, "--listen", "none", code=77)
    check("node.key" in areas["permissions"][0]["found"] and "chmod 600" in areas["permissions"][0]["remedy"], str(areas["permissions"]))
    text = t.muster("check", "--listen", "none", code=77).text()
    check(re.search(r"^FAIL  permissions .*node\.key.*\n +-> .*chmod 600", text, re.M), text)
    os.chmod(key, 0o600)
    os.chmod(t.data, 0o755)
    check_equal(verdict(lines_of(t, "--listen", "none", code=77), "directory"), "fail", "a directory that is open to others")
    os.chmod(t.data, 0o700)
    os.rename(os.path.join(t.data, "store", "shard-0"), t.path("away"))
    check("shard 0 is missing" in lines_of(t, "--listen", "none", code=65)["store"][0]["found"], "a shard that is missing")
    os.rename(t.path("away"), os.path.join(t.data, "store", "shard-0"))
    check_equal(verdict(lines_of(t, "--listen", "none"), "store"), "ok", "whole again")
    check("is not there" in lines_of(t, "--data", t.path("no/such"), "--listen", "none", code=73)["directory"][0]["found"], "no parent")
    t.muster("check", "--data", t.path("x"), "more", code=64)


def check_volatile(t):
    """check: a data directory that is kept in memory is a warning"""
    with small_disk(t, "32m"):
        areas = lines_of(t, "--listen", "none", "--set", "store.disk_reserve_bytes=1 MiB")
        check_equal(verdict(areas, "file system"), "warn", str(areas["file system"]))
        check("keeps nothing" in areas["file system"][0]["found"] and verdict(areas, "flush") == "ok", str(areas))
        check_equal(verdict(lines_of(t, "--listen", "none", code=75), "disk"), "fail", "32 MiB below the watermark")


main("settings", [defaults_and_manual, what_is_wrong, reload_changes, reload_refused, reload_disturbs_nothing, check_before_and_beside, check_finds, check_volatile])
