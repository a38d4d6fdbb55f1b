"""From settings to objects. Adapters get plain values; none of them sees a setting."""

from __future__ import annotations

import concurrent.futures
import logging
import math
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloud_tasks import registry
from cloud_tasks.clock import Clock
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.events.jsonl import JsonlSink
from cloud_tasks.events.queue import QueueSink
from cloud_tasks.events.sink import EventSink
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.executors.thread_limits import thread_limits
from cloud_tasks.policy import RetryRules
from cloud_tasks.queues.base import QueueProvider, dead_name, events_name
from cloud_tasks.queues.job import with_retries
from cloud_tasks.runtime.completer import OnOutcome
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.run import Run
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.selection.base import SelectAll, Selection
from cloud_tasks.selection.by_id import SelectByTaskId
from cloud_tasks.selection.resume import Findings, SelectUnfinished
from cloud_tasks.settings.derive import usable_cores
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.cloud_queue.prefetch import PrefetchPolicy
from cloud_tasks.sources.cloud_queue.settler import Settler
from cloud_tasks.sources.cloud_queue.source import QueueSource
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.sources.local import make_source
from cloud_tasks.termination.base import TerminationProbe
from cloud_tasks.termination.simulated import SimulatedProbe
from cloud_tasks.text import plural, safe
from cloud_tasks.worker_data import WorkerData

if TYPE_CHECKING:
    from cloud_tasks.selection.finished import FinishedTasks
from cloud_tasks.display.console import Console
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.screen import is_drawn
from cloud_tasks.worker.run_artifacts import RunArtifacts

_GIB = 2**30
_MIB = 2**20


def executor_class(name: str) -> type[Executor]:
    """Return the executor registered as *name*.

    Raises:
        ConfigurationError: there is none.
    """
    found: type[Executor] = registry.load("executor", name)
    return found


