"""Build a run: the one place that reads settings, looks names up and makes objects.

::

    Worker(...)     make_plan()   settings ─► executor, tasks: all that can be checked at once
    worker.run()    build()       executor, console, event sinks, probes, selection, options ─► Run

This file reads from top to bottom: the two steps, then a function for each part. Nothing here opens
a file, sends a request or starts a thread; :class:`~cloud_tasks.runtime.run.Run` does that. The
parts get plain values: none of them knows the settings.

Modules that a run over a file does not need (queues, selections) are imported where they are used,
because imports are most of the time before the first task, and memory that the worker keeps.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import logging
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloud_tasks import registry
from cloud_tasks.clock import Clock
from cloud_tasks.display.console import Console
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.screen import is_drawn
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.events.jsonl import JsonlSink
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.executors.function import FunctionSpec, specify
from cloud_tasks.executors.thread_limits import thread_limits
from cloud_tasks.outcome import Outcome
from cloud_tasks.policy import RetryRules
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.run import Run
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.selection.base import SelectAll, Selection
from cloud_tasks.settings.resolve import Resolved, reject, resolve
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.sources.local import make_source
from cloud_tasks.system import cores
from cloud_tasks.task import Delivery
from cloud_tasks.termination.base import SimulatedProbe, TerminationProbe
from cloud_tasks.worker.run_artifacts import RunArtifacts
from cloud_tasks.worker_data import WorkerData

if TYPE_CHECKING:
    from cloud_tasks.events.queue import QueueSink
    from cloud_tasks.queues.base import QueueProvider
    from cloud_tasks.sources.cloud_queue.source import QueueSource

logger = logging.getLogger(__name__)

_GIB = 2**30
_MIB = 2**20
#: Seconds of a message's longest hold that a task can't use: it may wait before it runs, and its
#: end must be reported.
_AROUND_A_TASK = 200.0


# -- the two steps


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a worker and the parts that are checked before it runs.

    Attributes:
        executor: a class of ours, or the object that the program passed.
        source: not open.
    """

    function: FunctionSpec
    resolved: Resolved
    executor: Any
    source: TaskSource
    artifacts: RunArtifacts
    clock: Clock
    stats: Stats


def make_plan(
    process_task: UserFunction,
    *,
    executor: Any,
    task_source: Any,
    args: Sequence[str] | None,
    argparser: argparse.ArgumentParser | None,
) -> Plan:
    """Resolve the settings and check them; the arguments are those of ``Worker``.

    Raises:
        ConfigurationError: a keyword can't work, or the parser's flags clash with ours.
        SystemExit: a setting is wrong; the parser has printed which.
    """
    function = specify(process_task)
    parser = argparser or argparse.ArgumentParser()
    has_task_source = task_source is not None
    resolved = resolve(parser, args, os.environ, executor=executor, has_task_source=has_task_source)
    settings = resolved.settings
    if executor is None or isinstance(executor, str):
        try:
            executor = registry.load("executor", settings.executor)
        except ConfigurationError as error:
            reject(parser, resolved.origins, "executor", str(error))
    clock = Clock()
    stats = Stats(clock)
    source = _make_source(task_source, settings, stats, clock)
    if resolved.from_queue:
        _check_runtime(parser, resolved)
    artifacts = RunArtifacts(settings, args, clock, resumable=not resolved.from_queue)
    return Plan(function, resolved, executor, source, artifacts, clock, stats)


def build(plan: Plan, worker_data: WorkerData) -> tuple[Run, Executor, Console]:
    """Make the run of *plan*, its executor and its console.

    Raises:
        ConfigurationError: the program's executor is an object of the wrong kind.
    """
    settings = plan.resolved.settings
    executor = _make_executor(plan.executor)
    console = _make_console(plan, executor)

    def on_outcome(delivery: Delivery, outcome: Outcome) -> None:
        plan.artifacts.on_outcome(delivery, outcome)
        console.on_outcome(delivery, outcome)

    run = Run(
        plan.function,
        worker_data,
        source=plan.source,
        executor=executor,
        sinks=[_make_file_sink(plan.resolved)] if settings.event_log_to_file else [],
        remote_sinks=[_make_queue_sink(settings)] if settings.event_log_to_queue else [],
        probes=_make_probes(settings),
        options=_make_options(settings, plan.source, plan.artifacts.task_logs),
        clock=plan.clock,
        stats=plan.stats,
        on_outcome=on_outcome,
        all_outcomes=settings.verbose,
    )
    return run, executor, console


