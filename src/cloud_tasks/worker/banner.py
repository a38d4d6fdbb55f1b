"""The first lines of a run: what, how many at once, where the record goes."""

from __future__ import annotations

from cloud_tasks import __version__
from cloud_tasks.executors.base import Capabilities
from cloud_tasks.queues.base import events_name
from cloud_tasks.settings.resolve import Resolved
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.system import cores
from cloud_tasks.text import plural, safe


def banner(
    function: str,
    source: TaskSource,
    executor: str,
    resolved: Resolved,
    capabilities: Capabilities,
) -> list[str]:
    """Return the three lines, and a further one for each limit that can't be held to."""
    settings = resolved.settings
    slots = f"{plural(settings.num_simultaneous_tasks, 'slot')}, executor {executor}"
    hint = _idle_cores(resolved)
    if capabilities.needs_main_thread:
        slots, hint = f"one task at a time in this process, executor {executor}", ""
    lines = [
        f"cloud_tasks {__version__}: {function} over {safe(str(source))}",
        f"  {slots}, at most {settings.max_runtime:g} s a task{hint}",
        f"  events go to {_places(resolved.settings)}; Ctrl-C once lets running tasks finish",
    ]
    if not capabilities.enforces_memory and settings.max_memory_allowed_per_task is not None:
        lines.append(f"  note: {executor} does not enforce the memory limit")
    if not capabilities.enforces_timeout and resolved.origins["max_runtime"] != "default":
        lines.append(f"  note: {executor} can't kill a task that is over its time")
    if not capabilities.captures_output and settings.task_logs:
        lines.append(f"  note: {executor} does not keep what tasks print (--task-logs)")
    return lines


def _places(settings: Settings) -> str:
    """Say where the record of the tasks is kept."""
    places = []
    if settings.event_log_to_file:
        places.append(safe(settings.event_log_file))
    if settings.event_log_to_queue:
        places.append(f"the queue {safe(events_name(str(settings.queue_name)))}")
    return " and ".join(places) or "nowhere"


def _idle_cores(resolved: Resolved) -> str:
    """Point to the cores that the default of one slot leaves idle."""
    if resolved.origins["num_simultaneous_tasks"] not in ("default", "derived"):
        return ""
    there = cores.usable()
    idle = there > resolved.settings.num_simultaneous_tasks
    return f" ({there} cores here: --num-simultaneous-tasks auto uses them all)" if idle else ""
