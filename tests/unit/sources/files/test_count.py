from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from fakes import FakeClock

from cloud_tasks.runtime.intake import Intake
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.files.count import estimate_count
from cloud_tasks.sources.files.task_file import FORMATS, TaskFileSource

ENTRIES: list[dict[str, object]] = [{"task_id": f"t{n}", "data": {"n": n}} for n in range(20_000)]


def content(task_format: str, entries: list[dict[str, object]] = ENTRIES) -> str:
    if task_format == "json":
        return json.dumps(entries, indent=1)
    if task_format in ("jsonl", "yaml"):
        lead = "- " if task_format == "yaml" else ""
        return "".join(f"{lead}{json.dumps(entry)}\n" for entry in entries)
    separator = {"csv": ",", "tsv": "\t"}[task_format]
    return f"task_id{separator}n\n" + "".join(f"{e['task_id']}{separator}1\n" for e in entries)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("task_format", FORMATS)
def test_a_file_as_people_write_them_is_counted_right(
    tmp_path: Path, task_format: str, packed: bool
) -> None:
    data = content(task_format).encode()
    path = tmp_path / "tasks"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert estimate_count(path, task_format, patience=60) == 20_000
    path.write_bytes(data.rstrip())
    assert estimate_count(path, task_format, patience=60) == 20_000


def test_the_first_part_of_a_large_file_stands_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(content("json"))
    assert estimate_count(path, "json", patience=-1) == pytest.approx(20_000, rel=0.05)


def test_what_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    assert estimate_count(tmp_path / "none", "json") is None
    torn = tmp_path / "torn"
    torn.write_bytes(gzip.compress(content("json").encode())[:-20])
    assert estimate_count(torn, "json") is None
    (tmp_path / "empty").touch()
    assert estimate_count(tmp_path / "empty", "csv") == 0


def test_the_run_knows_the_number_for_sure_once_all_was_read(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    nested = [{"task_id": f"t{n}", "data": {"task_id": n}} for n in range(10)]
    path.write_text(json.dumps(nested))
    source, stats = TaskFileSource(path), Stats(FakeClock())
    source.open()
    intake = Intake(source, stats, skip=2)
    intake.begin(lambda: False)
    assert (stats.snapshot().total, stats.snapshot().guessed) == (18, True)
    while not intake.ended:
        stats.submitted += len(intake.receive(100)[0])
    intake.finish()
    assert (stats.snapshot().total, stats.snapshot().guessed) == (8, False)
