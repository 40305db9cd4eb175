#!/usr/bin/python3
"""The installed library: the ten-line example of its header compiles against it and runs; only the public API is exported."""
import os
import re
import subprocess
import time

import wire
from harness import ROOT, check, check_equal, main, number


def example_of_the_header(t):
    """make install, then the header's example against the installed library, shared and static"""
    prefix = t.path("usr")
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"PREFIX={prefix}"], check=True, capture_output=True)
    header = open(os.path.join(prefix, "include", "muster", "client.h")).read()
    lines = [line[2:].lstrip() for line in header.split("*/")[0].splitlines() if line.startswith(" *     ")]
    source = "\n".join(lines) + "\n"
    check("int main" in source, source)
    check(len(lines) <= 14, f"the example has {len(lines)} lines")
    record = wire.record(t.random)
    path = t.write("example.c", source)
    env = {**os.environ, "PKG_CONFIG_PATH": os.path.join(prefix, "lib", "pkgconfig")}
    node = t.node()
    def config_of(*arguments):
        return subprocess.run(["pkg-config", *arguments], env=env, capture_output=True, text=True, check=True).stdout.split()
    for kind in ("shared", "static"):
        config = config_of("--cflags", "--libs", "muster")
        check_equal([word for word in config if word.startswith("-I")], [f"-I{prefix}/include"], "folders that a program is made to look in")
        if kind == "static":  # libmuster.a, and what it names as its private needs from Debian's shared libraries
            config = [os.path.join(prefix, "lib", "libmuster.a") if word == "-lmuster" else word for word in config_of("--cflags", "--static", "--libs", "muster")]
        built = subprocess.run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", path, "-o", t.path(kind), *config], capture_output=True, text=True)
        check(built.returncode == 0, built.stderr)
        def run(stdin, endpoint=node.endpoints("ipc")[0]):
            done = subprocess.run([t.path(kind), endpoint], env={**env, "LD_LIBRARY_PATH": os.path.join(prefix, "lib")}, input=stdin, capture_output=True, timeout=60)
            return done.returncode, done.stdout.decode().strip(), done.stderr.decode().strip()
        check_equal(run(record), (0, "ACCEPTED" if kind == "shared" else "DUPLICATE", ""), kind)
        code, said, error = run(wire.stream_of([record]))
        check(code == 1 and re.match(r"INVALID: (MALFORMED|WIRE_TYPE), field \d+: ", said), f"a length in front: {code} {said} {error}")
        code, said, error = run(wire.record(t.random, citizenship="ZZZ"))
        check(code == 1 and said.startswith("INVALID: CITIZENSHIP, field 7: "), f"a bad field: {code} {said} {error}")
        code, said, error = run(b"")
        check(code == 1 and said == "" and "0" in error, f"no record: {code} {said} {error}")
    node.stop()
    start = time.monotonic()
    code, said, error = run(record, f"ipc://{t.path('nobody')}")
    check(code == 1 and said == "" and "no node answers" in error and "no verdict" in error, f"nobody there: {code} {said} {error}")
    check(time.monotonic() - start < 15, "nobody there: it took long")
    names = subprocess.run(["nm", "-D", "--defined-only", os.path.join(prefix, "lib", "libmuster.so")], capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in names.splitlines()} - {"MUSTER_0"}
    declared = set(re.findall(r"\b(muster_[a-z_]+)\(", header + open(os.path.join(prefix, "include", "muster", "status.h")).read()))
    check_equal(sorted(exported), sorted(declared), "exported against declared")


main("library", [example_of_the_header])
