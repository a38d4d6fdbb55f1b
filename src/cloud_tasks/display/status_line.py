"""Talking on standard error while a command works."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from cloud_tasks.text import clock, safe

#: Seconds between two lines, on a terminal and elsewhere.
_LIVELY, _CALM = 0.5, 30.0
#: Back to the begin of the line, and clear it.
_WIPE = "\r\x1b[K"


class Progress:
    """Says now and then how far a command is; on a terminal in one line that is rewritten.

    Args:
        counts: tells how far it is.
        live: the line may be rewritten; None: if standard error is a terminal.
    """

    def __init__(
        self, counts: Callable[[], Mapping[str, int]], *, live: bool | None = None
    ) -> None:
        self._counts = counts
        self._live = sys.stderr.isatty() if live is None else live
        self._began = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._shown = False
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-progress", daemon=True)

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._write("")

    def say(self, text: str) -> None:
        """Print a line of its own; *text* may be other people's. From any thread."""
        self._write(f"{safe(text, 1000)}\n")

    def _run(self) -> None:
        while not self._over.wait(_LIVELY if self._live else _CALM):
            line = self._line()
            self._write(line if self._live else f"progress {line}\n", rewritten=self._live)

    def _line(self) -> str:
        counts, elapsed = self._counts(), self.elapsed
        first = next(iter(counts.values()), 0)
        rate = first / elapsed if elapsed > 0 else 0.0
        told = " ".join(f"{name}={n}" for name, n in counts.items())
        return f"{told} rate={rate:.{0 if rate >= 100 else 2}f}/s elapsed={clock(elapsed)}"

    def _write(self, text: str, *, rewritten: bool = False) -> None:
        with self._lock:
            wipe = _WIPE if self._shown else ""
            self._shown = rewritten
            sys.stderr.write(wipe + text)
            sys.stderr.flush()
