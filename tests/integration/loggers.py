"""Tasks that log; light, since child processes import it."""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import threading
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def talk(task_id: str, data: dict[str, Any], worker_data: object) -> Any:
    """Do what ``data["do"]`` says."""
    return False, globals()[data["do"]](data)


def speaks_at_levels(data: dict[str, Any]) -> list[int]:
    """Return the level from which on each logger's records are made here."""
    for name in data["names"]:
        for level in (logging.DEBUG, logging.INFO, logging.ERROR):
            logging.getLogger(name).log(level, "%s at %d", name, level)
    return [logging.getLogger(name).getEffectiveLevel() for name in data["names"]]


def counts(data: dict[str, Any]) -> None:
    Path(data.get("begun", os.devnull)).touch()
    for n in range(data.get("count", 1)):
        logger.info("%d", n)


def tells_of_an_exception(data: dict[str, Any]) -> None:
    try:
        raise ValueError("no such band")  # noqa: TRY301
    except ValueError:
        logger.exception("failed")


def dies(data: dict[str, Any]) -> None:
    logger.warning("last words")
    os.kill(os.getpid(), signal.SIGKILL)


def says_much_at_once(data: dict[str, Any]) -> None:
    logger.warning("begin%s", "x" * 5_000_000)


def starts_a_thread(data: dict[str, Any]) -> None:
    thread = threading.Thread(target=logger.warning, args=["from a thread"])
    thread.start()
    thread.join()


def forks(data: dict[str, Any]) -> None:
    if os.fork() == 0:
        logger.warning("from a copy")
        os._exit(0)
    os.wait()


def takes_the_handlers_away(data: dict[str, Any]) -> None:
    logging.getLogger().handlers.clear()
    logging.shutdown()


def configures_logging(data: dict[str, Any]) -> None:
    logging.config.dictConfig({"version": 1, "root": {"handlers": []}})
    assert logger.disabled
