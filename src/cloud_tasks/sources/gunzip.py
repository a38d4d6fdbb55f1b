"""Unpacking gzip data as it comes: nothing waits for more than is needed for the next bytes."""

from __future__ import annotations

import io
import zlib
from typing import Any, Protocol

from cloud_tasks.errors import TaskFormatError

_GZIP_ONLY = 16 + zlib.MAX_WBITS


class Packed(Protocol):
    """Where the compressed bytes come from."""

    name: str

    def read(self) -> bytes:
        """Return the next bytes, none at the end."""

    def unread(self, data: bytes) -> None:
        """Give *data* back, to be read next."""

    def close(self) -> None:
        """Let go of it."""


class Gunzip(io.RawIOBase):
    """A stream of the unpacked bytes of one or more gzip members."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self._packed = packed
        self._member: Any = zlib.decompressobj(_GZIP_ONLY)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to *size* bytes as soon as there are some, none at the end.

        Raises:
            TaskFormatError: the data is damaged or cut off.
        """
        # Whether another member follows is asked only when more is wanted: on a pipe the answer
        # may be long in coming.
        while not self._member.eof or self._next_member(self._member.unused_data):
            # Without input as well: the unpacker may hold back what it had no room for.
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
        """Let go of the compressed stream."""
        self._packed.close()
        super().close()

    def _next_member(self, rest: bytes) -> bool:
        # Zeros after a member are padding, from tapes and block devices.
        while not (rest := rest.lstrip(b"\0")):
            rest = self._packed.read()
            if not rest:
                return False
        self._packed.unread(rest)
        self._member = zlib.decompressobj(_GZIP_ONLY)
        return True
