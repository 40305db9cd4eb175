#!/usr/bin/python3
"""The commands as their users type them, alone and composed in pipes."""
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time

import wire
from harness import SLOW, binary, check, check_equal, delimited, feed, main, number, summary, tally_total, wait_until

MONTHS = {"2020-10": 71929, "2020-11": 72113, "2020-12": 73994, "2021-01": 78414, "2021-02": 101099, "2021-03": 173277,
          "2021-04": 178795, "2021-05": 180597, "2021-06": 189034, "2021-07": 213593, "2021-08": 209840, "2021-09": 192001}


def the_newcomers_walk(t):
    """generate, submit twice, tally, verify, get, beside the node and after it"""
    stream = t.generate(100000)
    check_equal(len(delimited(stream)), 100000, "records generated")
    check_equal(stream, t.generate(100000), "the same seed gives the same bytes")
    check(stream != t.generate(100000, 8), "another seed gives other bytes")
    path = t.write("s.pb", stream)
    node = t.node()
    check_equal(summary(t.muster("submit", path)), {"submitted": 100000, "accepted": 100000, "duplicate": 0, "conflict": 0, "invalid": 0}, "first")
    check_equal(summary(t.muster("submit", path)), {"submitted": 100000, "accepted": 0, "duplicate": 100000, "conflict": 0, "invalid": 0}, "second")
    check_equal(tally_total(t), 100000, "tally")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 100000, "verify")
    one = json.loads(t.muster("get", "0:1").text())
    encounter_id = re.search(r'"encounter_id":\s*"([0-9a-f-]{36})"', t.muster("get", "0:1").text()).group(1)
    check_equal(json.loads(t.muster("get", encounter_id).text()), one, "by id and by address")
    node.stop()
    check_equal(tally_total(t), 100000, "tally of the stopped node")
    check_equal(json.loads(t.muster("get", "0:1").text()), one, "get of the stopped node")
    t.muster("get", "1:99999999", code=66)
    t.muster("get", "00000000-0000-4000-8000-000000000000", code=66)
    t.muster("get", "nonsense", code=64)


def generated_margins(t):
    """the generator is proportional at N, and its margins are what tally counts"""
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(17347, 3))
    lines = t.muster("tally", "--by", "month", "--format", "csv").text().split()
    check_equal(lines[0].split(",")[-1], "encounter_count", "the count is last")
    months = {line.split(",")[0]: int(line.split(",")[1]) for line in lines[1:]}
    check_equal(set(months), set(MONTHS), "months")
    for month, published in MONTHS.items():
        check(abs(months[month] - published / 100) <= 1, f"{month}: {months[month]} of {published}")
    by = t.muster("tally", "--by", "component,area", "--format", "json").text()
    check_equal(sum(row["encounter_count"] for row in json.loads(by)), 17347, "json adds up")
    t.muster("tally", "--by", "shoe_size", code=64)
    node.stop()


def duplicates_and_invalid(t):
    """generate --duplicates and --invalid: each gets its verdict, and the tally does not move"""
    node = t.node()
    stream = t.generate(10000, 5, "--duplicates", "10", "--invalid", "5")
    total = len(delimited(stream))
    result = t.muster("submit", "-", stdin=stream, code=65)
    done, left_out = summary(result), number(r"([\d,]+) left out", result.text())
    check_equal(done["accepted"], 10000, "accepted")
    check(done["duplicate"] > 900 and done["invalid"] > 400, str(done))
    check_equal(done["accepted"] + done["duplicate"] + done["invalid"] + done["conflict"] + left_out, total, "every record has a verdict")
    check_equal(tally_total(t), 10000, "tally")
    node.stop()


