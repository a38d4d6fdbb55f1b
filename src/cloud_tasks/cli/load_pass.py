"""One pass through a source of tasks, into a queue."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator

from cloud_tasks.cli.entries import Entry, Tally, message_of, named
from cloud_tasks.cli.loaded import Loaded
from cloud_tasks.cli.sending import Batches, Target
from cloud_tasks.errors import ConfigurationError, SourceError
from cloud_tasks.queues.base import QueueLimits
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Malformed, Task

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
        while True:
            # One at a time, because only so the order of good and bad ones is known, and with
            # it the position.
            batch = self._source.receive(1)
            for delivery in batch.deliveries:
                yield position, delivery.task
                position += 1
            for malformed in batch.malformed:
                yield position, malformed
                position += 1
            if batch.ended:
                return

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
