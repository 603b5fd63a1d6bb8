"""The log of an annals store: segments, frames, records, the chain, the recovery rule.

Written from format-spec.md alone; the numbers in comments are its sections.
"""

import os
import re
import struct
from zlib import crc32

from annals_metadata import Invalid, require, section

DATA_START = 8192
COMMIT, METADATA, CLOSE, SEAL, SESSION = 1, 2, 3, 4, 5
MASK = 2**64 - 1


class Damage(Exception):
    """Bytes that must be there are not what was written."""


def align(n):
    return (n + 7) // 8 * 8


# --- The store's directory (2) ---


def numbered(directory, suffix):
    """Number to bytes, of the numbered files in a directory."""
    files = {}
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        if re.fullmatch(r"[0-9]{20}" + re.escape(suffix), name):
            with open(os.path.join(directory, name), "rb") as file:
                files[int(name[:20])] = bytearray(file.read())
    return files


def unpack(form, data, at):
    return struct.unpack_from(form, data, at)[0]


def segments(root):
    """Number to bytes, of the segments; one that is kept elsewhere (24) cannot be read here."""
    log = os.path.join(root, "log")
    files = numbered(log, ".seg")
    for number, stub in numbered(log, ".cold").items():
        if number in files:
            continue
        name = f"{number:020}.cold"
        if len(stub) < 272 or stub[:4] != b"ANCD" or crc32(stub[8:272]) != unpack("<I", stub, 4):
            raise Damage(f"{name}: the stub is damaged")
        if unpack("<H", stub, 10) > 1:
            raise Damage(f"{name}: needs a newer reader")
        length, first = unpack("<Q", stub, 16), unpack("<Q", stub, 208 + 16)
        raise Damage(f"{name}: {length} bytes from position {first} on are in cold storage")
    return files


# --- Segment header (4) ---


