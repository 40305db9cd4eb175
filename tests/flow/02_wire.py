#!/usr/bin/python3
"""The protocol, spoken by a client in another language that was written from proto/README.md alone."""
import os
import re
import signal
import socket
import threading
import time
import uuid

import zmq

import wire
from harness import ROOT, check, check_equal, delimited, main, number, wait_until
from oracle import conserved
from wire import ACCEPTED, BUSY, CONFLICT, DUPLICATE, INVALID, Client, encounter, record, varint
from wire import wire as pb


def connect(node):
    return Client(node.endpoints("ipc")[0])


def example_bytes_of_the_page(t):
    """exactly the example bytes of proto/README.md get exactly its answers"""
    with open(os.path.join(ROOT, "proto", "README.md")) as f:
        page = f.read()
    blocks = {name: bytes.fromhex("".join(re.sub(r"#.*", "", line) for line in body.splitlines()).replace(" ", ""))
              for name, body in re.findall(r"```hex (\S+)\n(.*?)```", page, re.S)}
    for name in ("hello", "submit-header", "submit-records", "verdicts"):
        check(name in blocks, f"block {name!r} is not in the page; there are {sorted(blocks)}")
    node = t.node("--workers", "1")
    c = Client(node.endpoints("ipc")[0], hello=False)
    c.socket.send(blocks["hello"])
    welcome = pb.Welcome.FromString(c.receive()[0])
    check(welcome.accepted and welcome.kind == pb.KIND_WELCOME and welcome.credit > 0, str(welcome))
    c.socket.send_multipart([blocks["submit-header"], blocks["submit-records"]])
    frames = c.receive()
    check_equal(frames[1], blocks["verdicts"], "second frame of the answer")
    want = pb.SubmitHeader.FromString(blocks["submit-header"])
    got = pb.AnswerHeader.FromString(frames[0])
    check_equal((got.batch_id, got.record_count), (want.batch_id, want.record_count), "answer header")
    c.socket.send_multipart([blocks["submit-header"], blocks["submit-records"]])
    check_equal(wire.Answer(c.receive()).words[0].verdict, DUPLICATE, "the same bytes again")
    node.stop()


def client_of_the_page():
    """The function `submit` of proto/README.md's Python client."""
    with open(os.path.join(ROOT, "proto", "README.md")) as f:
        names = {}
        exec(re.search(r"```python\n(.*?)```", f.read(), re.S).group(1), names)
    return names["submit"]


def client_of_the_page_waits_as_told(t):
    """the Python client of proto/README.md submits, and a short wait that it is told does not cut a longer one"""
    submit = client_of_the_page()
    node = t.node()
    records = [record(t.random) for _ in range(2500)]
    check_equal({w & 15 for w in submit(node.endpoints("ipc")[0], records)}, {ACCEPTED}, "first")
    check_equal({w & 15 for w in submit(node.endpoints("ipc")[0], records)}, {DUPLICATE}, "second")
    node.stop()
    came = []

    def scripted(router):
        """Two batches are told BUSY for 700 ms and RETRY for 50; what comes then is accepted."""
        while len(came) < 4:
            peer, head, *body = router.recv_multipart()
            header = pb.SubmitHeader.FromString(head)
            if header.kind == pb.KIND_HELLO:
                router.send_multipart([peer, pb.Welcome(kind=pb.KIND_WELCOME, accepted=True, credit=2, answer_timeout_ms=15000).SerializeToString()])
                continue
            came.append(time.monotonic())
            answer = pb.AnswerHeader(kind=pb.KIND_ANSWER, batch_id=header.batch_id, record_count=header.record_count, credit=2)
            words = []
            if len(came) <= 2:
                answer.batch_verdict, answer.retry_after_ms = ((pb.VERDICT_BUSY, 700), (pb.VERDICT_RETRY, 50))[len(came) - 1]
            else:
                words = [ACCEPTED] * header.record_count
            router.send_multipart([peer, answer.SerializeToString(), pb.Verdicts(word=words).SerializeToString()])
    router = wire.SHARED.socket(zmq.ROUTER)
    router.linger = 0
    router.bind(f"ipc://{t.path('scripted')}")
    thread = threading.Thread(target=scripted, args=[router], daemon=True)
    thread.start()
    submit(f"ipc://{t.path('scripted')}", records[:200], batch=100)
    thread.join(10)
    router.close()
    check(came[2] - came[0] >= 0.7, f"told to wait 0.7 s, sent again after {came[2] - came[0]:.3f} s")


