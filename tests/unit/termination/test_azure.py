from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest
from fakes import FakeClock

from cloud_tasks.termination.azure import AzureProbe
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.testing import eventually
from cloud_tasks.testing.metadata_server import NAME, MetadataServer

Watch = Callable[[TerminationProbe], "Future[Notice | None]"]
EVENTS = "/metadata/scheduledevents"
NAME_PATH = "/metadata/instance/compute/name"
#: 2027-01-15, 08:00:00 UTC.
NOW = 1_800_000_000.0


def scheduled(server: MetadataServer, *events: object) -> Notice | None:
    """What is made of *events*, told at NOW."""
    server.texts[EVENTS] = json.dumps({"Events": events})
    return AzureProbe(address=server.address, clock=FakeClock(NOW)).wait(threading.Event())


def test_an_eviction_is_told_with_its_time(server: MetadataServer, watch: Watch) -> None:
    waiting = watch(AzureProbe(address=server.address, period=0.01))
    eventually(lambda: len(server.requests) > 10)
    assert not waiting.done()
    server.schedule("Preempt", seconds=120)
    notice = waiting.result(30)
    assert notice is not None
    assert (notice.kind, notice.final) == ("spot preempt", True)
    assert notice.kill_after is not None
    assert 90 < notice.kill_after <= 115


@pytest.mark.parametrize(
    ("event", "kind"), [("Preempt", "spot preempt"), ("Terminate", "terminate")]
)
@pytest.mark.parametrize(
    ("not_before", "seconds"),
    [
        ("Fri, 15 Jan 2027 08:00:30 GMT", 25.0),
        ("Fri, 15 Jan 2027 08:15:00 GMT", 895.0),
        ("Fri, 15 Jan 2027 08:15:00 -0000", 895.0),
        ("Fri, 15 Jan 2027 08:00:02 GMT", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("some day", 25.0),
        (["soon"], 25.0),
    ],
)
def test_tasks_are_killed_five_seconds_before_the_end(
    event: str, kind: str, not_before: object, seconds: float, server: MetadataServer
) -> None:
    notice = scheduled(server, {"EventType": event, "Resources": [NAME], "NotBefore": not_before})
    assert notice == Notice(kind, seconds)


@pytest.mark.parametrize("event", ["Freeze", "Reboot", "Redeploy", "Unheard-of"])
def test_what_the_machine_comes_back_from_is_no_notice(
    event: str, server: MetadataServer, watch: Watch
) -> None:
    server.schedule(event, seconds=None)
    waiting = watch(AzureProbe(address=server.address, period=0.01))
    eventually(lambda: server.requests.count(f"GET {EVENTS}") > 5)
    assert not waiting.done()


def test_the_end_of_another_machine_is_no_notice(server: MetadataServer, watch: Watch) -> None:
    server.schedule(resources=["workers_6", "workers_70"])
    waiting = watch(AzureProbe(address=server.address, period=0.01))
    eventually(lambda: server.requests.count(f"GET {EVENTS}") > 5)
    assert not waiting.done()
    server.schedule(resources=["workers_6", NAME.upper()])
    assert isinstance(waiting.result(30), Notice)


@pytest.mark.parametrize("resources", [[], ["another"]])
def test_an_event_counts_as_ours_where_that_cant_be_told(
    resources: Sequence[str], server: MetadataServer
) -> None:
    if resources:
        del server.texts[NAME_PATH]
    server.schedule(resources=resources)
    assert isinstance(AzureProbe(address=server.address).wait(threading.Event()), Notice)


def test_an_event_after_others_is_found(server: MetadataServer) -> None:
    notice = scheduled(server, "?", {"EventType": "Freeze"}, {"EventType": "Preempt"})
    assert notice == Notice("spot preempt", 0.0)


def test_the_own_name_is_asked_until_it_is_known(server: MetadataServer, watch: Watch) -> None:
    name = server.texts.pop(NAME_PATH)
    watch(AzureProbe(address=server.address, period=0.01))
    eventually(lambda: server.requests.count(f"GET {NAME_PATH}") > 3)
    server.texts[NAME_PATH] = name
    eventually(lambda: server.requests[-3:] == [f"GET {EVENTS}"] * 3)


def test_the_machine_has_the_name_by_which_managers_know_it(server: MetadataServer) -> None:
    assert AzureProbe(address=server.address).instance_id() == NAME
