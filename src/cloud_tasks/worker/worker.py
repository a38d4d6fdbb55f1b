"""Run a user's function: the class :class:`Worker`.

Children of executors import the user's program, and with it this module, but never make a worker.
So it imports nothing at its top; :mod:`~cloud_tasks.worker.build` is loaded when a worker is made.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from cloud_tasks.executors.common.call import UserFunction
    from cloud_tasks.summary import RunSummary
    from cloud_tasks.worker_data import WorkerData


class Worker:
    """Runs one function over many tasks.

    The constructor parses the command line and checks all settings; it opens nothing. A worker
    runs once.

    Args:
        process_task: called as ``process_task(task_id, task_data, worker_data)``; returns
            ``(retry, result)``.
        executor: how tasks are isolated: a name of the registry, an object of
            :class:`cloud_tasks.executors.base.Executor`, or any ``concurrent.futures.Executor``.
        task_source: a file name, a ``pathlib.Path``, a ``filecache.FCPath``, or a function
            whose result is iterated; it beats ``--task-file``.
        args: the command line without the program's name; None: that of this process.
        argparser: the program's own parser: its arguments and ours in one ``--help`` and one
            Namespace.

    Raises:
        ConfigurationError: a keyword can't work, or the parser's flags clash with ours.
        SystemExit: with status 2, after a message: a setting is wrong.
    """

    def __init__(
        self,
        process_task: UserFunction,
        *,
        executor: Any = None,
        task_source: Any = None,
        args: Sequence[str] | None = None,
        argparser: argparse.ArgumentParser | None = None,
    ) -> None:
        from cloud_tasks.worker.build import make_plan
        from cloud_tasks.worker.program import Program

        plan = make_plan(
            process_task,
            executor=executor,
            task_source=task_source,
            args=args,
            argparser=argparser,
        )
        self._program = Program(plan)

    @property
    def data(self) -> WorkerData:
        """The ``worker_data`` of the tasks; attributes that are set before the start reach them."""
        return self._program.data

    @data.setter
    def data(self, data: WorkerData) -> None:
        self._program.data = data

    #: The name of it in programs that were written for rms-cloud-tasks.
    _data = data

    async def start(self) -> RunSummary:
        """Run until the work is done or a shutdown is over.

        The caller's event loop goes on meanwhile, except with ``inline``, which runs tasks in
        the calling thread. Cancelling it kills what runs, and re-raises.

        Raises:
            CloudTasksError: the worker or its source failed; tasks that fail raise nothing.
        """
        return await self._program.start()

    def run(self) -> RunSummary:
        """Run as :meth:`start` does, and block; works also where an event loop runs already.

        Raises:
            CloudTasksError: the worker or its source failed; tasks that fail raise nothing.
        """
        return self._program.run()

    def main(self) -> NoReturn:
        """Run, then end the program with the run's exit code.

        Raises:
            SystemExit: always.
        """
        self._program.main()

    def stop(self, reason: str = "", *, now: bool = False) -> None:
        """End the run from any thread: no new task starts, running ones get the grace period.

        Args:
            reason: for the log.
            now: kill what runs at once.
        """
        self._program.stop(reason, now=now)
