"""A fresh process for each task, and one booted ahead for each slot.

The interpreter is started directly, without multiprocessing's preparations: it imports the
user's module and little else, which is most of what a fresh process costs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from cloud_tasks.executors.slot import Descriptors, Handle
from cloud_tasks.executors.slots import SlotPool

#: The current folder must not shadow modules while the child imports its own; the parent's
#: whole path follows with the first message.
_SCRIPT = (
    "import sys; sys.path[:1] = []; sys.path.append({root!r}); "
    "from cloud_tasks.executors.child import main; main({descriptor}, {token!r}, log={log})"
)
_ROOT = str(Path(__file__).resolve().parents[2])


class SpawnExecutor(SlotPool):
    """A fresh process for each task; for tasks that leak memory, handles or state."""

    reused: ClassVar[bool] = False
    #: Its socket and its death watch.
    descriptors_per_child: ClassVar[int] = 2

    def _prepare(self) -> None:
        # Flags such as -O and -X hold for children as well. multiprocessing uses this function
        # of subprocess, too.
        self._flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]

    def _launch(
        self,
        end: socket.socket,
        token: bytes,
        inherited: Descriptors,
        environment: dict[str, str],
    ) -> Handle:
        log = inherited.log
        script = _SCRIPT.format(root=_ROOT, descriptor=end.fileno(), token=token, log=log)
        return _PopenHandle(
            subprocess.Popen(
                [sys.executable, *self._flags, "-c", script],
                stdin=subprocess.DEVNULL,
                pass_fds=(end.fileno(),) if log is None else (end.fileno(), log),
                start_new_session=True,
                env={**os.environ, **environment},
            )
        )


class _PopenHandle:
    """A ``subprocess.Popen``."""

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        self._process = started
        self.pid = started.pid

    def exit_code(self) -> int | None:
        """Reap it if it has ended."""
        return self._process.poll()