def export_and_back(t):
    """export in both formats, resumed by cursor, submitted to another node: the same store"""
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(5000))
    whole = t.muster("export", "--format", "pb").out
    check_equal(len(delimited(whole)), 5000, "exported")
    first = t.muster("export", "--format", "pb", "--limit", "1234")
    cursor = re.search(r"next cursor: (\S+)", first.error()).group(1)
    check_equal(first.out + t.muster("export", "--format", "pb", "--from", cursor).out, whole, "two halves")
    last = re.search(r"--from 0:(\d+),1:(\d+)$", t.muster("export").error(), re.M)
    check_equal(t.muster("export", "--from", last.group(0)[7:]).out, b"", "nothing has come since")
    for beyond in (f"0:{int(last.group(1)) + 1}", f"0:{last.group(1)},1:999999", "1:999999", "2:1"):
        refused = t.muster("export", "--from", beyond, code=65)
        check_equal(refused.out, b"", "written from a cursor beyond the end")
        check(beyond.rsplit(",")[-1].split(":")[1] in refused.error() and "--from" in refused.error(), refused.error())
        check("next cursor" not in refused.error(), refused.error())
    lines = t.muster("export", "--format", "ndjson").out
    check_equal(lines.count(b"\n"), 5000, "lines")
    node.stop()
    t.data = t.path("other")
    t.env["MUSTER_DATA"] = t.data
    other = t.node("--workers", "3")
    check_equal(summary(t.muster("submit", "-", "--format", "ndjson", stdin=lines))["accepted"], 5000, "from JSON")
    check_equal(summary(t.muster("submit", "-", stdin=whole))["duplicate"], 5000, "the same records in wire form")
    other.stop()


def export_while_records_arrive(t):
    """exports chained by their cursors, each with a limit of its own, write each record once, while others arrive in every shard"""
    node = t.node("--workers", "3")
    sent, written, cursor, rounds = [], [], None, 0
    while True:
        if rounds < 8:
            stream = t.generate(t.random.randint(1, 3000), 100 + rounds)
            check_equal(summary(t.muster("submit", "-", stdin=stream))["accepted"], len(delimited(stream)), "submitted")
            sent += delimited(stream)
        held = [p["counters"]["store_records"] for p in t.status()["processes"] if p["role"].startswith("worker")]
        # The end of the first shard, of the first two, one before and one behind: where one position alone would say too little.
        edge = t.random.choice([1, held[0] - 1, held[0], held[0] + 1, held[0] + held[1], held[0] + held[1] + 1, 997, len(sent), 10 * len(sent)])
        done = t.muster("export", "--format", "pb", "--limit", max(1, edge), *(["--from", cursor] if cursor else []))
        cursor = re.search(r"next cursor: (\S+)", done.error()).group(1)
        check(re.fullmatch(r"0:\d+,1:\d+,2:\d+", cursor), f"the cursor {cursor}")
        written += delimited(done.out)
        rounds += 1
        check(len(delimited(done.out)) <= max(1, edge), "the limit")
        if rounds > 8 and "complete" in done.error():
            break
        check(rounds < 100000, "the exports come to no end")
    check(sorted(written) == sorted(sent), f"{rounds} exports wrote {len(written)} records, {len(set(written))} of them once, of {len(sent)}")
    later = re.search(r"complete; .*--from (\S+)", done.error()).group(1)
    check_equal(later, cursor, "the cursor of a complete export")
    node.stop()


def export_of_some_shards(t):
    """an export that leaves shards out never says that it is complete, nor a position in a shard that it did not read"""
    node = t.node("--workers", "3")
    t.muster("submit", "-", stdin=t.generate(3000))
    cursor, written = "1:1", []
    for limit in (100, 10000, 10000):
        done = t.muster("export", "--format", "pb", "--from", cursor, "--limit", limit)
        cursor = re.search(r"next cursor: (\S+)", done.error()).group(1)
        check(re.fullmatch(r"1:\d+,2:\d+", cursor) and "; for what comes later" not in done.error() and "before 1 were left out" in done.error(), done.error())
        written += delimited(done.out)
    rest = t.muster("export", "--format", "pb", "--from", "0:1," + cursor)
    check("complete; " in rest.error(), rest.error())
    whole = delimited(t.muster("export", "--format", "pb").out)
    check_equal(delimited(rest.out) + written, whole, "the shard that was left out, and the others")
    node.stop()


