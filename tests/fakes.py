"""Parts for tests of the run: real interfaces, everything remembered."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor as ForeignExecutor
from typing import Any

from cloud_tasks.clock import Clock
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.executors.base import LocalFlags
from cloud_tasks.executors.foreign import FuturesExecutor
from cloud_tasks.outcome import Outcome
from cloud_tasks.sources.base import Limits, TaskSource
from cloud_tasks.task import Batch, Delivery, Malformed, Task


def deliveries(count: int) -> list[Delivery]:
    """Make so many, named ``t0`` and so on."""
    return [Delivery(Task(f"t{n}", {"n": n}), receipt=n, attempt=1) for n in range(count)]


class FakeClock(Clock):
    """Stands still unless told otherwise; both clocks go apart as a test likes."""

    def __init__(self, wall: float = 1_000_000_000.0) -> None:
        self.now = 100.0
        self.today = wall

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.today


class FastClock(Clock):
    """A second of ours is many of the worker's."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def monotonic(self) -> float:
        return super().monotonic() * self._factor


class Source(TaskSource):
    """Gives *items* and takes tasks back; ``log`` tells what it was asked and told, in order."""

    def __init__(
        self,
        items: Iterable[Delivery | Malformed],
        *,
        requeues: bool = True,
        log: list[str] | None = None,
        error: Exception | None = None,
    ) -> None:
        self.limits = Limits(requeues=requeues)
        self._items = list(items)
        self._error = error
        self.log = [] if log is None else log
        self.released: list[str] = []
        self.acked: list[str] = []
        self.aside: list[str] = []
        self.dead: list[str] = []
        self.delays: list[float] = []
        self.drained = threading.Event()
        self.asked: list[int] = []
        self.closed = False

    def open(self) -> None:
        self.log.append("open")

    def receive(self, n: int) -> Batch:
        self.asked.append(n)
        taken, self._items = self._items[:n], self._items[n:]
        if not taken and self._error is not None:
            raise self._error
        return Batch(
            tuple(item for item in taken if isinstance(item, Delivery)),
            tuple(item for item in taken if isinstance(item, Malformed)),
            ended=not self._items and self._error is None,
        )

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.acked += [d.task.task_id for d in deliveries]
        self.log += [f"ack {d.task.task_id}" for d in deliveries]

    def release(self, deliveries: Sequence[Delivery], *, delay: float = 0.0) -> None:
        self.released += [d.task.task_id for d in deliveries]
        self.delays += [delay] * len(deliveries)
        self.log += [f"release {d.task.task_id}" for d in deliveries]

    def dead_letter(self, items: Sequence[Delivery | Malformed]) -> None:
        names = [i.task.task_id if isinstance(i, Delivery) else i.position for i in items]
        self.dead += names
        self.log += [f"dead {name}" for name in names]

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        self.aside += [d.task.task_id for d in deliveries]

    def drain(self, *, now: bool = False) -> None:
        self.drained.set()

    def close(self) -> None:
        self.closed = True


class Sink(EventSink):
    """Remembers lines; refuses the next *failures* writes, for ever if that is infinite."""

    def __init__(self, log: list[str] | None = None, *, failures: float = 0) -> None:
        self.lines: list[bytes] = []
        self.failures = failures
        self.refused = 0
        self._log = [] if log is None else log
        self._lock = threading.Lock()

    def open(self) -> None:
        self._log.append("open sink")

    def write(self, lines: list[bytes]) -> None:
        assert self._lock.acquire(blocking=False), "two threads write at once"
        try:
            if self.failures > 0:
                self.failures -= 1
                self.refused += 1
                raise EventLogError("the sink refuses")
            self.lines += lines
            self._log += ["event"] * len(lines)
        finally:
            self._lock.release()

    def close(self) -> None:
        self._log.append("close sink")


class Shutdowns(FuturesExecutor):
    """Remembers how it was shut down: after how many seconds, and whether running tasks as well."""

    def __init__(self, pool: ForeignExecutor) -> None:
        super().__init__(pool)
        self.graces: list[float] = []
        self.flags: LocalFlags = LocalFlags()

    def shutdown(self, *, grace: float = 0.0, **keywords: Any) -> None:
        self.graces.append(grace)
        super().shutdown(grace=grace, **keywords)


def forget(delivery: Delivery, outcome: Outcome) -> None:
    """Ignore an outcome."""
