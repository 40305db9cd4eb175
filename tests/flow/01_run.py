#!/usr/bin/python3
"""The node starts, says one ready line, keeps strangers and second nodes out, drains, and stops."""
import os
import re
import signal
import socket as socketlib
import stat
import time

from harness import SLOW, check, check_equal, main, number, state, wait_until


def ready_line_and_clean_stop(t):
    """one ready line, modes 0700 and 0600, exit 0 within 10 s"""
    node = t.node("--listen", "tcp://127.0.0.1:0")
    check(re.match(r"^muster: ready: ipc://\S+/submit\.sock tcp://127\.0\.0\.1:\d+ · 2 workers · 0 records$", node.ready_line), node.ready_line)
    check_equal(node.log().count("muster: ready:"), 1, "ready lines")
    check_equal(stat.S_IMODE(os.stat(t.data).st_mode), 0o700, "mode of the data directory")
    socket = node.endpoints("ipc")[0][len("ipc://"):]
    check_equal(stat.S_IMODE(os.stat(socket).st_mode), 0o600, "mode of the socket")
    check_equal(stat.S_IMODE(os.stat(os.path.dirname(socket)).st_mode), 0o700, "mode of its directory")
    check_equal(stat.S_IMODE(os.stat(os.path.join(t.data, "keys", "node.key")).st_mode), 0o600, "mode of the node's key")
    check(node.stop() < 10, "stop took too long")
    check_equal([name for name in os.listdir(os.path.join(t.data, "run")) if name.endswith(".sock")], [], "sockets left")
    t.muster("status", code=69)


def second_node_is_refused(t):
    """a second node on the same directory is refused with the pid of the first"""
    node = t.node()
    second = t.muster("run", "--data", t.data, "--listen", "none", code=75)
    check(str(node.process.pid) in second.error(), second.error())
    node.stop()
    t.node().stop()


def long_path_still_works(t):
    """a data directory too long for a socket is still found by the commands"""
    t.data = t.path("x" * 90 + "/" + "y" * 60)
    os.makedirs(os.path.dirname(t.data))
    t.env["MUSTER_DATA"] = t.data
    node = t.node()
    check(len(node.endpoints("ipc")[0]) < 107 + 6, node.ready_line)
    done = t.muster("submit", "-", stdin=t.generate(500))
    check_equal(number(r"([\d,]+) accepted", done.text()), 500, "accepted")
    check_equal(t.status()["records_accepted"], 500, "status finds it, too")
    runtime = os.path.dirname(node.endpoints("ipc")[0][len("ipc://"):])
    node.stop()
    check(not os.path.exists(runtime), f"{runtime} was left")
    t.node().stop()


def dead_children_come_back(t):
    """a killed worker and a killed ingest are restarted, and the node serves again"""
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(1000, 1))
    for role in ("worker", "ingest"):
        old = node.kill(role)
        wait_until(lambda: node.pids(role).get(0) not in (None, old), 10, f"another {role}")
        done = t.muster("submit", "-", stdin=t.generate(1000, 1 if role == "worker" else 2))
        check_equal(number(r"submitted ([\d,]+)", done.text()), 1000, "answered")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 2000, "records")
    node.stop()


def taken_port_is_told_at_once(t):
    """a port that is taken ends the start at once, with exit 73 and no word of damage"""
    with socketlib.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        node = t.node("--listen", f"tcp://127.0.0.1:{port}", wait=False)
        check_equal(node.process.wait(10), 73, node.log())
    check_equal(node.log().count("event=child.died"), 1, "starts")
    last = node.log().strip().splitlines()[-1]
    want = f"cannot listen on tcp://127.0.0.1:{port}: already in use; choose another --listen, or none"
    check(last.startswith("muster: ingest-0 cannot run: " + want) and "verify" not in last, last)
    check("data directory stays" in last, f"what is left of the start: {last}")
    node = t.node()
    check("· 0 records" in node.ready_line, node.ready_line)
    node.stop()


