"""The work of ``cloud_tasks load_queue``."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloud_tasks.display.status_line import Progress
from cloud_tasks.errors import CloudTasksError, ConfigurationError, SourceError
from cloud_tasks.loading.entries import Entry, Tally, message_of, named
from cloud_tasks.loading.ledger import Ledger, Loaded
from cloud_tasks.loading.sender import Batches, DryRun, Sender, Target
from cloud_tasks.queues.base import QueueLimits, QueueSpec
from cloud_tasks.queues.job import JobQueues, opened
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Malformed, Task
from cloud_tasks.text import duration, plural, safe

#: Seconds that events and dead tasks are their receiver's.
_PLAIN_LEASE = 60
#: Seconds for which a batch is tried again; what was loaded by then is in the ledger.
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be loaded, and how.

    Attributes:
        start: id of the first task; None: the first there is.
        limit: as many tasks at most; None: all.
        dry_run: send and make nothing.
        ledger: where to note what was loaded; None: nowhere.
        spec: of the task queue, if it is to be made.
    """

    start: str | None = None
    limit: int | None = None
    dry_run: bool = False
    ledger: Path | None = None
    spec: QueueSpec = field(default_factory=QueueSpec)


class Loader:
    """One call of the command.

    Args:
        job: whose queue.
        source: of the tasks.
        order: what is to be loaded, and how.
    """

    def __init__(self, job: JobQueues, source: TaskSource, order: Order) -> None:
        self._job = job
        self._source = source
        self._order = order
        self._ledger = None if order.ledger is None else ledger_of(job, order.ledger)
        self._progress = Progress(self._counts)
        self._narrower = False
        self.tally = Tally()

    def run(self) -> None:
        """Load the tasks; returns when the provider has them.

        Raises:
            ConfigurationError: the ledger can't be used, or the order can't be followed.
            SourceError: the source can't be read, or the queue can't be used.
        """
        try:
            self._source.open()
            with self._progress:
                try:
                    self._try() if self._order.dry_run else self._load()
                except (CloudTasksError, KeyboardInterrupt):
                    if self.tally.loaded:
                        self._progress.say(f"ended early: {self._summary()}")
                    raise
        finally:
            self._source.close()

    def _try(self) -> None:
        loaded = Loaded([]) if self._ledger is None else self._ledger.read()
        self._pass(DryRun(self.tally), loaded)

    def _load(self) -> None:
        loaded = Loaded([]) if self._ledger is None else self._ledger.open()
        try:
            created = make_queues(self._job, self._order.spec)
            self.tally.created = created
            if created:
                self._progress.say(f"made {', '.join(created)}")
            if self._ledger is not None and loaded.count and self._job.name in created:
                # What a queue held that is gone was loaded in vain.
                loaded = Loaded([])
                self._ledger.restart()
            self._narrower = not self._send(loaded)
            if self._ledger is not None and not (self._narrower or self.tally.refused):
                self._ledger.finish()
        finally:
            if self._ledger is not None:
                self._ledger.close()

    def _send(self, loaded: Loaded) -> bool:
        stop, say = threading.Event(), self._progress.say
        queue = self._job.provider.queue(self._job.name)
        with opened(queue, stop, notify=say, budgets={"send": _PATIENCE}) as patient:
            sender = Sender(patient, self.tally, ledger=self._ledger, complain=say)
            try:
                return self._pass(sender, loaded)
            finally:
                stop.set()
                sender.stop()

    def _pass(self, target: Target, loaded: Loaded) -> bool:
        """Go through the source; returns whether it saw all that was loaded before."""
        if loaded.count:
            self._progress.say(
                f"resuming: {plural(loaded.count, 'task')} {'was' if loaded.count == 1 else 'were'}"
                f" loaded before, says {self._order.ledger}"
            )
        one_pass = LoadPass(
            self._source,
            target,
            self._job.provider.limits,
            self.tally,
            loaded=loaded,
            complain=self._progress.say,
            start=self._order.start,
            limit=self._order.limit,
        )
        one_pass.run()
        return one_pass.saw_all_loaded

    def _counts(self) -> dict[str, int]:
        tally = self.tally
        return {"loaded": tally.loaded, "before": tally.before, "refused": tally.refused}

    def report(self) -> dict[str, object]:
        """Return what was done, for programs."""
        tally, elapsed = self.tally, self._progress.elapsed
        return {
            "provider": self._job.provider_name,
            "queue": self._job.name,
            "dry_run": self._order.dry_run,
            "created": tally.created,
            "loaded": tally.loaded,
            "loaded_before": tally.before,
            "refused": tally.refused,
            "bytes": tally.size,
            "elapsed": round(elapsed, 3),
            "problems": tally.problems,
        }

    def lines(self) -> list[str]:
        """Return what was done, for people."""
        lines = [self._summary()]
        if self.tally.refused:
            count = self.tally.refused
            noun = "entry was" if count == 1 else "entries were"
            lines.append(f"  {count:,} {noun} not loaded")
            if self._ledger is not None and self.tally.loaded + self.tally.before:
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
        tally, elapsed = self.tally, self._progress.elapsed
        dry = self._order.dry_run
        rate = tally.loaded / elapsed if elapsed > 0 else 0.0
        return (
            f"{'would load' if dry else 'loaded'} {plural(tally.loaded, 'task')}"
            f" ({tally.size:,} bytes) into {safe(self._job.name)}"
            + ("" if dry else f" in {duration(elapsed)}, {rate:,.{0 if rate >= 100 else 1}f}/s")
            + (f"; {tally.before:,} before" if tally.before else "")
        )


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


