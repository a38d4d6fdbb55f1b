from __future__ import annotations

import threading

import pytest

from cloud_tasks.termination.base import Notice, SimulatedProbe


@pytest.mark.parametrize("delay", [None, 0.0, 5.0])
def test_the_notice_comes_when_it_was_ordered(delay: float | None) -> None:
    assert SimulatedProbe(0.01, delay).wait(threading.Event()) == Notice("simulated", delay)


def test_whoever_stops_it_is_not_kept_waiting() -> None:
    stop = threading.Event()
    answers: list[Notice | None] = []
    waiting = threading.Thread(target=lambda: answers.append(SimulatedProbe(60, None).wait(stop)))
    waiting.start()
    stop.set()
    waiting.join(20)
    assert answers == [None]
