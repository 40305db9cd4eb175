#!/usr/bin/python3
"""make coverage: which lines of the sources the unit and flow tests reach, as gcov counts them in a build of its own (build/coverage). A table of
files with their percent and the lines that nothing reached; exit 1 where store, workers, ingest or proto stays below 90 %, or a test fails.
What a killed process did is not counted: it writes down nothing. --table: of what was counted by the last run, without a new one."""
import collections
import glob
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OBJECTS = os.path.join("build", "obj", "coverage")
ROOMS = ("store", "workers", "ingest", "proto")
LEAST_PERCENT = 90


def run_tests():
    for old in glob.glob(os.path.join(OBJECTS, "**", "*.gcda"), recursive=True):
        os.unlink(old)
    return subprocess.run(["tests/run.sh"], env={**os.environ, "SUITES": "coverage"}).returncode


def count_lines():
    """file -> line -> times. A header's lines are counted in every object that includes it."""
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    for room in ROOMS:
        notes = sorted(glob.glob(os.path.join(OBJECTS, room, "*.gcno")))
        if not notes:
            sys.exit(f"coverage: no objects of {room}/ in {OBJECTS}: run make coverage")
        said = subprocess.run(["gcov", "--json-format", "--stdout", *notes], capture_output=True, check=True).stdout
        for text in said.decode().splitlines():
            for file in json.loads(text)["files"]:
                if file["file"].split("/")[0] in ROOMS:
                    for line in file["lines"]:
                        counts[file["file"]][line["line_number"]] += line["count"]
    return counts


def ranges(numbers):
    """1, 2, 3, 7 as "1-3 7"."""
    parts = []
    for n in sorted(numbers):
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def print_table(counts):
    """The rooms that are below the bar."""
    low = []
    for room in ROOMS:
        files = {f: lines for f, lines in counts.items() if f.startswith(room + "/")}
        total = sum(len(lines) for lines in files.values())
        reached = sum(1 for lines in files.values() for times in lines.values() if times)
        percent = 100 * reached / total
        print(f"{room + '/':28}{reached:6} of {total:5} lines  {percent:5.1f} %")
        for name, lines in sorted(files.items()):
            missed = [n for n, times in lines.items() if not times]
            print(f"  {name:26}{len(lines) - len(missed):6} of {len(lines):5} lines  {100 * (1 - len(missed) / len(lines)):5.1f} %  {ranges(missed)}")
        if percent < LEAST_PERCENT:
            low.append(room)
    return low


def main():
    os.chdir(ROOT)
    code = 0 if sys.argv[1:] == ["--table"] else run_tests()
    low = print_table(count_lines())
    for room in low:
        print(f"coverage: {room}/ is below {LEAST_PERCENT} %")
    sys.exit(1 if low or code else 0)


if __name__ == "__main__":
    main()
