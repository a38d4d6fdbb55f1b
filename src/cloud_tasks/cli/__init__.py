"""The command ``cloud_tasks``. Each subcommand is imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloud_tasks import __version__
from cloud_tasks.errors import CloudTasksError, ConfigurationError

#: Each subcommand and its help. Its code is ``main(argv) -> exit code`` in the file of its name,
#: but for those in :data:`_ELSEWHERE`.
COMMANDS: Mapping[str, str] = {
    "demo": "count the primes below 100 million on all cores",
    "worker": "run a function of a module over tasks, without a program around it",
    "settings": "show every setting, its value and its origin",
    "check": "read a task file to its end: count its tasks and show problems",
    "failures": "list the failed tasks of a run by cause; -o: write them to a task file",
    "logs": "show what a task of a run printed",
    "report": "summarise a run as text, JSON or an HTML page",
    "load_queue": "send the tasks of a file to the queue of a job",
    "show_queue": "show how many messages are in the queues of a job",
    "purge_queue": "delete all messages in the queues of a job",
    "delete_queue": "delete the queues of a job",
    "monitor_event_queue": "append the events of a job to a file",
}
_ELSEWHERE: Mapping[str, str] = {
    "purge_queue": "remove_queues:purge",
    "delete_queue": "remove_queues:delete",
}

_USAGE, _TROUBLE, _INTERRUPTED = 2, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*, by default that of this process; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _reopen_closed_streams()
    _warn_of_namesake()
    name = arguments[0].replace("-", "_") if arguments else ""
    if name not in COMMANDS:
        _parser().parse_args(arguments or ["--help"])
    module, _, function = _ELSEWHERE.get(name, f"{name}:main").partition(":")
    command = getattr(importlib.import_module(f"cloud_tasks.cli.{module}"), function)
    return _run(command, arguments[1:])


def _reopen_closed_streams() -> None:
    """Open the null device for standard streams that were closed (``>&-``): printing needs one."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _warn_of_namesake() -> None:
    """Warn if rms-cloud-tasks is installed, whose package is named cloud_tasks, too."""
    # Looks for its folder of metadata, because reading all metadata would load half the standard
    # library for `--help`.
    if any(any(Path(folder or ".").glob("rms_cloud_tasks-*.dist-info")) for folder in sys.path):
        print(
            "cloud_tasks: warning: rms-cloud-tasks is installed in the same environment, and both "
            "packages are named cloud_tasks: uninstall it, then install cloud-tasks again "
            "(pip uninstall rms-cloud-tasks; pip install --force-reinstall cloud-tasks)",
            file=sys.stderr,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks",
        description="Run one Python function over many tasks, each isolated, limited and "
        "accounted for.",
        epilog="`cloud_tasks COMMAND --help` describes a command and its flags.",
    )
    parser.add_argument("--version", action="version", version=f"cloud_tasks {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        hyphened = name.replace("_", "-")
        commands.add_parser(name, help=text, aliases=[] if hyphened == name else [hyphened])
    return parser


def _run(command: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run *command* and print its error, if any, as one line; returns the exit code."""
    try:
        code = command(argv)
        sys.stdout.flush()
    except CloudTasksError as error:
        print(f"cloud_tasks: error: {error}", file=sys.stderr)
        return _USAGE if isinstance(error, ConfigurationError) else _TROUBLE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, as `head`, has read enough. Without this Python would print an
        # error at its own exit, when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
