"""Print the first lines of a run: function, slots, places of the record, and what is resumed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloud_tasks import __version__
from cloud_tasks.executors.base import Capabilities
from cloud_tasks.masking import masked
from cloud_tasks.settings.reference import values
from cloud_tasks.settings.resolve import Resolved
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.system import cores
from cloud_tasks.text import plural, safe

if TYPE_CHECKING:
    from cloud_tasks.selection.finished import FinishedTasks
    from cloud_tasks.selection.resume import Findings

logger = logging.getLogger(__name__)
console = logging.getLogger("cloud_tasks.console")


def print_banner(
    function: str,
    source: TaskSource,
    executor: str,
    resolved: Resolved,
    capabilities: Capabilities,
) -> None:
    """Print the banner and the warnings of the settings; at level DEBUG all settings, too.

    The banner has three lines, and one more for each limit that the executor does not enforce.
    """
    settings = resolved.settings
    slots = f"{plural(settings.num_simultaneous_tasks, 'slot')}, executor {executor}"
    hint = _idle_cores(resolved)
    if capabilities.needs_main_thread:
        slots, hint = f"one task at a time in this process, executor {executor}", ""
    lines = [
        f"cloud_tasks {__version__}: {function} over {safe(str(source))}",
        f"  {slots}, at most {settings.max_runtime:g} s a task{hint}",
        f"  events go to {_places_of_events(settings)}; Ctrl-C once lets running tasks finish",
    ]
    if not capabilities.enforces_memory and settings.max_memory_allowed_per_task is not None:
        lines.append(f"  note: {executor} does not enforce the memory limit")
    if not capabilities.enforces_timeout and resolved.origins["max_runtime"] != "default":
        lines.append(f"  note: {executor} can't kill a task that runs too long")
    if not capabilities.captures_output and settings.task_logs:
        lines.append(f"  note: {executor} does not keep what tasks print (--task-logs)")
    for line in lines:
        console.info(line)
    for warning in resolved.warnings:
        logger.warning(warning)
    for value in values(resolved):
        logger.debug("%s = %r (%s)", value.name, value.value, value.origin)


def _places_of_events(settings: Settings) -> str:
    places = []
    if settings.event_log_to_file:
        places.append(safe(masked(settings.event_log_file)))
    if settings.event_log_to_queue:
        from cloud_tasks.queues.base import events_name  # a run without queues needs none of it

        places.append(f"the queue {safe(events_name(str(settings.queue_name)))}")
    return " and ".join(places) or "nowhere"


def _idle_cores(resolved: Resolved) -> str:
    """Return a hint to the cores that the default of one slot leaves idle, if any."""
    if resolved.origins["num_simultaneous_tasks"] not in ("default", "derived"):
        return ""
    usable = cores.usable()
    if usable <= resolved.settings.num_simultaneous_tasks:
        return ""
    return f" ({usable} cores here: --num-simultaneous-tasks auto uses them all)"


class ResumeReporter:
    """Print what ``--resume`` skips and runs, and warn of what the user may not have meant.

    *previous* has been read by the time of the first call. *limit* is ``--max-num-tasks``.
    *whole*: every task of *source* is compared; none is skipped before.
    """

    def __init__(
        self,
        previous: FinishedTasks,
        source: str,
        *,
        rerun_failed: bool,
        limit: int | None,
        whole: bool,
    ) -> None:
        self._previous = previous
        self._source = safe(source)
        self._rerun_failed = rerun_failed
        self._rerun_note = " (run again)" if rerun_failed else ""
        self._limit = limit
        self._whole = whole

    def report_plan(self, found: Findings | None) -> None:
        """Print what will run; None: tasks are compared as they come."""
        previous = self._previous
        log = safe(str(previous.path))
        if previous.bad_lines:
            logger.warning(
                "%s in %s are no events: skipped", plural(previous.bad_lines, "line"), log
            )
        if not (previous.done or previous.failed):
            why = f"there is no {log}" if previous.missing else f"no task has ended in {log}"
            console.info("nothing to resume: %s; all tasks are run", why)
        elif found is None:
            console.info(
                "resuming from %s: it has done %s · failed %s%s; tasks are compared as they come",
                log,
                f"{previous.done:,}",
                f"{previous.failed:,}",
                self._rerun_note,
            )
        else:
            console.info("resuming from %s: %s", log, self._counts(found))
            self.warn(found)

    def _counts(self, found: Findings) -> str:
        left = found.others + (found.failed if self._rerun_failed else 0)
        parts = [
            f"done {found.done:,}",
            f"failed {found.failed:,}{self._rerun_note if found.failed else ''}",
            f"to run {left:,}",
        ]
        if self._limit is not None and self._limit < left:
            parts[-1] = f"to run {self._limit:,} of {left:,} (--max-num-tasks)"
        if found.changed:
            parts.append(f"changed {found.changed:,}")
        return " · ".join(parts)

    def warn(self, found: Findings) -> None:
        """Warn of a log without any of these tasks, and of tasks with other data than before."""
        if self._whole and found.no_overlap and (self._previous.done or self._previous.failed):
            logger.warning(
                "none of the tasks in %s is in %s: is it the log of another job?",
                safe(str(self._previous.path)),
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
