"""``cloud_tasks logs``: show what a task of a run printed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from cloud_tasks.display.sanitize import ControlEscaper
from cloud_tasks.errors import HistoryError
from cloud_tasks.events.reading import Event
from cloud_tasks.history.follow import follow
from cloud_tasks.history.layout import RunFiles, find_run
from cloud_tasks.history.task_events import events_of
from cloud_tasks.history.task_logs import LoggedAttempt, TaskLogs
from cloud_tasks.text import plural, safe
from cloud_tasks.timestamps import timestamp


def main(argv: list[str]) -> int:
    """Print the output of the task that *argv* names; returns the exit code.

    Raises:
        HistoryError: there is no such run, or its output was not kept.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.follow and args.json:
        parser.error("--json shows the output so far, -f what follows: give one of them")
    if args.follow and args.attempt is not None:
        parser.error("-f follows the last attempt: leave out --attempt")
    run_files = find_run(args.run)
    logs = TaskLogs(run_files.logs)
    if args.follow:
        with _Output() as output:
            follow(run_files, logs, args.task_id, output.write, _say)
        return 0
    attempts = logs.attempts(args.task_id)
    if attempts:
        _show(attempts, args)
    else:
        _show_last_lines(run_files, logs, args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks logs",
        description="Print what a task printed and logged, if the run kept it (--task-logs). On a "
        "terminal, control sequences other than colours are shown, not obeyed.",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, or an event log")
    parser.add_argument("task_id", metavar="TASK_ID", help="id of the task")
    parser.add_argument(
        "--attempt", type=int, metavar="N", help="show attempt N (default: the last)"
    )
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="follow the output while the task runs; wait for the task if it has not begun",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def _show(attempts: list[LoggedAttempt], args: argparse.Namespace) -> None:
    number = len(attempts) if args.attempt is None else args.attempt
    if not 1 <= number <= len(attempts):
        raise HistoryError(
            f"there is no attempt {number} of the task {args.task_id!r}: the task logs have "
            f"{plural(len(attempts), 'attempt')} of it"
        )
    chosen = attempts[number - 1]
    if args.json:
        text = b"".join(chosen.output()).decode("utf-8", "replace")
        _print_json(args.task_id, text, number, attempts)
        return
    if len(attempts) > 1:
        for n, attempt in enumerate(attempts, 1):
            shown = "   (shown here)" if n == number else ""
            _say(f"attempt {n}   {_facts(attempt)}{shown}")
    if not chosen.log.exists():
        raise HistoryError(f"the output of the task is gone: there is no file {str(chosen.log)!r}")
    with _Output() as output:
        for piece in chosen.output():
            output.write(piece)
    if not chosen.size():
        _say("it has printed nothing")


def _facts(attempt: LoggedAttempt) -> str:
    when = "time unknown" if attempt.started is None else timestamp(attempt.started)[:19]
    return f"{when.replace('T', ' ')}   slot {attempt.slot}   {plural(attempt.size(), 'byte')}"


def _show_last_lines(run_files: RunFiles, logs: TaskLogs, args: argparse.Namespace) -> None:
    """Show the last lines that the event log has of a task without task logs.

    Raises:
        HistoryError: it has none; the sentence says why.
    """
    events = list(events_of(run_files.events, args.task_id))
    last = next((text for event in reversed(events) if (text := _last_output(event))), None)
    if last is not None:
        if args.json:
            _print_json(args.task_id, last, None, [])
            return
        _say("its output was not kept; these are the last lines, from the event of its end")
        with _Output() as output:
            output.write(last.encode("utf-8", "replace").rstrip(b"\n") + b"\n")
        return
    name = f"the task {args.task_id!r}"
    if not logs.exist:
        raise HistoryError(
            f"the output of {name} was not kept: there are no task logs in "
            f"{str(run_files.logs)!r}: run it with --task-logs"
        )
    if events:
        raise HistoryError(f"{name} has ended, but its function was never called with --task-logs")
    near = logs.similar(args.task_id)
    hint = "" if near is None else f"; did you mean {near!r}?"
    raise HistoryError(f"{name} is neither in the task logs nor in the event log{hint}")


def _last_output(event: Event) -> str | None:
    text = event.get("last_output")
    if isinstance(text, list):
        text = "\n".join(line.rstrip("\n") for line in text if isinstance(line, str))
    return text if isinstance(text, str) and text else None


def _print_json(task_id: str, text: str, number: int | None, attempts: list[LoggedAttempt]) -> None:
    document: dict[str, Any] = {
        "task_id": task_id,
        "attempt": number,
        "output": text,
        "attempts": [
            {
                "attempt": n,
                "slot": attempt.slot,
                "started": None if attempt.started is None else timestamp(attempt.started),
                "bytes": attempt.size(),
                "log": str(attempt.log),
            }
            for n, attempt in enumerate(attempts, 1)
        ],
    }
    print(json.dumps(document, indent=2))


def _say(text: str) -> None:
    print(f"cloud_tasks: {safe(text, 1000)}", file=sys.stderr, flush=True)


class _Output:
    """Write bytes to standard output as they are; to a terminal without control sequences."""

    def __init__(self) -> None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._filter = ControlEscaper(colours=not plain) if sys.stdout.isatty() else None

    def write(self, piece: bytes) -> None:
        if self._filter is None:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            self._print(self._filter.feed(piece))

    def _print(self, text: str) -> None:
        # An encoding error of the terminal must not end the command.
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        if self._filter is not None:
            self._print(self._filter.end())
