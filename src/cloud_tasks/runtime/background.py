"""Watch for termination notices and send keep-alives, each in a thread that ends with the run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from cloud_tasks.sources.entries import raised
from cloud_tasks.termination.base import Notice, TerminationProbe

logger = logging.getLogger(__name__)

#: Called with a sentence and an exception when such a thread fails and the run goes on.
OnTrouble: TypeAlias = Callable[[str, BaseException], None]


def watch_probe(
    probe: TerminationProbe,
    over: threading.Event,
    on_notice: Callable[[Notice], None],
    on_trouble: OnTrouble,
) -> None:
    """Call *on_notice* with each notice of *probe*; blocks until a final one, or *over* is set."""
    try:
        while (notice := probe.wait(over)) is not None:
            on_notice(notice)
            if notice.final:
                return
    except BaseException as error:
        # Tasks can go on without notices, but not without a worker.
        logger.exception("watching for termination notices failed")
        on_trouble(f"watching for termination notices failed: {raised(error)}", error)


def send_keepalives(
    period: float,
    over: threading.Event,
    instance_id: Callable[[], str | None],
    send: Callable[[str | None], None],
    on_trouble: OnTrouble,
) -> None:
    """Call *send* with the machine's name at once and every *period* seconds, until *over*."""
    try:
        name = instance_id()
        send(name)
        while not over.wait(period):
            send(name)
    except BaseException as error:
        logger.exception("sending keep-alives failed")
        on_trouble(f"sending keep-alives failed: {raised(error)}", error)
