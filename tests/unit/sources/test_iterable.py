"""Tasks from a function: lazily, one at a time, with its errors told as what they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.iterable import IterableSource
from cloud_tasks.task import Task
from cloud_tasks.testing.source_contract import drain


def entry(number: int) -> dict[str, Any]:
    return {"task_id": f"t{number}", "data": {"n": number}}


def test_the_function_is_called_once_and_not_before_open() -> None:
    calls: list[int] = []

    def factory() -> list[dict[str, Any]]:
        calls.append(1)
        return [entry(0)]

    source = IterableSource(factory)
    assert calls == []
    assert drain(source).ids == ["t0"]
    assert calls == [1]


def test_an_endless_generator_is_asked_for_one_task_at_a_time() -> None:
    asked = itertools.count()
    source = IterableSource(lambda: (entry(next(asked)) for _ in itertools.count()))
    source.open()
    assert [d.task.task_id for d in source.receive(10).deliveries] == ["t0"]
    assert [d.task.task_id for d in source.receive(10).deliveries] == ["t1"]
    assert next(asked) == 2
    source.close()


def test_a_list_gives_as_many_as_are_asked_for() -> None:
    source = IterableSource(lambda: [entry(i) for i in range(5)])
    source.open()
    assert len(source.receive(3).deliveries) == 3
    last = source.receive(3)
    assert (len(last.deliveries), last.ended) == (2, True)


def test_the_length_is_the_total_where_there_is_one() -> None:
    known, unknown = IterableSource(lambda: [entry(0)]), IterableSource(lambda: iter([entry(0)]))
    for source in (known, unknown):
        source.open()
        source.close()
    assert (known.total, unknown.total) == (1, None)


def test_a_length_that_can_not_be_told_does_no_harm() -> None:
    class Odd:
        def __len__(self) -> int:
            raise RuntimeError

        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter([entry(0)])

    assert drain(IterableSource(Odd)).ids == ["t0"]


def test_data_may_hold_any_object() -> None:
    thing = object()
    (task,) = drain(IterableSource(lambda: [{"task_id": 5, "data": {"x": thing}}])).tasks
    assert task == Task("5", {"x": thing})


def test_an_entry_that_is_no_task_is_named_by_its_number() -> None:
    drained = drain(IterableSource(lambda: iter([entry(0), 5, entry(1)])))
    assert drained.ids == ["t0", "t1"]
    assert [str(m) for m in drained.malformed] == [
        "entry 2: is a number, not a mapping with 'task_id' and 'data'"
    ]


def test_a_generator_that_raises_is_an_error_after_what_it_gave() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield entry(0)
        raise KeyError("col\x1b\n")

    drained = drain(IterableSource(broken))
    assert drained.ids == ["t0"]
    assert "broken raised KeyError: " in str(drained.error)
    assert str(drained.error).endswith(" after 1 entry")
    assert "\x1b" not in str(drained.error)
    assert isinstance(drained.error, SourceError)
    assert isinstance(drained.error.__cause__, KeyError)


def test_a_function_that_raises_is_an_error() -> None:
    def broken() -> list[Any]:
        raise OSError

    drained = drain(IterableSource(broken))
    assert str(drained.error).endswith("broken raised OSError")
    assert isinstance(drained.error, SourceError)
    assert isinstance(drained.error.__cause__, OSError)


def test_an_error_stays_an_error() -> None:
    def broken() -> Iterator[Any]:
        yield from ()
        raise OSError

    source = IterableSource(broken)
    source.open()
    for _ in range(2):
        with pytest.raises(SourceError):
            source.receive(1)


@pytest.mark.parametrize("result", [None, 5, "text", b"bytes", {"task_id": "t", "data": {}}])
def test_a_result_that_is_no_iterable_of_tasks_is_an_error(result: Any) -> None:
    drained = drain(IterableSource(lambda: result))
    assert f"returned an object of type {type(result).__name__}, not an" in str(drained.error)


def test_a_coroutine_function_is_an_error_and_nothing_else() -> None:
    async def factory() -> list[Any]:
        return []

    assert "of type coroutine" in str(drain(IterableSource(factory)).error)  # type: ignore[arg-type]


def test_an_asynchronous_generator_is_an_error() -> None:
    async def factory() -> Any:
        yield entry(0)

    assert "of type async_generator" in str(drain(IterableSource(factory)).error)


def test_closing_runs_the_clean_up_of_the_generator() -> None:
    cleaned: list[int] = []

    def factory() -> Iterator[dict[str, Any]]:
        try:
            yield entry(0)
            yield entry(1)
        finally:
            cleaned.append(1)

    source = IterableSource(factory)
    source.open()
    source.receive(1)
    source.close()
    source.close()
    assert cleaned == [1]


def test_a_clean_up_that_raises_is_an_error_of_the_source() -> None:
    def factory() -> Iterator[dict[str, Any]]:
        try:
            yield entry(0)
            yield entry(1)
        finally:
            raise OSError("boom")

    source = IterableSource(factory)
    source.open()
    source.receive(1)
    with pytest.raises(SourceError, match="raised OSError: 'boom' after 1 entry"):
        source.close()
    source.close()  # the second time there is nothing left to do


def test_a_mapping_that_raises_is_an_error_of_the_source() -> None:
    class Odd(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            raise RuntimeError("odd")

    assert "raised RuntimeError: 'odd'" in str(drain(IterableSource(lambda: [Odd()])).error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit("no answer"), "SystemExit: 'no answer'"),
        (SystemExit(3), "SystemExit: '3'"),
        (SystemExit(), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration("early"), "StopIteration: 'early'"),
    ],
)
def test_no_exception_of_an_entry_is_the_end(error: BaseException, words: str) -> None:
    class Lazy(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            raise error

    drained = drain(IterableSource(lambda: iter([entry(0), Lazy(), entry(2)])))
    assert drained.ids == ["t0"]
    assert str(drained.error).endswith(f"raised {words} after 2 entries")


def test_a_type_error_of_iter_is_told_as_what_it_is() -> None:
    class Odd:
        def __iter__(self) -> Iterator[Any]:
            raise TypeError("no connection")

    assert "raised TypeError: 'no connection'" in str(drain(IterableSource(Odd)).error)


def test_only_an_ordinary_exception_of_a_length_does_no_harm() -> None:
    class Odd:
        def __len__(self) -> int:
            raise SystemExit("gone")

        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter([entry(0)])

    assert "raised SystemExit: 'gone'" in str(drain(IterableSource(Odd)).error)


def test_an_exception_without_words_is_named() -> None:
    class WordlessError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def broken() -> list[Any]:
        raise WordlessError

    assert "WordlessError: '<exception str() failed>'" in str(drain(IterableSource(broken)).error)
