#!/usr/bin/python3
"""The main job as `make run` does it: every published figure met, twice; and not said to be met when it is not."""
import os
import re
import subprocess

import wire
from harness import ROOT, binary, check, check_equal, main, pids_holding, wait_until


def surge(t, code):
    done = subprocess.run([os.path.join(ROOT, "bench", "surge.sh"), binary(), t.path("run")], capture_output=True, text=True, env=t.env, timeout=900)
    check_equal(done.returncode, code, f"exit of the surge:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}\n")
    return done.stdout


def every_figure_twice(t):
    """1,734,686 records meet every published figure; again: 0 accepted, all duplicates; one record more: they do not agree"""
    first = surge(t, 0)
    check("submitted 1,734,686: 1,734,686 accepted, 0 duplicate" in first, first)
    check("all figures agree" in first and re.search(r"2021-07\s+213,593\s+213,593", first), first)
    hints = first[first.index("Type next:"):].strip().splitlines()[1:]
    columns = {re.match(r"  \S.*?  +", line).end() for line in hints}
    check_equal(len(columns), 1, f"columns of the hints: {hints}")
    run = next(line for line in hints if "/muster run " in line)
    check("--listen none" in run and "--log-level warn" in run, run)
    second = surge(t, 0)
    check("submitted 1,734,686: 0 accepted, 1,734,686 duplicate" in second, second)

    def figures(text):
        return text[text.index("== the tally"):]
    check_equal(figures(second), figures(first), "the tally the second time")
    t.data = os.path.join(t.path("run"), "data")
    t.env["MUSTER_DATA"] = t.data
    node = t.node()
    t.muster("submit", "-", stdin=wire.stream_of([wire.record(t.random)]))
    node.stop()
    third = surge(t, 1)
    check("all figures agree" not in third, third)


def reader_that_goes_away(t):
    """whoever stops reading what the surge says stops its node as well"""
    script = f"{os.path.join(ROOT, 'bench', 'surge.sh')} {binary()} {t.path('run')} 2>&1 | head -n 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=t.env, timeout=300)
    check(done.stdout.startswith("== a node"), done.stdout)
    wait_until(lambda: not pids_holding(t.path("run")), 30, "the node to be gone")


main("surge", [every_figure_twice, reader_that_goes_away])
