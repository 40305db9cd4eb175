"""A client in another language, written from proto/README.md alone: ZeroMQ DEALER, protobuf headers, delimited records, verdict words.
It is deliberately plain: no resending, no credit of its own, so that tests can do what a well-behaved library would not."""
import os
import struct
import subprocess
import sys
import uuid

import zmq

import harness

GENERATED = os.path.join(harness.BUILD, "gen", "python")
PROTOS = ["proto/encounter.proto", "proto/wire.proto"]
generated = os.path.join(GENERATED, "proto", "wire_pb2.py")
if not os.path.exists(generated) or os.path.getmtime(generated) < max(os.path.getmtime(os.path.join(harness.ROOT, p)) for p in PROTOS):
    os.makedirs(GENERATED, exist_ok=True)
    subprocess.run(["protoc", f"--python_out={GENERATED}", f"-I{harness.ROOT}", *PROTOS], cwd=harness.ROOT, check=True)
sys.path.insert(0, GENERATED)
from proto import encounter_pb2 as encounter  # noqa: E402
from proto import wire_pb2 as wire  # noqa: E402

ACCEPTED, DUPLICATE, CONFLICT, INVALID, BUSY, RETRY = range(1, 7)
SHARED = zmq.Context()


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def stream_of(records):
    return b"".join(varint(len(r)) + r for r in records)


class Word:
    """A verdict word taken apart."""

    def __init__(self, word):
        self.verdict = word & 15
        self.shard = word >> 4 & 4095
        self.sequence = word >> 16 if self.verdict in (ACCEPTED, DUPLICATE, CONFLICT) else 0
        self.reason = word >> 16 & 0xFFFF if self.verdict in (INVALID, BUSY, RETRY) else 0
        self.field = word >> 32 & 0xFFFF if self.verdict in (INVALID, BUSY, RETRY) else 0

    def __repr__(self):
        return f"Word({self.verdict}, {self.shard}:{self.sequence}, reason {self.reason}, field {self.field})"


class Answer:
    def __init__(self, frames):
        self.header = wire.AnswerHeader.FromString(frames[0])
        words = wire.Verdicts.FromString(frames[1]).word if len(frames) > 1 else []
        self.words = [Word(w) for w in words]


class Client:
    def __init__(self, endpoint, server_key=None, public=None, secret=None, hello=True):
        self.socket = SHARED.socket(zmq.DEALER)
        self.socket.linger = 0
        if server_key:
            self.socket.curve_serverkey = server_key.encode()
            self.socket.curve_publickey = public.encode()
            self.socket.curve_secretkey = secret.encode()
        self.socket.connect(endpoint)
        self.next_batch = 1
        self.welcome = None
        if hello:
            self.welcome = self.hello()

    def close(self):
        self.socket.close()

    def receive(self, seconds=10):
        if not self.socket.poll(int(seconds * 1000 * harness.SLOW)):
            raise harness.Failure(f"no answer within {seconds} s")
        return self.socket.recv_multipart()

    def silent(self, seconds=0.7):
        return not self.socket.poll(int(seconds * 1000))

    def hello(self, major=1, software="flow-test 1.0"):
        self.socket.send(wire.Hello(kind=wire.KIND_HELLO, version_major=major, version_minor=0, software=software).SerializeToString())
        return wire.Welcome.FromString(self.receive()[0])

    def send(self, records, count=None, stream=None, batch_id=None):
        if batch_id is None:
            batch_id = self.next_batch
            self.next_batch += 1
        body = stream_of(records) if stream is None else stream
        header = wire.SubmitHeader(kind=wire.KIND_SUBMIT, version_major=1, version_minor=0, batch_id=batch_id,
                                   record_count=len(records) if count is None else count)
        self.socket.send_multipart([header.SerializeToString(), body])
        return batch_id

    def submit(self, records, **more):
        batch_id = self.send(records, **more)
        answer = Answer(self.receive(20))
        harness.check_equal(answer.header.batch_id, batch_id, "batch_id of the answer")
        return answer

    def status(self):
        self.socket.send(wire.StatusRequest(kind=wire.KIND_STATUS_REQUEST, version_major=1, version_minor=0).SerializeToString())
        return wire.Status.FromString(self.receive()[0])


def record(random, **changes):
    """A valid record; changes replace fields, None removes one."""
    fields = dict(
        encounter_id=uuid.UUID(int=random.getrandbits(128), version=4).bytes,
        encounter_time=1614834367000008 + random.randrange(10**12),
        component=encounter.COMPONENT_US_BORDER_PATROL,
        area_of_responsibility=encounter.AREA_TUCSON_SECTOR,
        land_border_region=encounter.LAND_BORDER_REGION_SOUTHWEST,
        demographic=encounter.DEMOGRAPHIC_SINGLE_ADULTS,
        citizenship="GTM",
        title_of_authority=encounter.TITLE_8,
        encounter_type=encounter.ENCOUNTER_TYPE_APPREHENSIONS,
        subject_id=uuid.UUID(int=random.getrandbits(128), version=4).bytes,
        station="TCA-07", device="KIOSK-0142", officer_reference="OFC-004711",
        disposition=encounter.DISPOSITION_PENDING)
    fields.update(changes)
    return encounter.Encounter(**{k: v for k, v in fields.items() if v is not None}).SerializeToString(deterministic=True)
