"""Where a process can be made to die or to stand still, and how: the named points of the build with fault points, signals, and what is done about a
node whose supervisor has died. For tests/flow/08_kills.py (each point once) and tests/faults/kills.py (seeded, by the hundred)."""
import contextlib
import os
import signal
import threading
import time

from harness import SLOW, Failure, Node, check, check_equal, ended, pids_holding, state, wait_until

# Each point with the highest hit at which to strike: a commit takes all that gathered, so there are few of those.
SERVING = {"worker.before-decode": 900, "worker.after-dedup": 4, "store.in-transaction": 4, "store.before-commit": 4, "store.after-commit": 4,
           "worker.after-commit": 4, "ingest.after-dispatch": 30, "ingest.before-answer": 30}
STARTING = {"run.start": 1, "worker.start": 1, "worker.before-ready": 1, "run.workers-ready": 1, "ingest.start": 1, "ingest.before-ready": 1,
            "run.before-ready": 1}
REBUILDING = {"store.rebuild": 3}  # of a start after the node was killed
STOPPING = {"run.draining": 1, "ingest.draining": 1, "run.draining-workers": 1, "worker.draining": 1, "store.hint-writing": 1, "store.hint-written": 1,
            "store.hint-named": 1, "worker.store-closed": 1, "run.ended": 1}
POINTS = {**SERVING, **STARTING, **REBUILDING, **STOPPING}


def fault(t, point, action, hit):
    """Environment of a node in which it happens once; the folder that says so afterwards."""
    once = t.path(f"once-{point}-{time.monotonic_ns()}")
    os.mkdir(once)
    return {"MUSTER_FAULT": f"{point}:{action}:{hit}", "MUSTER_FAULT_ONCE_DIR": once}, once


def tell(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def family(node):
    """Every process of a node, its supervisor included."""
    return sorted({*pids_holding(node.data), node.process.pid})


def start(t, *arguments, env=None, spared=False, seconds=40):
    """A node that serves. spared: its supervisor may be killed on the way, by what env says or by the caller, and is started again then."""
    for _ in range(4):
        node = Node(t, *arguments, wait=False, variant="faults", env=env)
        try:
            return node.wait_ready(seconds)
        except Failure:
            if not spared or node.process.poll() != -signal.SIGKILL:
                raise
    raise Failure("the supervisor was killed four times")


def end(node, spared=False):
    """SIGTERM, and until the supervisor is gone. spared: it may have been killed, or kept from answering everybody."""
    tell(node.process.pid, signal.SIGTERM)
    code = node.process.wait(60 * SLOW)
    check(code in ((0, 75, -signal.SIGKILL) if spared else (0,)), f"exit {code} of the node\n{node.log()[-3000:]}")
    return code


def alone(node):
    """No two processes own one store, and none is of a former node."""
    for role in ("worker", "ingest"):
        seen = {}
        for pid in family(node):
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
                if len(words) > 5 and words[1] == role.encode():
                    seen.setdefault(words[words.index(b"--index") + 1], []).append(pid)
        check(all(len(pids) == 1 for pids in seen.values()), f"{role}s of one place at the same time: {seen}")


def children_end(pids, seconds=10):
    """What a dead supervisor leaves ends by itself."""
    wait_until(lambda: all(ended(p) for p in pids), seconds, "the children of a dead supervisor to end")


@contextlib.contextmanager
def thawing(t, node_of, seconds, kill):
    """Meanwhile whatever a fault point has stopped goes on after so long, or is killed. Yields the list of those."""
    found, over = [], threading.Event()

    def watch():
        while not over.wait(0.005):
            for pid in family(node_of()):
                if state(pid) == "T":
                    found.append(pid)
                    over.wait(seconds)
                    tell(pid, signal.SIGKILL if kill else signal.SIGCONT)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def freeze(pids, seconds, kill=False):
    """Stands still for so long; then it goes on, or is killed where it stands."""
    for pid in pids:
        tell(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        tell(pid, signal.SIGKILL if kill else signal.SIGCONT)


def verdicts_of_the_killed(path):
    """What a client that was killed had heard: its last line may be half a line."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as f:
        text = f.read()
    with open(path, "wb") as f:
        f.write(text[:text.rfind(b"\n") + 1])


def begun_again(t, oracle, records, stream_path, verdicts_path, *arguments):
    """A client that was killed begins again with the same file: everything has its verdict, and what it had heard before is as it was."""
    verdicts_of_the_killed(verdicts_path)
    before = oracle.unanswered
    oracle.heard(records, verdicts_path, complete=False)
    t.muster("submit", stream_path, *arguments, "--verdicts", verdicts_path + ".again")
    oracle.heard(records, verdicts_path + ".again")
    oracle.unanswered = before
