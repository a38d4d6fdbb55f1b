"""Finding the few lines of a large file that hold a JSON string, without parsing the others."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path


def needles(text: str) -> tuple[bytes, ...]:
    """Return *text* as JSON writes it: in ASCII, and as it is where that differs."""
    forms = [json.dumps(text).encode("ascii")]
    try:
        plain = json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a pair, which only an escape can tell
        return tuple(forms)
    return tuple(dict.fromkeys([*forms, plain]))


def lines_with(path: Path, text: str, start: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each line that holds *text* as a JSON string, from the byte *start* on.

    With each line, where it begins, and all that follows it up to 64 KiB. A file that can't be
    read has no lines. Blocks while it searches: about a second for a gigabyte.
    """
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # it is empty, or nothing that has bytes to be looked at
            return
        with content:
            for at in _positions(content, needles(text), start):
                begin = content.rfind(b"\n", 0, at) + 1
                end = content.find(b"\n", at)
                end = len(content) if end < 0 else end + 1
                yield begin, content[begin:end], content[end : end + 65536]


def _positions(content: mmap.mmap, forms: tuple[bytes, ...], start: int) -> Iterator[int]:
    for form in forms:
        at = content.find(form, start)
        while at >= 0:
            yield at
            # On to the next line: one line tells of one thing.
            end = content.find(b"\n", at)
            if end < 0:
                break
            at = content.find(form, end)
