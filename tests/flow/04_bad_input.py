#!/usr/bin/python3
"""Bad input: a clear error that says where, what was kept, and nothing lost."""
import os
import re
import signal
import subprocess
import time

import wire
from harness import ROOT, SLOW, Result, binary, check, check_equal, delimited, feed, finished, main, number, state, summary, wait_until


def truncated_stream(t):
    """a stream cut in the middle: which byte, how many records before it were submitted"""
    node = t.node()
    stream = t.generate(1000)
    done = t.muster("submit", t.write("cut.pb", stream[:-7]), code=65)
    check_equal(summary(done)["accepted"], 999, "records before the cut")
    whole = wire.stream_of(delimited(stream)[:999])
    check(f"{len(whole):,}" in done.error() or str(len(whole)) in done.error(), f"the byte {len(whole)}: {done.error()}")
    check("999" in done.error() and "cut.pb" in done.error(), done.error())
    check_equal(summary(t.muster("submit", "-", stdin=stream))["accepted"], 1, "the rest, by running it again")
    node.stop()


def not_protobuf(t):
    """what is no stream of records at all, by file and by pipe: seen before anything is sent"""
    node = t.node()
    letter = b"To whom it may concern:\nthis is a letter.\n"
    noise = t.random.randbytes(50000)
    page, makefile, source, program = (open(os.path.join(ROOT, name), "rb").read() for name in ("README.md", "Makefile", "client/submit.c", "build/muster"))
    for name, text in (("letter", letter), ("letters", letter * 50), ("page", page), ("makefile", makefile), ("source", source), ("program", program), ("noise", noise)):
        path, muster = t.write(name, text), binary(t.variant)
        for script in (f"{muster} submit {path}", f"cat {path} | {muster} submit -"):
            done = subprocess.run(["bash", "-c", script], capture_output=True, env=t.env, cwd=t.directory, timeout=60 * SLOW)
            done = Result(done.returncode, done.stdout, done.stderr)
            check_equal(done.code, 65, f"{script}: {done.text()}{done.error()}")
            check(done.out == b"" and "nothing was sent" in done.error(), f"{name}: {done.text()}{done.error()}")
            check("delimited protobuf stream" in done.error() or "cut" in done.error(), f"{name}: {done.error()}")
            check("letter" not in done.error().replace(t.path(name), ""), "an error shows content")
    check("record 1: " in t.muster("submit", t.path("page"), code=65).error(), "which record")
    check_equal(t.status()["records_received"], 0, "records that reached the node")
    check("MALFORMED" not in t.muster("quarantine", "list").text(), "in quarantine")
    node.stop()


def malformed_among_good_ones(t):
    """malformed records among good ones, even in front of them, get their verdicts from the node; so do whole records that no rule lets pass"""
    node = t.node()
    bad, good = b"\xff" * 40, delimited(t.generate(20))
    for name, records in (("first", [bad] + good[:3]), ("most", [bad] * 14 + good[3:6]), ("last", good[6:9] + [bad] * 40)):
        path = t.write(name, wire.stream_of(records))
        done = summary(t.muster("submit", path, code=65))
        check_equal((done["accepted"], done["invalid"]), (3, len(records) - 3), f"{name} by file")
        done = summary(t.muster("submit", "-", stdin=wire.stream_of(records), code=65))
        check_equal((done["duplicate"], done["invalid"]), (3, len(records) - 3), f"{name} by pipe")
    newer = [wire.record(t.random, component=None) + b"\x18\x63" for _ in range(20)]  # an enum value that this node does not know
    check_equal(summary(t.muster("submit", "-", stdin=wire.stream_of(newer), code=65))["invalid"], 20, "of a newer system")
    # A pipe is not waited for: one that brings its first records slowly is believed.
    slow = t.popen("submit", "-", stdin=-1, stdout=-1, stderr=-1)
    slow.stdin.write(wire.stream_of([bad]))
    slow.stdin.flush()
    time.sleep(0.3)
    out, error = slow.communicate(wire.stream_of(good[9:12]), timeout=60)
    check_equal((slow.returncode, number(r"([\d,]+) accepted", out.decode())), (65, 3), f"a slow pipe: {error.decode()}")
    node.stop()