class Segment:
    def __init__(self, number, data, notes):
        self.number, self.data = number, data
        self.name = f"log/{number:020}.seg"
        self.end = DATA_START
        self.frames, self.records = [], []
        header = None
        for at in (0, 4096):
            try:
                found = self.parse_header(bytes(data[at : at + 128]))
                require(header is None or found == header, "the copies differ")
                header = found
            except Invalid as why:
                notes.append(f"{self.name}: header copy at {at}: {why}")
        if header is None:
            raise Damage(f"{self.name}: both copies of the header are damaged")
        for start, stop in ((128, 4096), (4224, 8192)):
            if any(data[start:stop]):
                notes.append(f"{self.name}: bytes beside the headers are not zero")
        self.store_id, found_number, self.salt, self.capacity = header
        if len(data) > DATA_START + 2 * self.capacity:  # 4
            raise Damage(f"{self.name}: longer than a segment can be")
        if found_number != number:
            raise Damage(f"{self.name}: holds segment {found_number}")
        self.plain = crc32(struct.pack("<Q", self.salt))
        self.trailer = self.parse_trailer()

    def parse_header(self, b):
        require(len(b) == 128 and b[:8] == b"ANNALSEG", "wrong magic")
        require(crc32(b[:124]) == struct.unpack_from("<I", b, 124)[0], "wrong checksum")
        version, minimum, length, incompatible, _ro = struct.unpack_from("<HHIQQ", b, 8)
        if version == 0 or minimum > 1 or incompatible & ~15 != 0:  # 18
            raise Damage(f"{self.name}: needs a newer reader ({minimum}, bits {incompatible:#x})")
        require(length == 128, "wrong header length")
        number, salt, capacity, _created = struct.unpack_from("<QQQQ", b, 48)
        return b[32:48], number, salt, capacity

    def at(self, place):
        """The seed of a place (1)."""
        return self.plain ^ (place & 0xFFFFFFFF) ^ (place >> 32)

    def parse_trailer(self):
        """The trailer (7) as a dict; None if the segment is not sealed."""
        b = bytes(self.data[-64:])
        if len(b) < 64 or b[:8] != b"ANNALEND":
            return None
        *values, checksum = struct.unpack("<IIQQQQIIII", b[8:])
        names = "events commits base offset first_time last_time link table changes".split()
        trailer = dict(zip(names, values))
        length = trailer["offset"] + 48 + align(4 * trailer["events"]) + 64
        valid = (
            checksum == crc32(b[:60], self.plain)
            and length == len(self.data)
            and trailer["base"] != 0
            and trailer["offset"] < 2**32
        )
        return trailer if valid else None

    # --- Frames (5) ---

    def frame_header(self, offset):
        b = bytes(self.data[offset : offset + 48])
        require(len(b) == 48 and b[:2] == b"\xaf\x4e", "no frame")
        names = "kind zero length events link first durable time body_checksum checksum".split()
        h = dict(zip(names, struct.unpack("<BBIIIQQQII", b[2:])))
        require(h["checksum"] == crc32(b[:44], self.at(offset)), "wrong header checksum")
        require(h["kind"] in (COMMIT, METADATA, CLOSE, SEAL, SESSION), "unknown kind")
        require(h["zero"] == 0, "byte 3 is not zero")
        require((h["events"] != 0) == (h["kind"] == COMMIT), "event count contradicts kind")
        h["offset"], h["next"] = offset, h["first"] + h["events"]
        require(h["first"] != 0 and h["next"] <= MASK, "positions out of range")
        require(h["durable"] < h["next"], "durable position out of range")
        return h

    def frame(self, offset):
        """A proven frame: its header and its records."""
        h = self.frame_header(offset)
        start, length = offset + 48, h["length"]
        h["end"] = start + align(length)
        require(h["end"] <= len(self.data), "the body lies outside the file")
        body = bytes(self.data[start : start + length])
        require(not any(self.data[start + length : h["end"]]), "padding is not zero")
        records, checksums, at = [], b"", 0
        for ordinal in range(h["events"]):
            record = self.record(body, at, h["first"] + ordinal)
            require(record["distance"] == 48 + at, "a record names another frame")
            record.update(commit=h["first"], recorded_at=h["time"], offset=start + at)
            checksums += body[at : at + 4]
            at += align(record["length"])
            records.append(record)
        rest = body[at:]
        h["first_change"], h["durable_change"], h["changes"] = None, 0, []
        if h["kind"] == METADATA or (h["kind"] == COMMIT and rest):
            found = section(rest, self.plain, start + at)
            h["first_change"], h["durable_change"], h["changes"] = found
        checksum = crc32(rest, crc32(checksums, self.plain))
        require(checksum == h["body_checksum"], "wrong body checksum")
        return h, records

    # --- Records (6) ---

    def record(self, body, at, position):
        require(at + 48 <= len(body), "a record is cut short")
        (checksum, length, version, ident, stream, kind, flags, schema, tags, metadata, distance) = (
            struct.unpack_from("<IIQ16sHBBHHII", body, at)
        )
        require(48 + stream + kind + tags + metadata <= length <= 2**30, "lengths contradict")
        b = body[at : at + align(length)]
        require(len(b) == align(length), "a record is cut short")
        require(crc32(b[4:], self.at(position)) == checksum, "wrong record checksum")
        require(1 <= stream <= 1024, "stream length out of range")
        require(version != 0 and flags & ~15 == 0, "version or flags out of range")
        require(flags & 6 != 6, "an id is given and generated")
        ends, end = [], 48
        for size in (stream, kind, tags, metadata):
            ends.append((end, end + size))
            end += size
        stream, kind, tags, metadata = (b[start:stop] for start, stop in ends)
        try:
            return {
                "position": position,
                "version": version,
                "id": ident,
                "stream": stream.decode(),
                "type": kind.decode(),
                "tags": self.tags(tags, flags & 8 != 0),
                "metadata": metadata,
                "data": b[end:length],
                "json": flags & 1 == 1,
                "id_given": {2: True, 4: False}.get(flags & 6),
                "schema_version": schema,
                "length": length,
                "distance": distance,
            }
        except UnicodeDecodeError:
            raise Invalid("a name is not UTF-8") from None

    @staticmethod
    def tags(b, wide):
        found, width, longest = [], 2 if wide else 1, 0
        while b:
            length = int.from_bytes(b[:width], "little")
            tag = b[width : width + length]
            require(len(b) >= width and len(tag) == length, "a tag is cut short")
            found.append(tag.decode())
            longest = max(longest, length)
            b = b[width + length :]
        require(not wide or longest > 255, "the tags do not need the wide form")
        return found


# --- Reading (14) and the evidence (15) ---


