"""Starting a bare interpreter that calls a function of ours.

Without multiprocessing's preparations: it imports the user's module and little else, which is most
of what a fresh process costs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: The current folder must not shadow modules while the child imports its own; the parent's
#: whole path follows with the first message.
_SCRIPT = (
    "import sys; sys.path[:1] = []; sys.path.append({root!r}); "
    "from cloud_tasks.executors.child.{module} import main; main({arguments})"
)
_ROOT = str(Path(__file__).resolve().parents[3])
#: Attributes of ``sys.flags`` and the switches that set them, as often as they count.
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


def own_flags() -> list[str]:
    """Return the flags with which this interpreter was started: they hold for children as well."""
    if sys.flags.isolated:
        flags = ["-I"]
    else:
        flags = [
            f"-{switch * int(getattr(sys.flags, name, 0))}"
            for name, switch in _SWITCHES.items()
            if getattr(sys.flags, name, 0)
        ]
    for option, value in sys._xoptions.items():  # documented, for all its underscore
        flags += ["-X", option if value is True else f"{option}={value}"]
    return flags + [f"-W{option}" for option in sys.warnoptions]


class Interpreter:
    """A ``subprocess.Popen``, as a handle of a child. It has the flags of this interpreter.

    Args:
        module: of this room, whose ``main`` is called.
        arguments: of that, as Python.
        inherited: descriptors that it gets.
        environment: variables that it has beside ours.

    Raises:
        OSError: no process or descriptor is to be had.
    """

    def __init__(
        self,
        module: str,
        arguments: str,
        *,
        inherited: Sequence[int | None],
        environment: dict[str, str],
    ) -> None:
        script = _SCRIPT.format(root=_ROOT, module=module, arguments=arguments)
        self._process = subprocess.Popen(
            [sys.executable, *own_flags(), "-c", script],
            stdin=subprocess.DEVNULL,
            pass_fds=[number for number in inherited if number is not None],
            start_new_session=True,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """Reap it if it has ended."""
        return self._process.poll()