# -- the executor


def _make_executor(choice: Any) -> Executor:
    """Return the executor for a class, an object of ours, or a ``concurrent.futures.Executor``."""
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


# -- where tasks come from


def _make_source(task_source: Any, settings: Settings, stats: Stats, clock: Clock) -> TaskSource:
    """Return the source of the program's keyword, else that of the settings."""
    chosen = settings.task_file if task_source is None else task_source
    if chosen is not None:
        return make_source(chosen, task_format=settings.task_format)
    return _make_queue_source(settings, stats, clock)


def _make_queue_source(settings: Settings, stats: Stats, clock: Clock) -> QueueSource:
    from cloud_tasks.queues.base import dead_name
    from cloud_tasks.queues.job import with_retries
    from cloud_tasks.sources.cloud_queue.prefetch import PrefetchPolicy
    from cloud_tasks.sources.cloud_queue.settler import Settler
    from cloud_tasks.sources.cloud_queue.source import QueueSource

    provider = _make_provider(settings)
    name = str(settings.queue_name)
    queue, dead = provider.queue(name), provider.queue(dead_name(name))
    # A drain ends the retries of a receive; those of settling go on until the source is closed.
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
            slots=settings.num_simultaneous_tasks,
            mean_time=lambda: stats.mean_run_time,
            max_tasks=settings.max_num_tasks,
            idle=settings.exit_when_idle,
        ),
        stop=draining,
        clock=clock,
        until_done=settings.exit_when_done,
    )


def _make_provider(settings: Settings) -> QueueProvider:
    return _provider_class(settings)(
        project_id=settings.project_id,
        endpoint_url=settings.endpoint_url,
        exactly_once=settings.exactly_once_queue,
    )


def _provider_class(settings: Settings) -> type[QueueProvider]:
    found: type[QueueProvider] = registry.load("queue", str(settings.provider))
    return found


def _check_runtime(parser: argparse.ArgumentParser, resolved: Resolved) -> None:
    """Reject a ``max_runtime`` for which the provider can't hold a task."""
    settings = resolved.settings
    hold = _provider_class(settings).limits.longest_hold
    longest = hold - _AROUND_A_TASK
    if settings.max_runtime <= longest:
        return
    unlimited = [
        f"--provider {name} or "
        for name in registry.names("queue")
        if math.isinf(registry.load("queue", name).limits.longest_hold)
    ]
    reject(
        parser,
        resolved.origins,
        "max_runtime",
        f"must be {longest:.0f} or less, for {settings.provider} gives a task to another worker "
        f"after {hold / 3600:g} hours, running or not: split the tasks, or use "
        f"{''.join(unlimited)}--task-file",
    )


# -- which of them run


def _make_selection(settings: Settings, source: TaskSource) -> Selection:
    """Return the selection by ``--task-id`` or ``--resume``; the first beats the second.

    A file is searched to its end for further tasks with these ids; a function of the program,
    whose tasks may be endless, until each id was found.
    """
    if settings.task_id:
        from cloud_tasks.selection.by_id import SelectByTaskId

        return SelectByTaskId(settings.task_id, until_found=not isinstance(source, TaskFileSource))
    if settings.resume is None:
        return SelectAll()
    from cloud_tasks.selection.finished import FinishedTasks
    from cloud_tasks.selection.resume import SelectUnfinished
    from cloud_tasks.worker.banner import ResumeReporter

    previous = FinishedTasks(settings.event_log_file)
    rerun_failed = settings.resume == "failed"
    reporter = ResumeReporter(
        previous,
        str(source),
        rerun_failed=rerun_failed,
        limit=settings.max_num_tasks,
        whole=not settings.tasks_to_skip,
    )
    return SelectUnfinished(
        previous,
        rerun_failed=rerun_failed,
        on_plan=reporter.report_plan,
        on_end=reporter.warn,
    )


