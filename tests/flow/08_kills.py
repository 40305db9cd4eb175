#!/usr/bin/python3
"""kill -9 and SIGSTOP of a worker, an ingest, the supervisor, a client: at every named point of a batch's and of a process's life, each once, with an
oracle outside the node. Seeded moments, by the hundred: tests/faults/kills.py."""
import os
import signal
import time

import deaths
import wire
from deaths import children_end, family, fault, start, state, tell
from harness import check, check_equal, delimited, main, wait_until
from oracle import Oracle, conserved
from wire import ACCEPTED, DUPLICATE, RETRY, Answer, Client, record


def submitted(t, oracle, records=2000):
    stream = t.generate(records, t.random.randrange(1 << 30))
    t.muster("submit", "-", "--batch", "40", "--verdicts", t.path("v.tsv"), stdin=stream)
    oracle.heard(delimited(stream), t.path("v.tsv"))


def settings(t):
    """A node of one ingest, or as often one of two."""
    return t.random.choice([[], ["--ingest", "2"]])


def fresh(t, name):
    t.data = t.env["MUSTER_DATA"] = t.path("d-" + name)
    return Oracle(t)


def named_points(t):
    """kills at every named point of a batch's life, first in one process, then the stream finishes"""
    for point, highest in deaths.SERVING.items():
        oracle = fresh(t, point)
        env, once = fault(t, point, "kill", t.random.randrange(1, highest))
        node = start(t, *settings(t), env=env)
        submitted(t, oracle)
        check(os.listdir(once), f"{point} was never reached")
        conserved(t)
        deaths.end(node)
        oracle.examine()


def start_and_stop(t):
    """kills at every named point of start, rebuild, drain and hint: the node is there again, and has what it had"""
    oracle, node = Oracle(t), start(t)
    submitted(t, oracle, 500)
    for point in [*deaths.STARTING, *deaths.REBUILDING, *deaths.STOPPING]:
        node.kill_all()
        env, once = fault(t, point, "kill", 1)
        node = start(t, env=env, spared=point in deaths.STARTING)
        submitted(t, oracle, 100)
        if point in deaths.STOPPING:
            deaths.end(node, spared=True)
            node = start(t)
            submitted(t, oracle, 100)
        check(os.listdir(once), f"{point} was never reached")
        deaths.alone(node)
    conserved(t)
    deaths.end(node)
    oracle.examine()


def always_behind_the_commit(t):
    """a worker that always dies behind the commit, before it answers: nothing of what is stored is accused; the next node answers all of it"""
    node = start(t, env={"MUSTER_FAULT": "worker.after-commit:kill:always"})
    stream = t.generate(40, 5)
    done = t.muster("submit", "-", "--batch", "1", "--window", "40", "--verdicts", t.path("v.tsv"), "--timeout", "6", stdin=stream, code=None)
    check(node.log().count("event=child.died") > 8, f"deaths: {node.log()[-2000:]}")
    check(node.process.poll() is None, f"the node has ended: {node.log()[-2000:]}")
    check(done.code in (69, 75), f"exit {done.code}: {done.error()}")
    node.kill_all()
    oracle, node = Oracle(t), start(t)
    oracle.heard(delimited(stream), t.path("v.tsv"), complete=False)
    oracle.unanswered = 0
    node.kill("worker", 0)  # and what its quarantine has is known to the next one
    t.muster("submit", "-", "--batch", "1", "--verdicts", t.path("v2.tsv"), stdin=stream)
    oracle.heard(delimited(stream), t.path("v2.tsv"))
    conserved(t)
    check_equal(oracle.examine(), 40, "stored")
    node.stop()


def one_by_one(t, client, records):
    """Each in a batch of its own; what was answered within a moment, by batch."""
    return {client.send([r]): r for r in records}


def answers(client, count, seconds=20):
    heard = {}
    while len(heard) < count:
        answer = Answer(client.receive(seconds))
        heard[answer.header.batch_id] = answer.words[0] if answer.words else answer.header
    return heard


def frozen_worker(t):
    """a worker that is frozen: the other shard serves on, its own records wait or are told RETRY, and are there once when it goes on"""
    node = t.node("-s", "ingest.shard_timeout_ms=1500", "-s", "ingest.credit=64")
    client, records = Client(node.endpoints("ipc")[0]), [record(t.random) for _ in range(60)]
    shard = [w.shard for w in client.submit([record(t.random) for _ in range(60)]).words]
    check(set(shard) == {0, 1}, f"shards {shard}")
    pid = node.pids("worker")[0]
    tell(pid, signal.SIGSTOP)
    sent = one_by_one(t, client, records)
    first = answers(client, len(records), 5)
    served = {b for b, w in first.items() if getattr(w, "verdict", 0) == ACCEPTED}
    check(0 < len(served) < len(records), f"{len(served)} of {len(records)} were accepted while one of two workers is frozen")
    for b, w in first.items():
        check(b in served and w.shard == 1 or b not in served and w.verdict == RETRY, f"told {w} while worker 0 is frozen")
    tell(pid, signal.SIGCONT)
    for b, r in sent.items():  # resending is always right: what was frozen may have committed it meanwhile
        word = wait_until(lambda: client.submit([r]).words, 10, "the shard to be served again")[0]  # BUSY until it was heard
        check(word.verdict in ((DUPLICATE,) if b in served else (ACCEPTED, DUPLICATE)), f"resent, it is {word}")
    check_equal(node.pids("worker")[0], pid, "the worker that was frozen for less than node.frozen_ms")
    conserved(t)
    node.stop()
    t.muster("verify")


