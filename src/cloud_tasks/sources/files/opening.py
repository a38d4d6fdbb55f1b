"""Open a task file as a feed of bytes: local, remote, compressed or piped.

The feed returns bytes in the pieces in which they come, so that a task on a pipe is delivered as
soon as it is complete. Gzip data is unpacked on the way, and never more is waited for than the next
unpacked bytes need.
"""

from __future__ import annotations

import io
import os
import re
import select
import stat
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias

from cloud_tasks.errors import ConfigurationError, SourceError, TaskFormatError
from cloud_tasks.sources.entries import shown

#: Bytes asked for at a time.
CHUNK = 64 * 1024

#: Most characters of one entry. Far above what a task should carry; keeps a file without structure
#: from filling the memory.
MAX_ENTRY = 256 * 1024 * 1024

#: Deepest nesting of one entry, in formats where Python itself sets no limit.
MAX_DEPTH = 200

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")
_WHY_NOT: Mapping[type, str] = {
    FileNotFoundError: "does not exist",
    IsADirectoryError: "is a directory, not a file",
    PermissionError: "can't be read: you lack the permission",
}
_GZIP = b"\x1f\x8b"
#: zlib's window bits for gzip data only.
_GZIP_ONLY = 16 + zlib.MAX_WBITS

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
    """

    def __init__(self, raw: RawStream, name: str, *, live: bool = False, chunk: int = CHUNK):
        self.name = name
        self.live = live
        self._raw = raw
        self._chunk = chunk
        self._ahead = b""

    def read(self) -> bytes:
        """Return the next bytes, none at the end; blocks until there are some.

        Raises:
            SourceError: reading failed, or a compressed file is damaged.
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

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def is_fcpath(value: object) -> bool:
    """Tell whether *value* is a ``filecache.FCPath``, without importing that package."""
    return any(
        cls.__name__ == "FCPath" and cls.__module__.partition(".")[0] == "filecache"
        for cls in type(value).__mro__
    )


def is_remote(path: object) -> bool:
    """Tell whether *path* has to be fetched by filecache."""
    return is_fcpath(path) or (isinstance(path, str) and _SCHEME.match(path) is not None)


def fetch(path: Any, name: str) -> tuple[Path, Callable[[], None] | None]:
    """Fetch a remote file; blocks until all of it has come.

    Returns:
        The local copy, and a function to call when it is no longer needed, if it has to be.

    Raises:
        SourceError: it can't be fetched.
        ConfigurationError: filecache is not installed.
    """
    try:
        from filecache import FCPath, FileCache
    except ImportError as error:
        raise ConfigurationError(
            f"{name} can't be fetched without the package rms-filecache: pip install rms-filecache"
        ) from error
    # Without a cache of ours the copy belongs to the user's own cache, or is the file itself.
    discard: Callable[[], None] | None = None
    local: Any
    try:
        if is_fcpath(path):
            local = path.retrieve()
        else:
            # A cache of our own, because the default one is shared and persistent: it would
            # return an old copy after the remote file has changed.
            cache = FileCache(None)
            discard = cache.delete_cache
            local = FCPath(path, filecache=cache).retrieve()
    except Exception as error:
        # Every cloud SDK has its own tree of errors.
        if discard:
            discard()
        raise SourceError(
            f"{name} can't be fetched: {type(error).__name__}: {shown(str(error), 300)}"
        ) from error
    return Path(local), discard


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
    return decompressed(ByteFeed(raw, name, live=not _is_regular(raw)))


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
        raw, live = file, not _is_regular(file)
    except (AttributeError, OSError, ValueError):
        raw, live = _ReplacedStandardInput(name), True
    return decompressed(ByteFeed(raw, name, live=live))


class _ReplacedStandardInput(io.RawIOBase):
    """A standard input that the program has replaced by an object without a descriptor."""

    def __init__(self, name: str) -> None:
        buffer = getattr(sys.stdin, "buffer", None)
        if buffer is None:
            raise SourceError(f"{name} is closed: give the name of a task file")
        self._read: Callable[[int], bytes] = getattr(buffer, "read1", buffer.read)

    def read(self, size: int = -1, /) -> bytes | None:
        return self._read(size)


def _is_regular(file: IO[bytes]) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def decompressed(feed: ByteFeed) -> ByteFeed:
    """Return a feed of the unpacked bytes, without a byte-order mark; refuse UTF-16.

    The first bytes tell whether the data is compressed.

    Raises:
        TaskFormatError: the content is no UTF-8; the feed is closed then.
        SourceError: reading failed.
    """
    try:
        if feed.peek(2)[:2] == _GZIP:
            feed = ByteFeed(Gunzip(feed), feed.name, live=feed.live)
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


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class Gunzip(io.RawIOBase):
    """Stream of the unpacked bytes of one or more gzip members."""

    def __init__(self, packed: ByteFeed) -> None:
        super().__init__()
        self._packed = packed
        self._member: Any = zlib.decompressobj(_GZIP_ONLY)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes as soon as there are some, none at the end.

        Raises:
            TaskFormatError: the data is damaged or cut off.
        """
        # Another member is looked for only when more bytes are needed, because on a pipe that may
        # block for long.
        while not self._member.eof or self._next_member(self._member.unused_data):
            # Also without input, because zlib may hold back output that it had no room for.
            data = self._member.unconsumed_tail or self._packed.read()
            try:
                piece: bytes = self._member.decompress(data, max(size, 0))
            except zlib.error as error:
                raise TaskFormatError(
                    f"{self._packed.name} holds damaged compressed data: {error}"
                ) from error
            if piece:
                return piece
            if not data and not self._member.eof:
                raise TaskFormatError(
                    f"{self._packed.name} ends in the middle of its compressed data: "
                    "it was cut off, make it again"
                )
        return b""

    def close(self) -> None:
        """Close the compressed stream."""
        self._packed.close()
        super().close()

    def _next_member(self, rest: bytes) -> bool:
        """Go on to the gzip member that follows in *rest* and behind; False if there is none."""
        # Zeros after a member are padding, from tapes and block devices.
        while not (rest := rest.lstrip(b"\0")):
            rest = self._packed.read()
            if not rest:
                return False
        self._packed.unread(rest)
        self._member = zlib.decompressobj(_GZIP_ONLY)
        return True
