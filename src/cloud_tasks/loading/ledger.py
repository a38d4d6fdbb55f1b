"""Record which entries were loaded, so that a repeat after a crash sends only the rest.

A ledger is a text file that only grows. Its first line names the queue and the load, so that a
queue that drops repeats drops those of this load only; each further line is a range of entries
that the provider has accepted::

    FIRST LAST DIGEST

with the positions of the first and the last entry, counted from 0, and a digest of their
messages. The digests identify the *content* of the tasks, whatever file it comes from: a copy, a
pipe, or the same file with a bad entry mended.

    read or open ──► PreviousLoad: compares entry by entry while the source is read again
    record       ──► one line a batch, on the disk when it returns; any thread
    finish       ──► all is loaded: the file is removed
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_tasks.errors import CloudTasksError, ConfigurationError
from cloud_tasks.system.append_file import OwnPart, append, lock, open_append

logger = logging.getLogger(__name__)

_FORMAT = "load-ledger-1"
_LINE = re.compile(rb"(\d+) (\d+) ([0-9a-f]{16})")
#: Digests are added modulo this.
_WRAP = 1 << 64
_REMEDY = "remove it to load all of the tasks, or name another one with --ledger"


class Ledger:
    """The ledger file at *path*; ``open`` comes before ``record``.

    *identity* says which queue it is about; a ledger of another one is refused. *follow*: the path
    may be a symbolic link, because the user chose it.
    """

    def __init__(
        self, path: Path, identity: Mapping[str, str | bool | None], *, follow: bool = True
    ) -> None:
        self.path = path
        self._follow = follow
        #: Names this load, however many runs it takes.
        self.load_id = secrets.token_hex(6)
        self._identity = {"cloud_tasks": _FORMAT, **identity}
        #: What tells the queue from others of its name; None if the provider or the file doesn't.
        self._creation: str | None = None
        self._empty = True
        self._descriptor = -1
        #: What must stay in the file; None while it is not watched.
        self._own: OwnPart | None = None
        #: Called with a sentence, once, when others have removed what the file recorded.
        self.on_loss: Callable[[str], None] = logger.warning
        self._waiting = threading.Lock()
        self._writing = threading.Lock()
        self._lines: list[bytes] = []
        self._failure: CloudTasksError | None = None
        self._requested = self._written = 0
        # Until its content is checked, the file may belong to another program.
        self._keep = True

    def read(self) -> PreviousLoad:
        """Return what the file records, without changing it; nothing if there is no file.

        Raises:
            ConfigurationError: it can't be read, is damaged, or is about another queue.
        """
        try:
            return self._parse(self.path.read_bytes())
        except FileNotFoundError:
            return PreviousLoad([])
        except OSError as error:
            raise self._unusable(error) from error

    def open(self) -> PreviousLoad:
        """Open or create the file, lock it, and return what it records.

        Raises:
            ConfigurationError: as :meth:`read`, or another command is writing it.
        """
        try:
            self._descriptor = open_append(self.path, follow=self._follow)
            _check_is_file(self._descriptor)
            lock(self._descriptor)
            content = self.path.read_bytes()
            previous = self._parse(content)
            # A line that a crash cut off is ignored: its batch is sent again.
            whole = content.rfind(b"\n") + 1
            os.ftruncate(self._descriptor, whole)
            if not whole:
                self._append_head()
            self._own = OwnPart(self._descriptor)
        except BlockingIOError as error:
            self.close()
            raise ConfigurationError(
                f"the ledger {str(self.path)!r} is in use by another load_queue: "
                "wait for its end, or name another one with --ledger"
            ) from error
        except OSError as error:
            self.close()
            raise self._unusable(error) from error
        except ConfigurationError:
            self.close()
            raise
        self._keep = previous.count > 0
        self._empty = not previous.count
        return previous

    def is_about(self, creation: str | None) -> bool:
        """Tell whether the queue of that *creation* is the one that the entries were loaded into.

        A ledger without entries becomes one of it. To be called before ``record``.

        Raises:
            ConfigurationError: the file can't be written.
        """
        if self._empty:
            self._begin(creation)
            return True
        return creation is None or self._creation in (None, creation)

    def restart(self, creation: str | None = None) -> None:
        """Empty the ledger and begin a new load, into the queue of that *creation*.

        Raises:
            ConfigurationError: the file can't be written.
        """
        self.load_id = secrets.token_hex(6)
        self._begin(creation)
        self._keep = False

    def _begin(self, creation: str | None) -> None:
        self._creation = creation
        try:
            self._own = None
            os.ftruncate(self._descriptor, 0)
            self._append_head()
            self._own = OwnPart(self._descriptor)
        except OSError as error:
            raise self._unusable(error) from error

    def record(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Record that *entries*, position and message in order, were accepted.

        Returns when that is on the disk. Any thread may call it: those that wait for the disk at
        the same time share one write and one fsync.

        Raises:
            CloudTasksError: the file can't be written, because the disk is full for example.
        """
        ranges = joined(EntryRange(at, at, digest(at, body)) for at, body in entries)
        lines = b"".join(b"%d %d %016x\n" % (r.first, r.last, r.digest) for r in ranges)
        with self._waiting:
            self._lines.append(lines)
            self._requested += 1
            ours = self._requested
        with self._writing:
            if self._failure is not None:
                raise self._failure
            if self._written >= ours:
                return
            with self._waiting:
                lines, self._lines = b"".join(self._lines), []
                requested = self._requested
            try:
                self._append(lines)
            except OSError as error:
                self._failure = CloudTasksError(
                    f"the ledger {str(self.path)!r} can't be written: {_reason(error)}"
                )
                raise self._failure from error
            self._written = requested
            self._keep = True

    def _append_head(self) -> None:
        head = {**self._identity, "load": self.load_id, "creation": self._creation}
        self._append(json.dumps(head).encode() + b"\n")

    def _append(self, lines: bytes) -> None:
        self._check_file()
        append(self._descriptor, lines)
        os.fsync(self._descriptor)
        if self._own is not None:
            self._own.add(lines)

    def _check_file(self) -> None:
        """Report once that others have cut or removed the file; the load itself goes on."""
        if self._own is None:
            return
        ours = os.fstat(self._descriptor)
        if ours.st_nlink and not self._own.is_cut(ours.st_size):
            return
        self._own = None
        self.on_loss(
            f"the ledger {str(self.path)!r} was {'cut' if ours.st_nlink else 'removed'} by another "
            "program: if this load does not come to its end, the same command can't know what was "
            "loaded, and loads it again"
        )

    def close(self) -> None:
        """Close the file, and remove it if it records nothing. May be called more than once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if not self._keep:
                self.path.unlink(missing_ok=True)
            os.close(descriptor)

    def finish(self) -> None:
        """Close and remove the file: all is loaded."""
        self._keep = False
        self.close()

    def _parse(self, content: bytes) -> PreviousLoad:
        lines = content.split(b"\n")[:-1]
        if not lines:
            return PreviousLoad([])
        if not self._is_ours(lines[0]):
            raise ConfigurationError(
                f"{str(self.path)!r} is not the ledger of this queue: {_REMEDY}"
            )
        ranges = []
        for line in lines[1:]:
            match = _LINE.fullmatch(line)
            if match is None:
                raise self._damaged()
            ranges.append(EntryRange(int(match[1]), int(match[2]), int(match[3], 16)))
        ranges.sort(key=lambda entry_range: entry_range.first)
        try:
            ranges = joined(ranges)
        except ValueError as error:
            raise self._damaged() from error
        return PreviousLoad(
            ranges,
            f"these are not the tasks that the ledger {str(self.path)!r} says were loaded before: "
            f"{_REMEDY}",
        )

    def _is_ours(self, head: bytes) -> bool:
        """Compare the first line with our queue, and adopt its load id."""
        try:
            found = json.loads(head)
            load_id = found.pop("load")
            creation = found.pop("creation", None)  # older versions wrote none
        except (ValueError, AttributeError, KeyError, TypeError):
            return False
        if found != self._identity or not isinstance(load_id, str):
            return False
        self.load_id, self._creation = load_id, creation
        return True

    def _damaged(self) -> ConfigurationError:
        return ConfigurationError(f"the ledger {str(self.path)!r} is damaged: {_REMEDY}")

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"the ledger {str(self.path)!r} can't be used: {_reason(error)}; name another one "
            "with --ledger, or do without by --no-ledger"
        )


def _check_is_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is no ordinary file")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


@dataclass(slots=True)
class EntryRange:
    """A range of neighbouring entries: its first and last position, and the digest of all.

    Digests of neighbouring ranges add up.
    """

    first: int
    last: int
    digest: int


def digest(position: int, body: bytes) -> int:
    """Return the digest of one entry, a number of 64 bits."""
    text = b"%d:%b" % (position, body)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def joined(ranges: Iterable[EntryRange]) -> list[EntryRange]:
    """Return *ranges*, which are in order, with neighbours joined.

    Raises:
        ValueError: they are not in order, or overlap.
    """
    found: list[EntryRange] = []
    for one in ranges:
        if one.last < one.first or (found and one.first <= found[-1].last):
            raise ValueError("ranges overlap")
        if found and one.first == found[-1].last + 1:
            found[-1].last = one.last
            found[-1].digest = (found[-1].digest + one.digest) % _WRAP
        else:
            found.append(EntryRange(one.first, one.last, one.digest))
    return found


class PreviousLoad:
    """The entries that a ledger records; compared with those of the source, in order.

    Args:
        ranges: in order, no two of them neighbours.
        mismatch: the sentence of the error if the source has other tasks than were loaded.
    """

    def __init__(self, ranges: list[EntryRange], mismatch: str = "") -> None:
        self.count = sum(one.last - one.first + 1 for one in ranges)
        self._ranges = iter(ranges)
        self._mismatch = mismatch
        self._range = next(self._ranges, None)
        self._sum = 0

    def __contains__(self, entry: tuple[int, bytes]) -> bool:
        """Tell whether *entry*, position and message, was loaded; positions must increase.

        Raises:
            ConfigurationError: another content was loaded from this range.
        """
        position, body = entry
        while self._range is not None and self._range.last < position:
            self._end_range()
        if self._range is None or position < self._range.first:
            return False
        self._sum = (self._sum + digest(position, body)) % _WRAP
        if position == self._range.last:
            self._end_range()
        return True

    @property
    def is_over(self) -> bool:
        """True once all recorded entries were compared."""
        return self._range is None

    def end(self) -> None:
        """Check that the source, which has no more entries, had all that were loaded.

        Raises:
            ConfigurationError: more were loaded.
        """
        if self._range is not None:
            raise ConfigurationError(self._mismatch)

    def _end_range(self) -> None:
        assert self._range is not None
        if self._sum != self._range.digest:
            raise ConfigurationError(self._mismatch)
        self._range, self._sum = next(self._ranges, None), 0
