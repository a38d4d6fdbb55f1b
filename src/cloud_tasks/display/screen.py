"""Draw the progress at the bottom of the terminal, below what the tasks print; a home of rich.

    descriptors 1, 2 ─► pipe (Capture) ─► WholeLines ─┐
    Console.print ────────────────────────────────────┼─► rich Live ─► terminal
    Stats, RunInfo, machine_use() ► ProgressState ────┘

One thread draws, that of the console: ``Drawing.turn`` reads the pipe and redraws the area. Only
``open`` and ``give_back`` may be called by others.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, cast

from cloud_tasks.display.capture import Capture, write_all
from cloud_tasks.display.progress import Line, ProgressState, RateEstimator, area
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.sanitize import WholeLines
from cloud_tasks.runtime.stats import Stats

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.text import Text

#: A line of the area: texts and their styles.
ScreenLine = Sequence[tuple[str, str]]
#: Bytes of printed text that are shown without waiting for the next redraw.
_SHOW_NOW = 64 * 1024
#: Columns and lines of a terminal that doesn't tell its size.
_USUAL_SIZE = (80, 24)
#: Seconds between two redraws. Each turn of this thread takes the interpreter's lock from those
#: that do the work, so there are no more turns than redraws,
_REDRAW = 0.25
#: unless this many bytes come between two of them, so that the pipe might get full: then the next
#: turn comes after this many seconds.
_FLOOD, _SOON = 16 * 1024, 0.02
#: Seconds between two readings of the use of the machine: shorter ones say little.
_MACHINE_PERIOD = 1.0


def is_drawn(
    mode: str, *, terminal_taken: bool = False, environment: Mapping[str, str] | None = None
) -> bool:
    """Tell whether the progress is drawn.

    *mode* ``on``: wherever standard error is a terminal that can move its cursor; ``auto``: if
    moreover it is in the foreground and shows the log; ``off``: no. *terminal_taken*: tasks run in
    this thread or a debugger will, and need the terminal.
    """
    environment = os.environ if environment is None else environment
    if mode == "off" or os.name != "posix" or sys.stderr is None:
        return False
    if not os.isatty(2) or environment.get("TERM", "dumb").lower() in ("", "dumb", "unknown"):
        return False
    if mode == "on":
        return True
    if terminal_taken or environment.get("CI") or not _is_in_foreground(2):
        return False
    return _log_is_seen()


def _is_in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it is a terminal, but not the one that started us
        return True


def _log_is_seen() -> bool:
    """Tell whether the console's log lines are enabled and go to a terminal."""
    if not logging.getLogger("cloud_tasks.console").isEnabledFor(logging.INFO):
        return False
    streams = (getattr(handler, "stream", None) for handler in logging.getLogger().handlers)
    return any(stream is not None and stream.isatty() for stream in streams)