def json_keeps_unknown_fields(t):
    """the JSON form is exact, unknown fields included"""
    node = t.node()
    newer = wire.record(t.random) + wire.varint(100 << 3 | 2) + b"\x05newer" + wire.varint(101 << 3) + b"\x2a"
    t.muster("submit", "-", stdin=wire.stream_of([newer]))
    line = t.muster("export", "--format", "ndjson").out
    check(b"unknown_fields" in line, line.decode())
    check_equal(summary(t.muster("submit", "-", "--format", "ndjson", stdin=line))["duplicate"], 1, "back again")
    node.stop()


def verdict_file(t):
    """--verdicts names each record's verdict, address, reason and field"""
    node = t.node()
    records = [wire.record(t.random), wire.record(t.random, citizenship="ZZZ"), wire.record(t.random)]
    t.muster("submit", "-", "--verdicts", t.path("v.tsv"), stdin=wire.stream_of(records), code=65)
    rows = [line.split("\t") for line in open(t.path("v.tsv")).read().splitlines()]
    check_equal([r[1] for r in sorted(rows[1:], key=lambda r: int(r[0]))], ["ACCEPTED", "INVALID", "ACCEPTED"], "verdicts")
    bad = [r for r in rows if r[1] == "INVALID"][0]
    check_equal((bad[2], bad[3], bad[4]), ("-", "CITIZENSHIP", "7"), "the bad one")
    node.stop()


def verdicts_in_a_pipe(t):
    """--verdicts - goes to standard output, and the summary then to standard error"""
    node = t.node()
    done = t.muster("submit", "-", "--verdicts", "-", stdin=t.generate(5))
    check_equal([line.split("\t")[1] for line in done.text().splitlines()], ["verdict"] + ["ACCEPTED"] * 5, "standard output")
    check_equal(number(r"submitted 5: ([\d,]+) accepted", done.error()), 5, "standard error")
    check(not os.path.exists(t.path("-")), "a file named - was made")
    node.stop()


def verdicts_never_over_an_input(t):
    """--verdicts FILE refuses the input and the keys, under whatever name, before a byte of them is lost; what it writes grows while it runs"""
    stream = t.generate(2000)
    path = t.write("s.pb", stream)
    os.symlink(path, t.path("soft"))
    os.link(path, t.path("hard"))
    t.muster("key", "new", "field", "--out", t.path("field.key"))
    key = open(t.path("field.key"), "rb").read()
    node = t.node()
    for name in ("s.pb", "soft", "hard"):
        refused = t.muster("submit", "--verdicts", t.path(name), path, code=64)
        check("same file" in refused.error() and name in refused.error(), refused.error())
        with open(path, "rb") as source, open(path, "ab") as behind:
            for verdicts, out in ((t.path(name), subprocess.DEVNULL), ("-", behind)):
                p = t.popen("submit", "--verdicts", verdicts, "-", stdin=source, stdout=out, stderr=subprocess.DEVNULL)
                check_equal(p.wait(60), 64, f"standard input and {verdicts}")
        check(open(path, "rb").read() == stream, f"the input was written over by way of {name}")
    t.muster("submit", "--key", t.path("field.key"), "--verdicts", t.path("field.key"), path, code=64)
    t.muster("submit", "--server-key", t.path("field.key"), "--verdicts", t.path("field.key"), path, code=64)
    check_equal(open(t.path("field.key"), "rb").read(), key, "the key file")
    check_equal(t.status()["records_received"], 0, "sent")
    verdicts = t.write("v.tsv", b"x" * 1000000)
    submit = t.popen("submit", "-", "--verdicts", verdicts, stdin=-1, stdout=-1, stderr=-1)
    submit.stdin.write(stream * 100)
    submit.stdin.flush()
    wait_until(lambda: open(verdicts, "rb").read(7) == b"record\t" and os.path.getsize(verdicts) > 100000, 30, "verdicts while it runs")
    check(submit.poll() is None, "it was over: nothing was tried")
    submit.communicate(timeout=60)
    check_equal(open(verdicts).read().count("\n"), 200001, "lines")
    check_equal(summary(t.muster("submit", path, "--verdicts", "/dev/null"))["duplicate"], 2000, "a device is written to")
    node.stop()


