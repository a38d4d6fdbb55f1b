"""Suggest command lines that repeat a run with changes: resumed, or with other tasks.

No secret is kept: a mask stands in its place, and the suggestion says so.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud_tasks.masking import FILL_IN, is_masked, masked_words

#: Flags that choose tasks, each with the values that may follow it as a word of its own; None: a
#: value always follows.
_CHOICES: Mapping[str, tuple[str, ...] | None] = {
    "--task-id": None,
    "--tasks-to-skip": None,
    "--max-num-tasks": None,
    "--resume": ("failed", "finished"),
}
#: Those, and the flags that another task file replaces.
_FILES: Mapping[str, tuple[str, ...] | None] = {
    **_CHOICES,
    "--task-file": None,
    "--tasks": None,
    "--task-format": None,
}


class RerunCommand:
    """The command line of this process, to be suggested with changes.

    Args:
        args: the arguments of the worker. Where they are not those of this process, the program
            made them up, and no command line repeats the run.
        argv: a whole command line, the interpreter first; None: of this process.
        given: the arguments in it; None: of this process.
    """

    def __init__(
        self,
        args: Sequence[str] | None,
        argv: Sequence[str] | None = None,
        given: Sequence[str] | None = None,
    ) -> None:
        self._words = masked_words(_as_typed(sys.orig_argv if argv is None else argv))
        of_process = sys.argv[1:] if given is None else list(given)
        # A program may take words from the front for itself, as `cloud_tasks worker` does.
        self.is_known = args is None or (
            list(args) == of_process[-len(args) :] if args else not of_process
        )

    @property
    def words(self) -> list[str]:
        """The words without secrets, and with the names of programs without their folders."""
        return list(self._words)

    def resumed(self) -> str | None:
        """Return the command that resumes the run; None: it is unknown."""
        if not self.is_known:
            return None
        flags = itertools.takewhile(lambda word: word != "--", self._words)
        has_flag = any(word.partition("=")[0] == "--resume" for word in flags)
        return shlex.join(with_flags(self._words, [] if has_flag else ["--resume"]))

    def for_task(self, task_id: str, *flags: str) -> str | None:
        """Return the command that runs one task only, with *flags*; None: it is unknown."""
        return rerun_command(self._words, task_id, flags=flags) if self.is_known else None


def note_on(command: str) -> list[str]:
    """Return what a user has to know about a suggested *command*: a line, or none."""
    return [f"({FILL_IN})"] if is_masked(command) else []


def _as_typed(argv: Sequence[str]) -> list[str]:
    """Name the interpreter, or our own command, as a person would type it."""
    words = list(argv)
    if words:
        words[0] = Path(words[0]).name
    if len(words) > 1 and Path(words[1]).name in ("cloud_tasks", "cloud-tasks"):
        return [Path(words[1]).name, *words[2:]]
    return words


def rerun_command(words: Sequence[str], *task_ids: str, flags: Sequence[str] = ()) -> str:
    """Return the command line that runs just *task_ids* of the run of the command *words*.

    Those of *flags* are added that aren't there. Where the command is unknown, *words* is empty,
    and only the flags are returned.
    """
    kept = _without(words, _CHOICES)
    added: list[str] = []
    for task_id in task_ids:
        # A word that begins with a hyphen would be taken for a flag.
        hyphen = task_id.startswith("-")
        added += [f"--task-id={task_id}"] if hyphen else ["--task-id", task_id]
    added += [flag for flag in flags if flag not in kept]
    return shlex.join(with_flags(kept, added))


def rerun_with_file(words: Sequence[str], task_file: str) -> str:
    """Return the command line that runs all tasks of *task_file* as the command *words* did."""
    return shlex.join(with_flags(_without(words, _FILES), ["--task-file", task_file]))


def with_flags(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Return the command line *words* with *flags* at its end, or before a ``--`` of its own."""
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *flags, *words[end:]]


def _without(words: Sequence[str], removed: Mapping[str, tuple[str, ...] | None]) -> list[str]:
    """Return *words* without the flags *removed* and their values."""
    kept: list[str] = []
    before = ""
    for word in words:
        values = removed.get(before, ())
        is_value = values is None or word in values
        if word.partition("=")[0] not in removed and not is_value:
            kept.append(word)
        before = word
    return kept
