"""Collecting events, from a queue in memory."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes import Sink

from cloud_tasks.cli.monitor_event_queue import monitor
from cloud_tasks.errors import EventLogError, QueueMissingError, QueueUnavailableError
from cloud_tasks.events.collector import REMEMBERED, Collector, ReceivedEvents
from cloud_tasks.queues.base import Outgoing, QueueSpec
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.testing.fake_queue import FakeProvider, FakeServer, Stored

IDLE = 0.3


def event(number: int, event_type: str = "task_completed") -> bytes:
    body = {"event_type": event_type, "task_id": f"t{number}", "event_id": f"run-{number}"}
    return json.dumps(body).encode()


class Desk:
    """An event queue in memory, and a file."""

    def __init__(self, folder: Path) -> None:
        self.server = FakeServer()
        self.job = JobQueues("FAKE", FakeProvider(self.server), "moon")
        self.job.provider.admin("moon-events").create(QueueSpec())
        self.output = folder / "events.jsonl"

    def send(self, *bodies: bytes) -> None:
        queue = self.job.provider.queue("moon-events")
        messages = [Outgoing(body, f"{n}") for n, body in enumerate(bodies)]
        assert not queue.send(messages)

    def monitor(self, **keywords: Any) -> ReceivedEvents:
        return monitor(self.job, self.output, **{"show": False, "idle": IDLE, **keywords})

    @property
    def stored(self) -> Stored:
        return self.server.stored("moon-events")

    @property
    def ids(self) -> list[str]:
        return [json.loads(line)["event_id"] for line in self.output.read_bytes().splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_events_are_in_the_file_and_no_longer_in_the_queue(desk: Desk) -> None:
    bodies = [event(n) for n in range(57)]
    desk.send(*bodies)
    received = desk.monitor()
    assert sorted(desk.output.read_bytes().splitlines()) == sorted(bodies)
    assert not desk.stored.copies
    assert received.types == {"task_completed": 57}


def test_events_are_appended(desk: Desk) -> None:
    for number in range(2):
        desk.send(event(number))
        desk.monitor()
    assert desk.ids == ["run-0", "run-1"]


def test_an_event_that_comes_again_is_written_once(desk: Desk) -> None:
    desk.send(event(0), event(1), event(1))
    desk.stored.duplicate(1)
    received = desk.monitor()
    assert sorted(desk.ids) == ["run-0", "run-1"]
    assert received.repeats == 2
    assert not desk.stored.copies


def test_an_event_that_was_written_but_not_deleted_is_written_once(desk: Desk) -> None:
    desk.output.write_bytes(event(0) + b"\n" + event(1) + b"\n")
    desk.send(event(1), event(2))
    assert desk.monitor().repeats == 1
    assert desk.ids == ["run-0", "run-1", "run-2"]


def test_a_line_that_a_crash_cut_off_is_mended_and_its_event_comes_again(desk: Desk) -> None:
    desk.output.write_bytes(event(0) + b"\n" + event(1)[:20])
    desk.send(event(1))
    desk.monitor()
    assert desk.ids == ["run-0", "run-1"]


def test_events_of_workers_that_give_no_event_id_are_all_written(desk: Desk) -> None:
    body = b'{"event_type": "task_completed", "task_id": "t"}'
    desk.send(body, body)
    assert desk.monitor().types == {"task_completed": 2}
    assert desk.output.read_bytes().splitlines() == [body, body]


def test_an_event_that_spans_lines_becomes_one_line(desk: Desk) -> None:
    desk.send(json.dumps(json.loads(event(0)), indent=2).encode())
    desk.monitor()
    assert desk.ids == ["run-0"]


def test_a_message_may_hold_several_events(desk: Desk) -> None:
    desk.send(event(0) + b"\n" + event(1) + b"\n")
    desk.monitor()
    assert desk.ids == ["run-0", "run-1"]


@pytest.mark.parametrize("body", [b"nonsense", b"[1]", b"\xff\xfe", b"[" * 100_000, b""])
def test_what_is_no_event_is_reported_and_does_not_block(
    desk: Desk, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    desk.send(body, event(1))
    received = desk.monitor()
    assert desk.ids == ["run-1"]
    assert received.malformed == 1
    assert not desk.stored.copies
    assert "holds no event" in capsys.readouterr().err


def test_events_stay_in_the_queue_when_they_cannot_be_written(desk: Desk) -> None:
    desk.send(event(0), event(1))
    queue = desk.job.provider.queue("moon-events")
    collector = Collector(
        queue, ReceivedEvents(), sink=Sink(failures=1), on_malformed=print, stop=threading.Event()
    )
    with pytest.raises(EventLogError):
        collector.run(IDLE)
    assert desk.stored.split() == (2, 0)


def test_events_are_deleted_after_they_were_written(desk: Desk) -> None:
    log: list[str] = []
    desk.send(*(event(n) for n in range(3)))

    def trouble(name: str, operation: str) -> None:
        log.append(operation)

    desk.server.trouble = trouble
    queue = desk.job.provider.queue("moon-events")
    Collector(
        queue, ReceivedEvents(), sink=Sink(log), on_malformed=print, stop=threading.Event()
    ).run(IDLE)
    assert log[:5] == ["receive", "event", "event", "event", "ack"]


def test_a_file_that_cannot_be_opened_is_told_before_anything_is_taken(desk: Desk) -> None:
    desk.send(event(0))
    desk.output.mkdir()
    with pytest.raises(EventLogError, match="output file") as caught:
        desk.monitor()
    assert "directory" in str(caught.value)
    assert desk.stored.split() == (1, 0)


def test_an_event_queue_that_is_not_there_is_an_error_and_makes_no_file(desk: Desk) -> None:
    desk.job.provider.admin("moon-events").delete()
    with pytest.raises(QueueMissingError, match="moon-events"):
        desk.monitor()
    assert not desk.output.exists()


def test_trouble_that_passes_ends_no_monitor(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.send(event(0))
    desk.stored.refuse("receive", 2, QueueUnavailableError("not now"))
    desk.stored.refuse("ack", 1, QueueUnavailableError("not now"))
    desk.monitor()
    assert desk.ids == ["run-0"]
    assert not desk.stored.copies
    assert "receive fails, trying again: not now" in capsys.readouterr().err


def test_events_can_be_printed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.send(event(0), event(1, "task_exited"))
    received = monitor(desk.job, None, show=True, idle=IDLE)
    shown = capsys.readouterr()
    assert shown.out.encode().splitlines() == [event(0), event(1, "task_exited")]
    assert "2 events   task_completed 1   task_exited 1" in shown.err
    assert received.types.total() == 2


def test_more_requests_are_made_at_a_time_while_they_come_back_full(desk: Desk) -> None:
    desk.send(*(event(n) for n in range(400)))
    queue = desk.job.provider.queue("moon-events")
    sink = Sink()
    writes = []

    class Counting(Sink):
        def write(self, lines: list[bytes]) -> None:
            writes.append(len(lines))
            sink.write(lines)

    Collector(
        queue, ReceivedEvents(), sink=Counting(), on_malformed=print, stop=threading.Event()
    ).run(IDLE)
    assert len(sink.lines) == 400
    assert writes[:4] == [10, 20, 40, 80]


def test_a_limited_number_of_ids_is_remembered() -> None:
    received = ReceivedEvents()
    for number in range(REMEMBERED + 5):
        received.new_lines(event(number))
    assert received.new_lines(event(REMEMBERED)) == []
    assert received.new_lines(event(0)) == [event(0)]
