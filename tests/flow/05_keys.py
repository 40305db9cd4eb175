#!/usr/bin/python3
"""Who may submit: CURVE on every tcp endpoint, an allow-list that fails closed, revocation at the next message."""
import os
import re
import stat
import subprocess

import wire
from harness import Failure, binary, check, check_equal, main, summary
from wire import ACCEPTED, Client, record


def key_of(t, name):
    """A key made as its owner would: (public, secret, path)."""
    path = t.path(f"{name}.key")
    public, secret = t.key(name, allow=False)
    check_equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of a key file")
    return public, secret, path


def tcp_node(t, *more):
    node = t.node("--listen", "tcp://127.0.0.1:0", *more)
    server = re.search(r"\S{40}", t.muster("key", "show").text()).group(0)
    return node, node.endpoints("tcp")[0], server


def allowed_key_submits(t):
    """an allowed key submits over tcp, by the command and by another language"""
    node, endpoint, server = tcp_node(t)
    public, secret, path = key_of(t, "field-tucson-1")
    t.muster("key", "allow", "field-tucson-1", public)
    done = t.muster("submit", "-", "--endpoint", endpoint, "--server-key", server, "--key", path, stdin=t.generate(5000))
    check_equal(summary(done)["accepted"], 5000, "accepted")
    check_equal(Client(endpoint, server, public, secret).submit([record(t.random)]).words[0].verdict, ACCEPTED, "python client")
    check("field-tucson-1" in t.muster("key", "list").text(), "key list")
    check("field-tucson-1" in t.muster("get", "0:1").text(), "the receipt names the submitter's key")
    everything = t.muster("key", "list").text() + t.muster("key", "show").text() + t.muster("key", "show", path).text() + node.log()
    check(secret not in everything, "a private key was printed")
    node.stop()


def keys_in_a_shell(t):
    """what key show prints stands in a command line or in a file as it is"""
    node, endpoint, server = tcp_node(t)
    public, _, path = key_of(t, "field-tucson-1")
    t.env.update(MUSTER=binary(t.variant), ENDPOINT=endpoint)

    def shell(script, stdin=None):
        done = subprocess.run(["bash", "-euc", script], input=stdin, capture_output=True, env=t.env, cwd=t.directory, timeout=60)
        check_equal(done.returncode, 0, f"{script}: {done.stderr.decode()}")
        return done.stdout.decode()
    check_equal(shell('"$MUSTER" key show'), server + "\n", "key show of the node")
    check_equal(shell('"$MUSTER" key show field-tucson-1.key'), public + "\n", "key show of a file")
    shell('"$MUSTER" key allow field-tucson-1 "$("$MUSTER" key show field-tucson-1.key)"; "$MUSTER" key show >server.pub')
    # A key may hold an equals sign, which a line of a key file has as well.
    t.write("equals.pub", server[:20] + "=" + server[21:] + "\n")
    for key in ('"$("$MUSTER" key show)"', "server.pub"):
        shell(f'"$MUSTER" submit - --endpoint "$ENDPOINT" --server-key {key} --key field-tucson-1.key', t.generate(10))
    refused = t.muster("submit", "-", "--endpoint", endpoint, "--server-key", "equals.pub", "--key", path, "--timeout", "3", stdin=t.generate(5), code=None)
    check(refused.code in (69, 77), f"the file of another key: exit {refused.code}: {refused.error()}")
    node.stop()


def strangers_are_refused(t):
    """no list, an empty list, another key, no CURVE at all: nobody gets in"""
    node, endpoint, server = tcp_node(t)
    public, secret, path = key_of(t, "stranger")

    def refused(what, *keys):
        client = Client(endpoint, *keys, hello=False)
        client.socket.send(wire.wire.Hello(kind=wire.wire.KIND_HELLO, version_major=1).SerializeToString())
        check(client.silent(), f"{what} was answered")
        client.close()
    refused("a key without a list", server, public, secret)
    refused("no CURVE")
    other_public, other_secret, _ = key_of(t, "friend")
    t.muster("key", "allow", "friend", other_public)
    refused("a key that is not on the list", server, public, secret)
    done = t.muster("submit", "-", "--endpoint", endpoint, "--server-key", server, "--key", path, "--timeout", "3", stdin=t.generate(100000), code=77)
    check(done.out == b"" and "nothing was sent" in done.error(), f"of a refused key: {done.text()}{done.error()}")
    with open(os.path.join(t.data, "keys", "allow"), "w") as f:
        f.write("garbage\n")
    refused("a key while the list is damaged", server, other_public, other_secret)
    check_equal(summary(t.muster("submit", "-", stdin=t.generate(5)))["accepted"], 5, "ipc goes on")
    node.stop()


