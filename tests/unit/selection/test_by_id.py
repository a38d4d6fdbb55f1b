"""Running just the tasks of some ids."""

from __future__ import annotations

import pytest
from fakes import FakeClock, Source

from cloud_tasks.errors import SourceError
from cloud_tasks.runtime.intake import Intake
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.selection.by_id import SelectByTaskId
from cloud_tasks.task import Delivery, Task


def taken(
    source: list[str],
    wanted: list[str],
    *,
    until_found: bool = False,
    skip: int = 0,
    most: int | None = None,
    n: int = 2,
) -> list[int]:
    """Return the positions of the tasks that are run."""
    found: list[Delivery] = []
    stream = Source(
        [Delivery(Task(name, {}), receipt=at) for at, name in enumerate(source)], requeues=False
    )
    stream.total = len(source)
    selection = SelectByTaskId(wanted, until_found=until_found)
    intake = Intake(stream, Stats(FakeClock()), skip=skip, limit=most, selection=selection)
    intake.begin(lambda: False)
    assert intake.expected() is None
    while not intake.ended:
        found += intake.receive(n)[0]
    intake.finish()
    return [delivery.receipt for delivery in found]


def complaint(source: list[str], *wanted: str, skip: int = 0) -> str:
    with pytest.raises(SourceError) as caught:
        taken(source, list(wanted), skip=skip)
    return str(caught.value)


@pytest.mark.parametrize("n", [1, 2, 100])
def test_runs_every_task_of_the_ids_in_the_order_of_the_source(n: int) -> None:
    assert taken(["a", "b", "c", "a", "d"], ["c", "a", "a"], n=n) == [0, 2, 3]


@pytest.mark.parametrize("n", [1, 2, 100])
def test_an_endless_source_is_read_until_each_was_found(n: int) -> None:
    source = ["a", "b", "c", "b", "a"] + ["z"] * 1000
    found = taken(source, ["b", "c"], until_found=True, n=n)
    assert found[:2] == [1, 2]
    assert set(found) <= {1, 2, 3}


def test_what_was_found_after_the_limit_is_not_missed() -> None:
    assert taken(["a", "b", "c", "d"], ["b", "d"], most=1) == [1]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("img-00421", "img-0042"),
        ("img-042", "img-0042"),
        ("IMG-0042", "img-0042"),
        ("imb-0042", "img-0042"),
        ("flat_3 ", "flat_3"),
        ("dark", "dark.fits"),
        ("Caf\u00e9", "caf\u00e9"),
    ],
)
def test_an_id_that_is_missing_is_named_with_the_one_that_was_meant(
    wanted: str, meant: str
) -> None:
    source = ["img-0042", "flat_3", "dark.fits", "caf\u00e9", "other", "x"]
    said = complaint(source, "other", wanted)
    assert said == f"there is no task of the id {wanted!r} (did you mean {meant!r}?) (--task-id)"


def test_an_id_like_no_other_is_just_named() -> None:
    assert complaint(["a", "b"], "zebra") == "there is no task of the id 'zebra' (--task-id)"


def test_of_many_missing_ids_some_are_named_and_the_rest_counted() -> None:
    said = complaint(["a"], *(f"{n}{n}" for n in range(12)))
    assert "ids '00', '11', '22', '33', '44', and 7 more" in said


def test_that_tasks_were_skipped_is_said() -> None:
    said = complaint(["a", "b", "c"], "a", skip=2)
    assert "after the first 2, which --tasks-to-skip left out" in said


def test_ids_of_other_people_neither_flood_nor_forge_the_message() -> None:
    said = complaint(["a\nb\x1b[2J", "y" * 500], "a\nb\x1b[2", "x" * 10_000)
    assert said.isprintable()
    assert len(said) < 400


def test_what_was_meant_is_found_among_very_many_that_are_alike() -> None:
    selection = SelectByTaskId(["frame-1995421"], until_found=False)
    for n in range(200_000):
        selection.choose([Delivery(Task(f"frame-{n:06}", {}))])
    with pytest.raises(SourceError, match=r"did you mean 'frame-199542'\?"):
        selection.finish(0)
