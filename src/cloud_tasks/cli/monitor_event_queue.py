"""``cloud_tasks monitor_event_queue``: append the events of a job to a file."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from cloud_tasks.cli._job_arguments import add_job_arguments, parse
from cloud_tasks.display.command_output import StatusLine
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.collector import Collector, ReceivedEvents
from cloud_tasks.events.jsonl import JsonlSink
from cloud_tasks.queues.job import JobQueues, opened
from cloud_tasks.runtime.signals import signal_handlers
from cloud_tasks.settings.parse import argument, seconds
from cloud_tasks.summary import StopReason
from cloud_tasks.text import plural, safe


def main(argv: list[str]) -> int:
    """Collect the events of the job that *argv* names; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="cloud_tasks monitor_event_queue",
        description="Append the events of a job to a file, each one once. An event is deleted "
        "from its queue once it is on the disk. Ends at Ctrl-C or SIGTERM, after the request under "
        "way.",
    )
    parser.add_argument(
        "--output-file", metavar="FILE", help="append the events to FILE, one JSON object a line"
    )
    parser.add_argument("--print-events", action="store_true", help="print the events as they come")
    parser.add_argument(
        "--exit-when-idle",
        metavar="SECONDS",
        type=argument(seconds(zero=False)),
        help="end when no event has come for SECONDS",
    )
    parser.add_argument("--json", action="store_true", help="print the final counts as JSON")
    add_job_arguments(parser)
    args, job = parse(parser, argv)
    if args.output_file is None and not args.print_events:
        # The events are deleted from the queue, so without one of them they would be lost.
        parser.error("give --output-file FILE, --print-events, or both")
    received = monitor(
        job,
        None if args.output_file is None else Path(args.output_file),
        show=args.print_events,
        idle=args.exit_when_idle,
    )
    if args.json:
        print(json.dumps(_report(received), indent=None if args.print_events else 2))
    return 0


def monitor(
    job: JobQueues, output: Path | None, *, show: bool, idle: float | None
) -> ReceivedEvents:
    """Collect events until a signal or *idle* seconds without any; returns their counts.

    They are appended to the file *output*, if any, and printed on standard output if *show* is set.

    Raises:
        QueueError: the queue can't be used.
        EventLogError: the file can't be written.
    """
    received = ReceivedEvents()
    # A line that is rewritten would garble the events on the same terminal.
    progress = StatusLine(lambda: _counts(received), rewrite=not show)
    stop = threading.Event()

    def on_signal(reason: StopReason) -> None:
        if stop.is_set():  # the second signal; events that were received will come again
            raise KeyboardInterrupt
        stop.set()

    with progress, opened(job.provider.queue(job.events), stop, notify=progress.print) as queue:
        queue.check()
        with _sink(output) as sink, signal_handlers(on_signal):
            if sink is not None and output is not None:
                sink.on_loss = progress.print
                received.read_ids(output)
            Collector(
                queue,
                received,
                sink=sink,
                on_events=_print_events if show else None,
                on_malformed=progress.print,
                stop=stop,
            ).run(idle)
        progress.print(_summary(received))
    return received


def _print_events(lines: list[bytes]) -> None:
    sys.stdout.write("".join(f"{line.decode('utf-8', 'replace')}\n" for line in lines))
    sys.stdout.flush()


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[JsonlSink | None]:
    if output is None:
        yield None
        return
    sink = JsonlSink(output, sync=True)
    try:
        sink.open()
    except EventLogError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise EventLogError(
            f"the output file {str(output)!r} can't be opened for writing: {reason}"
        ) from error
    try:
        yield sink
    finally:
        sink.close()


def _counts(received: ReceivedEvents) -> dict[str, int]:
    types = received.types
    return {"events": types.total(), **dict(types.most_common()), **_others(received)}


def _others(received: ReceivedEvents) -> dict[str, int]:
    others = {"repeats": received.repeats, "malformed": received.malformed}
    return {name: n for name, n in others.items() if n}


def _report(received: ReceivedEvents) -> dict[str, object]:
    return {
        "events": received.types.total(),
        "by_type": dict(received.types.most_common()),
        "repeats": received.repeats,
        "malformed": received.malformed,
    }


def _summary(received: ReceivedEvents) -> str:
    parts = [f"{safe(name, 80)} {n:,}" for name, n in received.types.most_common()]
    parts += [f"{name} {n:,}" for name, n in _others(received).items()]
    counts = f"   {'   '.join(parts)}" if parts else ""
    return f"{plural(received.types.total(), 'event')}{counts}"
