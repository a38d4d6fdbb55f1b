"""Open a task file as a feed of bytes: local, compressed or piped; ``fetching`` gets remote ones.

The feed returns bytes in the pieces in which they come, so that a task on a pipe is delivered as
soon as it is complete. Compressed data is unpacked on the way (``unpacking``), and never more is
waited for than the next unpacked bytes need.
"""

from __future__ import annotations

import io
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from cloud_tasks.errors import SourceError, TaskFormatError

#: Bytes asked for at a time.
CHUNK = 64 * 1024

#: Most characters of one entry. Far above what a task should carry; keeps a file without structure
#: from filling the memory.
MAX_ENTRY = 256 * 1024 * 1024

#: Deepest nesting of one entry, in formats where Python itself sets no limit.
MAX_DEPTH = 200

#: What :func:`resembles` calls a file of rows.
CSV = "CSV, .csv"

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_WHY_NOT: Mapping[type, str] = {
    FileNotFoundError: "does not exist",
    IsADirectoryError: "is a directory, not a file",
    PermissionError: "can't be read: you lack the permission",
}
#: The first bytes of compressed data, and by what it is compressed.
_MAGIC: Mapping[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x04\x22\x4d\x18": "lz4",
    b"Rar!": "rar",
    b"\x1f\x9d": "compress",
}

#: The beginnings of the formats. A header of CSV may begin with a bracket: ``[Fe/H]``.
_BEGINNINGS: Mapping[str, re.Pattern[str]] = {
    "JSON, .json": re.compile(r"\s*\[\s*(\{|\]|$)"),
    "JSON Lines, one object a line, .jsonl": re.compile(r"\s*\{\s*(\"|$)"),
    "YAML, .yaml": re.compile(r"\s*(---\s|-\s+(\{|task_id\b|data\b))"),
    "a web page: is there a login or a proxy in between?": re.compile(r"(?i)\s*<(!doctype|html)"),
    CSV: re.compile(r"\s*([^\n]*[,;|\t])?\W*task_id\W*[,;|\t]"),
}

#: Binary files that a feed reads from. A read that returns None has no bytes yet: it is a
#: non-blocking file, which has a descriptor to wait for.
RawStream: TypeAlias = io.RawIOBase | io.BufferedIOBase


class ByteFeed:
    """The bytes of a task file, in the pieces in which they come.

    Args:
        raw: the file; its ``read`` returns as soon as there are some bytes.
        name: name of the file in messages.
        live: it is a pipe or terminal, whose next bytes may take long to come.
        chunk: bytes asked for at a time.
        size: bytes that a regular file has when it is opened; fewer are an error.
    """

    def __init__(
        self,
        raw: RawStream,
        name: str,
        *,
        live: bool = False,
        chunk: int = CHUNK,
        size: int = 0,
    ):
        self.name = name
        self.live = live
        self._left = self._size = size
        self._raw = raw
        self._chunk = chunk
        self._ahead = b""

    def read(self) -> bytes:
        """Return the next bytes, none at the end; blocks until there are some.

        Raises:
            SourceError: reading failed, or the file is damaged or shorter than when it was opened.
        """
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        piece = None
        while piece is None:
            try:
                piece = self._raw.read(self._chunk)
                if piece is None:  # the pipe is non-blocking
                    select.select([self._raw.fileno()], [], [])
            except (OSError, ValueError) as error:
                raise SourceError(f"reading {self.name} failed: {_reason(error)}") from error
        self._left -= len(piece)
        if not piece and self._left > 0:
            raise SourceError(
                f"{self.name} is shorter than when it was opened, by {self._left:,} of "
                f"{self._size:,} bytes: it was cut off or written anew meanwhile"
            )
        return piece

    def peek(self, count: int) -> bytes:
        """Return at least the next *count* bytes, fewer at the end, without consuming them."""
        while len(self._ahead) < count:
            ahead, self._ahead = self._ahead, b""
            more = self.read()
            self._ahead = ahead + more
            if not more:
                break
        return self._ahead

    def unread(self, data: bytes) -> None:
        """Put *data* back, to be read next."""
        self._ahead = data + self._ahead

    @property
    def has_begun(self) -> bool:
        """True once some byte was read."""
        return self._left < self._size

    def seekable(self) -> RawStream | None:
        """Return the file itself if it can be read at any place, else None."""
        return self._raw if self._raw.seekable() else None

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def open_file(path: Path, name: str) -> ByteFeed:
    """Open a local file; blocks on a FIFO until it has a writer.

    Raises:
        SourceError: it is missing, a directory, or can't be read.
    """
    try:
        raw = path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        why = _WHY_NOT.get(type(error)) or f"can't be opened: {_reason(error)}"
        raise SourceError(f"{name} {why}") from error
    return unpacked(ByteFeed(raw, name, live=not _is_regular(raw), size=_size(raw)))


