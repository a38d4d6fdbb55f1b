"""Print tables on standard output and a progress line on standard error, for the commands.

On a terminal rich draws both, and is imported only then. Elsewhere the table has plain columns,
and the progress is a line every 30 s.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from cloud_tasks.text import clock, rate_pair, safe

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

#: Redraws a second on a terminal; seconds between two lines elsewhere.
_REDRAWS, _PERIOD = 2, 30.0


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn to fit a terminal, in plain columns for a file or a pipe."""
    if not sys.stdout.isatty():
        lines = [columns, *rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            sys.stdout.write("  ".join(cells).rstrip() + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


class StatusLine:
    """The progress of a command, on standard error while the ``with`` block runs.

    Args:
        counts: returns the progress, by name, with the count that ends up in ``rate=`` first;
            called from a thread of its own.
        rewrite: rewrite one line in place if standard error is a terminal that can do so. False
            where others print on that terminal, whose lines it would spoil.
    """

    def __init__(self, counts: Callable[[], Mapping[str, int]], *, rewrite: bool = True) -> None:
        self._counts = counts
        self._rewrite = rewrite and _can_rewrite()
        self._began = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-progress", daemon=True)

    def __enter__(self) -> StatusLine:
        if self._rewrite:
            self._live = self._start_live()
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._over.set()
            self._thread.join()

    def print(self, text: str) -> None:
        """Print a line of its own; *text* may be foreign. Any thread."""
        line = safe(text, 1000)
        if self._live is not None:
            from rich.text import Text

            # The terminal breaks a long line, not rich, so that it can be copied as one.
            whole = Text(line, no_wrap=True, overflow="ignore")
            self._live.console.print(whole, crop=False)
        else:
            self._write(line)

    def _start_live(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        live = Live(
            get_renderable=self._text,
            console=Console(stderr=True, highlight=False, markup=False, emoji=False),
            refresh_per_second=_REDRAWS,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        # A command that is killed could not show the cursor again.
        live.console.show_cursor(True)
        return live

    def _text(self) -> Text:
        from rich.text import Text

        return Text(self._line(), no_wrap=True, overflow="ellipsis")

    def _run(self) -> None:
        while not self._over.wait(_PERIOD):
            self._write(f"progress {self._line()}")

    def _line(self) -> str:
        counts, elapsed = self._counts(), time.monotonic() - self._began
        first = next(iter(counts.values()), 0)
        pairs = [f"{name}={n}" for name, n in counts.items()]
        pairs += [rate_pair(first / elapsed if elapsed > 0 else 0.0), f"elapsed={clock(elapsed)}"]
        return " ".join(pairs)

    def _write(self, line: str) -> None:
        with self._lock:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _can_rewrite() -> bool:
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return sys.stderr.isatty() and not dumb
