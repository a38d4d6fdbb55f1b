"""Find in a traceback the line with the exception, and the place in the user's own code.

Works on the text alone, as any version of Python prints it: a log holds no exception objects.
"""

from __future__ import annotations

import itertools
import re

_HEADER = "Traceback (most recent call last):"
_GROUP = "  + Exception Group "
#: Lines between an exception and the one that followed from it.
_LINKS = (
    "\n\nDuring handling of the above exception, another exception occurred:\n\n",
    "\n\nThe above exception was the direct cause of the following exception:\n\n",
)
# Frames and source lines are indented, the line with the type is not; a group puts bars before it.
_TYPE_LINE = re.compile(r"\n(\S.*)")
_GROUP_TYPE_LINE = re.compile(r"\n  \| (\S.*)")
_NAMED = re.compile(r"(?:[\w<>]+\.)*([\w<>]+)(?:: (.*))?$")
_NEXT_LINE = re.compile(r"\n[\s|]*([^\s|].*)")
#: Replaces the middle of a long text, see ``executors.common.call``.
_GAP = re.compile(r"… [\d,]+ characters left out …")
_FRAME = re.compile(r'File "(.*)", line (\d+)(?:, in (.+))?')
_CRASH_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.+)$', re.MULTILINE)
# The standard library, installed packages, and the modules that call the user's function.
_NOT_THE_USERS = re.compile(
    r"[/\\](?:lib(?:64)?[/\\]python\d|(?:site|dist)-packages[/\\]"
    r"|cloud_tasks[/\\](?:executors|runtime|worker|sources|task_data|worker_data)\b)"
    r"|\\Lib\\|^<frozen "
)
#: Frames that are searched, from the innermost one: a library may recurse without end.
_MOST_FRAMES = 200
_LONGEST_NAME = 80
_CUT_OFF = "an exception whose text is cut off"


def summarise(text: str) -> tuple[str, str | None]:
    """Return the line that names the exception, without its module, and where it was raised.

    The place is ``file.py:12 in load``: the innermost frame outside the standard library,
    installed packages and this package; None if there is none. Of a *text* without a traceback
    the line is the first one.
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
    """Return the offset at which the last exception of a chain begins."""
    ends = [at + len(link) for link in _LINKS if (at := text.rfind(link)) >= 0]
    return max(ends, default=0)


def _first_line(text: str, start: int) -> tuple[str, int]:
    while start < len(text) and text[start].isspace():
        start += 1
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return text[start:end], end


def _after_gap(text: str, gap: int) -> re.Match[str] | None:
    """Find the line with the type where the text before it has lost its middle."""
    # The text after the gap may begin within a line.
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
        # The message begins with an empty line.
        more = _NEXT_LINE.match(text, end)
        message = more[1] if more else ""
    return f"{name}: {message.strip()}" if message else str(name)


def crash_site(text: str) -> str | None:
    """Return the place in the user's code at which its process crashed; None if unknown.

    *text* is what faulthandler writes, with the innermost frame first.
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
        # A frame without a function is the place of a SyntaxError, maybe in text without a file.
        if _NOT_THE_USERS.search(path) or (function is None and path.startswith("<")):
            continue
        return _place(path, line, function)
    return None


def _place(path: str, line: str, function: str | None) -> str:
    file = path.rpartition("/")[2].rpartition("\\")[2]
    return f"{file}:{line}" + (f" in {function[:_LONGEST_NAME]}" if function else "")
