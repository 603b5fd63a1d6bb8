"""The metadata of an annals store: cursors, and what of a stream is hidden.

Written from format-spec.md alone; the numbers in comments are its sections.
"""

import struct

CURSOR_SET, CURSOR_DELETED, TRUNCATED, ARCHIVED, UNARCHIVED, RETENTION = range(1, 7)
# How many values each kind has.
VALUES = {1: 1, 2: 0, 3: 1, 4: 0, 5: 0, 6: 2}
MOST = 2**62


class Invalid(Exception):
    """A structure is not valid; what that means is for the caller to say."""


def require(condition, what):
    if not condition:
        raise Invalid(what)


def changes(b):
    """The changes (23) that fill `b`: kind, name, first and second value."""
    found = []
    while b:
        require(len(b) >= 24, "a change is cut short")
        kind, zero, length, zeros, first, second = struct.unpack_from("<BBHIQQ", b)
        require(kind in VALUES and zero == 0 and zeros == 0, "unknown kind of change")
        require(1 <= length <= (255 if kind <= CURSOR_DELETED else 1024), "a name is out of range")
        require(len(b) >= 24 + length, "a name is cut short")
        require(first <= MOST and second <= MOST, "a value is out of range")
        require(VALUES[kind] >= 1 or first == 0, "a value that means nothing")
        require(VALUES[kind] == 2 or second == 0, "a value that means nothing")
        try:
            found.append((kind, b[24 : 24 + length].decode(), first, second))
        except UnicodeDecodeError:
            raise Invalid("a name is not UTF-8") from None
        b = b[24 + length :]
    return found


def section(b):
    """A metadata section (23): the number of its first change, the durable one, its changes."""
    require(len(b) >= 24, "metadata is cut short")
    first, durable, count, zero = struct.unpack_from("<QQII", b)
    require(first != 0 and zero == 0, "change numbers out of range")
    require(first + count <= MOST and durable < first + count, "change numbers out of range")
    found = changes(b[24:])
    require(len(found) == count, "wrong change count")
    return first, durable, found


def state(found):
    """What changes lead to: cursors, and the rules of each stream that has some."""
    cursors, rules = {}, {}
    for kind, name, first, second in found:
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
