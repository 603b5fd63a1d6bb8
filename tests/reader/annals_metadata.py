"""The metadata of an annals store: cursors, what of a stream is hidden, and records.

Written from format-spec.md alone; the numbers in comments are its sections.
"""

import struct
from zlib import crc32

CURSOR_SET, CURSOR_DELETED, TRUNCATED, ARCHIVED, UNARCHIVED, RETENTION = range(1, 7)
RECORD_PUT, RECORD_DELETED = 7, 8
# In derived files only.
RECORD_RUN, NEWEST_PUT, NEWEST_DELETED = 128, 129, 130
# How many values each kind has.
VALUES = {1: 1, 2: 0, 3: 1, 4: 0, 5: 0, 6: 2, 7: 2, 8: 1, 128: 2, 129: 2, 130: 2}
LONGEST = {CURSOR_SET: 255, CURSOR_DELETED: 255, RECORD_RUN: 0}
MOST_VALUE = 1 << 24
MOST = 2**62


class Invalid(Exception):
    """A structure is not valid; what that means is for the caller to say."""


def require(condition, what):
    if not condition:
        raise Invalid(what)


def changes(b, seed=None, offset=0):
    """The changes (23) that fill `b`: kind, name, first and second value; of a put record, the length
    of its value in the place of the checksum, and the offset of the change. `seed`: of the segment;
    None: in a derived file."""
    found = []
    while b:
        require(len(b) >= 24, "a change is cut short")
        kind, zero, length, size, first, second = struct.unpack_from("<BBHIQQ", b)
        require(kind in VALUES and zero == 0, "unknown kind of change")
        require((kind < RECORD_RUN) or seed is None, "a change of a derived file")
        require((kind not in (RECORD_PUT, RECORD_DELETED)) or seed is not None, "a record's change")
        require(size <= (MOST_VALUE if kind in (RECORD_PUT, NEWEST_PUT) else 0), "a value is too long")
        longest = LONGEST.get(kind, 1024)
        require(min(1, longest) <= length <= longest, "a name is out of range")
        require(len(b) >= 24 + length, "a name is cut short")
        require(kind < RECORD_PUT or kind == RECORD_RUN or first > 0, "a record has version 0")
        if kind in (RECORD_PUT, RECORD_DELETED, NEWEST_PUT, NEWEST_DELETED):
            end = 24 + length
            if kind == RECORD_PUT:
                end += size
                require(len(b) >= end, "a value is cut short")
                checksum = crc32(b[24:end], crc32(b[:16], seed))
                require(second == checksum, "wrong checksum of a record")
            require(kind != RECORD_DELETED or second == 0, "a value that means nothing")
            place = second if kind >= RECORD_RUN else offset
            put = RECORD_PUT if kind in (RECORD_PUT, NEWEST_PUT) else RECORD_DELETED
            try:
                found.append((put, b[24 : 24 + length].decode(), first, size, place))
            except UnicodeDecodeError:
                raise Invalid("a key is not UTF-8") from None
            b, offset = b[end:], offset + end
            continue
        require(first <= MOST and second <= MOST, "a value is out of range")
        require(VALUES[kind] >= 1 or first == 0, "a value that means nothing")
        require(VALUES[kind] == 2 or second == 0, "a value that means nothing")
        try:
            found.append((kind, b[24 : 24 + length].decode(), first, second))
        except UnicodeDecodeError:
            raise Invalid("a name is not UTF-8") from None
        b, offset = b[24 + length :], offset + 24 + length
    return found


def section(b, seed, offset):
    """A metadata section (23) at an offset: the number of its first change, the durable one, its changes."""
    require(len(b) >= 24, "metadata is cut short")
    first, durable, count, zero = struct.unpack_from("<QQII", b)
    require(first != 0 and zero == 0, "change numbers out of range")
    require(first + count <= MOST and durable < first + count, "change numbers out of range")
    found = changes(b[24:], seed, offset + 24)
    require(len(found) == count, "wrong change count")
    return first, durable, found


def state(found):
    """What changes lead to: cursors, and the rules of each stream that has some."""
    cursors, rules = {}, {}
    for kind, name, first, second, *_ in found:
        if kind in (RECORD_PUT, RECORD_DELETED):
            continue
        before, archived, age, count = rules.get(name, (0, False, 0, 0))
        if kind == CURSOR_SET:
            cursors[name] = first
            continue
        if kind == CURSOR_DELETED:
            cursors.pop(name, None)
            continue
        if kind == TRUNCATED:
            before = first if first > 1 else 0
        elif kind == RETENTION:
            age, count = first, second
        else:
            archived = kind == ARCHIVED
        rules[name] = (before, archived, age, count)
    nothing = (0, False, 0, 0)
    return cursors, {name: rule for name, rule in rules.items() if rule != nothing}


def records(found, segment):
    """The newest change of each record: version, whether it is deleted, length of the value, and its
    place. `segment` is where the changes are."""
    newest = {}
    for kind, name, version, *rest in found:
        if kind in (RECORD_PUT, RECORD_DELETED):
            size, offset = rest
            newest[name] = (version, kind == RECORD_DELETED, size, segment, offset)
    return newest


def without_records(found):
    """The changes as CHANGES (10) keeps them: of records, only how many there are."""
    kept = []
    for change in found:
        if change[0] not in (RECORD_PUT, RECORD_DELETED):
            kept.append(change)
        elif kept and kept[-1][0] == RECORD_RUN:
            kept[-1] = (RECORD_RUN, "", kept[-1][2] + 1, 0)
        else:
            kept.append((RECORD_RUN, "", 1, 0))
    return kept
