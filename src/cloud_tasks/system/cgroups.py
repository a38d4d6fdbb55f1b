"""What the control groups of this process allow, and whom the kernel has killed in them.

A container or a batch system may allow less memory than the machine has. Both versions of
control groups are read; where there is none of either, nothing is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: A limit above it, in bytes, is version 1's way to say that there is none.
_NO_LIMIT = 2**60


class ControlGroups:
    """The groups that this process is in.

    Args:
        proc: where the kernel tells of processes.
        mount: where it tells of groups.
    """

    def __init__(self, proc: Path = Path("/proc"), mount: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._mount = mount

    def free_memory(self) -> int | None:
        """Return the bytes that the tightest group has left; None: no group has a limit.

        What the kernel keeps of files only as long as nobody needs the room counts as free.
        """
        rooms = [_room(folder, v2) for folder, v2 in self._groups()]
        return min((room for room in rooms if room is not None), default=None)

    def oom_kills(self) -> int:
        """Return how often the kernel has killed in the innermost group for want of memory.

        Where groups are not counted, the whole machine is.
        """
        for folder, v2 in self._groups():
            count = _value(folder / ("memory.events" if v2 else "memory.oom_control"), "oom_kill")
            if count is not None:
                return count
        return _value(self._proc / "vmstat", "oom_kill") or 0

    def _groups(self) -> Iterator[tuple[Path, bool]]:
        """Yield the folders of the groups, the innermost first; True: of version 2."""
        for line in _text(self._proc / "self" / "cgroup").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            v2 = number == "0"
            if not v2 and "memory" not in controllers.split(","):
                continue
            root = self._mount if v2 else self._mount / "memory"
            folder = root / path.lstrip("/")
            # Inside a container the path may be that of the host, of which only the root is there.
            for group in (folder, *folder.parents):
                if os.path.isdir(group):  # noqa: PTH112 - False where looking is not allowed
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
    """Return the number behind *key* in a file of a pair a line."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdecimal():
            return int(value)
    return None