def make_queues(job: JobQueues, spec: QueueSpec) -> list[str]:
    """Make the queues of *job* that are not there; returns the names of those.

    Args:
        job: whose queues.
        spec: of the task queue.

    Raises:
        QueueError: it could not be done.
    """
    plain = QueueSpec(lease=_PLAIN_LEASE)
    # The dead come first, because the task queue's settings name their queue.
    specs = {job.dead: plain, job.name: spec, job.events: plain}
    return [name for name, wanted in specs.items() if job.provider.admin(name).create(wanted)]


# MERGED: One pass through a source of tasks, into a queue.

#: Seconds after which a batch is sent though it isn't full: the source is slow.
_LINGER = 1.0


class LoadPass:
    """One pass through a source.

    Args:
        source: of the tasks; is open.
        target: where the tasks go.
        limits: of the queue.
        tally: is kept up to date.
        loaded: what is left out, because it was loaded before.
        complain: is told of entries that are refused.
        start: id of the first task to load; None: the first there is.
        limit: as many tasks at most, those loaded before among them; None: all.
    """

    def __init__(
        self,
        source: TaskSource,
        target: Target,
        limits: QueueLimits,
        tally: Tally,
        *,
        loaded: Loaded,
        complain: Callable[[str], None],
        start: str | None = None,
        limit: int | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._limits = limits
        self._tally = tally
        self._loaded = loaded
        self._complain = complain
        self._start = start
        self._limit = limit
        self._batches = Batches(target, limits)
        self._passed_over = False

    @property
    def saw_all_loaded(self) -> bool:
        """Whether all that was loaded before lies between start and limit."""
        return self._loaded.is_over and not self._passed_over

    def run(self) -> None:
        """Load all; returns when the provider has them.

        Raises:
            SourceError: the source broke, or the queue did; what came before is loaded.
            ConfigurationError: these are not the tasks that were loaded before, or none of
                them has the id to start from.
        """
        complete, failure = False, None
        with _ticking(self._tick):
            try:
                complete = self._read()
            except SourceError as error:
                failure = error
        self._finish()
        if failure is not None:
            raise failure
        if complete:
            self._loaded.end()

    def _finish(self) -> None:
        self._batches.flush()
        self._target.finish()

    def _tick(self) -> None:
        with contextlib.suppress(Exception):  # the reading thread meets the same and raises it
            self._batches.flush(older_than=_LINGER)

    def _read(self) -> bool:
        """Read to the end or the limit; returns whether it was the end."""
        waiting = self._start is not None
        left = math.inf if self._limit is None else self._limit
        items = self._items()
        while left > 0 and (numbered := next(items, None)) is not None:
            position, item = numbered
            if isinstance(item, Task):
                waiting = waiting and item.task_id != self._start
                left -= not waiting
            entry = self._entry(position, item, told=not waiting)
            if entry is not None:
                self._handle(entry, wanted=not waiting)
        if waiting and left > 0:
            raise ConfigurationError(
                f"no task of {self._source} has the id {self._start!r} that --start-task names"
            )
        return left > 0

    def _handle(self, entry: Entry, *, wanted: bool) -> None:
        # What isn't wanted is compared nevertheless, for it is part of what was loaded.
        if (entry.position, entry.body) in self._loaded:
            self._tally.before += wanted
            self._passed_over = self._passed_over or not wanted
        elif wanted:
            self._batches.add(entry)

    def _items(self) -> Iterator[tuple[int, Task | Malformed]]:
        position = 0
        # One at a time, because only so the order of good and bad ones is known, and with it the
        # position.
        for batch in self._source.batches(1):
            for delivery in batch.deliveries:
                yield position, delivery.task
                position += 1
            for malformed in batch.malformed:
                yield position, malformed
                position += 1

    def _entry(self, position: int, item: Task | Malformed, *, told: bool) -> Entry | None:
        """Make the message of *item*; None: there can't be one, which is *told* then."""
        if isinstance(item, Malformed):
            problem = str(item)
        else:
            try:
                entry = Entry(position, item.task_id, message_of(item))
            except ValueError as error:
                problem = named(position, item.task_id, str(error))
            else:
                size, most = len(entry.body), self._limits.message_bytes
                if size <= most:
                    return entry
                problem = named(
                    position,
                    item.task_id,
                    f"is too large: {size:,} bytes, and a message can have {most:,}",
                )
        if told and self._tally.refuse(problem):
            self._complain(problem)
        return None


@contextlib.contextmanager
def _ticking(tick: Callable[[], None], period: float = 0.25) -> Iterator[None]:
    """Call *tick* now and then from a thread of its own."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(period):
            tick()

    thread = threading.Thread(target=run, name="cloud_tasks-linger", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        # It may be waiting for a queue that doesn't answer: we won't.
        over.set()
        raise
    over.set()
    thread.join()
