"""Index entries of task logs are read as they were written, also behind a torn one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_tasks.executors.common import task_logs

pytestmark = pytest.mark.interpreter


@pytest.mark.parametrize("task_id", ["t", 'a "quoted" \\ one', "é\n\x00\udcff", "]", ""])
def test_an_entry_is_one_line_of_ascii_that_parses_to_its_parts(task_id: str) -> None:
    line = task_logs.format_entry(12, task_id, 1.5)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert task_logs.parse_entry(line) == (12, task_id, 1.5)
    assert list(task_logs.task_ids(line)) == [task_id]


def test_an_entry_behind_a_torn_one_is_found() -> None:
    torn = task_logs.format_entry(1, "a", 1.0)[:-4]
    assert task_logs.parse_entry(torn) is None
    assert task_logs.parse_entry(torn + task_logs.format_entry(7, "b", 2.0)) == (7, "b", 2.0)


@pytest.mark.parametrize("line", [b"", b"[]", b"[1, 2, 3]", b'[1, "a"]', b'[-1, "a", 0.0]'])
def test_other_lines_hold_no_entry(line: bytes) -> None:
    assert task_logs.parse_entry(line) is None


@pytest.mark.parametrize("started", ["1e400", "-1e400", "1e300", "-1.0", "99999999999999", "null"])
def test_a_time_that_no_calendar_has_is_not_known(started: str) -> None:
    assert task_logs.parse_entry(f'[1, "a", {started}]'.encode()) == (1, "a", None)


def test_slots_are_found_by_their_index_in_the_order_of_numbers(tmp_path: Path) -> None:
    for slot in (10, 2):
        _, index = task_logs.paths(str(tmp_path), slot)
        Path(index).touch()
    for other in ("slot-001.log", "slot-x.idx", "slot-.idx", "slots.idx"):
        (tmp_path / other).touch()
    assert [
        (slot, log.name, index.name) for slot, log, index in task_logs.find_slots(tmp_path)
    ] == [(2, "slot-002.log", "slot-002.idx"), (10, "slot-010.log", "slot-010.idx")]