def revoked_at_the_next_message(t):
    """a revoked key is refused at its next message, on a connection that stays"""
    node, endpoint, server = tcp_node(t)
    public, secret, path = key_of(t, "field-yuma-2")
    t.muster("key", "allow", "field-yuma-2", public)
    client = Client(endpoint, server, public, secret)
    check_equal(client.submit([record(t.random)]).words[0].verdict, ACCEPTED, "before")
    t.muster("key", "revoke", "field-yuma-2")
    client.send([record(t.random)])
    check(client.silent(), "a revoked key was answered")
    t.muster("submit", "-", "--endpoint", endpoint, "--server-key", server, "--key", path, "--timeout", "3", stdin=t.generate(5), code=77)
    t.muster("key", "allow", "field-yuma-2", public)
    check_equal(Client(endpoint, server, public, secret).submit([record(t.random)]).words[0].verdict, ACCEPTED, "allowed again")
    node.stop()


def wrong_server_key(t):
    """a wrong server key is a clear error, and nothing is sent"""
    node, endpoint, server = tcp_node(t)
    public, _, path = key_of(t, "field-laredo-3")
    t.muster("key", "allow", "field-laredo-3", public)
    wrong = key_of(t, "impostor")[0]
    done = t.muster("submit", "-", "--endpoint", endpoint, "--server-key", wrong, "--key", path, "--timeout", "3", stdin=t.generate(5), code=None)
    check(done.code in (69, 77) and "key" in done.error(), f"exit {done.code}: {done.error()}")
    node.stop()


def names_are_checked(t):
    """key commands refuse bad names, bad keys and used names"""
    t.node().stop()
    public, _, path = key_of(t, "a-system")
    t.muster("key", "allow", "Not A Name", public, code=64)
    t.muster("key", "allow", "a-system", "missing.key", code=66)
    t.muster("key", "allow", "a-system", public)
    t.muster("key", "allow", "a-system", key_of(t, "other")[0], code=64)
    t.muster("key", "revoke", "nobody", code=66)
    t.muster("key", "new", "a-system", "--out", path, code=73)
    error = t.muster("key", "new", "x", "--out", "/nonexist/x.key", code=73).error()
    check("/nonexist/x.key: " in error and ".new" not in error, error)


def missing_files_are_told_alike(t):
    """a file that a command line names and that is not there is 66, whichever it is"""
    endpoint, public = "tcp://127.0.0.1:1", "0" * 40
    _, _, path = key_of(t, "a-system")
    stream = t.write("s.pb", t.generate(1))
    for what, arguments in (("the records", ["submit", "gone", "--endpoint", endpoint, "--server-key", public, "--key", path]),
                            ("--key", ["submit", stream, "--endpoint", endpoint, "--server-key", public, "--key", "gone"]),
                            ("--server-key", ["submit", stream, "--endpoint", endpoint, "--server-key", "gone", "--key", path]),
                            ("--config", ["run", "--config", "gone"]), ("key show", ["key", "show", "gone"]), ("--data", ["tally", "--data", "gone"])):
        done = t.muster(*arguments, code=None)
        check_equal(done.code, 66, f"{what}: {done.error()}")
        check("gone" in done.error(), f"{what}: {done.error()}")
    check(not os.path.exists(t.data), "a data directory was made")


main("keys", [allowed_key_submits, keys_in_a_shell, strangers_are_refused, revoked_at_the_next_message, wrong_server_key, names_are_checked,
              missing_files_are_told_alike])