def verdicts_of_what_was_left_out(t):
    """--verdicts has a line for each record of the input, those that could not be sent as well"""
    node = t.node()
    lines = t.generate(6, 7, "--format", "ndjson").splitlines(keepends=True)
    lines[2:2] = [b"{broken\n"]
    lines[5:5] = [b"{}\n"]
    stream = t.generate(3) + wire.varint(20000) + b"\x0a" * 20000 + t.generate(3, 8)
    for stdin, left_out, total, more in ((b"".join(lines), [3, 6], 8, ["--format", "ndjson"]), (stream, [4], 7, [])):
        done = t.muster("submit", "-", "--verdicts", "-", *more, stdin=stdin, code=65)
        rows = [line.split("\t") for line in done.text().splitlines()[1:]]
        check_equal(sorted(int(r[0]) for r in rows), list(range(1, total + 1)), "numbers")
        check_equal([r for r in rows if r[1] == "LEFT_OUT"], [[str(n), "LEFT_OUT", "-", "-", "-"] for n in left_out], "left out")
    check("LEFT_OUT" in re.sub(r"\s+", " ", t.muster("submit", "--help").text()), "--help")
    node.stop()


def giant_length(t):
    """a 4 GiB length prefix"""
    node = t.node()
    done = t.muster("submit", "-", stdin=t.generate(5) + wire.varint(4 << 30) + b"abc", code=65)
    check_equal(summary(done)["accepted"], 5, "records before it")
    check("byte" in done.error(), done.error())
    node.stop()


def zero_records(t):
    """an empty file"""
    node = t.node()
    check("no records" in t.muster("submit", "-", stdin=b"", code=65).error(), "empty input")
    node.stop()


def record_too_large(t):
    """an over-sized record among good ones: named, the others are submitted"""
    node = t.node()
    stream = t.generate(3) + wire.varint(20000) + b"\x0a" * 20000 + t.generate(3, 8)
    done = t.muster("submit", "-", stdin=stream, code=65)
    check_equal(summary(done)["accepted"], 6, "the others")
    check("record 4" in done.error(), done.error())
    node.stop()


def ndjson_with_a_bad_line(t):
    """NDJSON with bad lines in the middle: line numbers and fields, the others are submitted"""
    node = t.node()
    lines = t.generate(6, 7, "--format", "ndjson").splitlines(keepends=True)
    lines.insert(2, b"{broken\n")
    lines.insert(4, lines[0].replace(b'"station"', b'"stationn"'))
    path = t.write("r.ndjson", b"".join(lines))
    done = t.muster("submit", path, "--format", "ndjson", code=65)
    check_equal(summary(done)["accepted"], 6, "the others")
    check(f"{path}:3:" in done.error() and f"{path}:5:" in done.error() and "stationn" in done.error(), done.error())
    value = re.search(rb'"station":\s*"([^"]+)"', lines[0]).group(1).decode()
    check(value not in done.error(), "an error shows a record's content")
    node.stop()


