"""Shorten events for destinations with size limits, and read their ids.

Every function works on the line itself: a result may have many megabytes, and parsing it would
take ten times as much memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json

#: Bytes of JSON text that are kept of a result, an exception or a stack trace.
MAX_VALUE = 16 * 1024

# The id comes after all values of the user's function, so the last one is the event's own.
_ID = b', "event_id": "'


def event_id(line: bytes) -> str:
    """Return the id of the event in *line*; a hash of the line where it has none."""
    start = line.rfind(_ID)
    if start < 0:
        return hashlib.blake2b(line, digest_size=16).hexdigest()
    start += len(_ID)
    return line[start : line.index(b'"', start)].decode()


def shortened(line: bytes) -> bytes:
    """Return the event with each long value in it cut to :data:`MAX_VALUE` bytes.

    A value that was cut is a string: the beginning of the text if it was one, else of its JSON
    text. ``truncated`` and ``full_size`` mark an event that was longer.
    """
    if len(line) <= MAX_VALUE:
        return line
    short = line
    for _, start, end in _long_values(line):
        if end - start > MAX_VALUE:
            short = short[:start] + _beginning(line[start : start + MAX_VALUE]) + short[end:]
    return line if short is line else _marked(short, len(line))


def stripped(line: bytes) -> bytes | None:
    """Return the event without its result, texts and stack traces; None if it has none of them."""
    short = line
    for key, _, end in _long_values(line):
        short = short[:key] + short[end:]
    return None if short is line else _marked(short, len(line))


def _long_values(line: bytes) -> list[tuple[int, int, int]]:
    """Return the offsets of key, value and end of each value that may be long, last one first."""
    # A result may contain such keys, but they come after its own key; within a string, quotes are
    # escaped.
    found = _values(line, b"result")
    return found or _values(line, b"last_output", b"traceback", b"stack_trace", b"exception")


def _values(line: bytes, *keys: bytes) -> list[tuple[int, int, int]]:
    found = []
    end = line.rfind(_ID)
    for key in keys:
        mark = b', "%b": ' % key
        start = line.find(mark, 0, max(0, end))
        if start >= 0:
            found.append((start, start + len(mark), end))
            end = start
    return found


def _beginning(text: bytes) -> bytes:
    """Return JSON text that was cut off anywhere as a valid JSON string."""
    text = text.decode(errors="ignore").encode()
    if not text.startswith(b'"'):
        return json.dumps(text.decode()).encode()
    # The cut may have gone through an escape; the longest one has six characters.
    for end in range(len(text), len(text) - 6, -1):
        with contextlib.suppress(ValueError):
            value: str = json.loads(text[:end] + b'"', strict=False)
            # Or between the two escapes of a surrogate pair.
            half = "\ud800" <= value[-1:] <= "\udbff"
            return json.dumps(value[:-1] if half else value).encode()
    return b'""'


def _marked(line: bytes, full_size: int) -> bytes:
    return b'%b, "truncated": true, "full_size": %d}' % (line[:-1], full_size)
