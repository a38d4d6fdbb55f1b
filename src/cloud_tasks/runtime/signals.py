"""Handle stop signals for the duration of a run, and restore the old handlers afterwards."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from cloud_tasks.sources.base import SourceInterrupted
from cloud_tasks.summary import StopReason

#: The stop reason for each signal; the hang-up of a terminal counts as SIGTERM.
_REASONS = {
    "SIGINT": StopReason.SIGINT,
    "SIGTERM": StopReason.SIGTERM,
    "SIGHUP": StopReason.SIGTERM,  # not on every platform
}


@contextlib.contextmanager
def signal_handlers(
    on_signal: Callable[[StopReason], None], blocked_in_source: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Call *on_signal* in the main thread for each stop signal, until the context ends.

    In another thread than the main one this does nothing. A signal that was ignored before, as
    under ``nohup``, stays ignored.

    Args:
        on_signal: called in the handler, so it must not wait for a lock.
        blocked_in_source: asked after it; if it returns True, the handler raises
            :class:`~cloud_tasks.sources.base.SourceInterrupted`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    reasons = {getattr(signal, name): r for name, r in _REASONS.items() if hasattr(signal, name)}

    def handle(number: int, frame: FrameType | None) -> None:
        on_signal(reasons[number])
        if blocked_in_source():
            raise SourceInterrupted

    before = {}
    for number in reasons:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by C code, which Python can't restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
