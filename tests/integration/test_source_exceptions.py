"""Whatever leaves a task source, wherever and with every executor, fails the run with its words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from integration.jobs import Site, task

from cloud_tasks.errors import SourceError


class Own(BaseException):
    """An exception of the program that no ``except Exception`` catches."""


class Unprintable(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no words")


#: Each exception, and what the sentence says of it.
EXCEPTIONS: dict[str, tuple[Callable[[], BaseException], str]] = {
    "exit with words": (lambda: SystemExit("no answer"), "SystemExit: 'no answer'"),
    "exit with a code": (lambda: SystemExit(3), "SystemExit: '3'"),
    "exit with 0": (lambda: SystemExit(0), "SystemExit: '0'"),
    "exit": (lambda: SystemExit(None), "SystemExit"),
    "Ctrl-C": (lambda: KeyboardInterrupt("no answer"), "KeyboardInterrupt: 'no answer'"),
    "generator's exit": (lambda: GeneratorExit("no answer"), "GeneratorExit: 'no answer'"),
    "cancelled": (lambda: asyncio.CancelledError("no answer"), "CancelledError: 'no answer'"),
    "own": (lambda: Own("no answer"), "Own: 'no answer'"),
    "unprintable": (Unprintable, "Unprintable: '<exception str() failed>'"),
    "ordinary": (lambda: OSError("no answer"), "OSError: 'no answer'"),
}
#: Each place, and how many tasks have run by then.
PLACES = {"call": 0, "iter": 0, "first": 0, "middle": 2, "end": 4, "close": 2}
EXECUTORS = ["inline", "loky", "spawn", "forkserver"]


class Tasks:
    """An iterable of four tasks that raises at *place*."""

    def __init__(self, place: str, error: Callable[[], BaseException]) -> None:
        self.place = place
        self.error = error
        self.count = 0

    def fail_at(self, place: str) -> None:
        if place == self.place:
            raise self.error()

    def __call__(self) -> Tasks:
        self.fail_at("call")
        return self

    def __iter__(self) -> Tasks:
        self.fail_at("iter")
        return self

    def __next__(self) -> dict[str, Any]:
        self.fail_at({0: "first", 2: "middle", 4: "end"}.get(self.count, ""))
        if self.count == 4:
            raise StopIteration
        self.count += 1
        return task(f"t{self.count}", a=self.count)

    def close(self) -> None:
        self.fail_at("close")


def cells() -> Iterator[Any]:
    """Yield the cells of the table: all of them with ``inline``, and for the others the most common
    exception; the rest is slow.
    """
    for executor in EXECUTORS:
        for place in PLACES:
            for name in EXCEPTIONS:
                quick = executor == "inline" or (name == "exit with words" and place != "iter")
                marks = () if quick else pytest.mark.slow
                yield pytest.param(executor, place, name, marks=marks)


@pytest.mark.parametrize(("executor", "place", "name"), list(cells()))
def test_whatever_leaves_a_source_fails_the_run(
    site: Site, executor: str, place: str, name: str
) -> None:
    error, words = EXCEPTIONS[name]
    limit = ("--max-num-tasks", "2") if place == "close" else ()
    worker = site.worker(Tasks(place, error), *limit, executor=executor)
    with pytest.raises(SourceError, match="raised") as caught:
        worker.run()
    assert f"raised {words}" in str(caught.value)
    assert caught.value.summary is not None
    assert caught.value.summary.exit_code == 4
    assert caught.value.summary.completed == PLACES[place]
    assert site.types() == ["task_completed"] * PLACES[place] + ["fatal_exception"]
    assert f"raised {words}" in site.events()[-1]["exception"]
    assert type(error()).__name__ in site.events()[-1]["stack_trace"]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_the_program_ends_with_exit_code_4(
    site: Site, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    error, words = EXCEPTIONS[name]
    with pytest.raises(SystemExit) as caught:
        site.worker(Tasks("middle", error)).main()
    assert caught.value.code == 4
    assert f"raised {words} after 2 entries" in capfd.readouterr().err


@pytest.mark.parametrize("executor", ["inline", "loky"])
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_beside_an_event_loop_too(site: Site, name: str, executor: str) -> None:
    error, words = EXCEPTIONS[name]
    worker = site.worker(Tasks("middle", error), executor=executor)
    with pytest.raises(SourceError) as caught:
        asyncio.run(worker.start())
    assert f"raised {words}" in str(caught.value)
    assert site.types() == ["task_completed"] * 2 + ["fatal_exception"]
