"""Watch for notices, learn this machine's name, send keep-alives: threads that end with the run."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

from cloud_tasks.sources.entries import raised
from cloud_tasks.termination.base import Notice, TerminationProbe

logger = logging.getLogger(__name__)

#: Called with a sentence and an exception when such a thread fails and the run goes on.
OnTrouble: TypeAlias = Callable[[str, BaseException], None]
#: Seconds between two questions for the name of this machine: at first, and at most. Azure may
#: need minutes for its first answer.
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0


@contextlib.contextmanager
def _reporting(failure: str, on_trouble: OnTrouble) -> Iterator[None]:
    """Report whatever the body raises as *failure*, and go on: tasks don't need what it does."""
    try:
        yield
    except BaseException as error:
        logger.exception("%s", failure)
        on_trouble(f"{failure}: {raised(error)}", error)


def watch_probe(
    probe: TerminationProbe,
    over: threading.Event,
    on_notice: Callable[[Notice], None],
    on_trouble: OnTrouble,
) -> None:
    """Call *on_notice* with each notice of *probe*; blocks until a final one, or *over* is set."""
    with _reporting("watching for termination notices failed", on_trouble):
        while (notice := probe.wait(over)) is not None:
            on_notice(notice)
            if notice.final:
                return


def send_keepalives(
    period: float, over: threading.Event, send: Callable[[], None], on_trouble: OnTrouble
) -> None:
    """Call *send* at once and every *period* seconds; blocks until *over* is set."""
    with _reporting("sending keep-alives failed", on_trouble):
        send()
        while not over.wait(period):
            send()


class InstanceName:
    """The name of this machine: that of its provider, or the host name while that is unknown.

    *ask* returns the provider's name, None if it doesn't know it; may block for some seconds.
    None: there is no provider.
    """

    def __init__(self, ask: Callable[[], str | None] | None) -> None:
        self._ask = ask
        self._name: str | None = None
        self._asked = threading.Event()

    def learn(self, over: threading.Event, on_trouble: OnTrouble) -> None:
        """Ask until there is an answer; blocks until then, or *over* is set."""
        pause = _FIRST_PAUSE
        try:
            with _reporting("reading the provider's name of this machine failed", on_trouble):
                while self._ask is not None and not over.is_set():
                    self._name = self._ask() or None
                    self._asked.set()
                    if self._name is not None or over.wait(pause):
                        return
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._asked.set()

    def get(self, patience: float | None = None) -> str:
        """Return the name; waits *patience* seconds for the first answer, None without limit."""
        self._asked.wait(patience)
        return self._name or socket.gethostname()
