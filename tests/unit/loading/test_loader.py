"""Loading tasks, against a queue in memory."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.errors import (
    ConfigurationError,
    QueueRefusedError,
    QueueUnavailableError,
    SourceError,
    TaskFormatError,
)
from cloud_tasks.loading.entries import Entry, LoadResult, message_of
from cloud_tasks.loading.loader import Loader, LoadOptions
from cloud_tasks.loading.sender import Batches, Sender
from cloud_tasks.queues.base import QueueLimits, QueueSpec
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.settings.table import default_lease
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.local import make_source
from cloud_tasks.task import Task
from cloud_tasks.testing import eventually
from cloud_tasks.testing.fake_queue import FakeProvider, Stored

LIMITS = QueueLimits(
    receive=10,
    settle=10,
    send=10,
    message_bytes=1000,
    request_bytes=3000,
    min_lease=0,
    max_lease=1000,
)


class Desk:
    """A provider in memory, a ledger, and what was loaded."""

    def __init__(self, folder: Path, *, exactly_once: bool = False) -> None:
        self.provider = FakeProvider(exactly_once=exactly_once)
        self.provider.limits = LIMITS
        self.job = JobQueues("FAKE", self.provider, "moon")
        self.ledger = folder / "ledger"
        self.messages: list[str] = []

    def load(self, tasks: Iterable[Any] | TaskSource, **options: Any) -> Loader:
        source = tasks if isinstance(tasks, TaskSource) else make_source(lambda: tasks)
        loader = self.loader(source, **options)
        loader.run(self.messages.append)
        return loader

    def loader(self, source: TaskSource, **options: Any) -> Loader:
        return Loader(self.job, source, LoadOptions(**{"ledger": self.ledger, **options}))

    @property
    def stored(self) -> Stored:
        return self.provider.server.stored("moon")

    @property
    def ids(self) -> list[str]:
        # Copied in one step, as others may be sending.
        return [json.loads(copy.body)["task_id"] for copy in list(self.stored.copies)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def tasks(count: int, **data: Any) -> list[dict[str, Any]]:
    return [{"task_id": f"t{n}", "data": {"n": n, **data}} for n in range(count)]


def task_queue_spec(max_runtime: float, max_attempts: int, lease: float | None = None) -> QueueSpec:
    """Return how `load_queue` creates the queue "moon"."""
    lease = default_lease(max_runtime) if lease is None else lease
    job = JobQueues("FAKE", FakeProvider(), "moon")
    return job.task_queue_spec(lease=lease, max_attempts=max_attempts)


def test_all_tasks_arrive_and_the_queues_are_made(desk: Desk) -> None:
    loader = desk.load(tasks(95))
    assert sorted(desk.ids) == sorted(f"t{n}" for n in range(95))
    assert loader.result.sent == 95
    assert set(desk.provider.server.queues) == {"moon", "moon-events", "moon-dead"}
    # Batches travel at the same time, so any of them may be stored first.
    bodies = [json.loads(copy.body) for copy in desk.stored.copies]
    assert {"task_id": "t0", "data": {"n": 0}} in bodies
    assert not desk.ledger.exists()


def test_the_task_queue_is_made_for_its_tasks(desk: Desk) -> None:
    desk.load([], spec=task_queue_spec(50.0, 3))
    made = desk.stored.spec
    assert (made.lease, made.retention) == (60, 14 * 86400)
    assert (made.dead_letter, made.max_deliveries) == ("moon-dead", 13)


@pytest.mark.parametrize(
    ("max_runtime", "lease", "seconds"),
    [(600.0, None, 120), (1.0, None, 30), (50.0, 7.5, 8)],
)
def test_the_lease_is_that_of_the_workers(
    max_runtime: float, lease: float | None, seconds: int
) -> None:
    assert task_queue_spec(max_runtime, 5, lease).lease == seconds


def test_tries_without_end_need_no_dead_letter_queue() -> None:
    assert task_queue_spec(600.0, 0).dead_letter is None


def test_a_queue_that_is_there_is_left_as_it_is(desk: Desk) -> None:
    desk.load(tasks(3), spec=task_queue_spec(50.0, 3))
    loader = desk.load(tasks(3), spec=task_queue_spec(5.0, 9))
    assert loader.result.created == []
    assert desk.stored.spec.max_deliveries == 13


def test_batches_are_full_by_count_or_by_bytes(desk: Desk) -> None:
    batches: list[list[Entry]] = []

    class Target:
        def submit(self, batch: list[Entry]) -> None:
            batches.append(batch)

        def finish(self) -> None:
            """Nothing is under way."""

    gathering = Batches(Target(), LIMITS)
    for size in [10] * 25 + [900] * 7:
        gathering.add(Entry(0, "t", b"x" * size))
    gathering.flush()
    assert [len(batch) for batch in batches] == [10, 10, 8, 3, 1]
    assert max(sum(len(entry.body) for entry in batch) for batch in batches) <= 3000


def test_a_few_batches_are_under_way_and_no_more(desk: Desk) -> None:
    running, most = set[int](), 0
    lock, gate = threading.Lock(), threading.Event()

    def trouble(name: str, operation: str) -> None:
        nonlocal most
        with lock:
            running.add(threading.get_ident())
            most = max(most, len(running))
        gate.wait(20)

    desk.load([])
    desk.provider.server.trouble = trouble
    sender = Sender(desk.provider.queue("moon"), LoadResult(), on_problem=print, in_flight=3)
    taken = 0

    def submit() -> None:
        nonlocal taken
        for n in range(9):
            sender.submit([Entry(n, f"t{n}", b'{"task_id": "t"}')])
            taken += 1

    thread = threading.Thread(target=submit)
    thread.start()
    # A request may be under way before `submit` has returned.
    eventually(lambda: (len(running), taken) == (3, 3), what="three requests are under way")
    gate.set()
    thread.join()
    sender.finish()
    assert most == 3
    assert len(desk.stored.copies) == 9


def test_a_slow_source_gets_its_tasks_through_all_the_same(desk: Desk) -> None:
    more = threading.Event()

    def slowly() -> Iterable[dict[str, Any]]:
        yield from tasks(3)
        more.wait(20)

    thread = threading.Thread(target=desk.load, args=[slowly()])
    thread.start()
    try:
        eventually(
            lambda: "moon" in desk.provider.server.queues and len(desk.ids) == 3,
            what="a batch that isn't full was sent",
        )
    finally:
        more.set()
        thread.join()


def test_repeated_ids_are_loaded_as_often_as_they_are_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path, exactly_once=True)
    same = {"task_id": "same", "data": {}}
    assert desk.load([same] * 4).result.sent == 4
    assert desk.ids == ["same"] * 4


def test_a_batch_whose_answer_was_lost_is_there_once_where_the_queue_drops_repeats(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, exactly_once=True)
    desk.load([])
    desk.stored.drop_answers("send", 2)
    desk.load(tasks(30))
    assert sorted(desk.ids) == sorted(f"t{n}" for n in range(30))


def test_a_repeat_after_a_crash_is_dropped_and_a_new_load_is_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path, exactly_once=True)
    desk.load([*tasks(3), "nonsense"])
    # As if the ledger had missed the last batch.
    head = desk.ledger.read_bytes().splitlines(keepends=True)[0]
    desk.ledger.write_bytes(head)
    assert desk.load(tasks(3)).result.sent == 3
    assert desk.ids == ["t0", "t1", "t2"]
    desk.load(tasks(3))
    assert desk.ids == ["t0", "t1", "t2"] * 2


def test_trouble_that_passes_ends_no_load(desk: Desk) -> None:
    desk.load([])
    desk.stored.refuse("send", 3, QueueUnavailableError("not now"))
    desk.stored.fail_messages("send", 2, "busy")
    assert desk.load(tasks(25)).result.sent == 25
    assert "send fails, trying again: not now" in " ".join(desk.messages)


def test_bad_entries_are_named_by_position_and_hurt_no_neighbour(desk: Desk) -> None:
    loader = desk.load([*tasks(2), "nonsense", {"task_id": "x"}, *tasks(1)])
    assert (loader.result.sent, loader.result.refused) == (3, 2)
    said = " ".join(desk.messages)
    assert "entry 3: is a string" in said
    assert "entry 4, task_id 'x'" in said


def test_a_task_that_is_too_large_is_named_with_its_size_and_the_limit(desk: Desk) -> None:
    large = {"task_id": "large", "data": {"text": "x" * 1000}}
    loader = desk.load([*tasks(1), large, *tasks(1)])
    assert (loader.result.sent, loader.result.refused) == (2, 1)
    size = len(message_of(Task("large", large["data"])))  # type: ignore[arg-type]
    assert f"entry 2, task_id 'large': is too large: {size:,} bytes" in " ".join(desk.messages)


def test_a_message_that_the_provider_refuses_hurts_no_neighbour(desk: Desk) -> None:
    desk.load([])
    desk.stored.fail_messages("send", 1, "bad character", lost=True)
    loader = desk.load(tasks(25))
    assert (loader.result.sent, loader.result.refused) == (24, 1)
    assert "was not accepted: bad character" in loader.result.problems[0]
    assert desk.ledger.exists()


def test_dates_become_text(desk: Desk) -> None:
    day = datetime.date(2026, 11, 21)
    moment = datetime.datetime(2026, 11, 21, 12, 30, tzinfo=datetime.timezone.utc)
    body = message_of(Task("t", {"day": day, "moment": moment}))
    data = json.loads(body)["data"]
    assert data == {"day": "2026-11-21", "moment": "2026-11-21T12:30:00+00:00"}


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", float("nan"), float("inf")])
def test_data_that_json_cannot_hold_are_told(desk: Desk, value: object) -> None:
    loader = desk.load([{"task_id": "odd", "data": {"value": value}}, *tasks(2)])
    assert (loader.result.sent, loader.result.refused) == (2, 1)
    assert "task_id 'odd'" in loader.result.problems[0]


def test_data_nested_too_deeply_are_told(desk: Desk) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    loader = desk.load([{"task_id": "deep", "data": {"value": value}}, *tasks(2)])
    assert (loader.result.sent, loader.result.refused) == (2, 1)
    while value:  # or freeing it would recurse as deeply
        value = value.pop()


def test_messages_are_ascii_without_a_space() -> None:
    body = message_of(Task("münchen", {"a": [1, "\ud800"]}))
    assert body == b'{"task_id":"m\\u00fcnchen","data":{"a":[1,"\\ud800"]}}'


def test_a_load_starts_where_it_is_told_and_stops_at_its_limit(desk: Desk) -> None:
    loader = desk.load(tasks(30), start="t7", limit=5)
    assert desk.ids == ["t7", "t8", "t9", "t10", "t11"]
    assert loader.result.sent == 5


def test_bad_entries_before_the_start_are_none_of_our_business(desk: Desk) -> None:
    assert desk.load(["nonsense", *tasks(3)], start="t1").result.refused == 0


def test_a_limit_reads_no_further_than_it_needs(desk: Desk) -> None:
    def endless() -> Iterable[dict[str, Any]]:
        yield from tasks(4)
        raise AssertionError("it was asked for more")

    assert desk.load(endless(), limit=4).result.sent == 4


def test_a_start_that_is_nowhere_is_an_error(desk: Desk) -> None:
    with pytest.raises(ConfigurationError, match="'t9' that --start-task names"):
        desk.load(tasks(3), start="t9")


def test_a_dry_run_checks_all_and_touches_nothing(desk: Desk) -> None:
    large = {"task_id": "large", "data": {"text": "x" * 1000}}
    loader = desk.load([*tasks(3), large, "nonsense"], dry_run=True)
    assert (loader.result.sent, loader.result.refused) == (3, 2)
    assert not desk.provider.server.queues
    assert not desk.ledger.exists()


def test_a_source_that_breaks_has_loaded_what_came_before(desk: Desk, tmp_path: Path) -> None:
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(tasks(17))[:-1] + ', {"task_')
    with pytest.raises(TaskFormatError):
        desk.load(make_source(cut))
    assert len(desk.ids) == 17
    cut.write_text(json.dumps(tasks(19)))
    loader = desk.load(make_source(cut))
    assert (loader.result.sent_before, loader.result.sent) == (17, 2)
    assert desk.ids == [f"t{n}" for n in range(19)]


def test_a_refusal_in_mid_load_ends_it_and_a_repeat_sends_the_rest(desk: Desk) -> None:
    desk.load([])
    requests = iter(range(1000))

    def trouble(name: str, operation: str) -> QueueRefusedError | None:
        return QueueRefusedError("your rights are gone") if next(requests) >= 12 else None

    desk.provider.server.trouble = trouble
    with pytest.raises(QueueRefusedError, match="your rights are gone"):
        desk.load(tasks(500))
    there = len(desk.ids)
    assert there == 120
    desk.provider.server.trouble = None
    desk.messages.clear()
    loader = desk.load(tasks(500))
    assert (loader.result.sent_before, loader.result.sent) == (120, 380)
    assert sorted(desk.ids) == sorted(f"t{n}" for n in range(500))
    assert "resuming: 120 tasks were loaded before" in " ".join(desk.messages)
    assert not desk.ledger.exists()


def test_an_entry_that_was_mended_is_all_that_a_repeat_sends(desk: Desk) -> None:
    first = [*tasks(5), "nonsense", *tasks(5)]
    assert desk.load(first).result.refused == 1
    mended = {"task_id": "mended", "data": {}}
    loader = desk.load([*tasks(5), mended, *tasks(5)])
    assert (loader.result.sent_before, loader.result.sent, loader.result.refused) == (10, 1, 0)
    assert desk.ids[-1] == "mended"
    assert len(desk.ids) == 11


def test_the_ledger_of_other_tasks_is_refused_before_anything_is_sent(desk: Desk) -> None:
    desk.load([*tasks(15), "nonsense"])
    with pytest.raises(ConfigurationError, match="not the tasks") as caught:
        desk.load(tasks(40, other=True))
    assert str(desk.ledger) in str(caught.value)
    assert len(desk.ids) == 15


def test_a_repeat_counts_what_was_loaded_before_towards_its_limit(desk: Desk) -> None:
    desk.load([*tasks(6), "nonsense"])
    loader = desk.load([*tasks(6), "nonsense", *tasks(9)], limit=10)
    assert (loader.result.sent_before, loader.result.sent) == (6, 4)


@pytest.mark.parametrize("order", [{"limit": 2}, {"start": "t4"}, {"start": "t7"}])
def test_the_ledger_of_a_load_outlives_a_narrower_one(desk: Desk, order: dict[str, Any]) -> None:
    def cut() -> Iterable[dict[str, Any]]:
        yield from tasks(6)
        raise RuntimeError("the source is cut off")

    with pytest.raises(SourceError):
        desk.load(cut())
    desk.load(tasks(9), **order)
    assert desk.ledger.exists()
    desk.load(tasks(9))
    assert sorted(desk.ids) == [f"t{n}" for n in range(9)]
    assert not desk.ledger.exists()


def test_a_queue_that_was_made_anew_has_nothing_of_what_the_ledger_says(desk: Desk) -> None:
    desk.load([*tasks(6), "nonsense"])
    desk.provider.admin("moon").delete()
    assert desk.load(tasks(6)).result.sent == 6
    assert len(desk.ids) == 6


def test_a_queue_that_others_made_anew_has_nothing_either(desk: Desk) -> None:
    desk.load([*tasks(6), "nonsense"])
    for name in ("moon", "moon-events"):
        desk.provider.admin(name).delete()
        desk.provider.admin(name).create(QueueSpec())
    loader = desk.load(tasks(6))
    assert (loader.result.sent, loader.result.sent_before) == (6, 0)
    assert len(desk.ids) == 6
    assert f"made anew after {desk.ledger}" in " ".join(desk.messages).replace("created", "made")
    assert not any("resuming" in message for message in desk.messages)


def test_a_ledger_of_an_older_version_does_not_know_which_queue_it_was(desk: Desk) -> None:
    desk.load([*tasks(6), "nonsense"])
    head, _, rest = desk.ledger.read_text().partition("\n")
    old = {key: value for key, value in json.loads(head).items() if key != "creation"}
    desk.ledger.write_text(f"{json.dumps(old)}\n{rest}")
    assert desk.load([*tasks(6), "nonsense"]).result.sent_before == 6


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (6, "the queue has 6 messages now"),
        (5, "the queue has 5 messages now, which is fewer: workers have run the others, or it was"),
        (0, "the queue has 0 messages now, which is fewer"),
    ],
)
def test_a_resumed_load_says_what_it_relies_on(desk: Desk, left: int, said: str) -> None:
    desk.load([*tasks(6), "nonsense"])
    desk.messages.clear()
    held = desk.provider.queue("moon").receive(6 - left, wait=0, lease=60) if left < 6 else []
    desk.provider.queue("moon").ack(held)
    if not left:
        desk.provider.admin("moon").purge()
    desk.load([*tasks(6), "nonsense"])
    (line,) = [message for message in desk.messages if "resuming" in message]
    assert f"6 tasks were loaded before, says {desk.ledger}; {said}" in line
    assert ("remove that file to load all" in line) is (left < 6)


def test_what_the_queue_has_may_be_unknown(desk: Desk) -> None:
    desk.load([*tasks(6), "nonsense"])
    desk.messages.clear()
    desk.provider.server.stored("moon").refuse("backlog", 1, QueueUnavailableError("not now"))
    desk.load([*tasks(6), "nonsense"])
    (line,) = [message for message in desk.messages if "resuming" in message]
    assert "unknown (not now); if it was purged, remove that file" in line


def test_a_dry_run_names_no_ledger_that_it_did_not_write(desk: Desk) -> None:
    loader = desk.load([*tasks(3), "nonsense"], dry_run=True)
    assert str(desk.ledger) not in "\n".join([*loader.lines(), *desk.messages])
    desk.load([*tasks(3), "nonsense"])
    desk.messages.clear()
    loader = desk.load([*tasks(3), "nonsense"], dry_run=True)
    assert str(desk.ledger) not in "\n".join(loader.lines())
    assert desk.messages[0].endswith("the queue itself was not asked")


def test_a_name_that_only_the_last_queue_can_not_have_makes_none(desk: Desk) -> None:
    class Strict(FakeProvider):
        def name_problem(self, name: str) -> str | None:
            return "is too long" if len(name) > 10 else None

    desk.provider = Strict()
    desk.job = JobQueues("FAKE", desk.provider, "moon")
    for options in ({}, {"dry_run": True}):
        with pytest.raises(ConfigurationError, match=r"'moon': .* events is too long"):
            desk.load(tasks(3), **options)
    assert not desk.provider.server.queues
    assert not desk.ledger.exists()


def test_without_a_ledger_a_repeat_sends_all(desk: Desk) -> None:
    desk.load([*tasks(6), "nonsense"], ledger=None)
    assert desk.load([*tasks(6)], ledger=None).result.sent == 6
    assert len(desk.ids) == 12


def test_a_source_that_is_not_there_makes_no_queue(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        desk.load(make_source(tmp_path / "gone.json"))
    assert not desk.provider.server.queues


def test_the_report_says_what_was_done(desk: Desk) -> None:
    report = desk.load([*tasks(3), "nonsense"]).report()
    assert report["created"] == ["moon-dead", "moon", "moon-events"]
    assert (report["loaded"], report["loaded_before"], report["refused"]) == (3, 0, 1)
    assert report["dry_run"] is False
