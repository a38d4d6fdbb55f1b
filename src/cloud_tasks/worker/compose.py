"""From settings to objects. Adapters get plain values; none of them sees a setting."""

from __future__ import annotations

import concurrent.futures
import logging
import os
from typing import Any

from cloud_tasks import registry
from cloud_tasks.clock import Clock
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.events.jsonl import JsonlSink
from cloud_tasks.events.sink import EventSink
from cloud_tasks.executors.base import Executor
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.executors.thread_limits import thread_limits
from cloud_tasks.policy import RetryRules
from cloud_tasks.runtime.completer import Listener
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.run import Run
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.settings.derive import usable_cores
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.local import make_source
from cloud_tasks.termination.base import TerminationProbe
from cloud_tasks.termination.simulated import SimulatedProbe
from cloud_tasks.worker.selecting import make_selection
from cloud_tasks.worker_data import WorkerData

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
    from cloud_tasks.worker.queues import make_queue_source

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
    listener: Listener,
    task_logs: str | None,
) -> Run:
    """Build a run from its parts; *task_logs* is the folder for what tasks print, if any."""
    return Run(
        function,
        worker_data,
        source=source,
        executor=executor,
        sinks=_sinks(settings),
        far_sinks=_far_sinks(settings),
        probes=_probes(settings),
        options=_options(settings, source, task_logs),
        clock=clock,
        stats=stats,
        listener=listener,
        hear_all=settings.verbose,
    )


def _options(settings: Settings, source: TaskSource, task_logs: str | None) -> RunOptions:
    memory = settings.max_memory_allowed_per_task
    return RunOptions(
        slots=settings.num_simultaneous_tasks,
        max_runtime=settings.max_runtime,
        grace=settings.shutdown_grace_period,
        memory_limit=None if memory is None else int(memory * _GIB),
        max_result_bytes=int(settings.max_result_size * _MIB),
        skip=settings.tasks_to_skip or 0,
        most=settings.max_num_tasks,
        selection=make_selection(settings, source),
        rules=RetryRules(
            on_exit=settings.retry_on_exit,
            on_exception=settings.retry_on_exception,
            on_timeout=settings.retry_on_timeout,
            requeues=source.limits.requeues,
            max_attempts=settings.max_attempts,
        ),
        failure_limit=settings.max_failures,
        task_logs=task_logs,
        environment=thread_limits(settings.num_simultaneous_tasks, usable_cores(), os.environ),
        post_mortem=settings.pdb,
        keep_alive=settings.keepalive_interval if settings.event_log_to_queue else 0.0,
        instance_id=lambda: _instance_id(settings),
        log_level=logging.DEBUG if settings.verbose else logging.INFO,
    )


def _sinks(settings: Settings) -> list[EventSink]:
    return [JsonlSink(settings.event_log_file)] if settings.event_log_to_file else []


def _far_sinks(settings: Settings) -> list[EventSink]:
    if not settings.event_log_to_queue:
        return []
    from cloud_tasks.worker.queues import make_event_queue

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
