"""Sending entries to a queue: in full batches, several at a time, in bounded memory."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cloud_tasks.loading.entries import Entry, Tally, named
from cloud_tasks.loading.ledger import Ledger
from cloud_tasks.queues.base import MessageQueue, QueueLimits

#: Requests under way at a time.
IN_FLIGHT = 8


class Target(Protocol):
    """Where batches go."""

    def submit(self, batch: list[Entry]) -> None:
        """Take *batch*; blocks while enough are under way."""

    def finish(self) -> None:
        """Return when all that was submitted is dealt with."""


class DryRun:
    """Counts and sends nothing."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def submit(self, batch: list[Entry]) -> None:
        """Count *batch*."""
        self._tally.accept(batch)

    def finish(self) -> None:
        """Do nothing."""


class Sender:
    """Sends batches from threads of its own.

    Args:
        queue: where to.
        tally: is kept up to date.
        ledger: gets what was accepted, where there is one.
        complain: is told of each entry that is refused, up to a number.
        in_flight: batches under way at a time.
    """

    def __init__(
        self,
        queue: MessageQueue,
        tally: Tally,
        *,
        ledger: Ledger | None = None,
        complain: Callable[[str], None],
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._queue = queue
        self._tally = tally
        self._ledger = ledger
        # Without a ledger nothing is known of a run before this one.
        self._load_id = secrets.token_hex(6) if ledger is None else ledger.load_id
        self._complain = complain
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="cloud_tasks-load")
        self._room = threading.Semaphore(in_flight)
        self._failure: BaseException | None = None
        self._stopped = False

    def submit(self, batch: list[Entry]) -> None:
        """Send *batch* soon; blocks while enough are under way.

        Raises:
            QueueError: an earlier batch could not be sent.
        """
        self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        self._pool.submit(self._deal_with, batch)

    def finish(self) -> None:
        """Return when all batches under way have ended.

        Raises:
            QueueError: one could not be sent.
        """
        self._pool.shutdown(wait=True)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Return when the requests under way have ended; nothing more is sent. Idempotent."""
        self._stopped = True
        self._pool.shutdown(wait=True)

    def _deal_with(self, batch: list[Entry]) -> None:
        try:
            if self._failure is None and not self._stopped:
                self._send(batch)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that submits
            self._failure = error
        finally:
            self._room.release()

    def _send(self, batch: list[Entry]) -> None:
        failures = self._queue.send([entry.outgoing(self._load_id) for entry in batch])
        failed = {failure.index for failure in failures}
        accepted = [entry for i, entry in enumerate(batch) if i not in failed]
        if accepted and self._ledger is not None:
            self._ledger.record((entry.position, entry.body) for entry in accepted)
        self._tally.accept(accepted)
        for failure in failures:
            entry = batch[failure.index]
            reason = f"was not accepted: {failure.reason}"
            problem = named(entry.position, entry.task_id, reason)
            if self._tally.refuse(problem):
                self._complain(problem)


class Batches:
    """Gathers entries into batches as full as one request may be."""

    def __init__(self, target: Target, limits: QueueLimits) -> None:
        self._target = target
        self._limits = limits
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._size = 0
        self._began = 0.0

    def add(self, entry: Entry) -> None:
        """Take *entry*, and hand over what is full; may block."""
        full: list[list[Entry]] = []
        with self._lock:
            if self._size + len(entry.body) > self._limits.request_bytes:
                full.append(self._take())
            if not self._entries:
                self._began = time.monotonic()
            self._entries.append(entry)
            self._size += len(entry.body)
            if len(self._entries) >= self._limits.send:
                full.append(self._take())
        self._submit(full)

    def flush(self, older_than: float = 0.0) -> None:
        """Hand over what is there, if its first entry has waited so many seconds."""
        with self._lock:
            due = time.monotonic() - self._began >= older_than
            batch = self._take() if due else []
        self._submit([batch])

    def _take(self) -> list[Entry]:
        taken, self._entries, self._size = self._entries, [], 0
        return taken

    def _submit(self, batches: list[list[Entry]]) -> None:
        for batch in batches:
            if batch:
                self._target.submit(batch)
