#!/usr/bin/python3
"""make mutants: plants each fault of tests/mutants/list.py in a copy of the tree, builds it, and runs the tests that shall see it; where those
stay green, every unit and flow test. Says which test turned red, and holds it to be green without the fault. Ends with "N mutants, M survived";
exit 1 if one survived, or could not be planted, which is a fault of the list.

    tests/mutants/run.py [--short | --named] [ONLY...]     ONLY: a part of a fault's name

--short takes a seeded handful, and their named tests alone; --named takes all, with those alone. The copy is build/mutants/tree; the tree itself
is never touched. Objects are kept between runs, so that only what a fault changes is compiled."""
import argparse
import contextlib
import fcntl
import filecmp
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TREE = os.path.join(ROOT, "build", "mutants", "tree")
LOG = os.path.join(ROOT, "build", "mutants", "log")
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "flow")]
sys.dont_write_bytecode = True
import harness  # noqa: E402
import list as faults  # noqa: E402

SHORT_SECONDS = 40
UNIT_SECONDS, FLOW_SECONDS = 60, 300  # a fault may make a test wait for what never comes
WHOLE_SECONDS = 3600
JOBS = f"-j{os.cpu_count() or 1}"


class Unplanted(Exception):
    """The list is wrong: the fault does not apply, does not compile, or its tests are red without it."""


# ---- the copy ----

