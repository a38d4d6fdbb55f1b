"""Start an interpreter that runs a module of ``executors.child``, without multiprocessing.

It has the flags and options of this one, imports the user's module and little else: imports are
most of what a fresh process costs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.pool.state import Descriptors

#: The current folder must not shadow modules while the child imports its own, and ``cloud_tasks``
#: must be the package that this process runs, wherever that came from. Its ``__init__`` imports
#: nothing, so that its folder can't shadow a module either. sys.path of the worker follows with
#: the boot message.
_SCRIPT = (
    "import sys; sys.path[:] = {root!r}, *filter(None, sys.path); import cloud_tasks; "
    "del sys.path[0]; "
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
    "quiet": "q",
    "safe_path": "P",
    "isolated": "I",
}
#: Those that ``-I`` sets; ``-P`` is not an option before Python 3.11.
_ISOLATED = ("no_user_site", "ignore_environment", "safe_path")


def check_executable() -> None:
    """Check that this program has an interpreter that can be started.

    Raises:
        ConfigurationError: it has none: it is embedded in another program, or frozen into one file.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise ConfigurationError(
            "this executor starts Python for its processes, but sys.executable names none "
            f"({sys.executable!r}), as the program is frozen or embedded in another one: "
            "run it with python, or with --executor inline"
        )


def interpreter_options() -> list[str]:
    """Return the command line options of this interpreter, for children to have the same."""
    implied = _ISOLATED if sys.flags.isolated else ()
    flags = [
        f"-{switch * int(getattr(sys.flags, name, 0))}"
        for name, switch in _SWITCHES.items()
        if getattr(sys.flags, name, 0) and name not in implied
    ]
    if _is_unbuffered():
        flags.append("-u")
    if sys.version_info >= (3, 13) and "-P" not in flags and _current_folder_is_gone():
        # Python 3.13.0 looks there for what may shadow a module, and fails, without this option.
        flags.append("-P")
    for option, value in sys._xoptions.items():  # documented, in spite of its underscore
        flags += ["-X", option if value is True else f"{option}={value}"]
    return flags + [f"-W{option}" for option in _warning_options()]


def _current_folder_is_gone() -> bool:
    try:
        Path.cwd()
    except OSError:
        return True
    return False


def _is_unbuffered() -> bool:
    """Return whether Python was started with ``-u``, of which ``sys.flags`` says nothing."""
    stream = sys.__stdout__ or sys.__stderr__
    return bool(getattr(stream, "write_through", False))


def _warning_options() -> list[str]:
    """Return ``sys.warnoptions`` without those that a child has of itself.

    They come from the environment, from ``-X dev`` (the first) and from ``-b`` (the last).
    """
    options = list(sys.warnoptions)
    if sys.flags.dev_mode and options[:1] == ["default"]:
        del options[0]
    if not sys.flags.ignore_environment:
        inherited = [word for word in os.environ.get("PYTHONWARNINGS", "").split(",") if word]
        if options[: len(inherited)] == inherited:
            del options[: len(inherited)]
    if sys.flags.bytes_warning and options and options[-1].endswith("::BytesWarning"):
        del options[-1]
    return options


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
