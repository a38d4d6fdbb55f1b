"""Send entries to a queue: in full batches, several at a time, in bounded memory.

::

    add(entry) ──► Batches ──full, or older than a second──► Sender ──► pool of 8 threads ──► queue
                                                               │
                                          ledger, then LoadResult, after each answer

``submit`` blocks while 8 batches are under way, which bounds the memory. An error of a pool thread
is raised by the next ``submit``, or by ``finish``.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cloud_tasks.loading.entries import Entry, LoadResult, entry_problem
from cloud_tasks.loading.ledger import Ledger
from cloud_tasks.queues.base import MessageQueue, QueueLimits

#: Requests under way at a time.
IN_FLIGHT = 8


class Target(Protocol):
    """A receiver of batches."""

    def submit(self, batch: list[Entry]) -> None:
        """Accept *batch*; block while enough are under way."""

    def finish(self) -> None:
        """Return when all submitted batches are done."""


class DryRun:
    """A target that counts entries and sends nothing."""

    def __init__(self, result: LoadResult) -> None:
        self._result = result

    def submit(self, batch: list[Entry]) -> None:
        """Count *batch*."""
        self._result.accept(batch)

    def finish(self) -> None:
        """Do nothing."""


class Sender:
    """A target that sends batches from threads of its own, *in_flight* at a time.

    Accepted entries are recorded in *ledger*, if there is one. *on_problem* is called with a
    sentence for each of the first refused entries, from any thread.
    """

    def __init__(
        self,
        queue: MessageQueue,
        result: LoadResult,
        *,
        ledger: Ledger | None = None,
        on_problem: Callable[[str], None],
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._queue = queue
        self._result = result
        self._ledger = ledger
        # Without a ledger no later run can continue this load, so any new id does.
        self._load_id = secrets.token_hex(6) if ledger is None else ledger.load_id
        self._on_problem = on_problem
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="cloud_tasks-load")
        self._room = threading.Semaphore(in_flight)
        self._failure: BaseException | None = None
        self._stopped = False

    def submit(self, batch: list[Entry]) -> None:
        """Hand *batch* to the pool; block while enough are under way.

        Raises:
            QueueError: an earlier batch could not be sent.
        """
        self._room.acquire()
        if self._failure is not None:
            self._room.release()
            raise self._failure
        self._pool.submit(self._run, batch)

    def finish(self) -> None:
        """Wait for all batches under way.

        Raises:
            QueueError: one could not be sent.
        """
        self._pool.shutdown(wait=True)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Wait for the requests under way and send nothing more. May be called more than once."""
        self._stopped = True
        self._pool.shutdown(wait=True)

    def _run(self, batch: list[Entry]) -> None:
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
        self._result.accept(accepted)
        for failure in failures:
            entry = batch[failure.index]
            reason = f"was not accepted: {failure.reason}"
            problem = entry_problem(entry.position, entry.task_id, reason)
            if self._result.refuse(problem):
                self._on_problem(problem)


class Batches:
    """Entries on their way into batches that are as full as one request may be.

    Any thread may call it; ``Target.submit`` is called without the lock, because it may block.
    """

    def __init__(self, target: Target, limits: QueueLimits) -> None:
        self._target = target
        self._limits = limits
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._size = 0
        self._began = 0.0

    def add(self, entry: Entry) -> None:
        """Add *entry*, and submit the batches that are full; may block."""
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
        """Submit the current batch if its oldest entry waits for *older_than* s; may block."""
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
