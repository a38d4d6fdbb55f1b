"""Guessing how many tasks a file holds, at a glance: reading it would take too long."""

from __future__ import annotations

import gzip
import time
import zlib
from pathlib import Path
from typing import IO

_CHUNK = 256 * 1024
#: What each task has once, by format. A task's own data may have it, too: it is a guess.
_SIGNS = {
    "json": (b'"task_id"',),
    "jsonl": (b"\n",),
    "yaml": (b"task_id:", b'task_id":', b"task_id':"),
    "csv": (b"\n",),
    "tsv": (b"\n",),
}
_WITH_HEADING = ("csv", "tsv")


def estimate_count(path: Path, task_format: str, *, patience: float = 0.25) -> int | None:
    """Return about how many tasks are in a local file; None: who knows.

    Args:
        path: the file; it may be compressed.
        task_format: one of ``taskfile.FORMATS``.
        patience: seconds; where the file takes longer, its first part stands for the rest.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            count, share = _count(raw, size, _SIGNS[task_format], time.monotonic() + patience)
    except (OSError, EOFError, zlib.error):
        return None
    if task_format in _WITH_HEADING:
        count = max(0, count - 1)
    return round(count / share) if share > 0 else None


def _count(raw: IO[bytes], size: int, signs: tuple[bytes, ...], until: float) -> tuple[int, float]:
    """Count *signs*; return their number and the share of the file that they were found in."""
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    content: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
    count, overlap = 0, max(map(len, signs)) - 1
    before, ending = b"", b"\n"
    while chunk := content.read(_CHUNK):
        # A sign may begin in one chunk and end in the next; none fits into the overlap alone.
        count += sum((before + chunk).count(sign) - before.count(sign) for sign in signs)
        before = chunk[-overlap:] if overlap else b""
        ending = chunk[-1:]
        if time.monotonic() > until:
            return count, raw.tell() / size
    # The last line may lack its end.
    return count + (signs == (b"\n",) and ending != b"\n"), 1.0