class Screen:
    """An area at the bottom of the terminal, and above it what this process and its children print.

    ``open`` and ``give_back`` serve any thread; everything else belongs to the one that draws.
    """

    def __init__(self) -> None:
        self._capture = Capture()
        self._terminal = _Terminal(self._capture)
        self._lines = WholeLines(self._capture.encoding)
        self._above: list[str] = []
        self._live: Live | None = None
        self._area = _Area()
        self._gone = False
        self._plain = False

    def open(self) -> None:
        """Take over the terminal.

        Raises:
            OSError: it is not available; everything is as it was.
        """
        self._capture.begin()

    def give_back(self) -> None:
        """Let this process write to the terminal again, whatever the drawing thread does now."""
        self._capture.give_back()

    def print(self, lines: Sequence[str]) -> None:
        """Show *lines* above the area, with the next redraw."""
        self._above += lines

    def collect(self) -> int:
        """Read the captured output; return the number of its bytes."""
        data = self._capture.read()
        if data:
            self._lines.feed(data, time.monotonic())
        return len(data)

    @property
    def is_full(self) -> bool:
        """True if the captured output should be shown before the next redraw."""
        return self._lines.size >= _SHOW_NOW

    @property
    def taken(self) -> int:
        """Counts what the terminal has taken: tells a slow one from one that is stuck."""
        return self._terminal.taken

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._size()[0]

    @property
    def speaks_unicode(self) -> bool:
        """True if it can show more than ASCII."""
        return self._capture.encoding.lower().replace("-", "").startswith("utf")

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._capture.terminal)
        except OSError:
            width, height = _USUAL_SIZE
        return width or _USUAL_SIZE[0], height or _USUAL_SIZE[1]

    def draw(self, area: Sequence[ScreenLine] | None, *, everything: bool = False) -> None:
        """Show the captured output, and *area* below it; None: as it was. May block.

        *everything*: show also the last line, though its end is missing.
        """
        above = self._lines.take(time.monotonic(), everything=everything)
        above += "".join(f"{line}\n" for line in self._above)
        self._above.clear()
        if self._gone:
            return
        try:
            self._show(above, area)
        except OSError:
            # The terminal is gone. The pipe must still be read, or tasks would block.
            self._gone = True

    def draw_no_more(self) -> None:
        """Pass the captured output on without an area from now on."""
        self._plain = True

    def _show(self, above: str, area: Sequence[ScreenLine] | None) -> None:
        if self._plain:
            self._terminal.write(above)
            return
        live = self._live or self._start()
        width, height = self._size()
        live.console.size = (width, height)
        if not _is_in_foreground(self._capture.terminal):
            self._terminal.write(above)
            return
        if area is not None:
            self._area.text = _text(area[: max(1, height - 1)])
        if above:
            live.console.print(_Verbatim(above), end="", crop=False)
        else:
            live.refresh()

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(
            file=cast("IO[str]", self._terminal), force_terminal=True, force_interactive=True,
            force_jupyter=False, highlight=False, markup=False, emoji=False, legacy_windows=False,
        )  # fmt: skip
        self._live = live = Live(
            self._area, console=console, auto_refresh=False, transient=True, redirect_stdout=False,
            redirect_stderr=False, vertical_overflow="crop",
        )  # fmt: skip
        live.start()
        # A process that is stopped or killed could not show the cursor again.
        console.show_cursor(True)
        return live

    def close(self) -> None:
        """Give the terminal back, with all captured output on it and without the area."""
        self.give_back()
        # The pipe holds no more than two reads: all output of processes that have ended. Those that
        # live on keep the pipe, which let_go() serves.
        for _ in range(2):
            self.collect()
            self.draw(None)
        self.draw(None, everything=True)
        if self._live is not None and not self._gone and not self._plain:
            try:
                self._area.text = None
                self._live.stop()
            except OSError:
                self._gone = True
        self._capture.let_go()


class _Terminal:
    """The terminal as a file, as rich needs it."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.encoding = capture.encoding
        self.taken = 0

    def write(self, text: str) -> int:
        data = text.encode(self.encoding, "replace")
        for at in range(0, len(data), _SHOW_NOW):
            write_all(self._capture.terminal, data[at : at + _SHOW_NOW])
            self.taken += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._capture.terminal


def _text(area: Sequence[ScreenLine]) -> Text:
    from rich.text import Text

    whole = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(area):
        if number:
            whole.append("\n")
        for text, style in line:
            whole.append(text, style)
    return whole


class _Area:
    """The current area, which rich may also redraw by itself."""

    def __init__(self) -> None:
        self.text: Text | None = None

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        if self.text is not None:
            yield self.text


class _Verbatim:
    """Text that rich passes on as it is: to parse every line would take long."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        yield Segment(self._text)


class Drawing:
    """The drawing of a run's progress on *screen*. Everything belongs to the thread that draws."""

    def __init__(self, screen: Screen, stats: Stats, info: RunInfo) -> None:
        from cloud_tasks.system.machine import machine_use  # late, because it imports psutil

        self._screen = screen
        self._stats = stats
        self._info = info
        self._estimator = RateEstimator()
        self._due = time.monotonic() + _REDRAW
        self._machine_use = machine_use
        self._machine = machine_use()
        self._machine_due = 0.0
        self._flood = False

    @property
    def pause(self) -> float:
        """Seconds until the next turn."""
        left = max(0.0, self._due - time.monotonic())
        return min(left, _SOON) if self._flood else left

    def turn(self) -> None:
        """Read the captured output, and redraw when it is time."""
        self._flood = self._screen.collect() >= _FLOOD
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _REDRAW
            self._screen.draw(self._area(now))
        elif self._screen.is_full:
            self._screen.draw(None)

    def _area(self, now: float) -> list[Line]:
        if now >= self._machine_due:
            self._machine_due = now + _MACHINE_PERIOD
            self._machine = self._machine_use()
        snapshot = self._stats.snapshot()
        slots, running = self._info.slots(), self._info.running()
        self._estimator.add(snapshot.elapsed, snapshot.ended)
        left = self._estimator.left(snapshot, slots, running)
        state = ProgressState(
            name=self._info.name,
            now=snapshot,
            slots=slots,
            rate=self._estimator.rate(slots),
            left=left,
            ends=None if left is None else time.time() + left,
            max_runtime=self._info.max_runtime,
            running=running,
            machine=self._machine,
        )
        return area(state, self._screen.width, unicode=self._screen.speaks_unicode)