def json_without_its_format(t):
    """JSON that is not said to be JSON: nothing is sent; protobuf that is said to be JSON: one hint"""
    node = t.node()
    stream = t.generate(6)
    lines = t.generate(6, 7, "--format", "ndjson")
    for text in (lines, b" \n" + lines, lines.replace(b'{"', b'{\n "'), b'{"a" :1}'):
        refused = t.muster("submit", "-", stdin=text, code=65)
        check("--format ndjson" in refused.error() and refused.out == b"", refused.error())
    check_equal(t.status()["records_received"], 0, "sent")
    check_equal(t.muster("quarantine", "list").text().count("MALFORMED"), 0, "quarantined")
    # The length of a record of 123 bytes is a brace, and its first field's tag a newline.
    brace = next(r for r in (wire.record(t.random, device="x" * n) for n in range(1, 110)) if len(r) == 123)
    check_equal(summary(t.muster("submit", "-", stdin=wire.stream_of([brace])))["accepted"], 1, "a record of 123 bytes")
    done = t.muster("submit", "-", "--format", "ndjson", stdin=stream, code=65)
    check_equal(done.error().count("This is not text"), 1, f"hints in: {done.error()}")
    check_equal(summary(t.muster("submit", "-", "--format", "pb", stdin=stream))["accepted"], 6, "as it is")
    node.stop()


