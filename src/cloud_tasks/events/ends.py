"""Reading from a line of ours how a task ended, without reading all of the line.

A line that has another form than usual is left to a parser. What is found is what a parser would
find: the pattern matches whole lines of valid JSON only, in which each field that is read stands
once.
"""

from __future__ import annotations

import re
from typing import Any

#: Longer lines are left to the parser: matching a result of megabytes would save nothing.
_LONGEST = 16 * 1024

_TEXT = r'"[ !#-\[\]-~]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-\[\]-~]*)*"'
# Python refuses integers of thousands of digits.
_NUMBER = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"
_FLAT = rf"(?:{_TEXT}|{_NUMBER}|true|false|null)"
_LIST = rf"\[(?:{_FLAT}(?:, ?{_FLAT})*)?\]"
_MAPPING = rf"\{{(?:{_TEXT}: ?{_FLAT}(?:, ?{_TEXT}: ?{_FLAT})*)?\}}"
_OTHERS = (
    r'(?:, "(?!(?:event_type|task_id|retry|data_digest)")[a-z_]+": '
    rf"(?:{_FLAT}|{_LIST}|{_MAPPING}))*"
)
_PLAIN = r"[ !#-\[\]-~]*"  # without anything that is escaped

_END = re.compile(
    (
        rf'\{{"timestamp": "{_PLAIN}", "hostname": "{_PLAIN}", "event_type": "(task_[a-z_]+)", '
        rf'"task_id": "({_PLAIN})", "elapsed_time": {_NUMBER}, "retry": (true|false)'
        rf'{_OTHERS}(?:, "data_digest": "({_PLAIN})")?(?:, "lease_lost": true)?\}}\n?'
    ).encode()
)


def task_end(line: bytes) -> dict[str, Any] | None:
    """Return ``event_type``, ``task_id``, ``retry`` and ``data_digest`` of the event in *line*.

    None: the line has another form than usual, so it is to be parsed. The other fields are left
    out; ``data_digest`` is None where the event has none.
    """
    if len(line) > _LONGEST:
        return None
    found = _END.fullmatch(line)
    if found is None:
        return None
    kind, task_id, retry, digest = found.groups()
    return {
        "event_type": kind.decode(),
        "task_id": task_id.decode(),
        "retry": retry == b"true",
        "data_digest": None if digest is None else digest.decode(),
    }
