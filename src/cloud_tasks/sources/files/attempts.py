"""When to try again what saves much where it succeeds, and costs something where it fails."""

from __future__ import annotations

#: After a failure, so many chances are let go; twice as many after each further one.
_FEWEST, _MOST = 16, 1024


class Attempts:
    """Makes attempts rarer while they fail, so that a file without luck is read as fast."""

    def __init__(self) -> None:
        self._left_out = 0
        self._next = _FEWEST

    def due(self) -> bool:
        """Tell, at each chance, whether to try."""
        if self._left_out:
            self._left_out -= 1
        return not self._left_out

    def succeeded(self) -> None:
        """Begin anew."""
        self._next = _FEWEST

    def failed(self) -> None:
        """Let some chances go."""
        self._left_out = self._next
        self._next = min(2 * self._next, _MOST)
