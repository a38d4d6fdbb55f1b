from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.errors import HistoryError
from cloud_tasks.events.records import data_digest
from cloud_tasks.history.failures import SearchResult, TaskKey, write_task_file


def key(task_id: str, data: dict[str, Any]) -> TaskKey:
    return TaskKey(task_id, data_digest(data))


class Place:
    """A folder with a task file, a run's failures, and what is written."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "out.jsonl"
        self.failures = folder / "failures.jsonl"
        self.tasks = folder / "tasks.json"

    def write(self, *wanted: TaskKey, task_file: bool = True, of_run: bool = True) -> SearchResult:
        return write_task_file(
            self.output,
            dict.fromkeys(wanted, "why"),
            failures=self.failures if of_run else None,
            task_files={str(self.tasks): None} if task_file else {},
        )

    def fail(self, task_id: str, data: dict[str, Any], **more: Any) -> None:
        entry = {"task_id": task_id, "data": data, "data_digest": data_digest(data), **more}
        with self.failures.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def tasks_are(self, *tasks: tuple[str, dict[str, Any]]) -> None:
        self.tasks.write_text(json.dumps([{"task_id": i, "data": data} for i, data in tasks]))

    def written(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_data_come_from_the_failures_of_the_run(place: Place) -> None:
    place.fail("a", {"n": 1}, cause="x")
    place.fail("b", {"n": 2})
    found = place.write(key("b", {"n": 2}), task_file=False)
    assert place.written() == [{"task_id": "b", "data": {"n": 2}, "cause": "why"}]
    assert (found.written, found.lost) == (1, 0)


@pytest.mark.parametrize(
    "data", ['{"n": 1e400}', '{"n": NaN}', '{"n": 1, "n": 1}', '{"n": 1}} {"x": {}', '["n"]']
)
def test_a_line_that_is_no_entry_by_the_rules_of_task_files_is_passed_over(
    place: Place, data: str
) -> None:
    place.failures.write_text(f'{{"task_id": "a", "data": {data}}}\n')
    place.fail("b", {"n": 2})
    found = place.write(TaskKey("a", None), TaskKey("b", None), task_file=False)
    assert [entry["task_id"] for entry in place.written()] == ["b"]
    assert found.lost == 1


def test_a_task_that_failed_several_times_is_written_once(place: Place) -> None:
    place.fail("a", {"n": 1})
    place.fail("a", {"n": 1})
    place.write(key("a", {"n": 1}), task_file=False)
    assert len(place.written()) == 1


def test_what_the_run_does_not_know_comes_from_the_task_file(place: Place) -> None:
    place.fail("a", {"n": 1})
    place.tasks_are(("a", {"n": 1}), ("b", {"n": 2}), ("c", {"n": 3}))
    found = place.write(key("a", {"n": 1}), key("c", {"n": 3}))
    assert [entry["task_id"] for entry in place.written()] == ["a", "c"]
    assert found.lost == 0


def test_of_repeated_ids_the_one_with_the_same_data_is_meant(place: Place) -> None:
    place.tasks_are(("a", {"n": 1}), ("a", {"n": 2}), ("a", {"n": 3}))
    place.write(key("a", {"n": 2}), of_run=False)
    assert [entry["data"] for entry in place.written()] == [{"n": 2}]


def test_without_a_digest_all_of_an_id_are_meant(place: Place) -> None:
    place.tasks_are(("a", {"n": 1}), ("b", {}), ("a", {"n": 2}))
    found = place.write(TaskKey("a", None), of_run=False)
    assert [entry["data"] for entry in place.written()] == [{"n": 1}, {"n": 2}]
    assert (found.written, found.lost) == (2, 0)


def test_what_is_not_found_is_counted_by_the_reason(place: Place) -> None:
    place.tasks_are(("a", {"n": 1}), ("b", {"n": 2}))
    found = place.write(key("a", {"n": 1}), key("b", {"n": 0}), key("gone", {}), of_run=False)
    assert (found.written, found.other_data, found.missing, found.lost) == (1, 1, 1, 2)


def test_lines_that_are_torn_or_odd_hurt_no_other(place: Place) -> None:
    place.failures.write_bytes(b'\xff\n[]\nnull\n{"task_id": 3}\n{"task_id": "x", "data": 5}\n')
    place.fail("a", {"n": 1})
    with place.failures.open("a") as file:
        file.write('{"task_id": "b", "data": {"n"')
    found = place.write(key("a", {"n": 1}), key("b", {"n": 2}), task_file=False)
    assert (found.written, found.missing) == (1, 1)


def test_a_task_file_that_is_gone_is_a_problem_and_keeps_what_was_found(place: Place) -> None:
    place.fail("a", {"n": 1})
    found = place.write(key("a", {"n": 1}), key("b", {}))
    assert (found.written, found.missing) == (1, 1)
    assert "tasks.json" in found.problems[0]


def test_a_task_file_that_breaks_off_is_a_problem_and_keeps_what_was_found(place: Place) -> None:
    place.tasks_are(("a", {"n": 1}), ("b", {}))
    place.tasks.write_text(place.tasks.read_text()[:-20])
    found = place.write(key("a", {"n": 1}), key("b", {}))
    assert (found.written, found.missing, len(found.problems)) == (1, 1, 1)


def test_dates_of_a_yaml_file_are_written_as_the_digest_has_them(place: Place) -> None:
    place.tasks = place.tasks.with_suffix(".yaml")
    place.tasks.write_text("- {task_id: a, data: {day: 2026-11-21}}\n")
    place.write(key("a", {"day": "2026-11-21"}), of_run=False)
    assert place.written()[0]["data"] == {"day": "2026-11-21"}


def test_data_that_json_cannot_hold_are_counted(place: Place) -> None:
    place.tasks = place.tasks.with_suffix(".yaml")
    place.tasks.write_text(
        "- {task_id: a, data: {n: !!binary aGk=}}\n- {task_id: b, data: {n: 1}}\n"
    )
    found = place.write(TaskKey("a", None), TaskKey("b", None), of_run=False)
    assert (found.written, found.unwritable, found.lost) == (1, 1, 1)


def test_nothing_found_leaves_what_was_there(place: Place) -> None:
    place.output.write_text("before")
    found = place.write(key("a", {}), task_file=False)
    assert found.missing == 1
    assert place.output.read_text() == "before"


def test_nothing_wanted_leaves_an_empty_file_and_not_that_of_yesterday(place: Place) -> None:
    place.output.write_text("before")
    place.write(task_file=False)
    assert place.output.read_text() == ""


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(
    place: Place, tmp_path: Path
) -> None:
    place.output = tmp_path / "no" / "out.jsonl"
    place.fail("a", {})
    with pytest.raises(HistoryError, match="can't be written"):
        place.write(key("a", {}), task_file=False)
    assert [path.name for path in tmp_path.iterdir()] == ["failures.jsonl"]


def test_a_link_stays_a_link(place: Place, tmp_path: Path) -> None:
    real = tmp_path / "real.jsonl"
    place.output.symlink_to(real)
    place.fail("a", {})
    place.write(key("a", {}), task_file=False)
    assert place.output.is_symlink()
    assert "why" in real.read_text()
    assert not list(tmp_path.glob(".*"))