def bad_options_of_run(t):
    """a bad value on the command line is a usage error that names the option, and nothing is made"""
    for option, value in (("--workers", "100"), ("--workers", "0"), ("--ingest", "x"), ("--set", "ingest.credit=none")):
        error = t.muster("run", option, value, code=64).error()
        check(option in error, f"{option} {value}: {error}")
    check("1 to 64" in t.muster("run", "--workers", "100", code=64).error(), "the range")
    t.muster("run", "--config", t.write("bad.conf", "[node]\nworkers = 100\n"), code=78)
    check(not os.path.exists(t.data), "a data directory was made")
    for command, code in (("run", 73), ("tally", 66)):
        check("not a directory" in t.muster(command, "--data", t.write("plain", "x"), code=code).error(), f"{command} on a plain file")
    for wanted in ("0700", "chmod"):
        check(wanted in t.muster("run", "--help").text(), f"{wanted} in run --help")


def crash_loop_has_a_last_word(t):
    """a worker that cannot start ends the node with a clear last word"""
    t.node().stop()
    node = t.node(env={"MUSTER_FAULT": "worker.start:kill:always"}, wait=False, variant="faults")
    code = node.process.wait(30)
    check(code != 0, "exit code of a node that could not start")
    last = node.log().strip().splitlines()[-1]
    check("worker" in last and last.startswith("muster:"), f"last word: {last!r}")


def second_signal_ends_at_once(t):
    """a second SIGTERM ends at once and loses nothing acknowledged"""
    node = t.node()
    accepted = number(r"([\d,]+) accepted", t.muster("submit", "-", stdin=t.generate(20000)).text())
    os.kill(node.pids("worker")[0], signal.SIGSTOP)
    node.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    start = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    node.process.wait(10)
    check(time.monotonic() - start < 2, "the second signal took too long")
    node = t.node()
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), accepted, "records after the second signal")
    node.stop()


def signal_in_the_last_moment(t):
    """a SIGTERM, SIGINT or SIGHUP that comes when all has ended and was told changes nothing about that: exit 0"""
    for late in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        node = t.node(env={"MUSTER_FAULT": "run.ended:stop:1"}, variant="faults")
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: state(node.process.pid) == "T", 15, "the supervisor to stand still before it ends")
        check("all answered" in node.log(), node.log())
        node.process.send_signal(late)
        node.process.send_signal(signal.SIGCONT)
        check_equal(node.process.wait(20 * SLOW), 0, f"exit after a late signal {late}")


def workers_are_fixed(t):
    """another number of workers later is a clear error"""
    t.node("--workers", "3").stop()
    refused = t.muster("run", "--data", t.data, "--workers", "2", code=78)
    check("3" in refused.error() and "2" in refused.error(), refused.error())
    node = t.node()
    check("3 workers" in node.ready_line, node.ready_line)
    node.stop()


def settings_are_checked(t):
    """an unknown key in the configuration names file and line"""
    path = t.write("muster.conf", "[node]\nworkers = 2\n\n[ingest]\nbudgit_bytes = 1 MiB\n")
    refused = t.muster("run", "--data", t.data, "--config", path, code=78)
    check(f"{path}:5" in refused.error() and "budgit_bytes" in refused.error(), refused.error())


def interrupted_by_terminal(t):
    """SIGINT to the whole group, as a terminal sends it, drains like SIGTERM"""
    node = t.node()
    t.muster("submit", "-", stdin=t.generate(1000))
    os.killpg(node.process.pid, signal.SIGINT)
    check_equal(node.process.wait(10), 0, "exit code")
    t.node().stop()


main("run", [ready_line_and_clean_stop, second_node_is_refused, long_path_still_works, dead_children_come_back,
             taken_port_is_told_at_once, bad_options_of_run, crash_loop_has_a_last_word,
             second_signal_ends_at_once, signal_in_the_last_moment, workers_are_fixed, settings_are_checked, interrupted_by_terminal])