def make_executor(choice: Any) -> Executor:
    """Return the executor for a class, an object of ours, or a ``concurrent.futures.Executor``.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(choice, type) and issubclass(choice, Executor):
        return choice()
    if isinstance(choice, Executor):
        return choice
    if isinstance(choice, concurrent.futures.Executor):
        from cloud_tasks.executors.foreign import FuturesExecutor

        return FuturesExecutor(choice)
    raise ConfigurationError(
        f"executor is an object of type {type(choice).__name__}: expected a name, an object of "
        "cloud_tasks.executors.base.Executor, or a concurrent.futures.Executor"
    )


def make_task_source(
    task_source: Any, settings: Settings, *, slots: int, stats: Stats, clock: Clock
) -> TaskSource:
    """Return the source of a program's keyword, else of the settings; it opens nothing yet.

    Raises:
        ConfigurationError: it is nothing that tasks can come from.
    """
    chosen = settings.task_file if task_source is None else task_source
    if chosen is not None:
        return make_source(chosen, task_format=settings.task_format)

    return make_queue_source(
        settings, slots=slots, mean_time=lambda: stats.mean_run_time, clock=clock
    )


def make_run(
    function: FunctionSpec,
    worker_data: WorkerData,
    settings: Settings,
    *,
    source: TaskSource,
    executor: Executor,
    clock: Clock,
    stats: Stats,
    on_outcome: OnOutcome,
    task_logs: str | None,
) -> Run:
    """Build a run from its parts; *task_logs* is the folder for what tasks print, if any."""
    return Run(
        function,
        worker_data,
        source=source,
        executor=executor,
        sinks=_sinks(settings),
        remote_sinks=_remote_sinks(settings),
        probes=_probes(settings),
        options=_options(settings, source, task_logs),
        clock=clock,
        stats=stats,
        on_outcome=on_outcome,
        all_outcomes=settings.verbose,
    )


def _options(settings: Settings, source: TaskSource, task_logs: str | None) -> RunOptions:
    return RunOptions(
        executor=_executor_options(settings, task_logs),
        max_runtime=settings.max_runtime,
        grace=settings.shutdown_grace_period,
        skip=settings.tasks_to_skip or 0,
        limit=settings.max_num_tasks,
        selection=make_selection(settings, source),
        rules=RetryRules(
            on_exit=settings.retry_on_exit,
            on_exception=settings.retry_on_exception,
            on_timeout=settings.retry_on_timeout,
            requeues=source.limits.requeues,
            max_attempts=settings.max_attempts,
        ),
        failure_limit=settings.max_failures,
        keep_alive=settings.keepalive_interval if settings.event_log_to_queue else 0.0,
        instance_id=lambda: _instance_id(settings),
    )


def _executor_options(settings: Settings, task_logs: str | None) -> ExecutorOptions:
    memory = settings.max_memory_allowed_per_task
    return ExecutorOptions(
        slots=settings.num_simultaneous_tasks,
        memory_limit=None if memory is None else int(memory * _GIB),
        max_result_bytes=int(settings.max_result_size * _MIB),
        log_level=logging.DEBUG if settings.verbose else logging.INFO,
        task_logs=task_logs,
        environment=thread_limits(settings.num_simultaneous_tasks, usable_cores(), os.environ),
        post_mortem=settings.pdb,
    )


def _sinks(settings: Settings) -> list[EventSink]:
    return [JsonlSink(settings.event_log_file)] if settings.event_log_to_file else []


def _remote_sinks(settings: Settings) -> list[EventSink]:
    if not settings.event_log_to_queue:
        return []

    return [make_event_queue(settings)]


def _probes(settings: Settings) -> list[TerminationProbe]:
    probes: list[TerminationProbe] = []
    after = settings.simulate_spot_termination_after
    if after is not None:
        probes.append(SimulatedProbe(after, settings.simulate_spot_termination_delay))
    if settings.is_spot and (probe := _provider_probe(settings)) is not None:
        probes.append(probe)
    return probes


def _provider_probe(settings: Settings) -> TerminationProbe | None:
    if settings.provider is None:
        return None
    try:
        kind: type[TerminationProbe] = registry.load("probe", settings.provider)
    except ConfigurationError:
        return None  # another package's provider may have queues only
    return kind()


def _instance_id(settings: Settings) -> str | None:
    probe = _provider_probe(settings)
    return None if probe is None else probe.instance_id()


# MERGED: From settings to a provider's queues: where tasks come from, and where events go.

logger = logging.getLogger(__name__)


#: Seconds that a task may wait before it runs, and that telling its end may take.
_AROUND_A_TASK = 200.0


def unfit_runtime(settings: Settings) -> str | None:
    """Say why tasks can't be held for ``max_runtime``; None: they can.

    Raises:
        ConfigurationError: no such provider.
    """
    hold = _provider_class(settings).limits.longest_hold
    longest = hold - _AROUND_A_TASK
    if settings.max_runtime <= longest:
        return None
    unlimited = [
        f"--provider {name} or "
        for name in registry.names("queue")
        if math.isinf(registry.load("queue", name).limits.longest_hold)
    ]
    return (
        f"must be {longest:.0f} or less, for {settings.provider} gives a task to another worker "
        f"after {hold / 3600:g} hours, running or not: split the tasks, or use "
        f"{''.join(unlimited)}--task-file"
    )


def _provider_class(settings: Settings) -> type[QueueProvider]:
    found: type[QueueProvider] = registry.load("queue", str(settings.provider))
    return found


def make_provider(settings: Settings) -> QueueProvider:
    """Return the queues that *settings* name."""
    return _provider_class(settings)(
        project_id=settings.project_id,
        endpoint_url=settings.endpoint_url,
        exactly_once=settings.exactly_once_queue,
    )


def make_queue_source(
    settings: Settings, *, slots: int, mean_time: Callable[[], float | None], clock: Clock
) -> QueueSource:
    """Return the tasks of the queue that *settings* name; nothing is asked of it yet."""
    provider = make_provider(settings)
    name = str(settings.queue_name)
    queue = provider.queue(name)
    dead = provider.queue(dead_name(name))
    draining, ending = threading.Event(), threading.Event()
    return QueueSource(
        with_retries(queue, draining, notify=logger.warning),
        Settler(
            with_retries(queue, ending, notify=logger.warning),
            with_retries(dead, ending, notify=logger.warning),
            stop=ending,
            clock=clock,
        ),
        lease=float(settings.lease or 0.0),
        policy=PrefetchPolicy(
            slots=slots,
            mean_time=mean_time,
            max_tasks=settings.max_num_tasks,
            idle=settings.exit_when_idle,
        ),
        stop=draining,
        clock=clock,
    )


def make_event_queue(settings: Settings) -> QueueSink:
    """Return the sink for the event queue that *settings* name."""
    queue = make_provider(settings).queue(events_name(str(settings.queue_name)))
    # A worker that can't tell what it did waits; it doesn't lose anything meanwhile.
    budgets = {"send": math.inf}
    return QueueSink(with_retries(queue, threading.Event(), notify=logger.warning, budgets=budgets))


# MERGED: From settings to the choice of tasks, and what is said of it: ``--task-id``,
# MERGED: ``--resume``.
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
        return SelectAll()
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
    return SelectUnfinished(record, rerun_failed=again, on_plan=voice.begin, on_end=voice.warn)


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
        if record.bad_lines:
            logger.warning(
                "%s in %s are no events: passed over", plural(record.bad_lines, "line"), log
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
        if self._whole and found.no_overlap and (self._record.done or self._record.failed):
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


# MERGED: The console of a run, made for its settings, its executor and what is kept of it.


def make_console(
    name: str, stats: Stats, settings: Settings, executor: Executor, keeping: RunArtifacts
) -> Console:
    """Return the console of a run of the function *name*; it says nothing yet."""
    able = executor.capabilities
    facts = RunInfo(
        name=name,
        # The executor's own number holds once it has started.
        slots=lambda: 1 if able.needs_main_thread else executor.slots,
        running=executor.running,
        max_runtime=settings.max_runtime,
        isolated=able.isolates_crashes,
        logs_command=keeping.see,
        debug_command=keeping.alone,
    )
    # The debugger has the terminal to itself, whatever else was asked for.
    mode = "off" if settings.pdb else settings.progress
    taken = able.needs_main_thread or settings.verbose
    return Console(
        stats,
        facts,
        drawn=is_drawn(mode, terminal_taken=taken),
        lines=mode != "off",
        verbose=settings.verbose,
    )
