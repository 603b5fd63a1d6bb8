"""The snapshots of an annals store, and whether they are of the history that its log holds.

Written from format-spec.md alone; the numbers in comments are its sections.
"""

import os
import struct
import uuid
from zlib import crc32

from annals_metadata import Invalid, require

LENGTHS = {1: 64, 2: 80}


def key_hash(key):
    """FNV-1a (22)."""
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 & 2**64 - 1
    return value


def parse(data):
    """A snapshot file (22)."""
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
    require(len(state) == state_length and kind < 2 and zero == 0, "lengths contradict the file")
    return {
        "store": data[16:32], "mark": mark, "position": kind == 1, "saved_at": saved_at,
        "schema": schema, "binding": binding, "key": key.decode(), "state": state,
    }  # fmt: skip


def judge(snapshot, name, log):
    """Why the snapshot is skipped, or None (22)."""
    kind = "p" if snapshot["position"] else "v"
    expected = f"{key_hash(snapshot['key'].encode()):016x}-{kind}{snapshot['mark']:020}.snap"
    if name != expected:
        return "it has the name of another"
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


def snapshots(root, log):
    """One line a file, by path: what it holds, or why it is skipped."""
    lines = []
    base = os.path.join(root, "snapshots")
    for directory in sorted(os.listdir(base)):
        for name in sorted(os.listdir(os.path.join(base, directory))):
            with open(os.path.join(base, directory, name), "rb") as file:
                data = file.read()
            try:
                snapshot = parse(data)
                why = judge(snapshot, name, log)
            except (Invalid, struct.error, UnicodeDecodeError) as error:
                snapshot, why = None, str(error)
            if why:
                lines.append(f"{directory}/{name}: skipped: {why}")
                continue
            kind = "position" if snapshot["position"] else "version"
            lines.append(
                f"{directory}/{name}: {snapshot['key']} at {kind} {snapshot['mark']}, "
                f"schema {snapshot['schema']}, {snapshot['state'].decode()}"
            )
    return lines


def token(log, position):
    """A checkpoint token (22)."""
    history = 0
    for segment in log.segments:
        for frame in segment.frames:
            if frame["first"] <= position < frame["next"]:
                history = frame["checksum"] << 32 | frame["body_checksum"]
    return f"1-{uuid.UUID(bytes=log.store_id).hex}-{position}-{history:016x}"
