"""What all probes of metadata services have in common."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from fakes import FakeClock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_tasks import registry
from cloud_tasks.termination import metadata
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.termination.polling import PollingProbe
from cloud_tasks.testing import eventually
from cloud_tasks.testing.metadata_server import INSTANCE_ID, NAME, Fault, MetadataServer

PROVIDERS = registry.names("probe")
IDS = {"AWS": INSTANCE_ID, "GCP": NAME, "AZURE": NAME}
Watch = Callable[[TerminationProbe], "Future[Notice | None]"]


def probe_of(provider: str, server: MetadataServer, **keywords: object) -> PollingProbe:
    probe = registry.load("probe", provider)(address=server.address, **keywords)
    assert isinstance(probe, PollingProbe)
    return probe


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_probe_needs_no_arguments(provider: str) -> None:
    assert isinstance(registry.load("probe", provider)(), TerminationProbe)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stand_in_serves_every_provider_by_one_variable(
    provider: str, server: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RMS_CLOUD_TASKS_METADATA_ENDPOINT", server.address)
    assert registry.load("probe", provider)().instance_id() == IDS[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.HANG_UP])
def test_without_an_answer_the_machine_has_no_name(
    provider: str, fault: Fault, server: MetadataServer
) -> None:
    server.fault = fault
    assert probe_of(provider, server).instance_id() is None


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_probe_that_is_stopped_asks_nothing(
    provider: str, server: MetadataServer, stop: threading.Event
) -> None:
    stop.set()
    assert probe_of(provider, server).wait(stop) is None
    assert not server.requests


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_probe_waits_until_it_is_stopped(
    provider: str, server: MetadataServer, watch: Watch, stop: threading.Event
) -> None:
    waiting = watch(probe_of(provider, server, period=0.01))
    eventually(lambda: len(server.requests) > 20)
    assert not waiting.done()
    stop.set()
    assert waiting.result(30) is None


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_long_period_does_not_delay_the_stop(
    provider: str, server: MetadataServer, watch: Watch, stop: threading.Event
) -> None:
    waiting = watch(probe_of(provider, server, period=1000.0))
    eventually(lambda: server.requests)
    stop.set()
    assert waiting.result(30) is None


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_service_that_hangs_does_not_hold_a_stopped_probe(
    provider: str,
    server: MetadataServer,
    watch: Watch,
    stop: threading.Event,
    patience: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "TIMEOUT", patience)
    server.fault = Fault.STALL
    waiting = watch(probe_of(provider, server, period=0.01))
    eventually(lambda: server.requests)
    stop.set()
    asked = len(server.requests)
    assert waiting.result(30) is None
    # That under way is waited for, which lasts 2 s at most. It may be one that was made before
    # the stop and arrived after it; no other is made.
    assert len(server.requests) <= asked + 1


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.GARBAGE, Fault.HANG_UP])
def test_trouble_with_the_service_passes(
    provider: str, fault: Fault, server: MetadataServer, watch: Watch
) -> None:
    server.fault = fault
    waiting = watch(probe_of(provider, server, period=0.01))
    eventually(lambda: len(server.requests) > 10)
    server.interrupt()
    server.preempt()
    server.schedule()
    assert not waiting.done()
    server.fault = None
    assert isinstance(waiting.result(30), Notice)


def test_a_service_that_comes_late_is_heard(server: MetadataServer, watch: Watch) -> None:
    server.stop()
    waiting = watch(probe_of("GCP", server, period=0.01))
    server.preempt()
    server.start()
    assert isinstance(waiting.result(30), Notice)


def test_trouble_is_told_once_and_so_is_its_end(
    server: MetadataServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.fault = Fault.ERROR
    clock = FakeClock()
    watch(probe_of("AWS", server, period=0.01, clock=clock))
    eventually(lambda: len(server.requests) > 20)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"no answer from the metadata service at {server.address}: spot notices can't be received "
        "(/latest/api/token: HTTP status 500)"
    )
    assert warnings(caplog) == [line]
    clock.now += 61
    eventually(lambda: len(caplog.records) > 1)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]
    server.fault = None
    eventually(lambda: "answers again" in caplog.text)
    assert caplog.records[-1].levelname == "INFO"


def test_a_service_that_comes_and_goes_is_told_once_a_minute(
    server: MetadataServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    watch(probe_of("GCP", server, period=0.01, clock=clock))

    def come_and_go() -> None:
        for fault in (Fault.ERROR, None):
            server.fault = fault
            asked = len(server.requests)
            eventually(lambda: len(server.requests) > asked + 4)  # noqa: B023 - called at once

    come_and_go()
    come_and_go()
    assert len(warnings(caplog)) == 1
    clock.now += 61
    come_and_go()
    assert len(warnings(caplog)) == 2


def test_azure_may_take_two_minutes_for_its_first_answer(
    server: MetadataServer, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    server.fault = Fault.ERROR
    clock = FakeClock()
    watch(probe_of("AZURE", server, period=0.01, clock=clock))
    eventually(lambda: len(server.requests) > 10)
    assert not warnings(caplog)
    clock.now += 121
    eventually(lambda: warnings(caplog))


class OneRound(threading.Event):
    """Set as soon as somebody waits for it: after the first round of questions."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
TIMES = (
    st.text(max_size=30)
    | st.datetimes().map(str)
    | st.sampled_from(
        [
            "Mon, 99 Sep 2016 18:29:47 GMT",
            "Mon, 19 Sep 99999 18:29:47 GMT",
            "Mon, 19 Sep 2016 18:29:47 +9999",
            "0001-01-01T00:00:00+23:59",
        ]
    )
)
EVENT = st.fixed_dictionaries(
    {"EventType": st.sampled_from(["Preempt", "Terminate", "Freeze"])},
    optional={"NotBefore": TIMES | JSON, "Resources": st.just([NAME]) | JSON},
)
TOLD = (
    JSON
    | st.fixed_dictionaries({"action": st.just("stop") | JSON, "time": TIMES | JSON})
    | st.fixed_dictionaries({"Events": st.lists(EVENT | JSON, max_size=3) | JSON})
)


@pytest.mark.timeout(200)  # a second's work or two, which a busy machine draws out
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=50) | TOLD.map(json.dumps))
def test_no_answer_makes_a_probe_fail(text: str, server: MetadataServer) -> None:
    for path in (
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/events/recommendations/rebalance",
        "/computeMetadata/v1/instance/preempted",
        "/metadata/instance/compute/name",
        "/metadata/scheduledevents",
    ):
        server.texts[path] = text
    for provider in PROVIDERS:
        notice = probe_of(provider, server).wait(OneRound())
        assert notice is None or notice.kill_after is None or notice.kill_after >= 0
