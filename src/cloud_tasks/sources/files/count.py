"""Estimate the number of tasks in a file by a quick look, for the progress display."""

from __future__ import annotations

import io
import time
from pathlib import Path

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.files.opening import ByteFeed, unpacked

_CHUNK = 256 * 1024
#: Texts that each task has once, by format. A task's own data may have them, too.
_MARKERS = {
    "json": (b'"task_id"',),
    "jsonl": (b"\n",),
    "yaml": (b"task_id:", b'task_id":', b"task_id':"),
    "csv": (b"\n",),
    "tsv": (b"\n",),
}


def estimate_count(path: Path, task_format: str, *, patience: float = 0.25) -> int | None:
    """Estimate the number of tasks in a local file, maybe compressed; None if it can't be read.

    If that takes longer than *patience* seconds, the rest is taken to be like the first part.
    """
    try:
        size = path.stat().st_size
        with path.open("rb", buffering=0) as raw:
            count, share = _count(raw, size, _MARKERS[task_format], time.monotonic() + patience)
    except (OSError, SourceError):
        return None
    if task_format in ("csv", "tsv"):  # the header is no task
        count = max(0, count - 1)
    return round(count / share) if share > 0 else None


def _count(
    raw: io.FileIO, size: int, markers: tuple[bytes, ...], until: float
) -> tuple[int, float]:
    """Count *markers*; return their number, and the share of the file that was searched."""
    content = unpacked(ByteFeed(raw, "", chunk=_CHUNK))
    count, overlap = 0, max(map(len, markers)) - 1
    before, ending = b"", b"\n"
    while chunk := content.read():
        # A marker may begin in one chunk and end in the next; none fits into the overlap alone.
        count += sum((before + chunk).count(marker) - before.count(marker) for marker in markers)
        before = chunk[-overlap:] if overlap else b""
        ending = chunk[-1:]
        if time.monotonic() > until:
            return count, raw.tell() / size
    # The last line may lack its line end.
    return count + (markers == (b"\n",) and ending != b"\n"), 1.0
