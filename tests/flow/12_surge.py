#!/usr/bin/python3
"""The main job as `make run` does it: every published figure met, twice; and not said to be met when it is not."""
import os
import re
import subprocess

import wire
from harness import ROOT, binary, check, check_equal, main


def surge(t, code):
    done = subprocess.run([os.path.join(ROOT, "bench", "surge.sh"), binary(), t.path("run")], capture_output=True, text=True, env=t.env, timeout=900)
    check_equal(done.returncode, code, f"exit of the surge:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}\n")
    return done.stdout


def every_figure_twice(t):
    """1,734,686 records meet every published figure; again: 0 accepted, all duplicates; one record more: they do not agree"""
    first = surge(t, 0)
    check("submitted 1,734,686: 1,734,686 accepted, 0 duplicate" in first, first)
    check("all figures agree" in first and re.search(r"2021-07\s+213,593\s+213,593", first), first)
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


main("surge", [every_figure_twice])
