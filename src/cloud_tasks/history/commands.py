"""The command line that runs certain tasks of a run again."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Flags that say which tasks run, which another choice replaces, and the values that they may be
#: followed by; None: they always are.
_CHOICES: Mapping[str, tuple[str, ...] | None] = {
    "--task-id": None,
    "--tasks-to-skip": None,
    "--max-num-tasks": None,
    "--resume": ("failed", "finished"),
}
#: And those that another task file replaces.
_FILES: Mapping[str, tuple[str, ...] | None] = {
    **_CHOICES,
    "--task-file": None,
    "--tasks": None,
    "--task-format": None,
}


def without_choices(
    words: Sequence[str], choices: Mapping[str, tuple[str, ...] | None] = _CHOICES
) -> list[str]:
    """Return the command line *words* without the flags that say which of the tasks run."""
    kept: list[str] = []
    before = ""
    for word in words:
        flag = word.partition("=")[0]
        if flag not in choices and not _takes(choices, before, word):
            kept.append(word)
        before = word
    return kept


def with_flags(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Return the command line *words* with *flags* at its end, or before a ``--`` of its own."""
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *flags, *words[end:]]


def rerun_command(words: Sequence[str], *task_ids: str, flags: Sequence[str] = ()) -> str:
    """Return what to type, to run just the tasks *task_ids* of the run of the command *words*.

    Without *words*, which is where nobody knows them, it is only the flags. Those of *flags* are
    added that aren't there.
    """
    kept = without_choices(words)
    added: list[str] = []
    for task_id in task_ids:
        # What begins with a hyphen would be taken for a flag.
        hyphen = task_id.startswith("-")
        added += [f"--task-id={task_id}"] if hyphen else ["--task-id", task_id]
    added += [flag for flag in flags if flag not in kept]
    return shlex.join(with_flags(kept, added))


def rerun_with_file(words: Sequence[str], task_file: str) -> str:
    """Return what to type, to run all tasks of *task_file* as the command *words* ran others."""
    return shlex.join(with_flags(without_choices(words, _FILES), ["--task-file", task_file]))


def _takes(choices: Mapping[str, tuple[str, ...] | None], flag: str, word: str) -> bool:
    """Tell whether *word* is the value of *flag*, one of those that choose tasks."""
    values = choices.get(flag)
    return flag in choices and (values is None or word in values)


# MERGED: The command lines that a run suggests: to go on with it, to run one task of it alone.


class RerunCommand:
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
