#!/usr/bin/python3
"""A power cut while commands write files for people: verdicts of a submit, an export that goes on by its cursor, a backup and its increments, a
restore. What a command has said when it ended holds after the cut; where it was cut, the same command once more ends well. FORM=full tries every
boundary of two runs, in about 5 minutes. One image again: tests/faults/powercut_files.py --images LOG PLACE:VARIANT:SEED"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "flow"))
import disk  # noqa: E402
import images  # noqa: E402
from harness import SLOW, Failure, binary, check, check_equal, delimited, number  # noqa: E402

IMAGES_SHORT = int(os.environ.get("IMAGES", "16"))
PARTS = (500, 300, 600)  # records submitted before each round of commands


# ---- the run that is recorded ----

class Run:
    """A node that is not recorded, and commands that are: they write below t's "disk"."""

    def __init__(self, t):
        self.t, self.log = t, t.path("log")
        os.mkdir(t.path("disk"), 0o700)
        self.notes = disk.Notes(self.log)
        self.recorded = {"LD_PRELOAD": images.SHIM, "RECORD_LOG": self.log, "RECORD_ROOT": t.path("disk")}
        self.cursor = None

    def command(self, *words, into=None):
        """A recorded command; into: its standard output is added to that file, as a shell does it."""
        line = [binary(), *words]
        if into:
            line = ["sh", "-c", 'out=$1; shift; exec "$@" >>"$out"', "sh", into, *line]
        done = subprocess.run(line, capture_output=True, env={**self.t.env, **self.recorded}, cwd=self.t.path("disk"), timeout=60 * SLOW)
        check_equal(done.returncode, 0, f"{words}: {done.stderr.decode()}")
        return done.stdout.decode(), done.stderr.decode()

    def submit(self, part, records):
        stream = self.t.write("s.pb", self.t.generate(records, self.t.seed % 1000 * 10 + part))
        self.command("submit", "--batch", "100", "--verdicts", f"v{part}.tsv", stream)
        with open(self.t.path(f"disk/v{part}.tsv"), "rb") as f:
            self.notes.note(what="verdicts", name=f"v{part}.tsv", rows=f.read().decode())

    def export(self):
        more = ("--from", self.cursor) if self.cursor else ()
        _, error = self.command("export", "--format", "pb", *more, into=self.t.path("disk/x.pb"))
        self.cursor = re.search(r"next cursor: (\S+)", error)[1]
        self.notes.note(what="exported", cursor=self.cursor, bytes=os.path.getsize(self.t.path("disk/x.pb")))

    def backup(self, *more):
        out, _ = self.command("backup", "b", "--share", "100", *more)
        self.notes.note(what="backed", records=number(r"backed up: ([\d,]+) records", out))

    def restore(self, part):
        self.notes.note(what="restoring", name=f"r{part}")
        self.command("restore", "b", "--data", f"r{part}")
        self.notes.note(what="restored", name=f"r{part}")


def record_run(t):
    run = Run(t)
    node = t.node("--workers", "2")
    for part, records in enumerate(PARTS):
        run.submit(part, records)
        t.muster("submit", "-", stdin=t.generate(60, 900 + part, "--invalid", "20"), code=None)
        run.export()
        run.backup(*(["--incremental"] if part else []))
        run.restore(part)
    node.stop()
    run.export()  # nothing new is there
    with open(t.path("whole.pb"), "wb") as f:
        f.write(t.muster("export", "--format", "pb").out)
    return run.log


# ---- what must hold ----

class Told:
    """What commands had said when the log was as long as this."""

    def __init__(self):
        self.verdicts, self.cursor, self.bytes, self.backed, self.restoring, self.restored = {}, None, 0, 0, None, set()
        self.coming = None

    def hear(self, note):
        what = note["what"]
        if what == "verdicts":
            self.verdicts[note["name"]] = note["rows"]
        elif what == "exported":
            self.cursor, self.bytes = note["cursor"], note["bytes"]
        elif what == "backed":
            self.backed = note["records"]
        elif what == "restoring":
            self.restoring = note["name"]
        elif what == "restored":
            self.restored.add(note["name"])

    def judge(self, t, rnd):
        where = os.path.dirname(sys.argv[2])  # of the recorded run: its node's store is as it was at the end
        source = os.path.join(where, "d")
        for name, rows in self.verdicts.items():
            check(content(t.path(f"disk/{name}")) == rows.encode(), f"{name} is not what it was when submit had ended")
        self.judge_export(t, source, content(os.path.join(where, "whole.pb")))
        self.judge_restore(t)  # of the run that it was begun with: the next one of the backup would make another of it
        self.judge_backup(t, source)

    def judge_export(self, t, source, whole):
        """The people's part: what lies behind the length that went with the cursor is cut off, and the export goes on from there."""
        path = t.path("disk/x.pb")
        before = content(path) if os.path.exists(path) else b""
        check(len(before) >= self.bytes, f"the cursor {self.cursor} went with {self.bytes} bytes, and {len(before)} are there")
        more = ("--from", self.cursor) if self.cursor else ()
        after = before[:self.bytes] + t.muster("export", "--format", "pb", "--data", source, *more).out
        check_equal(sorted_records(after), sorted_records(whole), "records exported before the cut and after it")

    def judge_backup(self, t, source):
        b = t.path("disk/b")
        said = t.muster("backup", b, "--check", code=None)
        if self.backed:
            check_equal(said.code, 0, f"a backup that was done before: {said.text()}{said.error()}")
            check(number(r"whole: ([\d,]+) records", said.text()) >= self.backed, f"{self.backed} records were backed up: {said.text()}")
        else:
            check(said.code == 0 or len(said.text() + said.error()) > 20, f"--check ends with {said.code} without a word")
        more = ["--incremental"] if said.code == 0 else []
        done = t.muster("backup", b, "--data", source, *more, code=None)
        check_equal(done.code, 0, f"the next run of the same command: {done.error()}\n")
        check(number(r"whole: ([\d,]+) records", t.muster("backup", b, "--check").text()) == number(r"backed up: ([\d,]+) records", done.text()), "the backup after its next run")

    def judge_restore(self, t):
        for name in self.restored:
            t.muster("verify", "--data", t.path(f"disk/{name}"))
        if self.restoring and self.restoring not in self.restored:
            path = t.path(f"disk/{self.restoring}")
            if not os.path.exists(path):
                again = t.muster("restore", t.path("disk/b"), "--data", path, code=None)
                if again.code != 0 and "remove what a former restore has left" in again.error():
                    raise Failure(f"the same command does not go on: {again.error()}")
                check_equal(again.code, 0, f"the next run of the same restore: {again.error()}\n")
            t.muster("verify", "--data", path)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def sorted_records(stream):
    """An export goes by shard, so what was added later stands elsewhere than in one of all."""
    return sorted(delimited(stream))


def power_cut(t):
    """a power cut while verdicts, exports, backups and restores are written: what a command has said holds, and once more is well"""
    images.cut(t, record_run, IMAGES_SHORT)


images.main("powercut of files", [power_cut], Told())
