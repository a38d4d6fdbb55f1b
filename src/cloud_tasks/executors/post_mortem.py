"""Looking at a task that raised, where it raised: Python's debugger on the terminal."""

from __future__ import annotations

import logging
import sys
import traceback

from cloud_tasks.executors.call import BadResultError, Interruption

logger = logging.getLogger(__name__)


class PostMortem:
    """Opens ``pdb`` on an exception, in the calling thread; says once if it can't."""

    def __init__(self) -> None:
        self._warned = False

    def open(self, error: BaseException) -> None:
        """Show *error*, and block until the person has seen enough or the worker is stopped.

        The frames are those of the task: the user's function is the outermost one. What the
        function returned and can't be recorded has no frames to look at.
        """
        trace = error.__traceback__
        if isinstance(error, BadResultError) or trace is None:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            self._warn("the debugger needs a terminal, and standard input is none")
            return
        import pdb

        # The first frame is ours, that of the call.
        trace = trace.tb_next or trace
        try:
            traceback.print_exception(type(error), error, trace)
            pdb.post_mortem(trace)
        except Interruption:
            return  # the worker is stopped; the task had raised before
        except Exception as trouble:  # noqa: BLE001 - the task's outcome stays what it is
            # Reading a line can wrap what a signal handler raises.
            if not isinstance(trouble.__cause__, Interruption):
                self._warn(f"the debugger failed with {trouble!r}")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: tasks that raise are recorded, and the run goes on", reason)