# -- where events go, and what announces the machine's end


def _make_file_sink(resolved: Resolved) -> JsonlSink:
    # Somebody else may have made a symbolic link of a name that we choose.
    chosen = resolved.origins["event_log_file"] not in ("default", "derived")
    return JsonlSink(resolved.settings.event_log_file, follow=chosen)


def _make_queue_sink(settings: Settings) -> QueueSink:
    from cloud_tasks.events.queue import QueueSink
    from cloud_tasks.queues.base import events_name
    from cloud_tasks.queues.job import with_retries

    queue = _make_provider(settings).queue(events_name(str(settings.queue_name)))
    # Retried without end: a worker that can't report waits, and loses nothing meanwhile.
    budgets = {"send": math.inf}
    return QueueSink(with_retries(queue, threading.Event(), notify=logger.warning, budgets=budgets))


def _make_probes(settings: Settings) -> list[TerminationProbe]:
    probes: list[TerminationProbe] = []
    after = settings.simulate_spot_termination_after
    if after is not None:
        probes.append(SimulatedProbe(after, settings.simulate_spot_termination_delay))
    if settings.is_spot and (probe := _make_provider_probe(settings)) is not None:
        probes.append(probe)
    return probes


def _make_provider_probe(settings: Settings) -> TerminationProbe | None:
    if settings.provider is None:
        return None
    try:
        kind: type[TerminationProbe] = registry.load("probe", settings.provider)
    except ConfigurationError:
        return None  # a provider of another package may have queues only
    return kind()


# -- limits, rules and the console


def _make_options(settings: Settings, source: TaskSource, task_logs: str | None) -> RunOptions:
    def read_instance_id() -> str | None:
        probe = _make_provider_probe(settings)
        return None if probe is None else probe.instance_id()

    return RunOptions(
        executor=_make_executor_options(settings, task_logs),
        max_runtime=settings.max_runtime,
        grace=settings.shutdown_grace_period,
        skip=settings.tasks_to_skip or 0,
        limit=settings.max_num_tasks,
        selection=_make_selection(settings, source),
        rules=RetryRules(
            on_exit=settings.retry_on_exit,
            on_exception=settings.retry_on_exception,
            on_timeout=settings.retry_on_timeout,
            requeues=source.limits.requeues,
            max_attempts=settings.max_attempts,
        ),
        failure_limit=settings.max_failures,
        keep_alive=settings.keepalive_interval if settings.event_log_to_queue else 0.0,
        job_id=settings.job_id,
        instance_id=None if settings.provider is None else read_instance_id,
    )


def _make_executor_options(settings: Settings, task_logs: str | None) -> ExecutorOptions:
    memory = settings.max_memory_allowed_per_task
    return ExecutorOptions(
        slots=settings.num_simultaneous_tasks,
        memory_limit=None if memory is None else int(memory * _GIB),
        max_result_bytes=int(settings.max_result_size * _MIB),
        log_level=logging.DEBUG if settings.verbose else logging.INFO,
        task_logs=task_logs,
        environment=thread_limits(
            settings.num_simultaneous_tasks, cores.usable_within_limits(), os.environ
        ),
        post_mortem=settings.pdb,
    )


def _make_console(plan: Plan, executor: Executor) -> Console:
    settings, able = plan.resolved.settings, executor.capabilities
    info = RunInfo(
        name=plan.function.name,
        # The executor's own number is right once it has started.
        slots=lambda: 1 if able.needs_main_thread else executor.slots,
        running=executor.running,
        max_runtime=settings.max_runtime,
        isolated=able.isolates_crashes,
        logs_command=plan.artifacts.logs_command,
        debug_command=plan.artifacts.debug_command,
    )
    # The debugger needs the whole terminal, whatever --progress says.
    mode = "off" if settings.pdb else settings.progress
    taken = able.needs_main_thread or settings.verbose
    return Console(
        plan.stats,
        info,
        drawn=is_drawn(mode, terminal_taken=taken),
        lines=mode != "off",
        verbose=settings.verbose,
    )
