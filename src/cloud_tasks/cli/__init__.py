"""The command ``cloud_tasks``. One file a subcommand, imported when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from cloud_tasks import __version__
from cloud_tasks.cli.peer import peer_warning
from cloud_tasks.errors import CloudTasksError, ConfigurationError

#: What each subcommand does. Its file has the same name, and in it ``main(argv) -> exit code``.
COMMANDS: Mapping[str, str] = {
    "demo": "count the primes below 100 million on all cores; --queue: a like job through a queue",
    "worker": "run a function of a module over tasks, without a program around it",
    "settings": "show every setting, its value and where it came from",
    "check": "read a task file to its end and say what is in it",
    "failures": "list the tasks of a run that failed, by cause; -o: as a task file",
    "logs": "show what a task of a run printed",
    "report": "say what a run came to, as text, as JSON, or as a page to look at",
    "load_queue": "send the tasks of a file to the queue of a job",
    "show_queue": "show how many messages are in the queues of a job",
    "purge_queue": "delete all messages of a job's queues",
    "delete_queue": "delete the queues of a job",
    "monitor_event_queue": "append the events of a job to a file",
}

_USAGE, _TROUBLE, _INTERRUPTED = 2, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*, by default this process's; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    warning = peer_warning()
    if warning is not None:
        print(f"cloud_tasks: warning: {warning}", file=sys.stderr)
    name = arguments[0].replace("-", "_") if arguments else ""
    if name not in COMMANDS:
        _parser().parse_args(arguments or ["--help"])
    module = importlib.import_module(f"cloud_tasks.cli.{name}")
    return _guarded(module.main, arguments[1:])


def _open_closed_streams() -> None:
    """Give what is printed a place to go to where somebody has closed it (``>&-``)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks",
        description="Run one Python function over many tasks, each isolated, limited and "
        "accounted for.",
        epilog="`cloud_tasks COMMAND --help` tells more of each.",
    )
    parser.add_argument("--version", action="version", version=f"cloud_tasks {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        hyphened = name.replace("_", "-")
        commands.add_parser(name, help=text, aliases=[] if hyphened == name else [hyphened])
    return parser


def _guarded(command: Callable[[list[str]], int], argv: list[str]) -> int:
    try:
        code = command(argv)
        sys.stdout.flush()
    except CloudTasksError as error:
        print(f"cloud_tasks: error: {error}", file=sys.stderr)
        return _USAGE if isinstance(error, ConfigurationError) else _TROUBLE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain again at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
