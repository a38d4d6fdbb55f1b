"""Read tasks from a function of the program that returns an iterable, such as a generator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.entries import Item, shown, to_item
from cloud_tasks.sources.stream import StreamSource

_log = logging.getLogger(__name__)


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
        except Exception as error:
            raise self._error(error) from error
        if isinstance(result, Coroutine):
            result.close()  # else Python warns that it was never awaited
        if isinstance(result, (str, bytes, bytearray, memoryview, Mapping)):
            raise self._not_iterable(result)
        try:
            self._iterator = iter(result)
        except TypeError as error:
            raise self._not_iterable(result) from error
        except Exception as error:
            raise self._error(error) from error
        self.total = _length(result)
        # Any other iterable may block before its next item.
        self._live = not isinstance(result, (list, tuple))
        return self._read(self._iterator)

    def _read(self, iterator: Iterator[Any]) -> Iterator[Item]:
        while True:
            try:
                value = next(iterator)
                self._count += 1
                # Within the try, because a mapping of the program's own class may raise as well.
                item = to_item(value, self._position)
            except StopIteration:
                return
            except Exception as error:
                raise self._error(error) from error
            yield item

    def _position(self) -> str:
        return f"entry {self._count}"

    def _error(self, error: Exception) -> SourceError:
        noun = "entry" if self._count == 1 else "entries"
        after = f" after {self._count} {noun}" if self._count else ""
        detail = f": {shown(str(error), 300)}" if str(error) else ""
        return SourceError(
            f"the task source {self._name} raised {type(error).__name__}{detail}{after}"
        )

    def _not_iterable(self, result: object) -> SourceError:
        return SourceError(
            f"the task source {self._name} returned an object of type {type(result).__name__}, "
            "not an iterable of tasks: yield mappings with 'task_id' and 'data'"
        )

    def _dispose(self) -> None:
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception:  # noqa: BLE001 - logged with its traceback
            # A failure of the program's clean-up does not spoil the tasks that came before.
            _log.warning("closing the task source %s raised", self._name, exc_info=True)


def _length(result: object) -> int | None:
    try:
        return len(result)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - the user's __len__; the length is only for the display
        return None
