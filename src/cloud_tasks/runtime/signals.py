"""Handle stop signals for the duration of a run, and restore everything afterwards.

A run relies on more than its handlers, and a program may have inherited anything from its parent.
So for the duration SIGCHLD is not ignored (else no exit code could be read), SIGPIPE is (a write to
a child that has died must not end the worker), and stop signals, SIGCHLD and SIGALRM reach us.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from cloud_tasks.sources.base import SourceInterrupted
from cloud_tasks.summary import StopReason

#: The stop reason for each signal; the hang-up of a terminal counts as SIGTERM.
_REASONS = {
    "SIGINT": StopReason.SIGINT,
    "SIGTERM": StopReason.SIGTERM,
    "SIGHUP": StopReason.SIGTERM,  # not on every platform
}
#: Stop signals that stay ignored if they were, as in the background of a shell and under nohup.
_MAY_BE_IGNORED = ("SIGINT", "SIGHUP")


@contextlib.contextmanager
def signal_handlers(
    on_signal: Callable[[StopReason], None], blocked_in_source: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Call *on_signal* in the main thread for each stop signal, until the context ends.

    In another thread than the main one this does nothing. SIGHUP is never the second signal: a
    terminal that closes sends it twice, and systemd sends it after SIGTERM.

    Args:
        on_signal: called in the handler, so it must not wait for a lock.
        blocked_in_source: asked after it; if it returns True, the handler raises
            :class:`~cloud_tasks.sources.base.SourceInterrupted`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    reasons = {getattr(signal, name): r for name, r in _REASONS.items() if hasattr(signal, name)}
    hang_up = getattr(signal, "SIGHUP", None)
    stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if number == hang_up and stopping:
            return
        stopping = True
        on_signal(reasons[number])
        if blocked_in_source():
            raise SourceInterrupted

    with _dispositions(dict.fromkeys(reasons, handle)), _unblocked(reasons):
        yield


@contextlib.contextmanager
def _dispositions(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    """Set *handlers*, and what a run needs of SIGCHLD and SIGPIPE, while the context lasts."""
    stay = [getattr(signal, name) for name in _MAY_BE_IGNORED if hasattr(signal, name)]
    handlers = {
        number: handler
        for number, handler in handlers.items()
        if not (number in stay and signal.getsignal(number) is signal.SIG_IGN)
    }
    if hasattr(signal, "SIGPIPE"):
        handlers[signal.SIGPIPE] = signal.SIG_IGN
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        handlers[signal.SIGCHLD] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: installed by C code, which Python can't restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _unblocked(stop_signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Unblock *stop_signals*, and what a run needs, while the context lasts."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    needed = {*stop_signals, signal.SIGCHLD, signal.SIGALRM}
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, needed)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, before & needed)
