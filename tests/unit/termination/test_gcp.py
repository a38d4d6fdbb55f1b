from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.termination.gcp import GcpProbe
from cloud_tasks.testing import eventually
from cloud_tasks.testing.metadata_server import NAME, MetadataServer

Watch = Callable[[TerminationProbe], "Future[Notice | None]"]
INSTANCE = "/computeMetadata/v1/instance/"


def test_a_preemption_leaves_25_seconds(server: MetadataServer, watch: Watch) -> None:
    waiting = watch(GcpProbe(address=server.address, period=0.01))
    eventually(lambda: len(server.requests) > 10)
    assert not waiting.done()
    server.preempt()
    assert waiting.result(30) == Notice("preempted", 25.0)


def test_maintenance_that_ends_the_machine_is_a_notice(
    server: MetadataServer, watch: Watch
) -> None:
    server.announce_maintenance()
    waiting = watch(GcpProbe(address=server.address))
    assert waiting.result(30) == Notice("host maintenance: terminate", 25.0)


def test_maintenance_that_moves_the_machine_is_none(server: MetadataServer, watch: Watch) -> None:
    server.announce_maintenance("MIGRATE_ON_HOST_MAINTENANCE")
    waiting = watch(GcpProbe(address=server.address, period=0.01))
    eventually(lambda: len(server.requests) > 10)
    assert not waiting.done()
    server.preempt()
    assert waiting.result(30) == Notice("preempted", 25.0)


def test_a_preemption_is_heard_although_maintenance_is_not_told(
    server: MetadataServer, watch: Watch
) -> None:
    del server.texts[f"{INSTANCE}maintenance-event"]
    waiting = watch(GcpProbe(address=server.address, period=0.01))
    eventually(lambda: len(server.requests) > 10)
    server.preempt()
    assert waiting.result(30) == Notice("preempted", 25.0)


@pytest.mark.parametrize("text", ["", "true", "<html>"])
def test_an_answer_that_is_neither_true_nor_false_is_trouble(
    text: str, server: MetadataServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    server.texts[f"{INSTANCE}preempted"] = text
    waiting = watch(GcpProbe(address=server.address, period=0.01))
    eventually(lambda: f"{text!r} is neither TRUE nor FALSE" in caplog.text)
    assert not waiting.done()


def test_the_address_comes_from_the_variable_that_googles_tools_read(
    server: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", server.address.removeprefix("http://"))
    assert GcpProbe().instance_id() == NAME