def whole_conversation(t):
    """hello, every verdict, status, and the address of each record"""
    node = t.node()
    c = connect(node)
    check(c.welcome.accepted and len(c.welcome.node_id) == 16, str(c.welcome))
    check_equal((c.welcome.batch_records_max, c.welcome.record_bytes_max), (10000, 16384), "limits")
    good = [record(t.random) for _ in range(50)]
    answer = c.submit(good)
    check_equal([w.verdict for w in answer.words], [ACCEPTED] * 50, "verdicts")
    check_equal(len({(w.shard, w.sequence) for w in answer.words}), 50, "distinct addresses")
    again = c.submit(good)
    check_equal([(w.verdict, w.shard, w.sequence) for w in again.words], [(DUPLICATE, w.shard, w.sequence) for w in answer.words], "resent")
    first = encounter.Encounter.FromString(good[0])
    first.station = "TCA-08"
    conflict = c.submit([first.SerializeToString()]).words[0]
    check_equal((conflict.verdict, conflict.shard, conflict.sequence), (CONFLICT, answer.words[0].shard, answer.words[0].sequence), "conflict")
    bad = c.submit([record(t.random), record(t.random, citizenship="ZZZ"), record(t.random)]).words
    check_equal([w.verdict for w in bad], [ACCEPTED, INVALID, ACCEPTED], "one bad record is not a bad batch")
    check_equal((bad[1].reason, bad[1].field), (pb.REASON_CITIZENSHIP, 7), "its reason and field")
    status = c.status()
    check_equal((status.kind, status.shards, status.shards_serving, status.draining), (pb.KIND_STATUS, 2, 2, False), "status")
    conserved(t)
    node.stop()
    address = f"{answer.words[0].shard}:{answer.words[0].sequence}"
    check_equal(t.muster("get", address, "--format", "pb").out.endswith(good[0]), True, "get by address")
    check(str(uuid.UUID(bytes=encounter.Encounter.FromString(good[0]).encounter_id)) in t.muster("get", address).text(), "its id in JSON")


def same_id_twice_in_one_batch(t):
    """same id in one batch: DUPLICATE for the same content, CONFLICT for other content"""
    node = t.node()
    c = connect(node)
    r = record(t.random)
    other = encounter.Encounter.FromString(r)
    other.device = "KIOSK-9999"
    words = c.submit([r, r, other.SerializeToString(), r]).words
    check_equal([w.verdict for w in words], [ACCEPTED, DUPLICATE, CONFLICT, DUPLICATE], "verdicts")
    check_equal(len({(w.shard, w.sequence) for w in words}), 1, "all name the first copy")
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 1, "stored")
    node.stop()


def reencoded_is_the_same(t):
    """fields in another order, padded varints and repeated fields are the same content"""
    node = t.node()
    c = connect(node)
    r = record(t.random)
    check_equal(c.submit([r]).words[0].verdict, ACCEPTED, "first")
    fields, position = [], 0
    while position < len(r):  # single-byte tags up to field 15, two bytes above
        start = position
        tag = r[position]
        position += 1
        if tag > 127:
            tag |= r[position] << 7
            position += 1
        if tag & 7 == 0:
            while r[position] > 127:
                position += 1
            position += 1
        else:
            position += 1 + r[position]
        fields.append(r[start:position])
    check_equal(c.submit([b"".join(reversed(fields))]).words[0].verdict, DUPLICATE, "fields reversed")
    padded = b"".join(bytes([f[0], f[1] | 128, 0]) + f[2:] if f[0] == 0x18 else f for f in fields)
    check(padded != r, "no varint was padded")
    check_equal(c.submit([padded]).words[0].verdict, DUPLICATE, "padded varint")
    twice = fields[6][:2] + b"XXX" + b"".join(fields)
    check_equal(c.submit([twice]).words[0].verdict, DUPLICATE, "a repeated field, the last wins")
    decoy = bytes([0x0A, 16]) + uuid.uuid4().bytes + r
    check_equal(c.submit([decoy]).words[0].verdict, DUPLICATE, "a repeated id, the last wins, in its own shard")
    node.stop()


