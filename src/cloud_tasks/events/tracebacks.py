"""What a traceback comes to: its last words, and where in the user's own code it happened.

Works on the text alone, as any Python prints it: the exceptions that a log tells of are gone.
"""

from __future__ import annotations

import itertools
import re

_HEADER = "Traceback (most recent call last):"
_GROUP = "  + Exception Group "
#: Between an exception and the one that came of it.
_LINKS = (
    "\n\nDuring handling of the above exception, another exception occurred:\n\n",
    "\n\nThe above exception was the direct cause of the following exception:\n\n",
)
# Frames and source lines are indented, the line with the type is not; in a group, a bar precedes.
_TYPE_LINE = re.compile(r"\n(\S.*)")
_GROUP_TYPE_LINE = re.compile(r"\n  \| (\S.*)")
_NAMED = re.compile(r"(?:[\w<>]+\.)*([\w<>]+)(?:: (.*))?$")
_NEXT_LINE = re.compile(r"\n[\s|]*([^\s|].*)")
#: Put by us where the middle of a long text was.
_GAP = re.compile(r"… [\d,]+ characters left out …")
_FRAME = re.compile(r'File "(.*)", line (\d+)(?:, in (.+))?')
_CRASH_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.+)$', re.MULTILINE)
# The standard library, installed packages, and what calls the user's function.
_NOT_THE_USERS = re.compile(
    r"[/\\](?:lib(?:64)?[/\\]python\d|(?:site|dist)-packages[/\\]"
    r"|cloud_tasks[/\\](?:executors|runtime|worker|sources|task_data|worker_data)\b)"
    r"|\\Lib\\|^<frozen "
)
#: Frames that are looked at, from the innermost one: a library may recurse without end.
_MOST_FRAMES = 200
_LONGEST_NAME = 80
_CUT_OFF = "an exception whose text is cut off"


def last_words(text: str) -> tuple[str, str | None]:
    """Return the line that names the exception, without its module, and where it happened.

    Where: ``file.py:12 in load``, the innermost frame that belongs neither to the standard
    library nor to an installed package nor to us; None: there is none. A *text* without a
    traceback is its own first line.
    """
    start = _last_part(text)
    group = text.startswith(_GROUP + _HEADER, start)
    header = text.find(_HEADER, start)
    if header < 0 or not (group or header == start or text[header - 1] == "\n"):
        line, end = _first_line(text, start)
        return _without_module(line, text, end), _where(text, start, '\n  File "')
    found = (_GROUP_TYPE_LINE if group else _TYPE_LINE).search(text, header)
    if found is not None and _GAP.match(found[1]):
        found = _after_gap(text, found.end())
    end = len(text) if found is None else found.start()
    where = _where(text, end, '\n  |   File "' if group else '\n  File "')
    if found is None:
        return _CUT_OFF, where
    return _without_module(found[1], text, found.end()), where


def _last_part(text: str) -> int:
    """Return where the last exception of a chain begins."""
    ends = [at + len(link) for link in _LINKS if (at := text.rfind(link)) >= 0]
    return max(ends, default=0)


def _first_line(text: str, start: int) -> tuple[str, int]:
    while start < len(text) and text[start].isspace():
        start += 1
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return text[start:end], end


def _after_gap(text: str, gap: int) -> re.Match[str] | None:
    """Find the line with the type where the text before it lost its middle."""
    # What follows the gap begins anywhere in a line.
    return _TYPE_LINE.search(text, max(text.rfind('\n  File "', gap), text.find("\n", gap + 1)))


def _without_module(line: str, text: str, end: int) -> str:
    """Return ``ValueError: words`` for ``some.module.ValueError: words``."""
    named = _NAMED.match(line)
    if named is None:
        return line.strip()
    name, message = named.groups()
    if message is None:
        return str(name)
    if not message.strip():
        # It begins with an empty line.
        more = _NEXT_LINE.match(text, end)
        message = more[1] if more else ""
    return f"{name}: {message.strip()}" if message else str(name)


def crash_site(text: str) -> str | None:
    """Return where the user's code was when its process crashed; None: nobody knows.

    Takes what faulthandler writes, where the innermost frame comes first.
    """
    frames = _CRASH_FRAME.finditer(text, max(0, text.find("Current thread ")))
    for frame in itertools.islice(frames, _MOST_FRAMES):
        path, line, function = frame.groups()
        if not _NOT_THE_USERS.search(path):
            return _place(path, line, function)
    return None


def _where(text: str, end: int, mark: str) -> str | None:
    for _ in range(_MOST_FRAMES):
        end = text.rfind(mark, 0, end)
        if end < 0:
            return None
        frame = _FRAME.match(text, end + len(mark) - len('File "'))
        if frame is None:
            continue
        path, line, function = frame.groups()
        # Without a function it is the place of a SyntaxError, maybe in text that is in no file.
        if _NOT_THE_USERS.search(path) or (function is None and path.startswith("<")):
            continue
        return _place(path, line, function)
    return None


def _place(path: str, line: str, function: str | None) -> str:
    file = path.rpartition("/")[2].rpartition("\\")[2]
    return f"{file}:{line}" + (f" in {function[:_LONGEST_NAME]}" if function else "")
