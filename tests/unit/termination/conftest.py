"""A metadata service, and a thread that waits for its notices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cloud_tasks.termination import metadata
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.testing.metadata_server import MetadataServer

Watch = Callable[[TerminationProbe], "Future[Notice | None]"]


@pytest.fixture(autouse=True)
def no_addresses_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RMS_CLOUD_TASKS_METADATA_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "GCE_METADATA_HOST",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give the stand-in more time than the real service has; returns what that one has.

    On a busy machine two seconds may pass between a question and its answer, and a question
    without an answer is trouble that a test has not made.
    """
    own = metadata.TIMEOUT
    monkeypatch.setattr(metadata, "TIMEOUT", 30.0)
    return own


@pytest.fixture
def server() -> Iterator[MetadataServer]:
    with MetadataServer() as server:
        yield server


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watch(stop: threading.Event) -> Iterator[Watch]:
    """Let a probe wait in a thread of its own until *stop* is set or the test is over."""
    with ThreadPoolExecutor() as pool:
        yield lambda probe: pool.submit(probe.wait, stop)
        stop.set()