def bench_never_over_a_key(t):
    """bench --json FILE refuses the file of a key"""
    node = t.node()
    t.muster("key", "new", "field", "--out", t.path("field.key"))
    key = open(t.path("field.key"), "rb").read()
    bench = ("bench", "--records", "1000", "--window", "1", "--key", t.path("field.key"), "--json")
    check("same file" in t.muster(*bench, t.path("field.key"), code=64).error(), "said")
    check_equal(open(t.path("field.key"), "rb").read(), key, "the key file")
    t.muster(*bench, t.path("result.json"), code=None)
    check(json.load(open(t.path("result.json")))["counts"]["submitted"] == 1000, "another file")
    node.stop()


def closed_descriptors(t):
    """standard descriptors that come closed are never given to a file of the store: what cannot be printed is an error, and nothing is damaged"""
    def closed(*fds):
        return lambda: [os.close(fd) for fd in fds]
    plain = t.node()
    t.muster("submit", "-", stdin=t.generate(5000))
    for command in (["export"], ["salvage"], ["verify"], ["tally"], ["get", "0:1"], ["status"], ["quarantine", "list"], ["--version"]):
        for fds, code in (((1,), 74), ((0, 1, 2), 74), ((0, 2), 0)):
            p = subprocess.Popen([binary(), *command], env=t.env, preexec_fn=closed(*fds), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            check_equal(p.wait(60), code, f"{command} without {fds}")
    plain.stop()
    for shard in (0, 1):
        with open(os.path.join(t.data, "store", f"shard-{shard}", "lock.mdb"), "rb") as lock:
            check(b"encounter" not in lock.read(), "what was printed is in lock.mdb")
    for fds in ((2,), (0, 1, 2)):
        log = open(t.path("closed.log"), "wb")
        run = subprocess.Popen([binary(), "run", "--data", t.data, "--listen", "none"], env=t.env, preexec_fn=closed(*fds), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        t.processes.append(run)
        wait_until(lambda: os.path.exists(os.path.join(t.data, "run", "endpoints")), 20, "the node")
        for fd in fds:
            check_equal(os.readlink(f"/proc/{run.pid}/fd/{fd}"), "/dev/null", f"descriptor {fd} of a node that was started without {fds}")
        check_equal(summary(t.muster("submit", "-", stdin=t.generate(5000)))["duplicate"], 5000, "submitted")
        run.terminate()
        check_equal(run.wait(20), 0, "exit of the node")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 5000, "verified")


def progress_fits_its_terminal(t):
    """the progress line keeps within the terminal's row; without a terminal there is none unless it is asked for"""
    node = t.node()
    stream = t.write("s.pb", t.generate(300000))
    check_equal(t.muster("submit", stream).err, b"", "without a terminal")
    for size, settings, lively in ((80, {}, True), (40, {}, True), (80, {"TERM": "dumb"}, False), (80, {"NO_COLOR": "1"}, False)):
        settings = {"TERM": "xterm", "NO_COLOR": "", **settings}
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, size, 0, 0))
        submit = t.popen("submit", "-", "--total", 300000, stdin=-1, stdout=subprocess.DEVNULL, stderr=theirs, env={**settings})
        os.close(theirs)
        feed(submit, open(stream, "rb").read(), 1.5)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        check_equal(submit.wait(60), 0, "exit of submit")
        rows = [row for row in (shown.split(b"\r\x1b[K") if lively else shown.split(b"\r\n")) if row]
        check(rows and max(map(len, rows)) < size, f"{size} columns: {rows[:3]}")
        check(all(re.fullmatch(rb"[\d,]+/s(  [\d,]+ [a-z ]+|  [\d:]+[\w ]* left)*", row) for row in rows), f"{size} columns, a word is cut: {rows}")
        check(b"in flight" in rows[0] if size == 80 else b"\r" not in rows[0], f"{rows[0]}")
        check(lively or (b"\x1b" not in shown and len(rows) <= 2 + 2 * SLOW), f"{settings}: {shown}")
    lines = t.popen("submit", "-", stdin=-1, stdout=subprocess.DEVNULL, stderr=-1, env={"MUSTER_PROGRESS": "1"})
    feed(lines, open(stream, "rb").read(), 1)
    error = lines.stderr.read()
    check_equal(lines.wait(60), 0, "exit of submit")
    check(error.count(b"\n") >= 1 and b"\x1b" not in error and b"\r" not in error and b" in flight" in error, f"{error}")
    node.stop()