def unknown_fields_are_kept(t):
    """fields of a newer field system come back as they came"""
    node = t.node()
    c = connect(node)
    newer = record(t.random) + varint(100 << 3 | 2) + b"\x05newer"
    word = c.submit([newer]).words[0]
    check_equal(word.verdict, ACCEPTED, "verdict")
    node.stop()
    check(t.muster("get", f"{word.shard}:{word.sequence}", "--format", "pb").out.endswith(newer), "bytes as they came")


def wrong_batches(t):
    """wrong counts, cuts, garbage, empty and over-long batches: a reason each, and the node goes on"""
    node = t.node()
    c = connect(node)
    good = [record(t.random) for _ in range(5)]
    body = wire.stream_of(good)

    def refused(reason, **how):
        answer = c.submit(good, **how)
        check_equal((answer.header.batch_verdict, answer.header.batch_reason, len(answer.words)), (INVALID, reason, 0), f"{how.keys()}")
        return answer.header
    refused(pb.REASON_BATCH_COUNT, count=6)
    refused(pb.REASON_BATCH_COUNT, count=4)
    refused(pb.REASON_BATCH_EMPTY, count=0, stream=b"")
    cut = refused(pb.REASON_BATCH_STREAM, stream=body[:-3])
    check_equal((cut.error_record, cut.error_byte), (4, len(wire.stream_of(good[:4]))), "where the cut is")
    refused(pb.REASON_BATCH_STREAM, stream=body + b"\xff" * 11)
    refused(pb.REASON_BATCH_STREAM, stream=varint(4 << 30) + body)
    refused(pb.REASON_BATCH_TOO_MANY_RECORDS, count=10001)
    refused(pb.REASON_BATCH_TOO_MANY_BYTES, stream=b"\0" * (4 * 1024 * 1024 + 1))
    answer = c.submit([b"\xff\xfe no protobuf at all", good[0]])
    check_equal([w.verdict for w in answer.words], [INVALID, ACCEPTED], "a record that is not protobuf, beside a good one")
    large = record(t.random) + varint(100 << 3 | 2) + varint(20000) + b"x" * 20000
    check_equal([(w.verdict, w.reason) for w in c.submit([large, good[1]]).words], [(INVALID, pb.REASON_RECORD_TOO_LARGE), (ACCEPTED, 0)], "too large")
    for frames in ([b"garbage"], [b""], [b"a", b"b", b"c"], [b"x" * 600, body], [b"\x08\x03"], [b"\x08\x63", b""], [b"\xff" * 40, b"\xff" * 40]):
        c.socket.send_multipart(frames)
        got = pb.AnswerHeader.FromString(c.receive()[0])
        check_equal(got.batch_verdict, INVALID, f"frames {[f[:8] for f in frames]}")
    answer = c.submit(good, batch_id=2**64 - 1)
    check_equal([w.verdict for w in answer.words], [DUPLICATE, DUPLICATE, ACCEPTED, ACCEPTED, ACCEPTED], "and the node goes on")
    conserved(t)
    node.stop()


def over_sized_frame_ends_the_connection(t):
    """a frame over the wire limit ends that connection; others are not disturbed"""
    node = t.node()
    honest, giant = connect(node), connect(node)
    giant.send([], count=1, stream=b"\0" * (9 * 1024 * 1024))
    check_equal(honest.submit([record(t.random)]).words[0].verdict, ACCEPTED, "an honest client")
    check(giant.silent(), "a frame over the limit was answered")
    check_equal(t.status()["records_received"], 1, "records taken in")
    node.stop()


