#!/usr/bin/python3
"""Instructions a record of each case of bench/micro, compared with bench/micro/baseline.tsv: `make bench-check`. `check.py PROGRAM --renew` writes the baseline.

Callgrind counts what one function runs (MEASURED), so neither setting up nor the start of the program is in a figure, and nothing waits, so a busy machine counts
what an idle one does. The count depends on the compiler and its flags: where these are not the baseline's, the figures are shown and not judged, and a line
"skip - " says so. It depends on the C library as well, which chooses memcpy by processor (a third of block_build's count goes with it): valgrind shows a program
one of a few processors, whichever is nearest, and TUNABLES takes away what those differ in, so that the plain SSE2 one is counted everywhere. XXH3 is chosen when
libxxhash is compiled. Functions of libraries are bound at the start (LD_BIND_NOW), and the environment is empty but for what is named here."""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASELINE = os.path.join("bench", "micro", "baseline.tsv")
MEASURED = "micro_measured"
BOUND = 0.10
VALGRIND = shutil.which("valgrind")
TUNABLES = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3:glibc.cpu.x86_non_temporal_threshold=0x4000000"
TIMEOUT_S = 120
HEAD = """# Instructions a record of each case of bench/micro, by callgrind; `make bench-check` fails where one needs a tenth more.
# Made anew by `make bench-baseline`, in a commit that says why.
# build: """


class Uncounted(Exception):
    """A case that callgrind could not run or found nothing in."""


def fail(sentence):
    sys.exit(f"bench-check: {sentence}")


def ask(program, option):
    return subprocess.run([program, option], capture_output=True, text=True, check=True).stdout


def count(program, name, records):
    with tempfile.TemporaryDirectory(prefix="muster-micro-") as work:
        environment = {"TMPDIR": work, "LC_ALL": "C", "LD_BIND_NOW": "1", "GLIBC_TUNABLES": TUNABLES}
        out = os.path.join(work, "out")
        done = subprocess.run([VALGRIND, "--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={MEASURED}", f"--callgrind-out-file={out}", program,
                               "--case", name, "--count", str(records)], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise Uncounted(f"{name} cannot be counted:\n{done.stderr.strip()}")
        with open(out) as f:
            total = re.search(r"^(?:summary|totals): (\d+)", f.read(), re.M)
    if not total or int(total.group(1)) == 0:
        raise Uncounted(f"{name}: callgrind counted nothing; is there a function {MEASURED}?")
    return int(total.group(1)) / records


def count_all(program, cases):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = {name: pool.submit(count, program, name, records) for name, records in cases.items()}
        return {name: future.result() for name, future in waiting.items()}


def read_baseline():
    figures, build = {}, None
    with open(BASELINE) as f:
        for line in f:
            if line.startswith("# build: "):
                build = line[len("# build: "):].strip()
            elif not line.startswith("#") and line.strip():
                name, records, instructions = line.split("\t")
                figures[name] = int(records), float(instructions)
    return build, figures


def renew(program, build, cases):
    now = count_all(program, cases)
    with open(BASELINE, "w") as f:
        f.write(HEAD + build + "\n# case\trecords\tinstructions a record\n")
        for name, records in cases.items():
            f.write(f"{name}\t{records}\t{now[name]:.2f}\n")
            print(f"{name:<14} {now[name]:>10.2f}")
    print(f"bench-baseline: {BASELINE} is renewed; commit it with the reason")


def judge(program, build, cases):
    made_with, baseline = read_baseline()
    comparable = made_with == build
    strange = sorted(set(cases) ^ set(baseline)) + [n for n in cases if n in baseline and baseline[n][0] != cases[n]]
    if strange:
        fail(f"{BASELINE} and the program disagree about {', '.join(strange)}; `make bench-baseline` makes it anew")
    if not comparable:
        print(f"skip - counts: nothing is judged, the baseline is of another build\n       baseline: {made_with}\n       now:      {build}", flush=True)
    try:
        now = count_all(program, cases)
    except Uncounted as e:  # debug information of another compiler, for one, may be more than valgrind can read
        if comparable:
            raise
        print(e)
        return
    worse = []
    print(f"{'instructions a record':<22} {'baseline':>10} {'now':>10} {'change':>8}")
    for name in cases:
        before = baseline[name][1]
        change = round(now[name] / before - 1, 3) + 0.0
        said = ""
        if comparable and change > BOUND:
            worse.append(name)
            said = "  TOO MANY"
        elif comparable and change < -BOUND:
            said = "  fewer: renew the baseline to keep it"
        print(f"{name:<22} {before:>10.2f} {now[name]:>10.2f} {change:>+8.1%}{said}", flush=True)
    if worse:
        fail(f"more than {BOUND:.0%} over the baseline: {', '.join(worse)}. Mend it, or where the work is worth it, `make bench-baseline` and commit with the reason")
    if comparable:
        print(f"bench-check: all {len(cases)} cases within {BOUND:.0%} of the baseline")


def main():
    if len(sys.argv) not in (2, 3) or (len(sys.argv) == 3 and sys.argv[2] != "--renew"):
        sys.exit("usage: check.py PROGRAM [--renew]")
    if not VALGRIND:
        fail("valgrind is missing; `make bench-check` installs it")
    program = os.path.abspath(sys.argv[1])
    os.chdir(ROOT)
    build = ask(program, "--build").strip()
    cases = {name: int(records) for name, records, _ in (line.split("\t") for line in ask(program, "--list").splitlines())}
    try:
        (renew if len(sys.argv) == 3 else judge)(program, build, cases)
    except Uncounted as e:
        fail(e)


main()
