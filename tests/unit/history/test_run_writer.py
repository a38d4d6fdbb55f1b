"""The files of a run directory, and what others do to them meanwhile."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock

from cloud_tasks.errors import EventLogError
from cloud_tasks.history.run_writer import RunWriter
from cloud_tasks.outcome import Raised
from cloud_tasks.task import Delivery, Task

NAMES = ["runs.jsonl", "failures.jsonl"]
HARMS: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, 0),
    "cut within a line": lambda path: os.truncate(path, 5),
    "removed": Path.unlink,
    "moved": lambda path: path.rename(path.with_suffix(".1")),
    "replaced": lambda path: (path.parent / "new").replace(path),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def writer(folder: Path) -> Iterator[RunWriter]:
    writer = RunWriter(str(folder), FakeClock())
    writer.open()
    yield writer
    writer.close()


def fail(writer: RunWriter, task_id: str) -> None:
    writer.on_outcome(Delivery(Task(task_id, {})), Raised("E", "text", "E: text"))


def entries(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("name", HARMS)
def test_a_run_that_ends_has_its_start_too(
    name: str, writer: RunWriter, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer.record_start({"command": ["x"]})
    (folder / "new").write_text("{}\n")
    HARMS[name](folder / "runs.jsonl")
    writer.record_end({"exit_code": 0})
    found = [entry["event"] for entry in entries(folder / "runs.jsonl") if entry]
    assert found == ["start", "end"]
    assert caplog.text.count("during the run") == 1
    other = RunWriter(str(folder), FakeClock())
    with pytest.raises(EventLogError, match="another worker"):
        other.open()


@pytest.mark.parametrize("name", HARMS)
def test_a_later_failure_is_kept_whole(
    name: str, writer: RunWriter, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fail(writer, "a")
    (folder / "new").write_text("{}\n")
    HARMS[name](folder / "failures.jsonl")
    fail(writer, "b")
    fail(writer, "c")
    found = [entry["task_id"] for entry in entries(folder / "failures.jsonl") if entry]
    assert found == ["b", "c"]
    assert caplog.text.count("during the run") == 1


def test_undisturbed_there_is_no_warning(
    writer: RunWriter, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer.record_start({})
    fail(writer, "a")
    fail(writer, "b")
    writer.record_end({})
    assert not caplog.records


@pytest.mark.parametrize("target", ["file", "nothing", "folder"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_never_written_through_a_link(
    name: str, target: str, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    elsewhere = tmp_path / "elsewhere"
    if target == "file":
        elsewhere.write_text("precious")
    elif target == "folder":
        elsewhere.mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(EventLogError) as caught:
        RunWriter(str(folder), FakeClock()).open()
    assert f"{name}: it is a symbolic link; choose another one with --run-dir" in str(caught.value)
    assert target == "folder" or elsewhere.exists() == (target == "file")
    assert target != "file" or elsewhere.read_text() == "precious"


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_of_that_name_keeps_nobody_waiting(name: str, folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / name)
    with pytest.raises(EventLogError, match=f"{name}: it is no ordinary file"):
        RunWriter(str(folder), FakeClock()).open()


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    writer = RunWriter(str(tmp_path / "run"), FakeClock())
    writer.open()
    writer.close()
    assert (tmp_path / "real" / "runs.jsonl").exists()


@pytest.mark.parametrize("before", [None, 0o644])
def test_only_its_owner_may_read_the_command_line(before: int | None, folder: Path) -> None:
    runs = folder / "runs.jsonl"
    if before is not None:
        folder.mkdir()
        runs.touch(before)
    writer = RunWriter(str(folder), FakeClock())
    writer.open()
    writer.close()
    assert stat.S_IMODE(runs.stat().st_mode) == 0o600
