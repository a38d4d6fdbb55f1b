"""What an event log tells of finished tasks."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock

from cloud_tasks.errors import HistoryError
from cloud_tasks.events.records import Recorder
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.selection import finished
from cloud_tasks.selection.finished import FinishedTasks, KeyBag
from cloud_tasks.selection.resume import PreviousResult
from cloud_tasks.task import Delivery, Task

NEW, DONE, FAILED, OTHER_DATA = PreviousResult
OK = Completed(False, b'"ok"')
BAD = Raised("ValueError", "no", "Traceback ...\nValueError: no")


class Log:
    """An event log that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._recorder = Recorder(FakeClock(), "here")
        path.write_bytes(b"")

    def ours(
        self, task_id: str, outcome: Outcome = OK, data: Any = None, *, retry: bool = False
    ) -> Log:
        delivery = Delivery(Task(task_id, {} if data is None else data))
        return self.raw(self._recorder.task_event(delivery, outcome, retry=retry) + b"\n")

    def event(self, **fields: Any) -> Log:
        return self.raw(json.dumps(fields).encode() + b"\n")

    def raw(self, line: bytes) -> Log:
        with self.path.open("ab") as file:
            file.write(line)
        return self

    def read(self) -> FinishedTasks:
        found = FinishedTasks(self.path)
        found.read(lambda: False)
        return found

    def says(self, *tasks: str | tuple[str, Any]) -> list[PreviousResult]:
        """Return what is known of each task: an id, or an id and data."""
        found = self.read()
        pairs = [(t, {}) if isinstance(t, str) else t for t in tasks]
        return [found.find(Task(task_id, data)) for task_id, data in pairs]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "events.log")


@pytest.mark.parametrize(
    ("outcome", "retry", "verdict"),
    [
        (OK, False, DONE),
        (Completed(True, b"1"), True, NEW),
        (BAD, False, FAILED),
        (BAD, True, NEW),
        (TimedOut(1.0), False, FAILED),
        (TimedOut(1.0), True, NEW),
        (Exited(3), False, FAILED),
        (Exited(-9), True, NEW),
        (OverMemory(1, 2), False, FAILED),
        (Aborted("we did"), True, NEW),
        (Aborted("we did"), False, NEW),
    ],
    ids=str,
)
def test_every_end_has_its_meaning(
    log: Log, outcome: Outcome, retry: bool, verdict: PreviousResult
) -> None:
    assert log.ours("a", outcome, retry=retry).says("a", "b") == [verdict, NEW]


def test_a_task_that_was_given_up_has_failed(log: Log) -> None:
    log.event(event_type="task_dead", task_id="a", attempts=5, reason="exit code 1")
    assert log.says("a") == [FAILED]


def test_a_task_that_was_done_in_the_end_is_done(log: Log) -> None:
    log.ours("a", BAD).ours("a", OK).ours("b", OK).ours("b", BAD)
    assert log.says("a", "b") == [DONE, DONE]


def test_of_equal_tasks_as_many_are_found_as_have_ended(log: Log) -> None:
    log.ours("a").ours("a").ours("a", BAD)
    assert log.says("a", "a", "a", "a") == [DONE, DONE, FAILED, NEW]


def test_tasks_of_one_id_are_told_apart_by_their_data(log: Log) -> None:
    log.ours("a", OK, {"n": 1}).ours("a", BAD, {"n": 2})
    assert log.says(("a", {"n": 2}), ("a", {"n": 1})) == [FAILED, DONE]


def test_the_order_of_keys_makes_no_other_data(log: Log) -> None:
    log.ours("a", OK, {"n": 1, "m": [2.5, None]})
    assert log.says(("a", {"m": [2.5, None], "n": 1})) == [DONE]


def test_a_task_with_other_data_than_before_is_changed(log: Log) -> None:
    log.ours("a", OK, {"n": 1}).ours("b", BAD, {"n": 1})
    found = log.read()
    data = {"n": 2}
    assert [found.find(Task(name, data)) for name in "abc"] == [OTHER_DATA, OTHER_DATA, NEW]
    assert found.changed() == (2, ("a", "b"))


def test_an_end_that_belongs_to_a_later_task_makes_no_earlier_one_changed(log: Log) -> None:
    log.ours("a", OK, {"n": 2})
    found = log.read()
    for n in (1, 2, 3):
        found.find(Task("a", {"n": n}))
    assert found.changed() == (0, ())


def test_of_many_changed_tasks_a_few_are_named_and_all_counted(log: Log) -> None:
    for n in range(500):
        log.ours(f"t{n}", OK, {"n": 1})
    found = log.read()
    for n in range(500):
        found.find(Task(f"t{n}", {"n": 2}))
    assert found.changed() == (500, ("t0", "t1", "t2"))


def test_events_of_the_older_system_match_by_id(log: Log) -> None:
    head = {"timestamp": "2025-01-01T00:00:00", "hostname": "old", "elapsed_time": 1.5}
    log.event(**head, event_type="task_completed", task_id="a", retry=False, result="ok")
    log.event(**head, event_type="task_exception", task_id="b", retry=False, exception="E")
    log.event(**head, event_type="task_exited", task_id="c", retry=True, exit_code=1)
    log.event(**head, event_type="task_completed", task_id=17, retry=False, result="ok")
    data = {"any": "data"}
    assert log.says(*((name, data) for name in ("a", "b", "c", "17", "a"))) == [
        DONE,
        FAILED,
        NEW,
        DONE,
        NEW,
    ]


