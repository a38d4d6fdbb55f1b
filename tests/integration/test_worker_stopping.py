from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from integration.jobs import Site, additions, task

from cloud_tasks.summary import StopReason
from cloud_tasks.termination.base import Notice, SimulatedProbe
from cloud_tasks.testing import eventually
from cloud_tasks.worker import build

pytestmark = pytest.mark.interpreter

SPOT = "--simulate-spot-termination-after"
DELAY = "--simulate-spot-termination-delay"
#: Seconds in which a task has started, on a machine with other things to do.
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _nothing_ignored() -> Iterator[None]:
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def _notice_after_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time until a simulated notice begin when the first task does, however late."""

    class Patient(SimulatedProbe):
        def wait(self, stop: threading.Event) -> Notice | None:
            eventually(lambda: site.started or stop.is_set(), PATIENCE)
            return super().wait(stop)

    monkeypatch.setattr(build, "SimulatedProbe", Patient)


def meanwhile(site: Site, action: Callable[[], object]) -> threading.Thread:
    """Do *action* in another thread when the first task has started."""

    def work() -> None:
        eventually(lambda: site.started, PATIENCE)
        action()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_the_event_loop_goes_on_while_tasks_run(site: Site) -> None:
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(len(site.ids()))
            if site.started and len(ticks) > 20:
                site.release()
            await asyncio.sleep(0.005)

    async def program() -> int:
        ticking = asyncio.create_task(tick())
        summary = await site.worker([site.hold("t0")], executor="loky").start()
        ticking.cancel()
        return summary.completed

    assert asyncio.run(program()) == 1
    assert len(ticks) > 20


def test_cancelling_the_start_kills_what_runs_and_raises_again(site: Site) -> None:
    async def program() -> None:
        worker = site.worker([site.hold("t0"), *additions(3)], executor="loky")
        running = asyncio.create_task(worker.start())
        while not site.started:
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(program())
    assert site.types() == ["task_aborted"]


def test_stop_lets_what_runs_finish_and_starts_nothing_more(site: Site) -> None:
    worker = site.worker([site.watch("t0"), *additions(3)], executor="loky")
    stopper = meanwhile(site, lambda: worker.stop("enough"))
    summary = worker.run()
    stopper.join()
    assert (summary.stop_reason, summary.exit_code) == (StopReason.REQUESTED, 0)
    assert [(e["task_id"], e["result"]) for e in site.events()] == [("t0", [True, False])]


def test_stop_now_kills(site: Site) -> None:
    worker = site.worker([site.hold("t0"), *additions(3)], executor="loky")
    stopper = meanwhile(site, lambda: worker.stop(now=True))
    summary = worker.run()
    stopper.join()
    assert (summary.aborted, summary.exit_code) == (1, 1)
    (event,) = site.events()
    assert (event["event_type"], event["retry"]) == ("task_aborted", True)
    assert event["reason"]


def test_a_stop_before_the_start_is_a_stop(site: Site) -> None:
    worker = site.worker(additions(3))
    worker.stop()
    assert worker.run().ended == 0
    worker.stop("long over")


def test_after_the_grace_period_what_runs_is_aborted(site: Site) -> None:
    for executor in ("inline", "loky"):
        hold = [site.hold("t0"), task("t1")]
        worker = site.worker(hold, "--shutdown-grace-period", "0.2", executor=executor)
        stopper = meanwhile(site, worker.stop)
        assert worker.run().aborted == 1
        stopper.join()
        assert "grace" in site.events()[0]["reason"]
        (site.folder / "started").unlink()
        site.log.unlink()


@pytest.mark.parametrize("executor", ["inline", "loky"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_what_runs_finish(
    site: Site, executor: str, number: signal.Signals, code: int
) -> None:
    before = signal.getsignal(number)
    sender = meanwhile(site, lambda: os.kill(os.getpid(), number))
    worker = site.worker([site.watch("t0"), *additions(3)], executor=executor)
    with pytest.raises(SystemExit) as caught:
        worker.main()
    sender.join()
    assert caught.value.code == code
    assert [event["result"] for event in site.events()] == [[True, False]]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_a_second_signal_kills(site: Site, executor: str) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        eventually(lambda: site.asked, PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    sender = meanwhile(site, twice)
    worker = site.worker([site.hold("t0"), *additions(3)], executor=executor)
    summary = worker.run()
    sender.join()
    assert (summary.aborted, summary.exit_code) == (1, 130)
    assert site.types() == ["task_aborted"]


def test_inline_a_generator_that_blocks_is_interrupted(site: Site) -> None:
    def blocks() -> Iterator[dict[str, Any]]:
        yield task("t0", a=1)
        (site.folder / "started").touch()
        threading.Event().wait(30)

    sender = meanwhile(site, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert site.worker(blocks).run().exit_code == 130
    sender.join()
    assert site.ids() == ["t0"]


@pytest.mark.usefixtures("_notice_after_start")
@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_a_simulated_notice_is_seen_and_kills_nothing(site: Site, executor: str) -> None:
    worker = site.worker([site.watch("t0"), *additions(3)], SPOT, "0.1", executor=executor)
    summary = worker.run()
    assert (summary.stop_reason, summary.exit_code) == (StopReason.SPOT, 75)
    assert sorted(site.types()) == ["spot_termination", "task_completed"]
    (told,) = [event["result"] for event in site.events() if "result" in event]
    assert told == [False, True]


@pytest.mark.usefixtures("_notice_after_start")
@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_a_simulated_notice_kills_after_its_delay(site: Site, executor: str) -> None:
    hold = [site.hold("t0"), *additions(3)]
    summary = site.worker(hold, SPOT, "0.1", DELAY, "0.2", executor=executor).run()
    assert (summary.aborted, summary.exit_code) == (1, 75)
    assert site.types() == ["spot_termination", "task_aborted"]


def test_inline_the_time_limit_interrupts_python(site: Site) -> None:
    tasks = [task("slow", do="sleep", seconds=50), task("t1", a=1)]
    # The second task must not meet the limit even if nobody lets it run for a while.
    summary = site.worker(tasks, "--max-runtime", "5").run()
    assert (summary.timed_out, summary.completed) == (1, 1)
    assert site.types() == ["task_timed_out", "task_completed"]


def test_inline_a_task_can_run_an_event_loop_of_its_own(site: Site) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    def function(task_id: str, data: dict[str, Any], worker_data: Any) -> Any:
        return False, asyncio.run(answer())

    assert asyncio.run(site.worker(additions(2), function=function).start()).completed == 2
    assert [event["result"] for event in site.events()] == [42, 42]
