"""What a process does at its end, without the rest of what Python does there.

Python takes all its modules apart, which costs a forked process several times as much as its
whole life. This runs what was registered with ``atexit``, and nothing else.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _F = TypeVar("_F", bound=Callable[..., Any])
    _Entry = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ExitWork:
    """Stands in for ``atexit`` in this process and in those that it forks."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def take_over(self) -> None:
        """Have everybody register here who from now on asks the module."""
        # A process that ends as any other does comes here, too.
        atexit.register(self.run)
        atexit.register = self.register
        atexit.unregister = self.unregister

    def begin_anew(self) -> None:
        """Forget what was registered: it is the work of the process that this one was forked from.

        A folder that was made once must not be removed by everybody.
        """
        self._entries.clear()

    def register(self, func: _F, /, *args: Any, **kwargs: Any) -> _F:
        """Do as ``atexit.register`` does."""
        if not callable(func):
            raise TypeError("the first argument must be callable")
        self._entries.append((func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., Any], /) -> None:
        """Do as ``atexit.unregister`` does."""
        self._entries = [entry for entry in self._entries if entry[0] != func]

    def run(self) -> None:
        """Call all that is registered, the last first; what one raises is printed."""
        while self._entries:
            func, args, kwargs = self._entries.pop()
            try:
                func(*args, **kwargs)
            except BaseException:  # noqa: BLE001 - the user's functions, and no reason to stop here
                with contextlib.suppress(Exception):
                    sys.excepthook(*sys.exc_info())
