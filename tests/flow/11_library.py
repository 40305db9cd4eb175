#!/usr/bin/python3
"""The installed library: the whole programs in its headers compile against it as C and as C++, and run; only the public API is exported."""
import os
import re
import subprocess
import time

import wire
from harness import ROOT, SLOW, check, check_equal, delimited, main

COMPILERS = (("gcc", "c", "-std=c11"), ("clang", "c", "-std=c11"), ("g++", "cc", "-std=c++11"), ("clang++", "cc", "-std=c++20"))


def install(t):
    """make install. Returns its prefix, and the environment that finds it"""
    prefix = t.path("usr")
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"PREFIX={prefix}"], check=True, capture_output=True)
    lib = os.path.join(prefix, "lib")
    return prefix, {**os.environ, "PKG_CONFIG_PATH": os.path.join(lib, "pkgconfig"), "LD_LIBRARY_PATH": lib}


def header_of(prefix, name):
    with open(os.path.join(prefix, "include", "muster", name)) as f:
        return f.read()


def program_of(header):
    lines = [line[2:].lstrip() for line in header.split("*/")[0].splitlines() if line.startswith(" *     ")]
    source = "\n".join(lines) + "\n"
    check("int main" in source, source)
    return lines, source


def links(prefix, env):
    """What to link with: the shared library, and the static one with what it names as its private needs from Debian's shared libraries"""
    def config_of(*arguments):
        return subprocess.run(["pkg-config", *arguments], env=env, capture_output=True, text=True, check=True).stdout.split()
    shared = config_of("--cflags", "--libs", "muster")
    check_equal([word for word in shared if word.startswith("-I")], [f"-I{prefix}/include"], "folders that a program is made to look in")
    static = config_of("--cflags", "--static", "--libs", "muster")
    return shared, [os.path.join(prefix, "lib", "libmuster.a") if word == "-lmuster" else word for word in static]


def compiled(t, env, name, source, compiler, link):
    program, language, standard = compiler
    path, out = t.write(f"{name}.{language}", source), t.path(f"{name}-{program}")
    built = subprocess.run([program, standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", path, "-o", out, *link], env=env, capture_output=True, text=True)
    check(built.returncode == 0, f"{name} with {program} {standard}: {built.stderr}")
    return out


def said_by(program, env, endpoint, record=b""):
    done = subprocess.run([program, endpoint], env=env, input=record, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode().strip()


def the_program_of_client_h(t):
    """A program of a dozen lines submits an encoded record, through the shared library and the static one, and says what went wrong"""
    prefix, env = install(t)
    lines, source = program_of(header_of(prefix, "client.h"))
    check(len(lines) <= 20, f"the example has {len(lines)} lines")
    record, node = wire.record(t.random), t.node()
    endpoint, expected = node.endpoints("ipc")[0], "ACCEPTED"
    for link in links(prefix, env):
        for compiler in COMPILERS:
            program = compiled(t, env, "client", source, compiler, link)
            check_equal(said_by(program, env, endpoint, record), (0, expected, ""), compiler)
            expected = "DUPLICATE"
    code, said, error = said_by(program, env, endpoint, wire.stream_of([record]))
    check(code == 1 and re.match(r"INVALID: (MALFORMED|WIRE_TYPE), field \d+: ", said), f"a length in front: {code} {said} {error}")
    code, said, error = said_by(program, env, endpoint, wire.record(t.random, citizenship="ZZZ"))
    check(code == 1 and said.startswith("INVALID: CITIZENSHIP, field 7: "), f"a bad field: {code} {said} {error}")
    code, said, error = said_by(program, env, endpoint, b"")
    check(code == 1 and said == "" and "0" in error, f"no record: {code} {said} {error}")
    node.stop()
    start = time.monotonic()
    code, said, error = said_by(program, env, f"ipc://{t.path('nobody')}", record)
    check(code == 1 and said == "" and "no node answers" in error and "no verdict" in error, f"nobody there: {code} {said} {error}")
    check(time.monotonic() - start < 15 * SLOW, "nobody there: it took long")


def the_program_of_encounter_h(t):
    """A program records an encounter in the struct, and what is stored is what it recorded"""
    prefix, env = install(t)
    _, source = program_of(header_of(prefix, "encounter.h"))
    node = t.node()
    endpoint, (shared, static) = node.endpoints("ipc")[0], links(prefix, env)
    for compiler in COMPILERS:
        check_equal(said_by(compiled(t, env, "encounter", source, compiler, shared), env, endpoint), (0, "ACCEPTED", ""), compiler)
    check_equal(said_by(compiled(t, env, "encounter", source, COMPILERS[0], static), env, endpoint), (0, "ACCEPTED", ""), "static")
    node.stop()
    exported = delimited(t.muster("export", "--format", "pb").out)
    check_equal(len(exported), len(COMPILERS) + 1, "records stored")
    for stored in exported:
        e = wire.encounter.Encounter.FromString(stored)
        check_equal((e.component, e.area_of_responsibility, e.land_border_region, e.demographic, e.citizenship), (1, 8, 2, 1, "GTM"), "stored")
        check_equal((e.title_of_authority, e.encounter_type, e.latitude_e7, e.longitude_e7, e.station), (8, 1, 313404000, -1109342000, "TCA-07"), "stored")
        check(not e.HasField("family_unit_id") and not e.HasField("device") and not e.HasField("disposition"), "what was not set is not there")


def only_the_public_api_is_exported(t):
    """What libmuster.so exports is what the headers declare"""
    prefix, _ = install(t)
    names = subprocess.run(["nm", "-D", "--defined-only", os.path.join(prefix, "lib", "libmuster.so")], capture_output=True, text=True, check=True).stdout
    exported = {line.split()[-1].split("@")[0] for line in names.splitlines()} - {"MUSTER_0"}
    declared = set(re.findall(r"\b(muster_[a-z_]+)\(", "".join(header_of(prefix, h) for h in ("client.h", "encounter.h", "status.h"))))
    check_equal(sorted(exported), sorted(declared), "exported against declared")


main("library", [the_program_of_client_h, the_program_of_encounter_h, only_the_public_api_is_exported])
