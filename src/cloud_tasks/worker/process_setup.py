"""A run beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator

from cloud_tasks.executors.common.log_setup import add_root_handler
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


# MERGED: The root logger while a worker runs.

_SDKS = {"boto3", "botocore", "google", "grpc", "s3transfer", "urllib3"}


@contextlib.contextmanager
def root_logger_set_up(verbose: bool) -> Iterator[None]:
    """Give the root logger a handler if it has none; take it away afterwards."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    before = root.level
    handler = add_root_handler(logging.DEBUG if verbose else logging.INFO)
    handler.addFilter(_is_wanted)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Leave out what the SDKs of providers say of each request: at DEBUG it holds tokens."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] not in _SDKS


# MERGED: Python's cycle collector, while a run lasts.


@contextlib.contextmanager
def gc_frozen() -> Iterator[None]:
    """Keep the collector from looking at what exists already, until the end of the block.

    Modules and their functions make up nearly all that it would walk over again and again while
    tasks come and go. A program that had frozen something itself finds it so, and the rest as well:
    the collector can't let go of a part.
    """
    to_be_kept = gc.get_freeze_count() > 0
    gc.freeze()
    try:
        yield
    finally:
        if not to_be_kept:
            gc.unfreeze()