class Log:
    """Walks the segments, given by number. `judge_end` must follow."""

    def __init__(self, files):
        self.notes = []
        if not files:
            raise Damage("not a store: it has no segments")
        for expected, number in enumerate(sorted(files), 1):
            if number != expected:
                raise Damage(f"segment {expected} is missing")
        self.segments = [Segment(n, files[n], self.notes) for n in sorted(files)]
        self.store_id = self.segments[0].store_id
        for segment in self.segments:
            if segment.store_id != self.store_id:
                raise Damage(f"{segment.name}: belongs to another store")
        self.link, self.next, self.time, self.next_change = 0, 1, 0, 1
        self.heads, self.ids, self.commits = {}, set(), 0
        self.walk()

    def walk(self):
        for index, segment in enumerate(self.segments):
            segment.base = self.next
            why, sealed = self.walk_segment(segment)
            trailer = segment.trailer
            if trailer and not sealed:
                raise Damage(f"{segment.name}: at {segment.end}: {why}")
            self.why, self.last = why, index
            following = self.segments[index + 1 : index + 2]
            if not following and trailer:
                raise Damage(f"{segment.name} is sealed, and the next segment is missing")
            try:
                if not following:
                    return
                header = following[0].frame_header(DATA_START)
                self.check_follows(header)
            except Invalid:
                if trailer:
                    self.last = index + 1
                    self.why = "the first frame is not the one that follows"
                return
            if not trailer and any(segment.data[segment.end :]):
                self.notes.append(f"{segment.name}: at {segment.end}: a seal that is not whole")

    def check_follows(self, header):
        require(header["link"] == self.link, "the frame does not follow the one before")
        require(header["first"] == self.next, "the position is not the next")
        require(header["time"] >= self.time, "the time lies before")

    def walk_segment(self, segment):
        """Reads on while frames are valid. Returns why it ended, and whether at a seal."""
        while True:
            try:
                header, records = segment.frame(segment.end)
                self.check_follows(header)
                first = header["first_change"]
                require(first in (None, self.next_change), "the changes are not the next")
                if header["kind"] == SEAL:
                    self.check_seal(segment, header)
                    return "sealed", True
            except Invalid as why:
                return why, False
            for record in records:
                self.take(segment, record)
            self.commits += header["kind"] == COMMIT
            segment.frames.append(header)
            segment.end = header["end"]
            self.link, self.next, self.time = header["checksum"], header["next"], header["time"]
            self.next_change += len(header["changes"])

    def take(self, segment, record):
        """Rules over the whole log (13)."""
        version, previous = self.heads.get(record["stream"], (0, 0))
        record["previous"] = previous
        if record["version"] != version + 1:
            raise Damage(f"position {record['position']}: version is not {version + 1}")
        if record["id"] in self.ids:
            raise Damage(f"position {record['position']}: the id is there already")
        self.ids.add(record["id"])
        self.heads[record["stream"]] = (record["version"], record["position"])
        segment.records.append(record)

    def check_seal(self, segment, header):
        trailer = segment.trailer
        if trailer is None:
            return
        commits = [frame["time"] for frame in segment.frames if frame["kind"] == COMMIT] or [0]
        kinds = (COMMIT, METADATA)
        times = [frame["time"] for frame in segment.frames if frame["kind"] in kinds] or [0]
        count = len(segment.records)
        expected = {
            "events": count,
            "commits": sum(frame["kind"] == COMMIT for frame in segment.frames),
            "base": segment.base,
            "offset": segment.end,
            "first_time": commits[0],
            "last_time": times[-1],
            "link": self.link,
            "changes": sum(len(frame["changes"]) for frame in segment.frames),
        }
        table = bytes(segment.data[segment.end + 48 : -64])
        expected["table"] = crc32(table, segment.plain)
        require(trailer == expected, f"the trailer {trailer} contradicts the frames {expected}")
        offsets = struct.unpack(f"<{count}I", table[: 4 * count])
        require([r["offset"] for r in segment.records] == list(offsets), "wrong offset table")
        require(not any(table[4 * count :]), "padding is not zero")
        require(header["durable"] == self.next - 1, "wrong durable position in the seal")

    def judge_backup(self, end):
        """Does the log hold the place that the manifest of a backup names?"""
        if end["store"] != self.store_id:
            raise Damage("the manifest is one of a backup of another store")
        held = [s for s in self.segments if s.number == end["segment"]]
        frames = [f for s in held for f in s.frames if f["end"] == end["offset"]]
        if end["last"] == 0:
            found = bool(held) and end["offset"] == DATA_START
        else:
            found = any(f["checksum"] == end["link"] and f["next"] == end["position"] + 1 for f in frames)
        if not found:
            raise Damage(f"the backup was whole up to position {end['position']}, and is not any more")

    def judge_end(self, covered, covered_change):
        """Is what lies behind the end damage? `covered` are the newest checkpoint's position and
        change."""
        end = self.segments[self.last].end
        found = [(s, end if i == 0 else DATA_START) for i, s in enumerate(self.segments[self.last :])]
        where = f"{found[0][0].name}: at {end}: {self.why}, expecting position {self.next}"
        for segment, start in found:
            if segment is not found[0][0] and segment.trailer:
                raise Damage(f"{where}; {segment.name} is sealed")
            for offset in range(start, len(segment.data) - 47, 8):
                if segment.data[offset : offset + 2] != b"\xaf\x4e":
                    continue
                try:
                    header = segment.frame_header(offset)
                except Invalid:
                    continue
                durable = header["durable"]
                if durable >= self.next:
                    raise Damage(f"{where}; {segment.name} at {offset}: {durable} was durable")
                if header["kind"] == CLOSE and header["first"] >= self.next:
                    raise Damage(f"{where}; {segment.name} at {offset}: the store was closed")
                try:
                    durable = segment.frame(offset)[0]["durable_change"]
                except Invalid:
                    continue
                if durable >= self.next_change:
                    raise Damage(f"{where}; {segment.name} at {offset}: change {durable} was durable")
        if covered >= self.next or covered_change >= self.next_change:
            raise Damage(f"{where}; a checkpoint covers {covered} and change {covered_change}")
        for segment, start in found:
            if any(segment.data[start:]):
                self.notes.append(f"{segment.name}: at {start}: a torn tail: {self.why}")

    def changes(self, upto=MASK):
        """The changes up to a number, in order."""
        found = [c for segment in self.segments for f in segment.frames for c in f["changes"]]
        return found[:upto]

    def records(self):
        return [record for segment in self.segments for record in segment.records]
