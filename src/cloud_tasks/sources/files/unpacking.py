"""Unpack the bytes of a compressed task file on their way, in bounded memory.

gzip, xz, bzip2 and, from Python 3.14 on, zstd come as a stream of one or more members, from pipes
too. A zip archive is read where it holds one file and can be sought in.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files.opening import CHUNK, ByteFeed, RawStream

#: zlib's window bits for gzip data only.
_GZIP_ONLY = 16 + zlib.MAX_WBITS


def unpack(feed: ByteFeed, packing: str) -> io.RawIOBase:
    """Return a stream of the bytes in *feed*, which are compressed by *packing*.

    Raises:
        TaskFormatError: that is not supported, here or at all.
    """
    if packing == "zip":
        return _ZipMember(feed)
    try:
        member = _member_class(packing)
    except ImportError as error:
        newer = ", which Python 3.14 and newer unpack" if packing == "zstd" else ""
        raise TaskFormatError(
            f"{feed.name} is compressed by {packing}{newer}: unpack it, or use gzip, xz or bzip2"
        ) from error
    return Unpacked(feed, member)


def _member_class(packing: str) -> Callable[[], Any]:
    """Return what makes an object that unpacks one member.

    Raises:
        ImportError: this Python has none.
    """
    match packing:
        case "gzip":
            return _GzipMember
        case "xz":
            from lzma import LZMADecompressor

            return LZMADecompressor
        case "bzip2":
            from bz2 import BZ2Decompressor

            return BZ2Decompressor
        case "zstd":  # a name that older Pythons don't know
            zstd: Callable[[], Any] = import_module("compression.zstd").ZstdDecompressor
            return zstd
    raise ImportError(packing)


class _GzipMember:
    """zlib's object with the interface of those for xz and bzip2."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_GZIP_ONLY)
        self._had_room = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        # zlib may hold back output that it had no room for, also without input.
        return self._had_room and not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._had_room = len(piece) < max_length
        return piece


class Unpacked(io.RawIOBase):
    """Stream of the unpacked bytes of one or more members, each unpacked by a new *member*."""

    def __init__(self, packed: ByteFeed, member: Callable[[], Any]) -> None:
        super().__init__()
        self._packed = packed
        self._new_member = member
        self._member = member()

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes as soon as there are some, none at the end.

        Raises:
            TaskFormatError: the data is damaged or cut off.
        """
        # Another member is looked for only when more bytes are needed, because on a pipe that may
        # block for long.
        while not self._member.eof or self._next_member(self._member.unused_data):
            needs_input = self._member.needs_input
            data = self._packed.read() if needs_input else b""
            try:
                piece: bytes = self._member.decompress(data, size if size > 0 else CHUNK)
            except Exception as error:
                # Each library has errors of its own, without a common root.
                raise TaskFormatError(
                    f"{self._packed.name} holds damaged compressed data: {error}"
                ) from error
            if piece:
                return piece
            if needs_input and not data and not self._member.eof:
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
        """Go on to the member that follows in *rest* and behind; False if there is none."""
        # Zeros after a member are padding, from tapes and block devices, and xz's own.
        while not (rest := rest.lstrip(b"\0")):
            rest = self._packed.read()
            if not rest:
                return False
        self._packed.unread(rest)
        self._member = self._new_member()
        return True


class _ZipMember(io.RawIOBase):
    """Stream of the only file in a zip archive.

    Raises:
        TaskFormatError: it can't be sought in, is damaged, or holds several files or none.
    """

    def __init__(self, packed: ByteFeed) -> None:
        super().__init__()
        import zipfile

        self._name = packed.name
        self._packed = packed
        raw: RawStream | None = packed.seekable()
        if raw is None:
            raise TaskFormatError(
                f"{self._name} is a zip archive, which can't be read from a pipe: "
                "unpack it first (unzip -p)"
            )
        try:
            archive = zipfile.ZipFile(raw)
            files = [info for info in archive.infolist() if not info.is_dir()]
            self._file: Any = archive.open(files[0]) if len(files) == 1 else None
        except Exception as error:
            raise self._damaged(error) from error
        if self._file is None:
            raise TaskFormatError(
                f"{self._name} is a zip archive of {len(files)} files: unpack it, and give one"
            )

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes, none at the end.

        Raises:
            TaskFormatError: the data is damaged or cut off.
        """
        try:
            piece: bytes = self._file.read1(size)
        except Exception as error:
            # zipfile raises whatever its decompressors do, and RuntimeError for a password.
            raise self._damaged(error) from error
        return piece

    def _damaged(self, error: Exception) -> TaskFormatError:
        return TaskFormatError(
            f"{self._name} can't be unpacked: {str(error) or type(error).__name__}"
        )

    def close(self) -> None:
        """Close the archive."""
        self._packed.close()
        super().close()
