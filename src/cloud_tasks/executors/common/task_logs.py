"""Name the files that keep the output of tasks, and write and read the entries of their index.

Each slot has two files in the folder of task logs:

    slot-000.log   the bytes that its tasks printed, one task after the other, as they came
    slot-000.idx   a line for each call of a task's function: ``[offset, "task_id", started]``

*offset* is the size of the log at that moment, *started* seconds since the epoch. So the output of
a task goes from its offset to that of the next entry, or to the end. Several runs may append to
the same files, and a crash may tear any line of an index.

Written by child/output.py; read by pool/crash_info.py and history/task_logs.py.
"""

from __future__ import annotations

import json
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    #: Offset in bytes, task id, start in seconds since the epoch (None: not known).
    Entry: TypeAlias = "tuple[int, str, float | None]"

#: Seconds since 1970, in the year 3000: no platform's calendar ends before.
_LAST_MOMENT = 32_503_680_000

# Patterns are text, as a child, which only writes entries, would compile them at its start.
# The last entry of a line: what a crash tore off may stand before it.
_ENTRY = (
    rb'\[\s*(\d{1,18}),\s*("(?:[^"\\]|\\.)*"),\s*(null|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*\]\s*$'
)
_ID = rb'^\[\s*\d+,\s*("(?:[^"\\\n]|\\.)*"),'

#: Bound here, because a task may replace ``json.dumps``.
_encode = json.JSONEncoder().encode


def paths(folder: str, slot: int) -> tuple[str, str]:
    """Return the paths of the log and the index of *slot*."""
    name = os.path.join(folder, f"slot-{slot:03d}")  # noqa: PTH118 - a child imports no pathlib
    return f"{name}.log", f"{name}.idx"


def find_slots(folder: Path) -> Iterator[tuple[int, Path, Path]]:
    """Yield the number, the log and the index of every slot that has an index in *folder*."""
    for index in sorted(folder.glob("slot-*.idx")):
        number = index.stem.removeprefix("slot-")
        if number.isascii() and number.isdecimal():
            yield int(number), index.with_suffix(".log"), index


def format_entry(offset: int, task_id: str, started: float) -> bytes:
    """Return the line of an index that says that the output of *task_id* begins at *offset*."""
    return f"[{offset}, {_encode(task_id)}, {started:.6f}]\n".encode()


def parse_entry(line: bytes) -> Entry | None:
    """Parse a line of an index; None if it holds no whole entry."""
    found = re.search(_ENTRY, line)
    if found is None:
        return None
    try:
        started = json.loads(found[3])
        # A task can write here, too: no time may be further away than a calendar reaches.
        if started is not None and not 0 <= started < _LAST_MOMENT:
            started = None
        return int(found[1]), json.loads(found[2]), started
    except ValueError:
        return None


def task_ids(index: bytes) -> Iterator[str]:
    """Yield the task id of every line of *index* that begins as an entry does."""
    for text in re.findall(_ID, index, re.MULTILINE):
        try:
            yield json.loads(text)
        except ValueError:
            continue
