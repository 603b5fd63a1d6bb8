#!/usr/bin/env python3
"""Reads an annals store. Standard library only, written from format-spec.md alone.

    annals_reader.py STORE                   the events as NDJSON, in the order of positions
    annals_reader.py --check-derived STORE   index files and checkpoints, compared with the log
    annals_reader.py --snapshots STORE       the snapshots, and why one is skipped
    annals_reader.py --token N STORE         the checkpoint token of position N
    annals_reader.py --flip-every N STORE    flips every Nth byte of the log in turn, in memory,
                                             and checks that reading notices each

Exit 0: fine; 1: damage, named on stderr; 2: usage. What loses no event (one bad copy of a header, a
torn tail, an unfinished seal) is a note on stderr.

The NDJSON has no spaces, always these keys, in this order: position, commit (the first position of
its commit), stream, version, type, id, recorded_at (microseconds), schema_version, tags (a list),
json (the flag), metadata_base64, and data (text) if flagged and UTF-8, else data_base64.
"""

import base64
import json
import os
import struct
import sys
import uuid

sys.dont_write_bytecode = True

from annals_derived import check_derived, whole_checkpoints
from annals_log import Damage, Invalid, Log, crc32, require, segments
from annals_snapshots import snapshots, token


def line(record):
    keys = "position commit stream version type id recorded_at schema_version tags json".split()
    out = {key: record[key] for key in keys}
    out["id"] = str(uuid.UUID(bytes=record["id"]))
    out["metadata_base64"] = base64.b64encode(record["metadata"]).decode()
    try:
        require(record["json"], "binary")
        out["data"] = record["data"].decode()
    except (Invalid, UnicodeDecodeError):
        out["data_base64"] = base64.b64encode(record["data"]).decode()
    return json.dumps(out, ensure_ascii=False, separators=(",", ":"))


def open_log(root):
    files = segments(root)
    return judged(Log(files), whole_checkpoints(root), backup_end(root))


def backup_end(root):
    """The end in the manifest of a backup (3); None if there is no intact one."""
    try:
        with open(os.path.join(root, "BACKUP"), "rb") as file:
            data = file.read(96)
    except FileNotFoundError:
        return None
    if len(data) < 96 or data[:4] != b"ANBK" or crc32(data[8:]) != int.from_bytes(data[4:8], "little"):
        return None
    names = "version minimum state store position change segment offset last link zero taken zeros".split()
    end = dict(zip(names, struct.unpack("<HHI16sQQQQQIIQQ", data[8:])))
    if end["minimum"] > 1:
        raise Damage("the manifest of the backup needs a newer reader")
    if end["state"] != 1:
        raise Damage("the first backup into the directory was not finished")
    return end


def judged(log, checkpoints, backup=None):
    own = [(c.meta["position"], c.last_change) for c in checkpoints if c.store_id == log.store_id]
    log.judge_end(*(own[0] if own else (0, 0)))
    if backup:
        log.judge_backup(backup)
    return log


def flip(root, step):
    """Flips bytes of every segment's used part; returns how many, and those nobody noticed."""
    files = segments(root)
    checkpoints = whole_checkpoints(root)
    whole = judged(Log(files), checkpoints)
    if whole.notes:
        raise Damage(whole.notes[0])
    flipped, missed = 0, []
    for segment in whole.segments:
        end = len(segment.data) if segment.trailer else segment.end
        for at in range(0, end, step):
            segment.data[at] ^= 1 << (at // step % 8)
            try:
                noticed = bool(judged(Log(files), checkpoints).notes)
            except Damage:
                noticed = True
            segment.data[at] ^= 1 << (at // step % 8)
            flipped += 1
            if not noticed:
                missed.append(f"{segment.name}: {at}")
    return flipped, missed


def main(arguments):
    mode = arguments.pop(0) if arguments and arguments[0].startswith("--") else None
    step = int(arguments.pop(0)) if mode in ("--flip-every", "--token") else 0
    modes = (None, "--check-derived", "--flip-every", "--snapshots", "--token")
    if len(arguments) != 1 or mode not in modes:
        print(__doc__, file=sys.stderr)
        return 2
    root = arguments[0]
    try:
        if mode == "--flip-every":
            flipped, missed = flip(root, step)
            print(f"{flipped} flips, {len(missed)} not noticed")
            if missed:
                raise Damage(f"not noticed: {missed[:20]}")
            return 0
        log = open_log(root)
        for note in log.notes:
            print(f"note: {note}", file=sys.stderr)
        if mode == "--check-derived":
            print(check_derived(root, log))
            return 0
        if mode == "--snapshots":
            print("\n".join(snapshots(root, log)))
            return 0
        if mode == "--token":
            print(token(log, step))
            return 0
        out = "".join(line(record) + "\n" for record in log.records())
        sys.stdout.buffer.write(out.encode())
    except (Damage, OSError) as error:
        print(f"damage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
