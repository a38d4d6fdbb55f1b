"""Read tasks from a function of the program that returns an iterable, such as a generator."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.base import SourceInterrupted
from cloud_tasks.sources.entries import Item, raised, to_item
from cloud_tasks.sources.stream import StreamSource

#: Iterable, but not of tasks.
_NO_TASKS = (str, bytes, bytearray, memoryview, Mapping)
#: Stands for the end of an iterator: a StopIteration that comes from anywhere else is an error.
_END: Any = object()


class IterableSource(StreamSource):
    """Source of the tasks that a function of the program yields, each read when it is needed.

    The function is called once, by ``open``; its result may be endless. The items are mappings
    with ``task_id`` and ``data``, or :class:`~cloud_tasks.task.Task`; values in ``data`` may be
    any objects.
    """

    def __init__(self, factory: Callable[[], Iterable[Any]]) -> None:
        super().__init__()
        self._factory = factory
        self._name = getattr(factory, "__qualname__", type(factory).__qualname__)
        self._iterator: Iterator[Any] | None = None
        self._count = 0

    def __str__(self) -> str:
        return f"the tasks of {self._name}"

    def _begin(self) -> Iterator[Item]:
        try:
            result = self._factory()
            if isinstance(result, Coroutine):
                result.close()  # else Python warns that it was never awaited
            tasks = None if isinstance(result, _NO_TASKS) else self._iterate(result)
        except SourceInterrupted:
            raise
        except BaseException as error:
            raise self._error(error) from error
        if tasks is None:
            raise SourceError(
                f"the task source {self._name} returned an object of type "
                f"{type(result).__name__}, not an iterable of tasks: "
                "yield mappings with 'task_id' and 'data'"
            )
        # Any other iterable may block before its next item.
        self._live = not isinstance(result, (list, tuple))
        return self._read(tasks)

    def _iterate(self, result: Any) -> Iterator[Any] | None:
        """Return an iterator over *result*; None if it is not iterable."""
        # Asked beforehand, because a TypeError of its own __iter__ is another mistake.
        if not (hasattr(type(result), "__iter__") or hasattr(type(result), "__getitem__")):
            return None
        self._iterator = iter(result)
        self.total = _length(result)
        return self._iterator

    def _read(self, iterator: Iterator[Any]) -> Iterator[Item]:
        while True:
            try:
                value = next(iterator, _END)
                if value is _END:
                    return
                self._count += 1
                # Within the try, because a mapping of the program's own class may raise as well.
                item = to_item(value, self._position)
            except SourceInterrupted:
                raise
            except BaseException as error:
                raise self._error(error) from error
            yield item

    def _position(self) -> str:
        return f"entry {self._count}"

    def _error(self, error: BaseException) -> SourceError:
        noun = "entry" if self._count == 1 else "entries"
        after = f" after {self._count} {noun}" if self._count else ""
        return SourceError(f"the task source {self._name} raised {raised(error)}{after}")

    def _dispose(self) -> None:
        iterator, self._iterator = self._iterator, None
        try:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            raise self._error(error) from error


def _length(result: object) -> int | None:
    try:
        return len(result)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the user's __len__; the length is only for the display
        return None
