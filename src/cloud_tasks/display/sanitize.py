"""Make the output of tasks safe to show on a terminal; colours stay.

There are two needs and two rules. While the progress is drawn, :class:`WholeLines` drops all other
control sequences, and shows the last state of a progress bar, because the lines pass by.
``cloud_tasks logs`` shows a log as evidence: :class:`ControlEscaper` replaces each control
character by its escape, those that reorder or hide text included, and shows every state of a
progress bar.
Foreign text on one line, such as a task id, is escaped by :func:`cloud_tasks.text.safe`.
"""

from __future__ import annotations

import codecs
import re

#: A line longer than this is shown in parts.
_LONGEST = 64 * 1024
#: Sequences that control a terminal; the group is set for those of a colour.
_CONTROLS = re.compile(
    r"\x1b\[(?P<colour>[0-9;:]*m)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]"
)
#: A colour; a line end; characters that move the cursor, hide or reorder text.
_SPECIAL = re.compile(
    r"\x1b\[[0-9;:]{0,40}m|\r+\n|"
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
    r"|[\ud800-\udfff\U000e0000-\U000e0fff]"
)
#: The beginning of a sequence that may go on in the next piece.
_OPEN_END = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,40})?|\r+)\Z")
_RESET = "\x1b[0m"


class WholeLines:
    """A buffer that gives out whole lines of what several processes write into one pipe.

    The beginning of a line is held until its end comes, or nothing has come for *idle* seconds.
    Text that a line overwrote by carriage returns, as progress bars do, is left out. Bytes that are
    invalid in *encoding*, that of the terminal, become replacement characters.

    Attributes:
        size: characters in the buffer.
    """

    def __init__(self, encoding: str = "utf-8", *, idle: float = 1.0) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._idle = idle
        self._parts: list[str] = []
        self._fed = 0.0
        self.size = 0

    def feed(self, data: bytes, now: float) -> None:
        """Add *data*, which came at *now*, in seconds."""
        text = self._decoder.decode(data)
        self._parts.append(text)
        self.size += len(text)
        self._fed = now

    def take(self, now: float, *, everything: bool = False) -> str:
        """Remove and return the lines that are whole at *now*; *everything*: the last one, too."""
        if not self._parts:
            return ""
        whole, end, rest = "".join(self._parts).rpartition("\n")
        whole += end
        rest = _last_version(rest)
        if rest and (everything or len(rest) > _LONGEST or now - self._fed >= self._idle):
            whole, rest = f"{whole}{rest}\n", ""
        self._parts = [rest] if rest else []
        self.size = len(rest)
        return _without_other_controls(whole)


def _last_version(line: str) -> str:
    r"""Return the visible part of a line with ``\r``; one at its end may belong to a ``\r\n``."""
    shown = line.rstrip("\r")
    return shown.rpartition("\r")[2] + line[len(shown) :][:1]


def _without_other_controls(text: str) -> str:
    if "\r" in text:
        text = "\n".join(_last_version(line).rstrip("\r") for line in text.split("\n"))
    shown = _CONTROLS.sub(_colour_only, text)
    # A colour that a task leaves on ends with its lines.
    return f"{shown[:-1]}{_RESET}\n" if "\x1b" in shown else shown


def without_controls(line: str) -> str:
    """Return *line* without colours and other control sequences."""
    return _CONTROLS.sub("", line)


def _colour_only(found: re.Match[str]) -> str:
    return found[0] if found["colour"] is not None else ""


class ControlEscaper:
    """A filter for pieces of output that escapes all control characters but colours.

    A carriage return begins a new line, so that a progress bar overwrites nothing. Colours are left
    out unless *colours* is set.
    """

    def __init__(self, *, colours: bool = True) -> None:
        self._colours = colours
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._coloured = False

    def feed(self, piece: bytes) -> str:
        """Return the text of *piece*, and of what was held back of the one before."""
        text = self._rest + self._decoder.decode(piece)
        open_end = _OPEN_END.search(text)
        at = len(text) if open_end is None else open_end.start()
        self._rest = text[at:]
        return self._shown(text[:at])

    def end(self) -> str:
        """Return the rest, and the sequence that resets the terminal's colours if any was set."""
        text = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        shown = self._shown(text)
        return shown + (_RESET if self._coloured else "")

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
