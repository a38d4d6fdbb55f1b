"""Events for where space is scarce: their identity, and what is left of the long ones.

All of it works on the line itself. A result may be many megabytes, of which parsing would make
ten times as much.
"""

from __future__ import annotations

import contextlib
import hashlib
import json

#: Bytes of JSON text of a result, an exception or a stack trace that are kept.
MOST = 16 * 1024

# Identity comes after all that the user's function gave, so the last one is the event's own.
_ID = b', "event_id": "'


def event_id(line: bytes) -> str:
    """Return what tells the event from all others; where it has no id, a hash of it."""
    start = line.rfind(_ID)
    if start < 0:
        return hashlib.blake2b(line, digest_size=16).hexdigest()
    start += len(_ID)
    return line[start : line.index(b'"', start)].decode()


def shortened(line: bytes) -> bytes:
    """Return the event with what is too long in it cut to :data:`MOST` bytes.

    What was cut is a string then, whatever it was: the beginning of the text if it was one, else
    of its JSON text. ``truncated`` and ``full_size`` tell that the event was longer.
    """
    if len(line) <= MOST:
        return line
    short = line
    for _, start, end in _long_values(line):
        if end - start > MOST:
            short = short[:start] + _beginning(line[start : start + MOST]) + short[end:]
    return line if short is line else _marked(short, len(line))


def stripped(line: bytes) -> bytes | None:
    """Return the event without all that may be long or odd in it; None if nothing is."""
    short = line
    for key, _, end in _long_values(line):
        short = short[:key] + short[end:]
    return None if short is line else _marked(short, len(line))


def _long_values(line: bytes) -> list[tuple[int, int, int]]:
    """Return where key, value and the end of the value are of each that may be long; last first."""
    # A result may have such keys inside, but they come after its own; in a string, quotes have a
    # backslash before them.
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
    """Return JSON text that was cut off somewhere as a JSON string."""
    text = text.decode(errors="ignore").encode()
    if not text.startswith(b'"'):
        return json.dumps(text.decode()).encode()
    # The cut may have gone through an escape, of which the longest has six characters.
    for end in range(len(text), len(text) - 6, -1):
        with contextlib.suppress(ValueError):
            value: str = json.loads(text[:end] + b'"', strict=False)
            # Or through one of the two that make a character together.
            half = "\ud800" <= value[-1:] <= "\udbff"
            return json.dumps(value[:-1] if half else value).encode()
    return b'""'


def _marked(line: bytes, full_size: int) -> bytes:
    return b'%b, "truncated": true, "full_size": %d}' % (line[:-1], full_size)
