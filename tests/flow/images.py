"""Disks as a power cut may have left them, by the thousand: which of a recorded run are made, and how they are judged, two processes side by side.
A story (of tests/faults/powercut*.py) has hear(note), which takes in what people had been told; judge(t, rnd), which looks at the image in
t.path("disk"); and may have foresee(found), for each place of the log what story.coming is there."""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import disk
import scenarios
from harness import ROOT, SLOW, Failure, Test, check

SHIM = os.path.join(scenarios.TOOLS, "record.so")
SHARES = 2  # processes that judge images side by side


def plan(found, rnd):
    """Which images: (place, variant, seed). Place: so many entries of the log have been done."""
    every = []
    for i, e in enumerate(found):
        if e.kind in disk.SYNCS:
            every += [(i, variant) for variant in ("none", "all", "part", "part")] + [(i + 1, "none")]
        elif e.kind == disk.NOTE:
            every += [(i + 1, "none"), (i + 1, "part")]
        elif rnd.random() < 0.5:
            every.append((i + 1, "part"))
    return [(place, variant, rnd.randrange(1 << 30)) for place, variant in every]


def sample(rnd, specs, found, most):
    """The short form: some of all, and of the few from before the first word more than their share."""
    first = next(i for i, e in enumerate(found) if e.kind == disk.NOTE)
    early, late = [s for s in specs if s[0] <= first], [s for s in specs if s[0] > first]
    few = min(len(early), most // 4)
    return rnd.sample(early, few) + rnd.sample(late, min(len(late), most - few))


def judge_images(story, log, specs):
    """In the order of their places, so that the log is gone through once. Prints violations, and last how many images and violations."""
    root = os.path.join(os.path.dirname(log), "disk")
    state, found, done, violations = disk.Disk(root), disk.entries(log), 0, 0
    ahead = story.foresee(found) if hasattr(story, "foresee") else [None] * (len(found) + 1)
    for place, variant, seed in sorted(specs):
        while done < place:
            e = found[done]
            if e.kind == disk.NOTE:
                story.hear(json.loads(e.data))
            else:
                state.do(e)
            done += 1
        story.coming = ahead[done]
        t = Test("image", seed)
        try:
            state.leave(t.path("disk"), disk.Choose(variant, random.Random(seed)))
            t.data = t.env["MUSTER_DATA"] = t.path("disk/d")
            story.judge(t, random.Random(seed))
        except (Failure, subprocess.TimeoutExpired, OSError) as why:
            violations += 1
            kept = os.path.join(os.path.dirname(log), f"image-{place}-{variant}-{seed}")
            shutil.rmtree(kept, ignore_errors=True)
            state.leave(kept, disk.Choose(variant, random.Random(seed)))
            print(f"#   violation: a cut after {place} entries: {str(why)[-1500:]}\n#     kept: {kept}\n"
                  f"#     replay: {os.path.relpath(sys.argv[0], ROOT)} --images {log} {place}:{variant}:{seed}", flush=True)
        t.finish(keep=False)
    print(f"{len(specs)} {violations}", flush=True)
    return violations


def judge_in_shares(log, specs):
    with tempfile.TemporaryDirectory(prefix="muster-cut-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as fast:  # the record's disk is tried, not this one
        env = {**os.environ, "TMPDIR": fast}
        parts = [specs[i::SHARES] for i in range(SHARES)]
        children = [subprocess.Popen([sys.executable, os.path.abspath(sys.argv[0]), "--images", log, *(":".join(map(str, s)) for s in part)], env=env,
                                     stdout=subprocess.PIPE, text=True) for part in parts if part]
        for child in children:
            out = child.communicate(timeout=7200 * SLOW)[0]
            lines = out.splitlines()
            check(lines and re.fullmatch(r"\d+ \d+", lines[-1]), f"the images were not judged to the end: exit {child.returncode}: {out[-1500:]}")
            print("".join(line + "\n" for line in lines[:-1]), end="", flush=True)
            images, violations = map(int, lines[-1].split())
            scenarios.counted(images)
            scenarios.violated(violations)


def cut(t, record_run, most):
    """Records a run (two in full form) and judges its images: all, or in short form so many. record_run(test) returns the log."""
    for number in range(2 if scenarios.FULL else 1):
        run = Test(f"run{number}", t.seed + number)
        bad = True
        try:
            log = record_run(run)
            found = disk.entries(log)
            specs = plan(found, run.random)
            boundaries = len({place for place, variant, _ in specs if variant == "all"})
            if not scenarios.FULL:
                specs = sample(run.random, specs, found, most)
            before = scenarios.violations
            judge_in_shares(log, specs)
            bad = scenarios.violations > before
            print(f"#   {len(specs)} images of a run with {boundaries} sync boundaries (seed {run.seed})", flush=True)
        finally:
            run.finish(keep=bad)


def main(name, tests, story):
    """The file's own; or, where it was called so, one image or some again."""
    if len(sys.argv) > 2 and sys.argv[1] == "--images":
        sys.exit(1 if judge_images(story, sys.argv[2], [(int(p), v, int(s)) for p, v, s in (a.split(":") for a in sys.argv[3:])]) else 0)
    scenarios.main(name, tests)
