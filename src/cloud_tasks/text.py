"""Numbers, durations and other people's text, as they are shown on a console."""

from __future__ import annotations

#: Longer texts of a task's are cut on the console.
LONGEST = 200


def safe(text: str, longest: int = LONGEST) -> str:
    """Return *text* in one line of printable characters, at most *longest* of them.

    Task ids and results are other people's: they must not move the cursor, forge a line or fill
    the screen.
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """Return *seconds* with a unit that suits: ``31 ms``, ``4.2 s``, ``17:05``, ``3:02:44``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return clock(seconds)


def clock(seconds: float) -> str:
    """Return *seconds* as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plural(n: int, noun: str) -> str:
    """Return ``1 task``, ``1,000 tasks``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
