"""Load the tasks of a source into the queue of a job: the work of ``cloud_tasks load_queue``.

    open the source ─► open the ledger ─► create missing queues ─► one pass ─► finish

    one pass:  source ─► Entry ─┬─► in the ledger: counted as sent before
                                └─► Batches ─► Sender ─► queue, ledger

Nothing here prints: messages for a person go to a callback, which any thread may call, and
:meth:`Loader.progress` may be read from any thread at any time.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloud_tasks.errors import ConfigurationError, SourceError
from cloud_tasks.loading.entries import Entry, LoadResult, entry_problem, message_of
from cloud_tasks.loading.ledger import Ledger, PreviousLoad
from cloud_tasks.loading.sender import Batches, DryRun, Sender, Target
from cloud_tasks.queues.base import QueueSpec
from cloud_tasks.queues.job import JobQueues, opened
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Malformed, Task
from cloud_tasks.text import duration, plural, safe

#: Lease in seconds of the event queue and the dead-letter queue.
_PLAIN_LEASE = 60
#: Seconds for which a batch is retried; the ledger has what was loaded by then.
_PATIENCE = 600.0
#: Seconds after which a batch that isn't full is sent, because the source is slow.
_LINGER = 1.0


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a load.

    Attributes:
        start: id of the first task; None: the first there is.
        limit: the most tasks to load; None: all.
        dry_run: read and check, send and create nothing.
        ledger: path of the ledger; None: keep none.
        spec: of the task queue, if it must be created.
    """

    start: str | None = None
    limit: int | None = None
    dry_run: bool = False
    ledger: Path | None = None
    spec: QueueSpec = field(default_factory=QueueSpec)


