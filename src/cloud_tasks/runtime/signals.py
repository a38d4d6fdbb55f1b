"""Hearing signals while a run lasts, and only then."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from cloud_tasks.summary import StopReason

#: What each signal asks for; a terminal that goes away is as good as SIGTERM.
_REASONS = {
    name: reason
    for name, reason in (
        ("SIGINT", StopReason.SIGINT),
        ("SIGTERM", StopReason.SIGTERM),
        ("SIGHUP", StopReason.SIGTERM),
    )
    if hasattr(signal, name)
}


@contextlib.contextmanager
def heard(on_signal: Callable[[StopReason], None]) -> Iterator[None]:
    """Call *on_signal* in the main thread for each stop signal; put the old handlers back.

    Off the main thread nothing is installed. A signal that was ignored before, as under
    ``nohup``, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name, reason in _REASONS.items():
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _handler(on_signal, reason))
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by C code, which Python can't put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _handler(
    on_signal: Callable[[StopReason], None], reason: StopReason
) -> Callable[[int, FrameType | None], None]:
    return lambda number, frame: on_signal(reason)
