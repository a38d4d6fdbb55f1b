"""Collect events from their queue into a sink: an event is deleted when the sink has it.

    queue.receive ──► ReceivedEvents ──► sink.write ──► on_events ──► queue.ack
    (1 to 8 at once)  (drops repeats)    (durable)      (progress)

Everything but the requests runs in the thread that called :meth:`Collector.run`. A crash before
the acknowledgement repeats events and never loses one: the next collector recognises the repeats
by the event ids at the end of its file. Nothing is printed here.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_tasks.events.sink import EventSink
from cloud_tasks.queues.base import Message, MessageQueue
from cloud_tasks.text import safe

#: Seconds for which received events are leased. They come again if we die before the deletion.
_LEASE = 60.0
#: Seconds that a request waits for events, alone and beside others: one under way delays our end.
_WAIT, _SHORT_WAIT = 5.0, 1.0
#: Limit of concurrent requests; their number doubles while each of them comes back full.
_MAX_REQUESTS = 8
#: Event ids that are kept to recognise repeats. A repeat comes within a lease or two.
REMEMBERED = 100_000
#: Bytes at the end of a file that are searched for event ids.
_TAIL = 64 * 2**20


class Collector:
    """Move events from *queue* into *sink* until it is stopped.

    Args:
        queue: the event queue of a job.
        received: drops repeats, and counts.
        sink: gets the events, open already; None where *on_events* is their only destination.
        on_events: called with the new lines after *sink* has them and before they are deleted
            from the queue. Where it raises, they are deleted only if there is a sink.
        on_malformed: called with a sentence about each message that holds no event.
        stop: once set, ``run`` returns after the requests that are under way.
    """

    def __init__(
        self,
        queue: MessageQueue,
        received: ReceivedEvents,
        *,
        sink: EventSink | None = None,
        on_events: Callable[[list[bytes]], None] | None = None,
        on_malformed: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._queue = queue
        self._received = received
        self._sink = sink
        self._on_events = on_events
        self._on_malformed = on_malformed
        self._stop = stop
        self._requests = 1

    def run(self, idle: float | None = None) -> None:
        """Collect until *stop* is set, or no event has come for *idle* seconds; blocks.

        Raises:
            QueueError: the queue can't be used.
            EventLogError: the sink can't be written to; what it did not get stays in the queue.
        """
        with ThreadPoolExecutor(_MAX_REQUESTS, "cloud_tasks-events") as pool:
            last = time.monotonic()
            while not self._stop.is_set():
                left = None if idle is None else last + idle - time.monotonic()
                if left is not None and left <= 0:
                    return
                messages = self._receive(pool, left)
                if messages:
                    self._deliver(messages)
                    last = time.monotonic()

    def _receive(self, pool: ThreadPoolExecutor, left: float | None) -> list[Message]:
        """Receive by several requests at once, and adapt their number to what they return."""
        most = self._queue.limits.receive
        wait = _WAIT if self._requests == 1 else _SHORT_WAIT
        wait = wait if left is None else min(wait, left)
        requests = [
            pool.submit(self._queue.receive, most, wait=wait, lease=_LEASE)
            for _ in range(self._requests)
        ]
        answers = [request.result() for request in requests]
        if all(len(answer) >= most for answer in answers):
            self._requests = min(2 * self._requests, _MAX_REQUESTS)
        elif not any(answers):
            self._requests = 1
        return [message for answer in answers for message in answer]

    def _deliver(self, messages: Sequence[Message]) -> None:
        lines = [line for message in messages for line in self._new_lines(message)]
        kept = False
        try:
            if lines and self._sink is not None:
                self._sink.write(lines)
                kept = True
            if lines and self._on_events is not None:
                self._on_events(lines)
        except BaseException:
            settle = self._queue.ack if kept else self._queue.release
            settle(messages)
            raise
        self._queue.ack(messages)

    def _new_lines(self, message: Message) -> list[bytes]:
        try:
            return self._received.new_lines(message.body)
        except ValueError as error:
            self._received.malformed += 1
            text = safe(message.body.decode("utf-8", "replace"))
            self._on_malformed(f"message {message.message_id} holds no event ({error}): {text}")
            return []


@dataclass(slots=True)
class ReceivedEvents:
    """The events that were received so far: counts, and the ids by which repeats are recognised.

    Attributes:
        types: number of events by type, without repeats.
        repeats: number of events that had come before.
        malformed: number of messages that hold no event.
    """

    types: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    malformed: int = 0
    _ids: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False)

    def read_ids(self, path: Path) -> None:
        """Remember the ids of the events at the end of the file at *path*, if there is one."""
        for event, _ in _events_at_end(path):
            self._is_new(event)

    def new_lines(self, body: bytes) -> list[bytes]:
        """Count the events of one message; return the new ones, a line each.

        Raises:
            ValueError: it holds no event.
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
        if not isinstance(event_id, str):  # of another system's worker: can't be recognised
            return True
        new = event_id not in self._ids
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        return new


def _events(body: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield each event of *body* with its line: one event, or one in each line."""
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
