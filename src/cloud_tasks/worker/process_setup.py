"""Set up the user's process for a run: root logger, cycle collector, a thread beside asyncio."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator

from cloud_tasks.executors.common.log_setup import add_root_handler
from cloud_tasks.runtime.lifecycle import LONGEST_SLEEP
from cloud_tasks.runtime.run import Run
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.system.shortage import start_thread

#: Packages whose log records below WARNING are dropped: at DEBUG they contain tokens.
_SDKS = {"boto3", "botocore", "google", "grpc", "s3transfer", "urllib3"}


@contextlib.contextmanager
def root_logger_set_up(verbose: bool) -> Iterator[None]:
    """Give the root logger a handler if it has none, until the end of the block."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    before = root.level
    handler = add_root_handler(logging.DEBUG if verbose else logging.INFO)
    handler.addFilter(_is_shown)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] not in _SDKS


@contextlib.contextmanager
def gc_frozen() -> Iterator[None]:
    """Hide all existing objects from the cycle collector, until the end of the block.

    Modules and their functions make up nearly all that it would visit again and again while tasks
    come and go. If the program had frozen objects itself, all stay frozen afterwards, because the
    collector can't unfreeze a part.
    """
    keep_frozen = gc.get_freeze_count() > 0
    gc.freeze()
    try:
        yield
    finally:
        if not keep_frozen:
            gc.unfreeze()


async def in_thread(run: Run, work: Callable[[], RunSummary]) -> RunSummary:
    """Do *work* in a thread of its own and await it; if cancelled, kill *run* and await its end.

    The thread is not one of the event loop's executor, because Python waits for those at exit.
    """
    import asyncio  # here, because runs without an event loop do without it

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

    start_thread(threading.Thread(target=target, name="cloud_tasks-run", daemon=True))
    try:
        while not done.done():
            # Not longer, because a signal may be delivered to a thread that sleeps.
            await asyncio.wait([done], timeout=LONGEST_SLEEP)
        return done.result()
    except asyncio.CancelledError:
        run.stop(StopReason.REQUESTED, now=True)
        await asyncio.wait([done])
        done.exception()  # otherwise asyncio logs that the exception was never retrieved
        raise
