"""Run a worker once: logging, signals and printing around a :class:`~cloud_tasks.runtime.run.Run`.

::

    start() or run() ─► _prepared()  logging, signals, run directory, build(), banner
                            │
                        _run_and_report()  console on, Run.run(), console off, summary
                            │
    main() ─► exit code ◄───┘

Signals and stop() may come at any time, also before there is a run: they wait in a queue.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, NoReturn

from cloud_tasks.display.console import Console
from cloud_tasks.display.messages import summary_lines
from cloud_tasks.errors import CloudTasksError, ConfigurationError
from cloud_tasks.executors.common.main_module import GUARD_TEXT, is_loading
from cloud_tasks.runtime.run import Run
from cloud_tasks.runtime.signals import signal_handlers
from cloud_tasks.settings.reference import values
from cloud_tasks.settings.table import worker_data_values
from cloud_tasks.summary import INTERRUPTED, TASKS_NOT_DONE, TROUBLE, USAGE, RunSummary, StopReason
from cloud_tasks.system.processes import fill_standard_descriptors
from cloud_tasks.worker.banner import print_banner
from cloud_tasks.worker.build import Plan, build
from cloud_tasks.worker.orphan_reaper import MainThreadStarts, OrphanReaper
from cloud_tasks.worker.process_setup import gc_frozen, in_thread, root_logger_set_up
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)
console = logging.getLogger("cloud_tasks.console")


class Program:
    """The one run of a :class:`~cloud_tasks.worker.worker.Worker`, which documents the methods.

    Attributes:
        data: passed to the tasks.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        resolved = plan.resolved
        self.data = WorkerData(resolved.args, **worker_data_values(resolved.settings))
        self._run: Run | None = None
        #: The end of the run, its error included, was printed.
        self._reported = False
        #: Requests to stop, which are passed on to the run once there is one.
        self._requests: deque[tuple[StopReason, bool]] = deque()

    async def start(self) -> RunSummary:
        """Run beside the caller's event loop, or in its thread if the executor needs that."""
        with self._prepared(blocking=False) as (run, screen):
            if run.needs_main_thread:
                return self._run_and_report(run, screen)
            return await in_thread(run, lambda: self._run_and_report(run, screen))

    def run(self) -> RunSummary:
        """Run, and block."""
        with self._prepared(blocking=True) as (run, screen):
            return self._run_and_report(run, screen)

    def main(self) -> NoReturn:
        """Run, then end the process with the run's exit code."""
        try:
            code = self.run().exit_code
        except KeyboardInterrupt:
            code = INTERRUPTED  # before the run could handle signals, or the second one
        except CloudTasksError as error:
            if is_loading():
                raise  # this is a child that imports the program: its parent reports the error
            if not self._reported:
                print(f"error: {error}", file=sys.stderr)  # noqa: T201
            misused = isinstance(error, ConfigurationError)
            early = USAGE if misused else TROUBLE
            code = early if error.summary is None else error.summary.exit_code
        if code == TASKS_NOT_DONE and self._plan.resolved.settings.exit_zero:
            code = 0
        sys.exit(code)

    def stop(self, reason: str = "", *, now: bool = False) -> None:
        """Ask the run to end; from any thread."""
        logger.info("stop requested%s", f": {reason}" if reason else "")
        self._request_stop(StopReason.REQUESTED, now=now)

    def _request_stop(self, reason: StopReason, *, now: bool = False) -> None:
        # Also called by signal handlers, which may interrupt it anywhere: no lock may be held.
        self._requests.append((reason, now))
        self._pass_on_requests()

    def _pass_on_requests(self) -> None:
        run = self._run
        while run is not None and self._requests:
            with contextlib.suppress(IndexError):  # another thread was faster
                reason, now = self._requests.popleft()
                run.stop(reason, now=now)

    def _blocked_in_source(self) -> bool:
        return self._run is not None and self._run.blocked_in_source

    @contextlib.contextmanager
    def _prepared(self, *, blocking: bool) -> Iterator[tuple[Run, Console]]:
        """Build the run, with logging and signals set up around it and restored afterwards."""
        if is_loading():
            raise ConfigurationError(GUARD_TEXT)
        if self._run is not None:
            raise ConfigurationError("a Worker runs once: make another one for another run")
        plan = self._plan
        fill_standard_descriptors()  # before the first file is opened
        with contextlib.ExitStack() as stack:
            stack.enter_context(root_logger_set_up(plan.resolved.settings.verbose))
            stack.enter_context(signal_handlers(self._request_stop, self._blocked_in_source))
            plan.stats.begin()
            run, executor, screen = build(plan, self.data)
            stack.callback(plan.artifacts.close)
            plan.artifacts.open(self._start_details)
            self._run = run
            name, able = self._executor_name(), executor.capabilities
            print_banner(plan.function.name, plan.source, name, plan.resolved, able)
            self._pass_on_requests()
            stack.enter_context(gc_frozen())
            stack.enter_context(OrphanReaper(_main_starts_nothing(run, blocking=blocking)))
            yield run, screen

    def _start_details(self) -> dict[str, Any]:
        """Return the details of the start that a run directory records."""
        plan = self._plan
        settings = plan.resolved.settings
        return {
            "function": plan.function.name,
            "executor": settings.executor,
            "slots": settings.num_simultaneous_tasks,
            "source": str(plan.source),
            "settings": [asdict(value) for value in values(plan.resolved)],
        }

    def _executor_name(self) -> str:
        name, executor = self._plan.resolved.settings.executor, self._plan.executor
        if isinstance(executor, type):
            return name
        return f"{type(executor).__module__.partition('.')[0]}.{name}"

    def _run_and_report(self, run: Run, screen: Console) -> RunSummary:
        """Run, with the progress on *screen*, and print the summary."""
        artifacts = self._plan.artifacts
        summary: RunSummary | None = None
        try:
            screen.start()
            summary = run.run()
        except CloudTasksError as error:
            summary = error.summary
            raise
        finally:
            screen.stop()
            if summary is not None:
                artifacts.record_end(summary)
                for line in [*summary_lines(summary), *artifacts.closing_lines(summary)]:
                    console.info(line)
            # Checked here, because later the log's level is that before the run.
            self._reported = summary is not None and console.isEnabledFor(logging.INFO)
        return summary


def _main_starts_nothing(run: Run, *, blocking: bool) -> Callable[[], bool]:
    """Return a function that tells whether all processes of the main thread are ours."""
    if run.needs_main_thread:
        return lambda: False  # tasks may start some there
    if blocking and threading.current_thread() is threading.main_thread():
        return lambda: True
    return MainThreadStarts().none
