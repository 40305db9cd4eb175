"""What every flow test stands on: a node started and stopped as its user would, commands run and looked at, records made
outside the node. Each test gets a fresh directory; everything it starts is stopped by pid at its end. Debian's python3,
python3-zmq and python3-protobuf; the wire is spoken by tests/flow/wire.py, written from proto/README.md alone."""
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MUSTER_BUILD", os.path.join(ROOT, "build"))
SLOW = float(os.environ.get("MUSTER_SLOW", "1"))  # sanitizer runs wait longer


def binary(variant=None):
    """The executable of a variant. One that asks for the fault points gets the sanitizers', or coverage's, in a run of those: they have them, too."""
    run = os.environ.get("MUSTER_VARIANT", "release")
    variant = run if variant is None or (variant == "faults" and run != "release") else variant
    return os.path.join(BUILD, "muster") if variant == "release" else os.path.join(BUILD, variant, "muster")


class Failure(AssertionError):
    pass


class Skipped(Exception):
    """This machine does not allow what the test needs; told and counted apart, never as passed."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def check_equal(got, want, what):
    if got != want:
        raise Failure(f"{what}: got {got!r}, want {want!r}")


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds * SLOW
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Failure(f"waited {seconds * SLOW:.0f} s for {what}")


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def text(self):
        return self.out.decode("utf-8", "replace")

    def error(self):
        return self.err.decode("utf-8", "replace")


class Test:
    """One test's world: directory, data directory, environment, and what it has started."""

    def __init__(self, name, seed, variant=None):
        self.name = name
        self.variant = variant
        self.random = random.Random(seed)
        self.seed = seed
        self.directory = tempfile.mkdtemp(prefix="muster-flow-")
        self.data = os.path.join(self.directory, "d")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MUSTER_")}
        self.env["MUSTER_DATA"] = self.data
        self.processes = []

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        return self.path(name)

    def muster(self, *arguments, stdin=None, code=0, env=None, timeout=120, variant=None):
        """Runs a command to its end; code: the exit code expected, None for any."""
        done = subprocess.run([binary(variant or self.variant), *map(str, arguments)], input=stdin, capture_output=True,
                              env={**self.env, **(env or {})}, timeout=timeout * SLOW, cwd=self.directory)
        result = Result(done.returncode, done.stdout, done.stderr)
        if code is not None and done.returncode != code:
            raise Failure(f"muster {' '.join(map(str, arguments))}: exit {done.returncode}, want {code}\n"
                          f"stdout: {result.text()[-1500:]}\nstderr: {result.error()[-3000:]}")
        return result

    def popen(self, *arguments, env=None, variant=None, **kinds):
        p = subprocess.Popen([binary(variant or self.variant), *map(str, arguments)], env={**self.env, **(env or {})}, cwd=self.directory, **kinds)
        self.processes.append(p)
        return p

    def node(self, *arguments, **options):
        return Node(self, *arguments, **options)

    def generate(self, records, seed=7, *more):
        """A generated stream as bytes."""
        return self.muster("generate", "--profile", "fy2021-southwest", "--records", records, "--seed", seed, *more).out

    def key(self, name, allow=True):
        """A key as its owner would make it, in NAME.key: (public, secret). allow: whether it may submit."""
        path = self.path(f"{name}.key")
        self.muster("key", "new", name, "--out", path)
        with open(path) as f:
            public, secret = re.findall(r"(?:public|secret)\s*=\s*(\S{40})", f.read())
        if allow:
            self.muster("key", "allow", name, public)
        return public, secret

    def status(self, code=0):
        return json.loads(self.muster("status", "--json", code=code).out)

    def finish(self, keep):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
                p.wait()
        for pid in pids_holding(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if keep:
            print(f"#   kept: {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)


def pids_holding(directory):
    """Processes of ours whose command line names the directory: the children of a node that was killed."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    line = f.read()
                if b"muster" in line and directory.encode() in line:
                    found.append(int(entry))
    return found


class Node:
    """`muster run`, from its start to its stop. Its standard error is kept in a file: the log is evidence."""

    def __init__(self, test, *arguments, data=None, env=None, wait=True, variant=None, descriptors=None, before=None):
        """before: called in the new process, as its limits are set."""
        self.test = test
        self.data = data or test.data
        self.log_path = test.path(f"node-{len(test.processes)}.log")
        arguments = list(arguments)
        if "--listen" not in arguments:
            arguments += ["--listen", "none"]

        def limited():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        with open(self.log_path, "wb") as log:
            self.process = test.popen("run", "--data", self.data, *arguments, env=env, stderr=log, stdout=log, stdin=subprocess.DEVNULL,
                                      start_new_session=True, variant=variant, preexec_fn=limited if descriptors else before)
        self.ready_line = None
        if wait:
            self.wait_ready()

    def log(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def wait_ready(self, seconds=20):
        def ready():
            match = re.search(r"^muster: ready: .*$", self.log(), re.M)
            if not match and self.process.poll() is not None:
                raise Failure(f"the node ended with {self.process.returncode} before it was ready:\n{self.log()[-3000:]}")
            return match
        self.ready_line = wait_until(ready, seconds, "the ready line").group(0)
        return self

    def endpoints(self, kind):
        return re.findall(rf"{kind}://\S+", self.ready_line)

    def pids(self, role):
        """pids of the children of a role ("worker", "ingest") by index, from their command lines."""
        found = {}
        for pid in pids_holding(self.data):
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
                if len(words) > 1 and words[1] == role.encode() and b"--index" in words:
                    found[int(words[words.index(b"--index") + 1])] = pid
        return found

    def kill(self, role, index=0):
        pid = self.pids(role).get(index)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self):
        """kill -9 of the whole node at once, supervisor first."""
        pids = [self.process.pid] + [p for p in pids_holding(self.data) if p != self.process.pid]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not any(not ended(p) for p in pids), 5, "the killed node to be gone")

    def stop(self, code=0, seconds=10):
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            got = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure(f"the node did not stop within {seconds * SLOW} s:\n{self.log()[-3000:]}")
        check_equal(got, code, f"exit code of the node\n{self.log()[-3000:]}\n")
        return time.monotonic() - start


@contextlib.contextmanager
def small_disk(t, size):
    """The data directory on a tmpfs of that size; Skipped where the machine does not allow it."""
    at = t.data = t.path("small")
    t.env["MUSTER_DATA"] = at
    os.makedirs(at, 0o700, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", at], capture_output=True).returncode:
        raise Skipped("no permission to mount")
    try:
        yield
    finally:
        for p in t.processes:
            if p.poll() is None:
                p.kill()
        time.sleep(0.2)
        subprocess.run(["umount", "-l", at])


def feed(process, stream, seconds):
    """Writes a stream to a command's standard input in the background, spread over some seconds, so that something can happen meanwhile."""
    def write():
        piece = max(1, len(stream) // 100)
        with contextlib.suppress(BrokenPipeError):
            for at in range(0, len(stream), piece):
                process.stdin.write(stream[at:at + piece])
                process.stdin.flush()
                time.sleep(seconds / 100)
            process.stdin.close()
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def finished(process, seconds=120):
    """Exit code, standard output and standard error of a command that is being fed."""
    out, error = [], []
    readers = [threading.Thread(target=lambda: out.append(process.stdout.read())), threading.Thread(target=lambda: error.append(process.stderr.read()))]
    for r in readers:
        r.start()
    code = process.wait(seconds * SLOW)
    for r in readers:
        r.join()
    return Result(code, out[0], error[0])


def state(pid):
    """As proc(5) has it: "R", "S", "T", "Z" and so on; "X" where it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "X"


def ended(pid):
    return state(pid) in "XZ"


def held_kib(pid, what):
    """VmHWM, RssAnon and their like."""
    with open(f"/proc/{pid}/status") as f:
        return number(rf"\b{what}:\s+(\d+) kB", f.read())


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def number(pattern, text):
    """The first group of a pattern in a text, as an integer without separators."""
    match = re.search(pattern, text)
    if not match:
        raise Failure(f"no {pattern!r} in {text!r}")
    return int(match.group(1).replace(",", ""))


def summary(result):
    """submit's summary line as a dictionary."""
    line = result.text()
    return {word: number(rf"([\d,]+) {word}", line) if re.search(rf"[\d,]+ {word}", line) else 0
            for word in ("accepted", "duplicate", "conflict", "invalid")} | {"submitted": number(r"submitted ([\d,]+)", line)}


def tally_total(test, *arguments):
    lines = test.muster("tally", "--format", "csv", *arguments).text().strip().splitlines()
    return sum(int(line.rsplit(",", 1)[1]) for line in lines[1:])


def delimited(stream):
    """The records of a delimited protobuf stream."""
    position, records = 0, []
    while position < len(stream):
        size = shift = 0
        while True:
            byte = stream[position]
            position += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        records.append(stream[position:position + size])
        position += size
    return records


def main(name, tests):
    """Runs the tests of one file; prints TAP-like lines that tests/run.sh counts. Arguments choose by a part of the name."""
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(4), "big")
    chosen = sys.argv[1:]
    failed = 0
    for function in tests:
        title = f"{name}: {function.__doc__.strip().splitlines()[0] if function.__doc__ else function.__name__}"
        if chosen and not any(word in function.__name__ for word in chosen):
            continue
        start = time.monotonic()
        test = Test(function.__name__, seed)
        try:
            function(test)
            print(f"ok - {title} ({time.monotonic() - start:.1f} s)", flush=True)
            test.finish(keep=False)
        except Skipped as why:
            print(f"skip - {title}: {why}", flush=True)
            test.finish(keep=False)
        except Exception as error:  # any failure is told with its seed, and its files are kept
            failed += 1
            text = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
            if not isinstance(error, Failure):
                import traceback
                text += "\n" + traceback.format_exc()
            print(f"not ok - {title}\n#   seed: SEED={seed} {os.path.relpath(sys.argv[0], ROOT)} {function.__name__}\n#   "
                  + text.replace("\n", "\n#   "), flush=True)
            test.finish(keep=True)
    sys.exit(1 if failed else 0)
