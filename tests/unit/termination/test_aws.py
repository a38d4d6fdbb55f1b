from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from fakes import FakeClock

from cloud_tasks.termination.aws import AwsProbe
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.testing import eventually
from cloud_tasks.testing.metadata_server import INSTANCE_ID, MetadataServer

Watch = Callable[[TerminationProbe], "Future[Notice | None]"]
TOKEN = "PUT /latest/api/token"
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = Notice("rebalance recommendation", None, final=False)
#: 2027-01-15, 08:00:00 UTC.
NOW = 1_800_000_000.0


def interrupted(server: MetadataServer, **told: object) -> Notice | None:
    """What is made of an instance-action, told at NOW."""
    server.texts[ACTION] = json.dumps(told)
    return AwsProbe(address=server.address, clock=FakeClock(NOW)).wait(threading.Event())


def test_no_notice_comes_before_the_service_gives_one(server: MetadataServer, watch: Watch) -> None:
    waiting = watch(AwsProbe(address=server.address, period=0.01))
    eventually(lambda: server.requests.count(f"GET {ACTION}") > 5)
    assert not waiting.done()
    server.interrupt("terminate", seconds=120)
    notice = waiting.result(30)
    assert notice is not None
    assert (notice.kind, notice.final) == ("spot terminate", True)
    assert notice.kill_after is not None
    assert 90 < notice.kill_after <= 115


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_the_kind_tells_what_becomes_of_the_instance(action: str, server: MetadataServer) -> None:
    notice = interrupted(server, action=action, time="2027-01-15T08:02:00Z")
    assert notice == Notice(f"spot {action}", 115.0)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2027-01-15T08:02:00Z", 115.0),
        ("2027-01-15T08:02:00", 115.0),
        ("2027-01-15T09:02:00+01:00", 115.0),
        ("2027-01-15T08:00:05Z", 0.0),
        ("2027-01-15T07:00:00Z", 0.0),
    ],
)
def test_tasks_are_killed_five_seconds_before_the_end(
    time: str, seconds: float, server: MetadataServer
) -> None:
    assert interrupted(server, action="stop", time=time) == Notice("spot stop", seconds)


@pytest.mark.parametrize("time", ["soon", "", None, 1_800_000_120, "15 Jan 2027 08:02:00 GMT"])
def test_a_time_that_cant_be_read_leaves_25_seconds(time: object, server: MetadataServer) -> None:
    assert interrupted(server, action="stop", time=time) == Notice("spot stop", 25.0)


def test_an_interruption_without_any_detail_is_one(server: MetadataServer) -> None:
    assert interrupted(server) == Notice("spot interruption", 25.0)


def test_an_action_that_is_no_json_is_no_notice(server: MetadataServer, watch: Watch) -> None:
    server.texts[ACTION] = "{"
    waiting = watch(AwsProbe(address=server.address, period=0.01))
    eventually(lambda: server.requests.count(f"GET {ACTION}") > 3)
    assert not waiting.done()
    server.interrupt("stop")
    assert isinstance(waiting.result(30), Notice)


def test_a_rebalance_recommendation_is_told_once_and_the_end_after_it(
    server: MetadataServer, watch: Watch
) -> None:
    probe = AwsProbe(address=server.address, period=0.01)
    server.recommend_rebalance()
    assert watch(probe).result(30) == REBALANCE
    asked = len(server.requests)
    waiting = watch(probe)
    eventually(lambda: len(server.requests) > asked + 10)
    assert not waiting.done()
    server.interrupt("terminate")
    notice = waiting.result(30)
    assert notice is not None
    assert notice.final


def test_the_end_is_told_before_a_recommendation(server: MetadataServer) -> None:
    server.recommend_rebalance()
    notice = interrupted(server, action="stop", time="2027-01-15T08:02:00Z")
    assert notice == Notice("spot stop", 115.0)


def test_one_token_serves_for_hours(server: MetadataServer, watch: Watch) -> None:
    clock = FakeClock()
    watch(AwsProbe(address=server.address, period=0.01, clock=clock))
    eventually(lambda: len(server.requests) > 10)
    clock.now += 5.9 * 3600
    asked = len(server.requests)
    eventually(lambda: len(server.requests) > asked + 10)
    assert server.requests.count(TOKEN) == 1
    clock.now += 0.1 * 3600
    eventually(lambda: server.requests.count(TOKEN) == 2)


def test_a_token_that_ended_early_is_replaced_unnoticed(
    server: MetadataServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = watch(AwsProbe(address=server.address, period=0.01))
    eventually(lambda: len(server.requests) > 10)
    server.expire_tokens()
    eventually(lambda: server.requests.count(TOKEN) == 2)
    server.interrupt()
    assert isinstance(waiting.result(30), Notice)
    assert not caplog.records


def test_the_instance_has_its_id_as_name(server: MetadataServer) -> None:
    assert AwsProbe(address=server.address).instance_id() == INSTANCE_ID
    assert server.requests == [TOKEN, "GET /latest/meta-data/instance-id"]


def test_the_address_comes_from_the_variable_that_amazons_tools_read(
    server: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.address + "/")
    assert AwsProbe().instance_id() == INSTANCE_ID
