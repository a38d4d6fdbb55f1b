"""The command lines that a run suggests: to go on with it, to run one task of it alone."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cloud_tasks.history.rerun import rerun_command, with_flags


class Command:
    """The command line of this process, to be said again with changes.

    Args:
        args: what the worker was given; where it is not this process's own command line, nobody
            can say how to repeat it.
        argv: a whole command line, the interpreter first; None: of this process.
        given: the arguments in it; None: of this process.
    """

    def __init__(
        self,
        args: Sequence[str] | None,
        argv: Sequence[str] | None = None,
        given: Sequence[str] | None = None,
    ) -> None:
        self._words = _words(sys.orig_argv if argv is None else argv)
        said = sys.argv[1:] if given is None else list(given)
        # A program may have taken words from the front for itself, as `cloud_tasks worker` does.
        self.known = args is None or (list(args) == said[-len(args) :] if args else not said)

    @property
    def words(self) -> list[str]:
        """The words, with the names of programs without their folders."""
        return list(self._words)

    def resumed(self) -> str | None:
        """Return the command that goes on with the run; None: nobody knows it."""
        if not self.known:
            return None
        ours = itertools.takewhile(lambda word: word != "--", self._words)
        said = any(word.partition("=")[0] == "--resume" for word in ours)
        return shlex.join(with_flags(self._words, [] if said else ["--resume"]))

    def alone(self, task_id: str, *flags: str) -> str | None:
        """Return the command that runs one task, with *flags*; None: nobody knows it."""
        if not self.known:
            return None
        return rerun_command(self._words, task_id, flags=flags)


def _words(argv: Sequence[str]) -> list[str]:
    """Name the interpreter, or our own command, as a person would type it."""
    words = list(argv)
    if words:
        words[0] = Path(words[0]).name
    if len(words) > 1 and Path(words[1]).name in ("cloud_tasks", "cloud-tasks"):
        return [Path(words[1]).name, *words[2:]]
    return words
