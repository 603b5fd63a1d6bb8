"""Index files and checkpoints of an annals store, and whether they agree with its log.

Written from format-spec.md alone; the numbers in comments are its sections.
"""

import os
import struct
from bisect import bisect_left
from zlib import crc32

from annals_metadata import CURSOR_SET, changes, records, state, without_records
from annals_log import DATA_START, MASK, Damage, Invalid, align, numbered, require


# --- Containers (9) ---


class Container:
    def __init__(self, data, magic, newest=1):
        require(len(data) >= 16 and data[-8:] == b"ANNALBLK", "no footer")
        count, checksum = struct.unpack_from("<II", data, len(data) - 16)
        length = len(data) - 16 - 4 * count
        require(length >= 64 and -(-length // 4096) == count, "wrong block count")
        table = data[length:-16]
        require(crc32(table, count) == checksum, "wrong checksum of the block checksums")
        for number, expected in enumerate(struct.unpack(f"<{count}I", table)):
            block = data[number * 4096 : min(length, (number + 1) * 4096)]
            require(crc32(block, number) == expected, f"wrong checksum of block {number}")
        found, self.version, minimum, sections = struct.unpack_from("<8sHHI", data)
        require(found == magic, "wrong magic")
        require(minimum <= newest, "needs a newer reader")
        self.store_id, payload = struct.unpack_from("<16sQ", data, 16)
        require(payload == length and sections <= 64, "the header contradicts the file")
        require(64 + 24 * sections <= length, "the section table lies outside the payload")
        self.sections = {}
        for index in range(sections):
            kind, _zero, offset, size = struct.unpack_from("<IIQQ", data, 64 + 24 * index)
            require(offset % 8 == 0 and offset + size <= length, "a section lies outside the payload")
            self.sections.setdefault(kind, data[offset : offset + size])

    def section(self, kind):
        return self.sections.get(kind, b"")

    def entries(self, kind, layout):
        size = struct.calcsize(layout)
        require(len(self.section(kind)) % size == 0, f"section {kind} is cut short")
        return list(struct.iter_unpack(layout, self.section(kind)))

    def meta(self, layout, names):
        require(len(self.section(1)) == struct.calcsize(layout), "META has a wrong length")
        return dict(zip(names.split(), struct.unpack(layout, self.section(1))))

    def check_hashes(self, kind, names, hashed_as=2):
        """HASHES and BUCKETS, this kind and the next, find each name. Older files lack them."""
        hashes = [entry for (entry,) in self.entries(kind, "<Q")]
        starts = [start for (start,) in self.entries(kind + 1, "<I")]
        places = enumerate(names)
        expected = sorted(hash_term(hashed_as, name) >> 32 << 32 | place for place, name in places)
        require(hashes in ([], expected), "HASHES is not that of the names")
        count = -(-len(hashes) // 8)
        buckets = [(entry >> 32) * count >> 32 for entry in hashes]
        require(starts == [bisect_left(buckets, number) for number in range(count)], "BUCKETS is wrong")

    def named_records(self, kind, names):
        """The records in a section, with their keys in another one."""
        found = {
            self.name(self.section(names), name, length): (version, flags == 1, size, segment, offset)
            for name, length, flags, size, offset, version, segment in self.entries(kind, "<IHHIIQQ")
        }
        keys = [key.encode() for key in found]
        require(keys == sorted(keys), "RECORDS is not sorted")
        return found

    @staticmethod
    def name(names, offset, length):
        require(offset + length <= len(names), "a name lies outside its section")
        return names[offset : offset + length].decode()


# --- Index files (10) ---


class Index(Container):
    def __init__(self, data):
        super().__init__(data, b"ANNALIDX")
        self.meta = self.meta("<QQQQII24x", "segment salt base offset events link")
        self.streams, self.long = {}, {}
        for *term, first, previous in self.entries(2, "<IH2xIIQQ"):
            self.streams[self.name(self.section(6), *term[:2])] = (
                self.list(*term[2:]),
                first,
                previous,
            )
        self.types, self.tags, self.categories = (
            {
                self.name(self.section(6), offset, length): self.list(count, start)
                for offset, length, count, start in self.entries(kind, "<IH2xII")
            }
            for kind in (3, 4, 5)
        )
        self.check_tables()
        for terms in (self.streams, self.types, self.tags, self.categories):
            names = [name.encode() for name in terms]
            require(names == sorted(names), "names are not sorted")
        self.check_hashes(15, self.streams)
        self.ids = [entry for (entry,) in self.entries(8, "<Q")]
        section = self.section(10)
        require(len(section) == 0 or len(section) > 8, "CHANGES is cut short")
        self.first_change = struct.unpack_from("<Q", section)[0] if section else None
        self.changes = changes(section[8:])
        self.records = self.named_records(14, 6)
        self.check_hashes(17, self.records, 14)

    def list(self, count, at):
        lists, found, last, start, ends = self.section(7), [], 0, at, []
        for _ in range(count):
            value = shift = 0
            while True:
                require(at < len(lists) and shift < 35, "a list is damaged")
                byte = lists[at]
                value |= (byte & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if byte < 0x80:
                    break
            last += value
            require(value < 2**32 and (not found or value > 0), "a list is damaged")
            found.append(last)
            ends.append(at)
        if count > 1024:
            self.long[start] = (count, found[1023:-1:1024], [end - start for end in ends[1023:-1:1024]])
        return found

    def check_tables(self):
        """TABLES says where every 1024th ordinal of each long list is. Older files lack it."""
        section, expected, entries = self.section(13), b"", b""
        for start, (_, before, places) in sorted(self.long.items()):
            expected += struct.pack("<II", start, len(entries) // 8)
            entries += b"".join(struct.pack("<II", *entry) for entry in zip(before, places))
        if self.long:
            expected = struct.pack("<Q", len(self.long)) + expected
        require(section in (b"", expected + entries), "TABLES contradicts LISTS")

    def passes(self, kind, hashed):
        """Whether the filter in a section lets a hash pass."""
        blocks = len(self.section(kind)) // 64
        start = ((hashed & 0xFFFFFFFF) * blocks >> 32) * 64
        block = self.section(kind)[start : start + 64]
        second = mix(hashed)
        bits = [second >> shift & 0x1FF for shift in (0, 9, 18, 27, 36, 45)]
        return all(block[bit // 8] >> bit % 8 & 1 for bit in bits)


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def hash_term(kind, name):
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & MASK
    return mix(hashed ^ mix(kind))


def hash_id(ident):
    low, high = struct.unpack("<QQ", ident)
    return mix(low ^ mix(high))


def check_index(index, segment, store_id):
    """Compares an index file with the segment it is of."""
    trailer = segment.trailer
    require(trailer is not None, "its segment is not sealed")
    expected = {"segment": segment.number, "salt": segment.salt}
    expected.update((key, trailer[key]) for key in ("base", "offset", "events", "link"))
    require(index.store_id == store_id and index.meta == expected, "of another segment")
    streams, types, tags, categories, ids = {}, {}, {}, {}, []
    for ordinal, record in enumerate(segment.records):
        first = ([], record["version"], record["previous"])
        streams.setdefault(record["stream"], first)[0].append(ordinal)
        types.setdefault(record["type"], []).append(ordinal)
        categories.setdefault(record["stream"].split("-", 1)[0], []).append(ordinal)
        for tag in dict.fromkeys(record["tags"]):
            tags.setdefault(tag, []).append(ordinal)
        hashed = hash_id(record["id"])
        ids.append(hashed >> 32 << 32 | ordinal)
        require(index.passes(9, hashed), f"the filter refuses the id of ordinal {ordinal}")
    require(index.streams == streams, "the streams are not those of the segment")
    require(index.types == types, "the types are not those of the segment")
    require(index.tags == tags, "the tags are not those of the segment")
    require(index.categories == categories, "the categories are not those of the segment")
    require(index.ids == sorted(ids), "the ids are not those of the segment")
    own = [change for frame in segment.frames for change in frame["changes"]]
    firsts = [frame["first_change"] for frame in segment.frames if frame["changes"]]
    require(index.changes == without_records(own), "the changes are not those of the segment")
    newest = records(own, segment.number)
    require(index.records == newest, "the records are not those of the segment")
    require(index.first_change == (firsts or [None])[0], "wrong number of the first change")
    blocks = -(-len(ids) * 10 // 512)
    require(len(index.section(9)) == 64 * blocks, "the filter has a wrong length")
    terms = [(2, streams), (3, types), (4, tags), (5, categories), (14, newest)]
    names = [(kind, name) for kind, entries in terms for name in entries]
    # Files from before there was one lack it.
    if index.section(11):
        blocks = -(-len(names) * 10 // 512)
        require(len(index.section(11)) == 64 * blocks, "the term filter has a wrong length")
        for kind, name in names:
            passes = index.passes(11, hash_term(kind, name))
            require(passes, f"the term filter refuses {name} of section {kind}")


# --- Checkpoints (11) ---


class Checkpoint(Container):
    def __init__(self, data):
        super().__init__(data, b"ANNALCKP", 2)
        self.meta = self.meta(
            "<QQI4xQQQQQQQQ8x",
            "position time link segment offset base streams commits segment_commits "
            "last_frame first_time",
        )
        require(0 < self.meta["base"] <= self.meta["position"] + 1, "positions out of range")
        self.heads = {}
        for name, version, last in self.entries(2, "<QQQ"):
            name = self.name(self.section(3), name >> 16, name & 0xFFFF)
            self.heads[name] = (version, last)
        names = [name.encode() for name in self.heads]
        require(names == sorted(names), "names are not sorted")
        self.check_hashes(11, self.heads)
        section = self.section(7)
        require(len(section) == 0 or len(section) >= 16, "METADATA is cut short")
        numbers = struct.unpack_from("<QQ", section) if section else (0, 0)
        self.last_change, self.segment_changes = numbers
        found = changes(section[16:])
        self.state = state(found)
        sets = [name for kind, name, *_ in found if kind == CURSOR_SET]
        times = [time for (time,) in self.entries(17, "<Q")]
        require(len(times) in (0, len(sets)), "not one of CURSOR TIMES for each cursor that is set")
        self.cursor_times = dict(zip(sets, times))
        self.records = records(found, self.meta["segment"]) or self.named_records(13, 14)
        require(self.entries(15, "<Q") or not self.entries(13, "<32s"), "no RECORD HASHES")
        self.check_hashes(15, self.records, 14)
        self.segments = self.entries(9, "<QQQQQ64s")


def whole_checkpoints(root):
    """The checkpoints that are whole, newest first."""
    found = []
    files = numbered(os.path.join(root, "checkpoints"), ".ckp")
    for _, data in sorted(files.items(), reverse=True):
        try:
            found.append(Checkpoint(bytes(data)))
        except Invalid:
            pass
    return found


def check_segments(checkpoint, log):
    """Compares SEGMENTS with the headers and the trailers of the first segments."""
    require(len(checkpoint.segments) < checkpoint.meta["segment"], "too many SEGMENTS")
    for (*numbers, trailer), segment in zip(checkpoint.segments, log.segments):
        header = struct.unpack_from("<QQ16x8xQQQ", segment.data, 16)
        features, ro_features, salt, capacity, created = header
        own = [salt, capacity, created, features, ro_features]
        require(numbers == own, f"SEGMENTS contradicts the header of {segment.number}")
        own = bytes(segment.data[-64:])
        require(trailer == own, f"SEGMENTS contradicts the trailer of {segment.number}")


def check_checkpoint(checkpoint, log):
    """Compares a checkpoint with the log up to its position."""
    meta = checkpoint.meta
    require(checkpoint.store_id == log.store_id, "of another store")
    require(meta["segment"] <= len(log.segments), "its segment is missing")
    segment = log.segments[meta["segment"] - 1]
    require(all(s.trailer for s in log.segments[: meta["segment"] - 1]), "a segment is not sealed")
    covered = [r for r in log.records() if r["position"] <= meta["position"]]
    require(len(covered) == meta["position"], "it covers more than the log holds")
    heads = {record["stream"]: (record["version"], record["position"]) for record in covered}
    streams = len(heads)
    if checkpoint.version >= 2:
        heads = {name: head for name, head in heads.items() if head[1] >= meta["base"]}
    require(checkpoint.heads == heads, "the heads are not those of the log")
    before = [f for s in log.segments[: meta["segment"] - 1] for f in s.frames]
    here = [f for f in segment.frames if f["end"] <= meta["offset"]]
    last = (before + here)[-1]
    commits = [f for f in before + here if f["events"]]
    commits_here = [f for f in here if f["events"]]
    expected = {
        "position": last["next"] - 1,
        "time": last["time"],
        "link": last["checksum"],
        "segment": segment.number,
        "offset": here[-1]["end"] if here else DATA_START,
        "base": segment.base,
        "streams": streams,
        "commits": len(commits),
        "segment_commits": len(commits_here),
        "last_frame": here[-1]["offset"] if here else 0,
        "first_time": commits_here[0]["time"] if commits_here else 0,
    }
    require(meta == expected, f"META is {meta}, the log says {expected}")
    require(checkpoint.state == state(log.changes(checkpoint.last_change)), "wrong METADATA")
    for name, time in checkpoint.cursor_times.items():
        moved = [
            (frame["time"], change)
            for frame in before + here
            for change in frame["changes"]
            if change[:2] == (CURSOR_SET, name)
        ]
        require(time in (0, moved[-1][0]), f"the time of cursor {name} is not that of the log")
    check_segments(checkpoint, log)
    newest = records([c for f in here for c in f["changes"]], segment.number)
    require(checkpoint.records == newest, "wrong records in METADATA")
    changes_here = sum(len(f["changes"]) for f in here)
    changes_before = sum(len(f["changes"]) for f in before)
    require(checkpoint.segment_changes == changes_here, "wrong count of changes in its segment")
    require(checkpoint.last_change == changes_before + changes_here, "wrong last change")
    own = [r for r in segment.records if r["position"] <= meta["position"]]
    sections = ((4, "<I", "offset"), (5, "<Q", "previous"), (6, "16s", "id"))
    order = sorted(hash_id(r["id"]) >> 32 << 32 | i for i, r in enumerate(own))
    kept = [entry for (entry,) in checkpoint.entries(8, "<Q")]
    require(kept in ([], order), "ORDER is not that of the ids")
    for kind, layout, key in sections:
        entries = [entry for (entry,) in checkpoint.entries(kind, layout)]
        require(entries == [record[key] for record in own], f"{key} is not that of the log")


    check_shortcuts(checkpoint.entries(10, "<I"), own)


def shortcut_of(version):
    """The version that a shortcut leads to."""
    rest = version
    while True:
        term = (1 << (rest + 1).bit_length() - 1) - 1
        rest -= term
        if rest == 0:
            return version - term


def check_shortcuts(entries, records):
    """Each is none, or leads where it has to. Older files have none of them."""
    if not entries:
        return
    require(len(entries) == len(records), "SHORTCUTS has a wrong length")
    places = {(r["stream"], r["version"]): ordinal for ordinal, r in enumerate(records)}
    for (entry,), record in zip(entries, records):
        target = shortcut_of(record["version"])
        there = places.get((record["stream"], target))
        if target + 1 == record["version"]:
            there = None
        require(entry in (0xFFFFFFFF, there), "a shortcut leads to a wrong event")


# --- All of them ---


def check_derived(root, log):
    """Checks every index file and checkpoint; returns a summary."""
    counts = []
    kinds = (
        ("index", ".idx", lambda n, data: check_index(Index(data), log.segments[n - 1], log.store_id)),
        ("checkpoints", ".ckp", lambda _, data: check_checkpoint(Checkpoint(data), log)),
    )
    for directory, suffix, check in kinds:
        files = numbered(os.path.join(root, directory), suffix)
        counts.append(len(files))
        for number, data in sorted(files.items()):
            try:
                require(directory != "index" or 1 <= number <= len(log.segments), "no such segment")
                check(number, bytes(data))
            except (Invalid, UnicodeDecodeError) as why:
                raise Damage(f"{directory}/{number:020}{suffix}: {why}") from None
    return f"{counts[0]} index files and {counts[1]} checkpoints agree with the log"
