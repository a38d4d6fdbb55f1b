"""What goes on beside the tasks, each in a thread of its own that dies with the run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cloud_tasks.termination.base import Notice, TerminationProbe

logger = logging.getLogger(__name__)


def listen(
    probe: TerminationProbe, over: threading.Event, on_notice: Callable[[Notice], None]
) -> None:
    """Pass on what *probe* hears, up to the final notice, or until *over* is set; blocks."""
    try:
        while (notice := probe.wait(over)) is not None:
            on_notice(notice)
            if notice.final:
                return
    except Exception:
        # The tasks are better off without notices than without a worker.
        logger.exception("listening for termination notices failed")


def tell_alive(
    period: float,
    over: threading.Event,
    instance_id: Callable[[], str | None],
    tell: Callable[[str | None], None],
) -> None:
    """Call *tell* with the machine's name, now and every *period* seconds; blocks until *over*."""
    try:
        name = instance_id()
        tell(name)
        while not over.wait(period):
            tell(name)
    except Exception:
        logger.exception("sending signs of life failed")