def open_standard_input(name: str) -> ByteFeed:
    """Read standard input, which stays open when the feed is closed.

    Raises:
        SourceError: there is no standard input.
    """
    raw: RawStream
    try:
        # Unbuffered for two reasons: bytes are returned as soon as they are written, and the
        # interpreter can exit while a thread still waits for more.
        file = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
        raw, live, size = file, not _is_regular(file), _size(file)
    except (AttributeError, OSError, ValueError):
        raw, live, size = _ReplacedStandardInput(name), True, 0
    return unpacked(ByteFeed(raw, name, live=live, size=size))


class _ReplacedStandardInput(io.RawIOBase):
    """A standard input that the program has replaced by an object without a descriptor."""

    def __init__(self, name: str) -> None:
        buffer = getattr(sys.stdin, "buffer", None)
        if buffer is None:
            raise SourceError(f"{name} is closed: give the name of a task file")
        self._read: Callable[[int], bytes] = getattr(buffer, "read1", buffer.read)

    def read(self, size: int = -1, /) -> bytes | None:
        return self._read(size)


def _is_regular(file: io.FileIO) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _size(file: io.FileIO) -> int:
    """Return how many bytes a regular file has from its current place on; 0 for others."""
    return os.fstat(file.fileno()).st_size - file.tell() if _is_regular(file) else 0


def unpacked(feed: ByteFeed) -> ByteFeed:
    """Return a feed of the unpacked bytes, without a byte-order mark; refuse UTF-16.

    The first bytes tell whether the data is compressed.

    Raises:
        TaskFormatError: the content is no UTF-8, or compressed in a way that is not supported;
            the feed is closed then.
        SourceError: reading failed.
    """
    try:
        packing = packing_of(feed.peek)
        if packing is not None:
            # Imported when needed: most files are not compressed.
            from cloud_tasks.sources.files.unpacking import unpack

            feed = ByteFeed(unpack(feed, packing), feed.name, live=feed.live)
        head = feed.peek(2)
        if head[:1] == _BOM[:1] and feed.peek(3)[:3] == _BOM:
            feed.unread(feed.read()[3:])
    except BaseException:
        feed.close()
        raise
    if head[:2] in _OTHER_BOMS or b"\0" in head[:4]:
        feed.close()
        raise TaskFormatError(f"{feed.name} is not UTF-8 but UTF-16 or binary: save it as UTF-8")
    return feed


def packing_of(peek: Callable[[int], bytes]) -> str | None:
    """Return how the data, whose first bytes *peek* returns, are compressed; None: not at all.

    Waits for more than two bytes only if these begin as compressed data does.
    """
    head = peek(2)[:2]
    for magic, packing in _MAGIC.items():
        if head == magic[:2] and peek(len(magic))[: len(magic)] == magic:
            return packing
    return None


def resembles(head: str) -> str:
    """Name the format whose files begin as *head* does, in brackets for a message; or nothing."""
    for name, pattern in _BEGINNINGS.items():
        if pattern.match(head):
            return f" (it looks like {name})"
    return ""


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