def files_of(root):
    """What belongs to the tree, new files as well."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True).stdout
    return {n for n in names.decode().split("\0") if n and os.path.isfile(os.path.join(root, n))}


def take_objects():
    """What was built in the tree already, with its times: a first run compiles next to nothing."""
    for part in ("gen", os.path.join("obj", "faults"), "faults"):
        source, target = os.path.join(ROOT, "build", part), os.path.join(TREE, "build", part)
        if os.path.isdir(source) and not os.path.exists(target):
            shutil.copytree(source, target, copy_function=shutil.copy2)


def copy_tree():
    """Makes the copy like the tree. A file that differs gets a new time, so that make sees it, whatever a former run has left there."""
    new = not os.path.isdir(TREE)
    wanted = files_of(ROOT)
    for name in wanted:
        source, target = os.path.join(ROOT, name), os.path.join(TREE, name)
        if os.path.exists(target) and filecmp.cmp(source, target, shallow=False):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        (shutil.copy2 if new else shutil.copy)(source, target)
    for folder, folders, names in os.walk(TREE):
        folders[:] = [f for f in folders if os.path.join(folder, f) != os.path.join(TREE, "build")]
        for name in names:
            if os.path.relpath(os.path.join(folder, name), TREE) not in wanted:
                os.unlink(os.path.join(folder, name))
    if new:
        take_objects()


@contextlib.contextmanager
def planted(mutant):
    """The fault is in the copy meanwhile."""
    before = {}
    try:
        for edit in mutant.edits:
            path = os.path.join(TREE, edit.file)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            if text.count(edit.old) != 1:
                raise Unplanted(f"{edit.file} has its text {text.count(edit.old)} times: {edit.old.strip().splitlines()[0]!r}")
            before.setdefault(path, text)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text.replace(edit.old, edit.new))
        yield
    finally:
        for path, text in before.items():
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)


# ---- running ----

def run(command, log, seconds, seed):
    """Exit code, or None past the time; what it started is gone afterwards. Everything it says is in the log."""
    place = tempfile.mkdtemp(prefix="muster-mutant-")
    os.chmod(place, 0o755)  # some tests become another user
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MUSTER_", "MAKE", "MFLAGS"))}
    env |= {"SEED": str(seed), "TMPDIR": place, "MUSTER_VARIANT": "faults"}
    with open(log, "wb") as out:
        p = subprocess.Popen(command, cwd=TREE, env=env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = p.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            p.wait()
    for pid in harness.pids_holding(place):  # nodes have sessions of their own
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(place, ignore_errors=True)
    return code


def red_names(log):
    with open(log, encoding="utf-8", errors="replace") as f:
        text = f.read()
    names = re.findall(r"^\[  FAILED  \] ([a-z_0-9]+)$", text, re.M) + re.findall(r"^not ok - (.*?)(?: \([\d.]+ s\))?$", text, re.M)
    return list(dict.fromkeys(names)) + re.findall(r"^FAILED: (.*)$", text, re.M)


def unit_program(test):
    return os.path.join("build", "faults", "tests", test)


def is_flow(test):
    """Or one of the faults: whatever needs the whole program."""
    return test[0].isdigit() or test.startswith("faults/")


def look(test, seed, name):
    """None where the test is green, else what is red of it, as a sentence."""
    log = os.path.join(LOG, f"{name}-{test.replace('/', '-').replace(' ', '-')}.log")
    words = test.split()
    command = [f"tests/{'' if '/' in words[0] else 'flow/'}{words[0]}.py", *words[1:]] if is_flow(test) else [unit_program(test)]
    code = run(command, log, FLOW_SECONDS if is_flow(test) else UNIT_SECONDS, seed)
    if code == 0:
        return None
    red = red_names(log)
    said = "still running" if code is None else f"exit {code}" if code > 0 else signal.Signals(-code).name
    return f"{test}: {', '.join(red[:3]) + (f' and {len(red) - 3} more' if len(red) > 3 else '') if red else said}"


def build(tests, name):
    targets = ["all"] if any(is_flow(t) for t in tests) else []
    targets += [unit_program(t) for t in tests if not is_flow(t)]
    log = os.path.join(LOG, f"{name}-build.log")
    if run(["make", "--no-print-directory", JOBS, "VARIANT=faults", *targets], log, WHOLE_SECONDS, 1) != 0:
        raise Unplanted(f"it does not compile: {log}")


def look_everywhere(seed, name):
    """Every unit and flow test, as make test runs them."""
    log = os.path.join(LOG, f"{name}-everything.log")
    code = run(["env", "SUITES=units flows", "tests/run.sh"], log, WHOLE_SECONDS, seed)
    red = red_names(log)
    if code == 0:
        return None
    if any(r.startswith("build-") for r in red):
        raise Unplanted(f"it does not compile: {log}")
    return "of all tests: " + (", ".join(red[:3]) or "they did not come to their end")


def try_one(mutant, seed, everywhere, known):
    """What turned red, or None."""
    test, red = find_red(mutant, seed, everywhere)
    if test:
        check_green(test, seed, known)
    return red


def find_red(mutant, seed, everywhere):
    """The named test that turned red (None where it was another), and what it said (None: nothing did)."""
    with planted(mutant):
        for flows in (False, True):  # the unit programs alone are linked in a second
            tests = [t for t in mutant.tests if is_flow(t) == flows]
            if tests:
                build(tests, mutant.name)
            for test in tests:
                red = look(test, seed, mutant.name)
                if red:
                    return test, red
        return None, look_everywhere(seed, mutant.name) if everywhere else None


def check_green(test, seed, known):
    """A test that is red without a fault would kill every mutant. known: those that were seen green, or not."""
    if test not in known:
        build([test], "no-fault")
        known[test] = look(test, seed, "no-fault")
    if known[test]:
        raise Unplanted(f"without any fault, too: {known[test]}")


# ---- the run ----

def choose(arguments, seed):
    chosen = [m for m in faults.MUTANTS if not arguments.only or any(word in m.name for word in arguments.only)]
    if not chosen:
        sys.exit(f"mutants: no fault of the list has {' or '.join(arguments.only)} in its name")
    if arguments.short:
        units = [m for m in chosen if not is_flow(m.tests[0]) and not m.slow]
        random.Random(seed).shuffle(units)
        chosen = units
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--short", action="store_true", help="a seeded handful, about a minute")
    parser.add_argument("--named", action="store_true", help="the named tests alone: to see whether the list names the right ones")
    parser.add_argument("only", nargs="*", help="a part of a fault's name")
    arguments = parser.parse_args()
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    form = " --short" * arguments.short + " --named" * arguments.named
    print(f"mutants: SEED={seed} tests/mutants/run.py{form} {' '.join(arguments.only)}".rstrip(), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    names = [m.name for m in faults.MUTANTS]
    assert len(set(names)) == len(names), "two faults of one name"
    os.makedirs(LOG, exist_ok=True)
    lock = open(os.path.join(LOG, "..", "lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # one copy, one run
    copy_tree()
    start = time.monotonic()
    tried, survived, unplanted, known = 0, [], [], {}
    for mutant in choose(arguments, seed):
        if arguments.short and tried and time.monotonic() - start > SHORT_SECONDS:
            break
        tried += 1
        begin = time.monotonic()
        try:
            red = try_one(mutant, seed, not arguments.short and not arguments.named, known)
        except Unplanted as why:
            unplanted.append(mutant.name)
            print(f"error     {mutant.name}: {why}", flush=True)
            continue
        if not red:
            survived.append(mutant.name)
        print(f"{'killed   ' if red else 'SURVIVED '} {mutant.name} ({time.monotonic() - begin:.0f} s): {red or mutant.breaks}", flush=True)
    for name in survived + unplanted:
        print(f"#   again: SEED={seed} make mutants ONLY={name}")
    print(f"{tried} mutants, {len(survived)} survived" + (f", {len(unplanted)} not planted" if unplanted else ""))
    sys.exit(1 if survived or unplanted else 0)


if __name__ == "__main__":
    main()
