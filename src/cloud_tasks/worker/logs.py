"""The root logger while a worker runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from cloud_tasks.executors.common.log_setup import add_root_handler

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