def line_without_an_end(t):
    """a line that does not end: reading stops at a bound and says where; a signal stops it while it waits or reads over"""
    node = t.node()
    lines = t.generate(3, 7, "--format", "ndjson")
    done = t.muster("submit", "-", "--format", "ndjson", stdin=lines + b"x" * (70 << 20), code=65)
    check_equal(summary(done)["accepted"], 3, "the lines before it")
    check("standard input:4:" in done.error() and "does not end" in done.error(), done.error())
    done = t.muster("submit", "-", "--format", "ndjson", stdin=b"x" * (20 << 20) + b"\n" + lines, code=65)
    check_equal(summary(done)["duplicate"], 3, "the lines behind one that ends")
    check_equal(t.popen("submit", "--format", "ndjson", "/dev/zero", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait(60), 65, "/dev/zero")
    for what, stream in (("an idle pipe", lines), ("a line that is being read over", b"x" * (9 << 20)), ("half a line", b'{"stat'), ("bad lines", b"x\n" * 100)):
        submit = t.popen("submit", "-", "--format", "ndjson", stdin=-1, stdout=-1, stderr=-1)
        submit.stdin.write(stream)
        submit.stdin.flush()
        wait_until(lambda: sleeping_handler(submit.pid), 20, "its handler of SIGTERM")
        submit.send_signal(signal.SIGTERM)
        done = finished(submit)
        check_equal(done.code, 75, f"{what}: {done.error()}")
        check("interrupted" in done.error(), done.error())
    node.stop()


def sleeping_handler(pid):
    """Whether a process catches SIGTERM."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"SigCgt:\s*([0-9a-f]+)", f.read()).group(1), 16) >> (signal.SIGTERM - 1) & 1


def named_what_is_no_file(t):
    """pipes without a writer and devices without an end in the place of small files are refused at once, by name"""
    fifo = t.path("fifo")
    os.mkfifo(fifo, 0o600)
    t.muster("key", "new", "field", "--out", t.path("field.key"))
    key = t.muster("key", "show", t.path("field.key")).text().strip()
    large = t.path("large")
    with open(large, "wb") as f:
        f.truncate(1 << 40)
    os.chmod(large, 0o600)
    for bad, why in (("/dev/zero", "not a regular file"), (fifo, "not a regular file"), (t.directory, "not a regular file"), (large, "1099511627776 bytes")):
        code = 77 if bad != large else 65
        for command, want in ((["run", "--listen", "none", "--config", bad], 78), (["submit", "-e", "tcp://127.0.0.1:1", "--server-key", key, "--key", bad, "-"], code),
                              (["submit", "-e", "tcp://127.0.0.1:1", "--server-key", bad, "--key", t.path("field.key"), "-"], code),
                              (["key", "show", bad], code), (["key", "allow", "field", bad], code)):
            done = t.muster(*command, stdin=b"", code=None, timeout=10)
            check(why in done.error() and bad in done.error(), f"{command}: {done.code} {done.error()}")
            check_equal(done.code, want, f"exit of {command}")
    os.symlink(t.path("field.key"), t.path("linked.key"))
    check_equal(t.muster("key", "show", t.path("linked.key")).text().strip(), key, "what people name may be a link")


def missing_file(t):
    """a file that is not there"""
    check("nowhere.pb" in t.muster("submit", t.path("nowhere.pb"), code=66).error(), "names the file")


def node_dies_in_the_middle(t):
    """a node killed in the middle of a submit: the command waits, resends, finishes"""
    node = t.node()
    submit = t.popen("submit", "-", stdin=-1, stdout=-1, stderr=-1)
    feed(submit, t.generate(200000), 2)
    wait_until(lambda: t.status()["records_accepted"] > 20000, 20, "the submit to be under way")
    node.kill_all()
    node = t.node()
    check(submit.poll() is None, "the submit was over before the node died: nothing was tried")
    done = finished(submit)
    check_equal(done.code, 0, f"exit of submit: {done.error()}")
    check_equal(summary(done)["submitted"], 200000, "submitted")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 200000, "stored")
    node.stop()


def node_never_comes_back(t):
    """a node that stays away: exit 75 and how many records have no verdict"""
    node = t.node()
    submit = t.popen("submit", "-", "--timeout", "2", stdin=-1, stdout=-1, stderr=-1)
    feed(submit, t.generate(200000), 2)
    wait_until(lambda: t.status()["records_accepted"] > 5000, 20, "the submit to be under way")
    node.kill_all()
    done = finished(submit)
    check_equal(done.code, 75, f"exit of submit: {done.error()}")
    unanswered = number(r"([1-9][\d,]*) records have no verdict", done.error())
    check_equal(number(r"([\d,]+) without a verdict", done.text()), unanswered, "the summary")
    counts = summary(done)
    check_equal(counts["accepted"] + counts["duplicate"] + counts["conflict"] + counts["invalid"] + unanswered, counts["submitted"], "the summary adds up")
    check("may be stored" in done.error() and "the rest of the input was not read" in done.error(), done.error())
    check("the rest of the input not read" in done.text(), done.text())


def node_dies_after_its_commit(t):
    """a node that commits and dies before it answers: nobody says that nothing was stored, and the records are there"""
    node = t.node("--workers", "1", variant="faults", env={"MUSTER_FAULT": "worker.after-commit:stop"})
    path = t.write("s.pb", t.generate(500))
    submit = t.popen("submit", path, "--timeout", "2", stdout=-1, stderr=-1)
    worker = node.pids("worker")[0]
    wait_until(lambda: state(worker) == "T", 20, "the commit")
    node.kill_all()
    out, error = submit.communicate(timeout=60)
    check_equal(submit.returncode, 75, error.decode())
    check("500 records have no verdict: they may be stored" in error.decode() and "run the same command again" in error.decode(), error.decode())
    check("nothing" not in error.decode() and "not read" not in error.decode(), error.decode())
    node = t.node()
    check_equal(summary(t.muster("submit", path))["duplicate"], 500, "stored before")
    node.stop()


def slow_start(t):
    """a submit that is there before its node waits for it"""
    t.node().stop()
    submit = t.popen("submit", t.write("s.pb", t.generate(1000)), "--endpoint", f"ipc://{t.data}/run/submit.sock", stdout=-1, stderr=-1)
    os.sched_yield()
    node = t.node()
    out, error = submit.communicate(timeout=60)
    check_equal(submit.returncode, 0, error.decode())
    check_equal(number(r"([\d,]+) accepted", out.decode()), 1000, "accepted")
    node.stop()


main("bad input", [truncated_stream, not_protobuf, malformed_among_good_ones, giant_length, zero_records, record_too_large, ndjson_with_a_bad_line,
                   verdicts_of_what_was_left_out, json_without_its_format, line_without_an_end, named_what_is_no_file, missing_file, node_dies_in_the_middle, node_never_comes_back,
                   node_dies_after_its_commit, slow_start])
