"""Tell what the machine is short of for a moment from what will never work, and wait for the first.

A full process table, no memory or no descriptors pass, mostly within seconds: another job ends, or
the kernel has killed something. A run that has lasted for hours must not end of them.
"""

from __future__ import annotations

import errno
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger(__name__)

#: Seconds for which a shortage is waited for.
PATIENCE = 300.0
#: Seconds between two warnings about the same shortage.
WARNING_PERIOD = 60.0
#: Seconds from one try to the next.
_PAUSE = 0.5

#: EAGAIN: too many processes or threads. ENOSPC: no room in memory that is a file.
_ERRORS = (
    errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOSPC,
)  # fmt: skip
_NO_THREAD = "can't start new thread"
_WORDS = re.compile(
    rf"\[Errno ({'|'.join(map(str, _ERRORS))})\]|^MemoryError\b|{_NO_THREAD}", re.MULTILINE
)
_Result = TypeVar("_Result")


def is_shortage(error: BaseException) -> bool:
    """Return whether *error* says that the machine is short of something."""
    if isinstance(error, OSError):
        return error.errno in _ERRORS
    return isinstance(error, MemoryError) or _NO_THREAD in str(error)


def tells_of_shortage(text: str) -> bool:
    """Return whether the last line of *text*, from another process, says so."""
    return _WORDS.search(text.strip().rpartition("\n")[2]) is not None


def wait_out(action: Callable[[], _Result], what: str) -> _Result:
    """Call *action*, again and again while it fails for a shortage; return its result.

    *what* could not be done, for the warnings.

    Raises:
        Exception: that of *action*: no shortage, or one that lasted for ``PATIENCE`` seconds.
    """
    began, warn_at = time.monotonic(), 0.0
    while True:
        try:
            return action()
        except (OSError, MemoryError, RuntimeError) as error:
            now = time.monotonic()
            if not is_shortage(error) or now - began > PATIENCE:
                raise
            if now >= warn_at:
                warn_at = now + WARNING_PERIOD
                logger.warning(
                    "%s: %s; trying again for up to %g s", what, error, PATIENCE - (now - began)
                )
        time.sleep(_PAUSE)


def start_thread(thread: threading.Thread) -> None:
    """Start *thread*; if there are too many threads, wait until there is room.

    Raises:
        RuntimeError: there was none for ``PATIENCE`` seconds.
    """
    wait_out(thread.start, "no thread could be started")
