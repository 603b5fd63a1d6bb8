"""The snapshots of an annals store, and whether they are of the history that its log holds.

Written from format-spec.md alone; the numbers in comments are its sections.
"""

import os
import re
import struct
import uuid
from zlib import crc32

from annals_derived import Container
from annals_metadata import Invalid, require

LENGTHS = {1: 64, 2: 80}


def key_hash(key):
    """FNV-1a (22)."""
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 & 2**64 - 1
    return value


def parse(data, kinds=2):
    """A snapshot file, or with 3 kinds an entry of a pack (22)."""
    require(len(data) >= 68 and data[:8] == b"ANNALSNP", "no snapshot")
    require(crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0], "wrong checksum")
    version, least, length = struct.unpack_from("<HHI", data, 8)
    require(least <= 2, "a newer version of the file")
    require(LENGTHS.get(version, 80) == length, "header of an unknown length")
    mark, saved_at, key_length, kind, zero, schema, state_length = struct.unpack_from(
        "<QQHBBIQ", data, 32
    )
    binding = struct.unpack_from("<QQ", data, 64) if length == 80 else None
    key = data[length : length + key_length]
    state = data[length + key_length : -4]
    require(len(state) == state_length and kind < kinds and zero == 0, "lengths contradict the file")
    return {
        "store": data[16:32], "mark": mark, "position": kind == 1, "deletion": kind == 2, "saved_at": saved_at,
        "schema": schema, "binding": binding, "key": key.decode(), "state": state,
    }  # fmt: skip


def entries(data, at):
    """The entries of a pack from an offset on: offset and snapshot (22)."""
    while at + 80 <= len(data):
        key_length, state_length = struct.unpack_from("<H6xQ", data, at + 48)
        end = at + 84 + key_length + state_length
        try:
            require(state_length < 2**20 and end <= len(data), "cut short")
            yield at, parse(data[at:end], kinds=3)
        except (Invalid, struct.error, UnicodeDecodeError):
            return
        at = end


def pack(data, number):
    """A pack (22)."""
    require(len(data) >= 64 and data[:8] == b"ANNALPCK", "no pack")
    require(crc32(data[:60]) == struct.unpack_from("<I", data, 60)[0], "wrong checksum")
    least, length = struct.unpack_from("<HI", data, 10)
    require(least <= 1 and length == 64, "a newer version of the file")
    require(struct.unpack_from("<Q", data, 32)[0] == number, "it has the name of another")
    return list(entries(data, 64))


def level(data, first, last):
    """A level file of snapshots (22)."""
    container = Container(data, b"ANNALSNL")
    meta, table, packed = (container.section(kind) for kind in (1, 2, 3))
    require(struct.unpack("<QQ", meta) == (first, last), "it has the name of another")
    require(len(table) % 32 == 0, "a part of an entry")
    found, before, end = [], 0, 0
    for at in range(0, len(table), 32):
        hashed, mark, offset, length, kind, zeros = struct.unpack_from("<QQQIB3s", table, at)
        require(hashed >= before and zeros == bytes(3), "entries out of order")
        require(offset == end, "entries do not follow each other")
        before, end = hashed, offset + length
        snapshot = parse(packed[offset:end], kinds=3)
        own = 2 if snapshot["deletion"] else int(snapshot["position"])
        require((key_hash(snapshot["key"].encode()), snapshot["mark"], own) == (hashed, mark, kind),
                "an entry of another snapshot")  # fmt: skip
        found.append((offset, snapshot))
    require(end == len(packed), "data without an entry")
    return found


def name_of(snapshot):
    """The name of a snapshot's own file (22)."""
    kind = "p" if snapshot["position"] else "v"
    return f"{key_hash(snapshot['key'].encode()):016x}-{kind}{snapshot['mark']:020}.snap"


def judge(snapshot, log):
    """Why the snapshot is skipped, or None (22)."""
    if snapshot["store"] != log.store_id:
        return "it is of another store"
    position = snapshot["mark"] if snapshot["position"] else None
    if snapshot["binding"]:
        position = snapshot["binding"][0]
    elif not snapshot["position"]:
        place = (snapshot["key"], snapshot["mark"])
        found = [r["position"] for r in log.records() if (r["stream"], r["version"]) == place]
        position = found[0] if found else None if snapshot["mark"] else 0
    if position is None or position >= log.next:
        return "it is ahead"
    if position == 0:
        return None
    frames = [frame for segment in log.segments for frame in segment.frames]
    frame = next(frame for frame in frames if frame["first"] <= position < frame["next"])
    if snapshot["binding"]:
        history = frame["checksum"] << 32 | frame["body_checksum"]
        return None if history == snapshot["binding"][1] else "it is of another history"
    return "it is older than its event" if frame["time"] > snapshot["saved_at"] else None


def line(place, snapshot, log):
    """What a snapshot is, or why it is skipped."""
    if snapshot["deletion"]:
        return f"{place}: {snapshot['key']} deleted"
    why = judge(snapshot, log)
    if why:
        return f"{place}: skipped: {why}"
    kind = "position" if snapshot["position"] else "version"
    return (
        f"{place}: {snapshot['key']} at {kind} {snapshot['mark']}, "
        f"schema {snapshot['schema']}, {snapshot['state'].decode()}"
    )


def packed(path, name):
    """The entries of a pack or level file, by its name; None for another name."""
    numbers = re.fullmatch(r"(\d{20})(?:-(\d{20})\.lvl|\.pack)", name)
    if not numbers:
        return None
    with open(path, "rb") as file:
        data = file.read()
    first, last = numbers.groups()
    return pack(data, int(first)) if last is None else level(data, int(first), int(last))


def own_file(path, name):
    """The snapshot in a file of its own."""
    with open(path, "rb") as file:
        snapshot = parse(file.read())
    require(name == name_of(snapshot), "it has the name of another")
    return snapshot


def snapshots(root, log):
    """One line a snapshot, by path: what it is, or why it is skipped."""
    lines = []
    base = os.path.join(root, "snapshots")
    for outer in sorted(os.listdir(base)):
        path = os.path.join(base, outer)
        if not os.path.isdir(path):
            try:
                for offset, snapshot in packed(path, outer) or []:
                    lines.append(line(f"{outer}, {offset}", snapshot, log))
            except (Invalid, struct.error, UnicodeDecodeError) as error:
                lines.append(f"{outer}: skipped: {error}")
            continue
        for name in sorted(os.listdir(path)):
            try:
                snapshot = own_file(os.path.join(path, name), name)
                lines.append(line(f"{outer}/{name}", snapshot, log))
            except (Invalid, struct.error, UnicodeDecodeError) as error:
                lines.append(f"{outer}/{name}: skipped: {error}")
    return lines


def token(log, position):
    """A checkpoint token (22)."""
    history = 0
    for segment in log.segments:
        for frame in segment.frames:
            if frame["first"] <= position < frame["next"]:
                history = frame["checksum"] << 32 | frame["body_checksum"]
    return f"1-{uuid.UUID(bytes=log.store_id).hex}-{position}-{history:016x}"
