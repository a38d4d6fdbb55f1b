"""A run beside an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from cloud_tasks.runtime.lifecycle import LONGEST_SLEEP
from cloud_tasks.runtime.run import Run
from cloud_tasks.summary import RunSummary, StopReason


async def in_thread(run: Run, work: Callable[[], RunSummary]) -> RunSummary:
    """Do *work* in a thread of its own, and wait; if cancelled, kill what runs and wait for that.

    The thread is not one of the event loop's: those would be waited for at exit.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[RunSummary] = loop.create_future()

    def deliver(summary: RunSummary | None, error: BaseException | None) -> None:
        if error is not None:
            done.set_exception(error)
        elif summary is not None:
            done.set_result(summary)

    def target() -> None:
        summary, failure = None, None
        try:
            summary = work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where start() waits
            failure = error
        loop.call_soon_threadsafe(deliver, summary, failure)

    threading.Thread(target=target, name="cloud_tasks-run", daemon=True).start()
    try:
        while not done.done():
            await asyncio.wait([done], timeout=LONGEST_SLEEP)
        return done.result()
    except asyncio.CancelledError:
        run.stop(StopReason.REQUESTED, now=True)
        await asyncio.wait([done])
        done.exception()  # or asyncio complains that nobody wanted to know
        raise
