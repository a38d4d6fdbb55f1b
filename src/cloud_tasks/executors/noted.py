"""Noting that somebody has called a function, for much less than looking at what it changed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Noted:
    """Functions of modules that from now on note each call, and do what they did."""

    def __init__(self, *functions: tuple[ModuleType, str]) -> None:
        self._called = False
        for module, name in functions:
            function = getattr(module, name, None)
            if function is not None:  # not on every platform
                setattr(module, name, self._noting(function))

    def taken(self) -> bool:
        """Tell whether one of them was called since this was last asked."""
        # In this order: what a thread does meanwhile is told the next time.
        called, self._called = self._called, False
        return called

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **keywords: Any) -> Any:
            # First: an alarm may end the call.
            self._called = True
            return function(*args, **keywords)

        return noting
