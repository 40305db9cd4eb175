"""The disk as a power cut may leave it, made from a log that tests/faults/record.c has written. Strict, as POSIX is: what a file holds is certain after
its sync, what a directory holds after the directory's; of all else any part may be there, in any order, torn at 512 or 4,096 bytes. A file's new length
may be there without its bytes, which are zero then, and its bytes without the length. A name may be there without what it names having any content."""
import json
import os
import struct

ENTRY = struct.Struct("<IIQQQQQ")
MAGIC = 0x4543554D
WRITE, SYNC, WRITE_SYNCED, TRUNCATE, CREATE, MKDIR, RENAME, UNLINK, LINK, FOLDER_SYNC, SYNC_ALL, NOTE = range(1, 13)
SYNCS = (SYNC, WRITE_SYNCED, FOLDER_SYNC, SYNC_ALL)


class Entry:
    __slots__ = ("position", "kind", "inode", "at", "mate", "data", "more")

    def __init__(self, position, kind, inode, at, mate, data, more):
        self.position, self.kind, self.inode, self.at, self.mate, self.data, self.more = position, kind, inode, at, mate, data, more


class Notes:
    """What a client was told, in the same log: by one write with O_APPEND, as soon as it is known, so all it depends on stands before it."""

    def __init__(self, log):
        self.file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, **told):
        data = json.dumps(told).encode()
        os.write(self.file, ENTRY.pack(MAGIC, NOTE, 0, 0, 0, len(data), 0) + data)


def entries(log):
    with open(log, "rb") as f:
        content = f.read()
    position, found = 0, []
    while position < len(content):
        magic, kind, inode, at, mate, size, more = ENTRY.unpack_from(content, position)
        assert magic == MAGIC, f"no entry at {position} of {log}"
        start = position + ENTRY.size
        found.append(Entry(position, kind, inode, at, mate, content[start:start + size], content[start + size:start + size + more]))
        position = start + size + more
    return found


class File:
    """A file: what is certain of it, and in their order the writes and truncations that are not."""

    def __init__(self, mode):
        self.mode, self.certain, self.open = mode, bytearray(), []

    def sync(self, before):
        for e in [e for e in self.open if e.position < before]:
            apply(self.certain, e)
        self.open = [e for e in self.open if e.position >= before]

    def sync_one(self, mate):
        """A write that was synced by itself goes before what is still open."""
        for e in [e for e in self.open if e.mate == mate]:
            apply(self.certain, e)
            self.open.remove(e)

    def left(self, choose):
        """Its bytes after a power cut: of each open write the parts chosen, then a length that it had at some time."""
        content = bytearray(self.certain)
        lengths = {len(content)}
        length = len(content)
        for e in self.open:
            if e.kind == TRUNCATE:
                if choose.whole():
                    apply(content, e)
                length = e.at
            else:
                for start, end in choose.parts(e.at, e.at + len(e.data)):
                    put(content, start, e.data[start - e.at:end - e.at])
                length = max(length, e.at + len(e.data))
            lengths.add(length)
        if self.open:
            length = choose.length(sorted(lengths), len(content))
            del content[length:]
            content.extend(bytes(length - len(content)))
        return content


def put(content, at, data):
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at:at + len(data)] = data


def apply(content, e):
    if e.kind == TRUNCATE:
        del content[e.at:]
        content.extend(bytes(e.at - len(content)))
    else:
        put(content, e.at, e.data)


class Folder:
    """A directory: the names that are certain, the changes that are not, and the names as its processes see them."""

    def __init__(self, mode):
        self.mode, self.certain, self.open, self.names = mode, {}, [], {}

    def change(self, position, *steps):
        """steps, done together or not at all: (name, what it names now, or None)"""
        self.open.append((position, steps))
        settle(self.names, steps)

    def sync(self, before):
        for position, steps in self.open:
            if position < before:
                settle(self.certain, steps)
        self.open = [o for o in self.open if o[0] >= before]

    def left(self, choose):
        names = dict(self.certain)
        for _, steps in self.open:
            if choose.whole():
                settle(names, steps)
        return names


def settle(names, steps):
    for name, what in steps:
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


class Disk:
    """What the log's entries have done so far to the directory below which they were recorded."""

    def __init__(self, root):
        self.root = os.path.realpath(root)
        self.top = Folder(0o700)
        self.inodes = {}

    def find(self, path):
        """The directory that holds a path, and the last part of it."""
        parts = os.path.relpath(path.decode(), self.root).split("/")
        folder = self.top
        for part in parts[:-1]:
            folder = folder.names[part]
        return folder, parts[-1]

    def folder(self, path):
        if path.decode() == self.root:
            return self.top
        above, name = self.find(path)
        return above.names[name]

    def do(self, e):
        if e.kind in (CREATE, MKDIR):
            made = (File if e.kind == CREATE else Folder)(e.at)
            self.inodes[e.inode] = made
            folder, name = self.find(e.data)
            folder.change(e.position, (name, made))
        elif e.kind in (WRITE, TRUNCATE):
            self.inodes[e.inode].open.append(e)
        elif e.kind == SYNC:
            self.inodes[e.inode].sync(e.at)
        elif e.kind == WRITE_SYNCED:
            self.inodes[e.inode].sync_one(e.mate)
        elif e.kind == FOLDER_SYNC:
            self.folder(e.data).sync(e.at)
        elif e.kind == SYNC_ALL:
            for what in [self.top, *self.inodes.values()]:
                what.sync(e.at)
        elif e.kind in (RENAME, LINK, UNLINK):
            self.rename(e)

    def rename(self, e):
        folder, name = self.find(e.data)
        if e.kind == UNLINK:
            folder.change(e.position, (name, None))
            return
        what = folder.names.get(name)
        to, new = self.find(e.more)
        assert to is folder, "a name moves within its directory only"
        if what is not None:  # None: a socket, which no disk keeps
            folder.change(e.position, *([(name, None)] if e.kind == RENAME else []), (new, what))

    def leave(self, path, choose):
        """Writes the image."""
        self.leave_folder(self.top, path, choose)

    def leave_folder(self, folder, path, choose):
        os.mkdir(path, folder.mode)
        for name, what in folder.left(choose).items():
            below = os.path.join(path, name)
            if isinstance(what, Folder):
                self.leave_folder(what, below, choose)
                continue
            with open(os.open(below, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, what.mode), "wb") as f:
                f.write(what.left(choose))


class Choose:
    """Which of what is not certain is there: nothing, everything, or a seeded part."""
    GRAINS = (512, 4096)

    def __init__(self, variant, random):
        self.variant, self.random = variant, random
        self.grain = random.choice(self.GRAINS)
        self.share = random.choice((0.1, 0.5, 0.9))

    def whole(self):
        return {"none": False, "all": True}.get(self.variant, self.random.random() < self.share)

    def parts(self, start, end):
        """The ranges of a write that are there, cut at the grain; half of the writes are whole or absent."""
        if self.variant in ("none", "all") or self.random.random() < 0.5:
            return [(start, end)] if self.whole() else []
        cuts = [start, *range((start // self.grain + 1) * self.grain, end, self.grain), end]
        return [(a, b) for a, b in zip(cuts, cuts[1:]) if self.random.random() < self.share]

    def length(self, lengths, held):
        if self.variant == "none":
            return lengths[0] if held not in lengths else held
        if self.variant == "all":
            return held
        return self.random.choice([held, self.random.choice(lengths)])
