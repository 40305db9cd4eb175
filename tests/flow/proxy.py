"""A loopback tcp proxy between clients and a node, that does to a connection what networks do: delays, small pieces, an end in the middle of
anything, silence, bytes that arrive after their sender has connected anew. It knows where frames of ZMTP begin (their lengths are in clear, under
CURVE as well) and nothing of what is in them. Each connection follows its Script; what a Script draws, it draws from its own seed. One thread
serves every Way; everything but Proxy.way, Way.close and Proxy.close happens on it."""
import contextlib
import ctypes
import heapq
import random
import selectors
import socket
import struct
import threading
import time

UP, DOWN = "up", "down"  # towards the node, towards the client
# Frames as they pass, counted from 0: the handshake's, then those of messages. See proto/README.md for the messages.
UP_FRAMES = ("greeting", "HELLO", "INITIATE", "hello", "header", "records")
DOWN_FRAMES = ("greeting", "WELCOME", "READY", "welcome", "answer header", "verdicts")
GREETING = 64
PENDING = 4 << 20  # bytes held of one direction before its sender is made to wait


class Cut:
    """Where and how a connection ends: in the direction's frame, after that part of it (0: in front of it, 1: behind it), or after so many bytes.
    rst, fin: both sides see it. silent: both sides stay open and are read, and nothing passes any more. deaf: they are not even read. gone: as where
    a cable was cut, not even acknowledgements. unread: that direction's bytes are taken no more, the other's pass on. late: the client sees a reset, and what it had sent within `gather` seconds reaches the node `late`
    seconds after that."""

    def __init__(self, way, how, frame=None, part=0.0, after=None, gather=0.03, late=0.2):
        self.way, self.how, self.frame, self.part, self.after, self.gather, self.late = way, how, frame, part, after, gather, late

    def __repr__(self):
        names = UP_FRAMES if self.way == UP else DOWN_FRAMES
        if self.after is not None:
            place = f"{self.after} bytes"
        else:
            place = f"{self.part:.2f} of {names[self.frame] if self.frame < len(names) else f'frame {self.frame}'}"
        return f"{self.how} {self.way} at {place}" + (f", late {self.late:.2f} s" if self.how == "late" else "")


class Script:
    """pieces: (least, most) bytes that pass at once, by direction; delay: (least, most) seconds in front of each. room: bytes that the kernel keeps of
    what the node sends and nobody has read. far: seconds that everything is on its way, in each direction."""

    def __init__(self, seed=0, pieces=None, delay=None, cut=None, room=None, far=0):
        self.random, self.room, self.far = random.Random(seed), room, far
        self.pieces, self.delay, self.cut = pieces or {}, delay or {}, cut


class Frames:
    """Where the frames of one direction begin. known: bytes up to which that is certain."""

    def __init__(self):
        self.starts, self.known, self.head = [0], GREETING, b""

    def feed(self, at, data):
        """data passes from byte number `at` on."""
        while at + len(data) > self.known:
            skip = max(0, self.known - at)
            data, at = data[skip:], at + skip
            want = 2 if not self.head else (9 if self.head[0] & 2 else 2)
            take = min(len(data), want - len(self.head))
            if not self.head:
                self.starts.append(self.known)
                take = min(len(data), 1)
            self.head += data[:take]
            data, at = data[take:], at + take
            self.known = at
            want = 9 if self.head[0] & 2 else 2
            if len(self.head) == want:
                self.known += struct.unpack(">Q", self.head[1:])[0] if want == 9 else self.head[1]
                self.head = b""

    def passable(self):
        """Bytes of which it is known to which frame they belong, and how long that is."""
        return self.starts[-1] if self.head else self.known

    def place(self, frame, part):
        """The byte after that part of a frame; None as long as it has not begun."""
        if frame + 1 < len(self.starts):
            end = self.starts[frame + 1]
        elif frame + 1 == len(self.starts) and not self.head:
            end = self.known
        else:
            return None
        return self.starts[frame] + round(part * (end - self.starts[frame]))


class Pipe:
    """One direction of a connection."""

    def __init__(self, name, source, target):
        self.name, self.source, self.target = name, source, target
        self.frames, self.pending, self.arrived, self.passed = Frames(), bytearray(), 0, 0
        self.due, self.ended, self.blocked = 0.0, False, False
        self.read_out = False  # its end is on its way


