"""What tasks printed, on a terminal: colours stay, whatever else would drive it is only shown."""

from __future__ import annotations

import codecs
import re

# Colour; a line end; what moves the cursor, hides or reorders text.
_SPECIAL = re.compile(
    r"\x1b\[[0-9;:]{0,40}m|\r+\n|"
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
    r"|[\ud800-\udfff\U000e0000-\U000e0fff]"
)
#: The end of a piece that may go on in the next one.
_OPEN_END = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,40})?|\r+)\Z")


class Harmless:
    """Makes pieces of output harmless, one after the other.

    A carriage return begins a new line, since a progress bar would write over what is there.

    Args:
        colours: they stay; else they are left out.
    """

    def __init__(self, *, colours: bool = True) -> None:
        self._colours = colours
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._coloured = False

    def feed(self, piece: bytes) -> str:
        """Return what can be shown of *piece* and what was before it."""
        text = self._rest + self._decoder.decode(piece)
        open_end = _OPEN_END.search(text)
        at = len(text) if open_end is None else open_end.start()
        self._rest = text[at:]
        return self._shown(text[:at])

    def end(self) -> str:
        """Return what is left, and what puts the terminal's colours back."""
        text = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        shown = self._shown(text)
        return shown + ("\x1b[0m" if self._coloured else "")

    def _shown(self, text: str) -> str:
        return _SPECIAL.sub(self._replacement, text)

    def _replacement(self, found: re.Match[str]) -> str:
        special = found[0]
        if special.endswith("\n") or special == "\r":
            return "\n"
        if len(special) > 1:
            self._coloured = self._colours
            return special if self._colours else ""
        return special.encode("unicode_escape", "backslashreplace").decode("ascii")
