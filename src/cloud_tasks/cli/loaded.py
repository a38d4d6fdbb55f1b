"""What was loaded before, known again by its content while a source is read once more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cloud_tasks.errors import ConfigurationError

_WRAP = 1 << 64


class Run:
    """Neighbouring entries, as one.

    Attributes:
        first: position of the first.
        last: position of the last.
        digest: of all of them. Digests of neighbouring runs add up.
    """

    __slots__ = ("digest", "first", "last")

    def __init__(self, first: int, last: int, digest: int) -> None:
        self.first, self.last, self.digest = first, last, digest

    @property
    def count(self) -> int:
        """How many entries it has."""
        return self.last - self.first + 1


def digest(position: int, body: bytes) -> int:
    """Return the digest of one entry."""
    text = b"%d:%b" % (position, body)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return *runs*, which are in order, with neighbours made one.

    Raises:
        ValueError: they are not in order, or overlap.
    """
    found: list[Run] = []
    for run in runs:
        if run.last < run.first or (found and run.first <= found[-1].last):
            raise ValueError("runs overlap")
        if found and run.first == found[-1].last + 1:
            found[-1].last = run.last
            found[-1].digest = (found[-1].digest + run.digest) % _WRAP
        else:
            found.append(Run(run.first, run.last, run.digest))
    return found


class Loaded:
    """What a ledger says was loaded; asked about one entry after the other, in order.

    Args:
        runs: in order, no two of them neighbours.
        complaint: the sentence for tasks that are not those that were loaded.
    """

    def __init__(self, runs: list[Run], complaint: str = "") -> None:
        self.count = sum(run.count for run in runs)
        self._runs = iter(runs)
        self._complaint = complaint
        self._run = next(self._runs, None)
        self._sum = 0

    def __contains__(self, entry: tuple[int, bytes]) -> bool:
        """Tell whether the entry, its position and its message, is there.

        Raises:
            ConfigurationError: what was loaded was something else.
        """
        position, body = entry
        while self._run is not None and self._run.last < position:
            self._end_run()
        if self._run is None or position < self._run.first:
            return False
        self._sum = (self._sum + digest(position, body)) % _WRAP
        if position == self._run.last:
            self._end_run()
        return True

    @property
    def is_over(self) -> bool:
        """Whether all of it was asked about."""
        return self._run is None

    def end(self) -> None:
        """There are no more entries.

        Raises:
            ConfigurationError: but more were loaded.
        """
        if self._run is not None:
            raise ConfigurationError(self._complaint)

    def _end_run(self) -> None:
        assert self._run is not None
        if self._sum != self._run.digest:
            raise ConfigurationError(self._complaint)
        self._run, self._sum = next(self._runs, None), 0