def drop_everything(sock):
    """The kernel throws away what comes for this socket, acknowledgements too: its peer hears nothing any more."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))  # SO_ATTACH_FILTER


def reset(sock):
    with contextlib.suppress(OSError):  # or the end would not get out either, behind what was never acknowledged
        sock.setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Connection:
    def __init__(self, proxy, client, node, script):
        self.proxy, self.script, self.client, self.node = proxy, script, client, node
        self.pipes = {UP: Pipe(UP, client, node), DOWN: Pipe(DOWN, node, client)}
        self.open, self.is_cut, self.mute, self.holding, self.unread, self.late_bytes = True, False, False, False, None, 0
        for s in (client, node):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.watch()

    def watch(self):
        """What is read: never more than PENDING ahead. What is written waits for room only where there was none."""
        for pipe in self.pipes.values():
            other = self.pipes[DOWN if pipe.name == UP else UP]
            reads = not pipe.ended and not pipe.read_out and len(pipe.pending) < PENDING and pipe is not self.unread and not (self.mute and self.script.cut.how == "deaf")
            events = selectors.EVENT_READ * reads
            events |= selectors.EVENT_WRITE * other.blocked
            self.proxy.interest(pipe.source, events, (self, pipe))

    # ---- bytes ----

    def read(self, pipe):
        try:
            data = pipe.source.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            if self.mute:  # whom nobody hears any more cannot pass on that it has ended
                pipe.ended = True
                self.watch()
            else:
                self.close(reset)
            return
        if self.script.far and not self.mute:
            pipe.read_out = not data
            self.watch()
            self.proxy.later(self.script.far, lambda: self.take(pipe, data))
        else:
            self.take(pipe, data)

    def take(self, pipe, data):
        if not self.open:
            return
        if not data:
            pipe.ended = True
        elif self.mute:
            return
        pipe.frames.feed(pipe.arrived, data)
        pipe.arrived += len(data)
        pipe.pending += data
        self.move(pipe)

    def limit(self, pipe):
        """Byte number up to which it may pass, and whether the cut is there."""
        cut = self.script.cut
        if not cut or cut.way != pipe.name or self.is_cut:
            return pipe.arrived, False
        at = cut.after if cut.after is not None else pipe.frames.place(cut.frame, cut.part)
        passable = min(pipe.arrived, pipe.frames.passable())
        return (passable, False) if at is None or at > passable else (at, True)

    def move(self, pipe):
        now = time.monotonic()
        blocked, pipe.blocked = pipe.blocked, False
        while self.open and not self.mute and not (self.holding and pipe.name == UP) and pipe is not self.unread:
            limit, cut = self.limit(pipe)
            if pipe.passed == limit:
                if cut:
                    self.cut()
                elif pipe.ended and not pipe.pending:
                    self.end(pipe)
                break
            if pipe.due > now:
                break
            size, r = limit - pipe.passed, self.script.random
            if pipe.name in self.script.pieces:
                size = min(size, r.randint(*self.script.pieces[pipe.name]))
            try:
                sent = pipe.target.send(pipe.pending[:size])
            except BlockingIOError:
                pipe.blocked = True
                break
            except OSError:
                self.close(reset)
                return
            del pipe.pending[:sent]
            pipe.passed += sent
            if pipe.name in self.script.delay:
                pipe.due = now + r.uniform(*self.script.delay[pipe.name])
                self.proxy.later(pipe.due - now, lambda: self.move(pipe))
        if self.open and (blocked or pipe.blocked or len(pipe.pending) >= PENDING or pipe.ended):
            self.watch()

    def end(self, pipe):
        """A side has said its last, and all of it has passed."""
        try:
            pipe.target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        if all(p.ended for p in self.pipes.values()):
            self.close()

    # ---- the ends ----

    def cut(self):
        cut = self.script.cut
        self.is_cut = True
        if cut.how == "rst":
            self.close(reset)
        elif cut.how == "fin":
            self.mute = True
            for pipe in self.pipes.values():
                self.end(pipe)
            self.proxy.later(0.5, self.close)
        elif cut.how == "late":
            self.holding = True
            self.proxy.later(cut.gather, self.leave)
        elif cut.how == "unread":
            self.unread = self.pipes[cut.way]
            self.watch()
        else:
            self.mute = True
            if cut.how == "gone":
                drop_everything(self.client)
                drop_everything(self.node)
            self.watch()

    def leave(self):
        """The client's side of a late one ends; what it had sent is on its way still."""
        if not self.open:
            return
        self.proxy.interest(self.client, 0, None)
        reset(self.client)
        self.pipes[UP].ended = self.mute = True  # answers are read, and reach nobody
        self.proxy.later(self.script.cut.late, self.arrive)

    def arrive(self):
        if not self.open:
            return
        up = self.pipes[UP]
        try:
            self.node.settimeout(10)
            self.node.sendall(bytes(up.pending))
            self.node.setblocking(False)
        except OSError:
            pass
        self.late_bytes = len(up.pending)
        up.passed += len(up.pending)
        up.pending.clear()
        self.proxy.later(0.5, self.close)

    def close(self, how=socket.socket.close):
        if not self.open:
            return
        if self.is_cut and self.script.cut.how == "gone":
            how = reset
        self.open = False
        for s in (self.client, self.node):
            self.proxy.interest(s, 0, None)
            try:
                how(s)
            except OSError:
                pass


