"""Format numbers, durations and foreign text for a console, a log or a page; read a variable.

Foreign text is whatever a task, a task file, a queue or a provider wrote: it must not move the
cursor, forge a line or fill the screen. On one line, :func:`safe` escapes it; many lines that
tasks print are the subject of :mod:`cloud_tasks.display.sanitize`.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Characters of a foreign text that are shown on a console.
LONGEST = 200
#: Causes of failure that a summary lists.
_CAUSES_SHOWN = 10


def safe(text: str, longest: int = LONGEST) -> str:
    """Return foreign *text* on one line, cut to *longest*, with non-printable characters escaped.

    An escape counts as the one character that it stands for.
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def given(variable: str | None) -> str | None:
    """Return the text of an environment variable of ours; None if it counts as unset.

    So do the empty text and the text ``None``, which start-up scripts of the older system export.
    """
    return None if variable in ("", "None") else variable


def duration(seconds: float) -> str:
    """Format *seconds* in a unit that suits: ``31 ms``, ``4.2 s``, ``17:05``, ``3:02:44``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return clock(seconds)


def clock(seconds: float) -> str:
    """Format *seconds* as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rate(per_second: float) -> str:
    """Format a rate by the second, or by the minute or hour if that is below 1 a second."""
    for factor, unit in ((1, "s"), (60, "min")):
        if per_second * factor >= 1:
            value = per_second * factor
            return f"{value:,.{0 if value >= 100 else 1}f}/{unit}"
    return f"{per_second * 3600:,.1f}/h"


def rate_pair(per_second: float) -> str:
    """Format a rate for scripts that read a progress line: ``rate=0.25/s``, ``rate=1234/s``."""
    return f"rate={per_second:.{0 if per_second >= 100 else 2}f}/s"


def plural(n: int, noun: str) -> str:
    """Format a count with its noun: ``1 task``, ``1,000 tasks``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def cause_lines(causes: Sequence[tuple[int, str]]) -> list[str]:
    """List *causes* of failure, counts and descriptions with the most frequent first.

    The first few get a line each, the others share the last line. No line if there is no cause.
    """
    if not causes:
        return []
    shown, rest = causes[:_CAUSES_SHOWN], causes[_CAUSES_SHOWN:]
    width = len(f"{shown[0][0]:,}")
    lines = ["  not done, by cause:", *(f"    {count:>{width},}  {text}" for count, text in shown)]
    if rest:
        others = sum(count for count, _ in rest)
        lines.append(f"    and {others:,} for {plural(len(rest), 'other cause')}")
    return lines