def frozen_for_good(t):
    """a worker, an ingest that stay frozen are killed and started again after node.frozen_ms; submitters lose nothing, and one that only waits is let be"""
    node = t.node("--ingest", "2", "-s", "node.frozen_ms=1000")
    oracle = Oracle(t)
    before = {role: node.pids(role) for role in ("worker", "ingest")}
    for role in ("worker", "ingest"):
        pid = before[role][0]
        stream = t.write("s.pb", t.generate(3000, t.random.randrange(1 << 30)))
        tell(pid, signal.SIGSTOP)
        t.muster("submit", stream, "--verdicts", t.path("v.tsv"), "--timeout", "40")
        with open(stream, "rb") as f:
            oracle.heard(delimited(f.read()), t.path("v.tsv"))
        wait_until(lambda: node.pids(role).get(0, pid) != pid, 10, f"another {role} in the place of the frozen one")
        check(f"event=child.frozen child={role}-0 " in node.log(), node.log()[-2000:])
    after = {role: node.pids(role) for role in ("worker", "ingest")}
    check_equal([after[role][1] for role in after], [before[role][1] for role in before], "processes that were not frozen")
    deaths.alone(node)
    conserved(t)
    node.stop()
    oracle.examine()


def supervisor_alone(t):
    """the supervisor dies alone: its children end by themselves, and the next node starts beside none of them, even where one is frozen"""
    node, oracle = start(t), Oracle(t)
    submitted(t, oracle, 500)
    left = [p for p in family(node) if p != node.process.pid]
    tell(node.process.pid, signal.SIGKILL)
    node.process.wait()
    children_end(left)
    for role in ("ingest", "worker"):  # each as it wakes beside the next node, if that does not wait
        node = start(t)
        frozen = node.pids(role)[0]
        tell(frozen, signal.SIGSTOP)
        tell(node.process.pid, signal.SIGKILL)
        node.process.wait()
        settings = os.path.join(t.data, "run", "node.conf")
        with open(settings) as f:
            before = f.read()
        node = t.node("-s", "ingest.credit=17", wait=False, variant="faults")
        time.sleep(1)  # twice what a start takes
        check("muster: ready:" not in node.log(), "a node is ready beside a process of the former one")
        with open(settings) as f:
            check_equal(f.read(), before, "settings that a process of the former node may still read")
        tell(frozen, signal.SIGCONT)
        node.wait_ready()
        deaths.alone(node)
        submitted(t, oracle, 300)
        endpoints = [f for f in os.listdir(os.path.join(t.data, "run")) if f.startswith("endpoint")]
        check_equal(sorted(endpoints), ["endpoint-0", "endpoints"], "files of the node that serves")
        if role == "ingest":
            tell(node.process.pid, signal.SIGKILL)
            node.process.wait()
    conserved(t)
    node.stop()
    oracle.examine()


def client_killed(t):
    """a client that is killed, or frozen with verdicts under way, and begins again with the same file: nothing is lost and nothing is there twice"""
    node, oracle = t.node(), Oracle(t)
    stream = t.generate(20000, t.random.randrange(1 << 30))
    path = t.write("s.pb", stream)
    for turn in range(4):
        verdicts = t.path(f"v{turn}.tsv")
        submit = t.popen("submit", path, "--batch", "50", "--window", "8", "--verdicts", verdicts, stdout=-1, stderr=-1)
        wait_until(lambda: submit.poll() is not None or (os.path.exists(verdicts) and os.path.getsize(verdicts) > turn * 60000), 20, "some verdicts")
        if turn % 2:
            deaths.freeze([submit.pid], 0.5, kill=turn == 3)
        else:
            submit.kill()
        if turn == 1:
            check_equal(submit.wait(60), 0, "exit of a client that was frozen")
            oracle.heard(delimited(stream), verdicts)
        else:
            submit.wait()
            deaths.begun_again(t, oracle, delimited(stream), path, verdicts)
    status = conserved(t)
    wait_until(lambda: t.status()["records_in_flight"] == 0, 5, f"nothing to be in flight: {status['records_in_flight']}")
    node.stop()
    check_equal(oracle.examine(), 20000, "stored")


def frozen_node(t):
    """the whole node is frozen, as a machine is that is suspended: it goes on, nobody of it is killed for that, and submitters wait"""
    node, oracle = t.node("-s", "node.frozen_ms=3000"), Oracle(t)
    before = family(node)
    stream = t.generate(30000, t.random.randrange(1 << 30))
    submit = t.popen("submit", t.write("s.pb", stream), "--batch", "100", "--verdicts", t.path("v.tsv"), stdout=-1, stderr=-1)
    for pid in before:  # the supervisor among them: it must not count the time that it was frozen itself
        tell(pid, signal.SIGSTOP)
    time.sleep(3.5)
    check(all(state(pid) == "T" for pid in before), "something of the node runs")
    tell(node.process.pid, signal.SIGCONT)
    for pid in before:
        tell(pid, signal.SIGCONT)
    check_equal(submit.wait(60), 0, "exit of submit")
    oracle.heard(delimited(stream), t.path("v.tsv"))
    check_equal(family(node), before, "processes of the node")
    conserved(t)
    node.stop()
    oracle.examine()


os.environ.setdefault("SEED", "8")  # the same every time; tests/faults/kills.py looks further
main("kills", [named_points, start_and_stop, always_behind_the_commit, frozen_worker, frozen_for_good, supervisor_alone, client_killed, frozen_node])