class Loader:
    """One load of a source into the task queue of a job; ``result`` has the counts so far."""

    def __init__(self, job: JobQueues, source: TaskSource, options: LoadOptions) -> None:
        self._job = job
        self._source = source
        self._options = options
        self._on_message: Callable[[str], None] = lambda _: None
        self._ledger = None if options.ledger is None else ledger_of(job, options.ledger)
        self._began = time.monotonic()
        self._elapsed: float | None = None
        self._limits = job.provider.limits
        #: Entries of the previous load lie before the start.
        self._passed_over = False
        #: The load covered only part of the previous one, whose ledger must stay.
        self._narrower = False
        self.result = LoadResult()

    def run(self, on_message: Callable[[str], None] = lambda _: None) -> None:
        """Load the tasks; returns when the provider has them.

        Args:
            on_message: called with each sentence for a person, which may hold foreign text, from
                any thread.

        Raises:
            ConfigurationError: the ledger can't be used, or the options can't be followed.
            SourceError: the source can't be read, or the queue can't be used.
        """
        self._on_message = on_message
        self._began = time.monotonic()
        try:
            self._source.open()
            try:
                self._check_only() if self._options.dry_run else self._load()
            except BaseException:
                if self.result.sent:
                    self._on_message(f"ended early: {self._summary()}")
                raise
        finally:
            self._source.close()
            self._elapsed = time.monotonic() - self._began

    def _check_only(self) -> None:
        previous = PreviousLoad([]) if self._ledger is None else self._ledger.read()
        self._pass(DryRun(self.result), previous)

    def _load(self) -> None:
        previous = PreviousLoad([]) if self._ledger is None else self._ledger.open()
        try:
            self.result.created = created = create_queues(self._job, self._options.spec)
            if created:
                self._on_message(f"made {', '.join(created)}")
            if self._ledger is not None and previous.count and self._job.name in created:
                # The queue that held those entries is gone, so they are sent again.
                previous = PreviousLoad([])
                self._ledger.restart()
            self._narrower = not self._send(previous)
            if self._ledger is not None and not (self._narrower or self.result.refused):
                self._ledger.finish()
        finally:
            if self._ledger is not None:
                self._ledger.close()

    def _send(self, previous: PreviousLoad) -> bool:
        """Send all but *previous*; return as :meth:`_pass`."""
        stop = threading.Event()
        queue = self._job.provider.queue(self._job.name)
        notify = self._on_message
        with opened(queue, stop, notify=notify, budgets={"send": _PATIENCE}) as patient:
            sender = Sender(patient, self.result, ledger=self._ledger, on_problem=notify)
            try:
                return self._pass(sender, previous)
            finally:
                stop.set()
                sender.stop()

    # -- one pass through the source

    def _pass(self, target: Target, previous: PreviousLoad) -> bool:
        """Hand all tasks but *previous* to *target*; return True if that covered all of *previous*.

        Returns when the provider has the tasks.

        Raises:
            SourceError: the source or the queue failed; what came before is loaded.
            ConfigurationError: these are not the tasks that were loaded before, or none of
                them has the id to start from.
        """
        if previous.count:
            verb = "was" if previous.count == 1 else "were"
            self._on_message(
                f"resuming: {plural(previous.count, 'task')} {verb} loaded before, "
                f"says {self._options.ledger}"
            )
        batches = Batches(target, self._limits)
        complete, failure = False, None
        with _flushing(batches):
            try:
                complete = self._read(batches, previous)
            except SourceError as error:
                failure = error
        batches.flush()
        target.finish()
        if failure is not None:
            raise failure
        if complete:
            previous.end()
        return previous.is_over and not self._passed_over

    def _read(self, batches: Batches, previous: PreviousLoad) -> bool:
        """Read to the end or the limit; return True if it was the end."""
        start, limit = self._options.start, self._options.limit
        waiting = start is not None
        left = math.inf if limit is None else limit
        items = self._items()
        while left > 0 and (numbered := next(items, None)) is not None:
            position, item = numbered
            if isinstance(item, Task):
                waiting = waiting and item.task_id != start
                left -= not waiting
            entry = self._entry(position, item, report=not waiting)
            if entry is None:
                continue
            # Entries before the start are compared, too: they are part of the previous load.
            if (entry.position, entry.body) in previous:
                self.result.sent_before += not waiting
                self._passed_over = self._passed_over or waiting
            elif not waiting:
                batches.add(entry)
        if waiting and left > 0:
            raise ConfigurationError(
                f"no task of {self._source} has the id {start!r} that --start-task names"
            )
        return left > 0

    def _items(self) -> Iterator[tuple[int, Task | Malformed]]:
        position = 0
        # One at a time, because a batch doesn't tell the order of good and bad entries, and the
        # position depends on it.
        for batch in self._source.batches(1):
            for delivery in batch.deliveries:
                yield position, delivery.task
                position += 1
            for malformed in batch.malformed:
                yield position, malformed
                position += 1

    def _entry(self, position: int, item: Task | Malformed, *, report: bool) -> Entry | None:
        """Return the entry of *item*; None: it has no valid message, which *report* counts."""
        if isinstance(item, Malformed):
            problem = str(item)
        else:
            try:
                entry = Entry(position, item.task_id, message_of(item))
            except ValueError as error:
                problem = entry_problem(position, item.task_id, str(error))
            else:
                size, most = len(entry.body), self._limits.message_bytes
                if size <= most:
                    return entry
                problem = entry_problem(
                    position,
                    item.task_id,
                    f"is too large: {size:,} bytes, and a message can have {most:,}",
                )
        if report and self.result.refuse(problem):
            self._on_message(problem)
        return None

    # -- its result

    @property
    def elapsed(self) -> float:
        """Seconds that the load has taken so far, or took in all."""
        return time.monotonic() - self._began if self._elapsed is None else self._elapsed

    def progress(self) -> dict[str, int]:
        """Return the counts so far, for a line about the progress. Any thread."""
        result = self.result
        return {"loaded": result.sent, "before": result.sent_before, "refused": result.refused}

    def report(self) -> dict[str, object]:
        """Return the result for programs, as JSON values."""
        result = self.result
        return {
            "provider": self._job.provider_name,
            "queue": self._job.name,
            "dry_run": self._options.dry_run,
            "created": result.created,
            "loaded": result.sent,
            "loaded_before": result.sent_before,
            "refused": result.refused,
            "bytes": result.size,
            "elapsed": round(self.elapsed, 3),
            "problems": result.problems,
        }

    def lines(self) -> list[str]:
        """Return the result for people, as lines of safe text."""
        lines = [self._summary()]
        if self.result.refused:
            count = self.result.refused
            noun = "entry was" if count == 1 else "entries were"
            lines.append(f"  {count:,} {noun} not loaded")
            if self._ledger is not None and self.result.sent + self.result.sent_before:
                lines.append(
                    f"  {safe(str(self._ledger.path))} says which ones were: mend the others and "
                    "run the same command again"
                )
        elif self._narrower and self._ledger is not None:
            lines.append(
                f"  {safe(str(self._ledger.path))} stays: it lists tasks that this load left out"
            )
        return lines

    def _summary(self) -> str:
        result, elapsed, dry = self.result, self.elapsed, self._options.dry_run
        rate = result.sent / elapsed if elapsed > 0 else 0.0
        return (
            f"{'would load' if dry else 'loaded'} {plural(result.sent, 'task')}"
            f" ({result.size:,} bytes) into {safe(self._job.name)}"
            + ("" if dry else f" in {duration(elapsed)}, {rate:,.{0 if rate >= 100 else 1}f}/s")
            + (f"; {result.sent_before:,} before" if result.sent_before else "")
        )


def default_ledger(name: str) -> Path:
    """Return the path of the ledger of queue *name* if the user gives none."""
    return Path(f"{name.replace('/', '_')}.load-ledger")


def ledger_of(job: JobQueues, path: Path) -> Ledger:
    """Return the ledger at *path* as one of *job*'s task queue."""
    provider = job.provider
    return Ledger(
        path,
        {
            "provider": job.provider_name,
            "queue": job.name,
            "project_id": provider.project_id,
            "endpoint_url": provider.endpoint_url,
            "exactly_once": provider.exactly_once,
        },
    )


def create_queues(job: JobQueues, spec: QueueSpec) -> list[str]:
    """Create the missing queues of *job*, its task queue by *spec*; return their names.

    Raises:
        QueueError: it could not be done.
    """
    plain = QueueSpec(lease=_PLAIN_LEASE)
    # The dead-letter queue comes first, because the task queue's settings name it.
    specs = {job.dead: plain, job.name: spec, job.events: plain}
    return [name for name, its in specs.items() if job.provider.admin(name).create(its)]


@contextlib.contextmanager
def _flushing(batches: Batches, period: float = 0.25) -> Iterator[None]:
    """Send batches that have waited too long, from a thread of its own, during the body."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(period):
            with contextlib.suppress(BaseException):  # the reading thread gets and raises the same
                batches.flush(older_than=_LINGER)

    thread = threading.Thread(target=run, name="cloud_tasks-linger", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        # The thread may be waiting for a queue that doesn't answer, so it is not joined.
        over.set()
        raise
    over.set()
    thread.join()
