"""Start an interpreter that runs a module of ``executors.child``, without multiprocessing.

It imports the user's module and little else, because imports are most of what a fresh process
costs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from cloud_tasks.executors.pool.state import Descriptors

#: The current folder must not shadow modules while the child imports its own; sys.path of the
#: worker follows with the boot message.
_SCRIPT = (
    "import sys; sys.path[:1] = []; sys.path.append({root!r}); "
    "from cloud_tasks.executors.child.{module} import main; main({end}, {cookie!r}, **{others})"
)
_ROOT = str(Path(__file__).resolve().parents[3])
#: Attributes of ``sys.flags``, and the option that sets each, repeated as often as its value says.
_SWITCHES = {
    "debug": "d",
    "optimize": "O",
    "dont_write_bytecode": "B",
    "no_user_site": "s",
    "no_site": "S",
    "ignore_environment": "E",
    "verbose": "v",
    "bytes_warning": "b",
    "safe_path": "P",
}


def interpreter_options() -> list[str]:
    """Return the command line options of this interpreter, for children to have the same."""
    if sys.flags.isolated:
        flags = ["-I"]
    else:
        flags = [
            f"-{switch * int(getattr(sys.flags, name, 0))}"
            for name, switch in _SWITCHES.items()
            if getattr(sys.flags, name, 0)
        ]
    for option, value in sys._xoptions.items():  # documented, in spite of its underscore
        flags += ["-X", option if value is True else f"{option}={value}"]
    return flags + [f"-W{option}" for option in sys.warnoptions]


class Interpreter:
    """A new interpreter with the options of this one, as the handle of a child.

    Args:
        module: module of ``executors.child`` whose ``main`` it calls with the other arguments.
        environment: variables that it has beside those of the worker.

    Raises:
        OSError: no process or descriptor is to be had.
    """

    def __init__(
        self,
        module: str,
        end: socket.socket,
        cookie: bytes,
        inherited: Descriptors,
        environment: dict[str, str],
    ) -> None:
        others = {name: n for name, n in asdict(inherited).items() if n is not None}
        script = _SCRIPT.format(
            root=_ROOT, module=module, end=end.fileno(), cookie=cookie, others=others
        )
        self._process = subprocess.Popen(
            [sys.executable, *interpreter_options(), "-c", script],
            stdin=subprocess.DEVNULL,
            pass_fds=[end.fileno(), *others.values()],
            start_new_session=True,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """Reap the process if it has ended; None: it runs."""
        return self._process.poll()
