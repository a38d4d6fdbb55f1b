"""The composition root: the one place that reads settings, looks names up and builds objects."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from cloud_tasks.clock import Clock
from cloud_tasks.display.messages import summary_lines
from cloud_tasks.errors import CloudTasksError, ConfigurationError
from cloud_tasks.executors.base import Capabilities
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.executors.common.main_module import GUARD_TEXT, is_loading
from cloud_tasks.executors.function import specify
from cloud_tasks.outcome import Outcome
from cloud_tasks.runtime.run import Run
from cloud_tasks.runtime.signals import signal_handlers
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.settings.reference import values
from cloud_tasks.settings.resolve import reject, resolve
from cloud_tasks.settings.table import Settings, worker_data_values
from cloud_tasks.summary import TASKS_NOT_DONE, TROUBLE, USAGE, RunSummary, StopReason
from cloud_tasks.task import Delivery
from cloud_tasks.worker.banner import banner
from cloud_tasks.worker.build import (
    executor_class,
    make_console,
    make_executor,
    make_run,
    make_task_source,
)
from cloud_tasks.worker.process_setup import gc_frozen, root_logger_set_up
from cloud_tasks.worker.run_artifacts import RunArtifacts
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)
console = logging.getLogger("cloud_tasks.console")


class Program:
    """What is behind a :class:`~cloud_tasks.worker.worker.Worker`, which says what each does."""

    def __init__(
        self,
        process_task: UserFunction,
        *,
        executor: Any,
        task_source: Any,
        args: Sequence[str] | None,
        argparser: argparse.ArgumentParser | None,
    ) -> None:
        self._function = specify(process_task)
        parser = argparser or argparse.ArgumentParser()
        self._resolved = resolve(
            parser, args, os.environ, executor=executor, has_task_source=task_source is not None
        )
        self._executor = executor if not isinstance(executor, str | None) else self._load(parser)
        self._check_source(parser, task_source)
        self._keeping = RunArtifacts(
            self._resolved.settings, args, self._clock, resumable=not self._resolved.from_queue
        )
        self.data = WorkerData(self._resolved.args, **worker_data_values(self._resolved.settings))
        self._run: Run | None = None
        #: What the run came to, its trouble included, was said.
        self._told = False
        #: To stop: each is passed on to the run once there is one.
        self._requests: deque[tuple[StopReason, bool]] = deque()

    def _check_source(self, parser: argparse.ArgumentParser, task_source: Any) -> None:
        """Make sure, without asking anybody far away, that tasks can come from there."""
        settings = self._resolved.settings
        self._clock = Clock()
        self._stats = Stats(self._clock)
        self._source = make_task_source(
            task_source,
            settings,
            slots=settings.num_simultaneous_tasks,
            stats=self._stats,
            clock=self._clock,
        )
        if self._resolved.from_queue:
            self._check_runtime(parser, settings)

    def _check_runtime(self, parser: argparse.ArgumentParser, settings: Settings) -> None:
        from cloud_tasks.worker.build import unfit_runtime

        sentence = unfit_runtime(settings)
        if sentence is not None:
            reject(parser, self._resolved.origins, "max_runtime", sentence)

    def _load(self, parser: argparse.ArgumentParser) -> type:
        name = self._resolved.settings.executor
        try:
            return executor_class(name)
        except ConfigurationError as error:
            reject(parser, self._resolved.origins, "executor", str(error))

    async def start(self) -> RunSummary:
        """Run beside the caller's event loop, or in its thread if the executor needs that."""
        with self._prepared() as run:
            if run.needs_main_thread:
                return self._report(run.run)
            # It brings asyncio, which the others do without.
            from cloud_tasks.worker.process_setup import in_thread

            return await in_thread(run, lambda: self._report(run.run))

    def run(self) -> RunSummary:
        """Run, and block."""
        with self._prepared() as run:
            return self._report(run.run)

    def main(self) -> NoReturn:
        """Run, then end the process with the run's exit code."""
        try:
            code = self.run().exit_code
        except CloudTasksError as error:
            if is_loading():
                raise  # a child can't go on, and tells its parent why
            if not self._told:
                print(f"error: {error}", file=sys.stderr)  # noqa: T201
            misused = isinstance(error, ConfigurationError)
            early = USAGE if misused else TROUBLE
            code = early if error.summary is None else error.summary.exit_code
        if code == TASKS_NOT_DONE and self._resolved.settings.exit_zero:
            code = 0
        sys.exit(code)

    def stop(self, reason: str = "", *, now: bool = False) -> None:
        """Ask the run, from any thread, to end."""
        logger.info("stop requested%s", f": {reason}" if reason else "")
        self._request(StopReason.REQUESTED, now=now)

    def _request(self, reason: StopReason, *, now: bool = False) -> None:
        # Also called by signal handlers, which may interrupt it anywhere: a lock can't help.
        self._requests.append((reason, now))
        self._pass_on()

    def _blocked_in_source(self) -> bool:
        return self._run is not None and self._run.blocked_in_source

    def _pass_on(self) -> None:
        run = self._run
        while run is not None and self._requests:
            with contextlib.suppress(IndexError):  # another thread was faster
                reason, now = self._requests.popleft()
                run.stop(reason, now=now)

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[Run]:
        """Make the run, with logging and signals set up around it and put back afterwards."""
        if is_loading():
            raise ConfigurationError(GUARD_TEXT)
        if self._run is not None:
            raise ConfigurationError("a Worker runs once: make another one for another run")
        settings = self._resolved.settings
        with contextlib.ExitStack() as stack:
            stack.enter_context(root_logger_set_up(settings.verbose))
            stack.enter_context(signal_handlers(self._request, self._blocked_in_source))
            self._stats.begin()
            executor = make_executor(self._executor)
            self._console = make_console(
                self._function.name, self._stats, settings, executor, self._keeping
            )
            stack.callback(self._keeping.close)
            self._keeping.open(self._told_of_start)
            self._run = make_run(
                self._function,
                self.data,
                settings,
                source=self._source,
                executor=executor,
                clock=self._clock,
                stats=self._stats,
                on_outcome=self._on_outcome,
                task_logs=self._keeping.task_logs,
            )
            self._say_hello(executor.capabilities)
            self._pass_on()
            stack.enter_context(gc_frozen())
            yield self._run

    def _on_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        self._keeping.hear(delivery, outcome)
        self._console.on_outcome(delivery, outcome)

    def _told_of_start(self) -> dict[str, Any]:
        """Return what a run directory keeps of how it was started."""
        resolved = self._resolved
        return {
            "function": self._function.name,
            "executor": resolved.settings.executor,
            "slots": resolved.settings.num_simultaneous_tasks,
            "source": str(self._source),
            "settings": [asdict(value) for value in values(resolved)],
        }

    def _say_hello(self, capabilities: Capabilities) -> None:
        resolved = self._resolved
        executor = resolved.settings.executor
        if not isinstance(self._executor, type):
            executor = f"{type(self._executor).__module__.partition('.')[0]}.{executor}"
        for line in banner(self._function.name, self._source, executor, resolved, capabilities):
            console.info(line)
        for warning in resolved.warnings:
            logger.warning(warning)
        for value in values(resolved):
            logger.debug("%s = %r (%s)", value.name, value.value, value.origin)

    def _report(self, run: Callable[[], RunSummary]) -> RunSummary:
        """Run, and say what came of it."""
        summary: RunSummary | None = None
        try:
            self._console.start()
            summary = run()
        except CloudTasksError as error:
            summary = error.summary
            raise
        finally:
            self._console.stop()
            if summary is not None:
                self._keeping.ended(summary)
                for line in [*summary_lines(summary), *self._keeping.closing_lines(summary)]:
                    console.info(line)
            # Asked here: later the log's level is what it was before the run.
            self._told = summary is not None and console.isEnabledFor(logging.INFO)
        return summary