def other_major_version(t):
    """a client of another major version is told so"""
    node = t.node()
    c = Client(node.endpoints("ipc")[0], hello=False)
    welcome = c.hello(major=2)
    check_equal((welcome.accepted, welcome.version_major), (False, 1), "welcome to version 2")
    c.socket.send_multipart([pb.SubmitHeader(kind=pb.KIND_SUBMIT, version_major=2, batch_id=1, record_count=1).SerializeToString(),
                             wire.stream_of([record(t.random)])])
    check_equal(pb.AnswerHeader.FromString(c.receive()[0]).batch_reason, pb.REASON_BATCH_VERSION, "submit of version 2")
    node.stop()


def credit_is_enforced(t):
    """past its credit a client is told BUSY and when to come back; nothing of it is stored twice"""
    node = t.node("-s", "ingest.credit=2")
    c = connect(node)
    check_equal(c.welcome.credit, 2, "credit in the welcome")
    batches = [[record(t.random) for _ in range(3000)] for _ in range(12)]
    streams = [wire.stream_of(batch) for batch in batches]  # encoded before, so that they are sent faster than answered
    records = {c.send(batch, stream=stream): batch for batch, stream in zip(batches, streams)}
    answers = [wire.Answer(c.receive()) for _ in records]
    busy = [a for a in answers if a.header.batch_verdict == BUSY]
    check(busy, "nobody was told BUSY")
    check(all(a.header.retry_after_ms > 0 and a.header.batch_reason == pb.REASON_BUSY_CREDIT for a in busy), str(busy[0].header))
    for a in busy:
        c.submit(records[a.header.batch_id])
    check_equal(number(r"verified: ([\d,]+) records", t.muster("verify").text()), 36000, "stored in the end")
    conserved(t)
    node.stop()


def plain_tcp_client(t):
    """nc and other strangers on the tcp port disturb nobody"""
    node = t.node("--listen", "tcp://127.0.0.1:0")
    port = int(node.endpoints("tcp")[0].rsplit(":", 1)[1])
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\xff" + b"\0" * 8 + b"\x7f\3\1NULL" + b"\0" * 48, os.urandom(2000)):
        s = socket.create_connection(("127.0.0.1", port))
        s.sendall(noise)
        s.close()
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    check_equal(connect(node).submit([record(t.random)]).words[0].verdict, ACCEPTED, "an honest client")
    for s in idle:
        s.close()
    node.stop()


def flood_does_not_delay_a_single_record(t):
    """behind a flood a single-record client waits a few batches, not the flood's whole queue"""
    node = t.node("-s", "ingest.credit=256", "-s", "ingest.dispatch_bytes=1MiB", "-s", "node.frozen_ms=600000")
    flood, single = connect(node), connect(node)
    records = delimited(t.generate(200000, t.seed % 1000))
    streams = [wire.stream_of(records[i:i + 1000]) for i in range(0, 200000, 1000)]
    workers = list(node.pids("worker").values())
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    for i in range(200):
        flood.send([], count=1000, stream=streams[i])
    wait_until(lambda: t.status()["batches_in_flight"] == 200, 20, "the flood to be taken in")
    single.send([record(t.random)])
    wait_until(lambda: t.status()["batches_in_flight"] == 201, 20, "the single record to be taken in")
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    word = wire.Answer(single.receive()).words[0]
    check_equal(word.verdict, ACCEPTED, "single record")
    check(word.sequence < 30000, f"the single record is number {word.sequence} of its shard, behind more than 60 of 200 batches of the flood")
    for _ in range(200):
        check_equal(wire.Answer(flood.receive()).header.batch_verdict, 0, "the flood, within its credit")
    node.stop()


main("wire", [example_bytes_of_the_page, client_of_the_page_waits_as_told, whole_conversation, same_id_twice_in_one_batch, reencoded_is_the_same,
              unknown_fields_are_kept, wrong_batches,
              over_sized_frame_ends_the_connection, other_major_version, credit_is_enforced, plain_tcp_client, flood_does_not_delay_a_single_record])
