#!/usr/bin/python3
"""kill -9 of a worker, of ingest, of the whole node at seeded moments under load, examined by an oracle outside the node.
ROUNDS chooses how many (20 in `make test`); SEED repeats a run."""
import os
import shutil
import time

import wire
from harness import check, check_equal, delimited, main
from oracle import Oracle, conserved

ROUNDS = int(os.environ.get("ROUNDS", "20"))
# Each point with the highest hit at which to kill: a commit takes all that gathered, so there are few of those.
POINTS = {"worker.before-decode": 5000, "worker.after-dedup": 4, "store.in-transaction": 4, "store.before-commit": 4, "store.after-commit": 4,
          "worker.after-commit": 4, "ingest.after-dispatch": 60, "ingest.before-answer": 60}


def some_node(t, **options):
    """A node of one ingest, or as often one of two."""
    return t.node(*t.random.choice([[], ["--ingest", "2"]]), **options)


def one_round(t, oracle, node, number):
    # By way of a link: whoever names the data directory itself is killed with the node.
    link = t.path("link")
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(t.data, link)
    ingests = [endpoint.replace(t.data + "/", link + "/") for endpoint in node.endpoints("ipc")]
    target = t.random.choice(["worker 0", "worker 1", f"ingest {len(ingests) - 1}", "node", "workers", "twice"])
    streams, submits = [], []
    for i in range(len(ingests)):  # one client an ingest; it may move to the other one
        streams.append(t.generate(100000, t.random.randrange(1 << 30), "--duplicates", "3"))
        verdicts = t.path(f"v{i}.tsv")
        if os.path.exists(verdicts):
            os.unlink(verdicts)
        submits.append(t.popen("submit", t.write(f"s{i}.pb", streams[i]), "--endpoint", " ".join(ingests[i:] + ingests[:i]), "--verdicts", verdicts, "--timeout", "60",
                               stdout=-1, stderr=-1))
    time.sleep(t.random.random() * 0.15)
    running = any(submit.poll() is None for submit in submits)
    if target == "node":
        node.kill_all()
        node = t.node("--ingest", len(ingests))
    elif target == "workers":
        node.kill("worker", 0)
        node.kill("worker", 1)
    elif target == "twice":
        node.kill("worker", 0)
        time.sleep(t.random.random() * 0.2)
        node.kill("worker", 0)
    else:
        role, index = target.split()
        node.kill(role, int(index))
    for i, submit in enumerate(submits):
        _, error = submit.communicate(timeout=120)
        check_equal(submit.returncode, 0, f"round {number}, {target}, client {i} of {len(submits)}: exit of submit: {error.decode()[-1000:]}")
        oracle.heard(delimited(streams[i]), t.path(f"v{i}.tsv"))
    return node, running


def seeded_moments(t):
    """kills at seeded moments: every verdict true, everything there once"""
    oracle, node, under_load = Oracle(t), some_node(t), 0
    for number in range(1, ROUNDS + 1):
        node, running = one_round(t, oracle, node, number)
        under_load += running
        if number % 5 == 0 or number == ROUNDS:
            conserved(t)
            stored = oracle.examine()
            print(f"#   {number} rounds, {under_load} of them while a submit ran, {stored:,} records stored, no violation (seed {t.seed})", flush=True)
            if number < ROUNDS:  # a fresh store now and then keeps examination short
                node.stop()
                shutil.rmtree(t.data)
                t.data = t.path(f"d{number}")
                t.env["MUSTER_DATA"] = t.data
                oracle, node = Oracle(t), some_node(t)
    check(under_load * 4 >= ROUNDS, f"only {under_load} of {ROUNDS} kills came while a submit ran: this machine needs a longer stream")
    check(node.stop() < 10, "stop")
    oracle.examine()


def named_points(t):
    """kills at every named point of a batch's life, first in one process, then the stream finishes"""
    for point, highest in POINTS.items():
        t.data = t.path("d-" + point)
        t.env["MUSTER_DATA"] = t.data
        once = t.path("once-" + point)
        os.mkdir(once)
        oracle = Oracle(t)
        node = some_node(t, variant="faults", env={"MUSTER_FAULT": f"{point}:kill:{t.random.randrange(1, highest)}", "MUSTER_FAULT_ONCE_DIR": once})
        stream = t.generate(20000, t.random.randrange(1 << 30))
        t.muster("submit", "-", "--batch", "200", "--verdicts", t.path("v.tsv"), stdin=stream)
        check(os.listdir(once), f"{point} was never reached")
        oracle.heard(delimited(stream), t.path("v.tsv"))
        conserved(t)
        node.stop()
        oracle.examine()


def always_behind_the_commit(t):
    """a worker that always dies behind the commit, before it answers: nothing of what is stored is accused; the next node answers all of it"""
    node = some_node(t, variant="faults", env={"MUSTER_FAULT": "worker.after-commit:kill:always"})
    stream = t.generate(40, 5)
    done = t.muster("submit", "-", "--batch", "1", "--window", "40", "--verdicts", t.path("v.tsv"), "--timeout", "6", stdin=stream, code=None)
    check(node.log().count("event=child.died") > 8, f"deaths: {node.log()[-2000:]}")
    check(node.process.poll() is None, f"the node has ended: {node.log()[-2000:]}")
    check(done.code in (69, 75), f"exit {done.code}: {done.error()}")
    node.kill_all()
    oracle, node = Oracle(t), some_node(t)
    oracle.heard(delimited(stream), t.path("v.tsv"), complete=False)
    oracle.unanswered = 0
    node.kill("worker", 0)  # and what its quarantine has is known to the next one
    t.muster("submit", "-", "--batch", "1", "--verdicts", t.path("v2.tsv"), stdin=stream)
    oracle.heard(delimited(stream), t.path("v2.tsv"))
    conserved(t)
    check_equal(oracle.examine(), 40, "stored")
    node.stop()


main("kills", [named_points, always_behind_the_commit, seeded_moments])
