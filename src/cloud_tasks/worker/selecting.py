"""From settings to the choice of tasks, and what is said of it: ``--task-id``, ``--resume``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloud_tasks.selection.base import Everything, Selection
from cloud_tasks.selection.by_id import SelectByTaskId
from cloud_tasks.selection.resume import Findings, Unfinished
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.text import plural, safe

if TYPE_CHECKING:
    from cloud_tasks.selection.finished import FinishedTasks

logger = logging.getLogger(__name__)
console = logging.getLogger("cloud_tasks.console")


def make_selection(settings: Settings, source: TaskSource) -> Selection:
    """Return which tasks of *source* the settings want; nothing is read yet.

    ``--task-id`` beats ``--resume``: who asks for a task gets it, finished or not. A file is read
    to its end for further tasks of these ids; a function of the program's, whose tasks may be
    endless, until each was found.
    """
    if settings.task_id:
        return SelectByTaskId(settings.task_id, until_found=not isinstance(source, TaskFileSource))
    if settings.resume is None:
        return Everything()
    from cloud_tasks.selection.finished import FinishedTasks

    record = FinishedTasks(settings.event_log_file)
    again = settings.resume == "failed"
    voice = _Voice(
        record,
        str(source),
        failed_again=again,
        most=settings.max_num_tasks,
        whole=not settings.tasks_to_skip,
    )
    return Unfinished(record, failed_again=again, on_plan=voice.begin, on_end=voice.warn)


class _Voice:
    """Says what is resumed; *whole*: no task of the source is kept from being compared."""

    def __init__(
        self,
        record: FinishedTasks,
        source: str,
        *,
        failed_again: bool,
        most: int | None,
        whole: bool,
    ) -> None:
        self._record = record
        self._source = safe(source)
        self._failed_again = failed_again
        self._most = most
        self._whole = whole

    def begin(self, found: Findings | None) -> None:
        """Say what will be done; None: it turns out task by task."""
        record = self._record
        log = safe(str(record.path))
        if record.spoilt:
            logger.warning(
                "%s in %s are no events: passed over", plural(record.spoilt, "line"), log
            )
        if not (record.done or record.failed):
            why = f"there is no {log}" if record.missing else f"{log} tells of no task that ended"
            console.info("nothing to resume: %s; all tasks are run", why)
        elif found is None:
            console.info(
                "resuming from %s: it has done %s · failed %s%s; tasks are compared as they come",
                log,
                f"{record.done:,}",
                f"{record.failed:,}",
                self._again,
            )
        else:
            console.info("resuming from %s: %s", log, self._counts(found))
            self.warn(found)

    @property
    def _again(self) -> str:
        return " (run again)" if self._failed_again else ""

    def _counts(self, found: Findings) -> str:
        left = found.others + (found.failed if self._failed_again else 0)
        parts = [
            f"done {found.done:,}",
            f"failed {found.failed:,}{self._again if found.failed else ''}",
            f"to run {left:,}",
        ]
        if self._most is not None and self._most < left:
            parts[-1] = f"to run {self._most:,} of {left:,} (--max-num-tasks)"
        if found.changed:
            parts.append(f"changed {found.changed:,}")
        return " · ".join(parts)

    def warn(self, found: Findings) -> None:
        """Say what its user may not have meant."""
        if self._whole and found.strangers and (self._record.done or self._record.failed):
            logger.warning(
                "none of the tasks that %s tells of is in %s: is it the log of another job?",
                safe(str(self._record.path)),
                self._source,
            )
        if found.changed:
            names = ", ".join(repr(safe(name, 80)) for name in found.names)
            more = found.changed - len(found.names)
            logger.warning(
                "%s other data than when last run, so run again: %s%s",
                "1 task has" if found.changed == 1 else f"{found.changed:,} tasks have",
                names,
                f" and {more:,} more" if more else "",
            )