def test_data_without_canonical_text_match_by_id(log: Log) -> None:
    log.ours("a", OK, {"set": {1}})
    assert log.says(("a", {"set": {1}}), ("a", {"set": {1}})) == [DONE, NEW]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"event_type": "task_completed"},
        {"event_type": "task_completed", "task_id": "a"},
        {"event_type": "task_completed", "task_id": "a", "retry": "no"},
        {"event_type": "task_completed", "task_id": "a", "retry": None},
        {"event_type": "task_completed", "task_id": ["a"], "retry": False},
        {"event_type": "task_completed", "task_id": True, "retry": False},
        {"event_type": ["task_completed"], "task_id": "a", "retry": False},
        {"event_type": "from_the_future", "task_id": "a", "retry": False},
    ],
)
def test_what_is_no_clear_end_finishes_nothing(log: Log, fields: dict[str, Any]) -> None:
    log.ours("other").event(**fields)
    assert log.says("a", "True", "other") == [NEW, NEW, DONE]


def test_a_torn_line_and_what_is_no_json_are_passed_over(log: Log) -> None:
    log.ours("a").raw(b"\x00\xff rubbish\n").event(event_type="strange").ours("b")
    log.ours("c")
    os.truncate(log.path, log.path.stat().st_size - 30)
    found = log.read()
    assert [found.find(Task(name, {})) for name in "abc"] == [DONE, DONE, NEW]
    assert (found.done, found.failed, found.bad_lines) == (2, 0, 2)


def test_ids_may_be_any_text(log: Log) -> None:
    names = ["caf\u00e9", 'quo"te', "new\nline", "\ud800", "\0", "x" * 100_000, "\U0001f30d"]
    for name in names:
        log.ours(name)
    assert log.says(*names, *names) == [DONE] * len(names) + [NEW] * len(names)


@pytest.mark.parametrize("torn", [b"", b"{", b'{"timestamp": "2026-', b"\n\n"], ids=repr)
def test_an_empty_log_and_one_cut_off_in_its_first_event_tell_of_nothing(
    log: Log, torn: bytes
) -> None:
    found = log.raw(torn).read()
    assert (found.done, found.failed, found.missing) == (0, 0, False)


def test_a_log_that_is_missing_tells_of_nothing(tmp_path: Path) -> None:
    found = FinishedTasks(tmp_path / "no.log")
    found.read(lambda: False)
    assert found.missing
    assert found.find(Task("a", {})) is NEW


def test_a_log_without_any_task_is_a_log(log: Log) -> None:
    log.event(event_type="fatal_exception", exception="no such file", stack_trace="")
    assert log.says("a") == [NEW]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"task_id": "a", "data": {}}]',
        b'{"task_id": "a", "data": {}}\n{"task_id": "b", "data": {}}\n',
        b"import sys\n\nprint(sys.argv)\n",
        b'{"timestamp": 1}\n{"timestamp": 2}\n',
        b"\x89PNG\r\n\x1a\n" + bytes(1000),
    ],
    ids=["JSON tasks", "JSONL tasks", "program", "other log", "picture"],
)
def test_a_file_without_any_event_is_refused(log: Log, content: bytes) -> None:
    with pytest.raises(HistoryError, match=r"events\.log' has no event in it.*--event-log-file"):
        log.raw(content).read()


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(HistoryError, match="is not a file"):
            FinishedTasks(path).read(lambda: False)


def test_reading_ends_when_nobody_wants_it_any_more(log: Log) -> None:
    log.raw(b"".join(b'{"event_type": "task_dead", "task_id": "%d"}\n' % n for n in range(50_000)))
    answers = iter([False, True])
    found = FinishedTasks(log.path)
    found.read(lambda: next(answers))
    assert 0 < found.failed < 50_000


@pytest.mark.parametrize("seed", range(5))
def test_a_bag_counts_like_a_counter(seed: int) -> None:
    rng = random.Random(seed)
    pool = [rng.getrandbits(64) - 2**63 for _ in range(300)]
    keys = [*rng.choices(pool[:200], k=2000), -(2**63), 2**63 - 1, 0, 0]
    bag, counter = KeyBag(), Counter(keys)
    for key in keys:
        bag.add(key)
    bag.sort()
    assert bag.size == len(keys)
    for key in rng.choices([*pool, 0, 2**63 - 1, -(2**63)], k=6000):
        assert (key in bag) == (key in keys)
        assert bag.remove(key) == (counter[key] > 0)
        counter[key] -= counter[key] > 0


def test_digested_keys_have_64_bits_as_well() -> None:
    keys = [finished._digested(f"task-{n}\0\ud800") for n in range(2000)]
    assert len(set(keys)) == 2000
    assert min(keys) < -(2**62)
    assert max(keys) > 2**62


def test_a_compressed_log_is_refused_since_nothing_can_be_added_to_it(tmp_path: Path) -> None:
    path = tmp_path / "events.log.gz"
    path.write_bytes(gzip.compress(b'{"event_type": "keep_alive"}\n'))
    with pytest.raises(HistoryError, match="is compressed"):
        FinishedTasks(path).read(lambda: False)
