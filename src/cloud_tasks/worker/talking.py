"""The console of a run, made for its settings, its executor and what is kept of it."""

from __future__ import annotations

from cloud_tasks.display.console import Console
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.screen import is_drawn
from cloud_tasks.executors.base import Executor
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.settings.table import Settings
from cloud_tasks.worker.keeping import Keeping


def make_console(
    name: str, stats: Stats, settings: Settings, executor: Executor, keeping: Keeping
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
        see=keeping.see,
        alone=keeping.alone,
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
