"""Events in a provider's queue."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cloud_tasks.clock import Clock
from cloud_tasks.errors import (
    EventLogError,
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.events.queue import QueueSink
from cloud_tasks.events.records import Recorder
from cloud_tasks.events.truncation import MAX_VALUE, event_id
from cloud_tasks.outcome import Completed, Measures
from cloud_tasks.queues.base import Failure, Outgoing, QueueSpec
from cloud_tasks.queues.retrying import Pauses, RetryingQueue
from cloud_tasks.task import Delivery, Task
from cloud_tasks.testing import eventually
from cloud_tasks.testing.fake_queue import FakeQueue, FakeServer, Stored

NAME = "jobs-events"


class Picky(FakeQueue):
    """Refuses what has a certain word in it, and tells how big its requests were."""

    def __init__(self, name: str, server: FakeServer, word: bytes = b"\n", *, lost: bool) -> None:
        super().__init__(name, server)
        self._word = word
        self._lost = lost
        self.sizes: list[int] = []

    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        self.sizes.append(len(messages))
        bad = {i: m for i, m in enumerate(messages) if self._word in m.body}
        good = [m for i, m in enumerate(messages) if i not in bad]
        assert not super().send(good)
        return [Failure(i, "an odd word", lost=self._lost) for i in bad]


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    server.queues[NAME] = Stored(server, QueueSpec())
    return server


@pytest.fixture
def stored(server: FakeServer) -> Stored:
    return server.stored(NAME)


@pytest.fixture
def queue(server: FakeServer) -> FakeQueue:
    return FakeQueue(NAME, server)


@pytest.fixture
def sink(queue: FakeQueue) -> QueueSink:
    return QueueSink(queue, pause=0.001)


def events(count: int, result: object = None, first: str = "t0") -> list[bytes]:
    recorder = Recorder(Clock(), hostname="host")
    outcome = Completed(False, json.dumps(result).encode(), Measures(1, 1.0))
    names = [first, *(f"t{i}" for i in range(1, count))]
    return [recorder.task_event(Delivery(Task(name, {})), outcome, retry=False) for name in names]


def bodies(stored: Stored) -> list[bytes]:
    return [copy.body for copy in stored.copies]


def test_each_event_is_one_message_by_its_id(sink: QueueSink, stored: Stored) -> None:
    lines = events(3)
    sink.open()
    sink.write(lines)
    assert bodies(stored) == lines
    assert [copy.key for copy in stored.copies] == [json.loads(line)["event_id"] for line in lines]


def test_opening_a_queue_that_is_not_there_says_what_to_do(server: FakeServer) -> None:
    sink = QueueSink(FakeQueue("gone-events", server))
    with pytest.raises(EventLogError) as caught:
        sink.open()
    for part in ("'gone-events'", "cloud_tasks load_queue", "--no-event-log-to-queue"):
        assert part in str(caught.value)
    assert isinstance(caught.value.__cause__, QueueMissingError)


@pytest.mark.parametrize("error", [QueueRefusedError("no rights"), QueueUnavailableError("away")])
def test_a_queue_that_cant_be_used_is_an_error_of_the_event_log(
    sink: QueueSink, stored: Stored, error: QueueError
) -> None:
    for operation in ("check", "send"):
        stored.refuse(operation, 1, error)
    with pytest.raises(EventLogError, match=str(error)) as caught:
        sink.open()
    assert isinstance(caught.value.__cause__, type(error))
    with pytest.raises(EventLogError, match=str(error)) as caught:
        sink.write(events(1))
    assert isinstance(caught.value.__cause__, type(error))


@pytest.mark.parametrize(("count", "requests"), [(0, 0), (1, 1), (10, 1), (11, 2), (95, 10)])
def test_requests_are_as_full_as_they_may_be(
    queue: FakeQueue, sink: QueueSink, stored: Stored, count: int, requests: int
) -> None:
    lines = events(count) if count else []
    sink.write(lines)
    assert queue.requests["send"] == requests
    assert bodies(stored) == lines


def test_requests_have_no_more_bytes_than_they_may_have(server: FakeServer, stored: Stored) -> None:
    lines = events(7, "x" * 5000)
    server.limits = replace(server.limits, request_bytes=3 * len(lines[0]) + 10)
    queue = Picky(NAME, server, lost=False)
    QueueSink(queue).write(lines)
    assert queue.sizes == [3, 3, 1]
    assert bodies(stored) == lines


def test_after_a_failure_only_what_is_missing_is_sent_again(
    server: FakeServer, queue: FakeQueue, sink: QueueSink, stored: Stored
) -> None:
    lines = events(25)
    asked = iter([None, None, QueueUnavailableError("away")])
    server.trouble = lambda name, operation: next(asked, None)
    with pytest.raises(EventLogError):
        sink.write(lines)
    assert bodies(stored) == lines[:20]
    sink.write(lines)
    assert bodies(stored) == lines
    assert queue.requests["send"] == 4


def test_what_was_written_once_can_be_written_again(sink: QueueSink, stored: Stored) -> None:
    lines = events(1)
    sink.write(lines)
    sink.write(lines)
    assert bodies(stored) == lines * 2


def test_an_answer_that_was_lost_repeats_an_event_by_the_same_id(
    sink: QueueSink, stored: Stored
) -> None:
    lines = events(1)
    stored.drop_answers("send", 1)
    with pytest.raises(EventLogError):
        sink.write(lines)
    sink.write(lines)
    assert bodies(stored) == lines * 2
    assert len(stored.keys) == 1


@pytest.mark.parametrize("failing", [1, 3, 40])
def test_messages_that_fail_for_now_are_sent_until_they_are_taken(
    sink: QueueSink, stored: Stored, failing: int
) -> None:
    lines = events(12)
    stored.fail_messages("send", failing, "not now")
    sink.write(lines)
    assert sorted(bodies(stored)) == sorted(lines)


def test_an_outage_is_nothing_to_a_sink_whose_queue_tries_again(
    queue: FakeQueue, stored: Stored
) -> None:
    patient = RetryingQueue(
        queue, stop=threading.Event(), budgets={"send": math.inf}, pauses=Pauses(0.001, 0.001)
    )
    lines = events(25)
    stored.refuse("send", 5, QueueUnavailableError("away"))
    stored.fail_messages("send", 15, "not now")
    QueueSink(patient).write(lines)
    assert sorted(bodies(stored)) == sorted(lines)


def test_closing_ends_a_write_that_waits_to_try_again(server: FakeServer, stored: Stored) -> None:
    queue = FakeQueue(NAME, server)
    sink = QueueSink(queue, pause=1000.0)
    stored.fail_messages("send", 10**9, "not now")
    raised: list[EventLogError] = []

    def write() -> None:
        try:
            sink.write(events(1))
        except EventLogError as error:
            raised.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: stored.failures["send"].left < 10**9, what="a first try that failed")
    sink.close()
    thread.join(30)
    assert "not now" in str(raised[0])
    sink.close()
    assert queue.closed


def test_a_long_result_is_cut(sink: QueueSink, stored: Stored) -> None:
    (line,) = events(1, ["x"] * 100_000)
    sink.write([line])
    event = json.loads(bodies(stored)[0])
    assert (len(event["result"]), event["truncated"], event["full_size"]) == (
        MAX_VALUE,
        True,
        len(line),
    )
    assert stored.copies[0].key == event["event_id"] == event_id(line)


def test_an_event_that_is_refused_for_good_is_sent_without_its_result(
    server: FakeServer, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [*events(3), *events(1, "odd"), *events(3)]
    QueueSink(Picky(NAME, server, b"odd", lost=True)).write(lines)
    assert len(stored.copies) == 7
    (event,) = [e for e in map(json.loads, bodies(stored)) if "truncated" in e]
    assert "result" not in event
    assert event["event_id"] == event_id(lines[3])
    assert "only without its long fields: an odd word" in caplog.text


def test_an_event_that_will_never_be_taken_is_left_out_with_a_warning(
    server: FakeServer, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Picky(NAME, server, b"odd", lost=True)
    sink = QueueSink(queue)
    lines = events(12, first="odd")
    sink.write(lines)
    assert bodies(stored) == lines[1:]
    assert queue.sizes == [10, 1, 2]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert event_id(lines[0]) in record.getMessage()
    assert "for good" in record.getMessage()


def test_an_event_that_is_too_long_whatever_is_cut_is_left_out(
    sink: QueueSink, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    lines = events(2, first="t" * 2**20)
    sink.write(lines)
    assert bodies(stored) == lines[1:]
    assert "bytes are over" in caplog.text


def test_the_short_form_of_a_refused_event_is_tried_until_it_is_taken(
    server: FakeServer, stored: Stored
) -> None:
    class Slow(Picky):
        def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
            if b"truncated" in messages[0].body and len(self.sizes) < 4:
                self.sizes.append(1)
                return [Failure(0, "not now")]
            return super().send(messages)

    queue = Slow(NAME, server, b"odd", lost=True)
    QueueSink(queue, pause=0.001).write(events(1, "odd"))
    assert len(stored.copies) == 1
    assert len(queue.sizes) == 6
