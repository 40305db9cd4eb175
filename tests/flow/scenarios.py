"""What the files of tests/faults add to the harness: scenarios are counted one by one, a violation is told with the command that replays it and
does not end the others, and the last line is "N scenarios, M violations". FORM=short (default) or full, SEED chooses."""
import os
import subprocess
import sys
import threading
import time

import harness
from harness import Failure, Skipped

FULL = os.environ.get("FORM", "short") == "full"
TOOLS = os.path.join(harness.BUILD, "faults")
SYSEXITS = range(64, 79)
lock = threading.Lock()
scenarios = violations = 0


def counted(number=1):
    """So many scenarios have been tried."""
    global scenarios
    with lock:
        scenarios += number


def violated(number=1):
    global violations
    with lock:
        violations += number


def shortened(text):
    """What is wrong stands at the beginning, behind it the log of who did it."""
    return text if len(text) <= 1500 else f"{text[:500]}\n[...]\n{text[-1000:]}"


def examine(title, replay, function, *arguments):
    """One scenario: what it raises is a violation, told with how to see it again."""
    counted()
    try:
        return function(*arguments)
    except (Failure, subprocess.TimeoutExpired) as why:
        violated()
        print(f"#   violation: {title}: {shortened(str(why))}\n#     replay: {replay}", flush=True)
        return None


def tools():
    """The shims and drivers, built where they are not."""
    subprocess.run(["make", "-s", "--no-print-directory", "-C", harness.ROOT, f"B={harness.BUILD}", "faults-tools"], check=True)


class Clock:
    """The wall clock of everything that this test starts from now on."""

    def __init__(self, t):
        self.path = t.path("clock")
        t.env.update(LD_PRELOAD=os.path.join(TOOLS, "clock.so"), CLOCK_FILE=self.path)
        self.jump(0)

    def put(self, text):
        with open(self.path + ".new", "w") as f:
            f.write(text)
        os.rename(self.path + ".new", self.path)

    def jump(self, us):
        self.put(f"{us} r")

    def stop(self):
        self.put(f"{time.time_ns() // 1000} s")


def main(name, tests, shims=True):
    """shims: some of the tests are in need of tools()."""
    if shims:
        tools()

    def judged(function):
        def run(t):
            before = violations
            try:
                function(t)
            except Skipped:
                raise
            except Exception:
                violated()
                raise
            if violations > before:
                raise Failure(f"{violations - before} violations")
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return run
    code = 0
    try:
        harness.main(name, [judged(f) for f in tests])
    except SystemExit as end:
        code = end.code
    print(f"{scenarios} scenarios, {violations} violations", flush=True)
    sys.exit(code or not scenarios)
