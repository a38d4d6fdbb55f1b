"""Events from their queue into a file: deleted there when they are on the disk here."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.queues.base import Message, MessageQueue
from cloud_tasks.text import safe

#: Seconds that received events are ours. They come again if we die before they are deleted.
_LEASE = 60.0
#: Seconds that a request waits for events: one that is under way holds up our end.
_WAIT, _SHORT_WAIT = 5.0, 1.0
#: Requests at a time, while each of them comes back full.
_MOST_AT_ONCE = 8


class Collector:
    """Takes events from *queue* until it is told to stop.

    Args:
        queue: of the events.
        seen: knows repeats, and counts.
        sink: gets the events; None: nobody.
        output: the sink's file, to be forced to the disk; None: it isn't one.
        show: print the events on standard output, too.
        complain: is told of messages that hold no event.
        stop: once set, it ends after the requests that are under way.
    """

    def __init__(
        self,
        queue: MessageQueue,
        seen: Seen,
        *,
        sink: EventSink | None = None,
        output: Path | None = None,
        show: bool = False,
        complain: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._queue = queue
        self._seen = seen
        self._sink = sink
        self._output = output
        self._show = show
        self._complain = complain
        self._stop = stop
        self._at_once = 1

    def run(self, idle: float | None = None) -> None:
        """Collect until it is told to stop, or nothing has come for *idle* seconds.

        Raises:
            QueueError: the queue can't be used.
            EventLogError: the file can't be written; what isn't in it stays in the queue.
        """
        with ThreadPoolExecutor(_MOST_AT_ONCE, "cloud_tasks-events") as pool:
            last = time.monotonic()
            while not self._stop.is_set():
                left = None if idle is None else last + idle - time.monotonic()
                if left is not None and left <= 0:
                    return
                messages = self._receive(pool, left)
                if messages:
                    self._deal_with(messages)
                    last = time.monotonic()

    def _receive(self, pool: ThreadPoolExecutor, left: float | None) -> list[Message]:
        """Receive from several requests at once, and adjust how many to what they bring."""
        most = self._queue.limits.receive
        wait = _WAIT if self._at_once == 1 else _SHORT_WAIT
        wait = wait if left is None else min(wait, left)
        requests = [
            pool.submit(self._queue.receive, most, wait=wait, lease=_LEASE)
            for _ in range(self._at_once)
        ]
        answers = [request.result() for request in requests]
        if all(len(answer) >= most for answer in answers):
            self._at_once = min(2 * self._at_once, _MOST_AT_ONCE)
        elif not any(answers):
            self._at_once = 1
        return [message for answer in answers for message in answer]

    def _deal_with(self, messages: Sequence[Message]) -> None:
        lines = [line for message in messages for line in self._lines(message)]
        try:
            self._write(lines)
        except EventLogError:
            self._queue.release(messages)
            raise
        try:
            self._print(lines)
        except BrokenPipeError:
            if self._sink is None:
                self._queue.release(messages)
            else:
                self._queue.ack(messages)
            raise
        self._queue.ack(messages)

    def _lines(self, message: Message) -> list[bytes]:
        try:
            return self._seen.lines(message.body)
        except ValueError as error:
            self._seen.malformed += 1
            text = message.body.decode("utf-8", "replace")
            self._complain(f"message {message.message_id} holds no event ({error}): {safe(text)}")
            return []

    def _write(self, lines: list[bytes]) -> None:
        if not lines or self._sink is None:
            return
        self._sink.write(lines)
        if self._output is not None:
            force_to_disk(self._output)

    def _print(self, lines: list[bytes]) -> None:
        if self._show and lines:
            sys.stdout.write("".join(f"{line.decode('utf-8', 'replace')}\n" for line in lines))
            sys.stdout.flush()


def force_to_disk(path: Path) -> None:
    """Return when what was written to the file at *path* would survive a loss of power.

    Raises:
        EventLogError: the disk fails.
    """
    try:
        # Opening a FIFO would take from it, and forcing anything but a file is no use.
        if not stat.S_ISREG(path.stat().st_mode):
            return
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:  # somebody has moved it away since, and it is his
        return
    except OSError as error:
        raise EventLogError(
            f"{str(path)!r} can't be forced to the disk: {error.strerror or error}"
        ) from error


# MERGED: From messages of an event queue to lines for a file, each event once.

#: Event ids that are remembered, to know a repeat. A repeat comes within a lease or two.
REMEMBERED = 100_000
#: How much of the end of a file is read for them, in bytes.
_TAIL = 64 * 2**20


@dataclass(slots=True)
class Seen:
    """What came so far.

    Attributes:
        types: events by their type, repeats left out.
        repeats: events that had come before.
        malformed: messages that hold no event.
    """

    types: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    malformed: int = 0
    _ids: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False)

    def remember(self, path: Path) -> None:
        """Take note of the events at the end of the file at *path*, if there is one."""
        for event, _ in _events_at_end(path):
            self._is_new(event)

    def lines(self, body: bytes) -> list[bytes]:
        """Return the new events of one message, a line each.

        Raises:
            ValueError: it holds none.
        """
        events = list(_events(body))
        new = []
        for event, line in events:
            if self._is_new(event):
                self.types[str(event.get("event_type"))] += 1
                new.append(line)
            else:
                self.repeats += 1
        return new

    def _is_new(self, event: dict[str, Any]) -> bool:
        event_id = event.get("event_id")
        if not isinstance(event_id, str):  # of a foreign worker: nothing tells
            return True
        new = event_id not in self._ids
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        return new


def _events(body: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield each event of *body* with its line: it is one, or has one a line."""
    try:
        yield _event(body)
    except ValueError:
        lines = body.split(b"\n")
        if len(lines) == 1:
            raise
        for line in lines:
            if line.strip():
                yield _event(line)


def _event(text: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        event = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(event, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - it is the content that is wrong
    line = text.strip()
    if b"\n" in line or b"\r" in line:
        line = json.dumps(event).encode()
    return event, line


def _events_at_end(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - _TAIL)
        file.seek(start)
        if start:
            file.readline()
        for line in file:
            try:
                yield _event(line)
            except ValueError:
                continue
