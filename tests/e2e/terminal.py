"""A program on a pseudo-terminal, and the person before it."""

from __future__ import annotations

import codecs
import contextlib
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds within which what a person waits for must come.
LIMIT = 120.0


class Terminal:
    """The user's end of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # One character may come in two parts.
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""

    def wait_for(self, text: str) -> str:
        """Read until *text* has come; return what is before it, which is forgotten."""
        deadline = time.monotonic() + LIMIT
        while text not in self._text:
            left = deadline - time.monotonic()
            ready = select.select([self._descriptor], [], [], max(0.0, left))[0]
            assert ready, f"{text!r} did not come; got {self._text!r}"
            try:
                new = os.read(self._descriptor, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                new = b""
            assert new, f"the program ended without {text!r}; got {self._text!r}"
            self._text += self._decoder.decode(new)
        before, _, self._text = self._text.partition(text)
        return before

    def type(self, line: str) -> None:
        """Type *line* and Return."""
        os.write(self._descriptor, f"{line}\n".encode())


@contextlib.contextmanager
def on_a_terminal(
    words: list[str], folder: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
    """Run a program on a pseudo-terminal."""
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    program = subprocess.Popen(
        words, cwd=folder, stdin=its, stdout=its, stderr=its, env=environment
    )
    os.close(its)
    try:
        yield program, Terminal(mine)
    finally:
        program.kill()
        program.wait()
        os.close(mine)
