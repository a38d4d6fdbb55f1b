"""A terminal to look at: a pseudo-terminal with an emulator behind it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import threading
from collections.abc import Callable

import pyte

from cloud_tasks.testing import eventually

#: Lines that are kept after they have left the screen.
_HISTORY = 100_000


class Emulator:
    """Shows what is written to ``its``, and types.

    A thread only takes what comes, so that no program waits long for its terminal. What it means
    is worked out when somebody looks, which only one thread does.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self._mine, self.its = pty.openpty()
        self.resize(columns, rows)
        self._screen = pyte.HistoryScreen(columns, rows, history=_HISTORY, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        #: Lines that have left the screen and its history.
        self._gone: list[str] = []
        self._plain = re.compile(rb"(?<=\r\n)(?:[ -~]{0,%d}\r\n)+" % columns)
        self._lock = threading.Lock()
        self._raw = bytearray()
        self._seen = 0
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        try:
            while not self._ended:
                if not select.select([self._mine], [], [], 0.05)[0]:
                    continue
                data = os.read(self._mine, 65536)
                with self._lock:
                    self._raw += data
        except OSError:  # how a terminal ends whose last user is gone
            pass

    @property
    def raw(self) -> bytes:
        """All that has come."""
        with self._lock:
            return bytes(self._raw)

    def _look(self) -> pyte.HistoryScreen:
        """Return the screen as it is now; it stays so until the next look."""
        with self._lock:
            fresh = bytes(self._raw[self._seen :])
            self._seen = len(self._raw)
        at = 0
        for found in self._plain.finditer(fresh):
            lines = found[0].splitlines(keepends=True)
            if len(lines) > 3 * self.rows:
                first, last = b"".join(lines[: self.rows]), b"".join(lines[-self.rows :])
                self._stream.feed(fresh[at : found.start()] + first)
                self._pass_by(lines[self.rows : -self.rows])
                at = found.end() - len(last)
        self._stream.feed(fresh[at:])
        return self._screen

    def _pass_by(self, lines: list[bytes]) -> None:
        """Let *lines* pass over the screen, which is full of lines, and leave it as many more do.

        The library would need ten seconds for a hundred thousand of them.
        """
        self._gone += [*self._history(), *_without_end(self._screen)]
        self._gone += [line.decode().rstrip() for line in lines]
        self._screen.history.top.clear()
        self._screen.erase_in_display(2)
        self._screen.cursor_position()

    def _history(self) -> list[str]:
        return [
            "".join(row[column].data for column in range(max(row, default=-1) + 1)).rstrip()
            for row in self._screen.history.top
        ]

    def let_go(self) -> None:
        """Leave it to the program that was started on it."""
        if self.its >= 0:
            os.close(self.its)
            self.its = -1

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without the empty lines at its end.

        That may be in the middle of a redraw: see ``when``.
        """
        return _without_end(self._look())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def everything(self) -> list[str]:
        """All lines since the beginning, those that have left the screen included."""
        shown = self.lines
        return [*self._gone, *self._history(), *shown]

    @property
    def cursor_is_shown(self) -> bool:
        return not self._look().cursor.hidden

    @property
    def cursor_is_at_line_begin(self) -> bool:
        return bool(self._look().cursor.x == 0)

    def type(self, data: bytes) -> None:
        os.write(self._mine, data)

    def until(self, condition: Callable[[], object] | str) -> None:
        """Wait until *condition* holds, or that text is on the screen."""
        text = condition
        test = (lambda: text in self.text) if isinstance(text, str) else text
        try:
            eventually(test, 40)
        except AssertionError:
            raise AssertionError(f"waited for {condition!r}; the screen:\n{self.text}") from None

    def when(self, *ending: str) -> list[str]:
        """Wait until the last lines on the screen match these patterns; return all lines.

        They are lines of one moment. The last line of a redraw comes last, so where that one is
        whole, all are.
        """
        found: list[str] = []

        def look() -> bool:
            found[:] = self.lines
            last = found[-len(ending) :]
            return len(last) == len(ending) and all(map(re.fullmatch, ending, last))

        self.until(look)
        return found

    def wait_for_end(self) -> None:
        """Wait until the last program has let it go, and all is shown."""
        self.let_go()
        self._thread.join(40)
        assert not self._thread.is_alive(), "somebody still has the terminal"

    def hang_up(self) -> None:
        """Go away, as a connection that is lost."""
        self._ended = True
        self._thread.join()
        os.close(self._mine)
        self._mine = -1

    def close(self) -> None:
        self.let_go()
        self._ended = True
        self._thread.join()
        if self._mine >= 0:
            os.close(self._mine)


def _without_end(screen: pyte.HistoryScreen) -> list[str]:
    shown = [line.rstrip() for line in screen.display]
    while shown and not shown[-1]:
        shown.pop()
    return shown
