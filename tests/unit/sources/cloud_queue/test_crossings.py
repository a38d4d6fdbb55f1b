"""What crosses on its way: one thread settles while another extends, receives or closes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from unit.sources.cloud_queue.queue_bench import Bench, closing, ids

from cloud_tasks.errors import QueueError
from cloud_tasks.task import Batch
from cloud_tasks.testing import eventually
from cloud_tasks.testing.source_contract import receive


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    # Leases are checked often, however long they are.
    monkeypatch.setattr("cloud_tasks.sources.cloud_queue.leases.MAX_CHECK_INTERVAL", 0.1)
    yield from closing(Bench())


class Barrier:
    """Holds requests of one operation until they may go on."""

    def __init__(self, bench: Bench, operation: str) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._operation = operation
        bench.server.trouble = self._look

    def _look(self, name: str, operation: str) -> QueueError | None:
        if operation == self._operation:
            self.reached.set()
            assert self.open.wait(50)
        return None


def in_background(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


@pytest.mark.parametrize("settle", ["ack", "release"])
def test_nothing_is_settled_while_it_is_being_extended(
    bench: Bench, caplog: pytest.LogCaptureFixture, settle: str
) -> None:
    bench.load({})
    source = bench.source(lease=60.0)
    held = receive(source, 1)
    source.drain()  # or it would receive again what it gives back
    extending = Barrier(bench, "extend")
    bench.pass_time(40.0)
    assert extending.reached.wait(20)
    settling = in_background(lambda: getattr(source, settle)(held))
    settling.join(0.3)
    assert bench.split() == (0, 1)
    extending.open.set()
    settling.join(20)
    assert bench.split() == ((0, 0) if settle == "ack" else (1, 0))
    source.close()
    assert caplog.text == ""  # it doesn't say that the lease was lost


def test_an_extension_that_takes_for_ever_keeps_nobody_longer_than_the_lease(
    bench: Bench,
) -> None:
    bench.load({})
    source = bench.source(lease=60.0)
    held = receive(source, 1)
    extending = Barrier(bench, "extend")
    bench.pass_time(59.5)
    assert extending.reached.wait(20)
    in_background(lambda: source.ack(held)).join(20)
    assert bench.requests["ack"] == 1
    extending.open.set()


def test_closing_waits_for_what_another_thread_gives_back(bench: Bench) -> None:
    bench.load({})
    source = bench.source()
    held = receive(source, 1)
    source.drain()
    eventually(lambda: "cloud_tasks-receive" not in {t.name for t in threading.enumerate()})
    releasing = Barrier(bench, "release")
    other = in_background(lambda: source.release(held))
    assert releasing.reached.wait(20)
    closing_it = in_background(source.close)
    closing_it.join(0.3)
    assert closing_it.is_alive()
    releasing.open.set()
    other.join(20)
    closing_it.join(20)
    assert bench.split() == (1, 0)


def test_a_close_that_waits_hears_of_a_hurry(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_tasks.sources.cloud_queue.source.CLOSE_TIMEOUT", 60.0)
    source = bench.source()
    receiving = Barrier(bench, "receive")
    waiting = in_background(lambda: source.receive(1))
    assert receiving.reached.wait(20)
    closing_it = in_background(source.close)
    closing_it.join(0.3)
    assert closing_it.is_alive()
    source.drain(now=True)
    closing_it.join(30)
    assert not closing_it.is_alive()
    receiving.open.set()
    waiting.join(20)


def test_what_is_being_settled_keeps_a_worker_from_being_idle(bench: Bench) -> None:
    bench.load({})
    source = bench.source(idle=0.2)
    held = receive(source, 1)
    settling = Barrier(bench, "ack")
    other = in_background(lambda: source.ack(held))
    assert settling.reached.wait(20)
    batches: list[Batch] = []
    waiting = in_background(lambda: batches.append(source.receive(1)))
    asked = bench.requests["receive"]
    eventually(lambda: bench.requests["receive"] > asked + 3)
    assert waiting.is_alive()
    settling.open.set()
    waiting.join(20)
    other.join(20)
    assert batches == [Batch(ended=True)]


def test_a_delayed_try_of_its_own_is_waited_for() -> None:
    for bench in closing(Bench(real=True)):
        bench.load({})
        source = bench.source(idle=0.2)
        source.release(receive(source, 1), delay=1.5)
        assert ids(receive(source, 1)) == ["t0"]


def test_large_tasks_are_not_hoarded(bench: Bench) -> None:
    bench.mean_time = 0.01
    bench.load(*[{"text": "x" * 900_000}] * 40)
    source = bench.source()
    source.receive(0)
    eventually(lambda: bench.split() == (20, 20))
    source.ack(receive(source, 10))
    eventually(lambda: bench.split() == (10, 20))
    assert bench.requests["receive"] == 3
