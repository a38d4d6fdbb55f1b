"""Read the memory limits of this process's control groups, and the kernel's kills in them.

A container or a batch system may allow less memory than the machine has. Versions 1 and 2 of
control groups are read; where there is neither, no limit is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: Bytes; version 1 reports a limit above this where there is none.
_NO_LIMIT = 2**60


class ControlGroups:
    """The control groups that this process is in.

    Args:
        proc: where procfs is mounted.
        mount: where the control groups are mounted.
    """

    def __init__(self, proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._mount = mount

    def free_memory(self) -> int | None:
        """Return the bytes that the tightest group has left; None: no group has a limit.

        The inactive part of the page cache counts as free, because the kernel reclaims it.
        """
        rooms = [_room(folder, v2) for folder, v2 in self._groups()]
        return min((room for room in rooms if room is not None), default=None)

    def oom_kills(self) -> int:
        """Return the number of out-of-memory kills in the innermost group since its start.

        Where the kernel does not count by group, those of the whole machine.
        """
        for folder, v2 in self._groups():
            count = _value(folder / ("memory.events" if v2 else "memory.oom_control"), "oom_kill")
            if count is not None:
                return count
        return _value(self._proc / "vmstat", "oom_kill") or 0

    def _groups(self) -> Iterator[tuple[Path, bool]]:
        """Yield the folder of each group, the innermost first, and whether it is of version 2."""
        for line in _text(self._proc / "self" / "cgroup").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            v2 = number == "0"
            if not v2 and "memory" not in controllers.split(","):
                continue
            root = self._mount if v2 else self._mount / "memory"
            folder = root / path.lstrip("/")
            # Inside a container the path may be that of the host, where only the root exists.
            for group in (folder, *folder.parents):
                if os.path.isdir(group):  # noqa: PTH112 - False if permission is denied
                    yield group, v2
                if group == root:
                    break


def _room(folder: Path, v2: bool) -> int | None:
    limit = _number(folder / ("memory.max" if v2 else "memory.limit_in_bytes"))
    used = _number(folder / ("memory.current" if v2 else "memory.usage_in_bytes"))
    if limit is None or used is None or limit > _NO_LIMIT:
        return None
    key = "inactive_file" if v2 else "total_inactive_file"
    return max(0, limit - used + (_value(folder / "memory.stat", key) or 0))


def _text(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _value(path: Path, key: str) -> int | None:
    """Return the number after *key* in a file of lines ``key number``."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdecimal():
            return int(value)
    return None
