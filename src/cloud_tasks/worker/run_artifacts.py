"""Keep the run directory and the task logs of a run, and suggest commands that use them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud_tasks.clock import Clock
from cloud_tasks.errors import EventLogError
from cloud_tasks.history.commands import RerunCommand, note_on
from cloud_tasks.history.layout import RunDir, logs_beside
from cloud_tasks.history.run_writer import RunWriter
from cloud_tasks.outcome import Outcome
from cloud_tasks.settings.table import Settings
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.system.append_file import lock
from cloud_tasks.task import Delivery

#: The reasons to stop of a run that has done all that it was asked to.
_COMPLETE = (StopReason.DONE, StopReason.MAX_NUM_TASKS)


class RunArtifacts:
    """The run directory and the task logs of one run, as far as its settings ask for them.

    *args* is the command line that the worker was given; None: that of this process. *resumable*:
    the source of its tasks can be read again.
    """

    def __init__(
        self, settings: Settings, args: Sequence[str] | None, clock: Clock, *, resumable: bool
    ) -> None:
        self._settings = settings
        self._resumable = resumable and settings.event_log_to_file and settings.task_file != "-"
        self._command = RerunCommand(args)
        self._writer = None if settings.run_dir is None else RunWriter(settings.run_dir, clock)
        #: Descriptor of the locked folder of task logs; -1: there is none.
        self._folder = -1

    @property
    def task_logs(self) -> str | None:
        """The folder for the output of tasks; None: it is not kept."""
        if not self._settings.task_logs:
            return None
        if self._settings.run_dir is not None:
            return str(RunDir(self._settings.run_dir).logs)
        return str(logs_beside(self._settings.event_log_file))

    def open(self, details: Callable[[], Mapping[str, Any]]) -> None:
        """Create the folders, lock them against other workers, and record the start.

        *details* returns what is recorded besides the command; called only for a run directory.

        Raises:
            EventLogError: a folder can't be written to, or another worker uses it.
        """
        if self._writer is not None:
            self._writer.open()
            self._writer.record_start({"command": self._command.words, **details()})
        if self.task_logs is not None:
            self._folder = _lock_folder(self.task_logs)

    def on_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        """Record a task that failed; any thread."""
        if self._writer is not None:
            self._writer.on_outcome(delivery, outcome)

    def record_end(self, summary: RunSummary) -> None:
        """Record the summary of the run."""
        if self._writer is not None:
            self._writer.record_end(summary.to_dict())

    def close(self) -> None:
        """Release the locks. May be called more than once."""
        if self._writer is not None:
            self._writer.close()
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    @property
    def name(self) -> str | None:
        """The RUN of `cloud_tasks report` and other commands; None: nothing is kept."""
        settings = self._settings
        if not settings.event_log_to_file:
            return None
        name = settings.event_log_file if settings.run_dir is None else settings.run_dir
        return f"./{name}" if name.startswith("-") else name

    def logs_command(self, task_id: str) -> str | None:
        """Return the command that shows the output of a task; None: it is not kept."""
        if self.task_logs is None or self.name is None:
            return None
        end_of_flags = ["--"] if task_id.startswith("-") else []
        return shlex.join(["cloud_tasks", "logs", self.name, *end_of_flags, task_id])

    def debug_command(self, task_id: str) -> str | None:
        """Return the command that runs one task in the debugger; None: it is unknown."""
        return self._command.for_task(task_id, "--debug") if self._resumable else None

    def closing_lines(self, summary: RunSummary) -> list[str]:
        """Return the lines that suggest the next commands: resume, failures, report."""
        lines = []
        began = summary.ended > 0 or summary.stop_reason is not StopReason.FAILED
        cut_short = summary.stop_reason not in _COMPLETE
        if cut_short and began and self._resumable and not self._settings.task_id:
            command = self._command.resumed()
            lines.append(f"  go on with:  {command or 'the same command and --resume'}")
            lines += [f"               {note}" for note in note_on(command or "")]
        if self.name is None:
            return lines
        name = shlex.quote(self.name)
        commands = []
        if summary.failed:
            commands.append(f"cloud_tasks failures {name}")
        if summary.failed or self._settings.run_dir is not None:
            commands.append(f"cloud_tasks report {name}")
        if commands:
            lines.append(f"  see:  {'   '.join(commands)}")
        return lines


def _lock_folder(path: str) -> int:
    """Create and lock the folder of task logs; returns its descriptor, -1 on Windows.

    Raises:
        EventLogError: it can't be written to, or another worker uses it.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13))
        if sys.platform == "win32":
            return -1
        # The name is ours, so somebody else may have made a link of it.
        folder = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        reason = "it is a symbolic link" if Path(path).is_symlink() else error.strerror
        raise EventLogError(
            f"the folder {path!r} for --task-logs can't be written: {reason or error}"
        ) from error
    try:
        lock(folder)
    except BlockingIOError:
        os.close(folder)
        raise EventLogError(
            f"another worker keeps task logs in {path!r}: choose another place with --run-dir "
            "or --event-log-file"
        ) from None
    return folder
