from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.history.task_logs import LoggedAttempt, TaskLogs

ODD_IDS = [
    "plain",
    'a "quoted" one',
    "two\nlines",
    "back\\slash",
    "\x1b[31mred",
    "grüße",
    "\ud800",
    '[5, "x", 3]',
    "1",
    "x" * 5000,
]


class Slot:
    """Writes the two files of a slot as a worker does."""

    def __init__(self, folder: Path, number: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / f"slot-{number:03}.log"
        self.index = folder / f"slot-{number:03}.idx"
        self.log.touch()

    def note(self, line: str) -> None:
        with self.index.open("a") as file:
            file.write(line)

    def begin(self, task_id: str, started: Any = 1.0) -> None:
        self.note(json.dumps([self.log.stat().st_size, task_id, started]) + "\n")

    def put(self, output: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(output)

    def run(self, task_id: str, output: bytes, started: Any = 1.0) -> None:
        self.begin(task_id, started)
        self.put(output)


def output(attempt: LoggedAttempt) -> bytes:
    return b"".join(attempt.output())


def outputs(folder: Path, task_id: str) -> list[bytes]:
    return [output(attempt) for attempt in TaskLogs(folder).attempts(task_id)]


def test_a_tasks_output_goes_to_the_next_task_or_the_end(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.run("a", b"one\ntwo\n")
    slot.run("b", b"")
    slot.run("c", b"\xff\x00no line end")
    assert outputs(tmp_path, "a") == [b"one\ntwo\n"]
    assert outputs(tmp_path, "b") == [b""]
    assert outputs(tmp_path, "c") == [b"\xff\x00no line end"]
    assert outputs(tmp_path, "d") == []


def test_tries_are_in_the_order_of_their_start_whatever_slot_ran_them(tmp_path: Path) -> None:
    first, second = Slot(tmp_path, 0), Slot(tmp_path, 11)
    first.run("a", b"third", 30.0)
    first.run("x", b"other", 31.0)
    second.run("a", b"first", 10.0)
    second.run("a", b"second", 20.0)
    assert outputs(tmp_path, "a") == [b"first", b"second", b"third"]
    assert [attempt.slot for attempt in TaskLogs(tmp_path).attempts("a")] == [11, 11, 0]


@pytest.mark.parametrize("task_id", ODD_IDS)
def test_an_id_may_be_any_text(tmp_path: Path, task_id: str) -> None:
    slot = Slot(tmp_path)
    for other in ODD_IDS:
        slot.run(other, f"of {ODD_IDS.index(other)}".encode())
    assert outputs(tmp_path, task_id) == [f"of {ODD_IDS.index(task_id)}".encode()]


def test_an_id_that_others_contain_is_not_taken_for_them(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    for task_id in ("task-1", "task-11", 'x"task-1', "task-1 "):
        slot.run(task_id, task_id.encode())
    assert outputs(tmp_path, "task-1") == [b"task-1"]


def test_an_index_that_others_wrote_is_read_as_well(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.put(b"0123456789")
    slot.note('[0,"a",1]\n[ 2, "grüße", 1e3 ]\n[4, "b", null]\n[6,"c",1.5]')
    assert outputs(tmp_path, "a") == [b"01"]
    assert outputs(tmp_path, "grüße") == [b"23"]
    assert outputs(tmp_path, "b") == [b"45"]
    assert outputs(tmp_path, "c") == [b"6789"]


def test_a_torn_line_hurts_no_other(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.put(b"0123456789")
    slot.note('[0, "a", 1.0]\n[2, "torn", 17[3, "b", 2.0]\n\n\x00\x00\n{}\n[5, "c", 3.0]\n[7, "c')
    assert outputs(tmp_path, "a") == [b"012"]
    assert outputs(tmp_path, "b") == [b"34"]
    assert outputs(tmp_path, "c") == [b"56789"]
    assert outputs(tmp_path, "torn") == []


def test_offsets_that_make_no_sense_give_no_more_than_there_is(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.put(b"0123456789")
    slot.note('[5, "a", 1.0]\n[2, "b", 2.0]\n[900, "c", 3.0]\n[99999999999999999999, "d", 4.0]\n')
    assert outputs(tmp_path, "a") == [b""]
    assert outputs(tmp_path, "b") == [b"23456789"]
    assert outputs(tmp_path, "c") == [b""]
    assert outputs(tmp_path, "d") == []


def test_what_is_missing_is_nothing(tmp_path: Path) -> None:
    nowhere = TaskLogs(tmp_path / "gone")
    assert not nowhere.exist
    assert nowhere.attempts("a") == []
    assert nowhere.similar("a") is None
    slot = Slot(tmp_path)
    slot.index.touch()
    assert outputs(tmp_path, "a") == []
    slot.begin("a")
    slot.log.unlink()
    (found,) = TaskLogs(tmp_path).attempts("a")
    assert (found.size(), output(found)) == (0, b"")


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "slot-x.idx").write_text('[0, "a", 1.0]\n')
    (tmp_path / "notes.idx").write_text('[0, "a", 1.0]\n')
    (tmp_path / "slot-001.idx").mkdir()
    assert outputs(tmp_path, "a") == []


def test_a_try_that_runs_is_closed_by_the_next_one_in_its_slot(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    slot.run("a", b"begin ")
    (running,) = TaskLogs(tmp_path).attempts("a")
    assert running.end is None
    assert not running.is_closed()
    slot.put(b"end")
    assert b"".join(running.output(skip=6)) == b"end"
    slot.note('[5, "torn')
    assert not running.is_closed()
    slot.note("\n")
    slot.run("b", b"of b")
    assert running.is_closed()
    assert output(running) == b"begin end"


def test_a_name_that_is_nearly_right_is_found(tmp_path: Path) -> None:
    slot = Slot(tmp_path)
    for n in range(1000):
        slot.begin(f"img-{n:04}")
    assert TaskLogs(tmp_path).similar("img_0042") == "img-0042"
    assert TaskLogs(tmp_path).similar("nothing like it") is None


IDS = st.text(min_size=1, max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(IDS, st.binary(max_size=12), st.integers(0, 2)), max_size=12))
def test_all_that_was_written_is_found(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, bytes, int]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    slots = [Slot(folder, number) for number in range(3)]
    wanted: dict[str, list[bytes]] = {}
    for when, (task_id, printed, slot) in enumerate(runs):
        slots[slot].run(task_id, printed, float(when))
        wanted.setdefault(task_id, []).append(printed)
    for task_id, printed_by_it in wanted.items():
        assert outputs(folder, task_id) == printed_by_it


@settings(deadline=None)
@given(st.binary(max_size=300), IDS)
def test_no_index_is_too_odd(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, task_id: str
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    slot = Slot(folder)
    slot.put(b"some output")
    slot.index.write_bytes(content + json.dumps(task_id).encode() + content)
    for attempt in TaskLogs(folder).attempts(task_id):
        output(attempt)
        attempt.is_closed()
    TaskLogs(folder).similar(task_id)
