"""Turn an exception into text, even if its own methods and attributes fail.

    message_of    str(error), or <exception str() failed>
    traceback_of  what Python prints, or else, link by link of the chain, what can be had of it

A class of the user's may override anything: __str__, __cause__, __notes__, even __getattribute__.
So attributes are read past the class, from BaseException's own descriptors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

FAILED = "<exception str() failed>"
_CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
_DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
#: Links of a chain, and levels of groups, that are shown where Python's own text can't be had.
_DEEPEST = 20


class Interruption(BaseException):
    """The executor interrupts the running task; never recorded as the task's own exception."""


def name_of(error: BaseException) -> str:
    """Return the name of the class of *error*."""
    name: str = vars(type)["__name__"].__get__(type(error))
    return name


def message_of(error: BaseException) -> str:
    """Return ``str(error)``, or that it failed."""
    # A subclass of str may have methods of its own, too.
    return _attempt(lambda: str.__str__(str(error)), FAILED)


def frames_of(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error*."""
    frames: TracebackType | None = _own(error, "__traceback__")
    return frames


def traceback_of(error: BaseException, frames: TracebackType | None) -> str:
    """Return the traceback of *error* as Python prints it, with *frames* for its own."""
    import traceback

    text = _attempt(lambda: "".join(traceback.format_exception(type(error), error, frames)), "")
    text = text or _attempt(lambda: _by_links(error, frames, 0), "")
    if sys.version_info < (3, 11):
        text = text.replace(f"<unprintable {name_of(error)} object>", FAILED)
    return text or f"{name_of(error)}: {message_of(error)}\n"


def _by_links(error: BaseException, frames: TracebackType | None, depth: int) -> str:
    """Return the texts of the exceptions that led to *error*, of itself, and of its members."""
    import traceback

    text = ""
    cause = _own(error, "__cause__")
    context = None if _own(error, "__suppress_context__") else _own(error, "__context__")
    earlier = context if cause is None else cause
    if earlier is not None and depth < _DEEPEST:
        text = _by_links(earlier, frames_of(earlier), depth + 1)
        text += _DURING if cause is None else _CAUSED
    text += "Traceback (most recent call last):\n"
    text += _attempt(lambda: "".join(traceback.format_tb(frames)), "")
    text += f"{name_of(error)}: {message_of(error)}\n"
    group: Any = vars(sys.modules["builtins"]).get("BaseExceptionGroup")
    if group is not None and issubclass(type(error), group) and depth < _DEEPEST:
        for number, member in enumerate(vars(group)["exceptions"].__get__(error), 1):
            text += f"\nMember {number} of the group:\n\n"
            text += _by_links(member, frames_of(member), depth + 1)
    return text


def _own(error: BaseException, name: str) -> Any:
    return vars(BaseException)[name].__get__(error)


def _attempt(make: Callable[[], str], otherwise: str) -> str:
    """Return what *make* returns, or *otherwise* if it raises anything.

    Raises:
        Interruption: the executor ended the task meanwhile.
    """
    try:
        return make()
    except BaseException as error:
        if issubclass(type(error), Interruption):
            raise
        return otherwise
