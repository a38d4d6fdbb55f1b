"""What was loaded already, so that a repeat after a crash sends only the rest.

A text file that only grows. Its first line says which queue it is about and names the load, so
that a queue that drops repeats drops those of this load only; each further line is a run of
entries that the provider has accepted::

    FIRST LAST DIGEST

with the positions of the first and the last entry, counted from 0, and a digest of their
messages. By the digests the *content* of the tasks is known again, whatever file it comes from:
a copy, a pipe, or the same file with a bad entry mended.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloud_tasks.errors import CloudTasksError, ConfigurationError
from cloud_tasks.system.append_file import append, lock, open_append

_FORMAT = "load-ledger-1"
_LINE = re.compile(rb"(\d+) (\d+) ([0-9a-f]{16})")


class Ledger:
    """The file at *path*; ``open`` comes first.

    Args:
        path: of the file.
        identity: says which queue it is about; a ledger of another one is refused.
    """

    def __init__(self, path: Path, identity: Mapping[str, str | bool | None]) -> None:
        self.path = path
        #: Names this load, however many runs it takes.
        self.load_id = secrets.token_hex(6)
        self._identity = {"cloud_tasks": _FORMAT, **identity}
        self._descriptor = -1
        self._waiting = threading.Lock()
        self._writing = threading.Lock()
        self._lines: list[bytes] = []
        self._failure: CloudTasksError | None = None
        self._asked = self._done = 0
        # Until we have looked into the file, it may be anybody's.
        self._keep = True

    def read(self) -> Loaded:
        """Return what it says, and leave the file alone; nothing if there is none.

        Raises:
            ConfigurationError: it can't be read, is damaged, or is about another queue.
        """
        try:
            return self._parsed(self.path.read_bytes())
        except FileNotFoundError:
            return Loaded([])
        except OSError as error:
            raise self._unusable(error) from error

    def open(self) -> Loaded:
        """Open or make the file, for ourselves alone, and return what it says.

        Raises:
            ConfigurationError: as :meth:`read`, or another command is writing it.
        """
        try:
            self._descriptor = open_append(self.path)
            self._check_kind()
            self._lock()
            content = self.path.read_bytes()
            loaded = self._parsed(content)
            # A line that a crash cut off says nothing: its batch is sent again.
            whole = content.rfind(b"\n") + 1
            os.ftruncate(self._descriptor, whole)
            if not whole:
                self._begin()
        except OSError as error:
            self.close()
            raise self._unusable(error) from error
        except ConfigurationError:
            self.close()
            raise
        self._keep = loaded.count > 0
        return loaded

    def restart(self) -> None:
        """Forget what was loaded.

        Raises:
            ConfigurationError: the file can't be written.
        """
        try:
            os.ftruncate(self._descriptor, 0)
            self.load_id = secrets.token_hex(6)
            self._begin()
        except OSError as error:
            raise self._unusable(error) from error
        self._keep = False

    def record(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Note that *entries*, position and message in order, were accepted.

        Returns when that is on the disk. Several threads may call it: who waits for the disk
        gets it together with the others that wait.

        Raises:
            CloudTasksError: the disk is full, or the like.
        """
        runs = joined(EntryRange(at, at, digest(at, body)) for at, body in entries)
        lines = b"".join(b"%d %d %016x\n" % (run.first, run.last, run.digest) for run in runs)
        with self._waiting:
            self._lines.append(lines)
            self._asked += 1
            ours = self._asked
        with self._writing:
            if self._failure is not None:  # nothing may follow on a line that was cut off
                raise self._failure
            if self._done >= ours:
                return
            with self._waiting:
                lines, self._lines = b"".join(self._lines), []
                asked = self._asked
            try:
                self._append(lines)
            except OSError as error:
                self._failure = CloudTasksError(
                    f"the ledger {str(self.path)!r} can't be written: {_reason(error)}"
                )
                raise self._failure from error
            self._done = asked
            self._keep = True

    def _begin(self) -> None:
        self._append(json.dumps({**self._identity, "load": self.load_id}).encode() + b"\n")

    def _append(self, data: bytes) -> None:
        append(self._descriptor, data)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, and remove it if it says nothing. May be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if not self._keep:
                self.path.unlink(missing_ok=True)
            os.close(descriptor)

    def finish(self) -> None:
        """Close and remove the file: all is loaded."""
        self._keep = False
        self.close()

    def _check_kind(self) -> None:
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")

    def _lock(self) -> None:
        try:
            lock(self._descriptor)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"the ledger {str(self.path)!r} is in use by another load_queue: "
                "wait for its end, or name another one with --ledger"
            ) from error

    def _parsed(self, content: bytes) -> Loaded:
        lines = content.split(b"\n")[:-1]
        if not lines:
            return Loaded([])
        if not self._is_ours(lines[0]):
            raise ConfigurationError(
                f"{str(self.path)!r} is not the ledger of this queue: {self._remedy()}"
            )
        runs = []
        for line in lines[1:]:
            match = _LINE.fullmatch(line)
            if match is None:
                raise self._damaged()
            runs.append(EntryRange(int(match[1]), int(match[2]), int(match[3], 16)))
        runs.sort(key=lambda run: run.first)
        try:
            runs = joined(runs)
        except ValueError as error:
            raise self._damaged() from error
        return Loaded(
            runs,
            f"these are not the tasks that the ledger {str(self.path)!r} says were loaded before: "
            f"{self._remedy()}",
        )

    def _is_ours(self, head: bytes) -> bool:
        try:
            found = json.loads(head)
            load_id = found.pop("load")
        except (ValueError, AttributeError, KeyError, TypeError):
            return False
        if found != self._identity or not isinstance(load_id, str):
            return False
        self.load_id = load_id
        return True

    def _damaged(self) -> ConfigurationError:
        return ConfigurationError(f"the ledger {str(self.path)!r} is damaged: {self._remedy()}")

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"the ledger {str(self.path)!r} can't be used: {_reason(error)}; name another one "
            "with --ledger, or do without by --no-ledger"
        )

    def _remedy(self) -> str:
        return "remove it to load all of the tasks, or name another one with --ledger"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


# MERGED: What was loaded before, known again by its content while a source is read once more.

_WRAP = 1 << 64


class EntryRange:
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


def joined(runs: Iterable[EntryRange]) -> list[EntryRange]:
    """Return *runs*, which are in order, with neighbours made one.

    Raises:
        ValueError: they are not in order, or overlap.
    """
    found: list[EntryRange] = []
    for run in runs:
        if run.last < run.first or (found and run.first <= found[-1].last):
            raise ValueError("runs overlap")
        if found and run.first == found[-1].last + 1:
            found[-1].last = run.last
            found[-1].digest = (found[-1].digest + run.digest) % _WRAP
        else:
            found.append(EntryRange(run.first, run.last, run.digest))
    return found


class Loaded:
    """What a ledger says was loaded; asked about one entry after the other, in order.

    Args:
        runs: in order, no two of them neighbours.
        complaint: the sentence for tasks that are not those that were loaded.
    """

    def __init__(self, runs: list[EntryRange], complaint: str = "") -> None:
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
