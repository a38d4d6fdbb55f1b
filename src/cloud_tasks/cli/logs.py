"""``cloud_tasks logs``: what a task of a run printed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from cloud_tasks.display.sanitize import ControlEscaper
from cloud_tasks.errors import HistoryError
from cloud_tasks.events.reading import Event
from cloud_tasks.history.layout import RunFiles, find_run
from cloud_tasks.history.task_events import EndWatch, events_of
from cloud_tasks.history.task_logs import LoggedAttempt, TaskLogs
from cloud_tasks.text import plural, safe
from cloud_tasks.timestamps import timestamp


def main(argv: list[str]) -> int:
    """Print what the task that *argv* names printed; returns the exit code.

    Raises:
        HistoryError: nothing is kept of it.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    if args.follow and args.json:
        parser.error("--json shows what there is, -f what comes: give one of them")
    if args.follow and args.attempt is not None:
        parser.error("-f follows the last attempt: leave out --attempt")
    run_files = find_run(args.run)
    logs = TaskLogs(run_files.logs)
    if args.follow:
        with _Output() as output:
            follow(run_files, logs, args.task_id, output.write, _say)
        return 0
    tries = logs.attempts(args.task_id)
    if tries:
        _show(tries, args)
    else:
        _show_remains(run_files, logs, args)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks logs",
        description="Print what a task printed and logged, if the run kept it (--task-logs). On a "
        "terminal, control sequences other than colours are only shown.",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, or an event log")
    parser.add_argument("task_id", metavar="TASK_ID", help="of the task")
    parser.add_argument("--attempt", type=int, metavar="N", help="of attempt N, not of the last")
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on while the task runs; wait for it if it has not begun",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def _show(tries: list[LoggedAttempt], args: argparse.Namespace) -> None:
    number = len(tries) if args.attempt is None else args.attempt
    if not 1 <= number <= len(tries):
        raise HistoryError(
            f"there is no attempt {number} of the task {args.task_id!r}: the task logs have "
            f"{plural(len(tries), 'attempt')} of it"
        )
    chosen = tries[number - 1]
    if args.json:
        text = b"".join(chosen.output()).decode("utf-8", "replace")
        _print_json(args.task_id, text, number, tries)
        return
    if len(tries) > 1:
        for n, attempt in enumerate(tries, 1):
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


def _show_remains(run_files: RunFiles, logs: TaskLogs, args: argparse.Namespace) -> None:
    """Show what the events have of a task without a log, or say why there is nothing."""
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
            f"nothing is kept of what {name} printed, as there are no task logs in "
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


def _print_json(task_id: str, text: str, number: int | None, tries: list[LoggedAttempt]) -> None:
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
            for n, attempt in enumerate(tries, 1)
        ],
    }
    print(json.dumps(document, indent=2))


def _say(text: str) -> None:
    print(f"cloud_tasks: {safe(text, 1000)}", file=sys.stderr, flush=True)


class _Output:
    """Standard output: the bytes themselves, or what of them is harmless on a terminal."""

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
        # A terminal that can't show a character must not end the command.
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        if self._filter is not None:
            self._print(self._filter.end())


# MERGED: Following what a task prints while it runs.

#: Seconds between two looks.
_PERIOD = 0.1
#: Seconds by which two times may differ that are written with six digits.
_ROUNDED = 2e-6


def follow(
    run_files: RunFiles,
    logs: TaskLogs,
    task_id: str,
    write: Callable[[bytes], None],
    say: Callable[[str], None],
) -> None:
    """Pass on what the last try of a task prints, until it is over.

    It is over when its slot has begun another task, or the event of its end is in the log.
    Blocks until then; waits for a task that has not begun, unless its end is in the log.

    Args:
        run_files: of the run.
        logs: of the run.
        task_id: of the task.
        write: takes the output.
        say: takes what a person is to be told.
    """
    attempt = _begun(run_files, logs, task_id, say)
    if attempt is None:
        say("it has ended without a line in the task logs")
        return
    since = time.time() if attempt.started is None else attempt.started - _ROUNDED
    watch = EndWatch(run_files.events, task_id, attempt.slot, since)
    passed = 0
    while True:
        # First this, and then a last look: nothing is printed after the end.
        over = attempt.is_closed() or watch.has_come()
        for piece in attempt.output(passed):
            write(piece)
            passed += len(piece)
        if over:
            return
        time.sleep(_PERIOD)


def _begun(
    run_files: RunFiles, logs: TaskLogs, task_id: str, say: Callable[[str], None]
) -> LoggedAttempt | None:
    """Wait for the task to begin; None: it is over, and it never did."""
    watch = EndWatch(run_files.events, task_id, None, 0.0)
    told = False
    while True:
        began = time.monotonic()
        # In this order: what began and ended in between is in the logs.
        ended = watch.has_come()
        tries = logs.attempts(task_id)
        if tries:
            return tries[-1]
        if ended:
            return None
        if not told:
            without = "" if logs.exist else "; there are no task logs by now, see --task-logs"
            say(f"waiting for the task {task_id!r} to begin{without}")
            told = True
        # A search through many millions of entries must not take a core for itself.
        time.sleep(max(_PERIOD, 9 * (time.monotonic() - began)))