class Way:
    """An address that clients connect to. plan(number of the connection, from 0) is its Script."""

    def __init__(self, proxy, plan):
        self.proxy, self.plan, self.connections = proxy, plan, []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        node, script = socket.socket(), self.plan(len(self.connections))
        if script.room:
            node.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, script.room)
        try:
            node.settimeout(2)  # a shut door
            node.connect(self.proxy.target)
        except OSError:
            reset(client)
            node.close()
            return
        self.connections.append(Connection(self.proxy, client, node, script))

    def end_all(self, how):
        """Every connection ends now, in that way of a Cut."""
        def run():
            for c in self.connections:
                if c.open and not c.is_cut:
                    c.script.cut = Cut(UP, how)
                    c.cut()
        self.proxy.ask(run)

    def was_cut(self):
        return sum(c.is_cut for c in self.connections)

    def close(self):
        """Ends every connection of it, as seen by both sides."""
        def run():
            self.proxy.interest(self.listener, 0, None)
            self.listener.close()
            for c in self.connections:
                c.close()
        self.proxy.ask(run)


class Proxy:
    def __init__(self, endpoint):
        host, port = endpoint[len("tcp://"):].rsplit(":", 1)
        self.target = (host, int(port))
        self.selector, self.timers, self.asked, self.ended, self.number = selectors.DefaultSelector(), [], [], False, 0
        self.waker, self.wake = socket.socketpair()
        self.wake.setblocking(False)
        self.selector.register(self.waker, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def way(self, plan):
        w = Way(self, plan if callable(plan) else lambda _: plan)
        self.ask(lambda: self.interest(w.listener, selectors.EVENT_READ, w))
        return w

    def close(self):
        self.ended = True
        self.ask(lambda: None)
        self.thread.join()

    def ask(self, function):
        """Runs it on the proxy's thread, and waits for that."""
        done = threading.Event()
        self.asked.append((function, done))
        self.wake.send(b"x")
        done.wait(10)

    def later(self, seconds, function):
        self.number += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.number, function))

    def interest(self, sock, events, data):
        if sock.fileno() < 0:
            return
        known = sock in self.selector.get_map()
        if events and known:
            self.selector.modify(sock, events, data)
        elif events:
            self.selector.register(sock, events, data)
        elif known:
            self.selector.unregister(sock)

    def run(self):
        while not self.ended:
            wait = max(0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, events in self.selector.select(wait):
                if key.data is None:
                    self.waker.recv(4096)
                elif isinstance(key.data, Way):
                    key.data.accept()
                else:
                    connection, pipe = key.data
                    other = connection.pipes[DOWN if pipe.name == UP else UP]
                    if events & selectors.EVENT_WRITE and connection.open:
                        connection.move(other)
                    if events & selectors.EVENT_READ and connection.open:
                        connection.read(pipe)
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()
            while self.asked:
                function, done = self.asked.pop(0)
                function()
                done.set()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
