#!/usr/bin/python3
"""No personal data has a way out: canary strings in every field of good, bad and broken records, then a search over everything the node writes but the store."""
import base64
import os

import wire
from harness import check, main
from wire import Client, encounter, record

CANARY = b"CANARY"
# A number of a record, and a moment: 2021-03-04T05:06:07.654321Z.
LATITUDE_E7, TIME_US = 321234567, 1614834367654321


def escaped(text):
    """What of a record's content is in a text, in any form that a program would give it: plain, hexadecimal with or without dashes, base64, numbers."""
    plain = text.lower().replace("-", "").replace(" ", "")
    looks = [CANARY.decode() in text.upper(), CANARY[:4].hex() in plain, str(LATITUDE_E7) in plain, str(LATITUDE_E7)[:2] + "." + str(LATITUDE_E7)[2:] in plain,
             str(TIME_US) in plain, "20210304t05:06:07" in plain]
    looks += [base64.b64encode((CANARY * 4)[shift:])[:8].decode() in text for shift in range(3)]
    return any(looks)


def canaries_stay_inside(t):
    """nothing a record carries is in logs, counters, status, errors or file names"""
    node = t.node("--log-level", "debug", "--listen", "tcp://127.0.0.1:0")
    canary = CANARY
    ident = b"CANARYCANARYCANA"
    texts = dict(station="CANARY-ST", device="CANARY-DV", officer_reference="CANARY-OF", encounter_time=TIME_US, latitude_e7=LATITUDE_E7, longitude_e7=-1110000000)
    batch = [record(t.random, **texts), record(t.random, subject_id=ident, family_unit_id=ident, **texts), record(t.random, citizenship="CANARY", **texts),
             record(t.random, encounter_id=ident + b"!", **texts), record(t.random, encounter_id=ident, **texts), b"\xff" + canary * 30,
             record(t.random, **texts)[:-5], record(t.random, **{**texts, "encounter_time": 2**62}), record(t.random, **{**texts, "latitude_e7": 10 * LATITUDE_E7 % 2**31})]
    for form in (f"id={wire.uuid.UUID(bytes=ident)}", ident.hex(), f"at {LATITUDE_E7 / 1e7}", "2021-03-04T05:06:07Z", base64.b64encode(b"id" + ident).decode()):
        check(escaped(form), f"this test would not see {form}")
    told = []
    for _ in range(3):
        c = Client(node.endpoints("ipc")[0])
        told.append(repr(c.submit(batch).header))
        for software in ("CANARY Jane", "Jane CANARY 1", "CANARY", "canary@example.org 1.0", "muster 1.0 CANARY"):  # a client's free text
            told.append(repr(c.hello(software=software)))
        c.socket.send_multipart([canary * 20, canary * 100])
        told.append(repr(c.receive()))
        c.socket.send_multipart([b"\x0a" + canary, wire.stream_of(batch)])
        told.append(repr(c.receive()))
    done = t.muster("submit", "-", stdin=wire.stream_of(batch) + b"\xff" * 12 + canary, code=65)
    told += [done.text(), done.error()]
    line = b'{"station": "CANARY-X", "citizenship": "CANARY", "encounter_id": "CANARY", "encounter_time": "CANARY"}\n{"station": ["CANARY"]}\n"CANARY\n'
    # Content in the place of a name, as an export with a column for each person would have it.
    line += b'{"CANARY":1}\n{"station":"a","CANARY_Q_PUBLIC":1}\n{"canary_q_public":{"canary":1}}\n{"unknown_fields":"","Canary":1}\n{"CANARY":1,"CANARY":2}\n'
    done = t.muster("submit", "-", "--format", "ndjson", stdin=line, code=65)
    told += [done.text(), done.error()]
    for command in (["status"], ["status", "--json"], ["quarantine", "list"], ["verify"], ["key", "list"]):
        done = t.muster(*command)
        told += [done.text(), done.error()]
    node.kill("worker")
    node.stop()
    told.append(node.log())
    check(node.log().count("\n") > 3, "the log is empty: this test would see nothing")
    for text in told:
        check(not escaped(text), f"a canary got out: {[line for line in text.splitlines() if escaped(line)][:1] or text[:400]}")
    check("software=unnamed" in node.log() and 'software="flow-test 1.0"' in node.log(), "the log does not tell of software")
    for directory, _, files in os.walk(t.data):
        for name in files:
            check(not escaped(name), name)
            if "store" not in directory and os.path.isfile(os.path.join(directory, name)):
                with open(os.path.join(directory, name), "rb") as f:
                    check(canary not in f.read(), f"a canary is in {os.path.join(directory, name)}")


main("private", [canaries_stay_inside])
