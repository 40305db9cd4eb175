#!/usr/bin/python3
"""Bad input: a clear error that says where, what was kept, and nothing lost."""
import os
import re
import signal
import subprocess

import wire
from harness import check, check_equal, delimited, feed, finished, main, number, summary, wait_until


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
    """text in the place of protobuf"""
    node = t.node()
    done = t.muster("submit", "-", stdin=b"To whom it may concern:\nthis is a letter.\n" * 50, code=65)
    check("MALFORMED" in done.text() or re.search(r"byte \d+", done.error()), done.text() + done.error())
    check_equal(summary(done)["accepted"], 0, "accepted")
    check("letter" not in done.text() + done.error(), "an error shows content")
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


main("bad input", [truncated_stream, not_protobuf, giant_length, zero_records, record_too_large, ndjson_with_a_bad_line, json_without_its_format, line_without_an_end, named_what_is_no_file,
                   missing_file,
                   node_dies_in_the_middle, node_never_comes_back, slow_start])