def help_everywhere(t):
    """every command has --help with an example; unknown ones name their neighbours"""
    listing = t.muster("--help").text()
    for command in "run status check config reload generate submit tally get export quarantine verify key".split():
        check(re.search(rf"^\s+{command}\s", listing, re.M), f"{command} in muster --help")
        text = t.muster(command, "--help").text()
        check("Example" in text and f"muster {command}" in text, f"--help of {command}: {text[:300]}")
        t.muster(command, "--no-such-option", code=64)
        check("did you mean --help?" in t.muster(command, "--hlep", code=64).error(), f"{command} --hlep")
        closing = text.split("for any corresponding short options.")[1]
        check(not re.search(r"^  .*\n\S", closing, re.M), f"--help of {command}: an entry goes on at the margin: {closing}")
        check_equal(t.muster(command, "-V").text(), t.muster("--version").text(), f"{command} -V")
        with open("/dev/full", "wb") as full:
            check_equal(t.popen(command, "--help", stdout=full, stderr=subprocess.DEVNULL).wait(20), 74, f"{command} --help on a full disk")
    check("submit" in t.muster("sumbit", code=64).error(), "the nearest name")
    for option, near in (("--bach", "--batch"), ("--windwo=3", "--window"), ("--dta", "--data")):
        check(f"did you mean {near}?" in t.muster("submit", option, "3", code=64).error(), f"{option}")
    check("unrecognized" in t.muster("submit", "--zzzzzzzz", code=64).error(), "an option like no other")
    t.muster("submit", "--key", "--bach", "-", "--endpoint", "tcp://x:1", stdin=b"", code=66)  # a value that looks like an option is a value
    check(re.match(r"muster \d+\.\d+\.\d+", t.muster("--version").text()), "version")
    check("\x1b[" not in listing, "colours on a pipe")


def no_node_no_data(t):
    """commands without a node or a data directory say what to do"""
    del t.env["MUSTER_DATA"]
    check("MUSTER_DATA" in t.muster("tally", code=64).error(), "tally without a directory")
    t.muster("tally", "--data", t.path("nowhere"), code=66)
    t.muster("submit", "-", "--endpoint", "ipc:///nonexistent/x.sock", "--timeout", "1", stdin=t.generate(10), code=69)
    t.muster("submit", "-", "--endpoint", "bogus://x", stdin=t.generate(10), code=64)
    for option in ("--batch", "--window", "--timeout", "--total"):
        check(option in t.muster("submit", "-", option, "0", stdin=b"", code=64).error(), f"{option} 0 does not name the option")


def stopped_node(t):
    """where no node runs, submit and status say 69; without a directory 66"""
    t.muster("submit", "-", stdin=t.generate(10), code=66)
    t.muster("status", code=66)
    t.node().stop()
    done = t.muster("submit", "-", "--timeout", "1", stdin=t.generate(10), code=69)
    check("muster run" in done.error() and "waiting" in done.error(), done.error())
    t.muster("status", code=69)


def submit_before_its_node(t):
    """a submit pasted right behind `run &` waits for the node, made or not made yet"""
    for what in ("a new directory", "a directory of a former run"):
        submit = t.popen("submit", t.write("s.pb", t.generate(1000)), stdout=-1, stderr=-1)
        time.sleep(0.3)
        check(submit.poll() is None, f"{what}: submit did not wait")
        node = t.node()
        out, error = submit.communicate(timeout=60)
        check_equal(submit.returncode, 0, f"{what}: {error.decode()}")
        check("1,000: " in out.decode(), f"{what}: {out.decode()}")
        node.stop()


main("commands", [the_newcomers_walk, generated_margins, duplicates_and_invalid, export_and_back, export_while_records_arrive, export_of_some_shards, json_keeps_unknown_fields, verdict_file, verdicts_in_a_pipe, verdicts_never_over_an_input, bench_never_over_a_key,
                  closed_descriptors,
                  progress_fits_its_terminal, help_everywhere, no_node_no_data, stopped_node, submit_before_its_node])
